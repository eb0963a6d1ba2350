"""One row per case x target x metric: the only thing a report is drawn from.

Learning curves have rows of their own, one for each of their points as well, in a file of their own: what is
scored while a network trains is no result, and no table can take it for one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import BenchError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

COLUMNS: dict[str, str] = {
    "job": "str",
    "protocol": "str",
    "paper": "str",
    "table": "str",
    "scale": "str",
    "section": "str",
    "row": "str",
    "method": "str",
    "network": "str",
    "params": "str",
    "pretrain": "str",
    "pretrain_seed": "int64",
    "init": "str",
    "evaluation": "str",
    "dataset": "str",
    "task": "str",
    "split": "str",
    "split_hash": "str",
    "fraction": "int64",
    "n_train": "int64",
    "fold": "int64",
    "seed": "int64",
    "case": "str",
    "patient": "str",
    "target": "str",
    "metric": "str",
    "value": "float64",
    "unit": "str",
    "convention": "str",
    "status": "str",
}

# together they name one cell
CELL = ("row", "section", "fraction", "fold", "pretrain_seed", "seed")
SCORES = {  # of what one evaluate job's score file holds
    name: COLUMNS[name]
    for name in ("case", "patient", "target", "metric", "value", "unit", "status")
}
CURVE = {**COLUMNS, "part": "str", "step": "int64", "epoch": "float64"}  # of learning curves
FORMER = {"evaluation": {"linear": "decoder"}}  # what older files call a value, and its name now
SMALL = 1 << 18  # bytes of a file that is read at once, without the threads that wait for a disk
STATUSES = ("ok", "empty_reference", "empty_prediction", "both_empty", "failed")


@dataclass(frozen=True)
class Part:
    """The rows of one file as ``stacked`` takes them: text as names and codes that count them."""

    columns: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.columns["value"])

    def get(self, name: str) -> Any:
        """Return a column, None where the file was not asked for it."""
        return self.columns.get(name)


def read_rows(path: Path, columns: Mapping[str, str]) -> pd.DataFrame:
    """Return ``columns`` of a Parquet file of records, their types fixed; text as sorted categories.

    Ten million rows hold few different texts: as codes they take a tenth of the memory and of the time.

    Raises:
        BenchError: the file is damaged, or holds other columns or types; names it.
    """
    import pandas as pd

    table = {n: _categories(c) if columns[n] == "str" else c for n, c in _read(path, columns)}
    return pd.DataFrame(table, copy=False)


def read_part(path: Path, columns: Mapping[str, str]) -> Part:
    """Return the same to be stacked: of a thousand small files, tables of their own take most of the time.

    Raises:
        BenchError: the same.
    """
    return Part(dict(_read(path, columns)))


def _read(path: Path, columns: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    """Yield columns of a file by name: of text names and codes, piece by piece, of numbers an array."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    text = [name for name, kind in columns.items() if kind == "str"]
    try:
        small = path.stat().st_size <= SMALL
        with pq.ParquetFile(
            pa.BufferReader(path.read_bytes()) if small else path, read_dictionary=text
        ) as file:
            if lost := {*columns} - {*file.schema_arrow.names}:
                raise ValueError(f"column {min(lost)} is missing")
            # a large one column by column: before it is narrowed, a code takes four bytes
            full = file.read(list(columns), use_threads=False) if small else None
            for name, kind in columns.items():
                table = file.read([name], use_threads=False) if full is None else full
                column = table.column(name)
                if kind == "str":
                    now = FORMER.get(name, {})
                    pieces = _pieces(column)
                    yield name, [([now.get(n, n) for n in names], codes) for names, codes in pieces]
                    continue
                numbers = column.cast(kind).to_numpy()
                if numbers.dtype.kind == "f" and np.isinf(numbers).any():
                    raise ValueError(f"column {name} holds an infinite number")
                yield name, numbers
    except PermissionError as error:
        raise BenchError(
            f"{path}: cannot be read ({error.strerror}); correct its permissions"
        ) from None
    except (
        OSError,
        ValueError,
        TypeError,
        LookupError,
        NotImplementedError,
        pa.ArrowException,
    ) as error:
        what = str(error).partition("\n")[0]
        raise BenchError(
            f"{path}: not a file of records ({what}); use another copy, or delete the file and run the "
            "protocol again"
        ) from None


def _pieces(column: pa.ChunkedArray) -> list[tuple[list[str], Any]]:
    import pyarrow as pa

    kind = column.type
    if not (pa.types.is_dictionary(kind) and pa.types.is_string(kind.value_type)):
        column = column.cast(pa.string()).dictionary_encode()
    if column.null_count or any(chunk.dictionary.null_count for chunk in column.chunks):
        raise ValueError("a text is missing")
    column.validate(full=True)  # a damaged file may count what its dictionary does not have
    return [(chunk.dictionary.to_pylist(), chunk.indices.to_numpy()) for chunk in column.chunks]


def _categories(pieces: Iterable[tuple[Sequence[str], Any]]) -> pd.Categorical:
    """Return texts one below the other, given as names and codes that count them."""
    import numpy as np
    import pandas as pd

    pieces = list(pieces)
    texts = sorted({name for names, _ in pieces for name in names})
    number = {name: i for i, name in enumerate(texts)}
    codes = np.empty(
        sum(len(piece) for _, piece in pieces), dtype=np.min_scalar_type(-len(texts) - 1)
    )
    at = 0
    for names, piece in pieces:
        rank = np.array([number[name] for name in names], dtype=codes.dtype)
        np.take(rank, piece, out=codes[at : at + len(piece)])
        at += len(piece)
    return pd.Categorical.from_codes(codes, pd.Index(texts, dtype="str"), validate=False)


def stacked(
    parts: Sequence[tuple[pd.DataFrame | Part, Mapping[str, Any]]],
    columns: Mapping[str, str] = COLUMNS,
) -> pd.DataFrame:
    """Return tables one below the other with exactly ``columns``, text as sorted categories.

    Args:
        parts: each a table, and what all of its rows have in columns that it lacks or has otherwise.
        columns: names and types.
    """
    import numpy as np
    import pandas as pd

    merged: dict[str, Any] = {}
    for name, kind in columns.items():
        if kind == "str":
            merged[name] = _categories(
                piece for part, common in parts for piece in _of(part, common, name)
            )
        else:
            numbers = [
                np.broadcast_to(c.get(name, t.get(name)), len(t)).astype(kind) for t, c in parts
            ]
            merged[name] = np.concatenate([np.zeros(0, kind), *numbers])
    return pd.DataFrame(merged, copy=False)


def _of(
    part: pd.DataFrame | Part, common: Mapping[str, Any], name: str
) -> Sequence[tuple[Sequence[str], Any]]:
    """Return a column of text as names and codes."""
    import numpy as np
    import pandas as pd

    if name in common:
        return [([str(common[name])], np.zeros(len(part), np.int8))]
    if isinstance(part, Part):
        pieces: Sequence[tuple[Sequence[str], Any]] = part.columns[name]
        return pieces
    column = part[name]
    if isinstance(column.dtype, pd.CategoricalDtype):
        return [(list(column.cat.categories), column.cat.codes)]
    codes, names = pd.factorize(column)
    return [(list(names), codes)]


def frame(rows: list[dict[str, Any]], columns: Mapping[str, str] = COLUMNS) -> pd.DataFrame:
    """Return rows as a table with exactly ``columns``, their types fixed."""
    import pandas as pd

    return pd.DataFrame(rows, columns=list(columns)).astype(columns)
