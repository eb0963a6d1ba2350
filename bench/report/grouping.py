"""Lines of a table numbered, ordered and taken together by what stands in their columns, in numpy.

A table of ten million rows holds few different texts, so columns are codes: a line's place among the sorted
names of its column. Groups are stretches of lines in the order of one integer key.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

WIDEST = 2**62  # keys are int64


class Coded(NamedTuple):
    """A column as codes from 0, and the sorted names that they count; a line without a name has -1."""

    codes: np.ndarray
    names: Sequence[Any]

    def __len__(self) -> int:
        return len(self.codes)

    def of(self, lines: np.ndarray) -> Coded:
        """Return the column of some lines, chosen by number or by mask."""
        return Coded(self.codes[lines], self.names)

    def among(self, *some: Hashable) -> np.ndarray:
        """Tell of every line whether it has one of these names."""
        return np.array([*(name in some for name in self.names), False])[self.codes]


def coded(column: pd.Series) -> Coded:
    """Return a column as codes of its sorted names."""
    import pandas as pd

    known = getattr(column, "cat", None)
    if known is None:
        values = column.to_numpy()
        start = starts(values)  # lines that are alike mostly stand together
        codes, names = pd.factorize(column.iloc[start], sort=True)
        codes = codes.astype(np.min_scalar_type(-len(names) - 1))
        return Coded(np.repeat(codes, sizes(start, len(values))), list(names))
    given, codes = list(known.categories), known.codes.to_numpy()
    order = sorted(range(len(given)), key=given.__getitem__)
    if order != list(range(len(given))):
        rank = np.full(len(given) + 1, -1, dtype=codes.dtype)  # the last is of lines without a name
        rank[order] = np.arange(len(given))
        codes = rank[codes]
    return Coded(codes, [given[i] for i in order])


def combined(columns: Sequence[Coded]) -> tuple[np.ndarray, int]:
    """Return one integer per line that orders lines as their names do, outermost column first; its bound."""
    bounds = [max(1, len(column.names)) for column in columns]
    kind = np.int32 if math.prod(bounds) < 2**31 else np.int64
    key: np.ndarray = np.zeros(len(columns[0]), dtype=kind)
    size = 1
    for column, n in zip(columns, bounds, strict=True):
        if size * n >= WIDEST:  # too many to count through: number those that there are
            known, key = np.unique(key, return_inverse=True)
            size = max(1, len(known))
        key *= n
        key += column.codes
        size *= n
    return key, size


def ordered(key: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the stable order of keys below ``size``, and the keys in that order."""
    bits = len(key).bit_length()
    if size << bits >= WIDEST:
        order = np.argsort(key, kind="stable")
        return order, key[order]
    packed = (
        key.astype(np.int64) << bits
    )  # sorting integers is several times as fast as sorting places by them
    packed |= np.arange(len(key))
    packed.sort()
    in_order = packed >> bits
    packed &= (1 << bits) - 1
    return packed, in_order


def starts(*keys: np.ndarray) -> np.ndarray:
    """Return the numbers of the lines at which any of these differs from the line before; the first too."""
    new = np.zeros(len(keys[0]), dtype=bool)
    new[:1] = True
    for key in keys:
        new[1:] |= key[1:] != key[:-1]
    return np.flatnonzero(new)


def sizes(start: np.ndarray, lines: int) -> np.ndarray:
    """Return how long stretches are that begin at ``start``."""
    return np.diff(start, append=lines)


def trues(truths: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Return how many lines of every stretch are true."""
    return np.add.reduceat(truths, start, dtype=np.int64) if len(start) else np.zeros(0, np.int64)


def means(values: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Return the mean of the defined values of every stretch, NaN where it has none."""
    import pandas as pd

    n = len(start)
    if n == len(values):
        return values
    number = np.repeat(np.arange(n, dtype=np.int32), sizes(start, len(values)))
    kind = pd.CategoricalDtype(pd.RangeIndex(n))  # else pandas numbers anew what is numbered
    groups = pd.Categorical.from_codes(number, dtype=kind, validate=False)
    return pd.Series(values, copy=False).groupby(groups, observed=False).mean().to_numpy()


def pairs(group: np.ndarray, groups: int, column: Coded) -> tuple[np.ndarray, np.ndarray]:
    """Return each group with each of the codes that it has, once and in order.

    Args:
        group: of each line its group, from 0.
        groups: how many there are.
        column: has a name in every line.
    """
    n = max(1, len(column.names))
    pair = group.astype(np.int64) * n
    pair += column.codes
    if groups * n <= 4 * len(group) + 2**20:
        seen = np.zeros(groups * n, dtype=bool)
        seen[pair] = True
        pair = np.flatnonzero(seen)
    else:  # few of the pairs that may be
        pair = np.unique(pair)
    return pair // n, pair % n


def distinct(table: pd.DataFrame, columns: Sequence[str], kept: np.ndarray | None = None) -> pd.DataFrame:
    """Return what stands in some columns, each combination once, in the order of the table.

    Args:
        table: of any length; lines that are alike mostly stand together.
        columns: the columns.
        kept: truths, of lines that count; all where it is not given.
    """
    import pandas as pd

    codes = [_plain(table[name]) for name in columns]
    if kept is None or kept.all():
        lines = starts(*codes)
    else:
        among = np.flatnonzero(kept)
        lines = among[starts(*(code[among] for code in codes))]
    # column by column: to choose columns of a table is to copy them whole
    return pd.DataFrame({name: table[name].iloc[lines] for name in columns}).drop_duplicates()


def scored(table: pd.DataFrame) -> set[str]:
    """Return the rows of the protocol that have a score."""
    return {*distinct(table, ["row"], table["status"].ne("failed").to_numpy())["row"]}


def _plain(column: pd.Series) -> np.ndarray:
    """Return numbers that differ where a column does."""
    import pandas as pd

    known = getattr(column, "cat", None)
    if known is not None:
        return known.codes.to_numpy()
    return column.to_numpy() if pd.api.types.is_numeric_dtype(column) else pd.factorize(column)[0]
