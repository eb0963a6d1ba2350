"""Learning curves: how rows score as their fine-tuning goes, out of ``records/curves/<name>.parquet``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.report.cells import PLACE, RUN, of_runs, sections_of
from bench.report.names import metric_axis
from bench.report.plots import Plot, Series
from bench.report.scene import Scene

if TYPE_CHECKING:
    import pandas as pd

PARTS = {"val": "patients that validate", "test": "test patients", "train": "patients that train"}
HOW = (
    "Mean over targets at each look; over a patient's cases, patients and runs as in the table, as far as "
    "all runs of a row go. The band is ± one standard deviation over runs. Predicted on the prepared grid, "
    "so the last point is not the table's number."
)
PEEKED = (
    "A learning curve looks at the test patients on the way; neither weights nor settings are chosen by it."
)
POINT = [*(p for p in PLACE if p != "target"), "look"]


def plots(scene: Scene) -> tuple[Plot, ...]:
    """Return one plot per section, label fraction and metric that is tracked."""
    table = scene.extras.tracked
    if table is None or not len(table):
        return ()
    points = _points(table.assign(section=sections_of(scene.protocol, table)))
    made = []
    for (section, fraction, metric), found in points.groupby(["section", "fraction", "metric"], sort=True):
        if not _shown(scene, points, metric):
            continue
        tuned = scene.protocol.finetune[section]
        in_epochs = tuned.epochs is not None and bool(found["epoch"].notna().all())
        lines = [_line(scene, r, found[found["row"] == r], in_epochs) for r in scene.rows_of({*found["row"]})]
        several = len({*points.loc[points["section"] == section, "fraction"]}) > 1
        title = scene.labels[section] + (f", {fraction} % of the labels" if several else "")
        y, lower = metric_axis(metric, scene.unit(metric))
        made.append(Plot(title, "Epoch" if in_epochs else "Step", y, lower, tuple(lines)))
    return tuple(made)


def captions(scene: Scene) -> tuple[str, ...]:
    """Return what is said below the figure: of whom it is, and that it chose nothing."""
    table = scene.extras.tracked
    parts = [] if table is None else sorted({*table["part"]})
    whom = " and ".join(PARTS.get(part, part) for part in parts)
    return (f"On the {whom}. {HOW}", *([PEEKED] if "test" in parts else []))


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


def _shown(scene: Scene, points: pd.DataFrame, metric: str) -> bool:
    """Tell whether a metric is drawn: the protocol's own, all where none of those is tracked."""
    asked = {*scene.protocol.metrics} & {*points["metric"]}
    return metric in asked or not asked


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
