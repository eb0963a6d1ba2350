"""What can be asked of the table of networks; reading this imports neither torch nor MONAI."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from math import prod
from typing import Any

from bench import plugins, registry
from bench.errors import BenchError, unknown
from bench.nets.sizes import Entry, Preset
from bench.nets.stated import stated
from bench.nets.table import NETWORKS
from bench.ranges import Triple

CATALOG: dict[str, Entry] = {e.name: e for e in NETWORKS}  # bench's own
# network and preset that nnU-Net's plans can state (no group norm); the name that nnU-Net has for it, if any
ARCHITECTURES = {
    ("resenc_unet", name): {"base": "ResEncL"}.get(name, "")
    for name, size in CATALOG["resenc_unet"].presets.items()
    if size.size.groups is None
}


def names() -> list[str]:
    """List the networks, those from outside among them; no file is read.

    Raises:
        BenchError: two have one name; names both places.
    """
    outside = plugins.by_name("network")
    for name in outside.keys() & CATALOG.keys():
        raise registry.name_clash(outside[name], CATALOG[name].module)
    return sorted([*CATALOG, *outside])


def entries() -> dict[str, Entry]:
    """Return the facts of every network by name; one from outside that states none is in nobody's way.

    Raises:
        BenchError: two have one name; names both places.
    """
    networks = dict(CATALOG)
    for name in names():
        with suppress(BenchError):  # it says why where it is asked for
            networks[name] = network_facts(name)
    return networks


def network_facts(name: str) -> Entry:
    """Return one network's facts; those of a preset with fewer stages where it is named as ``NETWORK/PRESET``.

    Raises:
        BenchError: no such network (names the nearest one), two of that name, or a file that does not state
            its facts.
    """
    name, _, size = name.partition("/")
    plugin = plugins.by_name("network").get(name)
    if plugin is not None and name not in CATALOG:
        facts = stated(plugin, plugin.file.stat().st_mtime_ns)
    elif plugin is not None or name not in CATALOG:
        raise BenchError(unknown("network", name, names()))
    else:
        facts = CATALOG[name]
    stages = len(preset(name, size).widths) if size else 0
    if 0 < stages < len(facts.pyramid):
        pyramid = facts.pyramid[:stages]
        return replace(facts, pyramid=pyramid, multiple=pyramid[-1], scales=stages - 1)
    return facts


def preset(name: str, size: str) -> Preset:
    """Return one size of one network.

    Raises:
        BenchError: no such network or preset; names the nearest one.
    """
    presets = network_facts(name).presets
    if size not in presets:
        raise BenchError(unknown(f"preset of network {name!r}", size, presets))
    return presets[size]


def check_crop(name: str, size: str, crop: Triple | None = None) -> Triple:
    """Return the crop, voxels along x, y, z (by default the preset's own), if the network can be trained on it.

    Raises:
        BenchError: a side that is no positive multiple of what the network halves away, a crop of
            several slices for a network of two dimensions, or a crop whose bottleneck is a single
            voxel under instance norm (it has no variance).
    """
    facts, chosen = network_facts(f"{name}/{size}"), preset(name, size)
    if crop is None:
        return chosen.crop
    where = f"crop {tuple(crop)} of network {name!r}"
    if len(crop) != 3:
        raise BenchError(f"{where}: give three sides, x y z, in voxels")
    if facts.dims == 2 and crop[2] != 1:
        raise BenchError(f"{where}: it reads single slices along z; use {(*crop[:2], 1)}")
    for axis, side, step in zip("xyz", crop, facts.multiple, strict=True):
        if side < 1 or side % step:
            lower = side // step * step
            near = f"{lower} or {lower + step}" if lower > 0 else f"{step}"
            raise BenchError(
                f"{where}: side {axis} = {side} must be a multiple of {step}; use {near}"
            )
    if tuple(crop) == facts.multiple and not chosen.lone:
        raise BenchError(
            f"{where}: preset {size!r} has instance norm, which cannot train on one bottleneck "
            f"voxel; use {2 * facts.multiple[0]} along at least one axis or preset 'tiny'"
        )
    return (crop[0], crop[1], crop[2])


def cells(name: str, crop: Sequence[int]) -> list[Triple]:
    """Return the sizes, x y z, of the maps that a network's encoder makes of a crop, finest first."""
    x, y, z = crop
    return [(x // a, y // b, z // c) for a, b, c in network_facts(name).pyramid]


def check_view(name: str, view: Triple, called: str) -> None:
    """Refuse views, smaller than the crop, that a network's encoder cannot be trained on.

    Args:
        name: a network.
        view: voxels along x, y, z.
        called: what the views are, and where their size comes from.

    Raises:
        BenchError: the encoder reads crops alone, or multiples; its last map would have no cell, or a single
            one where some preset has instance norm.
    """
    facts = network_facts(name)
    last = cells(name, view)[-1]
    where = f"network {name!r} cannot read {called}: {view} voxels"
    if facts.views == "crops":
        fit = ", ".join(
            e.name for e in CATALOG.values() if e.views == "any" and e.dims == facts.dims
        )
        raise BenchError(f"{where}; it reads only crops of its own size; use {fit}")
    if facts.views == "multiples" and any(n % m for n, m in zip(view, facts.multiple, strict=True)):
        raise BenchError(f"{where}; the sides must be multiples of {facts.multiple}")
    if min(last) < 1:
        raise BenchError(
            f"{where}; its encoder divides the sides by {facts.pyramid[-1]}, and no voxel is left; make them larger"
        )
    if prod(last) < 2 and not all(p.lone for p in facts.presets.values()):
        raise BenchError(
            f"{where}; instance norm cannot train on one bottleneck voxel; make them larger"
        )


def check_levels(name: str, levels: Sequence[int], called: str) -> None:
    """Refuse a level that a network's encoder does not have; 0 is the finest, -1 the coarsest.

    Raises:
        BenchError: names the first such level.
    """
    count = len(network_facts(name).pyramid)
    off = [level for level in levels if not -count <= level < count]
    if off:
        has = f"network {name!r} has {count} levels, 0 to {count - 1}, and no level {off[0]}"
        raise BenchError(f"{called}: {has}")


def check_task(name: str, task: str) -> None:
    """Refuse a network that cannot do a task: one without a decoder gives no label maps.

    Raises:
        BenchError: names the networks that can.
    """
    facts = network_facts(name)
    if task == "regression":  # a head over the whole window, as of classes
        task = "classification"
    if task not in facts.tasks:
        fit = ", ".join(
            e.name for e in entries().values() if task in e.tasks and e.dims == facts.dims
        )
        raise BenchError(
            f"network {name!r} has no decoder, so it cannot be trained for {task}; use {fit}"
        )


def check_batch(name: str, crop: Sequence[int], rows: int) -> None:
    """Refuse a batch of so many rows whose bottleneck is one value per channel for a network with batch norm.

    Raises:
        BenchError: says what to take.
    """
    if network_facts(name).batch_norm and rows * prod(cells(name, crop)[-1]) < 2:
        raise BenchError(
            f"network {name!r} has batch norm, which cannot normalise a single bottleneck voxel in a batch "
            "of 1; use a larger batch, a larger crop, or no accumulation"
        )


def check_handover(source: tuple[str, str], target: tuple[str, str]) -> None:
    """Refuse to hand weights from one network to another of another architecture.

    The same network and preset fit, and a network of two dimensions hands over to the one of three that
    is built by the same module at the same size: its kernels are inflated.

    Args:
        source: name and preset of the network that was pretrained.
        target: of the one that is fine-tuned.

    Raises:
        BenchError: says which two do not fit.
    """
    if source == target:
        return
    pretrained, tuned = network_facts(source[0]), network_facts(target[0])
    alike = pretrained.module == tuned.module and preset(*source).size == preset(*target).size
    if not (alike and pretrained.dims <= tuned.dims):
        raise BenchError(
            f"weights of network {'/'.join(source)} do not fit {'/'.join(target)}; pretrain and fine-tune "
            "the same network and preset"
        )


def describe(name: str) -> dict[str, Any]:
    """Return what ``bench list networks --json`` prints of one network."""
    facts = network_facts(name)
    counts = ("in_channels", "out_channels", "parameters")
    return {
        "name": name,
        "title": facts.title,
        "dims": facts.dims,
        "presets": [
            {"preset": key, **{count: getattr(size, count) for count in counts}}
            for key, size in facts.presets.items()
        ],
        "source": asdict(facts.source),
    }
