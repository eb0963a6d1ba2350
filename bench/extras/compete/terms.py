"""May a newcomer stand beside a track's records? Only where what is asked of both is the same."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any

from bench.errors import BenchError
from bench.extras.bundle.verifying import misfits
from bench.extras.compete.protocol_with_row import AddedRow
from bench.extras.compete.track import Track
from bench.metrics.request import LATENCY
from bench.protocol import Protocol, row_of
from bench.protocol.comparable import differing, way
from bench.record import CELL
from bench.report.names import unit_of, zero_is_best

if TYPE_CHECKING:
    import pandas as pd

    from bench.plan import Plan

SPLIT = ["dataset", "split", "split_hash"]
Values = dict[tuple[Any, ...], set[tuple[Any, ...]]]  # by place


def check(track: Track, added: AddedRow, protocol: Protocol, plan: Plan) -> None:
    """Refuse records that were made otherwise than this protocol is run here.

    Args:
        track: has the records.
        added: the newcomer.
        protocol: the track's, with the newcomer's row.
        plan: of that; where the data is not here (``provisional``), splits and jobs cannot be compared.

    Raises:
        BenchError: names what differs, the records' and here.
    """
    table, cells = track.table, plan.cells[protocol.name]
    scales = {*table["scale"].unique()}
    if scales != {protocol.scale}:
        raise _other(track, "scale", scales, [protocol.scale])
    for name in table["section"].unique():
        if name not in protocol.sections:
            raise _other(track, "fine-tuning section", [name], protocol.sections)
    columns = [cell.columns for cell in cells]
    latency = [LATENCY] if LATENCY in protocol.metrics else []
    planned = {
        (name,): {(metric,) for metric in (*scoring.metrics, *latency)}
        for name, scoring in plan.scoring_of[protocol.name].items()
    }
    _same(track, "metrics", _recorded_values(table, ["section"], ["metric"]), planned)
    by_section = ["section"], ["convention"]
    recorded = _recorded_values(table, *by_section)
    _same(track, "convention", recorded, _planned_values(columns, *by_section))
    if not plan.provisional:
        division = ["section", "fold"]
        recorded = _recorded_values(table, division, SPLIT)
        _same(track, "split", recorded, _planned_values(columns, division, SPLIT))
        _jobs(track, plan, protocol)
    _sound(track)
    _rivals(track, added, protocol)


def lacking(track: Track, added: AddedRow, protocol: Protocol, plan: Plan) -> str:
    """Say which cells of the track have no records; empty where each has."""
    recorded = {*track.table[[*CELL]].drop_duplicates().itertuples(index=False, name=None)}
    cells = [
        c
        for c in plan.cells[protocol.name]
        if row_of(track.protocol, c.columns["row"])[0] is not None
    ]
    gone = [c.columns["row"] for c in cells if tuple(c.columns[k] for k in CELL) not in recorded]
    if not gone:
        return ""
    rows = ", ".join(dict.fromkeys(gone))
    return (
        f"{track.place}: has no records of {len(gone)} of the {len(cells)} cells of {track.name} ({rows}); "
        f"{added.row} is compared with what is there"
    )


def _sound(track: Track) -> None:
    """Refuse records that no run leaves: edited, or half copied."""
    table, name = track.table, track.name
    faults = misfits(track.protocol, table, track.beside, name)
    for what in chain(faults, _values(table), _patients(table)):
        raise BenchError(
            f"{track.place}: records/{name}.parquet {what}; name unchanged records of a run with "
            "--records"
        )


def _values(table: pd.DataFrame) -> Iterator[str]:
    """Yield scores that a metric cannot have."""
    for name in table["metric"].unique():
        if zero_is_best(name):
            continue
        share = unit_of(name) == "1"
        least, most = (-1.0, 1.0) if share else (0.0, math.inf)  # an agreement may lie below chance
        values = table["value"][table["metric"].eq(name)]
        if len(wrong := values[(values < least) | (values > most)]):
            yield f"has a {name} of {wrong.iloc[0]:g}"


def _patients(table: pd.DataFrame) -> Iterator[str]:
    """Yield where two cells of one section and fold are scored on other patients."""
    good = (table["case"].ne("") & table["status"].ne("failed")).to_numpy()
    columns = ["section", "fold", "evaluation", "metric"]
    cell_of = [name for name in CELL if name not in columns]
    scored: dict[tuple[Any, ...], dict[tuple[Any, ...], set[str]]] = {}
    lines = table.loc[good, [*columns, *cell_of, "patient"]].drop_duplicates()
    for section, fold, evaluation, name, *cell, who in lines.itertuples(index=False, name=None):
        at = section, fold, evaluation, name
        scored.setdefault(at, {}).setdefault(tuple(cell), set()).add(who)
    for (section, _, _, name), cells in scored.items():
        every = set.union(*cells.values())
        for cell, patients in cells.items():
            if patients != every:
                row, *_, seed = cell
                yield (
                    f"has no {name} of patient {min(every - patients)!r} in {section} of row {row!r}, "
                    f"seed {seed}, which others have"
                )


def _same(track: Track, what: str, recorded: Values, planned: Values) -> None:
    for key in sorted(recorded):
        if recorded[key] != planned.get(key, set()):
            at = " of " + ", fold ".join(map(str, key))
            both = (_words(values.get(key, set())) for values in (recorded, planned))
            raise _other(track, what + at, *both)


def _other(track: Track, what: str, theirs: Iterable[str], ours: Iterable[str]) -> BenchError:
    first, other = (" or ".join(sorted(values)) or "none" for values in (theirs, ours))
    return BenchError(
        f"{track.place}: {what} of the records of {track.name} is {first}, here {other}; only results made "
        "alike can be compared: name records of this protocol and data with --records"
    )


def _words(values: set[tuple[Any, ...]]) -> list[str]:
    """Return what stands in a place, in words; of several metrics all, in one."""
    texts = sorted(" ".join(str(v) for v in value if v != "") for value in values)
    return [", ".join(texts)]


def _recorded_values(table: pd.DataFrame, keys: list[str], columns: list[str]) -> Values:
    by_place: Values = {}
    for line in table[[*keys, *columns]].drop_duplicates().itertuples(index=False, name=None):
        by_place.setdefault(line[: len(keys)], set()).add(line[len(keys) :])
    return by_place


def _planned_values(cells: list[dict[str, Any]], keys: list[str], columns: list[str]) -> Values:
    by_place: Values = {}
    for cell in cells:
        by_place.setdefault(tuple(cell[k] for k in keys), set()).add(
            tuple(cell[k] for k in columns)
        )
    return by_place


def _jobs(track: Track, plan: Plan, protocol: Protocol) -> None:
    """Refuse records of other jobs: the id of a job is all that it was asked, recipe, budget and versions."""
    jobs_of = {
        tuple(cell.columns[k] for k in CELL): {cell.evaluate, cell.latency}
        for cell in plan.cells[protocol.name]
    }
    jobs = track.table[[*CELL, "job"]].drop_duplicates()
    for *key, job in jobs.itertuples(index=False, name=None):
        jobs = jobs_of.get(tuple(key))
        what = ", ".join(f"{k} {v}" for k, v in zip(CELL, key, strict=True))
        if jobs is None:
            raise BenchError(
                f"{track.place}: the records of {track.name} have a result that its protocol "
                f"does not define ({what}); name records of this protocol with --records"
            )
        if job not in jobs:
            raise BenchError(
                f"{track.place}: the records of {track.name} were made with other settings than its protocol "
                f"has now ({what}: job {job}, now {next(iter(jobs - {None}))}; {_why(track)}); run the "
                "protocol again, or use the version of bench that made the records"
            )


def _why(track: Track) -> str:
    """Say what may have changed."""
    origin = track.beside.origin
    if origin is not None and origin.content != track.protocol.origin.content:
        return "the protocol was edited since"
    commit = track.beside.provenance.get("commit", "")
    return "a setting or a version of bench" + (f", they are of commit {commit}" if commit else "")


def _rivals(track: Track, added: AddedRow, protocol: Protocol) -> None:
    """Refuse a newcomer that no recorded row is fine-tuned alike to, on its network, in some section."""
    row_spec = protocol.rows[added.row]
    for index in protocol.sections_of(row_spec):
        section = protocol.sections[index]
        ran = track.table[["row", "section"]].drop_duplicates()
        names = {row for row, at in ran.itertuples(index=False, name=None) if at == section}
        rows = [row for name in sorted(names) if (row := row_of(protocol, name)[0]) is not None]
        rivals = [row for row in rows if row.network == row_spec.network]
        if any(way(protocol, index, row) == way(protocol, index, row_spec) for row in rivals):
            continue
        if not rivals:
            networks = " or ".join(sorted({row.network for row in rows}))
            raise BenchError(
                f"--network {added.network}: no row of {track.name} has records on this network in {section}; "
                f"use {networks}"
            )
        keys = ", ".join(
            f"{k} {b}, here {a}"
            for k, (a, b) in sorted(differing(protocol, index, row_spec, rivals[0]).items())
        )
        raise BenchError(
            f"{track.place}: in {section} no row of {track.name} on network {added.network} has the fine-tuning "
            f"settings of {added.row} ({keys}); use another --network or another protocol"
        )
