"""Area-weighted surface distances, as DeepMind's surface-distance 0.1 defines them.

A surface element sits between 2 x 2 x 2 voxels that are neither all in nor all out; its area is
that of the marching-cubes patch through the midpoints of the cut edges. The areas are computed
here rather than listed. Two rules reproduce all 256 entries of the published table
(github.com/google-deepmind/surface-distance, ``lookup_tables.py``), at any spacing: the minority
of the eight corners counts as inside, so that diagonal corners stay apart; and a patch with more
than three corners is the triangle fan that is largest on a cube.
"""

from __future__ import annotations

from functools import cache
from itertools import combinations, pairwise, product

import numpy as np

from bench.errors import BenchError
from bench.metrics.mask import Pair
from bench.metrics.surface import directed
from bench.metrics.value import Distances

CORNERS = tuple(product((0, 1), repeat=3))
EDGES = tuple(e for e in combinations(CORNERS, 2) if np.abs(np.subtract(*e)).sum() == 1)


def distances(pair: Pair) -> Distances:
    """Return the distances in mm and the areas in mm2 of all surface elements of two 3-D masks.

    Raises:
        BenchError: the masks are not 3-D.
    """
    if len(pair.spacing) != 3:
        raise BenchError("convention deepmind: distances need 3-D volumes; use medpy or monai")
    areas = element_areas(pair.spacing)
    codes = _codes(pair.prediction), _codes(pair.reference)
    one, two = (code + np.uint8(1) > 1 for code in codes)  # neither 0 nor 255, which wraps to 0
    there, back = directed(one, two, pair.spacing), directed(two, one, pair.spacing)
    return Distances(there, back, areas[codes[0][one]], areas[codes[1][two]])


def element_areas(spacing: tuple[float, ...]) -> np.ndarray:
    """Return the area in mm2 of the surface element of each 8-bit corner code, shape (256,).

    Bit k of a code is the corner ``CORNERS[7 - k]``.
    """
    areas = [sum((_area(t, spacing) for t in patch(code)), 0.0) for code in range(256)]
    return np.array(areas)


@cache
def patch(code: int) -> tuple[np.ndarray, ...]:
    """Return the triangles of a corner code, each a (3, 3) array: corner x axis on a unit cube."""
    inside = {corner for bit, corner in enumerate(CORNERS[::-1]) if code >> bit & 1}
    if len(inside) > 4:
        inside = set(CORNERS) - inside
    found: list[np.ndarray] = []
    for loop in _loops(inside):
        points = [np.add(*edge) / 2 for edge in loop]
        turned = [points[i:] + points[:i] for i in range(len(points))]
        fans = [[np.stack([first, a, b]) for a, b in pairwise(rest)] for first, *rest in turned]
        # Rounded, so that fans of equal area are told apart by their order alone.
        found += max(fans, key=lambda fan: round(sum(_area(t) for t in fan), 9))
    return tuple(found)


def _codes(mask: np.ndarray) -> np.ndarray:
    """Return the corner codes of all 2 x 2 x 2 blocks of a padded mask, padded as much."""
    codes = np.zeros([n + 1 for n in mask.shape], dtype=np.uint8)
    blocks = codes[1:-1, 1:-1, 1:-1]
    for bit, corner in enumerate(CORNERS[::-1]):
        block = tuple(slice(c, c + n) for c, n in zip(corner, blocks.shape, strict=True))
        blocks |= mask[block].view(np.uint8) << np.uint8(bit)
    return codes


def _loops(inside: set[tuple[int, ...]]) -> list[list[tuple]]:
    """Return the closed loops of cut edges around the inside corners of a cube."""
    links: dict[tuple, list[tuple]] = {e: [] for e in EDGES if (e[0] in inside) != (e[1] in inside)}
    for axis, side in product(range(3), (0, 1)):
        cut = [e for e in links if e[0][axis] == e[1][axis] == side]
        if len(cut) == 4:  # two diagonal corners of this face are inside: each keeps its own line
            here = [c for c in inside if c[axis] == side]
            lines = [tuple(e for e in cut if corner in e) for corner in here]
        else:
            lines = [tuple(cut)] if cut else []
        for one, two in lines:
            links[one].append(two)
            links[two].append(one)
    loops = []
    while links:
        edge: tuple | None = next(iter(links))
        loop = []
        while edge is not None:
            loop.append(edge)
            edge = next((e for e in links.pop(edge) if e in links), None)
        loops.append(loop)
    return loops


def _area(triangle: np.ndarray, spacing: tuple[float, ...] = (1, 1, 1)) -> float:
    a, b, c = triangle * np.asarray(spacing, dtype=np.float64)
    return float(np.linalg.norm(np.cross(b - a, c - a)) / 2)
