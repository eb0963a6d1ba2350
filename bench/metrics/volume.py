"""One pair of label maps: find every target once, cut it out, hand it to the metrics."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from types import ModuleType

import numpy as np
from scipy import ndimage

from bench.errors import BenchError
from bench.metrics import Score, area, empty_masks, hausdorff, lesions, surface
from bench.metrics.grid import Grid, index_of, long_axes
from bench.metrics.hausdorff import Distances
from bench.metrics.mask import Pair, counted, mask
from bench.metrics.request import Request, Wanted, of_each, unit

Box = tuple[slice, ...]
Measured = tuple[str, float | None]  # metric and value
LARGEST = 65535  # find_objects lists every value up to the largest


def compare(
    prediction: np.ndarray,
    reference: np.ndarray,
    grid: Grid,
    requests: tuple[Request, ...],
    wanted: Wanted,
) -> list[list[Score]]:
    """Score two label maps once per request; see ``bench.metrics.score`` for arguments, units and errors.

    What two conventions share, voxel counts or surfaces, is computed once. Metrics over all cases at once
    (``bench.metrics.pooled``) are left out: they have no number of one case. Axes of one voxel are dropped
    (``grid.long_axes``): a slice is scored as the picture that it is.
    """
    requests = tuple(replace(request, metrics=of_each(request.metrics)) for request in requests)
    prediction, reference = _labels("prediction", prediction), _labels("reference", reference)
    if not prediction.shape == reference.shape == grid.shape:
        raise BenchError(
            f"prediction has shape {prediction.shape}, reference {reference.shape};"
            " resample the prediction to the reference's grid"
        )
    axes = long_axes(grid.shape)
    only = index_of(axes, reference.ndim)
    prediction, reference, grid = prediction[only], reference[only], grid.along(axes)
    diagonal = grid.diagonal
    # Memory order first: a volume read from NIfTI runs fastest along X, and no metric here
    # depends on the order of the axes.
    order = np.argsort([-abs(stride) for stride in reference.strides], kind="stable")
    prediction, reference = prediction.transpose(order), reference.transpose(order)
    grid = grid.along(tuple(order.tolist()))
    boxes = _boxes(prediction), _boxes(reference)
    scores: list[list[Score]] = [[] for _ in requests]
    for target, values in wanted.targets(boxes[0].keys() | boxes[1].keys()).items():
        box = _union([b[v] for b in boxes for v in values if v in b], 0 in values, reference.shape)
        pair = (
            Pair(mask(prediction[box], values), mask(reference[box], values), grid) if box else None
        )
        status = pair.status if pair else "both_empty"
        for scored, numbers in zip(scores, _measure(pair, diagonal, requests), strict=True):
            scored += [
                Score(target, metric, number, unit(metric), _status(status, number))
                for metric, number in numbers
            ]
    return scores


def _status(status: str, number: float | None) -> str:
    """Return why a number is what it is: of two masks with voxels, a reference without lesions of a size."""
    return "empty_reference" if status == "ok" and number is None else status


def _measure(
    pair: Pair | None, diagonal: float, requests: tuple[Request, ...]
) -> list[list[Measured]]:
    if pair is None or pair.status != "ok":
        return [
            [(m, empty_masks.of_empty(m, pair, r.empty, diagonal)) for m in r.metrics]
            for r in requests
        ]

    @cache
    def distances(room: ModuleType) -> Distances:
        return room.distances(pair)

    @cache
    def components() -> lesions.Lesions:
        return lesions.Lesions.of(pair)

    measured = []
    for request in requests:
        values: dict[str, float | None] = {m: counted(m, pair) for m in request.counted}
        volume = pair.grid.volume
        values |= {m: lesions.value(m, components(), volume) for m in request.lesions}
        if request.surfaces:
            surfaces = distances(area if request.convention == "deepmind" else surface)
            values |= {
                m: hausdorff.distance(m, surfaces, request.convention) for m in request.surfaces
            }
        measured.append([(metric, values[metric]) for metric in request.metrics])
    return measured


def _labels(role: str, array: np.ndarray) -> np.ndarray:
    """Return the array as unsigned integers of at most 16 bits, without a copy where it is so."""
    array = np.asarray(array)
    if array.dtype == bool:
        return array.view(np.uint8)
    if array.dtype in (np.uint8, np.uint16) or not array.size:
        return array
    if array.dtype.kind not in "iuf":
        raise BenchError(f"{role}: {array.dtype} is not a label map; give integers or booleans")
    low, high = array.min(), array.max()
    if not (low >= 0 and high <= LARGEST):  # a NaN fails both
        raise BenchError(
            f"{role}: values from {low} to {high}; labels must lie in 0..{LARGEST}, renumber them"
        )
    small = array.astype(np.uint8 if high < 256 else np.uint16)
    if array.dtype.kind == "f" and not np.array_equal(small, array):
        raise BenchError(f"{role}: fractional values; give a label map, not probabilities")
    return small


def _boxes(array: np.ndarray) -> dict[int, Box]:
    """Return the bounding box of every non-zero label that occurs."""
    # find_objects looks at every voxel; maxima over an axis are far quicker and trim the air.
    shadow = array.max(axis=0, initial=0)
    if not shadow.any():
        return {}
    sides = [_extent(shadow.max(axis=_but(axis, shadow.ndim))) for axis in range(shadow.ndim)]
    sides = [_extent(array[(slice(None), *sides)].max(axis=_but(0, array.ndim))), *sides]
    objects = ndimage.find_objects(array[tuple(sides)])
    return {
        label: tuple(
            slice(a.start + by.start, a.stop + by.start) for a, by in zip(box, sides, strict=True)
        )
        for label, box in enumerate(objects, start=1)
        if box is not None
    }


def _but(axis: int, ndim: int) -> tuple[int, ...]:
    return tuple(other for other in range(ndim) if other != axis)


def _extent(line: np.ndarray) -> slice:
    inside = np.flatnonzero(line)
    return slice(int(inside[0]), int(inside[-1]) + 1)


def _union(boxes: list[Box], background: bool, shape: tuple[int, ...]) -> Box | None:
    if background and all(shape):
        return tuple(slice(0, n) for n in shape)
    if not boxes:
        return None
    return tuple(
        slice(min(side.start for side in sides), max(side.stop for side in sides))
        for sides in zip(*boxes, strict=True)
    )
