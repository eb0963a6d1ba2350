"""Our own records as a table of scores: nothing is guessed, every column says what it is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import BenchError, unknown
from bench.extras.judge.columns import Measure
from bench.extras.judge.patients import patients_of
from bench.extras.judge.score_table import Options, Role, ScoreTable
from bench.extras.judge.tables import RawTable

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    *("protocol", "section", "row", "network", "pretrain", "pretrain_seed", "init", "evaluation"),
    *("dataset", "fraction", "fold", "seed", "case", "patient", "target", "metric", "value"),
    *("unit", "status"),
)
ALIAS = {"method": "row", "dataset": "section", "run": "seed"}  # what --only may call them
UNRANKED = "metrics that are best at 0, or by which nothing is ranked"
ROLES = {
    **ALIAS,
    **{name: name for name in ("case", "patient", "fold", "target", "metric")},
    **{"pretraining": "pretrain_seed", "score": "value"},
}
TEXT = ("section", "row", "metric", "target", "case", "patient")


def of_records(tables: Sequence[RawTable], options: Options) -> ScoreTable:
    """Return the scores of records of one protocol or several.

    Raises:
        BenchError: they are damaged, or nothing is left of them.
    """
    frame, notes = _usable(_read(tables))
    frame = _only(frame, options)
    if options.patients:
        frame = frame.assign(patient=patients_of(frame["case"].tolist(), options.patients))
    starts, variants = _starts(frame)
    ceilings = {row for table in tables for row in _ceilings(Path(table.name), starts)}
    frame = frame.astype(dict.fromkeys(TEXT, "category"))
    units = frame.drop_duplicates("metric").set_index("metric")["unit"]
    measures = {name: _measure(name, unit) for name, unit in units.items()}
    return ScoreTable(
        frame,
        measures,
        tuple(_roles(frame, measures, tables)),
        tuple(notes),
        starts=starts,
        datasets=dict(frame[["section", "dataset"]].drop_duplicates().itertuples(index=False)),
        bases=_bases(frame, starts, variants),
        controls=frozenset({*variants, *ceilings}),
        columns={column: role for role, column in ROLES.items()},
    )


def _read(tables: Sequence[RawTable]) -> pd.DataFrame:
    """Return the rows of all files; of several protocols a section says of which it is."""
    import pandas as pd

    from bench.record import COLUMNS as TYPES
    from bench.record import read_rows

    kinds = {name: TYPES[name] for name in COLUMNS}
    frame = pd.concat([read_rows(Path(table.name), kinds) for table in tables])
    frame = frame.astype({name: "str" for name, kind in kinds.items() if kind == "str"})
    if len(tables) > 1:
        frame = frame.assign(section=frame["protocol"] + "/" + frame["section"])
    return frame.reset_index(drop=True)


def _measure(name: str, unit: str) -> Measure:
    from bench.report.names import lower_is_better

    return Measure(name, not lower_is_better(name, unit), unit, "bench's own")


def _usable(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    from bench.metrics.request import LATENCY
    from bench.report.names import is_ranked

    notes = list[str]()
    unranked = [metric for metric in frame["metric"].unique() if not is_ranked(metric)]
    for which, why in (
        (frame["status"].eq("failed"), "rows of failed jobs"),
        (frame["metric"].eq(LATENCY), "latencies"),
        (frame["metric"].isin(unranked), UNRANKED),
        (frame["case"].eq(""), "values over all test cases at once: no patients to pair"),
    ):
        if which.any():
            notes.append(f"left out: {int(which.sum())} {why}")
            frame = frame[~which.reindex(frame.index)]
    if frame.empty:
        raise BenchError(
            "the records have no scores of single cases, so nothing can be tested; give "
            "records with a score for each case"
        )
    return frame.reset_index(drop=True), notes


def _only(frame: pd.DataFrame, options: Options) -> pd.DataFrame:
    """Return the rows that ``--only`` names, by a column or what it is called elsewhere."""
    for name, values in options.filters.items():
        column = ALIAS.get(name, name)
        if column not in frame:
            raise BenchError(f"--only {name}: {unknown('column', name, [*frame, *ALIAS])}")
        texts = frame[column].astype(str)
        for value in values:
            if not texts.eq(value).any():
                raise BenchError(
                    f"--only {column}={value}: {unknown(column, value, texts.unique())}"
                )
        frame = frame[texts.isin(values)]
    if frame.empty:
        raise BenchError(f"--only {' '.join(options.only)}: leaves no row")
    return frame.reset_index(drop=True)


def _starts(frame: pd.DataFrame) -> tuple[dict[str, str], list[str]]:
    """Return how each row's weights began, and the rows that are controls of others."""
    lines = frame[["row", "pretrain", "init"]].drop_duplicates()
    starts = dict[str, str]()
    for row, pretrain, init in lines.itertuples(index=False, name=None):
        begun = (
            "file" if init.startswith("file:") else "none" if pretrain in ("", "none") else "here"
        )
        starts[row] = begun if starts.get(row, "none") == "none" else starts[row]
    variants = [row for row in starts if _base(row) in starts]
    starts |= {row: starts[_base(row)] for row in variants}
    return starts, variants


def _ceilings(file: Path, rows: Iterable[str]) -> list[str]:
    """Return the rows that are pretrained with the labels: as their protocol says, else by their names."""
    from bench.protocol import is_control, read
    from bench.protocol.named import find
    from bench.show.reports import read_beside

    try:
        origin = read_beside(file.with_suffix(".json")).origin
        protocol = read(find(Path(file.stem)), drawn=True)
    except BenchError:
        origin = protocol = None
    if origin is not None and protocol is not None and protocol.origin.same(origin):
        return [row for row in rows if is_control(protocol, row)]
    return [row for row in rows if row.startswith(("ceiling", "dose "))]


def _base(row: str) -> str:
    """Return the row that a variant is of, as ``voco (shuffled)`` is of ``voco``; "" for none."""
    return row[: row.rindex(" (")] if row.endswith(")") and " (" in row else ""


def _bases(
    frame: pd.DataFrame, starts: dict[str, str], variants: Sequence[str]
) -> dict[tuple[str, str], str]:
    """Return the row from scratch of the same network, evaluated alike, by section and row."""
    columns = ["section", "row", "network", "evaluation"]
    lines = frame[columns].drop_duplicates()
    scratch = dict[tuple[str, ...], str]()
    for section, row, *alike in lines.itertuples(index=False, name=None):
        if starts[row] == "none" and row not in variants:
            scratch.setdefault((section, *alike), row)
    return {
        (section, row): scratch[section, *alike]
        for section, row, *alike in lines.itertuples(index=False, name=None)
        if scratch.get((section, *alike), row) != row
    }


def _roles(
    frame: pd.DataFrame, measures: dict[str, Measure], tables: Sequence[RawTable]
) -> list[Role]:
    def counted(column: str) -> str:
        names = sorted(frame[column].astype(str).unique())
        return f"{len(names)}: {', '.join(names[:5])}" + (" ..." if len(names) > 5 else "")

    columns = {
        **{"Method": "row", "Patient": "patient", "Case": "case", "Pretraining": "pretrain_seed"},
        **{"Run": "seed", "Fold": "fold", "Data set": "section", "Label fraction": "fraction"},
    }
    roles = [Role("Files", "records of bench", ", ".join(table.shown for table in tables))]
    roles += [Role(what, f"column '{name}'", counted(name)) for what, name in columns.items()]
    for name, measure in measures.items():
        way = "higher is better" if measure.higher else "lower is better"
        roles.append(Role(f"Metric {name}", "column 'metric'", f"{way}, unit {measure.unit}"))
    return roles
