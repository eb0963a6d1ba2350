"""Which rows differ from scratch, by how much and how sure: paired comparisons of one metric."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from bench import stats
from bench.protocol import method_pretrains, row_of
from bench.report.cells import MEAN, Key
from bench.report.context import ReportContext
from bench.report.names import lower_is_better, zero_is_best
from bench.report.scores import Scores, aligned
from bench.stats.comparison import BETTER, UNCLEAR, WEIGHTS

HEADING = "Which rows differ from scratch?"
UNLIKE = "not fine-tuned alike"  # as its baseline
APART = "no patient's score and fine-tuning seed in common with scratch"
ITSELF = "from fresh weights, run by run scratch itself"
BLIND = "blind: nor is the ceiling told from scratch"
MANY = 2000  # comparisons of one report that are made pair by pair


@dataclass(frozen=True)
class Against:
    """One row beside its baseline at one place, in the metric's own unit; more is better."""

    key: Key
    baseline: str  # the row from scratch
    judged: stats.Judged
    check: tuple[float, float]  # what the crossed bootstrap says of the interval
    flips: float  # p of the exact sign-flip: do these weights differ? NaN where a method is judged
    published: float | None = None  # the paper's own difference
    control: bool = False
    region: stats.Region | None = None  # of equivalence; None where the metric is no share

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
    rows: tuple[Against, ...]
    controls: tuple[Against, ...] = ()
    aside: tuple[str, ...] = ()  # rows without a comparison, and why
    blind: frozenset[str] = frozenset()  # rows from scratch from which not even a ceiling is told

    def counted(self) -> dict[str, int]:
        """Return how many rows have each verdict."""
        found = [one.judged.verdict for one in self.rows]
        return {verdict: found.count(verdict) for verdict in stats.VERDICTS if verdict in found}


def verdicts(report: ReportContext) -> list[VerdictGroup]:
    """Return every place where a row stands beside its own row from scratch, in the protocol's order.

    Of each section the first metric that judges it, its mean over targets. The rows of a place are a family,
    its controls another. Where no ceiling is told from scratch, "not separable" says that the study is blind.
    """
    places = []
    for section in range(len(report.protocol.finetune)):
        metric = judging(report, section)
        for fraction in sorted(report.fractions(section)) if metric else ():
            found, aside = _at(report, section, fraction, metric)
            rows = _family([one for one in found if not one.control])
            controls = _family([one for one in found if one.control])
            if found:
                blind = _blind(report, controls)
                rows = tuple(_dimmed(one, blind) for one in rows)
                places.append(
                    VerdictGroup(section, fraction, metric, rows, controls, tuple(aside), blind)
                )
    return places


def judging(report: ReportContext, section: int) -> str:
    """Return the metric that a section's rows are judged by, "" for none."""
    fitting = (m for m in report.metrics if report.judges(m, section) and not zero_is_best(m))
    return next(fitting, "")


def _family(family: list[Against]) -> tuple[Against, ...]:
    """Return comparisons with the verdicts that they have together, the largest difference first."""
    made = stats.judged([one.judged.comparison for one in family])
    both = [
        Against(**vars(one) | {"judged": judged}) for one, judged in zip(family, made, strict=True)
    ]
    return tuple(sorted(both, key=lambda one: -one.difference))


def _blind(report: ReportContext, controls: Sequence[Against]) -> frozenset[str]:
    """Return the rows from scratch that have a ceiling, none of which is called better."""
    ceilings = [one for one in controls if _is_ceiling(report, one.key.row)]
    seen = {one.baseline for one in ceilings if one.judged.verdict == BETTER}
    return frozenset(one.baseline for one in ceilings) - seen


def _is_ceiling(report: ReportContext, row: str) -> bool:
    known = report.protocol.rows.get(row)
    return known is not None and known.ceiling and known.dose == 1


def _dimmed(one: Against, blind: frozenset[str]) -> Against:
    """Return a comparison that says where "not separable" says nothing."""
    if one.judged.verdict != UNCLEAR or one.baseline not in blind:
        return one
    why = f"{one.judged.why}; {BLIND}" if one.judged.why else BLIND
    return replace(one, judged=replace(one.judged, why=why))


def _at(
    report: ReportContext, section: int, fraction: int, metric: str
) -> tuple[list[Against], list[str]]:
    found, aside = list[Against](), list[str]()
    for row in report.rows:
        known, variant = row_of(report.protocol, row)
        if known is None or not report.has(row, section):
            continue
        near = report.nearest[row, section]
        if near is None or (
            near[0] == row or not (method_pretrains(known) or known.init or variant)
        ):
            continue
        key = Key(row, section, fraction, MEAN, metric)
        made = None if near[1] and not variant else beside(report, key, near[0])
        if near[1] and not variant:
            aside.append(f"{report.named(row)}: {UNLIKE}")
        elif made is None:
            aside.append(f"{report.named(row)}: {APART}")
        elif variant.startswith(" (random)") and made.difference == 0 and made.check == (0, 0):
            aside.append(f"{report.named(row)}: {ITSELF}")
        else:
            found.append(made)
    return found, aside


def beside(report: ReportContext, key: Key, baseline: str) -> Against | None:
    """Return one row's comparison with another at a place; None where they share no patient and run."""
    base = key._replace(row=baseline)
    found = differences(report, key, base)
    if found is None:
        return None
    values, clusters, seeds = found
    within = region(report, key)
    one = stats.compared(values, clusters, within.rope if within else None, seeds=seeds)
    ours, theirs = report.printed(key), report.printed(base)
    sign = _sign(report, key.metric)
    gap = sign * (ours.number - theirs.number) if ours and theirs else None
    return Against(
        key,
        baseline,
        stats.Judged(one, float("nan"), one.verdict, one.why),
        stats.bootstrap(values, clusters, seeds=seeds),
        _flips(one, values),
        gap,
        report.is_control(key.row),
        within,
    )


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
        values = over_targets(scores.values) if scores else np.zeros((0, 0))
        common = values[~np.isnan(values).any(axis=1)]
        report.regions[base] = stats.region(common.mean(axis=0).tolist() if len(common) else ())
    return report.regions[base]


class Gained(NamedTuple):
    """What a cell is above another over what both have, in the metric's unit; no sign is turned."""

    difference: float
    patients: int


def gained(report: ReportContext, key: Key, other: Key) -> Gained | None:
    """Return the difference that a verdict on two cells is of; None where they have nothing in common."""
    found = differences(report, key, other)
    if found is None:
        return None
    values, clusters, seeds = found
    one = stats.compared(values, clusters, None, seeds=seeds, flips=False)
    return Gained(_sign(report, key.metric) * one.difference, one.patients)


def _sign(report: ReportContext, metric: str) -> int:
    return -1 if lower_is_better(metric, report.unit(metric)) else 1


def _flips(one: stats.Comparison, values: np.ndarray) -> float:
    """Return the p of "these weights do not differ"; NaN where something may be said of the method."""
    if one.verdict != WEIGHTS:
        return float("nan")
    return one.p if one.pretrainings * one.seeds == 1 else stats.sign_flip(values)


def differences(
    report: ReportContext, key: Key, other: Key
) -> tuple[np.ndarray, list[int] | None, list[int] | None] | None:
    """Return one row minus another, more being better: (patients, runs), and the seeds of the runs.

    The mean over targets is of those that are defined for both in that patient and run.
    """
    ours, theirs = report.cells.scores(key), report.cells.scores(other)
    return (
        None if ours is None or theirs is None else differences_of(report, key, other, ours, theirs)
    )


def differences_of(
    report: ReportContext, key: Key, other: Key, ours: Scores, theirs: Scores
) -> tuple[np.ndarray, list[int] | None, list[int] | None] | None:
    """Return the same of scores that are given."""
    one, two, patients, runs = aligned(ours, theirs)
    if not patients or not runs:
        return None
    values = over_targets(_sign(report, key.metric) * (one - two))
    if np.isnan(values).all():
        return None
    return (values, *run_seeds(report, key.row, other.row, runs))


def over_targets(values: np.ndarray) -> np.ndarray:
    """Return the mean over targets, (patients, runs), NaN where none is defined."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of a patient without any
        return np.nanmean(values, axis=2)


def run_seeds(
    report: ReportContext, row: str, other: str, runs: Sequence[tuple[int, int]]
) -> tuple[list[int] | None, list[int] | None]:
    """Return the pretraining and the fine-tuning seed of each run; of two rows from scratch neither matters.

    Weights from a file are one pretraining, whatever the seed.
    """
    known = [row_of(report.protocol, name)[0] for name in (row, other)]
    if any(one is not None and one.init for one in known):
        return [0] * len(runs), [seed for _, seed in runs]
    if not any(one is not None and method_pretrains(one) for one in known):
        return None, None
    return [pretrained for pretrained, _ in runs], [seed for _, seed in runs]


def patients_of(scores: Scores) -> np.ndarray:
    """Return the mean over targets and runs of every patient, (patients,)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.nanmean(over_targets(scores.values), axis=1)
