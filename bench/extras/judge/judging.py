"""What may be said of a table of scores: pairs, ranks, ties, and how far metrics agree."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, compress
from typing import NamedTuple

import numpy as np

from bench import stats
from bench.errors import BenchError, unknown
from bench.extras.judge.columns import metric_in
from bench.extras.judge.score_table import ScoreTable
from bench.metrics.request import declared
from bench.report.means import CELL, means
from bench.report.names import is_chance, metric_title
from bench.report.ranking import stacked
from bench.report.scores import PatientScores, Scores, aligned, mean_of, shared
from bench.stats.comparison import BETTER, ROPE, UNCLEAR, WEIGHTS, WORSE
from bench.stats.critical import CriticalDifference, critical_difference
from bench.stats.ranks import Ranks, kendall, ranks

EVERY = 4_000_000  # patients times pairs of one table that are compared; beyond, neighbours and the best
FLIPPED = 2000  # patients up to which p of one run is by flipping signs


class Scope(NamedTuple):
    """Where methods are compared; ``target`` is "" for the mean over several."""

    dataset: str
    fraction: int
    metric: str
    target: str

    def plain(self) -> dict[str, str | int | None]:
        """Return it as JSON has it: no fraction where none is stated."""
        return self._asdict() | {"fraction": self.fraction or None}


@dataclass(frozen=True)
class Pair:
    """Method ``a`` less method ``b``; more is better, whatever the metric."""

    a: str
    b: str
    judged: stats.Judged  # with the family that it stands in
    of_weights: stats.Judged  # as if these weights were the methods
    runs: int
    only_a: tuple[str, ...] = ()  # patients whom b lacks
    only_b: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """The verdict after Holm."""
        return self.judged.verdict

    @property
    def may_be_settled(self) -> bool:
        """Whether more runs or patients may tell: it is not separable, and not by Holm alone."""
        c = self.judged.comparison
        unclear = {self.judged.verdict, c.verdict} == {UNCLEAR}
        return unclear and c.sd_run == c.sd_run and c.smallest_p <= c.alpha

    @property
    def apart_alone(self) -> bool:
        """Whether the two would differ without correction, were these weights the methods."""
        c = self.judged.comparison
        return c.p < c.alpha and c.smallest_p <= c.alpha

    @property
    def told_apart(self) -> bool:
        """Whether the two differ after Holm; of one run each, whether these weights do."""
        judged = self.of_weights if self.judged.verdict == WEIGHTS else self.judged
        return judged.verdict in (BETTER, WORSE)


@dataclass(frozen=True, eq=False)
class Standing:
    """All that is said of one scope.

    Attributes:
        scope: where.
        unit: of the scores, ``1`` for shares.
        higher: whether a higher score is better.
        methods: the best first, by the mean over what all have; then those without a rank.
        ranks: of ``methods``; None where no patient has all methods.
        patients: how many all methods have, in how many runs.
        means: of each method, over all that it has itself.
        region: of equivalence; None where none is stated.
        pairs: every method with every other, or neighbours and the best alone where there are too many.
        against: every method with its baseline, in families of their own.
        ties: groups of neighbours of which no two are told apart, the largest only.
        lacking: of each method, how many patients it lacks that another has.
        lone: whether no method has several runs.
    """

    scope: Scope
    unit: str
    higher: bool
    methods: tuple[str, ...]
    ranks: Ranks | None
    patients: int
    means: Mapping[str, float]
    region: stats.Region | None
    pairs: tuple[Pair, ...]
    against: tuple[Pair, ...]
    ties: tuple[tuple[str, ...], ...]
    lacking: Mapping[str, int]
    lone: bool
    every: bool = True

    def pair(self, a: str, b: str) -> Pair | None:
        """Return the pair of two methods, turned so that ``a`` comes first; None where it was not compared."""
        for pair in (*self.against, *self.pairs):
            if (pair.a, pair.b) == (a, b):
                return pair
        return next((turned(p) for p in self.pairs if (p.b, p.a) == (a, b)), None)


@dataclass(frozen=True, eq=False)
class Across:
    """Methods over several data sets."""

    metric: str
    datasets: tuple[str, ...]
    methods: tuple[str, ...]
    critical: CriticalDifference


@dataclass(frozen=True)
class Order:
    """How far two metrics order the methods of a data set alike: Kendall's tau-b."""

    dataset: str
    first: str
    second: str
    tau: float
    methods: int


def turned(pair: Pair) -> Pair:
    """Return a pair the other way round."""

    def turn(judged: stats.Judged) -> stats.Judged:
        c = judged.comparison
        comparison = replace(
            c, difference=-c.difference, low=-c.high, high=-c.low, verdict=_other(c.verdict)
        )
        return replace(judged, comparison=comparison, verdict=_other(judged.verdict))

    verdicts = turn(pair.judged), turn(pair.of_weights)
    return Pair(pair.b, pair.a, *verdicts, pair.runs, pair.only_b, pair.only_a)


def _other(verdict: str) -> str:
    return {BETTER: WORSE, WORSE: BETTER}.get(verdict, verdict)


class Judge:
    """Compares the methods of a table.

    Args:
        table: the scores.
        baseline: the method that all others are compared with; "" for what the table itself says.
        region: of equivalence, in the unit of the scores; None: 0.01 of shares, by the baseline's own runs
            where it has many, and none of other units.

    Raises:
        BenchError: the baseline is no method of the table.
    """

    def __init__(self, table: ScoreTable, baseline: str = "", region: float | None = None) -> None:
        self.table, self.baseline, self.stated_region = table, baseline, region
        self.methods = list(table.frame["row"].cat.categories)
        if baseline and baseline not in self.methods:
            raise BenchError(
                f"--baseline: {unknown('method of the table', baseline, self.methods)}"
            )
        self.scores = PatientScores(means(table.frame, CELL))
        self.every = self._size() <= EVERY
        self.unlearned = self._unlearned()  # by data set and fraction

    def scopes(self) -> list[Scope]:
        """Return every scope: of each data set and metric the mean over targets, then each target."""
        columns = ["section", "fraction", "metric", "target"]
        lines = self.table.frame[columns].drop_duplicates()
        where = list[Scope]()
        order = {name: i for i, name in enumerate(self.table.measures)}
        groups = lines.groupby(columns[:3], observed=True, sort=True)["target"]
        ordered = sorted(groups, key=lambda g: (order[g[0][2]], g[0][0], g[0][1]))
        for (dataset, fraction, metric), targets in ordered:
            names = sorted(targets)
            where.append(Scope(dataset, int(fraction), metric, "" if len(names) > 1 else names[0]))
            where += [Scope(dataset, int(fraction), metric, t) for t in names if len(names) > 1]
        return where

    def _size(self) -> int:
        frame = self.table.frame
        columns = ["section", "fraction", "metric"]
        counts = frame.groupby(columns, observed=True)[["row", "patient", "target"]].nunique()
        scopes = counts["target"] + (counts["target"] > 1)
        return int(
            (counts["row"] * (counts["row"] - 1) // 2 * counts["patient"].clip(200) * scopes).sum()
        )

    def standing(self, scope: Scope) -> Standing | None:
        """Return what is said of a scope; None where fewer than two methods have scores there."""
        by_method = self._scores(scope)
        if len(by_method) < 2:
            return None
        measure = self.table.measures[scope.metric]
        sign = 1.0 if measure.higher else -1.0
        region = self._region(scope.metric)
        ranked, order, patients = self._ranked(by_method, higher=measure.higher)
        unlearned = self.unlearned.get(scope[:2], ())
        learned = {m: by_method[m] for m in order if m not in unlearned}
        pairs = self._pairs(learned, [*learned], sign, region.rope if region else None)
        values = {method: mean_of(scores.values, 2) for method, scores in by_method.items()}
        return Standing(
            scope=scope,
            unit=measure.unit,
            higher=measure.higher,
            methods=tuple(order),
            ranks=ranked,
            patients=patients,
            means={method: float(np.nanmean(v)) for method, v in values.items()},
            region=region,
            pairs=tuple(pairs),
            against=tuple(self._against(scope, learned, sign)),
            ties=_ties([*learned], pairs) if self.every else (),
            lacking=_lacking(by_method, values),
            lone=all(_runs(v) == 1 for v in values.values()),
            every=self.every,
        )

    def _unlearned(self) -> dict[tuple[str, int], list[str]]:
        """Return the baselines that are compared with nothing, because they score as predicting nothing does.

        The mean over targets decides, in the first metric of which it is known what that gets.
        """
        found: dict[tuple[str, int], list[str]] = {}
        for scope in self.scopes():
            names = scope.metric.lower(), metric_in(scope.metric)
            metric = next((m for m in names if (d := declared(m)) and d.chance is not None), "")
            by_method = self._scores(scope) if metric and scope[:2] not in found else {}
            base_of = {
                m: self.baseline or self.table.bases.get((scope.dataset, m), "") for m in by_method
            }
            means = {
                b: by_method[b].values for m, b in base_of.items() if b != m and b in by_method
            }
            if by_method:
                found[scope[:2]] = [
                    base
                    for base, values in means.items()
                    if is_chance(metric, float(np.nanmean(mean_of(values, 2))))
                ]
        return found

    def _scores(self, scope: Scope) -> dict[str, Scores]:
        target = scope.target or None
        every = {
            m: self.scores.of((m, scope.dataset, scope.fraction, scope.metric), target)
            for m in self.methods
        }
        return {m: s for m, s in every.items() if s is not None and not np.isnan(s.values).all()}

    def _ranked(
        self, by_method: Mapping[str, Scores], *, higher: bool
    ) -> tuple[Ranks | None, list[str], int]:
        """Return the ranks over what all methods have, the methods by rank, and how many patients that is."""
        names = [*by_method]
        values, clusters = stacked(shared([*by_method.values()]))
        complete = ~np.isnan(values).all(axis=(0, 2)) if values.size else np.zeros(0, bool)
        if not complete.any():
            means = {m: np.nanmean(mean_of(s.values, 2)) for m, s in by_method.items()}
            return None, sorted(names, key=lambda m: -means[m] if higher else means[m]), 0
        ranked = ranks(values[:, complete], higher=higher, clusters=clusters)
        order = np.argsort(ranked.rank, kind="stable")
        sorted_ranks = Ranks(**{name: column[order] for name, column in vars(ranked).items()})
        return sorted_ranks, [names[i] for i in order], int(complete.sum())

    def _stated(self, metric: str) -> float | None:
        """Return the region that a person states, in the unit of the file: of percent as a share."""
        stated = self.stated_region
        return stated / 100 if stated is not None and metric in self.table.percent else stated

    def _region(self, metric: str) -> stats.Region | None:
        """Return the region of pairs without a baseline: as stated, or assumed of shares."""
        stated = self._stated(metric)
        if stated is not None:
            return stats.Region(stated, 0)
        return stats.Region(ROPE, 0) if self.table.measures[metric].unit == "1" else None

    def _region_beside(self, scope: Scope, base: Scores) -> float | None:
        """Return the region beside a baseline: as in a report by its own runs, over patients of all."""
        stated = self._stated(scope.metric)
        if stated is not None or self.table.measures[scope.metric].unit != "1":
            return stated
        values = mean_of(base.values, 2)
        common = values[~np.isnan(values).any(axis=1)]
        return stats.region(common.mean(axis=0).tolist() if len(common) else ()).rope

    def _pairs(
        self, by_method: Mapping[str, Scores], order: Sequence[str], sign: float, rope: float | None
    ) -> list[Pair]:
        """Return the pairs, the better first, as one family."""
        where = list(combinations(range(len(order)), 2))
        if not self.every:
            where = [(i, j) for i, j in where if i == 0 or j == i + 1]
        compared = []
        for names in ((order[i], order[j]) for i, j in where):
            scores = by_method[names[0]], by_method[names[1]]
            compared.append(_compared(self.table, names, scores, sign, rope))
        return _family([pair for pair in compared if pair is not None])

    def _against(
        self, scope: Scope, by_method: Mapping[str, Scores], sign: float
    ) -> Iterator[Pair]:
        """Yield every method with its baseline: methods are a family, controls another."""
        families: dict[bool, list[Pair]] = {False: [], True: []}
        for method in by_method:
            base = self.baseline or self.table.bases.get((scope.dataset, method), "")
            if base in ("", method) or base not in by_method:
                continue
            scores = by_method[method], by_method[base]
            rope = self._region_beside(scope, by_method[base])
            pair = _compared(self.table, (method, base), scores, sign, rope, flips=True)
            if pair is not None:
                families[method in self.table.controls].append(pair)
        for family in families.values():
            yield from sorted(_family(family), key=lambda p: -p.judged.comparison.difference)

    def across(self, standings: Sequence[Standing]) -> list[Across]:
        """Return the methods over several data sets, for each metric that has them."""
        ranked = self._one_each(s for s in main_scopes(standings) if s.ranks is not None)
        every = [
            _across(metric, [s for s in ranked if s.scope.metric == metric])
            for metric in self.table.measures
        ]
        return [across for across in every if across is not None]

    def _one_each(self, standings: Iterable[Standing]) -> list[Standing]:
        """Return one scope for each data set and metric: with most labels, the first of several such."""
        most = dict[tuple[str, str], Standing]()
        for standing in standings:
            scope = standing.scope
            key = self.table.datasets.get(scope.dataset, scope.dataset), scope.metric
            if key not in most or scope.fraction > most[key].scope.fraction:
                most[key] = standing
        return [*most.values()]

    def orders(self, standings: Sequence[Standing]) -> list[Order]:
        """Return how far metrics agree on the order, for each data set that has several."""
        by_dataset: dict[tuple[str, int], list[Standing]] = {}
        for standing in main_scopes(standings):
            by_dataset.setdefault(standing.scope[:2], []).append(standing)
        agreements = list[Order]()
        for of_dataset in by_dataset.values():
            for first, second in combinations(of_dataset, 2):
                common = [m for m in first.means if m in second.means]
                a, b = (
                    [(1 if s.higher else -1) * _shared_mean(s, m) for m in common]
                    for s in (first, second)
                )
                tau = kendall(a, b) if len(common) > 1 else float("nan")
                where = title(first.scope._replace(metric="", target=""))
                agreements.append(
                    Order(where, first.scope.metric, second.scope.metric, tau, len(common))
                )
        return agreements


def _across(metric: str, mains: Sequence[Standing]) -> Across | None:
    """Return methods over data sets; None under two data sets or three methods that all have."""
    if len(mains) < 2:
        return None
    methods = sorted(set.intersection(*({*standing.means} for standing in mains)))
    means = np.array([[_shared_mean(s, method) for s in mains] for method in methods])
    if len(methods) < 3 or not np.isfinite(means).all():
        return None
    critical = critical_difference(means, higher=mains[0].higher)
    return Across(metric, tuple(title(s.scope) for s in mains), tuple(methods), critical)


def _lacking(by_method: Mapping[str, Scores], values: Mapping[str, np.ndarray]) -> dict[str, int]:
    """Return of each method how many patients it lacks that another has."""
    has = {method: {*_those(s.patients, values[method])} for method, s in by_method.items()}
    everybody = set[str]().union(*has.values())
    return {method: len(everybody - names) for method, names in has.items() if everybody - names}


def _shared_mean(standing: Standing, method: str) -> float:
    """Return a method's mean over what all methods have; its own where nothing is ranked."""
    if standing.ranks is None:
        return standing.means[method]
    return float(standing.ranks.mean[standing.methods.index(method)])


def main_scopes(standings: Sequence[Standing]) -> list[Standing]:
    """Return one scope for each data set and metric: the mean over targets, or the only target."""
    first = dict[tuple[str, int, str], Standing]()
    for standing in standings:
        first.setdefault(standing.scope[:3], standing)
    return [*first.values()]


def title(scope: Scope) -> str:
    """Return a scope in words: data set, share of labels where it is stated, target."""
    fraction = f"{scope.fraction} % of the labels" if scope.fraction else ""
    metric = metric_title(scope.metric)
    return ", ".join(filter(None, (scope.dataset, fraction, scope.target, metric)))


def _those(patients: Sequence[str], values: np.ndarray) -> list[str]:
    """Return the patients who have a value in any run."""
    return list(compress(patients, ~np.isnan(values).all(axis=1)))


def _runs(values: np.ndarray) -> int:
    return int((~np.isnan(values)).any(axis=0).sum())


def _compared(
    table: ScoreTable,
    names: tuple[str, str],
    scores: tuple[Scores, Scores],
    sign: float,
    rope: float | None,
    *,
    flips: bool = False,
) -> Pair | None:
    """Return two methods compared over what both have; None where that is nothing."""
    ours, theirs, patients, runs = aligned(*scores)
    if not patients or not runs:
        return None
    values = mean_of(sign * (ours - theirs), 2)
    if np.isnan(values).all():
        return None
    clusters, seeds = _hang_together(table, names, runs, [s.lone for s in scores])
    comparison = stats.compared(
        values, clusters, rope, seeds=seeds, flips=flips and len(patients) <= FLIPPED
    )
    if comparison.patients == 1 and comparison.verdict == WEIGHTS:
        comparison = replace(comparison, p=1.0)  # of one patient in one run nothing is known
    both = {*_those(patients, values)}
    left = [tuple(p for p in s.patients if p not in both) for s in scores]
    judged = stats.Judged(comparison, comparison.p, comparison.verdict)
    return Pair(*names, judged, judged, _runs(values), *left)


def _hang_together(
    table: ScoreTable, names: Sequence[str], runs: Sequence[tuple[int, int]], lone: Sequence[bool]
) -> tuple[list[int] | None, list[int] | None]:
    """Return the pretraining and the seed of each run, as ``report.verdicts.run_seeds`` does.

    Of weights from a file, and of a method with a ``lone`` pretraining, all are one pretraining.
    """
    starts = [table.starts.get(name, "none") for name in names]
    single = any(start != "none" and alone for start, alone in zip(starts, lone, strict=True))
    if "file" in starts or single:
        return [0] * len(runs), [seed for _, seed in runs]
    if {*starts} == {"none"}:
        return None, None
    return [pretrained for pretrained, _ in runs], [seed for _, seed in runs]


def _family(pairs: Sequence[Pair]) -> list[Pair]:
    """Return pairs with the verdicts that they have together, of the methods and of these weights."""
    comparisons = [pair.judged.comparison for pair in pairs]
    as_methods = [
        replace(c, verdict=UNCLEAR, why="") if c.verdict == WEIGHTS else c for c in comparisons
    ]
    both = zip(pairs, stats.judged(comparisons), stats.judged(as_methods), strict=True)
    return [replace(pair, judged=judged, of_weights=weights) for pair, judged, weights in both]


def _ties(order: Sequence[str], pairs: Sequence[Pair]) -> tuple[tuple[str, ...], ...]:
    """Return the longest stretches of the order in which no two are told apart, none of one alone."""
    apart = {frozenset((pair.a, pair.b)) for pair in pairs if pair.told_apart}
    groups, reached = list[tuple[str, ...]](), 0
    for first in range(len(order)):
        end = first + 1
        while end < len(order) and not any(
            frozenset((order[k], order[end])) in apart for k in range(first, end)
        ):
            end += 1
        if end - first > 1 and end > reached:
            groups.append(tuple(order[first:end]))
            reached = end
    return tuple(groups)
