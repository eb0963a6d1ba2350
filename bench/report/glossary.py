"""The words that a reader must know: on pages that have them, and as ``docs/glossary.md``.

They stand in ``html/glossary.txt``, a line each: word, meaning, and a page of the docs that says more.
A word with a star is explained on pages. ``python -c "from bench.report import glossary; glossary.write()"`` writes
the page of the docs anew.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from bench.protocol.named import ROOT

PAGE = Path("docs/glossary.md")
LIST = Path(__file__).parent / "html" / "glossary.txt"


@cache
def lines() -> tuple[tuple[str, ...], ...]:
    """Return every word with its star, its meaning and at most one page of the docs."""
    return tuple(tuple(line.split(" | ")) for line in LIST.read_text("utf-8").splitlines())


def on_page(html: str) -> list[tuple[str, str]]:
    """Return the words with a star that a page has, with what they mean.

    Args:
        html: what stands on the page; its tags are not read.
    """
    text = re.sub(r"<(style|script)\b.*?</\1>|<[^>]*>", " ", str(html), flags=re.DOTALL)
    starred = [(word[1:], meaning) for word, meaning, *_ in lines() if word.startswith("*")]
    return [(w, meaning) for w, meaning in starred if re.search(rf"(?i)\b{w}s?\b", text)]


def page() -> str:
    """Return ``docs/glossary.md``."""
    rows = [
        f"| {word.removeprefix('*')} | {meaning}{''.join(f' ([{m}]({m}.md))' for m in more)} |"
        for word, meaning, *more in lines()
    ]
    return "\n".join(["# Glossary", "", "| word | meaning |", "|---|---|", *rows, ""])


def write() -> None:
    """Write ``docs/glossary.md``."""
    (ROOT / PAGE).write_text(page(), encoding="utf-8")
