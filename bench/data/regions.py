"""Regions that overlap, as one label map: which label each is painted with, the largest first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from bench.errors import Misstated


def paint(regions: Mapping[str, Sequence[int]], name: str) -> list[tuple[int, int]]:
    """Return (number of the region, label) in the order in which regions are painted.

    As nnU-Net's ``regions_class_order``: larger regions first, smaller ones over them. A region's label is
    one that lies in it and, besides, only in regions that contain it whole; so a voxel that is painted
    as region r reads back as r and as all that contain r.

    Args:
        regions: name -> label values.
        name: the data set's, for the message.

    Raises:
        BenchError: a region that has no such label, or two that overlap in part.
    """
    sets = {key: set(values) for key, values in regions.items()}
    if len(set(map(frozenset, sets.values()))) < len(sets):
        raise Misstated(
            "regions", f"two of data set {name!r} have the same labels; use one of them"
        )
    for (first, a), (second, b) in combinations(sets.items(), 2):
        if a & b and not (a <= b or b <= a):
            raise Misstated(
                "head",
                f"regions {first!r} and {second!r} of data set {name!r} overlap and neither holds "
                "the other, so a voxel of both cannot be written as a label map; use softmax",
            )
    painted = []
    for number, (key, labels) in sorted(enumerate(sets.items()), key=lambda item: -len(item[1][1])):
        others = [other for other in sets.values() if not labels <= other]
        alone = labels.difference(*others)
        if not alone:
            raise Misstated(
                "head",
                f"region {key!r} of data set {name!r} has no label of its own, so its sigmoid "
                "cannot be written as a label map; use softmax",
            )
        painted.append((number, min(alone)))
    return painted


def one_hot(regions: Sequence[Sequence[int]], classes: int = 256) -> np.ndarray:
    """Return a table (classes, R), 1 where a label value lies in a region: ``table[labels]`` are targets."""
    table = np.zeros((classes, len(regions)), np.float32)
    for number, values in enumerate(regions):
        table[list(values), number] = 1
    return table
