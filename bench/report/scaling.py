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
    found: dict[Any, Points] = {}
    for name, starts in scene.cells.initials.items():
        row = scene.protocol.rows.get(name)
        own = starts.get(section, ())
        if (
            row is None
            or row.ceiling
            or not own
            or not all(init.startswith("job:") for init in own)
        ):
            continue
        jobs = frozenset(init.partition("@")[0] for init in own)
        step = row.at or _last(scene, name)
        if step:
            found.setdefault((jobs, scene.alike[name, section]), []).append((float(step), name))
    return list(found.values())


def _shares(scene: Scene, section: int) -> list[Points]:
    """Return the rows that differ in how many cases they were pretrained on, by these."""
    found: dict[str, Points] = {}
    for name, row in scene.protocol.rows.items():
        known = [p for p in scene.extras.pretrainings if name in p.rows]
        if len(known) == 1 and not row.ceiling and scene.protocol.pretrain is not None:
            key = repr((_but_for_data(scene, row, section), scene.alike[name, section]))
            found.setdefault(key, []).append((float(known[0].cases[1]), name))
    return list(found.values())


def _but_for_data(scene: Scene, row: Row, section: int) -> list[Any]:
    before = plain(pretrain_of(scene.protocol, row, section))
    kept = {k: v for k, v in before.items() if k not in ("take", "name")}
    data = [{k: v for k, v in entry.items() if k != "take"} for entry in kept.pop("datasets")]
    return [row.method, row.network, row.params, row.at, kept, data]


def _last(scene: Scene, row: str) -> int | None:
    """Return the steps of a row's whole pretraining, None where its folds have different ones."""
    known = {s for p in scene.extras.pretrainings if row in p.rows for s in p.steps}
    return known.pop() if len(known) == 1 else None


def _plots(
    scene: Scene, view: View, x: str, groups: Callable[[int], list[Points]]
) -> tuple[Plot, ...]:
    view = replace(view, metrics=view.metrics or (scene.metrics[0],))
    made = [
        _plot(scene, view, x, place, groups(place.section))
        for place in selected.places(scene, view)
    ]
    return tuple(plot for plot in made if plot is not None)


def _plot(scene: Scene, view: View, x: str, place: Key, groups: list[Points]) -> Plot | None:
    """Return the plot of one section, fraction, target and metric; None where no line has two points."""
    rows = selected.rows(scene.protocol, view, scene.rows)
    own = [sorted((at, row) for at, row in points if row in rows) for points in groups]
    found = [points for points in own if len({at for at, _ in points}) > 1]
    lines = [_line(scene, place, points) for points in found]
    if not any(line.xs for line in lines):
        return None
    ends = [at for points in found for at, _ in points]
    scratch = [row for row in rows if scene.from_scratch(row)]
    level = [_line(scene, place, [(min(ends), row), (max(ends), row)]) for row in scratch]
    title = scene.labels[place.section]
    if len(selected.fractions(scene, view, place.section)) > 1:
        title += f", {place.fraction} % of the labels"
    title += "" if place.target == MEAN else f", {place.target}"
    y, lower = metric_axis(place.metric, scene.unit(place.metric))
    return Plot(title, x, y, lower, tuple(line for line in (*level, *lines) if line.xs))


def _line(scene: Scene, place: Key, points: Points) -> Series:
    """Return one line; it is called by what its rows have in common."""
    factor = 100 if scene.unit(place.metric) == "1" else 1
    found = [(at, scene.cells.at(place._replace(row=row))) for at, row in points]
    kept = [(at, c.mean, c.sd or 0.0) for at, c in found if c is not None and c.mean is not None]
    names = [row for _, row in points]
    scratch = scratch_of(scene, names[0], place.section)
    return Series(
        title=scene.named(names[0]) if len({*names}) == 1 else _shared(scene, names),
        baseline=scene.from_scratch(names[0]),
        xs=tuple(at for at, _, _ in kept),
        means=tuple(round(factor * m, 6) for _, m, _ in kept),
        sds=tuple(round(factor * s, 6) for _, _, s in kept),
        runs=()
        if len(kept) < len(points)
        else runs_at(scene, [place._replace(row=row) for row in names]),
        scratch=scene.named(scratch) if scratch else "",
    )


def _shared(scene: Scene, rows: list[str]) -> str:
    """Return what the rows of one line are called together: their titles' common beginning, or the method."""
    titles = [scene.named(row).partition(" @ ")[0] for row in rows]
    if len({*titles}) == 1:
        return titles[0]
    first, _ = row_of(scene.protocol, rows[0])
    return scene.extras.titles.get(first.method, first.method) if first else rows[0]
