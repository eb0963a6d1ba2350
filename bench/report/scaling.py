"""Scores against how much a pretraining had: its steps, out of snapshots of one, and its cases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from bench.protocol import Row, View, pretrain_of, row_of
from bench.report import selected
from bench.report.cells import MEAN, Key
from bench.report.charts import runs_at
from bench.report.context import ReportContext
from bench.report.differences import scratch_of
from bench.report.names import metric_axis
from bench.report.plots import Plot, Series, in_print
from bench.typed import plain

STEPS = (
    "Each line is one pretraining. Each point is fine-tuned from the weights of the pretraining at that "
    "step. If the learning rate decays, it has reached its final value only at the last point."
)
CASES = "Each line is one method. Each point is a separate pretraining on that number of cases."
ALL = View(draw="pretraining")
Points = list[tuple[float, str]]  # x, row


def by_steps(report: ReportContext, view: View = ALL) -> tuple[Plot, ...]:
    """Return one plot per section and label fraction in which rows are snapshots of one pretraining.

    And for each target and metric that a view names; else of the mean, in the table's own metric.
    """
    return _plots(report, view, "Pretraining step", lambda section: _snapshots(report, section))


def by_cases(report: ReportContext, view: View = ALL) -> tuple[Plot, ...]:
    """Return the same of rows whose pretrainings differ in ``take`` alone."""
    return _plots(report, view, "Pretraining cases", lambda section: _shares(report, section))


def _snapshots(report: ReportContext, section: int) -> list[Points]:
    """Return the rows that start from snapshots of one pretraining and are fine-tuned alike, by step."""
    lines: dict[Any, Points] = {}
    for name, starts in report.cells.initials.items():
        row = report.protocol.rows.get(name)
        inits = starts.get(section, ())
        pretrained = inits and all(init.startswith("job:") for init in inits)
        if row is None or row.ceiling or not pretrained:
            continue
        jobs = frozenset(init.partition("@")[0] for init in inits)
        if step := row.at or _last(report, name):
            lines.setdefault((jobs, report.alike[name, section]), []).append((float(step), name))
    return list(lines.values())


def _shares(report: ReportContext, section: int) -> list[Points]:
    """Return the rows that differ in how many cases they were pretrained on, by these."""
    lines: dict[str, Points] = {}
    for name, row in report.protocol.rows.items():
        pretrainings = [p for p in report.extras.pretrainings if name in p.rows]
        if len(pretrainings) == 1 and not row.ceiling and report.protocol.pretrain is not None:
            key = repr((_but_for_data(report, row, section), report.alike[name, section]))
            lines.setdefault(key, []).append((float(pretrainings[0].cases[1]), name))
    return list(lines.values())


def _but_for_data(report: ReportContext, row: Row, section: int) -> list[Any]:
    before = plain(pretrain_of(report.protocol, row, section))
    data = [{**dataset, "take": None} for dataset in before["datasets"]]
    rest = {**before, "take": None, "name": None, "datasets": data}
    return [row.method, row.network, row.params, row.at, rest]


def _last(report: ReportContext, row: str) -> int | None:
    """Return the steps of a row's whole pretraining, None where its folds have different ones."""
    steps = {s for p in report.extras.pretrainings if row in p.rows for s in p.steps}
    return steps.pop() if len(steps) == 1 else None


def _plots(
    report: ReportContext, view: View, x: str, groups: Callable[[int], list[Points]]
) -> tuple[Plot, ...]:
    view = replace(view, metrics=view.metrics or (report.metrics[0],))
    keys = selected.places(report, view)
    plots = (_plot(report, view, x, key, groups(key.section)) for key in keys)
    return tuple(plot for plot in plots if plot is not None)


def _plot(report: ReportContext, view: View, x: str, key: Key, groups: list[Points]) -> Plot | None:
    """Return the plot of one section, fraction, target and metric; None where no line has two points."""
    rows = selected.rows(report.protocol, view, report.rows)
    groups = [sorted(point for point in points if point[1] in rows) for points in groups]
    groups = [points for points in groups if points and points[0][0] < points[-1][0]]
    lines = [_line(report, key, points) for points in groups]
    if not any(line.xs for line in lines):
        return None
    first, last = min(points[0][0] for points in groups), max(points[-1][0] for points in groups)
    scratch = [row for row in rows if report.pretrains_nothing(row)]
    level = [_line(report, key, [(first, row), (last, row)]) for row in scratch]
    title = report.labels[key.section]
    if len(selected.fractions(report, view, key.section)) > 1:
        title += f", {key.fraction} % of the labels"
    title += "" if key.target == MEAN else f", {key.target}"
    y, lower = metric_axis(key.metric, report.unit(key.metric))
    return Plot(title, x, y, lower, tuple(line for line in (*level, *lines) if line.xs))


def _line(report: ReportContext, key: Key, points: Points) -> Series:
    """Return one line; it is called by what its rows have in common."""
    unit = report.unit(key.metric)
    names = [row for _, row in points]
    keys = [key._replace(row=row) for row in names]
    cells = [(at, report.cells.at(key)) for (at, _), key in zip(points, keys, strict=True)]
    scored = [(at, c) for at, c in cells if c is not None and c.mean is not None]
    scratch = scratch_of(report, names[0], key.section)
    return Series(
        title=report.named(names[0]) if len({*names}) == 1 else _shared(report, names),
        baseline=report.pretrains_nothing(names[0]),
        xs=tuple(at for at, _ in scored),
        means=tuple(in_print(cell.mean or 0.0, unit) for _, cell in scored),
        sds=tuple(in_print(cell.sd or 0.0, unit) for _, cell in scored),
        runs=runs_at(report, keys) if len(scored) == len(points) else (),
        scratch=report.named(scratch) if scratch else "",
    )


def _shared(report: ReportContext, rows: list[str]) -> str:
    """Return what the rows of one line are called together: their titles' common beginning, or the method."""
    titles = [report.named(row).partition(" @ ")[0] for row in rows]
    if len({*titles}) == 1:
        return titles[0]
    first, _ = row_of(report.protocol, rows[0])
    return report.extras.titles.get(first.method, first.method) if first else rows[0]
