"""Networks by name and size. Names cost nothing: torch and MONAI load when one is built."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bench.errors import BenchError
from bench.nets.catalog import CATALOG, Triple, check_crop, entry

if TYPE_CHECKING:
    from bench.nets.base import Classifier, Decoder, Encoder, Model, Network, TokenEncoder

__all__ = [
    "Classifier", "Decoder", "Encoder", "Model", "Network", "TokenEncoder", "Triple",
    "classifier", "network", "network_names", "presets",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in ("Classifier", "Decoder", "Encoder", "Model", "Network", "TokenEncoder"):
        return getattr(importlib.import_module("bench.nets.base"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def triple(sizes: Sequence[int]) -> Triple:
    """Return three sizes (x, y, z) of a spec's list as a tuple."""
    x, y, z = sizes
    return (x, y, z)


def network_names() -> list[str]:
    """List the networks by name."""
    return sorted(CATALOG)


def presets(name: str) -> list[str]:
    """List the sizes of one network, smallest first."""
    return list(entry(name).presets)


def network(
    name: str, preset: str, in_channels: int, out_channels: int, crop: Triple | None = None
) -> Network:
    """Return a freshly initialised network (from torch's global generator: seed it before).

    Args:
        name: one of ``network_names()``.
        preset: one of ``presets(name)``.
        in_channels: image channels.
        out_channels: classes, background included.
        crop: input size in voxels; by default the preset's own.

    Raises:
        BenchError: unknown name or preset, or channels or a crop the network cannot read.
    """
    crop = check_crop(name, preset, crop)
    for key, value in (("in_channels", in_channels), ("out_channels", out_channels)):
        if value < 1:
            raise BenchError(f"network {name!r}: {key} = {value}; give 1 or more")
    module = importlib.import_module(entry(name).module)
    built: Network = module.build(name, preset, in_channels, out_channels, crop)
    built.version = entry(name).version
    return built


def classifier(
    name: str, preset: str, in_channels: int, classes: int, crop: Triple | None = None
) -> Classifier:  # fmt: skip
    """Return the same encoder, initialised alike, with one linear layer on its averaged bottleneck.

    Args:
        name: one of ``network_names()``.
        preset: one of ``presets(name)``.
        in_channels: image channels.
        classes: how many, 2 or more.
        crop: input size in voxels; by default the preset's own.

    Raises:
        BenchError: unknown name or preset, or channels, classes or a crop it cannot have.
    """
    if classes < 2:
        raise BenchError(f"network {name!r}: {classes} class(es); a classification needs 2 or more")
    made = network(name, preset, in_channels, classes, crop)
    return importlib.import_module("bench.nets.base").Classifier(made, classes)
