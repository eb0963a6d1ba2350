"""Rows whose job folders went stay: they are put aside before a run writes its views anew.

Weights and predictions take room, records do not. Where ``jobs/`` and ``work/`` were removed, or
``bench.json`` and ``records/`` alone came to another machine, a run goes on from there
(``bench.records.recorded``).
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from bench import records
from bench.errors import BenchError
from bench.record import COLUMNS, CURVE, read_rows, stacked
from bench.report import Beside
from bench.show.reports import said_beside
from bench.store import Store, write_atomic
from bench.typed import plain

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from bench.plan import Plan


def keep(plan: Plan, store: Store) -> list[str]:
    """Put rows of a plan's protocols that no job folder can give again into ``tracks/``; return what to tell.

    Rows of jobs that the plan has not, of another scale or an edited recipe, are kept and not shown.

    Raises:
        BenchError: what was put there before is damaged.
    """
    told, touched, counted = list[str](), records.touched(store), records.recorded(plan, store)
    for name in plan.cells:
        file, view = records.taken_file(store, name), _view(records.view_file(store, name), COLUMNS)
        scored = view[view["status"].ne("failed")]
        gone = _put(scored, touched, file, COLUMNS, name)
        if not gone:
            continue
        curves = _view(records.curves_file(store, name), CURVE)
        _put(curves, touched, records.taken_file(store, name, "tracks/curves"), CURVE, name)
        said = _said(store, name, {*view.loc[~view["job"].isin(gone), "row"]})
        write_atomic(file.with_suffix(".json"), json.dumps(plain(said)))
        other = len(gone - counted)
        told.append(
            f"{name}: of {len(gone)} cells the records alone are left; they stay in {file} and count as done"
            + (f", but for {other} that are not what it asks now" if other else "")
        )
    return told


def _view(file: Path, columns: dict[str, str]) -> pd.DataFrame:
    """Return a view; one that is damaged has no rows, as a run draws it anew."""
    with suppress(BenchError):
        return _rows(file, columns)
    return stacked([], columns)


def _rows(file: Path, columns: dict[str, str]) -> pd.DataFrame:
    return read_rows(file, columns) if file.exists() else stacked([], columns)


def _put(table: pd.DataFrame, touched: set[str], file: Path, columns: dict[str, str], name: str) -> set[str]:
    """Keep the rows of jobs that nothing is left of, beside what was kept before; return the new jobs."""
    if not (gone := {*table["job"].unique()} - touched):
        return gone
    before = _rows(file, columns)
    if new := gone - {*before["job"].unique()}:
        file.parent.mkdir(parents=True, exist_ok=True)
        records.take(stacked([(before, {}), (table[table["job"].isin(new)], {})], columns), file, name)
    return new


def _said(store: Store, name: str, shared: set[str]) -> Beside:
    """Return what was said of kept rows; of rows ``shared`` with job folders their part of a cost is lost."""
    try:
        said = said_beside(store, name)
    except BenchError:
        return Beside()
    costs = tuple(cost for cost in said.costs if cost.row not in shared)
    return replace(said, costs=costs, failures=(), submissions=(), absent=())
