"""One row per case x target x metric: the only thing a report is drawn from.

Learning curves have rows of their own, one for each of their points as well, in a file of their own: what is
scored while a network trains is no result, and no table can take it for one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import BenchError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

COLUMNS: dict[str, str] = {
    "job": "str", "protocol": "str", "paper": "str", "table": "str", "scale": "str",
    "section": "str", "row": "str", "method": "str", "network": "str", "params": "str", "pretrain": "str",
    "pretrain_seed": "int64", "init": "str", "evaluation": "str", "dataset": "str", "task": "str",
    "split": "str", "split_hash": "str", "fraction": "int64", "n_train": "int64", "fold": "int64",
    "seed": "int64", "case": "str", "patient": "str", "target": "str", "metric": "str",
    "value": "float64", "unit": "str", "convention": "str", "status": "str",
}  # fmt: skip

SCORES = {  # of what one evaluate job's score file holds
    name: COLUMNS[name] for name in ("case", "patient", "target", "metric", "value", "unit", "status")
}
CURVE = {**COLUMNS, "part": "str", "step": "int64", "epoch": "float64"}  # of learning curves
STATUSES = ("ok", "empty_reference", "empty_prediction", "both_empty", "failed")


def read_rows(path: Path, columns: Mapping[str, str]) -> pd.DataFrame:
    """Return ``columns`` of a Parquet file of records, their types fixed; text as sorted categories.

    Ten million rows hold few different texts: as codes they take a tenth of the memory and of the time.

    Raises:
        BenchError: the file is damaged, or holds other columns or types; names it.
    """
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    text = [name for name, kind in columns.items() if kind == "str"]
    found: dict[str, Any] = {}
    try:
        with pq.ParquetFile(path, read_dictionary=text) as file:
            for (
                name,
                kind,
            ) in columns.items():  # one by one: an index takes four bytes a row before it is a code
                column = file.read([name]).column(name)
                found[name] = _category(column) if kind == "str" else column.cast(kind).to_numpy()
        return pd.DataFrame(found, copy=False)
    except (OSError, ValueError, TypeError, LookupError, NotImplementedError, pa.ArrowException) as error:
        what = str(error).partition("\n")[0]
        raise BenchError(
            f"{path}: no records of bench ({what}); delete it and run the protocol again"
        ) from None


def _category(column: pa.ChunkedArray) -> pd.Categorical:
    """Return a column of text as sorted categories."""
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    if not pa.types.is_dictionary(column.type):
        column = column.cast(pa.string()).dictionary_encode()
    chunks = column.unify_dictionaries().chunks
    names = chunks[0].dictionary.to_pylist() if chunks else []
    rank = np.empty(len(names), dtype=np.min_scalar_type(-len(names) - 1))
    order = sorted(range(len(names)), key=names.__getitem__)
    rank[order] = np.arange(len(names))
    codes = np.empty(len(column), dtype=rank.dtype)
    at = 0
    for chunk in chunks:
        np.take(rank, chunk.indices, out=codes[at : at + len(chunk)])
        at += len(chunk)
    return pd.Categorical.from_codes(codes, pd.Index([names[i] for i in order], dtype="str"), validate=False)


def frame(rows: list[dict[str, Any]], columns: Mapping[str, str] = COLUMNS) -> pd.DataFrame:
    """Return rows as a table with exactly ``columns``, their types fixed."""
    import pandas as pd

    return pd.DataFrame(rows, columns=list(columns)).astype(columns)
