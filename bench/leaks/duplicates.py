"""Find scans that are the same scan, whatever was cropped, turned, resampled and windowed.

A copy is a box of the whole scan, turned. ``poses`` guesses boxes; here the likeliest are fitted,
first coarsely and then by what is fine, and judged by the worst places: two patients share the
large structures, and edges that fit, but not the grain between them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from bench.leaks.fingerprint import read
from bench.leaks.fits import TOGETHER, fitted
from bench.leaks.poses import (
    BASIS,
    COARSE,
    FINE,
    MIDDLE,
    Guesses,
    Pose,
    View,
    correlation,
    gauss,
    grain,
    guess,
    swept,
    turned,
    view,
)

# A pair is dropped as soon as it falls below one of these; tools/leaks.py measures the room.
GUESSED = 0.64  # correlation of the cosines
SEEN = 0.74  # correlation of the thumbnails in the fitted box
# correlation of what is fine in them, once one grey scale is mapped to the other
ROUGHLY = {2: 0.2, 3: 0.7}
FITTED = 0.84  # correlation of the fingerprints, once one grey scale is mapped to the other
SWEPT = 0.75  # correlation of what is fine in the best boxes along the axes
ALIKE = 0.3  # ``_likeness`` at few places
# ``_likeness``, of pictures and of volumes; between two patients and copies
SAME = {2: 0.3, 3: 0.5}
SURE = 0.75  # so alike that no other pose or channel needs to be tried

NEAR = 0.1  # a way to map the grey values that is so little less alike is tried as well
TRIES, SURVIVORS = 8, 3  # poses of a pair that are fitted coarsely, and finely
BLURS = (1.0, 0.5)  # how a copy was resampled is unknown: averaged, or rather picked
LEVELS = np.arange(256)  # of a fingerprint
WINDOW = 1.0  # places; spread of the windows in which likeness is judged
CONTRAST = 2.0  # of 255 levels; a window with less is flat and says nothing
SPEAKING = 0.02  # share of the windows that must not be flat
WORST = 0.1  # quantile of the windows that decides
TOUCHING = 0.02  # share of an axis; boxes that differ by less are one


@dataclass(frozen=True)
class Match:
    """Scan ``a`` of the first set and ``b`` of the second are the same; ``score`` is at most 1."""

    a: int
    b: int
    score: float


def matches(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> list[Match]:
    """Return every pair of scans that is judged the same, ordered by ``a`` and ``b``.

    Two scans, fingerprints (C, X, Y, Z), are the same where any channel of one is any channel of the other.
    Pictures match pictures, volumes match volumes, and a channel without content matches nothing.
    """
    best: dict[tuple[int, int], float] = {}
    mine, theirs = _views(first), _views(second)
    for d, least in SAME.items():
        ours, others = ([(i, v) for i, v in side if v.volume.ndim == d] for side in (mine, theirs))
        if not ours or not others:
            continue
        my_turns = np.stack([v.turned for _, v in ours], axis=1)
        their_turns = np.stack([v.turned for _, v in others], axis=1)
        back = [guess(v, my_turns) for _, v in others]
        for number, (a, scan) in enumerate(ours):
            forth = guess(scan, their_turns)
            guessed = [
                _guessed(scan, other, (forth, column), (back[column], number))
                for column, (_, other) in enumerate(others)
            ]
            for (b, other), poses in zip(others, _tried(guessed), strict=True):
                if best.get((a, b), -1.0) >= SURE:
                    continue
                score = _judged(scan, other, poses)
                if score >= least:
                    best[a, b] = max(score, best.get((a, b), score))
    return [Match(a, b, score) for (a, b), score in sorted(best.items())]


def compared(ones: Sequence[View], two: View) -> list[float]:
    """Return how alike each of some channels and one other are, as ``matches`` judges it.

    All have as many axes as the other; -1 where an early stage drops a pair.
    """
    back = guess(two, np.stack([scan.turned for scan in ones], axis=1))
    forth = [guess(scan, two.turned[:, None]) for scan in ones]
    guessed = [_guessed(scan, two, (forth[n], 0), (back, n)) for n, scan in enumerate(ones)]
    return [_judged(scan, two, poses) for scan, poses in zip(ones, _tried(guessed), strict=True)]


def _views(prints: Sequence[np.ndarray]) -> list[tuple[int, View]]:
    return [(i, view(c)) for i, channels in enumerate(prints) for c in channels if c.any()]


def _judged(first: View, second: View, tried: Sequence[Pose]) -> float:
    """Return how alike two channels are by the poses tried, -1 where an early stage dropped them."""
    best = -1.0
    seen: list[Pose] = []
    for pose in _poses(first, second, tried):
        for _ in range(2):  # a better box gives a better mapping, and the other way round
            (pose,) = fitted([_mapped(pose, MIDDLE)], MIDDLE, steps=2)
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
    mapped = [_mapped(replace(pose, way=w), MIDDLE) for w in (1, 2)]
    ways = fitted(mapped, MIDDLE, steps=2, detail=True)
    alike = [_likeness(p, MIDDLE) for p in ways]
    likeness = -1.0
    for way, value in zip(ways, alike, strict=True):
        if value >= max(ALIKE, max(alike) - NEAR):
            for blur in BLURS:
                (fine,) = fitted([_mapped(replace(way, blur=blur), FINE)], FINE, detail=True)
                likeness = max(likeness, _likeness(fine, FINE))
    return likeness


def _guessed(
    first: View, second: View, forth: tuple[Guesses, int], back: tuple[Guesses, int]
) -> list[Pose]:
    """Return the likeliest poses of two thumbnails by their cosines, the likeliest first."""
    candidates = []
    for role, copy, (guesses, row) in ((True, second, forth), (False, first, back)):
        scored = zip(guesses.score[row], guesses.turn[row], guesses.box[row], strict=True)
        candidates += [(float(s), role, copy, int(t), int(n)) for s, t, n in scored if s >= GUESSED]
    candidates.sort(key=lambda f: -f[0])
    poses = []
    for _, role, copy, turn, number in candidates[:TRIES]:
        start, extent = BASIS[copy.volume.ndim].box(number)
        scan = first if role else second
        thumbnails = scan.thumbnail, turned(copy.thumbnail, turn)
        poses.append(Pose(*thumbnails, start, extent, role=(role, turn)))
    return poses


def _tried(guessed: Sequence[Sequence[Pose]]) -> list[list[Pose]]:
    """Return all poses after their first fit, those of each pair of scans sorted by it."""
    fits = iter(first_fits([pose for poses in guessed for pose in poses], COARSE))
    return [sorted(islice(fits, len(poses)), key=lambda p: -p.fit) for poses in guessed]


def first_fits(poses: Sequence[Pose], places: dict[int, int]) -> list[Pose]:
    """Return poses of thumbnails, fitted; those of pictures and of volumes apart."""
    fits = list(poses)
    for d in places:
        mine = [n for n, pose in enumerate(poses) if pose.scan.ndim == d]
        for block in (mine[first : first + TOGETHER] for first in range(0, len(mine), TOGETHER)):
            new = fitted([poses[n] for n in block], places, steps=2)
            for n, pose in zip(block, new, strict=True):
                fits[n] = pose
    return fits


def _poses(first: View, second: View, tried: Sequence[Pose]) -> Iterator[Pose]:
    """Yield the poses that are worth a comparison of the volumes."""
    for pose in tried[:SURVIVORS]:
        if pose.fit < SEEN or roughly(pose) < ROUGHLY[pose.scan.ndim]:
            continue
        leads, turn = pose.role
        scan, copy = (first, second) if leads else (second, first)
        levels = scan.volume, np.ascontiguousarray(turned(copy.volume, turn))
        (pose,) = fitted([pose], COARSE)
        yield replace(pose, scan=levels[0], copy=levels[1], levels=levels)


def roughly(pose: Pose) -> float:
    """Return how what is fine in two thumbnails correlates, once one grey scale is mapped to the other."""
    counts = pose.counts(COARSE)
    window = [gauss(n, WINDOW) for n in counts]
    shown, target = _in_one_scale(pose.shown(counts), pose.target(counts))
    return correlation(grain(shown, window), grain(target, window))


def _mapped(pose: Pose, places: dict[int, int]) -> Pose:
    """Map one volume's grey scale to the other's by ranks in the box, a window's clipping included."""
    counts = pose.counts(places)
    scan, copy = (volume.astype(np.float32) for volume in pose.levels)
    pose = replace(pose, scan=scan, copy=copy)
    shown, target = pose.shown(counts), pose.target(counts)
    to, back = _mappings(shown, target)
    way = pose.way
    if not way:
        forth = correlation(to[_level(shown)], target)
        way = 1 if forth >= correlation(shown, back[_level(target)]) else 2
    if way == 1:
        return replace(pose, scan=to[pose.levels[0]])
    return replace(pose, copy=back[pose.levels[1]])


def _in_one_scale(shown: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return both images, one of them mapped to the other's grey scale: whichever way correlates better."""
    to, back = _mappings(shown, target)
    mapped = (to[_level(shown)], target), (shown, back[_level(target)])
    return max(mapped, key=lambda images: correlation(*images))


def _level(image: np.ndarray) -> np.ndarray:
    return np.clip(image + 0.5, 0, 255).astype(np.uint8)


def _mappings(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the monotone maps of 256 levels that give either image the distribution of the other."""
    take = np.linspace(0, first.size - 1, min(200, first.size)).astype(int)
    ranked = np.sort(first, axis=None)[take], np.sort(second, axis=None)[take]
    return _map(*ranked), _map(*ranked[::-1])


def _map(values: np.ndarray, onto: np.ndarray) -> np.ndarray:
    """Return the 256 levels mapped as ascending values are to others; equal ones to their mean."""
    new = np.append(True, values[1:] != values[:-1])
    which = np.cumsum(new) - 1
    heights = np.bincount(which, onto) / np.bincount(which)
    return np.interp(LEVELS, values[new], heights).astype(np.float32)


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
