"""The nearest crop that a network, and whoever reads crops of it, can be trained on."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

from bench.errors import BenchError
from bench.nets.catalog import check_crop, network_facts
from bench.ranges import Triple

SIDES = 7  # that are tried along each axis, the nearest first


def nearest(
    name: str, preset: str, crop: Triple, works: Callable[[Triple], bool] = lambda crop: True
) -> Triple | None:
    """Return the nearest crop that fits, None where none of those near does.

    Args:
        name: a network.
        preset: its size.
        crop: voxels along x, y, z.
        works: does a crop that the network can be trained on fit whoever else reads it?
    """
    facts = network_facts(f"{name}/{preset}")
    x, y, z = (
        sorted(range(step, side + (SIDES + 1) * step, step), key=lambda n, s=side: (abs(n - s), n))  # type: ignore[misc]
        for step, side in zip(facts.multiple, crop, strict=True)
    )
    crops: list[Triple] = [*product(x[:SIDES], y[:SIDES], z[:SIDES] if facts.dims == 3 else [1])]
    crops.sort(key=lambda c: sum(abs(a - b) for a, b in zip(c, crop, strict=True)))
    return next((c for c in crops if _is_trainable(name, preset, c) and works(c)), None)


def _is_trainable(name: str, preset: str, crop: Triple) -> bool:
    try:
        check_crop(name, preset, crop)
    except BenchError:
        return False
    return True
