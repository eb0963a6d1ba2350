"""Where a method, a data set or a number comes from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """Citation, link and code; printed under every table that uses it."""

    cite: str
    url: str
    code: str = ""
