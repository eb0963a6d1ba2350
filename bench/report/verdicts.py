"""Which rows differ from scratch, by how much and how sure: paired comparisons of one metric."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from itertools import product
from typing import NamedTuple

import numpy as np

from bench import stats
from bench.protocol import from_scratch, method_pretrains, row_of
from bench.report.cells import MEAN, Key
from bench.report.context import ReportContext
from bench.report.names import is_ranked, lower_is_better
from bench.report.scores import Scores, aligned, mean_of
from bench.stats.comparison import BETTER, UNCLEAR, WEIGHTS

HEADING = "Which rows differ from scratch?"
UNLIKE = "fine-tuned differently from scratch"
APART = "shares no patient and fine-tuning seed with scratch"
MISSING = "not run yet"
FAILED = "failed"
UNLEARNED = "scratch has not learned the task"
ITSELF = "starts from random weights and scores the same as scratch in every run"
BLIND = "blind: not even the ceiling is shown to be better than scratch"
MANY = 2000  # comparisons of one report that are made pair by pair


@dataclass(frozen=True)
class RowComparison:
    """One row beside its baseline at one place, in the metric's own unit; more is better."""

    key: Key
    baseline: str  # the row from scratch
    judged: stats.Judged
    check: tuple[float, float]  # what the crossed bootstrap says of the interval
    flips: float  # p of the exact sign-flip: do these weights differ? NaN where a method is judged
    published: float | None = None  # the paper's own difference
    control: bool = False
    region: stats.Region | None = None  # of equivalence; None where the metric is no share

    def repeats(self, other: RowComparison) -> bool:
        """Tell whether another section has the same runs of the row: then all these numbers are equal."""
        ends = [(r.difference, r.judged.comparison.low, r.check) for r in (self, other)]
        return ends[0] == ends[1] and self.difference != 0

    @property
    def difference(self) -> float:
        """Ours minus the baseline's, the sign turned where less is better."""
        return self.judged.comparison.difference


@dataclass(frozen=True)
class VerdictGroup:
    """What is known of one section and label fraction, the largest difference first."""

    section: int
    fraction: int
    metric: str
    rows: tuple[RowComparison, ...]
    controls: tuple[RowComparison, ...] = ()
    aside: tuple[str, ...] = ()  # rows without a comparison, and why
    blind: frozenset[str] = frozenset()  # rows from scratch from which not even a ceiling is told
    waiting: int = 0  # rows and controls of the protocol that belong here and have no score yet

    @property
    def several(self) -> bool:
        """Are the rows of this place read against more than one row from scratch?"""
        return len({row.baseline for row in (*self.rows, *self.controls)}) > 1

    def against(self, report: ReportContext, row: RowComparison) -> str:
        """Return which row from scratch a row is read against, where there are several; else ""."""
        return f"against {report.named(row.baseline)}" if self.several else ""

    def name(self, report: ReportContext, row: RowComparison) -> str:
        """Return a row's printed name, without its network where ``against`` names it."""
        pair = (row_of(report.protocol, name)[0] for name in (row.key.row, row.baseline))
        networks = {declared.network if declared else "" for declared in pair}
        alone = self.several and len(networks) == 1
        return report.titles[row.key.row] if alone else report.named(row.key.row)

    def counted(self) -> dict[str, int]:
        """Return how many rows have each verdict."""
        verdicts = [row.judged.verdict for row in self.rows]
        return {
            verdict: verdicts.count(verdict) for verdict in stats.VERDICTS if verdict in verdicts
        }


def verdicts(report: ReportContext) -> list[VerdictGroup]:
    """Return every place where a row stands beside its own row from scratch, in the protocol's order.

    Of each section the first metric that judges it, its mean over targets. The rows of a place are a family,
    its controls another. Where no ceiling is told from scratch, "not separable" says that the study is blind.
    """
    groups = []
    for section, fraction in _places(report):
        metric = judging(report, section)
        compared, aside, waiting = _at(report, section, fraction, metric)
        ahead = sum(report.is_control(row) for row in waiting)
        methods = [row for row in compared if not row.control]
        rows = _family(report, methods, len(waiting) - ahead)
        controls = _family(report, [row for row in compared if row.control], ahead)
        if compared:
            blind = _blind(report, controls)
            rows = tuple(_dimmed(row, blind) for row in rows)
            judged = rows, controls, tuple(aside), blind, len(waiting)
            groups.append(VerdictGroup(section, fraction, metric, *judged))
    return groups


def judging(report: ReportContext, section: int) -> str:
    """Return the metric that a section's rows are judged by, "" for none."""
    fitting = (m for m in report.metrics if report.judges(m, section) and is_ranked(m))
    return next(fitting, "")


def _family(
    report: ReportContext, family: list[RowComparison], waiting: int
) -> tuple[RowComparison, ...]:
    """Return comparisons with the verdicts that they have together, and with those that are waited for.

    Those with one row from scratch stand together, the largest difference first.
    """
    order = [*report.rows]
    judgements = stats.judged([row.judged.comparison for row in family], waiting)
    both = [
        RowComparison(**vars(row) | {"judged": judged})
        for row, judged in zip(family, judgements, strict=True)
    ]
    return tuple(sorted(both, key=lambda row: (order.index(row.baseline), -row.difference)))


def _blind(report: ReportContext, controls: Sequence[RowComparison]) -> frozenset[str]:
    """Return the rows from scratch that have a ceiling, none of which is called better."""
    declared = report.protocol.rows
    full = {name for name, row in declared.items() if row.ceiling and row.dose == 1}
    ceilings = [row for row in controls if row.key.row in full]
    seen = {row.baseline for row in ceilings if row.judged.verdict == BETTER}
    return frozenset(row.baseline for row in ceilings) - seen


def positive_control(groups: Sequence[VerdictGroup]) -> dict[str, str]:
    """Return what the positive controls of a study are, and where: ``better``, ``blind``, ``none``.

    Blind: not even the ceiling is shown to be better. Where: "" for everywhere, or ``in 2 of 4 sections``. It
    counts sections or shares of the labels where each is of one kind. Otherwise it counts places: a section, a
    share of the labels and a row from scratch.
    """
    alike = defaultdict[str, set[tuple[int, int, str]]](set)
    for group in groups:
        for row in (*group.rows, *group.controls):
            kind = _control(group, row.baseline)
            alike[kind].add((group.section, group.fraction, row.baseline))
    if len(alike) < 2:
        return dict.fromkeys(alike, "")
    every = set().union(*alike.values())
    nouns = {1: "sections"} if len(_cut(every, 1)) > 1 else {2: "shares of the labels"}
    depth = next(
        depth
        for depth in (*nouns, 3)
        if sum(len(_cut(spots, depth)) for spots in alike.values()) == len(_cut(every, depth))
    )
    of = f"of {len(_cut(every, depth))} {nouns.get(depth, 'places')}"
    return {kind: f"in {len(_cut(alike[kind], depth))} {of}" for kind in sorted(alike)}


def _control(group: VerdictGroup, baseline: str) -> str:
    if baseline in group.blind:
        return "blind"
    of_row = [row.judged.verdict for row in group.controls if row.baseline == baseline]
    return "better" if BETTER in of_row else "none"


def _cut(places: Iterable[tuple[int, int, str]], depth: int) -> set[tuple[int | str, ...]]:
    return {spot[:depth] for spot in places}


def _dimmed(row: RowComparison, blind: frozenset[str]) -> RowComparison:
    """Return a comparison that says where "not separable" says nothing."""
    if row.judged.verdict != UNCLEAR or row.baseline not in blind:
        return row
    why = f"{row.judged.why}; {BLIND}" if row.judged.why else BLIND
    return replace(row, judged=replace(row.judged, why=why))


def _at(
    report: ReportContext, section: int, fraction: int, metric: str
) -> tuple[list[RowComparison], list[str], list[str]]:
    """Return the comparisons of a place, rows without one and why, and rows that have not run there."""
    compared, aside, waiting = list[RowComparison](), list[str](), list[str]()
    for row in report.rows:
        declared, variant = row_of(report.protocol, row)
        if declared is None or not report.has(row, section):
            continue
        near = report.nearest[row, section]
        if near is None or near[0] == row or (from_scratch(declared) and not variant):
            continue
        key = Key(row, section, fraction, MEAN, metric)
        scored = report.cells.scores(key) is not None
        if not scored and not near[1]:
            waiting.append(row)
        if row in report.not_run:
            continue
        comparison = None if near[1] and not variant else compare(report, key, near[0])
        if near[1] and not variant:
            aside.append(f"{report.quoted(row)} ({UNLIKE})")
        elif comparison is None:
            why = APART if scored else FAILED if report.failures_of(key) else MISSING
            unlearned = scored and (near[0], section, fraction) in report.unlearned
            aside.append(f"{report.quoted(row)} ({UNLEARNED if unlearned else why})")
        elif (
            variant.startswith(" (random)")
            and comparison.difference == 0
            and comparison.check == (0, 0)
        ):
            aside.append(f"{report.quoted(row)} ({ITSELF})")
        else:
            compared.append(comparison)
    return compared, aside, waiting


def uncompared(report: ReportContext) -> Iterator[tuple[Key, str, str]]:
    """Yield where a row has scores, its row from scratch, and why this has not learned the task there."""
    for row, (section, fraction) in product(report.rows, _places(report)):
        near = report.nearest.get((row, section))
        key = Key(row, section, fraction, MEAN, judging(report, section))
        why = report.unlearned.get((near[0], section, fraction)) if near else ""
        if near and why and near[0] != row and report.cells.scores(key) is not None:
            yield key, near[0], f"{UNLEARNED} ({why})"


def _places(report: ReportContext) -> Iterator[tuple[int, int]]:
    """Yield each section that a metric judges and each of its label fractions."""
    for section in range(len(report.protocol.finetune)):
        if judging(report, section):
            yield from ((section, fraction) for fraction in sorted(report.fractions(section)))


def compare(report: ReportContext, key: Key, baseline: str) -> RowComparison | None:
    """Return one row's comparison with another at a place; None where they share no patient and run."""
    base = key._replace(row=baseline)
    paired = differences(report, key, base)
    if paired is None:
        return None
    values, clusters, seeds = paired
    within = region(report, key)
    statistics = stats.compared(values, clusters, within.rope if within else None, seeds=seeds)
    ours, theirs = report.printed(key), report.printed(base)
    sign = _sign(report, key.metric)
    gap = sign * (ours.number - theirs.number) if ours and theirs else None
    judged = stats.Judged(statistics, float("nan"), statistics.verdict, statistics.why)
    checks = stats.bootstrap(values, clusters, seeds=seeds), _flips(statistics, values)
    return RowComparison(key, baseline, judged, *checks, gap, report.is_control(key.row), within)


def region(report: ReportContext, key: Key) -> stats.Region | None:
    """Return the region of equivalence at a row's place, by its row from scratch; None of no share.

    It is of the patients that every seed of scratch has.
    """
    if report.unit(key.metric) != "1":
        return None
    near = report.nearest.get((key.row, key.section))
    base = key._replace(row=near[0] if near else key.row)
    if base not in report.regions:
        scores = report.cells.scores(base) if near else None
        values = mean_of(scores.values, 2) if scores else np.zeros((0, 0))
        common = values[~np.isnan(values).any(axis=1)]
        report.regions[base] = stats.region(common.mean(axis=0).tolist() if len(common) else ())
    return report.regions[base]


class Gained(NamedTuple):
    """What a cell is above another over what both have, in the metric's unit; no sign is turned."""

    difference: float
    patients: int


def gained(report: ReportContext, key: Key, other: Key) -> Gained | None:
    """Return the difference that a verdict on two cells is of; None where they have nothing in common."""
    paired = differences(report, key, other)
    if paired is None:
        return None
    values, clusters, seeds = paired
    comparison = stats.compared(values, clusters, None, seeds=seeds, flips=False)
    return Gained(_sign(report, key.metric) * comparison.difference, comparison.patients)


def _sign(report: ReportContext, metric: str) -> int:
    return -1 if lower_is_better(metric, report.unit(metric)) else 1


def _flips(comparison: stats.Comparison, values: np.ndarray) -> float:
    """Return the p of "these weights do not differ"; NaN where something may be said of the method."""
    if comparison.verdict != WEIGHTS:
        return float("nan")
    return (
        comparison.p if comparison.pretrainings * comparison.seeds == 1 else stats.sign_flip(values)
    )


def differences(
    report: ReportContext, key: Key, other: Key
) -> tuple[np.ndarray, list[int] | None, list[int] | None] | None:
    """Return one row minus another, more being better: (patients, runs), and the seeds of the runs.

    The mean over targets is of those that are defined for both in that patient and run. None, too, where the
    other row has not learned the task.
    """
    ours, theirs = report.cells.scores(key), report.cells.scores(other)
    if ours is None or theirs is None or other[:3] in report.unlearned:
        return None
    return differences_of(report, key, other, ours, theirs)


def differences_of(
    report: ReportContext, key: Key, other: Key, ours: Scores, theirs: Scores
) -> tuple[np.ndarray, list[int] | None, list[int] | None] | None:
    """Return the same of scores that are given."""
    ours_aligned, theirs_aligned, patients, runs = aligned(ours, theirs)
    if not patients or not runs:
        return None
    values = mean_of(_sign(report, key.metric) * (ours_aligned - theirs_aligned), 2)
    if np.isnan(values).all():
        return None
    sides = ((key.row, ours), (other.row, theirs))
    lone = {row for row, scores in sides if scores.lone}
    return (values, *run_seeds(report, key.row, other.row, runs, lone))


def run_seeds(
    report: ReportContext,
    row: str,
    other: str,
    runs: Sequence[tuple[int, int]],
    lone: Set[str] = frozenset(),
) -> tuple[list[int] | None, list[int] | None]:
    """Return the pretraining and the fine-tuning seed of each run; of two rows from scratch neither matters.

    Weights from a file are one pretraining, whatever the seed. So are those of a row with a single pretraining,
    which is compared with each of the other row's: their difference is of these weights.

    Args:
        report: has the rows.
        row: one of them.
        other: another one, or itself.
        runs: pretraining and fine-tuning seeds.
        lone: rows with a single pretraining seed, which counts where a method pretrains them.
    """
    names = (row, other)
    declared = [row_of(report.protocol, name)[0] for name in names]
    specs = [(name, row) for name, row in zip(names, declared, strict=True) if row is not None]
    if any(row.init or (name in lone and method_pretrains(row)) for name, row in specs):
        return [0] * len(runs), [seed for _, seed in runs]
    if not any(row is not None and method_pretrains(row) for row in declared):
        return None, None
    return [pretrained for pretrained, _ in runs], [seed for _, seed in runs]
