"""A report as Markdown, in ``table.md``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from bench.errors import printable
from bench.report import not_run, undertrained
from bench.report.context import ReportContext
from bench.report.sections import Note, Notes, Part, Section, Text
from bench.report.tabular import Form, Table, TableCell, body, head, padded

TEXTS = {"sentence": "**{}**", "warning": "> **{}**"}


def title_of(report: ReportContext) -> str:
    """Return the report's title: its scale where the protocol has several, and whether data is synthetic."""
    remarks = [f"{report.protocol.scale} scale"] if report.protocol.scaled else []
    remarks += [report.synthetic] if report.synthetic else []
    return report.protocol.title + (f" [{', '.join(remarks)}]" if remarks else "")


def markdown(report: ReportContext, sections: Sequence[Section]) -> str:
    """Return ``table.md``."""
    warning = ""
    if below := undertrained.warning(report):
        warning = (
            f"> **{undertrained.UNDERTRAINED}**{_md(below.removeprefix(undertrained.UNDERTRAINED))}"
        )
    about = "\n\n".join(filter(None, (report.protocol.about, not_run.sentence(report))))
    return document(title_of(report), about, sections, warning)


def document(title: str, about: str, sections: Sequence[Section], warning: str = "") -> str:
    """Return sections under a title as Markdown; ``warning``: Markdown that stands before them."""
    parts = [f"# {_md(title)}", _md(about), warning]
    for section in sections:
        if "markdown" in section.forms:
            parts.append(f"## {_md(section.title)}")
            parts += [text for part in section.parts for text in _part(part)]
    return "\n\n".join(p for p in parts if p) + "\n"


def _part(part: Part) -> list[str]:
    match part:
        case Text():
            return [TEXTS.get(part.kind, "{}").format(_md(part.with_command))]
        case Table():
            return [
                f"### {_md(part.title)}" if part.title else "",
                _md_table(part),
                _md(part.caption),
            ]
        case Notes():
            lines = "\n".join(map(_md_line, part.notes))
            return [f"### {_md(part.heading)}" if part.heading else "", lines]
    return []


def _md_line(note: Note) -> str:
    letter = f"{_sup(note.letter)} " if note.letter else ""
    link = f" <{note.url}>" if re.fullmatch(r"https?://[^\s<>`|]+", note.url) else ""
    return f"- {letter}{_md(note.text)}{link}"


def _md(text: str) -> str:
    """Escape what Markdown and HTML read as markup; an underscore inside a word is harmless."""
    text = printable(re.sub(r"[\r\n\t]", " ", text))
    text = re.sub(r"([\\`*{}\[\]#|~$])", r"\\\1", text)
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", text)


def _md_table(table: Table) -> str:
    rows = [head(table, FORM, [column.heading for column in table.columns])]
    for heading, lines in body(table, FORM):
        rows += [[f"**{heading}**"] + [""] * (len(rows[0]) - 1)] if heading else []
        rows += lines
    first, *others = padded(rows, table, 3)
    right = (
        [False] * len(table.stubs) + [column.kind != "left" for column in table.columns] + [True]
    )
    rule = ["-" * (len(c) - r) + ":" * r for c, r in zip(first, right, strict=False)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (first, rule, *others))


def _sup(letter: str) -> str:
    return f"<sup>{letter}</sup>" if letter else ""


def _italic(text: str) -> str:
    return f"*{text}*" if text else ""


def _cell(cell: TableCell) -> str:
    marked = {"best": "**{}**", "second": "<u>{}</u>"}.get(cell.mark, "{}")
    text = replace(cell, mean=marked.format(_md(cell.mean)), gain=_md(cell.gain)).words
    return (_italic(text) if cell.quoted else text) + _sup(cell.note)


FORM = Form(_md, _cell, _sup, _italic, _italic)
