"""Find scans that are the same scan, whatever was cropped, turned, resampled and windowed.

A copy is a box of the whole scan, turned. ``poses`` guesses boxes; here the likeliest are fitted,
first coarsely and then by what is fine, and judged by the worst places: two patients share the
large structures, and edges that fit, but not the grain between them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.data.fingerprint import sampling
from bench.data.poses import (
    COARSE,
    DETAIL,
    FINE,
    MIDDLE,
    Guesses,
    Pose,
    View,
    box,
    correlation,
    gauss,
    grain,
    guess,
    read,
    swept,
    turned,
    unit,
    view,
)

# A pair is dropped as soon as it falls below one of these; tests/leaks.py measures the room.
GUESSED = 0.64  # correlation of the cosines
SEEN = 0.74  # correlation of the thumbnails in the fitted box
FITTED = 0.84  # correlation of the fingerprints, once one grey scale is mapped to the other
SWEPT = 0.75  # correlation of what is fine in the best boxes along the axes
ALIKE = 0.3  # ``_likeness`` at few places
SAME = {2: 0.3, 3: 0.5}  # ``_likeness``, of pictures and of volumes; between two patients and copies
SURE = 0.75  # so alike that no other pose or channel needs to be tried

NEAR = 0.1  # a way to map the grey values that is so little less alike is tried as well
TRIES, SURVIVORS = 8, 3  # poses of a pair that are fitted coarsely, and finely
BLURS = (1.0, 0.5)  # how a copy was resampled is unknown: averaged, or rather picked
WINDOW = 1.0  # places; spread of the windows in which likeness is judged
CONTRAST = 2.0  # of 255 levels; a window with less is flat and says nothing
SPEAKING = 0.02  # share of the windows that must not be flat
WORST = 0.1  # quantile of the windows that decides
EXTENT = (0.5, 1.25)  # share of an axis; wider than 0.6 to 1, as thick slices move the ends
TOUCHING = 0.02  # share of an axis; boxes that differ by less are one
OUTSIDE = 0.13  # share of an axis by which a box may stick out, for the same reason


@dataclass(frozen=True)
class Match:
    """Scan ``a`` of the first set and ``b`` of the second are the same; ``score`` is at most 1."""

    a: int
    b: int
    score: float


def matches(
    first: Sequence[np.ndarray],
    second: Sequence[np.ndarray],
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Match]:
    """Return every pair of scans that is judged the same, ordered by ``a`` and ``b``.

    Two scans are the same where any channel of one is any channel of the other. Pictures match
    pictures, volumes match volumes, and a channel without content matches nothing.

    Args:
        first: fingerprints (C, X, Y, Z).
        second: fingerprints.
        on_progress: called with how many channels of ``first`` are done, and of how many.
    """
    best: dict[tuple[int, int], float] = {}
    mine, theirs = _views(first), _views(second)
    done = 0
    for d, least in SAME.items():
        ours, others = ([(i, v) for i, v in side if v.volume.ndim == d] for side in (mine, theirs))
        if not others:
            done += len(ours)
        if not ours or not others:
            continue
        my_turns, their_turns = (np.stack([v.turned for _, v in side], axis=1) for side in (ours, others))
        back = [guess(v.thumbnail, my_turns) for _, v in others]
        for number, (a, whole) in enumerate(ours):
            forth = guess(whole.thumbnail, their_turns)
            for place, (b, other) in enumerate(others):
                if best.get((a, b), -1.0) >= SURE:
                    continue
                score = _judged(whole, other, (forth, place), (back[place], number))
                if score >= least:
                    best[a, b] = max(score, best.get((a, b), score))
            done += 1
            if on_progress:
                on_progress(done, len(mine))
    return [Match(a, b, score) for (a, b), score in sorted(best.items())]


def _views(prints: Sequence[np.ndarray]) -> list[tuple[int, View]]:
    return [(i, view(c)) for i, channels in enumerate(prints) for c in channels if c.any()]


def _judged(one: View, two: View, forth: tuple[Guesses, int], back: tuple[Guesses, int]) -> float:
    """Return how alike two channels are, -1 where an early stage dropped them."""
    best = -1.0
    seen: list[Pose] = []
    for pose in _poses(one, two, forth, back):
        for _ in range(2):  # a better box gives a better mapping, and the other way round
            pose = _fitted(_mapped(pose, MIDDLE), MIDDLE, steps=2)
            if pose.fit < FITTED or any(_equal(pose, other) for other in seen):
                break
        else:
            seen.append(pose)
            pose = swept(_mapped(pose, MIDDLE))
            if np.prod(pose.extent) > 1:  # what lies outside the smaller one has not been seen
                pose = swept(_mapped(pose.inverted(), MIDDLE))
            if pose.fit >= SWEPT:
                best = max(best, _finely(pose))
            if best >= SURE:
                break
    return best


def _equal(pose: Pose, other: Pose) -> bool:
    """Tell whether two guesses have come to the same box."""
    apart = np.abs(pose.start - other.start) + np.abs(pose.extent - other.extent)
    return pose.role == other.role and bool(apart.max() < TOUCHING)


def _finely(pose: Pose) -> float:
    """Return the likeness after two fits of what is fine, -1 where the first one shows there is none."""
    # A clipped copy tells nothing of what the whole scan shows there; which of the two is clipped is unknown.
    ways = [_fitted(_mapped(replace(pose, way=w), MIDDLE), MIDDLE, steps=2, detail=True) for w in (1, 2)]
    alike = [_likeness(p, MIDDLE) for p in ways]
    likeness = -1.0
    for way, value in zip(ways, alike, strict=True):
        if value >= max(ALIKE, max(alike) - NEAR):
            for blur in BLURS:
                fine = _fitted(_mapped(replace(way, blur=blur), FINE), FINE, detail=True)
                likeness = max(likeness, _likeness(fine, FINE))
    return likeness


def _poses(one: View, two: View, forth: tuple[Guesses, int], back: tuple[Guesses, int]) -> list[Pose]:
    """Return the likeliest poses by the thumbnails."""
    found = []
    for whole, copy, (guesses, row) in ((one, two, forth), (two, one, back)):
        some = zip(guesses.score[row], guesses.turn[row], guesses.box[row], strict=True)
        found += [(float(s), whole, copy, int(t), int(n)) for s, t, n in some if s >= GUESSED]
    found.sort(key=lambda f: -f[0])
    tried = []
    for _, whole, copy, turn, number in found[:TRIES]:
        start, extent = box(number, whole.volume.ndim)
        pose = Pose(whole.thumbnail, turned(copy.thumbnail, turn), start, extent)
        tried.append((_fitted(pose, COARSE, steps=2), whole, copy, turn))
    tried.sort(key=lambda t: -t[0].fit)
    poses = []
    for pose, whole, copy, turn in tried[:SURVIVORS]:
        pose = _fitted(pose, COARSE)
        if pose.fit >= SEEN:
            levels = whole.volume, np.ascontiguousarray(turned(copy.volume, turn))
            poses.append(
                replace(pose, whole=levels[0], copy=levels[1], levels=levels, role=(whole is one, turn))
            )
    return poses


def _fitted(pose: Pose, places: dict[int, int], *, steps: int = 3, detail: bool = False) -> Pose:
    """Move and stretch the box by Gauss-Newton steps; return the one that correlated best."""
    counts = pose.counts(places)
    high = [gauss(n, DETAIL) for n in counts] if detail else None
    target, _ = unit(grain(pose.target(counts), high))
    best = pose = replace(pose, fit=-1.0)
    for step in range(steps + 1):
        shown, norm = unit(grain(pose.shown(counts), high))
        pose = replace(pose, fit=float(shown.ravel() @ target.ravel()))
        best = max(best, pose, key=lambda p: p.fit)
        if step == steps:
            break
        columns = [np.ones_like(shown), shown]
        for axis, change in enumerate(_changes(pose, counts, shown * norm if high is None else None)):
            ramp = ((np.arange(counts[axis], dtype=np.float32) + 0.5) / counts[axis] - 0.5).reshape(
                -1, *(1,) * (shown.ndim - 1 - axis)
            )
            columns += [grain(change / norm, high), grain(change / norm * ramp, high)]
        moves = _moves(np.stack([c.ravel() for c in columns]), target.ravel())
        if moves is None:
            break
        pose = _moved(pose, moves, _bounds(pose) if places is not COARSE else EXTENT)
    return best


def _changes(pose: Pose, counts: list[int], shown: np.ndarray | None) -> list[np.ndarray]:
    """Return how what is shown changes as the box moves along each axis.

    ``shown`` gives it cheaply, by differences between places; along a few thick slices, and where
    it is not given, the box is read again half a voxel to either side.
    """
    changes = []
    matrices = pose.matrices(counts)
    for axis, (n, count) in enumerate(zip(pose.whole.shape, counts, strict=True)):
        if shown is not None and count > 4:
            changes.append(np.gradient(shown, float(pose.extent[axis]) / count, axis=axis))
            continue
        start, extent, half = pose.start[axis], pose.extent[axis], 0.5 / n
        ahead, behind = (sampling(n, count, start + h, extent, pose.blur) for h in (half, -half))
        slope = (ahead - behind) / (2 * half)
        changes.append(read(pose.whole, [*matrices[:axis], slope, *matrices[axis + 1 :]]))
    return changes


def _moves(columns: np.ndarray, target: np.ndarray) -> np.ndarray | None:
    """Return shift and stretch per axis, by least squares with an offset and a gain; or None."""
    normal = columns @ columns.T
    diagonal = np.diag_indices(len(normal))
    normal[diagonal] = normal[diagonal] * 1.001 + 1e-9
    solved = np.linalg.solve(normal, columns @ target)
    if abs(solved[1]) < 1e-3:
        return None
    return np.clip(solved[2:] / max(float(solved[1]), 0.3), -0.1, 0.1)


def _bounds(pose: Pose) -> tuple[np.ndarray, np.ndarray]:
    """Return the least and the largest extent, given where resamplers put the first and last voxel."""
    return 0.57 - 0.5 / np.array(pose.whole.shape), 1.03 + 1.3 / np.array(pose.copy.shape)


def _moved(pose: Pose, moves: np.ndarray, bounds: tuple[float | np.ndarray, float | np.ndarray]) -> Pose:
    centre = pose.start + pose.extent / 2 + moves[0::2]
    extent = np.clip(pose.extent + moves[1::2], *bounds)
    return replace(pose, start=np.clip(centre - extent / 2, -OUTSIDE, 1 + OUTSIDE - extent), extent=extent)


def _mapped(pose: Pose, places: dict[int, int]) -> Pose:
    """Map one volume's grey scale to the other's by ranks in the box, a window's clipping included."""
    counts = pose.counts(places)
    pose = replace(pose, whole=pose.levels[0].astype(np.float32), copy=pose.levels[1].astype(np.float32))
    shown, target = pose.shown(counts), pose.target(counts)
    to, back = _mapping(shown, target), _mapping(target, shown)
    if pose.way == 2:
        return replace(pose, copy=back[pose.levels[1]])
    if pose.way == 1 or correlation(to[_level(shown)], target) >= correlation(shown, back[_level(target)]):
        return replace(pose, whole=to[pose.levels[0]])
    return replace(pose, copy=back[pose.levels[1]])


def _level(image: np.ndarray) -> np.ndarray:
    return np.clip(image + 0.5, 0, 255).astype(np.uint8)


def _mapping(values: np.ndarray, onto: np.ndarray) -> np.ndarray:
    """Return the monotone map of 256 levels that gives ``values`` the distribution of ``onto``."""
    take = np.linspace(0, values.size - 1, min(200, values.size)).astype(int)
    knots, which = np.unique(np.sort(values, axis=None)[take], return_inverse=True)
    heights = np.bincount(which, np.sort(onto, axis=None)[take]) / np.bincount(which)
    return np.interp(np.arange(256), knots, heights).astype(np.float32)


def _likeness(pose: Pose, places: dict[int, int]) -> float:
    """Return the correlation of fine detail in the worst tenth of all windows that show any."""
    counts = pose.counts(places)
    pose = _mapped(pose, places)
    window = [gauss(n, WINDOW) for n in counts]
    a, b = (grain(image, window) for image in (pose.shown(counts), pose.target(counts)))
    mean_a, mean_b = read(a, window), read(b, window)
    spread_a, spread_b = read(a * a, window) - mean_a**2, read(b * b, window) - mean_b**2
    speaking = np.minimum(spread_a, spread_b) > CONTRAST**2
    if speaking.mean() < SPEAKING:
        return -1.0
    shared = (read(a * b, window) - mean_a * mean_b)[speaking]
    return float(np.quantile(shared / np.sqrt((spread_a * spread_b)[speaking]), WORST))
