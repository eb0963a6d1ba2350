"""A page for each network: its sizes, what it reads, which methods train it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import cache
from math import prod
from typing import Any

from bench import registry
from bench.nets import catalog
from bench.nets.sizes import Entry
from bench.show.site.fields import as_yaml
from bench.show.site.markdown import cited, facts, table
from bench.typed import plain

VIEWS = {"any": "of any size", "multiples": "of multiples of its step", "crops": "as large as its crop"}


def page(name: str, used: Mapping[str, Sequence[str]]) -> str:
    """Return the page of one network; ``used``: links to the protocols that have it, by network."""
    entry = catalog.entry(name)
    sizes = [
        (f"`{key}`", f"{p.parameters:,}", f"{p.encoder_parameters:,}", _sides(p.crop), p.in_channels,
         p.out_channels, f"{p.flops_per_voxel * prod(p.crop) / 1e9:,.2f}", _size(p.size))
        for key, p in entry.presets.items()
    ]  # fmt: skip
    heading = ("preset", "parameters", "encoder", "crop", "channels in", "out", "GFLOP a crop", "size")
    trains = ", ".join(f"[{method}](../methods/{method}.md)" for method in _trained()[name])
    return "\n\n".join([
        f"# {name}: {entry.title}", "More of it: [networks](../../docs/networks.md).",
        facts(_facts(entry)), "## Sizes", table(heading, sizes),
        "Counted at the crop and channels shown; GFLOP are of one forward pass, by torch's counter.",
        "## Methods that train it", trains, "## Protocols", ", ".join(used.get(name, ())) or "None.", "",
    ])  # fmt: skip


def _size(size: Any) -> str:
    """Return what a network's module makes a size of, in words."""
    return ", ".join(f"{f.name} {as_yaml(plain(getattr(size, f.name)))}" for f in fields(size))


def _sides(sides: Sequence[int]) -> str:
    return " x ".join(map(str, sides))


def _facts(entry: Entry) -> list[tuple[str, object]]:
    return [
        ("source", cited(entry.source)), ("dimensions", entry.dims), ("tasks", ", ".join(entry.tasks)),
        ("every side of a crop is a multiple of", _sides(entry.multiple)),
        ("its maps are coarser by", ", ".join(map(_sides, entry.pyramid))),
        ("views smaller than a crop", VIEWS[entry.views]),
        ("patches", "can leave some out" if entry.tokens else "can replace some" if entry.patches else ""),
        ("batch norm", "yes" if entry.batch_norm else "no"),
        ("scales of deep supervision", entry.scales), ("file", f"`{entry.module.replace('.', '/')}.py`"),
        ("version", entry.version),
    ]  # fmt: skip


@cache
def _trained() -> dict[str, list[str]]:
    """Return which methods train each network."""
    every = {name: registry.load("method", name) for name in registry.names("method")}
    trains = {name: set(method.networks()) for name, method in every.items()}
    return {network: [m for m, own in trains.items() if network in own] for network in catalog.names()}


def index() -> str:
    """Return the list of all networks."""
    every = catalog.entries().values()
    rows = [
        (f"[{e.name}]({e.name}.md)", e.title, e.dims, ", ".join(e.tasks),
         ", ".join(f"{key} ({p.parameters / 1e6:.2f} M)" for key, p in e.presets.items()))
        for e in every
    ]  # fmt: skip
    return "# Networks\n\n" + table(("name", "title", "dimensions", "tasks", "sizes"), rows) + "\n"
