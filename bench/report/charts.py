"""Bars, dots and lines of a view as plain data: which plots, which groups, whose values."""

from __future__ import annotations

from collections.abc import Sequence

from bench.protocol import View
from bench.report import selected
from bench.report.cells import MEAN, Key
from bench.report.differences import of_runs, scratch_of
from bench.report.names import metric_axis
from bench.report.plots import Chart, Group, Plot, Series
from bench.report.scene import Scene

SHARE = "Share of labelled training patients, log scale"
DATA = ("section", "fraction", "target", "metric")  # what a key says besides its row


def lines(scene: Scene, view: View) -> tuple[Plot, ...]:
    """Return a plot over label fractions for each section, target and metric that has several of them.

    Where scratch alone has several there is none: a line beside lone points says less than the table.
    """
    plots = []
    for places in _apart(scene, view):
        ticks = tuple(key.fraction for key in places)
        series = _series(scene, view, places, ticks)
        rows = [line for line in series if not line.baseline] or series
        grown = any(len(line.xs) > 1 or len(line.printed) > 1 for line in rows)
        if grown and any(line.xs for line in series):
            y, lower = _axis(scene, places[0])
            plots.append(Plot(_title(scene, view, places[0]), SHARE, y, lower, series, ticks))
    return tuple(plots)


def charts(scene: Scene, view: View) -> tuple[Chart, ...]:
    """Return a chart for each value of what a view does not have along the axis; bars and dots are alike."""
    drawn = []
    for every in _apart(scene, view):
        places = [key for key in every if _has_number(scene, view, key)]
        series = _series(scene, view, places, range(len(places)))
        if any(marks.xs for marks in series):
            labels = [
                tuple(selected.label(scene, key, axis) for axis in view.columns) for key in places
            ]
            axes = [_axis(scene, key) for key in places]
            groups = tuple(Group(names, *axis) for names, axis in zip(labels, axes, strict=True))
            drawn.append(Chart(_title(scene, view, places[0]), groups, series))
    return tuple(drawn)


def _apart(scene: Scene, view: View) -> list[list[Key]]:
    """Return a view's places, those of one plot together and in the order of its axis."""
    places = selected.places(scene, view)
    order = {axis: list(dict.fromkeys(_at(key, axis) for key in places)) for axis in DATA}
    if not view.targets:  # sections have targets of their own; the mean stands behind all
        order["target"].sort(key=lambda target: target == MEAN)
    groups: dict[tuple, list[Key]] = {}
    for key in places:
        left = tuple(_at(key, axis) for axis in DATA if axis not in view.columns)
        groups.setdefault(left, []).append(key)

    def along(key: Key) -> list[int]:
        return [order[axis].index(_at(key, axis)) for axis in view.columns]

    return [sorted(group, key=along) for group in groups.values()]


def _at(key: Key, axis: str) -> int | str:
    value: int | str = getattr(key, axis)
    return value


def _title(scene: Scene, view: View, key: Key) -> str:
    """Return what a plot's places share, of what may differ between plots; the axis says its metric."""
    parts = []
    if "section" not in view.columns:
        parts.append(scene.labels[key.section])
    if "fraction" not in view.columns and len(selected.fractions(scene, view, key.section)) > 1:
        parts.append(f"{key.fraction} % of the labels")
    if "target" not in view.columns and (key.target != MEAN or len(view.targets) > 1):
        parts.append(selected.label(scene, key, "target"))
    return ", ".join(parts)


def _axis(scene: Scene, key: Key) -> tuple[str, bool]:
    return metric_axis(key.metric, scene.unit(key.metric))


def _shown(scene: Scene, view: View) -> list[str]:
    """Return the rows of a view; at the end those that the paper alone has numbers for."""
    return selected.rows(
        scene.protocol,
        view,
        [*scene.rows, *(scene.protocol.published_only if view.published else ())],
    )


def _has_number(scene: Scene, view: View, key: Key) -> bool:
    keys = [key._replace(row=row) for row in _shown(scene, view)]
    printed = view.published and any(scene.printed(key) is not None for key in keys)
    return printed or any(_ours(scene, key) is not None for key in keys)


def _series(
    scene: Scene, view: View, places: Sequence[Key], xs: Sequence[float]
) -> tuple[Series, ...]:
    points = list(zip(xs, places, strict=True))
    every = [_of_row(scene, view, row, points) for row in _shown(scene, view)]
    return tuple(series for series in every if series.xs or series.printed)


def _of_row(scene: Scene, view: View, row: str, places: list[tuple[float, Key]]) -> Series:
    keys = [(x, key._replace(row=row)) for x, key in places]
    ours = [(x, key, cell) for x, key in keys if (cell := _ours(scene, key)) is not None]
    printed = [(x, key, scene.printed(key)) for x, key in keys] if view.published else []
    scratch = scratch_of(scene, row, places[0][1].section) if places else ""
    return Series(
        title=scene.named(row),
        baseline=scene.from_scratch(row),
        xs=tuple(x for x, _, _ in ours),
        means=tuple(_print(scene, key, mean) for _, key, (mean, _) in ours),
        sds=tuple(_print(scene, key, sd) for _, key, (_, sd) in ours),
        printed=tuple((x, _print(scene, key, value.number)) for x, key, value in printed if value),
        quoted=row in scene.protocol.published_only,
        runs=runs_at(scene, [key for _, key, _ in ours]) if view.draw == "lines" else (),
        scratch=scene.named(scratch) if scratch else "",
    )


def runs_at(scene: Scene, keys: Sequence[Key]) -> tuple[tuple[float | None, ...], ...]:
    """Return of each run its values at some cells, in print units; nothing where all are of one run."""
    cells = [of_runs(scene.cells.scores(key)) for key in keys]
    runs = sorted({run for cell in cells for run in cell})
    if len(runs) < 2:
        return ()
    return tuple(
        tuple(
            _print(scene, key, cell[run]) if run in cell else None
            for key, cell in zip(keys, cells, strict=True)
        )
        for run in runs
    )


def _ours(scene: Scene, key: Key) -> tuple[float, float] | None:
    """Return mean and standard deviation of a cell, None where there is no number."""
    cell = scene.cells.at(key)
    return None if cell is None or cell.mean is None else (cell.mean, cell.sd or 0.0)


def _print(scene: Scene, key: Key, value: float) -> float:
    return round((100 if scene.unit(key.metric) == "1" else 1) * value, 6)
