"""Weights from one network into another, with a receipt of what arrived.

Loading with ``strict=False`` accepts a checkpoint of which nothing fits and says nothing; a run
"fine-tuned from pretraining" is then a run from scratch. Here every tensor is accounted for, and
too small a match is refused.
"""

from __future__ import annotations

from collections.abc import Collection, KeysView, Mapping
from dataclasses import asdict, dataclass, replace
from difflib import get_close_matches
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from bench.errors import BenchError
from bench.nets import layers
from bench.nets.base import Encoder, Model, TokenEncoder, triple
from bench.nets.catalog import check_handover, network_facts
from bench.nets.foreign_layouts import ALSO, COLOURS
from bench.nets.manifest import Manifest, finite, read, save

__all__ = ["Manifest", "Receipt", "Reshaped", "load", "read", "rehearse", "save"]

ENCODER = "encoder."


@dataclass(frozen=True)
class Reshaped:
    """One tensor that was fitted to another shape, and how."""

    name: str
    given: tuple[int, ...]
    needed: tuple[int, ...]
    how: str


@dataclass(frozen=True)
class Receipt:
    """What a load did: names are the receiving network's keys.

    ``matched`` were taken over, ``reshaped`` among them; ``missing`` belong to a part that the
    source has (the encoder always) and did not come; ``left_random`` are the keys of all other
    parts; ``unexpected`` came and have no place. ``share`` is the part of the encoder's
    parameters, counted one by one, that was matched; ``gaps`` are the kinds of layers and the stages of
    the encoder that did not come, as whoever asked allows.
    """

    matched: tuple[str, ...]
    reshaped: tuple[Reshaped, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    left_random: tuple[str, ...]
    parameters: int
    share: float
    gaps: tuple[str, ...] = ()

    def line(self) -> str:
        """Return one line for logs and reports."""
        text = (
            f"{len(self.matched)} tensors matched, {100 * self.share:.1f} % of the encoder's "
            f"{self.parameters:,} parameters; {len(self.missing)} missing, "
            f"{len(self.unexpected)} unexpected, {len(self.left_random)} left random"
        )
        text += f"; without {', '.join(self.gaps)}" if self.gaps else ""
        changes = ", ".join(f"{r.name} {r.given} to {r.needed} ({r.how})" for r in self.reshaped)
        return f"{text}; reshaped: {changes}" if changes else text

    def facts(self) -> dict[str, Any]:
        """Return plain values for a job's manifest: names where they matter, else counts."""
        facts = asdict(self)
        return {**facts, "matched": len(self.matched), "left_random": len(self.left_random)}


def load(
    network: Model,
    tensors: Mapping[str, Tensor],
    source: Manifest | None = None,
    *,
    minimum: float = 0.9,
    lacks: Collection[str] = (),
    output: bool = False,
) -> Receipt:
    """Copy pretrained tensors into ``network`` by name.

    Args:
        network: what is to be fine-tuned; what does not arrive keeps its initial values.
        tensors: under the network's own keys, as a method's ``transfer`` returns them.
        source: the checkpoint's manifest. Its network and preset must be this one's, or the 2D
            counterpart. It tells the patch grid that position embeddings were trained on; without
            it a grid is taken to be a cube.
        minimum: smallest share that must match: of the encoder's parameters, and of those of each kind of
            layer and of each stage by itself.
        lacks: kinds of layers (``bench.nets.layers``) and stages that may be missing.
        output: take the last layer, too; by default that of a fine-tuned network stays behind, as its classes
            are another data set's.

    Returns:
        The receipt.

    Raises:
        BenchError: another network or preset (same tensors may mean another function), too little
            matches, the file's encoder has a tensor that this one lacks, a shape that cannot be
            fitted, a value that is not finite, or no last layer where it is asked for. The network is
            then unchanged.
    """
    fitted, receipt = _fit(network, tensors, source, minimum, lacks, output)
    with torch.no_grad():
        state = network.state_dict()
        for name, value in fitted.items():
            state[name].copy_(value)
    return receipt


def rehearse(
    tensors: Mapping[str, Tensor],
    network: Model,
    source: Manifest | None = None,
    *,
    minimum: float = 0.9,
    lacks: Collection[str] = (),
    output: bool = False,
) -> Receipt:
    """Return the receipt ``load`` would, or raise as it would; changes nothing."""
    return _fit(network, tensors, source, minimum, lacks, output)[1]


def _fit(
    network: Model,
    tensors: Mapping[str, Tensor],
    source: Manifest | None,
    minimum: float,
    lacks: Collection[str],
    output: bool,
) -> tuple[dict[str, Tensor], Receipt]:
    if source is not None:
        also = source.params.get(ALSO)
        fits = isinstance(also, list | tuple) and network.name in also
        given = network.name if fits else source.network
        check_handover((given, source.preset), (network.name, network.preset))
    state = network.state_dict()
    if output:
        _has_output(network, tensors, source)
    elif (
        source is not None and source.out_channels
    ):  # fine-tuned: the classes are another data set's
        tensors = {k: v for k, v in tensors.items() if not k.startswith(network.output)}
    fitted: dict[str, Tensor] = {}
    reshaped: list[Reshaped] = []
    for name in sorted(tensors.keys() & state.keys()):
        value, how = _shape(network, name, tensors[name], state[name], source)
        if not finite(value.to(state[name].dtype)):  # which may hold less than the file's
            raise BenchError(
                f"checkpoint tensor {name!r} holds values that are not finite: the pretraining "
                "diverged",
                "run it again with a smaller learning rate",
            )
        fitted[name] = value
        if how:
            shapes = tuple(tensors[name].shape), tuple(state[name].shape)
            reshaped.append(Reshaped(name, *shapes, how))
    receipt = _receipt(network, state.keys(), tensors.keys(), reshaped)
    gaps = _gaps(network, tensors.keys(), minimum, lacks)
    if receipt.share < minimum and not gaps:
        raise _refusal(network, receipt, minimum)
    receipt = replace(receipt, gaps=gaps)
    foreign = [name for name in receipt.unexpected if name.startswith(ENCODER)]
    if foreign:
        raise BenchError(
            f"network {network.name!r} ({network.preset}): the checkpoint's encoder has {len(foreign)} "
            f"tensors that this network lacks, first {foreign[0]!r}; without them the "
            "pretrained encoder cannot be rebuilt",
            "use the checkpoint's preset",
        )
    return fitted, receipt


def _gaps(
    network: Model, given: KeysView[str], minimum: float, lacks: Collection[str]
) -> tuple[str, ...]:
    """Return the kinds of layers, and the stages, of which too little came and which may be missing."""
    groups, sizes = layers.groups(network.encoder), layers.sizes(network.encoder)
    if unknown := [name for name in lacks if name not in groups]:
        raise BenchError(
            f"lacks: {unknown[0]!r} is no part of network {network.name!r} ({network.preset}); choose "
            f"from {', '.join(groups)}"
        )
    came = {key for key in sizes if f"{ENCODER}{key}" in given}

    def share(keys: Collection[str]) -> float:
        return sum(sizes[key] for key in keys if key in came) / sum(sizes[key] for key in keys)

    gaps = tuple(name for name, keys in groups.items() if share(keys) < minimum)
    excused, bad = {key for name in lacks for key in groups[name]}, dict[str, list[str]]()
    # first what is missing altogether
    for name in sorted(gaps, key=lambda name: share(groups[name]) > 0):
        left = [key for key in groups[name] if key not in excused]
        if left and share(left) < minimum:
            bad[name] = [key for key in left if key not in came]
            excused |= {*groups[name]}
    if bad and not excused >= sizes.keys():
        first, absent = next(iter(bad.items()))
        raise BenchError(
            f"network {network.name!r} ({network.preset}): the checkpoint lacks {first} of the encoder: "
            f"{len(absent)} of {len(groups[first])} tensors, first '{ENCODER}{absent[0]}'",
            f"check the file, or if this is intended write init: {{file: FILE, lacks: [{', '.join(bad)}]}}",
        )
    return () if bad else gaps


def _has_output(network: Model, tensors: Mapping[str, Tensor], source: Manifest | None) -> None:
    lacking = [
        name
        for name in network.state_dict()
        if name.startswith(network.output) and name not in tensors
    ]
    if lacking:
        raise BenchError(
            f"the weights have no last layer ({lacking[0]!r} is missing); fine-tune with 'output: new', or "
            "use weights that were trained on this task's labels"
        )
    if source is not None and source.out_channels not in (0, network.out_channels):
        raise BenchError(
            f"the weights' last layer has {source.out_channels} classes, the task has "
            f"{network.out_channels}; fine-tune with 'output: new'"
        )


def _receipt(
    network: Model, needed: KeysView[str], given: KeysView[str], reshaped: list[Reshaped]
) -> Receipt:
    parts = {_part(name) for name in given} | {ENCODER}
    absent = [name for name in needed if name not in given]
    sizes = {f"{ENCODER}{k}": p.numel() for k, p in network.encoder.named_parameters()}
    total = sum(sizes.values())
    return Receipt(
        matched=tuple(name for name in needed if name in given),
        reshaped=tuple(reshaped),
        missing=tuple(name for name in absent if _part(name) in parts),
        unexpected=tuple(name for name in given if name not in needed),
        left_random=tuple(name for name in absent if _part(name) not in parts),
        parameters=total,
        share=sum(size for name, size in sizes.items() if name in given) / total,
    )


def _part(name: str) -> str:
    """Return ``encoder.``, or the decoder's block: a source may bring some blocks and not others."""
    return ENCODER if name.startswith(ENCODER) else ".".join(name.split(".")[:2])


def _refusal(network: Model, receipt: Receipt, minimum: float) -> BenchError:
    text = (
        f"network {network.name!r} ({network.preset}): the checkpoint matches only "
        f"{100 * receipt.share:.1f} % of the encoder's parameters, {100 * minimum:g} % are needed"
    )
    if not receipt.missing:
        return BenchError(text)
    first = receipt.missing[0]
    near = get_close_matches(first, receipt.unexpected, n=1, cutoff=0.0)
    hint = f", nearest name in the file {near[0]!r}" if near else ""
    advice = "check network and preset, or rename the tensors"
    return BenchError(f"{text}; first missing {first!r}{hint}", advice)


def _shape(
    network: Model, name: str, value: Tensor, target: Tensor, source: Manifest | None
) -> tuple[Tensor, str]:
    """Return the tensor in the target's shape and how it got there ("" where it already had it)."""
    encoder, key = network.encoder, name.removeprefix(ENCODER)
    inside = name.startswith(ENCODER)
    if inside and encoder.position and key == encoder.position:
        return _positions(encoder, name, value, target, source)
    fitted, how = value, []
    flat = (
        source is not None and network_facts(source.network).dims < network_facts(network.name).dims
    )
    if flat and (value.ndim, target.ndim) == (4, 5):
        fitted = _inflate(network, name, value, target)
        how.append("2D to 3D")
    reads = inside and key == encoder.input_weight
    if fitted.shape != target.shape and (reads or _reads_image(network, fitted, target, source)):
        if reads and _is_of_colours(source, fitted, target):
            how.append(f"{fitted.shape[1]} colours summed")
            fitted = fitted.sum(1, keepdim=True)
        if fitted.shape != target.shape:
            fitted = _widen(encoder if reads else None, fitted, target)
            how.append("input channels")
    if fitted.shape != target.shape:
        raise BenchError(
            f"tensor {name!r} has shape {tuple(value.shape)} in the checkpoint and "
            f"{tuple(target.shape)} in network {network.name!r} ({network.preset})",
            "build the network with the checkpoint's preset and channels",
        )
    return fitted, ", ".join(how)


def _is_of_colours(source: Manifest | None, value: Tensor, target: Tensor) -> bool:
    """Tell whether a kernel reads colours, and the target none: to their sum, grey is the same in each."""
    if source is None or source.method or value.ndim < 4 or value.ndim != target.ndim:
        return False
    count = value.shape[1]
    return count > 0 and source.params.get(COLOURS) == count and target.shape[1] % count != 0


def _inflate(network: Model, name: str, value: Tensor, target: Tensor) -> Tensor:
    """Repeat a kernel along z, divided so that slices that are all equal respond as one did in 2D.

    Carreira & Zisserman, Quo Vadis, Action Recognition?, CVPR 2017. A voxel gets as many taps along z
    as the kernel has; of a transposed convolution only those that its stride lays on it.
    """
    taps = target.shape[-1]
    module = network.get_submodule(name.rpartition(".")[0])
    over = module.stride[-1] if isinstance(module, nn.ConvTranspose3d) else 1
    return value[..., None].repeat(1, 1, 1, 1, taps) * (over / taps)


def _reads_image(network: Model, value: Tensor, target: Tensor, source: Manifest | None) -> bool:
    """Tell whether a kernel differs by the image's channels alone: some decoders read the image, too."""
    if source is None or value.ndim < 4 or value.ndim != target.ndim:
        return False
    channels = source.in_channels, network.in_channels
    return (value.shape[1], target.shape[1]) == channels and value.shape[2:] == target.shape[2:]


def _widen(encoder: Encoder | None, value: Tensor, target: Tensor) -> Tensor:
    """Repeat a weight that reads the image over more channels, so divided that equal ones respond alike.

    It comes back as it was where one count is no multiple of the other. A convolution has its channels
    on axis 1; a Linear on patches has them fastest on axis 1.
    """
    voxels = prod(encoder.patch) if isinstance(encoder, TokenEncoder) else 1
    if value.ndim != target.ndim or value.shape[1] == 0 or value.shape[1] % voxels:
        return value
    given, needed = value.shape[1] // voxels, target.shape[1] // voxels
    if needed % given:
        return value
    times = needed // given
    shape = (len(value), voxels, given, *value.shape[2:])
    repeated = value.reshape(shape).repeat(1, 1, times, *([1] * (value.ndim - 2)))
    return repeated.reshape(len(value), voxels * needed, *value.shape[2:]) / times


def _positions(
    encoder: Encoder, name: str, value: Tensor, target: Tensor, source: Manifest | None
) -> tuple[Tensor, str]:
    """Interpolate position embeddings between patch grids, trilinearly, corners not aligned.

    Grids of one size and different sides, 4x4x2 and 4x2x4, have tensors of one shape: the grid
    decides, not the shape.
    """
    count = value.shape[1] if value.ndim == 3 else 0
    if source is None:
        cube = (round(count ** (1 / 3)),) * 3
        grid = encoder.grid if value.shape == target.shape else cube
    else:
        grid = triple([side // step for side, step in zip(source.crop, encoder.patch, strict=True)])
    if grid == encoder.grid and value.shape == target.shape:
        return value, ""
    if prod(grid) != count or value.shape[2] != encoder.dim:
        raise BenchError(
            f"position embeddings {name!r} of shape {tuple(value.shape)} do not fit the patch "
            f"grid {grid}, and shape {tuple(target.shape)} is needed",
            "check the checkpoint's crop and preset",
        )
    planes = value.float().transpose(1, 2).reshape(1, encoder.dim, *grid)
    planes = interpolate(planes, size=encoder.grid, mode="trilinear", align_corners=False)
    how = f"positions {'x'.join(map(str, grid))} to {'x'.join(map(str, encoder.grid))}"
    return planes.flatten(2).transpose(1, 2), how
