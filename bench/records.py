"""The view of a protocol: every cell's scores with the columns that say what they are."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from bench.jobs import latency
from bench.jobs.scoring import Scoring, path
from bench.metrics.request import LATENCY
from bench.record import COLUMNS, SCORES, frame, read_rows
from bench.store import Store, write_atomic

if TYPE_CHECKING:
    import pandas as pd

    from bench.plan import Cell, Plan


def done(plan: Plan, store: Store, job: str) -> bool:
    """Is a job published and, where it is to be scored, scored?"""
    return store.done(job) and all(
        path(store, job, scoring).exists() for scoring in plan.scoring.get(job, [])
    )


def collect(plan: Plan, store: Store, protocol: str) -> pd.DataFrame:
    """Return one row per case, target and metric of every cell; a failed cell is one row.

    A cell that has neither run nor failed leaves no row, nor one that failed and is not wanted. A wanted
    cell that is predicted but not scored, or not judged by its guard, is a failed one: no silent gap.
    """
    import pandas as pd

    parts: list[pd.DataFrame] = []
    failed: list[dict[str, Any]] = []
    for cell, scoring in _scored(plan, protocol):
        file = path(store, cell.evaluate, scoring)
        columns = {"job": cell.evaluate, **cell.columns}
        guarded = cell.guard is None or store.done(cell.guard)
        if file.exists() and guarded:  # a number that a guard refuses, or has not judged, is none
            parts.append(read_rows(file, SCORES).assign(**columns))
            if cell.latency is not None and store.done(cell.latency):
                parts.append(_latency(store, cell.latency).assign(**columns))
            elif cell.latency is not None and cell.wanted and store.failure(cell.latency):
                failed.append(_hole({**columns, "job": cell.latency}, LATENCY))
        elif cell.wanted and (store.done(cell.evaluate) or _failure(plan, store, cell)):
            failed += [_hole(columns, metric) for metric in scoring.metrics]
    if failed:
        parts.append(frame(failed))
    if not parts:
        return frame([])
    return pd.concat(parts, ignore_index=True)[list(COLUMNS)].astype(COLUMNS)


def save(table: pd.DataFrame, store: Store, protocol: str) -> None:
    """Write the view ``records/<protocol>.parquet``."""
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    write_atomic(store.root / "records" / f"{protocol}.parquet", buffer.getvalue())


def _scored(plan: Plan, protocol: str) -> list[tuple[Cell, Scoring]]:
    wanted = plan.scoring_of[protocol]
    return [(cell, wanted[cell.columns["section"]]) for cell in plan.cells[protocol]]


def _failure(plan: Plan, store: Store, cell: Cell) -> dict[str, Any] | None:
    """Return why a cell has no scores: what failed of all that it stands on, its guard first."""
    waiting, seen = [job for job in (cell.guard, cell.evaluate) if job], set[str]()
    while waiting:
        job = waiting.pop(0)
        if job in seen or store.done(job):
            continue
        seen.add(job)
        if (why := store.failure(job)) is not None:
            return {**why, "job": job}
        waiting += plan.jobs[job].needs
    return None


def _latency(store: Store, job: str) -> pd.DataFrame:
    import pandas as pd

    row = {
        "case": "", "patient": "", "target": "all", "metric": LATENCY,
        "value": latency.read(store.jobs / job).median, "unit": "s", "status": "ok",
    }  # fmt: skip
    return pd.DataFrame([row])


def _hole(columns: dict[str, Any], metric: str) -> dict[str, Any]:
    return {
        **columns, "case": "", "patient": "", "target": "", "metric": metric,
        "value": float("nan"), "unit": "", "status": "failed",
    }  # fmt: skip
