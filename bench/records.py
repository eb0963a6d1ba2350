"""The views of a protocol: every cell's scores and learning curve, with columns that say what they are.

An output folder may have rows of cells that nobody ran in it: ``tracks/<protocol>.parquet``, and
``tracks/curves/``. A cell's job says what it is: rows of a job that is planned are the cell's, under the
names that it has now, and the folder's own scores of that job win over them.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import digest
from bench.elsewhere import Rows, of_plan
from bench.jobs.finetune.spec import TRACKED, FinetuneSpec, target_name
from bench.jobs.latency import spec as latency
from bench.jobs.scoring import Scoring, path, targets_of
from bench.metrics.request import LATENCY
from bench.record import COLUMNS, CURVE, SCORES, Part, frame, read_part, read_rows, stacked
from bench.store import Store, write_atomic

if TYPE_CHECKING:
    import pandas as pd

    from bench.plan import Cell, Plan


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
    for cell, scoring in _scored(plan, protocol):
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
    own = stacked([*parts, (frame(failed), {})])
    if not (file := taken_file(store, protocol)).exists():
        return own
    here = set(own["job"].unique())
    taken = of_plan(Rows(read_rows(file, COLUMNS)), _scored(plan, protocol), here)
    return stacked([(taken, {}), (own, {})])


def curves(plan: Plan, store: Store, protocol: str) -> pd.DataFrame:
    """Return one row per case, target, metric and step of every learning curve that is there.

    A curve whose pretraining a guard refuses, or has not judged, leaves none. ``value`` is of the prepared
    grid, ``job`` the fine-tuning, ``epoch`` NaN where nobody knows how many cases it has.

    Raises:
        Damaged: a curve is not what was published.
    """
    parts: list[tuple[pd.DataFrame, dict[str, Any]]] = []
    for cell, scoring in _scored(plan, protocol):
        file = store.jobs / cell.finetune / TRACKED
        if cell.curve and store.done(cell.finetune) and (cell.guard is None or store.done(cell.guard)):
            digest.check(file)
            track = plan.spec(cell.finetune, FinetuneSpec).finetune.track
            found = named(read_rows(file, {"step": "int64", **SCORES}), scoring)
            epoch = found["step"] / (cell.epoch or float("nan"))
            own = {"job": cell.finetune, "part": track.part if track else "", "epoch": epoch}
            parts.append((found, {**cell.columns, **own}))
    own = stacked(parts, CURVE)
    if not (file := taken_file(store, protocol, "tracks/curves")).exists():
        return own
    rows, here = Rows(read_rows(file, CURVE)), set(own["job"].unique())
    others = [c for c, _ in _scored(plan, protocol) if c.curve and c.finetune not in here]
    taken = rows.of_cells(((c, c.finetune, rows.of_job(c.finetune)) for c in others), curve=True)
    return stacked([(taken, {}), (own, {})], CURVE)


def taken_file(store: Store, protocol: str, folder: str = "tracks") -> Path:
    """Return where a protocol's rows that were taken from elsewhere lie, if there are any."""
    return store.within(store.root / folder) / f"{protocol}.parquet"


def take(table: pd.DataFrame, file: Path, protocol: str) -> None:
    """Leave rows of elsewhere as those of a protocol here."""
    file.parent.mkdir(parents=True, exist_ok=True)
    columns = {name: CURVE[name] for name in table}
    write_atomic(file, _parquet(stacked([(table, {"protocol": protocol})], columns)))


def save(table: pd.DataFrame, store: Store, protocol: str) -> None:
    """Write the view ``records/<protocol>.parquet``."""
    write_atomic(store.root / "records" / f"{protocol}.parquet", _parquet(table))


def curves_file(store: Store, protocol: str) -> Path:
    """Return where the view of a protocol's learning curves lies."""
    return store.within(store.root / "records" / "curves") / f"{protocol}.parquet"


def save_curves(table: pd.DataFrame, store: Store, protocol: str) -> None:
    """Write the view ``records/curves/<protocol>.parquet``; remove it where nothing is tracked."""
    file = curves_file(store, protocol)
    if table.empty:
        file.unlink(missing_ok=True)
        return
    file.parent.mkdir(exist_ok=True)
    write_atomic(file, _parquet(table))


def _parquet(table: pd.DataFrame) -> bytes:
    """Return a view's file, its text as plain text to whoever reads it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer, made = io.BytesIO(), pa.Table.from_pandas(table, preserve_index=False)
    pq.write_table(made.replace_schema_metadata(), buffer, store_schema=False)
    return buffer.getvalue()


def named(table: pd.DataFrame, scoring: Scoring) -> pd.DataFrame:
    """Return a curve's rows with targets as the records call them: a fine-tuning knows label values alone."""
    import pandas as pd

    names = targets_of(scoring)
    if not names:
        return table
    every = [table[table["target"] == target_name(v)].assign(target=name) for name, v in names.items()]
    return pd.concat(every).sort_values("step", kind="stable")


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
