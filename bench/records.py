"""The views of a protocol: every cell's scores and learning curve, with columns that say what they are.

Scores of jobs that nobody ran in an output folder are added by ``bench.imported_scores``.
"""

from __future__ import annotations

import io
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import digest
from bench.errors import BenchError
from bench.jobs.finetune.spec import TRACKED, FinetuneSpec, target_name
from bench.jobs.latency import spec as latency
from bench.jobs.scoring import Scoring, path, targets_of
from bench.metrics.request import LATENCY
from bench.protocol.override import SCALES
from bench.record import CURVE, SCORES, Part, frame, read_part, read_rows, stacked
from bench.store import Store, write_atomic

if TYPE_CHECKING:
    import pandas as pd

    from bench.plan import Cell, Plan

BLANK = {"case": "", "patient": "", "target": "", "unit": ""}  # of a line that is of no case


def done(plan: Plan, store: Store, job: str) -> bool:
    """Is a job published and, where it is to be scored, scored?"""
    return store.done(job) and all(
        path(store, job, scoring).exists() for scoring in plan.scoring.get(job, [])
    )


def collect(plan: Plan, store: Store, protocol: str, *, over: bool = True) -> pd.DataFrame:
    """Return one row per case, target and metric of every cell; a failed cell is one row.

    A cell that has neither run nor failed leaves no row, nor one that failed and is not wanted. A wanted
    cell that is predicted but not scored, or not judged by its guard, is a failed one once the run is
    ``over``: no silent gap.
    """
    parts: list[tuple[pd.DataFrame | Part, dict[str, Any]]] = []
    failed: list[dict[str, Any]] = []
    for cell, scoring in scored_cells(plan, protocol):
        file = path(store, cell.evaluate, scoring)
        columns = {"job": cell.evaluate, **cell.columns}
        guarded = cell.guard is None or store.done(cell.guard)
        if file.exists() and guarded:  # a number that a guard refuses, or has not judged, is none
            parts.append((read_part(file, SCORES), columns))
            if cell.latency is not None and store.done(cell.latency):
                parts.append((_latency(store, cell.latency), columns))
            elif cell.latency is not None and cell.wanted and store.failure(cell.latency):
                failed.append(_hole({**columns, "job": cell.latency}, LATENCY))
        elif cell.wanted and ((over and store.done(cell.evaluate)) or _failure(plan, store, cell)):
            failed += [_hole(columns, metric) for metric in scoring.metrics]
    return stacked([*parts, (frame(failed), {})])


def curves(plan: Plan, store: Store, protocol: str) -> pd.DataFrame:
    """Return one row per case, target, metric and step of every learning curve that is there.

    A curve whose pretraining a guard refuses, or has not judged, leaves none. ``value`` is of the prepared
    grid, ``job`` the fine-tuning, ``epoch`` NaN where nobody knows how many cases it has.

    Raises:
        Damaged: a curve is not what was published.
    """
    parts: list[tuple[pd.DataFrame, dict[str, Any]]] = []
    for cell, scoring in scored_cells(plan, protocol):
        file = store.jobs / cell.finetune / TRACKED
        if (
            cell.curve
            and store.done(cell.finetune)
            and (cell.guard is None or store.done(cell.guard))
        ):
            digest.check(file)
            track = plan.spec(cell.finetune, FinetuneSpec).finetune.track
            curve = named(read_rows(file, {"step": "int64", **SCORES}), scoring)
            epoch = curve["step"] / (cell.epoch or float("nan"))
            columns = {"job": cell.finetune, "part": track.part if track else "", "epoch": epoch}
            parts.append((curve, {**cell.columns, **columns}))
    return stacked(parts, CURVE)


def save(table: pd.DataFrame, store: Store, protocol: str) -> None:
    """Write the view ``records/<protocol>.parquet``."""
    write_atomic(store.root / "records" / f"{protocol}.parquet", as_parquet(table))


def folder_of(store: Store, protocol: str, scale: str | None = None) -> Path:
    """Return the folder with a protocol's view at a scale: ``records/``, or where ``keep`` left it.

    Where nobody has one, or no ``scale`` is named, that of the last run.
    """
    last = store.root / "records"
    aside = last / "scales" / (scale or "")
    if scale is None or not (aside / f"{protocol}.parquet").exists():
        return last
    return last if _scale(last / f"{protocol}.parquet") == scale else aside


def keep(store: Store, protocol: str, scale: str) -> None:
    """Copy a view of another scale, which one of ``scale`` is to replace, to ``records/scales/``.

    What was kept of ``scale`` itself goes: its jobs are gathered anew.
    """
    last = store.root / "records"
    before = _scale(last / f"{protocol}.parquet")
    if before is not None and before != scale:
        aside = store.within(last / "scales" / before)
        store.within(aside / "curves").mkdir(parents=True, exist_ok=True)
        # the rows last: without them the others are nothing
        for name in reversed(_files(protocol)):
            with suppress(FileNotFoundError):
                write_atomic(aside / name, (last / name).read_bytes())
    for name in _files(protocol):
        (store.within(last / "scales" / scale) / name).unlink(missing_ok=True)


def _files(protocol: str) -> tuple[str, ...]:
    """Return the files of a view: its rows, what stands beside them, its learning curves."""
    return f"{protocol}.parquet", f"{protocol}.json", f"curves/{protocol}.parquet"


def _scale(file: Path) -> str | None:
    """Return the scale of a view; None where it has no row, or cannot be read."""
    try:
        scales = read_rows(file, {"scale": "str"})["scale"]
    except (OSError, BenchError):
        return None
    return next((scale for scale in SCALES if len(scales) and scales.iloc[0] == scale), None)


def curves_file(store: Store, protocol: str, scale: str | None = None) -> Path:
    """Return where the view of a protocol's learning curves lies; ``scale`` as of ``folder_of``."""
    return store.within(folder_of(store, protocol, scale) / "curves") / f"{protocol}.parquet"


def save_curves(table: pd.DataFrame, store: Store, protocol: str) -> None:
    """Write the view ``records/curves/<protocol>.parquet``; remove it where nothing is tracked."""
    file = curves_file(store, protocol)
    if table.empty:
        file.unlink(missing_ok=True)
        return
    file.parent.mkdir(exist_ok=True)
    write_atomic(file, as_parquet(table))


def as_parquet(table: pd.DataFrame) -> bytes:
    """Return a view's file, its text as plain text to whoever reads it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer, arrow = io.BytesIO(), pa.Table.from_pandas(table, preserve_index=False)
    pq.write_table(arrow.replace_schema_metadata(), buffer, store_schema=False)
    return buffer.getvalue()


def named(table: pd.DataFrame, scoring: Scoring) -> pd.DataFrame:
    """Return a curve's rows with targets as the records call them: a fine-tuning knows label values alone."""
    import pandas as pd

    names = targets_of(scoring)
    if not names:
        return table
    every = [
        table[table["target"] == target_name(v)].assign(target=name) for name, v in names.items()
    ]
    return pd.concat(every).sort_values("step", kind="stable")


def scored_cells(plan: Plan, protocol: str) -> list[tuple[Cell, Scoring]]:
    """Return every cell of a protocol with the way in which it is scored."""
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

    value = latency.read(store.jobs / job).median
    line = {"target": "all", "metric": LATENCY, "value": value, "unit": "s", "status": "ok"}
    return pd.DataFrame([BLANK | line])


def _hole(columns: dict[str, Any], metric: str) -> dict[str, Any]:
    return {**columns, **BLANK, "metric": metric, "value": float("nan"), "status": "failed"}
