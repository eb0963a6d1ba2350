"""Distances between the surface voxels of two masks, exact and without a distance map.

Most voxels of one surface lie within a few voxels of the other, so the nearest lattice
offsets are tried first, for all voxels at once; a k-d tree, or a distance transform where the
surface fills its box, answers for the rest.
"""

from __future__ import annotations

from itertools import groupby, product
from operator import itemgetter

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from bench.metrics.grid import Grid
from bench.metrics.hausdorff import Distances
from bench.metrics.mask import PAD, Pair

CHUNK = 1 << 22  # voxels looked through at a time; bounds the memory of the index arrays
DENSE = 16  # a surface with more than 1 in 16 voxels of its box is ragged: EDT beats the tree


def distances(pair: Pair) -> Distances:
    """Return the distances in mm from every surface voxel to the other mask's surface.

    Args:
        pair: two masks, neither empty.
    """
    prediction, reference = surface(pair.prediction), surface(pair.reference)
    return Distances(
        directed(prediction, reference, pair.grid), directed(reference, prediction, pair.grid)
    )


def surface(mask: np.ndarray) -> np.ndarray:
    """Return the voxels of a padded mask with a face neighbour outside it, same shape.

    Equals ``mask ^ binary_erosion(mask)`` (6 neighbours, outside the volume counts as outside).
    """
    flat = mask.reshape(-1)
    inner = flat.copy()
    for stride in _strides(mask.shape):
        inner[stride:] &= flat[:-stride]
        inner[:-stride] &= flat[stride:]
    return np.greater(flat, inner, out=inner).reshape(mask.shape)


def directed(
    source: np.ndarray, target: np.ndarray, grid: Grid, far: str | None = None
) -> np.ndarray:
    """Return, for every voxel of ``source``, the distance in mm to the nearest of ``target``.

    Args:
        source: boolean, padded by ``PAD`` voxels of background, not empty.
        target: boolean, same shape, not empty.
        grid: says how far apart voxels lie.
        far: ``tree`` or ``edt`` forces how distant voxels are answered, both exactly; default: the quicker by
            the target's density. ``edt`` needs axes at right angles.

    Returns:
        float64, one distance per true voxel of ``source``, in C order.
    """
    shells = _shells(source.shape, grid)
    flat, nearest = source.reshape(-1), target.reshape(-1)
    near_distances, far_points, far_places, done = [], [], [], 0
    for start in range(0, flat.size, CHUNK):
        points = np.flatnonzero(flat[start : start + CHUNK]) + start
        near, left = _near(points, nearest, shells)
        near_distances.append(near)
        far_points.append(points[left])
        far_places.append(left + done)
        done += points.size
    result, rest = np.concatenate(near_distances), np.concatenate(far_points)
    if rest.size:
        dense = np.count_nonzero(nearest) * DENSE > nearest.size and grid.square
        search = _edt if (far or ("edt" if dense else "tree")) == "edt" else _tree
        result[np.concatenate(far_places)] = search(rest, target, grid.edges)
    return result


def _near(
    points: np.ndarray, target: np.ndarray, shells: list[tuple[float, list[int]]]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the distance of each point found in a shell, and the places of those that were not."""
    reach = max(offset for _, offsets in shells for offset in offsets)
    near, places = np.zeros(points.size), np.arange(points.size)
    points = points - reach  # views that start early make every index non-negative
    for radius, offsets in shells:
        if not points.size:
            break
        hit = target[reach + offsets[0] :].take(points)
        for offset in offsets[1:]:
            hit |= target[reach + offset :].take(points)
        near[places[hit]] = radius
        points, places = points[~hit], places[~hit]
    return near, places


def _shells(shape: tuple[int, ...], grid: Grid) -> list[tuple[float, list[int]]]:
    """List the flat offsets of every lattice vector nearer than any the padding hides."""
    strides, limit = _strides(shape), (PAD + 1) * min(grid.heights)
    steps = np.array(list(product(range(-PAD, PAD + 1), repeat=len(shape))))
    vectors = zip(_length(steps, grid.edges).tolist(), (steps @ strides).tolist(), strict=True)
    near = sorted((radius, offset) for radius, offset in vectors if radius < limit)
    return [(r, [offset for _, offset in same]) for r, same in groupby(near, key=itemgetter(0))]


def _tree(points: np.ndarray, target: np.ndarray, edges: np.ndarray) -> np.ndarray:
    candidates = _coordinates(np.flatnonzero(target), target.shape)
    # An unbalanced, loose tree is built several times faster and queried as fast.
    tree = cKDTree(candidates @ edges, balanced_tree=False, compact_nodes=False)
    sources = _coordinates(points, target.shape)
    nearest = candidates[tree.query(sources @ edges)[1]]
    return _length(sources - nearest, edges)


def _edt(points: np.ndarray, target: np.ndarray, edges: np.ndarray) -> np.ndarray:
    # Indices alone take 12 bytes a voxel; SciPy's distances would take five times that.
    nearest = ndimage.distance_transform_edt(
        ~target, sampling=np.diagonal(edges), return_distances=False, return_indices=True
    )
    steps = [axis.reshape(-1)[points] for axis in nearest]
    return _length(_coordinates(points, target.shape) - np.stack(steps, axis=1), edges)


def _coordinates(points: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.stack(np.unravel_index(points, shape), axis=1).astype(np.int32)


def _length(steps: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return the length in mm of whole-voxel steps, (n, axes): the same rounding on every path."""
    return np.sqrt(((steps @ edges) ** 2).sum(axis=1))


def _strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(np.prod(shape[axis + 1 :])) for axis in range(len(shape)))
