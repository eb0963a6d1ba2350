"""Find the scans that are one among many: a screen, a closer look at the likeliest, then full comparisons.

All pairs are screened by a product of matrices. Of each scan's, a third is put in a better order by
``refine``, and the first of these are compared, until none is found for a while. So a pair is found only if
the full comparison of it (``duplicates``) finds it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby, product

import numpy as np

from bench.leaks import refine, screen
from bench.leaks.cosines import Basis
from bench.leaks.duplicates import SAME, SURE, Match, compared
from bench.leaks.poses import View, view
from bench.leaks.screen import DENSE, Level, Sketches, sketches

EXACT = 6_000  # pairs of scans up to which each is compared: a search finds fewer copies, and gains nothing
AT_ONCE = 50_000_000  # pairs of scans whose scores are held at one time, 2.5 GB
# of all scans, those that pass the screen for each other one, and how many at least
SHARE, LEAST = (1 / 3, 64)
PATIENCE = 40  # scans compared without a match after which the search for one ends
WHOLLY = 2  # of these, so many in all channels, the others in the two that look most alike
OTHER_CHANNEL = 0.05  # by so much another channel must look more alike than the same one: contrasts share their shapes
COLUMNS = 64  # scans whose likeliest are chosen at a time


@dataclass(frozen=True, eq=False)
class Scans:
    """Scans, prepared; channels without content are left out."""

    views: list[list[View]]  # by scan
    sketches: dict[int, Sketches]  # by number of axes
    level: Level

    @classmethod
    def of(cls, prints: Sequence[np.ndarray], level: Level = DENSE) -> Scans:
        """Prepare fingerprints (C, X, Y, Z)."""
        every_scan = [views(channels) for channels in prints]
        every = [(scan, v) for scan, channels in enumerate(every_scan) for v in channels]
        by_axes = {d: [(scan, v) for scan, v in every if v.volume.ndim == d] for d in (2, 3)}
        present = {d: channels for d, channels in by_axes.items() if channels}
        sketched = {d: sketches(channels, level.screen[d]) for d, channels in present.items()}
        return cls(every_scan, sketched, level)

    @cached_property
    def turned(self) -> dict[Basis, np.ndarray]:
        """Every channel in every turn, (channel, turn, cosine), by what it is described by."""
        turned: dict[Basis, np.ndarray] = {}
        for d, sketch in self.sketches.items():
            channels = [self.views[scan][i] for scan, i in sketch.places]
            for basis in self.level.sweeps[d]:
                turned[basis] = np.stack([refine.vectors(view, basis) for view in channels])
        return turned


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

    Fingerprints (C, X, Y, Z) of ``first`` compete to be one of ``second``.
    """
    level = screen.level(len(first), len(second))
    ours, others = Scans.of(first, level), Scans.of(second, level)
    sights = looked_at(ours, others, likeliest(screened(ours, others)))
    confirmed_matches = confirmed(sights, ours.views.__getitem__, others.views)
    return sorted(confirmed_matches, key=lambda m: (m.a, m.b))


def screened(first: Scans, second: Scans) -> np.ndarray:
    """Return how likely each pair of scans is one, and by which channels: float32 (a, b, 3), value, i and j.

    The value is -1 where no channels can be compared.
    """
    best = np.full((len(first.views), len(second.views), 3), -1, np.float32)
    chosen = np.full(best.shape[:2], -1, np.float32)
    for d in first.sketches.keys() & second.sketches.keys():
        mine, theirs = first.sketches[d], second.sketches[d]
        scores = screen.scores(mine, theirs)
        for i, j in product(np.unique(mine.channels), np.unique(theirs.channels)):
            rows, columns = np.flatnonzero(mine.channels == i), np.flatnonzero(theirs.channels == j)
            cells = np.ix_(mine.scans[rows], theirs.scans[columns])
            fits = scores[np.ix_(rows, columns)]
            liked, current = fits + OTHER_CHANNEL * (i == j), best[cells]
            current[liked > chosen[cells], 1:] = i, j
            current[..., 0] = np.maximum(fits, current[..., 0])
            best[cells], chosen[cells] = current, np.maximum(liked, chosen[cells])
    return best


def exact(scans: int, others: int) -> bool:
    """Tell whether every pair of so many scans and so many others is compared, and none searched for."""
    return scans * others <= EXACT


def parts(scans: int, others: int) -> list[slice]:
    """Return which others are looked for at one time among so many scans; no one's search asks another's."""
    size = max(1, AT_ONCE // scans)
    return [slice(start, start + size) for start in range(0, others, size)]


def passing(scans: int) -> int:
    """Return how many of so many scans pass the screen for each other one."""
    return min(scans, max(LEAST, round(SHARE * scans)))


def likeliest(scores: np.ndarray) -> np.ndarray:
    """Return what passes the screen, rows (a, b, i, j) sorted by ``a``: of each ``b``, the highest."""
    most = passing(len(scores))
    passing_pairs = [np.empty((0, 2), int)]
    # an order of all of them would be larger than they are
    for start in range(0, scores.shape[1], COLUMNS):
        value = scores[:, start : start + COLUMNS, 0]
        highest = np.argsort(-value, axis=0, kind="stable")[:most]
        passed = np.zeros(value.shape, bool)
        np.put_along_axis(passed, highest, True, axis=0)
        passing_pairs.append(np.argwhere(passed & (value > -1)) + np.array((0, start)))
    pairs = np.concatenate(passing_pairs)
    pairs = pairs[np.lexsort(pairs.T[::-1])]
    return np.concatenate([pairs, scores[pairs[:, 0], pairs[:, 1], 1:].astype(int)], axis=1)


def looked_at(first: Scans, second: Scans, rows: np.ndarray) -> list[Sight]:
    """Return what passed the screen, rows (a, b, i, j), each with its refined correlation."""
    best = np.full(len(rows), -1.0)
    for scans, copies, side in ((first, second, 0), (second, first, 1)):
        for mine, value in _refined(scans, copies, rows[:, [side, 2 + side, 1 - side, 3 - side]]):
            best[mine] = np.maximum(best[mine], value)
    refined = zip(rows.tolist(), best.tolist(), strict=True)
    return [Sight(a, b, i, j, value) for (a, b, i, j), value in refined]


def _refined(
    first: Scans, second: Scans, rows: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield, for each channel as the whole, which of the rows (scan, channel, b, j) it has, and fits."""
    order = np.lexsort((rows[:, 1], rows[:, 0]))
    starts = np.flatnonzero(np.any(np.diff(rows[order, :2], axis=0, prepend=-1), axis=1))
    for mine in np.split(order, starts[1:]) if len(rows) else ():
        scan, channel = rows[mine[0], :2].tolist()
        channel_view = first.views[scan][channel]
        d = channel_view.volume.ndim
        sketch, others, sweeps = first.sketches[d], second.sketches[d], first.level.sweeps[d]
        channels = map(tuple, rows[mine, 2:].tolist())
        places = np.array([others.number[channel_of] for channel_of in channels])
        coarse = sketch.boxes[sketch.number[scan, channel]], others.copies[:, places]
        boxes = {basis: refine.boxes(channel_view, basis) for basis in sweeps}
        seen = [(boxes[basis], second.turned[basis][places]) for basis in sweeps]
        yield mine, refine.refined(coarse, (sketch.basis, sweeps[0]), seen)


def confirmed(
    sights: Sequence[Sight], first: Callable[[int], list[View]], second: Sequence[list[View]]
) -> list[Match]:
    """Return what full comparisons find, of each scan ``b`` the likeliest first, until none is for a while.

    Of the few that are likeliest each channel is compared with its own, or where one has more with every
    other: those that look most alike may be two contrasts of one patient.

    Args:
        sights: of any pairs, one of each.
        first: gives the channels of a scan ``a``.
        second: the channels of every scan ``b``.
    """
    matched = []
    for b, every in groupby(sorted(sights, key=lambda s: (s.b, -s.value)), key=lambda s: s.b):
        waiting, two, compared_pairs, missed = list(every), second[b], 0, 0
        while waiting and missed < PATIENCE:
            # all must be asked
            block, waiting = (waiting[: PATIENCE - missed], waiting[PATIENCE - missed :])
            ones = [first(s.a) for s in block]
            for s, views, score in zip(block, ones, _liked(block, ones, two), strict=True):
                compared_pairs += 1
                best = _best(views, two, (s.i, s.j), score, every=compared_pairs <= WHOLLY)
                missed = missed + 1 if best is None else 0
                matched += [] if best is None else [Match(s.a, b, best)]
    return matched


def _liked(sights: Sequence[Sight], ones: Sequence[list[View]], two: list[View]) -> list[float]:
    """Return how alike the channels of some sights of one scan ``b`` are."""
    scores = np.empty(len(sights))
    for j in {s.j for s in sights}:
        mine = [n for n, s in enumerate(sights) if s.j == j]
        scores[mine] = compared([ones[n][sights[n].i] for n in mine], two[j])
    return scores.tolist()


def _best(
    views: list[View], two: list[View], first: tuple[int, int], score: float, *, every: bool
) -> float | None:
    """Return how alike two scans are, by the channels ``first``, of ``score``, or any; None: two scans."""
    axes = views[first[0]].volume.ndim
    channels = range(len(views)), range(len(two))
    rest = zip(*channels, strict=True) if len(views) == len(two) else product(*channels)
    scores = [score]
    for i, j in (pair for pair in rest if every and pair != first):
        if max(scores) >= SURE:
            break
        scores += compared([views[i]], two[j])
    return max(scores) if max(scores) >= SAME[axes] else None


def views(channels: np.ndarray) -> list[View]:
    """Return the channels (C, X, Y, Z) of a fingerprint that have content."""
    return [view(channel) for channel in channels if channel.any()]
