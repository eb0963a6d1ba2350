"""Cells of CSV files that a person opens in a spreadsheet. ``html/script.js`` keeps the same rule."""

from __future__ import annotations

import re
from functools import lru_cache

from bench.errors import printable

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s?%?", re.IGNORECASE)
# a formula begins so, in ASCII or in full width
RUN = re.compile(r"\s*[=+\-@\uFF1D\uFF0B\uFF0D\uFF20]")


@lru_cache(maxsize=1024)  # few names stand in many lines
def cell(text: str) -> str:
    """Return a text in one line, after an apostrophe where a spreadsheet would run it; a number stays one."""
    line = printable(text)  # csv leaves a bare carriage return unquoted
    return f"'{line}" if RUN.match(line) and not NUMBER.fullmatch(line) else line


def number(value: float | None) -> str:
    """Return a number with six decimals, "" for none."""
    return (
        "" if value is None or value != value else f"{value:.6f}".replace("-0.000000", "0.000000")
    )
