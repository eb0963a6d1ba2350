"""Learning curves: how rows score as their fine-tuning goes, out of ``records/curves/<name>.parquet``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from bench.protocol import Protocol, View
from bench.report import selected
from bench.report.cells import MEAN, PLACE, RUN, of_runs, sections_of
from bench.report.names import metric_axis
from bench.report.plots import Plot, Series
from bench.report.scene import Scene

if TYPE_CHECKING:
    import pandas as pd

PARTS = {"val": "validation patients", "test": "test patients", "train": "training patients"}
HOW = (
    "Mean over targets at each look; over a patient's cases, patients and runs as in the table, as far as "
    "all runs of a row go. Predicted on the prepared grid, so the last point is not the table's number."
)
PEEKED = "A learning curve looks at the test patients on the way"
ALL = View(draw="learning")
POINT = [*(p for p in PLACE if p != "target"), "look"]


def plots(scene: Scene, view: View = ALL) -> tuple[Plot, ...]:
    """Return one plot per part, section, label fraction, target and metric that is tracked.

    Of metrics the view's, else the protocol's own; all where none of those is tracked.
    """
    table = scene.extras.tracked
    if table is None or not len(table):
        return ()
    table = table.assign(section=sections_of(scene.protocol, table))
    made = list[Plot]()
    for part, own in table.groupby("part"):
        for section in selected.sections(view, scene.protocol.sections):
            here = own[own["section"] == section]
            for target in selected.targets(scene, view, section):
                found = here if target == MEAN else here[here["target"] == target]
                made += _of_part(scene, view, found, str(part), target) if len(found) else []
    return tuple(made)


def _of_part(scene: Scene, view: View, table: pd.DataFrame, part: str, target: str) -> Iterator[Plot]:
    points = _points(table)
    asked = {*(view.metrics or scene.protocol.metrics)} & {*points["metric"]} or {*points["metric"]}
    shares = {*(view.fractions or points["fraction"])}
    for (section, fraction, metric), found in points.groupby(["section", "fraction", "metric"], sort=True):
        rows = selected.rows(view, scene.rows_of({*found["row"]}))
        if metric not in asked or fraction not in shares or not rows:
            continue
        in_epochs = scene.protocol.finetune[section].epochs is not None and found["epoch"].notna().all()
        lines = [_line(scene, r, found[found["row"] == r], in_epochs) for r in rows]
        several = len({*points["fraction"]} & shares) > 1
        title = scene.labels[section] + (f", {fraction} % of the labels" if several else "")
        title += "" if target == MEAN else f", {target}"
        y, lower = metric_axis(metric, scene.unit(metric))
        yield Plot(
            title, "Epoch" if in_epochs else "Step", f"{y}, {PARTS.get(part, part)}", lower, tuple(lines)
        )


def captions(scene: Scene) -> tuple[str, ...]:
    """Return what is said below the figure."""
    table = scene.extras.tracked
    return (HOW, *([peeked(scene.protocol)] if table is not None and "test" in {*table["part"]} else []))


def _points(table: pd.DataFrame) -> pd.DataFrame:
    """Return mean and standard deviation over runs of each point, by ``POINT``, and where it lies."""
    table = table.assign(look=table.groupby("job")["step"].rank("dense").astype(int))
    place = [*PLACE, "look"]
    runs = of_runs(table, place).groupby([*POINT, *RUN], observed=True).mean()  # over targets
    looks = table.groupby(["row", "section", "fraction", "job"])["look"].max()
    shared = looks.groupby(["row", "section", "fraction"]).min().rename("shared")
    where = table.drop_duplicates(["job", "row", "step", "metric"]).groupby(POINT)[["step", "epoch"]].mean()
    over = runs.groupby(POINT, observed=True)
    points = over.mean().rename("mean").to_frame().assign(sd=over.std(ddof=1).fillna(0.0)).join(where)
    points = points.reset_index().merge(shared.reset_index(), on=["row", "section", "fraction"])
    return points[(points["look"] <= points["shared"]) & points["mean"].notna()]


def _line(scene: Scene, row: str, points: pd.DataFrame, in_epochs: bool) -> Series:
    points = points.sort_values("look")
    factor = 100 if scene.unit(points["metric"].iloc[0]) == "1" else 1
    return Series(
        title=scene.named(row),
        baseline=scene.from_scratch(row),
        xs=tuple(round(float(x), 6) for x in points["epoch" if in_epochs else "step"]),
        means=tuple(round(factor * float(m), 6) for m in points["mean"]),
        sds=tuple(round(factor * float(s), 6) for s in points["sd"]),
    )


def peeked(protocol: Protocol) -> str:
    """Return what to say of a curve of test patients: weights may be chosen by them all the same."""
    chosen = any(target.select == "best_test" for target in protocol.finetune)
    return f"{PEEKED}{'' if chosen else '; neither weights nor settings are chosen by it'}."
