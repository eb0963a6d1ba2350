"""Markdown from plain values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from bench.source import Source


def table(heading: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table; a bar within a cell does not end it."""
    every = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, row))} |" for row in every)


def _cell(value: object) -> str:
    return " ".join(str(value).split()).replace("|", "&#124;")


def facts(pairs: Iterable[tuple[str, object]]) -> str:
    """Return a table of two columns, without those that have nothing to say."""
    return table(
        ("", ""), [(f"**{name}**", value) for name, value in pairs if value not in ("", None)]
    )


def joined(values: Iterable[object]) -> str:
    """Return names as code, with commas between."""
    return ", ".join(f"`{value}`" for value in values)


def words(text: str | None) -> str:
    """Return words of the source as Markdown: ``x`` becomes `x`, and what looks like a tag is none."""
    parts = (text or "").replace("``", "`").split("`")
    parts[::2] = [part.replace("<", "&lt;").replace("*", "\\*") for part in parts[::2]]
    return "`".join(parts)


def paragraphs(text: str | None) -> str:
    """Return a docstring as paragraphs of one line each."""
    return "\n\n".join(" ".join(part.split()) for part in words(text).split("\n\n"))


def anchor(heading: str) -> str:
    """Return the anchor of a heading, as Python-Markdown and GitHub make it of one without punctuation."""
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower())


def cited(source: Source) -> str:
    """Return a citation with its links."""
    code = f"; code: <{source.code}>" if source.code else ""
    return f"{words(source.cite)} <{source.url}>{code}"
