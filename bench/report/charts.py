"""Bars, dots and lines of a view as plain data: which plots, which groups, whose values."""

from __future__ import annotations

from collections.abc import Sequence

from bench.protocol import View
from bench.report import pivot, selected
from bench.report.cells import MEAN, Key
from bench.report.context import ReportContext
from bench.report.differences import of_runs, scratch_of
from bench.report.names import metric_axis
from bench.report.plots import Chart, Group, Plot, Series, in_print

SHARE = "Share of labelled training patients, log scale"
DATA = ("section", "fraction", "target", "metric")  # what a key says besides its row


def lines(report: ReportContext, view: View) -> tuple[Plot, ...]:
    """Return a plot over label fractions for each section, target and metric that has several of them.

    Where scratch alone has several there is none: a line beside lone points says less than the table.
    """
    plots = []
    for places in _apart(report, view):
        ticks = tuple(key.fraction for key in places)
        series = _series(report, view, places, ticks)
        rows = [line for line in series if not line.baseline] or series
        grown = any(len(line.xs) > 1 or len(line.printed) > 1 for line in rows)
        if grown and any(line.xs for line in series):
            y, lower = _axis(report, places[0])
            plots.append(Plot(_title(report, view, places[0]), SHARE, y, lower, series, ticks))
    return tuple(plots)


def charts(report: ReportContext, view: View) -> tuple[Chart, ...]:
    """Return a chart for each value of what a view does not have along the axis; bars and dots are alike."""
    drawn = []
    for every in _apart(report, view):
        places = [key for key in every if _has_number(report, view, key)]
        series = _series(report, view, places, range(len(places)))
        if any(marks.xs for marks in series):
            labels = [
                tuple(pivot.word(report, axis, getattr(key, axis)) for axis in view.columns)
                for key in places
            ]
            axes = [_axis(report, key) for key in places]
            groups = tuple(Group(names, *axis) for names, axis in zip(labels, axes, strict=True))
            drawn.append(Chart(_title(report, view, places[0]), groups, series))
    return tuple(drawn)


def _apart(report: ReportContext, view: View) -> list[list[Key]]:
    """Return a view's places, those of one plot together and in the order of its axis."""
    places = selected.places(report, view)
    order = {axis: list(dict.fromkeys(getattr(key, axis) for key in places)) for axis in DATA}
    if not view.targets:  # sections have targets of their own; the mean stands behind all
        order["target"].sort(key=lambda target: target == MEAN)
    groups: dict[tuple, list[Key]] = {}
    for key in places:
        left = tuple(getattr(key, axis) for axis in DATA if axis not in view.columns)
        groups.setdefault(left, []).append(key)

    def along(key: Key) -> list[int]:
        return [order[axis].index(getattr(key, axis)) for axis in view.columns]

    return [sorted(group, key=along) for group in groups.values()]


def _title(report: ReportContext, view: View, key: Key) -> str:
    """Return what a plot's places share, of what may differ between plots; the axis says its metric."""
    parts = []
    if "section" not in view.columns:
        parts.append(report.labels[key.section])
    if "fraction" not in view.columns and len(selected.fractions(report, view, key.section)) > 1:
        parts.append(f"{key.fraction} % of the labels")
    if "target" not in view.columns and (key.target != MEAN or len(view.targets) > 1):
        parts.append(pivot.word(report, "target", key.target))
    return ", ".join(parts)


def _axis(report: ReportContext, key: Key) -> tuple[str, bool]:
    return metric_axis(key.metric, report.unit(key.metric))


def _has_number(report: ReportContext, view: View, key: Key) -> bool:
    keys = [key._replace(row=row) for row in selected.shown(report, view)]
    printed = view.published and any(report.printed(key) is not None for key in keys)
    return printed or any(_ours(report, key) is not None for key in keys)


def _series(
    report: ReportContext, view: View, places: Sequence[Key], xs: Sequence[float]
) -> tuple[Series, ...]:
    points = list(zip(xs, places, strict=True))
    every = [_of_row(report, view, row, points) for row in selected.shown(report, view)]
    return tuple(series for series in every if series.xs or series.printed)


def _of_row(report: ReportContext, view: View, row: str, places: list[tuple[float, Key]]) -> Series:
    keys = [(x, key._replace(row=row)) for x, key in places]
    ours = [(x, key, cell) for x, key in keys if (cell := _ours(report, key)) is not None]
    printed = [(x, key, report.printed(key)) for x, key in keys] if view.published else []
    scratch = scratch_of(report, row, places[0][1].section) if places else ""
    return Series(
        title=report.named(row),
        baseline=report.pretrains_nothing(row),
        xs=tuple(x for x, _, _ in ours),
        means=tuple(in_print(mean, report.unit(key.metric)) for _, key, (mean, _) in ours),
        sds=tuple(in_print(sd, report.unit(key.metric)) for _, key, (_, sd) in ours),
        printed=tuple(
            (x, in_print(value.number, report.unit(key.metric)))
            for x, key, value in printed
            if value
        ),
        quoted=row in report.protocol.published_only,
        runs=runs_at(report, [key for _, key, _ in ours]) if view.draw == "lines" else (),
        scratch=report.named(scratch) if scratch else "",
    )


def runs_at(report: ReportContext, keys: Sequence[Key]) -> tuple[tuple[float | None, ...], ...]:
    """Return of each run its values at some cells, in print units; nothing where all are of one run."""
    cells = [of_runs(report.cells.scores(key)) for key in keys]
    runs = sorted({run for cell in cells for run in cell})
    if len(runs) < 2:
        return ()
    units = [report.unit(key.metric) for key in keys]
    both = [*zip(units, cells, strict=True)]
    return tuple(
        tuple(in_print(cell[run], unit) if run in cell else None for unit, cell in both)
        for run in runs
    )


def _ours(report: ReportContext, key: Key) -> tuple[float, float] | None:
    """Return mean and standard deviation of a cell, None where there is no number."""
    cell = report.cells.at(key)
    return None if cell is None or cell.mean is None else (cell.mean, cell.sd or 0.0)
