"""The networks of ``networks.toml``, checked; needs neither torch nor MONAI."""

from __future__ import annotations

import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

from bench import typed
from bench.nets import sizes
from bench.nets.sizes import Entry
from bench.source import Source

FILE = Path(__file__).with_name("networks.toml")
COUNTS = ("parameters", "encoder_parameters", "flops_per_voxel", "encoder_flops_per_voxel")


def read(text: str) -> tuple[Entry, ...]:
    """Return the networks that a TOML file states, in its order.

    Raises:
        BenchError: a field is missing, unknown or of another type; names the network and the field.
    """
    return tuple(_network(name, facts) for name, facts in tomllib.loads(text).items())


def _network(name: str, facts: Any) -> Entry:
    def where(keys: typed.Keys) -> str:
        return ".".join([FILE.name, name, *keys])

    source = {field.name: facts.pop(field.name, "") for field in fields(Source)}
    size_kind = getattr(sizes, facts.pop("size"))
    for preset in facts["presets"].values():
        preset |= zip(COUNTS, preset["parameters"] + preset.pop("flops"), strict=True)
        preset["size"] = typed.build(size_kind, preset["size"], where)
    facts |= {
        "name": name,
        "module": f"bench.nets.{facts['module']}",
        "source": source,
        "pyramid": [_triple(factor, facts.get("dims", 3)) for factor in facts["pyramid"]],
    }
    return typed.build(Entry, facts, where)


def _triple(factor: int | list[int], dims: int) -> list[int]:
    """Return a factor of all axes that a network reads as one for each of x, y and z."""
    return [factor, factor, factor if dims == 3 else 1] if isinstance(factor, int) else factor


NETWORKS = read(FILE.read_text(encoding="utf-8"))
