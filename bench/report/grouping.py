"""Which combinations of values some columns of a table hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


def distinct(
    table: pd.DataFrame, columns: Sequence[str], mask: np.ndarray | None = None
) -> pd.DataFrame:
    """Return each combination of some columns' values once, in the order of the table.

    Args:
        table: of any length.
        columns: the columns.
        mask: truths, of lines that count; all where it is not given.
    """
    unique = table[list(columns)] if mask is None else table.loc[mask, list(columns)]
    return unique.drop_duplicates()


def scored(table: pd.DataFrame) -> set[str]:
    """Return the rows of the protocol that have a score."""
    return {*distinct(table, ["row"], table["status"].ne("failed").to_numpy())["row"]}
