"""What is logged of a finished job: its settings, its curves, its final numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isfinite
from typing import TYPE_CHECKING, Any

from bench.jobs.finetune.spec import TRACKED, FinetuneSpec
from bench.jobs.scoring import path
from bench.record import SCORES, read_rows
from bench.records import named
from bench.show.labels import Label
from bench.show.trackers.tracker import Config, Point
from bench.store import Store

if TYPE_CHECKING:
    import pandas as pd

    from bench.plan import Plan

KINDS = ("pretrain", "finetune", "evaluate")  # of jobs that leave numbers
COSTS = ("seconds", "peak_memory_mb", "peak_device_mb", "steps", "samples", "voxels")  # of a manifest


def config(plan: Plan, job: str, label: Label) -> Config:
    """Return the settings of a job: what its cells have in common, and its spec by dotted keys."""
    made = plan.jobs[job].plain()
    cells = [c.columns for found in plan.cells.values() for c in found if job in (c.finetune, c.evaluate)]
    common = {k: v for k, v in (cells or [{}])[0].items() if all(cell.get(k) == v for cell in cells)}
    called = {k: v for k, v in vars(label).items() if v not in (None, "")}
    head = {"job": job, "kind": made["kind"], "needs": " ".join(made["needs"]), **called}
    plain = {k: v for k, v in common.items() if isinstance(v, str | int | float | bool)}
    return {**head, **plain, **dict(_flat("", made["spec"]))}


def _flat(head: str, value: Any) -> Iterator[tuple[str, str | int | float | bool]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(f"{head}.{key}" if head else str(key), inner)
    elif isinstance(value, str | int | float | bool):
        yield head, value
    elif value is not None and value != []:
        yield head, ", ".join(map(str, value))


def curves(plan: Plan, store: Store, job: str) -> list[Point]:
    """Return the curves of a finished job: training, validation, the spread of embeddings; steps rising."""
    import pandas as pd

    folder, found = store.jobs / job, dict[int, dict[str, float]]()
    for file, head in (("curve.csv", "train"), ("embeddings.csv", "embedding")):
        if (folder / file).exists():
            _add(found, head, pd.read_csv(folder / file))
    if (folder / TRACKED).exists():
        part, table = _part(plan, job), _tracked(plan, store, job)
        keys = ["step", "metric", "target"]
        for (step, metric, target), value in _means(table, keys).items():
            if isfinite(value):
                found.setdefault(int(step), {})[f"{part}/{metric}/{target}"] = float(value)
    return [Point(step, found[step]) for step in sorted(found)]


def _add(found: dict[int, dict[str, float]], head: str, table: pd.DataFrame) -> None:
    for row in table.to_dict("records"):
        values = {f"{head}/{k}": float(v) for k, v in row.items() if k != "step" and isfinite(v)}
        found.setdefault(int(row["step"]), {}).update(values)


def _part(plan: Plan, job: str) -> str:
    track = plan.spec(job, FinetuneSpec).finetune.track
    return track.part if track else "val"


def _tracked(plan: Plan, store: Store, job: str) -> pd.DataFrame:
    """Return the rows of a learning curve, by the names that the first section that has it gives targets."""
    table = read_rows(store.jobs / job / TRACKED, {"step": "int64", **SCORES})
    sections = ((name, cell) for name, cells in plan.cells.items() for cell in cells if cell.finetune == job)
    name, cell = next(sections)
    return named(table, plan.scoring_of[name][cell.columns["section"]])


def _means(table: pd.DataFrame, keys: list[str]) -> dict[Any, float]:
    """Return means over patients, of the means over each one's cases; NaN where nothing is defined."""
    patients = table.groupby([*keys, "patient"])["value"].mean()
    found: dict[Any, float] = patients.groupby(level=keys).mean().to_dict()
    return found


def scores(plan: Plan, store: Store, job: str) -> dict[str, float]:
    """Return the final numbers of a finished job: means of each metric and target, and what it cost."""
    found: dict[str, float] = {}
    for scoring in plan.scoring.get(job, []):
        table = read_rows(path(store, job, scoring), SCORES)
        means = _means(table, ["metric", "target"])
        found |= {f"test/{metric}/{target}": v for (metric, target), v in means.items() if isfinite(v)}
    manifest = store.manifest(job)
    return found | {f"cost/{k}": float(manifest[k]) for k in COSTS if manifest.get(k) is not None}
