"""The transcribed numbers and the tables of the pages beside them, read as text."""

from __future__ import annotations

from decimal import Decimal
from functools import cache
from pathlib import Path

import pandas as pd

FOLDER = Path(__file__).parents[2] / "results" / "published"
PAPERS = ("pgl", "hssl", "voco", "taleb", "glmae")


@cache
def read(paper: str) -> pd.DataFrame:
    """Return a paper's rows, every column as text. One frame for all who ask: it is not written to."""
    return pd.read_csv(FOLDER / f"{paper}.csv", dtype=str, keep_default_na=False)


def value(frame: pd.DataFrame, **where: str) -> str:
    """Return the one printed value of a cell."""
    for column, wanted in where.items():
        frame = frame[frame[column] == wanted]
    assert len(frame) == 1, where
    return frame["value"].item()


def page(name: str, heading: str) -> list[list[str]]:
    """Return the cells of the one table under a heading of ``results/published/<name>``, without its head."""
    text = (FOLDER / name).read_text(encoding="utf-8")
    (section,) = (part for part in text.split("\n## ") if part.startswith(f"{heading}\n"))
    lines = [line[2:-2].split(" | ") for line in section.splitlines() if line.startswith("| ")]
    assert len(lines) > 1, f"{name}: no table under {heading!r}"
    return [[cell.strip() for cell in line] for line in lines[1:]]


def half(printed: str) -> Decimal:
    """Return half a unit of the last printed digit: what rounding can hide."""
    return Decimal(5).scaleb(int(Decimal(printed).as_tuple().exponent) - 1)


def scores(paper: str) -> pd.DataFrame:
    """Return what the tables of a paper print that can be compared: no gains, counts or sizes."""
    frame = read(paper)
    return frame[
        frame["table"].str.startswith("table")
        & frame["metric"].isin(("dice", "iou", "hd", "accuracy"))
    ]


def row(paper: str, name: str) -> pd.DataFrame:
    """Return the scores of a row named ``table1: method`` or ``table1: method (its note)``."""
    table, _, rest = name.partition(": ")
    method, _, note = rest.removesuffix(")").partition(" (")
    frame = scores(paper)
    rows = frame[(frame["table"] == table) & (frame["method"] == method)]
    rows = rows[rows["note"] == note] if note else rows
    assert len(rows), f"{paper}: no row {name}"
    return rows


def transcript_of(paper: str, first: str, second: str) -> pd.DataFrame:
    """Return the cells that two rows share, the second's values as ``other``."""
    where = ["dataset", "target", "fraction", "metric"]
    both = row(paper, first).merge(
        row(paper, second)[[*where, "value"]], on=where, suffixes=("", "_other")
    )
    assert len(both), f"{paper}: {first} and {second} share no cell"
    return both.rename(columns={"value_other": "other"})
