"""Distances weighted by the area of surface elements, as DeepMind's surface-distance 0.1 defines them.

A surface element sits between 2 x 2 x 2 voxels that are neither all in nor all out; its area is
that of the marching-cubes patch through the midpoints of the cut edges. The areas are computed
here rather than listed. Two rules reproduce all 256 entries of the published table
(github.com/google-deepmind/surface-distance, ``lookup_tables.py``), at any spacing: the minority
of the eight corners counts as inside, so that diagonal corners stay apart; and a patch with more
than three corners is the triangle fan that is largest on a cube.

In a picture an element sits between 2 x 2 pixels, and its size is the length of the contour through the same
midpoints (16 entries of that package's other table); along a line it is 1.
"""

from __future__ import annotations

from functools import cache
from itertools import combinations, pairwise, product

import numpy as np

from bench.errors import BenchError
from bench.metrics.hausdorff import Distances
from bench.metrics.mask import Pair
from bench.metrics.surface import directed

UNIT = np.eye(3)


def corners(axes: int) -> tuple[tuple[int, ...], ...]:
    """Return the corners of a unit cube of so many axes."""
    return tuple(product((0, 1), repeat=axes))


CORNERS = corners(3)
EDGES = tuple(e for e in combinations(CORNERS, 2) if np.abs(np.subtract(*e)).sum() == 1)


def distances(pair: Pair) -> Distances:
    """Return the distances in mm and the areas in mm2 of all surface elements of two masks.

    Of two axes the elements have lengths in mm, of a line they count 1 each.

    Raises:
        BenchError: the masks have more than three axes.
    """
    axes = pair.reference.ndim
    if axes > 3:
        raise BenchError(
            f"convention deepmind: distances on {axes} axes are not defined; use medpy or monai"
        )
    sizes = element_sizes(pair.grid.edges)
    codes = _codes(pair.prediction), _codes(pair.reference)
    predicted, true = ((code > 0) & (code < len(sizes) - 1) for code in codes)
    forward, backward = directed(predicted, true, pair.grid), directed(true, predicted, pair.grid)
    return Distances(forward, backward, sizes[codes[0][predicted]], sizes[codes[1][true]])


def element_sizes(edges: np.ndarray) -> np.ndarray:
    """Return the size of the surface element of each code of 2^n corners, shape (2^(2^n),).

    Args:
        edges: (n, any), the vectors in mm along n axes, 1 to 3: sizes are counts, mm or mm2.

    Bit k of a code is corner k from the end of ``corners(n)``.
    """
    axes = len(edges)
    if axes == 3:
        return np.array([sum((_area(t, edges) for t in patch(code)), 0.0) for code in range(256)])
    if axes == 2:
        return np.array(
            [sum((_length(s, edges) for s in contour(code)), 0.0) for code in range(16)]
        )
    return np.array([0.0, 1.0, 1.0, 0.0])


def contour(code: int) -> list[np.ndarray]:
    """Return the lines of a code of four corners, each a (2, 2) array: end x axis on a unit square."""
    square = corners(2)
    inside = {corner for bit, corner in enumerate(square[::-1]) if code >> bit & 1}
    sides = [e for e in combinations(square, 2) if np.abs(np.subtract(*e)).sum() == 1]
    cut = [side for side in sides if (side[0] in inside) != (side[1] in inside)]
    # Of four cut sides two opposite corners are inside: each keeps its own line, as in space.
    lines = (
        [cut] if len(cut) == 2 else [[side for side in cut if corner in side] for corner in inside]
    )
    return [np.stack([np.add(*side) / 2 for side in line]) for line in lines if line]


@cache
def patch(code: int) -> tuple[np.ndarray, ...]:
    """Return the triangles of a code of eight corners, each a (3, 3) array: corner x axis on a unit cube."""
    inside = {corner for bit, corner in enumerate(CORNERS[::-1]) if code >> bit & 1}
    if len(inside) > 4:
        inside = set(CORNERS) - inside
    triangles: list[np.ndarray] = []
    for loop in _loops(inside):
        points = [np.add(*edge) / 2 for edge in loop]
        turned = [points[i:] + points[:i] for i in range(len(points))]
        fans = [[np.stack([first, a, b]) for a, b in pairwise(rest)] for first, *rest in turned]
        # Rounded, so that fans of equal area are told apart by their order alone.
        triangles += max(fans, key=lambda fan: round(sum(_area(t) for t in fan), 9))
    return tuple(triangles)


def _codes(mask: np.ndarray) -> np.ndarray:
    """Return the corner codes of all blocks of 2 voxels along each axis of a padded mask, padded as much."""
    codes = np.zeros([n + 1 for n in mask.shape], dtype=np.uint8)
    blocks = codes[(slice(1, -1),) * mask.ndim]
    for bit, corner in enumerate(corners(mask.ndim)[::-1]):
        block = tuple(slice(c, c + n) for c, n in zip(corner, blocks.shape, strict=True))
        blocks |= mask[block].view(np.uint8) << np.uint8(bit)
    return codes


def _loops(inside: set[tuple[int, ...]]) -> list[list[tuple]]:
    """Return the closed loops of cut edges around the inside corners of a cube."""
    links: dict[tuple, list[tuple]] = {e: [] for e in EDGES if (e[0] in inside) != (e[1] in inside)}
    for axis, side in product(range(3), (0, 1)):
        cut = [e for e in links if e[0][axis] == e[1][axis] == side]
        if len(cut) == 4:  # two diagonal corners of this face are inside: each keeps its own line
            inside_face = [c for c in inside if c[axis] == side]
            lines = [tuple(e for e in cut if corner in e) for corner in inside_face]
        else:
            lines = [tuple(cut)] if cut else []
        for first, second in lines:
            links[first].append(second)
            links[second].append(first)
    loops = []
    while links:
        edge: tuple | None = next(iter(links))
        loop = []
        while edge is not None:
            loop.append(edge)
            edge = next((e for e in links.pop(edge) if e in links), None)
        loops.append(loop)
    return loops


def _area(triangle: np.ndarray, edges: np.ndarray = UNIT) -> float:
    a, b, c = triangle @ edges
    return float(np.linalg.norm(np.cross(b - a, c - a)) / 2)


def _length(line: np.ndarray, edges: np.ndarray) -> float:
    return float(np.linalg.norm((line[1] - line[0]) @ edges))
