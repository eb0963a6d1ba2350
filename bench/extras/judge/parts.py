"""One file's columns as scores: which column is what, and every score in a row of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.errors import BenchError, first_of, unknown
from bench.extras.judge.columns import NAMES, SHARES, guessed, metric_in, plain, summaries
from bench.extras.judge.score_table import Options
from bench.extras.judge.tables import RawTable

if TYPE_CHECKING:
    import pandas as pd

KEYS = ("method", "dataset", "metric", "target", "pretraining", "run", "case", "patient", "fold")
TORCHGEO = frozenset({"dataset", "method", "metric_name", "metric_value", "name", "normalization"})
OF_COLUMNS = ("CSV", "JSON", "JSON lines", "Parquet", "table", "torchgeo-bench")  # layouts
WIDE_ROLE = {"methods": "method", "targets": "target", "metrics": "metric", "cases": "case"}
LISTED = 5  # names in a line


@dataclass(eq=False)
class Part:
    """One file's scores, a row each.

    Attributes:
        raw: the file.
        keys: role -> names, (rows,).
        value: (rows,), NaN where missing.
        origin: role -> where it was taken from, in words.
        notes: what was left out.
        columns: role of each column.
    """

    raw: RawTable
    keys: Mapping[str, pd.Categorical]
    value: np.ndarray
    origin: Mapping[str, str]
    notes: Sequence[str]
    columns: Mapping[str, str]


def parts_of(tables: Sequence[RawTable], options: Options) -> list[Part]:
    """Return the scores of each file.

    Raises:
        BenchError: no column names the method or the case, or none holds numbers.
    """
    present = {column for table in tables for column in table.columns}
    for column in options.without:
        if column not in present:
            raise BenchError(f"--without: {unknown('column', column, present)}")
    every = [_filtered(_with_layout(_without(t, options.without)), options) for t in tables]
    return [_Reading(table, every, options).part() for table in every]


def _without(table: RawTable, columns: Sequence[str]) -> RawTable:
    """Return a table without some columns."""
    left = tuple(column for column in table.columns if column not in columns)
    out = [column for column in table.columns if column in columns]
    notes = (*table.notes, f"columns left out as asked: {', '.join(out)}") if out else table.notes
    return replace(table, columns=left, notes=notes)


def _with_layout(table: RawTable) -> RawTable:
    """Return a table with the roles of a layout that its columns give away."""
    if not {*table.columns} >= TORCHGEO:
        return table
    metrics = {metric_in(name) for name in table.texts("metric_name").categories}
    roles = {"method": "name", "case": "dataset", "target": "method", "run": "seed"}
    roles |= {"score": "metric_value"}
    if metrics <= SHARES:  # one of its own for each data set
        return replace(table, roles=roles, fixed={"metric": "main score"}, layout="torchgeo-bench")
    return replace(table, roles=roles | {"metric": "metric_name"}, layout="torchgeo-bench")


def _filtered(table: RawTable, options: Options) -> RawTable:
    """Return the rows that ``--only`` names; a column that a table lacks is another table's or a role's."""
    import pyarrow as pa

    keep = np.ones(len(table), bool)
    for name, values in options.filters.items():
        column = name if name in table.columns else table.roles.get(name)
        keep &= True if column is None else table.holds(column, values)
    if not keep.any():
        raise BenchError(f"{table.name}: --only {' '.join(options.only)}: leaves no row")
    mask = pa.array(keep)
    data = {name: values.filter(mask) for name, values in table.data.items()}
    return table if keep.all() else replace(table, data=data)


class _Reading:
    """Finds out what the columns of one file are."""

    def __init__(self, raw: RawTable, tables: Sequence[RawTable], options: Options) -> None:
        self.raw, self.tables, self.options = raw, tables, options
        self.notes = [*raw.notes]
        self.roles = self._roles()
        inside = raw.roles and raw.layout not in OF_COLUMNS
        self.origin = {
            role: f"the files of {raw.layout}" if inside else f"column {column!r}"
            for role, column in self.roles.items()
        }
        self.wide, self.scores = self._form()  # what the columns of scores are, "" for one column
        self.fixed = self._fixed()
        self._find_case()

    def part(self) -> Part:
        """Return a row for each score."""
        import pandas as pd

        size, times = len(self.raw), len(self.scores)
        keys = dict[str, pd.Categorical]()
        for role, column in self.roles.items():
            if role != "score":
                names = self.raw.texts(column)
                codes = np.tile(names.codes, times)
                keys[role] = pd.Categorical.from_codes(codes, categories=names.categories)
        if not self._has("case"):
            lines = [f"line {self.raw.first + i}" for i in range(size)]
            keys["case"] = pd.Categorical.from_codes(
                np.tile(np.arange(size), times), categories=lines
            )
        if self.wide:
            codes = np.repeat(np.arange(times), size)
            keys[self.wide] = pd.Categorical.from_codes(codes, categories=[*self.scores])
        for role, name in self.fixed.items():
            codes = np.zeros(size * times, np.int8)
            keys[role] = pd.Categorical.from_codes(codes, categories=[name])
        columns = {column: role for role, column in self.roles.items()}
        columns |= dict.fromkeys(self.scores, self.wide or "score")
        values = np.concatenate([self.raw.numbers(column) for column in self.scores])
        return Part(self.raw, keys, values, self.origin, self.notes, columns)

    def _has(self, role: str) -> bool:
        return role in self.roles or role in self.fixed or role == self.wide

    def _roles(self) -> dict[str, str]:
        """Return which column has which role; what a layout says is not guessed."""
        raw, stated = self.raw, self.options.columns
        if not raw.roles:
            absent = {role: "-" for role in raw.fixed if role not in stated}
            return guessed(raw.columns, {**stated, **absent}, raw.name)
        if not stated:
            return dict(raw.roles)
        absent = {role: "-" for role in (*KEYS, "score") if role not in raw.roles}
        return guessed(raw.columns, {**absent, **raw.roles, **stated}, raw.name)

    def _form(self) -> tuple[str, list[str]]:
        wanted = self.options.wide
        if "score" in self.roles and not wanted:
            return "", [self.roles["score"]]
        self.roles.pop("score", None)
        left = [c for c in self.raw.columns if c not in self.roles.values()]
        numeric = self._numeric(left)
        wide, scores = (WIDE_ROLE[wanted], numeric) if wanted else self._meaning(numeric)
        self._leave_out([column for column in left if column not in scores])
        if wide == "metric" and len(scores) == 1:
            return self._one_column(scores)
        return self._of(wide, scores)

    def _one_column(self, scores: list[str]) -> tuple[str, list[str]]:
        self.roles["score"] = scores[0]
        return "", scores

    def _of(self, wide: str, scores: list[str]) -> tuple[str, list[str]]:
        self.origin[wide] = f"the headings of {len(scores)} columns"
        self.roles.pop(wide, None)
        return wide, scores

    def _numeric(self, columns: Sequence[str]) -> list[str]:
        """Return the columns that hold numbers, but for means and ranks of others."""
        summed = {*summaries(columns)}
        numeric = [c for c in columns if c not in summed and self.raw.numeric(c)]
        if not numeric:
            where = f"{self.raw.name}: no column holds numbers ({_columns(self.raw)})"
            raise BenchError(f"{where}; name one with --score")
        return numeric

    def _leave_out(self, columns: Sequence[str]) -> None:
        names = [column for column in columns if column]
        if names:
            self.notes.append(f"columns left out: {first_of(names, LISTED)}")

    def _meaning(self, numeric: list[str]) -> tuple[str, list[str]]:
        """Return what columns of numbers are, and which of them."""
        named = [column for column in numeric if metric_in(column)]
        metrics = 2 * len(named) >= len(numeric)
        if "method" in self.roles or "method" in self.raw.fixed:
            return self._beside_method(numeric, named)
        if len(self.tables) > 1:  # a file for each method
            return ("metric", named) if metrics else ("target", numeric)
        if len(named) == len(numeric):
            raise BenchError(
                f"{self.raw.name}: no column names the method ({_listed(named)} are metrics); say which with "
                "--method, or give a file for each method"
            )
        return "method", numeric

    def _beside_method(self, numeric: list[str], named: list[str]) -> tuple[str, list[str]]:
        """Return what columns of numbers are where another column names the method."""
        metrics = 2 * len(named) >= len(numeric)
        if {"case", "patient", "dataset"} & self.roles.keys():
            if len(numeric) == 1 or (named and (metrics or "case" in self.roles)):
                return "metric", named or numeric
            return "target", numeric
        if metrics:
            raise BenchError(
                f"{self.raw.name}: one number for each method ({_listed(named)}) cannot be tested; give the "
                "score of each case"
            )
        return "case", numeric

    def _fixed(self) -> dict[str, str]:
        """Return what all rows of the file share: the method that it is of, the metric."""
        fixed = dict(self.raw.fixed)
        for role in fixed:
            self.origin.setdefault(role, f"the folders and files of {self.raw.layout}")
        present = {*self.roles, *fixed, self.wide}
        if "method" not in present:
            fixed["method"] = self._method_of_file()
        if "metric" not in present:
            fixed["metric"] = self._metric_of_file()
        return fixed

    def _method_of_file(self) -> str:
        path = Path(self.raw.name)
        if len(self.tables) == 1:
            raise BenchError(
                f"{self.raw.name}: no column names the method; say which with --method ({_columns(self.raw)})"
            )
        by_folder = bool(metric_in(path.stem)) or len({Path(t.name).stem for t in self.tables}) == 1
        self.origin["method"] = f"the {'folder' if by_folder else 'name'} of each file"
        return path.absolute().parent.name if by_folder else path.stem

    def _metric_of_file(self) -> str:
        stem, column = Path(self.raw.name).stem, "" if self.wide else self.scores[0]
        in_column = metric_in(column) and plain(column) not in NAMES["score"]
        if column and (in_column or metric_in(stem) in ("", "score")):
            self.origin["metric"] = f"the heading {column!r}"
            return column
        self.origin["metric"] = "the name of the file"
        return metric_in(stem) or stem

    def _find_case(self) -> None:
        """Take the patient or the data set for the case where nothing is finer."""
        if self._has("case"):
            return
        unnamed = [c for c in self.raw.columns if not c or c.startswith("Unnamed: 0")]
        if "patient" in self.roles:
            self.roles["case"], self.origin["case"] = self.roles["patient"], self.origin["patient"]
        elif "dataset" in self.roles:
            self.roles["case"] = self.roles.pop("dataset")
            self.origin["case"] = f"{self.origin.pop('dataset')}: each data set is one case"
        elif unnamed:
            self.roles["case"], self.origin["case"] = unnamed[0], "the column without a heading"
        elif self.wide == "method" and len(self.tables) == 1:
            self.origin["case"] = "the lines of the file"
        else:
            raise BenchError(
                f"{self.raw.name}: no column names the case; say which with --case ({_columns(self.raw)})"
            )


def _columns(raw: RawTable) -> str:
    return f"columns {', '.join(map(repr, raw.columns[:LISTED]))}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:LISTED])
