"""One row per case x target x metric: the only thing a report is drawn from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

COLUMNS: dict[str, str] = {
    "job": "str", "protocol": "str", "paper": "str", "table": "str", "scale": "str",
    "row": "str", "method": "str", "network": "str", "params": "str", "pretrain": "str",
    "pretrain_seed": "int64", "init": "str", "evaluation": "str", "dataset": "str", "task": "str",
    "split": "str", "split_hash": "str", "fraction": "int64", "n_train": "int64", "fold": "int64",
    "seed": "int64", "case": "str", "patient": "str", "target": "str", "metric": "str",
    "value": "float64", "unit": "str", "convention": "str", "status": "str",
}  # fmt: skip

STATUSES = ("ok", "empty_reference", "empty_prediction", "both_empty", "failed")


def frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Return rows as a table with exactly ``COLUMNS``, their types fixed."""
    import pandas as pd

    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.astype(COLUMNS)
