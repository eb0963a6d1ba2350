"""Files of scores to tables as they stand: CSV, Parquet, JSON lines, and what other tools leave."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.errors import BenchError, printable, shown

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

MISSING = ("", "na", "n/a", "nan", "null", "none", "-", "--", "<na>", "#n/a")
DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")
SEPARATORS = (",", ";", "\t", "|")


@dataclass(frozen=True, eq=False)
class RawTable:
    """One file's columns, text as it stands there.

    Attributes:
        name: of the file, for messages.
        columns: names in their order.
        data: a column is an Arrow array, of text or of numbers.
        roles: role -> column, where the layout says so.
        fixed: role -> value that all rows of the file share.
        layout: what the file was taken for.
        first: the number of the first row's line in the file.
        notes: what was left out of the file, and why.
    """

    name: str
    columns: tuple[str, ...]
    data: Mapping[str, Any]
    roles: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, str] = field(default_factory=dict)
    layout: str = "CSV"
    first: int = 2
    notes: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        """Its name on a page, which tells nobody where a home lies."""
        path = Path(self.name)
        return "/".join(path.parts[-2:]) if path.is_absolute() else self.name

    def __len__(self) -> int:
        return len(self.data[self.columns[0]]) if self.columns else 0

    def texts(self, column: str) -> pd.Categorical:
        """Return a column as names.

        Raises:
            BenchError: a cell is empty.
        """
        import pandas as pd

        coded = self._strings(column).dictionary_encode()
        names = [(name or "").strip() for name in coded.dictionary.to_pylist()]
        codes = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        empty = np.flatnonzero(np.isin(codes, [-1, *(i for i, n in enumerate(names) if not n)]))
        if len(empty):
            raise BenchError(
                f"{self.name}: line {self.first + int(empty[0])}: column {column!r} is empty; fill it or remove "
                "the line"
            )
        unique, position = np.unique(np.array(names, object), return_inverse=True)
        return pd.Categorical.from_codes(position[codes], categories=unique.tolist())

    def _strings(self, column: str) -> Any:
        """Return a column as text: 3.0 of a program is 3."""
        import pyarrow as pa

        values = self.data[column]
        if pa.types.is_string(values.type):
            return values
        return pa.array(map(_text, values.to_pylist()), pa.string())

    def holds(self, column: str, names: Sequence[str]) -> np.ndarray:
        """Tell of each row whether a column has one of these names there."""
        import pyarrow as pa
        import pyarrow.compute as pc

        trimmed = pc.utf8_trim_whitespace(self._strings(column))
        within = pc.is_in(trimmed, value_set=pa.array([*names]))
        return within.to_numpy(zero_copy_only=False)

    def numbers(self, column: str) -> np.ndarray:
        """Return a column as float64, NaN where missing.

        Raises:
            BenchError: a cell is text.
        """
        values = self.data[column]
        numbers = _cast(values)
        if numbers is not None:
            return numbers
        parsed = np.full(len(values), np.nan)
        for i, text in enumerate(values.to_pylist()):
            try:
                missing = text is None or text.strip().lower() in MISSING
                parsed[i] = np.nan if missing else float(text)
            except ValueError:
                raise BenchError(
                    f"{self.name}: line {self.first + i}: column {column!r} has {shown(text)}, no number; "
                    f"{_cure(text)}"
                ) from None
        return parsed

    def numeric(self, column: str) -> bool:
        """Tell whether at least half of the cells that are not missing are numbers, and one is."""
        values = self.data[column]
        if _cast(values) is not None:
            return bool((~np.isnan(self.numbers(column))).any())
        texts = [t.strip() for t in values.to_pylist() if t is not None]
        texts = [t for t in texts if t.lower() not in MISSING]
        return 2 * sum(map(_is_number, texts)) >= max(len(texts), 1) and any(map(_is_number, texts))


def _text(value: object) -> str | None:
    """Return a key that a program gave as a number as text: 3.0 is 3."""
    if value is None or value != value:
        return None
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _cast(values: Any) -> np.ndarray | None:
    """Return an Arrow array as float64, NaN where missing; None where a cell is text."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = values.type
    if pa.types.is_boolean(kind):
        return values.cast(pa.float64()).to_numpy(zero_copy_only=False)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return values.cast(pa.float64()).to_numpy(zero_copy_only=False)
    if pa.types.is_null(kind):
        return np.full(len(values), np.nan)
    if not pa.types.is_string(kind):
        return None
    trimmed = pc.utf8_trim_whitespace(values)
    percent = pc.ends_with(trimmed, "%")
    trimmed = pc.replace_substring_regex(trimmed, r"\s*%$", "")
    absent = pc.is_in(pc.utf8_lower(trimmed), value_set=pa.array(MISSING))
    try:
        cast = pc.cast(pc.if_else(absent, pa.scalar(None, pa.string()), trimmed), pa.float64())
    except pa.ArrowInvalid:
        return None
    numbers = cast.to_numpy(zero_copy_only=False)
    signs = percent.fill_null(False).to_numpy(zero_copy_only=False)
    return np.where(signs, numbers / 100, numbers) if signs.any() else numbers


def _cure(text: str) -> str:
    if DECIMAL_COMMA.fullmatch(text.strip()):
        return "write a decimal point"
    if "±" in text or "(" in text:
        return "write one number in a cell, without spread and notes"
    return "correct the cell, leave it empty, or name another column with --score"


def from_frame(frame: pd.DataFrame) -> RawTable:
    """Return a pandas table; an index that has a name is a column."""
    import pandas as pd

    if not isinstance(frame, pd.DataFrame):
        raise BenchError(f"a table is a pandas DataFrame or a path, not {shown(frame)}")
    if any(frame.index.names):
        frame = frame.reset_index()
    columns = [str(column) for column in frame.columns]
    _refuse_twice("the table", columns)
    data = {name: _array(name, frame.iloc[:, at]) for at, name in enumerate(columns)}
    return RawTable("the table", tuple(columns), data, layout="table", first=0)


def _array(name: str, series: pd.Series) -> Any:
    """Return a column of a pandas table; what is of several types is text."""
    import pyarrow as pa

    if series.dtype.name == "category":
        series = series.astype(series.cat.categories.dtype)
    try:
        values = pa.array(series, from_pandas=True)
        if isinstance(values, pa.ChunkedArray):
            values = values.combine_chunks()
        return values.cast(pa.string()) if pa.types.is_large_string(values.type) else values
    except (pa.ArrowException, ValueError, TypeError):
        if series.dtype != object:
            raise BenchError(f"the table: column {name!r} cannot be read") from None
        return pa.array([None if v is None or v != v else str(v) for v in series], pa.string())


def _refuse_twice(name: str, columns: Sequence[str]) -> None:
    twice = sorted({column for column in columns if columns.count(column) > 1 and column})
    if twice:
        raise BenchError(
            f"{name}: the heading has {twice[0]!r} twice; give each column a name of its own"
        )


def read(path: Path) -> list[RawTable]:
    """Return the tables of a file, or of all files in a folder that hold scores.

    Raises:
        BenchError: there is none, or one cannot be read; names it.
    """
    from bench.extras.judge import layouts

    if path.is_dir():
        return layouts.folder(path)
    if not path.exists():
        raise BenchError(f"{path}: is not there")
    suffix = path.suffix.lower()
    if suffix in (".parquet", ".pq"):
        return [read_parquet(path)]
    if suffix in (".jsonl", ".ndjson"):
        return [json_lines(path)]
    if suffix == ".json":
        return layouts.from_json(path)
    if suffix in (".csv", ".tsv", ".txt"):
        return [read_csv(path)]
    raise BenchError(
        f"{path}: is no file of scores that can be read; give .csv, .tsv, .parquet, .jsonl, .json or a folder"
    )


def text_of(path: Path) -> str:
    """Return a text file.

    Raises:
        BenchError: it is empty, or no text in UTF-8.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BenchError(
            f"{path}: is no text in UTF-8 ({error.reason}); save it as UTF-8"
        ) from None
    if not text.strip():
        raise BenchError(f"{path}: is empty")
    return text


def read_csv(path: Path) -> RawTable:
    """Return a CSV file; commas, semicolons or tabs part its columns.

    Raises:
        BenchError: a line has more or fewer cells than the heading, or a heading comes twice; names it.
    """
    import pyarrow as pa
    import pyarrow.csv as arrow_csv

    text = text_of(path)
    heading = text.lstrip("\r\n").partition("\n")[0].rstrip("\r")
    separator = max(SEPARATORS, key=heading.count)
    columns = [c.strip() for c in next(csv.reader([heading], delimiter=separator))]
    if columns[-2:] == ["mean", "mean"]:  # MONAI's second metric: one heading too many
        columns = columns[:-1]
    _refuse_twice(str(path), columns)
    try:
        table = arrow_csv.read_csv(
            io.BytesIO(text.encode()),
            read_options=arrow_csv.ReadOptions(column_names=columns, skip_rows=1),
            parse_options=arrow_csv.ParseOptions(delimiter=separator, newlines_in_values=True),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(columns, pa.string()), strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid as error:
        _refuse_ragged(path, text, separator, columns, str(error))
    return _as_table(path, columns, table, separator)


def _refuse_ragged(path: Path, text: str, separator: str, columns: list[str], error: str) -> None:
    """Refuse a table of which a line has more or fewer cells than the heading; name the line."""
    rows = [row for row in csv.reader(io.StringIO(text), delimiter=separator) if row][1:]
    at = next((i for i, row in enumerate(rows, 2) if len(row) != len(columns)), None)
    if at is None:
        raise BenchError(f"{path}: cannot be read as CSV ({printable(error)})")
    raise BenchError(
        f"{path}: line {at} has {len(rows[at - 2])} cells, the heading {len(columns)}; correct the line"
    )


def _as_table(path: Path, columns: list[str], table: pa.Table, separator: str) -> RawTable:
    import pyarrow as pa
    import pyarrow.compute as pc

    if not len(table):
        raise BenchError(f"{path}: has a heading and no line")
    data = {name: table.column(name).combine_chunks() for name in columns}
    notes = list[str]()
    if separator != ",":
        for name, values in data.items():
            filled = values.filter(pc.not_equal(pc.utf8_trim_whitespace(values), ""))
            decimal = pc.match_substring_regex(filled, r"^\s*[+-]?\d+,\d+\s*$")
            if len(filled) and 2 * (pc.sum(decimal.cast(pa.int64())).as_py() or 0) > len(filled):
                data[name] = pc.replace_substring(values, ",", ".")
                notes.append(f"{path.name}: decimal commas in column {name!r} were read as points")
    return RawTable(str(path), tuple(columns), data, notes=tuple(notes))


def read_parquet(path: Path) -> RawTable:
    """Return a Parquet file.

    Raises:
        BenchError: it is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path).read()
    except (pa.ArrowException, OSError, ValueError) as error:
        what = str(error).partition("\n")[0]
        raise BenchError(f"{path}: is no Parquet file that can be read ({what})") from None
    columns = [name for name in table.column_names if not name.startswith("__index_level")]
    data = {}
    for name in columns:
        column = table.column(name).combine_chunks()
        column = pa.concat_arrays(column.chunks) if isinstance(column, pa.ChunkedArray) else column
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        data[name] = column.cast(pa.string()) if pa.types.is_large_string(column.type) else column
    if not len(table):
        raise BenchError(f"{path}: holds no row")
    return RawTable(str(path), tuple(columns), data, layout="Parquet", first=1)


def json_lines(path: Path) -> RawTable:
    """Return JSON lines: an object a line."""
    records = list[Mapping[str, Any]]()
    for number, line in enumerate(text_of(path).split("\n"), 1):
        if line.strip():
            records.append(_object(path, number, line))
    return from_records(path, records, "JSON lines")


def _object(path: Path, number: int, line: str) -> Mapping[str, Any]:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise BenchError(f"{path}: line {number}: is no JSON ({error})") from None
    if not isinstance(value, dict):
        raise BenchError(f"{path}: line {number}: is {shown(value)}, not an object {{...}}")
    return value


def from_records(path: Path, records: Sequence[Mapping[str, Any]], layout: str) -> RawTable:
    """Return objects of equal meaning as a table; a key that one lacks is missing there.

    Raises:
        BenchError: there is none, or a value is no text and no number.
    """
    if not records:
        raise BenchError(f"{path}: holds no score")
    columns = list(dict.fromkeys(key for record in records for key in record))
    data = {column: _values(path, column, [r.get(column) for r in records]) for column in columns}
    return RawTable(str(path), tuple(columns), data, layout=layout, first=1)


def _values(path: Path, column: str, values: Sequence[Any]) -> Any:
    import pyarrow as pa

    bad = next((v for v in values if isinstance(v, (dict, list))), None)
    if bad is not None:
        raise BenchError(f"{path}: {column!r} holds {shown(bad)}, neither text nor a number")
    kind, make = (
        (pa.string(), str) if any(isinstance(v, str) for v in values) else (pa.float64(), float)
    )
    return pa.array([None if v is None else make(v) for v in values], kind)


def every(paths: Sequence[Path]) -> Iterator[RawTable]:
    """Yield the tables of some files and folders, each once."""
    seen = set[str]()
    for path in paths:
        for table in read(path):
            if table.name not in seen:
                seen.add(table.name)
                yield table
