"""What is logged of a finished job: its settings, its curves, its final numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isfinite
from typing import TYPE_CHECKING, Any

from bench.extras.trackers.tracker import Config, Point
from bench.jobs.finetune.spec import TRACKED, FinetuneSpec
from bench.jobs.pretrain.spec import FILE
from bench.jobs.scoring import path
from bench.record import SCORES, read_rows
from bench.records import named
from bench.show.labels import Label
from bench.store import Store

if TYPE_CHECKING:
    import pandas as pd

    from bench.plan import Plan

KINDS = ("pretrain", "finetune", "evaluate")  # of jobs that leave numbers
# of a manifest
COSTS = ("seconds", "peak_memory_mb", "peak_device_mb", "steps", "samples", "voxels")


def config(plan: Plan, job: str, label: Label) -> Config:
    """Return the settings of a job: what its cells have in common, and its spec by dotted keys."""
    spec = plan.jobs[job].plain()
    columns = [
        c.columns for cells in plan.cells.values() for c in cells if job in (c.finetune, c.evaluate)
    ]
    common = {
        k: v for k, v in (columns or [{}])[0].items() if all(cell.get(k) == v for cell in columns)
    }
    called = {k: v for k, v in vars(label).items() if v not in (None, "")}
    head = {"job": job, "kind": spec["kind"], "needs": " ".join(spec["needs"]), **called}
    plain = {k: v for k, v in common.items() if isinstance(v, str | int | float | bool)}
    return {**head, **plain, **dict(_flat("", spec["spec"]))}


def _flat(head: str, value: Any) -> Iterator[tuple[str, str | int | float | bool]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(f"{head}.{key}" if head else str(key), inner)
    elif isinstance(value, str | int | float | bool):
        yield head, value
    elif value is not None and value != []:
        yield head, ", ".join(map(str, value))


def curves(plan: Plan, store: Store, job: str) -> list[Point]:
    """Return the curves of a finished job: training, validation, embeddings, a probe; steps rising."""
    import pandas as pd

    folder, points = store.jobs / job, dict[int, dict[str, float]]()

    def add(step: float, name: str, value: float) -> None:
        if isfinite(value):
            points.setdefault(int(step), {})[name] = float(value)

    logged = (("curve.csv", "train"), ("embeddings.csv", "embedding"), (FILE, "probe"))
    for file, head in logged:
        for row in (
            pd.read_csv(folder / file).to_dict("records") if (folder / file).exists() else ()
        ):
            for name, value in row.items():
                if name != "step":
                    add(row["step"], f"{head}/{name}", value)
    if (folder / TRACKED).exists():
        track = plan.spec(job, FinetuneSpec).finetune.track
        part, means = (
            track.part if track else "val",
            _means(_tracked(plan, store, job), ["step", "metric", "target"]),
        )
        for (step, metric, target), value in means.items():
            add(step, f"{part}/{metric}/{target}", value)
    return [Point(step, points[step]) for step in sorted(points)]


def _tracked(plan: Plan, store: Store, job: str) -> pd.DataFrame:
    """Return the rows of a learning curve, by the names that the first section that has it gives targets."""
    table = read_rows(store.jobs / job / TRACKED, {"step": "int64", **SCORES})
    sections = (
        (name, cell) for name, cells in plan.cells.items() for cell in cells if cell.finetune == job
    )
    name, cell = next(sections)
    return named(table, plan.scoring_of[name][cell.columns["section"]])


def _means(table: pd.DataFrame, keys: list[str]) -> dict[Any, float]:
    """Return means over patients, of the means over each one's cases; NaN where nothing is defined."""
    patients = table.groupby([*keys, "patient"])["value"].mean()
    means: dict[Any, float] = patients.groupby(level=keys).mean().to_dict()
    return means


def scores(plan: Plan, store: Store, job: str) -> dict[str, float]:
    """Return the final numbers of a finished job: means of each metric and target, and what it cost."""
    numbers: dict[str, float] = {}
    for scoring in plan.scoring.get(job, []):
        table = read_rows(path(store, job, scoring), SCORES)
        means = _means(table, ["metric", "target"])
        numbers |= {
            f"test/{metric}/{target}": v for (metric, target), v in means.items() if isfinite(v)
        }
    manifest = store.manifest(job)
    return numbers | {f"cost/{k}": float(manifest[k]) for k in COSTS if manifest.get(k) is not None}
