"""Dots of every row as plain data: runs and patients, as differences against scratch where there is one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bench.protocol import row_of
from bench.report.cells import MEAN, Key
from bench.report.context import ReportContext
from bench.report.names import is_ranked, lower_is_better, metric_title
from bench.report.numbers import difference, number
from bench.report.plots import Spots, Strip
from bench.report.scores import Scores, aligned, mean_of

AGAINST = "scratch of the same network"
MOST = 120  # patients of a row that are drawn
HOW = (
    "Differences are paired by patient and fine-tuning seed, and averaged over targets. A triangle at the "
    "edge of a plot is a patient beyond that edge."
)
EVERY = "At most {} patients of a row are drawn, at even steps through their sorted values."


def strips(report: ReportContext) -> tuple[Strip, ...]:
    """Return, for each section and label fraction, the rows' dots in the table's own metric.

    Rows without one from scratch of their network stand in a strip of scores, and so do those from scratch
    where nothing is measured against them.
    """
    metric = report.metrics[0]
    if not is_ranked(metric):  # of two signed values neither difference is the better one
        return ()
    strips = list[Strip]()
    for section in range(len(report.protocol.finetune)):
        shares = sorted(report.fractions(section))
        for fraction in shares:
            several = f", {fraction} % of the labels" if len(shares) > 1 else ""
            key = Key("", section, fraction, MEAN, metric)
            strips += _strips(report, key, report.labels[section] + several)
    return tuple(strips)


def _strips(report: ReportContext, key: Key, title: str) -> list[Strip]:
    unit = report.unit(key.metric)
    name, lower = metric_title(key.metric), lower_is_better(key.metric, unit)
    paired, alone, bases = list[Spots](), list[Spots](), set[str]()
    for row in report.rows:
        scores = report.cells.scores(key._replace(row=row))
        base = scratch_of(report, row, key.section)
        base = "" if (base, *key[1:3]) in report.unlearned else base
        if scores is None:
            continue
        other = report.cells.scores(key._replace(row=base)) if base not in ("", row) else None
        if other is None:
            alone += _spots(report.named(row), scores.values, scores.runs, unit, number)
        else:
            bases.add(report.named(base))
            values, zero, _, runs = aligned(scores, other)
            paired += _spots(report.named(row), values - zero, runs, unit, difference)
    alone = [spots for spots in alone if spots.title not in bases]
    points, percent = ("points", "%") if unit == "1" else (unit, unit)
    strips = [
        Strip(title, f"{name} ({points})", lower, AGAINST, tuple(paired)),
        Strip(title, f"{name} ({percent})", lower, "", tuple(alone)),
    ]
    return [strip for strip in strips if strip.rows]


def scratch_of(report: ReportContext, row: str, section: int) -> str:
    """Return the row from scratch that a row is read against, itself where it is one; empty without."""
    _, more = row_of(report.protocol, row)
    near = report.nearest.get((row, section))
    if near is None:
        return ""
    last = f"{near[0]} (last)"  # weights against the same weights' row; controls against scratch itself
    return last if more.endswith("(last)") and last in report.rows else near[0]


def _spots(
    title: str,
    values: np.ndarray,
    runs: tuple[tuple[int, int], ...],
    unit: str,
    printed: Callable[[float, str], str],
) -> list[Spots]:
    """Return a row's dots of values (patients, runs, targets), none where no value is defined."""
    factor = 100 if unit == "1" else 1
    by_run = run_means(values)
    by_patient = factor * mean_of(mean_of(values, 1), 1)  # over runs, then targets
    defined = np.isfinite(by_run)
    if not defined.any():
        return []
    order = {seed: i for i, seed in enumerate(dict.fromkeys(pretrained for pretrained, _ in runs))}
    mean, by_run = float(by_run[defined].mean()), factor * by_run
    patients = np.sort(by_patient[np.isfinite(by_patient)])
    if len(patients) > MOST:
        patients = patients[np.linspace(0, len(patients) - 1, MOST).round().astype(int)]
    return [
        Spots(
            title,
            round(factor * mean, 6),
            printed(mean, unit),
            tuple(round(float(v), 6) for v in by_run[defined]),
            tuple(order[runs[i][0]] for i in np.flatnonzero(defined)),
            tuple(round(float(v), 4) for v in patients),
        )
    ]


def run_means(values: np.ndarray) -> np.ndarray:
    """Return a table's number of each run: the mean over patients, then over targets.

    Args:
        values: (patients, runs, targets), NaN where undefined.

    Returns:
        (runs,), NaN where a run has no value.
    """
    return mean_of(mean_of(values, 0), 1)


def of_runs(scores: Scores | None) -> dict[tuple[int, int], float]:
    """Return a cell's value in each of its runs; empty where no value is of a patient."""
    if scores is None:
        return {}
    return {
        run: float(v)
        for run, v in zip(scores.runs, run_means(scores.values), strict=True)
        if v == v
    }
