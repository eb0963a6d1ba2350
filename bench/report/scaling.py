"""Scores against how much a pretraining had: its steps, out of snapshots of one, and its cases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from bench.protocol import Row, View, pretrain_of, row_of
from bench.report import selected
from bench.report.cells import MEAN, Key
from bench.report.charts import runs_at
from bench.report.differences import scratch_of
from bench.report.names import metric_axis
from bench.report.plots import Plot, Series
from bench.report.scene import Scene
from bench.typed import plain

STEPS = (
    "One line for each pretraining: every point is fine-tuned from its weights at that step, the last one "
    "from its end. Under a schedule that decays, earlier points had not come to its end."
)
CASES = "One line for each method: every point is a pretraining of its own on so many cases."
ALL = View(draw="pretraining")
Points = list[tuple[float, str]]  # x, row


def by_steps(scene: Scene, view: View = ALL) -> tuple[Plot, ...]:
    """Return one plot per section and label fraction in which rows are snapshots of one pretraining.

    And for each target and metric that a view names; else of the mean, in the table's own metric.
    """
    return _plots(scene, view, "Pretraining step", lambda section: _snapshots(scene, section))


def by_cases(scene: Scene, view: View = ALL) -> tuple[Plot, ...]:
    """Return the same of rows whose pretrainings differ in ``take`` alone."""
    return _plots(scene, view, "Pretraining cases", lambda section: _shares(scene, section))


def _snapshots(scene: Scene, section: int) -> list[Points]:
    """Return the rows that start from snapshots of one pretraining and are fine-tuned alike, by step."""
    lines: dict[Any, Points] = {}
    for name, starts in scene.cells.initials.items():
        row = scene.protocol.rows.get(name)
        inits = starts.get(section, ())
        pretrained = inits and all(init.startswith("job:") for init in inits)
        if row is None or row.ceiling or not pretrained:
            continue
        jobs = frozenset(init.partition("@")[0] for init in inits)
        if step := row.at or _last(scene, name):
            lines.setdefault((jobs, scene.alike[name, section]), []).append((float(step), name))
    return list(lines.values())


def _shares(scene: Scene, section: int) -> list[Points]:
    """Return the rows that differ in how many cases they were pretrained on, by these."""
    lines: dict[str, Points] = {}
    for name, row in scene.protocol.rows.items():
        pretrainings = [p for p in scene.extras.pretrainings if name in p.rows]
        if len(pretrainings) == 1 and not row.ceiling and scene.protocol.pretrain is not None:
            key = repr((_but_for_data(scene, row, section), scene.alike[name, section]))
            lines.setdefault(key, []).append((float(pretrainings[0].cases[1]), name))
    return list(lines.values())


def _but_for_data(scene: Scene, row: Row, section: int) -> list[Any]:
    before = plain(pretrain_of(scene.protocol, row, section))
    data = [{**dataset, "take": None} for dataset in before["datasets"]]
    rest = {**before, "take": None, "name": None, "datasets": data}
    return [row.method, row.network, row.params, row.at, rest]


def _last(scene: Scene, row: str) -> int | None:
    """Return the steps of a row's whole pretraining, None where its folds have different ones."""
    steps = {s for p in scene.extras.pretrainings if row in p.rows for s in p.steps}
    return steps.pop() if len(steps) == 1 else None


def _plots(
    scene: Scene, view: View, x: str, groups: Callable[[int], list[Points]]
) -> tuple[Plot, ...]:
    view = replace(view, metrics=view.metrics or (scene.metrics[0],))
    keys = selected.places(scene, view)
    plots = (_plot(scene, view, x, key, groups(key.section)) for key in keys)
    return tuple(plot for plot in plots if plot is not None)


def _plot(scene: Scene, view: View, x: str, key: Key, groups: list[Points]) -> Plot | None:
    """Return the plot of one section, fraction, target and metric; None where no line has two points."""
    rows = selected.rows(scene.protocol, view, scene.rows)
    groups = [sorted(point for point in points if point[1] in rows) for points in groups]
    groups = [points for points in groups if points and points[0][0] < points[-1][0]]
    lines = [_line(scene, key, points) for points in groups]
    if not any(line.xs for line in lines):
        return None
    first, last = min(points[0][0] for points in groups), max(points[-1][0] for points in groups)
    scratch = [row for row in rows if scene.from_scratch(row)]
    level = [_line(scene, key, [(first, row), (last, row)]) for row in scratch]
    title = scene.labels[key.section]
    if len(selected.fractions(scene, view, key.section)) > 1:
        title += f", {key.fraction} % of the labels"
    title += "" if key.target == MEAN else f", {key.target}"
    y, lower = metric_axis(key.metric, scene.unit(key.metric))
    return Plot(title, x, y, lower, tuple(line for line in (*level, *lines) if line.xs))


def _line(scene: Scene, key: Key, points: Points) -> Series:
    """Return one line; it is called by what its rows have in common."""
    factor = 100 if scene.unit(key.metric) == "1" else 1
    names = [row for _, row in points]
    keys = [key._replace(row=row) for row in names]
    cells = [(at, scene.cells.at(key)) for (at, _), key in zip(points, keys, strict=True)]
    scored = [(at, c) for at, c in cells if c is not None and c.mean is not None]
    scratch = scratch_of(scene, names[0], key.section)
    return Series(
        title=scene.named(names[0]) if len({*names}) == 1 else _shared(scene, names),
        baseline=scene.from_scratch(names[0]),
        xs=tuple(at for at, _ in scored),
        means=tuple(round(factor * (cell.mean or 0.0), 6) for _, cell in scored),
        sds=tuple(round(factor * (cell.sd or 0.0), 6) for _, cell in scored),
        runs=runs_at(scene, keys) if len(scored) == len(points) else (),
        scratch=scene.named(scratch) if scratch else "",
    )


def _shared(scene: Scene, rows: list[str]) -> str:
    """Return what the rows of one line are called together: their titles' common beginning, or the method."""
    titles = [scene.named(row).partition(" @ ")[0] for row in rows]
    if len({*titles}) == 1:
        return titles[0]
    first, _ = row_of(scene.protocol, rows[0])
    return scene.extras.titles.get(first.method, first.method) if first else rows[0]
