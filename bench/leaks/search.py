"""Find the scans that are one among many: a screen, a glance at the likeliest, then full comparisons.

All pairs are screened by a product of matrices. Of each scan's, the likeliest are fitted on thumbnails,
which puts them in a better order, and the best of these are compared, until none is found for a while.
So a pair is found only if the full comparison of it (``duplicates``) finds it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bench.leaks import screen
from bench.leaks.duplicates import ROUGHLY, SAME, SURE, Match, compared, first_fits, roughly
from bench.leaks.poses import COARSE, GLANCE, Pose, View, turned, view
from bench.leaks.screen import DENSE, Bases, Sketches, sketches

EXACT = 6_000  # pairs of scans up to which each is compared: a search finds fewer copies, and gains nothing
LEAST, SHARE = 64, 0.02  # scans that pass the screen for each other one: so many, and this share of them,
ALWAYS = 16_000  # and so many pairs in all, which take less than a minute
POSES = 8  # of a pair of scans, all channels together, that a glance fits
LOOKED = 2  # of these that it fits better, and whose fine structures it compares
SEEN = 0.6  # correlation of thumbnails below which it does not; duplicates.SEEN, after a worse start
PATIENCE = 10  # comparisons without a match after which the search for a scan ends


@dataclass(frozen=True, eq=False)
class Scans:
    """Scans, prepared; channels without content are left out."""

    views: list[list[View]]  # by scan
    sketches: dict[int, Sketches]  # by number of axes

    @classmethod
    def of(cls, prints: Sequence[np.ndarray], bases: Bases = DENSE) -> Scans:
        """Prepare fingerprints (C, X, Y, Z)."""
        every_scan = [views(channels) for channels in prints]
        every = [(scan, v) for scan, channels in enumerate(every_scan) for v in channels]
        by_axes = {d: [(scan, v) for scan, v in every if v.volume.ndim == d] for d in (2, 3)}
        return cls(every_scan, {d: sketches(some, bases[d]) for d, some in by_axes.items() if some})


@dataclass(frozen=True)
class Sight:
    """Channel ``i`` of scan ``a`` beside ``j`` of ``b``; the larger the value, the likelier they are one."""

    a: int
    b: int
    i: int
    j: int
    value: float


def matches(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> list[Match]:
    """Return the pairs of scans that are judged the same, as ``duplicates.matches`` but for few comparisons.

    Args:
        first: fingerprints (C, X, Y, Z).
        second: fingerprints; those of ``first`` compete to be one of these.
    """
    bases = screen.bases(len(first), len(second))
    ours, others = Scans.of(first, bases), Scans.of(second, bases)
    sights = glance(ours, others, likeliest(screened(ours, others)))
    found = confirmed(sights, ours.views.__getitem__, others.views)
    return sorted(found, key=lambda m: (m.a, m.b))


def screened(first: Scans, second: Scans) -> np.ndarray:
    """Return how likely each pair of scans is one, float32 (a, b); -1 where no channels can be compared."""
    best = np.full((len(first.views), len(second.views)), -1, np.float32)
    for d in first.sketches.keys() & second.sketches.keys():
        mine, theirs = first.sketches[d], second.sketches[d]
        np.maximum.at(best, (mine.scans[:, None], theirs.scans), screen.scores(mine, theirs))
    return best


def exact(scans: int, others: int) -> bool:
    """Tell whether every pair of so many scans and so many others is compared, and none searched for."""
    return scans * others <= EXACT


def passing(scans: int, others: int) -> int:
    """Return how many of so many scans pass the screen for each of so many others."""
    return min(scans, max(LEAST, round(SHARE * scans), ALWAYS // max(others, 1)))


def likeliest(scores: np.ndarray) -> np.ndarray:
    """Return the pairs (n, 2) that pass the screen, sorted: of each column of ``scores``, the highest."""
    highest = np.argsort(-scores, axis=0, kind="stable")[: passing(*scores.shape)]
    passed = np.zeros(scores.shape, bool)
    np.put_along_axis(passed, highest, True, axis=0)
    return np.argwhere(passed & (scores > -1))


def glance(first: Scans, second: Scans, pairs: np.ndarray) -> list[Sight]:
    """Fit the likeliest poses of pairs (n, 2) on thumbnails; return what is worth a comparison."""
    every = [_guessed(first, second, a, b) for a, b in pairs.tolist()]
    fits = first_fits([pose for guesses in every for _, pose in guesses], GLANCE)
    owners = [(pair, channels) for pair, guesses in enumerate(every) for channels, _ in guesses]
    looked: dict[int, int] = {}
    left = []
    for (pair, channels), pose in sorted(zip(owners, fits, strict=True), key=lambda f: -f[1].fit):
        if looked.get(pair, 0) < LOOKED and pose.fit >= SEEN:
            looked[pair] = looked.get(pair, 0) + 1
            left.append((pair, channels, pose))
    best: dict[tuple[int, int, int], float] = {}
    fine = first_fits([pose for _, _, pose in left], COARSE)
    for (pair, (i, j), _), pose in zip(left, fine, strict=True):
        best[pair, i, j] = max(best.get((pair, i, j), -1.0), roughly(pose))
    found = [
        Sight(int(pairs[pair, 0]), int(pairs[pair, 1]), i, j, value) for (pair, i, j), value in best.items()
    ]
    return [s for s in found if s.value >= ROUGHLY[first.views[s.a][s.i].volume.ndim]]


def confirmed(
    sights: Sequence[Sight], first: Callable[[int], list[View]], second: Sequence[list[View]]
) -> list[Match]:
    """Return what full comparisons find, of each scan ``b`` the likeliest first, until none is for a while.

    Args:
        sights: of any pairs.
        first: gives the channels of a scan ``a``.
        second: the channels of every scan ``b``.
    """
    missed: dict[int, int] = {}
    best: dict[tuple[int, int], float] = {}
    for s in sorted(sights, key=lambda s: -s.value):
        if missed.get(s.b, 0) == PATIENCE or best.get((s.a, s.b), -1.0) >= SURE:
            continue
        two = second[s.b][s.j]
        score = compared(first(s.a)[s.i], two)
        if score >= SAME[two.volume.ndim]:
            best[s.a, s.b] = max(score, best.get((s.a, s.b), score))
            missed[s.b] = 0
        else:
            missed[s.b] = missed.get(s.b, 0) + 1
    return [Match(a, b, score) for (a, b), score in best.items()]


def views(channels: np.ndarray) -> list[View]:
    """Return the channels (C, X, Y, Z) of a fingerprint that have content."""
    return [view(channel) for channel in channels if channel.any()]


def _guessed(first: Scans, second: Scans, a: int, b: int) -> list[tuple[tuple[int, int], Pose]]:
    """Return the likeliest poses of two scans by the screen, each with its two channels."""
    found = []
    for d in first.sketches.keys() & second.sketches.keys():
        one, two = first.sketches[d].of(a), second.sketches[d].of(b)
        for forth, wholes, copies in ((True, one, two), (False, two, one)):
            for mine, boxes in enumerate(wholes.boxes):
                value, best = screen.turns(boxes, copies.copies)
                for theirs, turn in _highest(value):
                    channels = (mine, theirs) if forth else (theirs, mine)
                    found.append(
                        (float(value[theirs, turn]), d, forth, channels, turn, int(best[theirs, turn]))
                    )
    found.sort(key=lambda f: -f[0])
    poses = []
    for _, d, forth, channels, turn, box in found[:POSES]:
        pair = first.views[a][channels[0]], second.views[b][channels[1]]
        whole, copy = pair if forth else pair[::-1]
        start, extent = first.sketches[d].basis.box(box)
        thumbnails = whole.thumbnail, turned(copy.thumbnail, turn)
        poses.append((channels, Pose(*thumbnails, start, extent, role=(forth, turn))))
    return poses


def _highest(values: np.ndarray) -> list[tuple[int, int]]:
    """Return where the highest values (copy, turn) are."""
    places = np.argsort(-values, axis=None)[:POSES]
    return [(int(c), int(t)) for c, t in zip(*np.unravel_index(places, values.shape), strict=True)]
