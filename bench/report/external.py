"""How far scores change on a data set that nothing was trained on, under the same weights."""

from __future__ import annotations

import numpy as np

from bench.protocol.sections import Finetune
from bench.report.cells import MEAN, Key
from bench.report.context import ReportContext
from bench.report.names import metric_title
from bench.report.numbers import TIMES, difference, number
from bench.report.scores import Scores
from bench.report.sections import Section
from bench.report.tabular import COUNTS, Table, grid
from bench.report.verdicts import judging
from bench.stats.unpaired import Change, change

HEADING = "What remains on another data set?"
HOW = (
    "Change: the score on the other data set minus the score on the test patients of the fine-tuning data "
    "set, with the same weights. The interval covers the patients of both data sets and the runs."
)


def sections(report: ReportContext) -> list[Section]:
    """Return a table for each test on another data set and each label fraction."""
    tables = tuple(
        table
        for index, section in enumerate(report.protocol.finetune)
        if section.external is not None
        for fraction in sorted(report.fractions(index))
        if (table := _table(report, index, section, fraction)) is not None
    )
    return [Section(HEADING, tables, "external", "Other data set", first=True)] if tables else []


def _table(report: ReportContext, index: int, section: Finetune, fraction: int) -> Table | None:
    trained, metric = report.protocol.trained_in(index), judging(report, index)
    if not metric or metric != judging(report, trained):
        return None
    targets, unit = _same(report, index, section, trained), report.unit(metric)
    changes = {
        row: changed
        for row in report.rows
        if (changed := _change(report, row, fraction, metric, (trained, index), targets))
    }
    if not changes:
        return None
    trained_on, tested_on = (
        report.info[report.protocol.finetune[i].dataset].title for i in (trained, index)
    )
    lines = [(report.named(row), *_entries(changed, unit)) for row, changed in changes.items()]
    head = ("Row", f"On {trained_on}", f"On {tested_on}", "Change", "95 % interval", COUNTS)
    title = f"{metric_title(metric)}, {report.labels[trained]}, {fraction} % of the labels"
    if targets:
        title += f", {', '.join(second for _, second in targets)} alone"
    return grid(head, lines, title, HOW)


def _entries(changed: Change, unit: str) -> tuple[str, ...]:
    within = "none: one run, or a group of one patient"
    if changed.low == changed.low:
        within = f"{difference(changed.low, unit)} to {difference(changed.high, unit)}"
    first, second = (number(mean, unit) for mean in changed.means)
    patients = " and ".join(map(str, changed.patients))
    change = difference(changed.mean, unit)
    return first, second, change, within, f"{changed.runs} {TIMES} {patients}"


def _same(
    report: ReportContext, index: int, section: Finetune, trained: int
) -> list[tuple[str, str]]:
    """Return the targets that belong together: of the data set that trains, of the other one."""
    assert section.external is not None
    trained_labels, tested_labels = (
        dict(report.info[report.protocol.finetune[i].dataset].labels) for i in (trained, index)
    )
    pairs = {
        _name(tested_labels, tested): _name(trained_labels, predicted)
        for tested, predicted in section.external.labels.items()
    }
    both = [
        (pairs.get(target, "" if pairs else target), target) for target in report.targets(index)
    ]
    return [pair for pair in both if pair[0] in report.targets(trained)]


def _name(labels: dict[int, str], label: str | int) -> str:
    return labels.get(int(label), "") if str(label).isdecimal() else str(label)


def _change(
    report: ReportContext,
    row: str,
    fraction: int,
    metric: str,
    places: tuple[int, int],
    targets: list[tuple[str, str]],
) -> Change | None:
    """Return how far a row's mean changes from one place to the other; None where a place has no scores."""
    first, second = (
        report.cells.scores(Key(row, place, fraction, MEAN, metric)) for place in places
    )
    if first is None or second is None:
        return None
    runs = sorted({*first.runs} & {*second.runs})
    before = _of_runs(first, [trained for trained, _ in targets], runs)
    after = _of_runs(second, [tested for _, tested in targets], runs)
    if not (before.size and after.size):
        return None
    return change(before, after, [pretrained for pretrained, _ in runs], [seed for _, seed in runs])


def _of_runs(scores: Scores, targets: list[str], runs: list[tuple[int, int]]) -> np.ndarray:
    """Return the mean over some targets, (patients, runs), of the patients that have one in every run."""
    chosen = [scores.targets.index(name) for name in targets if name in scores.targets]
    at = [scores.runs.index(run) for run in runs]
    values = scores.values[:, at][:, :, chosen]
    complete = ~np.isnan(values).any(axis=(1, 2)) if chosen and at else np.zeros(len(values), bool)
    return values[complete].mean(axis=2) if complete.any() else np.empty((0, 0))
