"""A report as plain text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from bench.errors import middle, printable
from bench.report import not_run, pretrainings, undertrained
from bench.report.captions import counted
from bench.report.context import ReportContext
from bench.report.sections import Notes, Part, Section, Text
from bench.report.tabular import Form, Table, TableCell, body, head, padded
from bench.report.text import title_of

BEST = "^"  # an asterisk would read as significance
LEAST = 12  # columns of a row's name
NARROW = 100  # columns of a terminal below which tables of words are cut, too


def terminal(report: ReportContext, sections: Sequence[Section], width: int) -> str:
    """Return sections as plain text, tables of scores cut into blocks of columns of at most ``width``."""
    shown = [section for section in sections if "terminal" in section.forms]
    scores = {id(s): [t for t in s.parts if isinstance(t, Table) and t.scores] for s in shown}
    tables = [table for of_section in scores.values() for table in of_section]
    top = (title_of(report), not_run.sentence(report), undertrained.warning(report))
    parts = [printable(text) for text in top]
    for section in shown:
        title = printable(section.title)
        texts = [text for part in section.parts for text in _part(part, width)]
        parts += [f"{title}\n{text}" for text in texts] if scores[id(section)] else [title, *texts]
        if tables and tables[-1] in scores[id(section)]:
            same = dict.fromkeys(printable(text) for table in tables for text in table.same)
            parts += [_legend(tables), "\n".join(same)]
    parts += map(printable, pretrainings.faults(report))
    return "\n\n".join(filter(None, parts))


def lines_of(section: Section, width: int) -> str:
    """Return one section as plain text, its title first; notes are left out."""
    texts = [text for part in section.parts for text in _part(part, width)]
    return "\n\n".join(filter(None, [printable(section.title), *texts]))


def _part(part: Part, width: int) -> list[str]:
    match part:
        case Text() if part.kind != "note":
            return [printable(part.with_command)]
        case Table():
            caption = "" if part.scores else printable(part.caption)
            return ["\n".join(filter(None, (printable(part.title), _grid(part, width), caption)))]
        case Notes():
            return [
                "\n".join(f"{_letter(n.letter)} {printable(n.text)}".strip() for n in part.notes)
            ]
    return []


def _legend(tables: Sequence[Table]) -> str:
    """Return what the signs in a terminal's tables mean, of those that are there."""
    lines = [line for table in tables for line in table.lines]
    entries = [e for line in lines for e in line.entries]
    best = f"{BEST} best row of each network, among rows with the same fine-tuning"
    words = [best] if any(e.mark for e in entries) else []
    words += ["± over runs"] if any(e.sd for e in entries) else []
    words += ["in brackets: the gain"] if any(e.gain for e in entries) else []
    n = [line.n for line in lines] + [
        e.mean for line in lines if line.kind == "n" for e in line.entries
    ]
    units = "shares in percent, distances in mm, volumes in ml"
    return "; ".join([*words, counted(n, "runs").rstrip("."), units])


def _grid(table: Table, width: int) -> str:
    left, right = len(table.stubs), len(table.stubs) + len(table.columns)
    names = head(table, FORM, [column.heading for column in table.columns])
    names = [name.lower() if i < left or i >= right else name for i, name in enumerate(names)]
    rows = [["" if name == "method" else name for name in names]]
    groups = list[tuple[int, str]]()  # the line before which a heading stands
    for heading, lines in body(table, FORM):
        groups += [(len(rows), heading)] if heading else []
        rows += lines
    cells = padded(_fitted(rows, table, width), table)
    widths = [len(cell) for cell in cells[0]]
    groups = [(line, middle(heading, width)) for line, heading in groups]
    cut = table.scores or width < NARROW
    cuts = _cuts(widths, left, width) if cut else [[*range(left, len(widths))]]
    return "\n\n".join(_block(cells, groups, [*range(left), *at]) for at in cuts)


def _fitted(rows: Sequence[list[str]], table: Table, width: int) -> list[list[str]]:
    """Return rows whose names leave room for the widest column; long ones lack their middle."""
    left = len(table.stubs)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    others = sum(w + 2 for i, w in enumerate(widths[:left]) if i != table.leaf)
    room = width - others - max(widths[left:], default=0) - 2
    return [
        [middle(c, max(room, LEAST)) if i == table.leaf else c for i, c in enumerate(row)]
        for row in rows
    ]


def _cuts(widths: Sequence[int], left: int, width: int) -> list[list[int]]:
    """Return the columns of each block; the names of the rows stand in every one."""
    blocks: list[list[int]] = [[]]
    room = width - sum(widths[:left])
    for i in range(left, len(widths)):
        if blocks[-1] and sum(widths[j] + 2 for j in [*blocks[-1], i]) > room:
            blocks.append([])
        blocks[-1].append(i)
    return blocks


def _block(
    cells: Sequence[Sequence[str]], groups: Sequence[tuple[int, str]], at: Sequence[int]
) -> str:
    lines = ["  ".join(row[i] for i in at) for row in cells]
    text = [line.rstrip() for line in lines]
    for number, heading in reversed(groups):
        text.insert(number, heading)
    return "\n".join([text[0], "-" * len(lines[0]), *text[1:]])


def _cell(cell: TableCell) -> str:
    best = f" {BEST}" if cell.mark == "best" else ""
    return printable(cell.words) + best + _letter(cell.note)


def _letter(letter: str) -> str:
    return f" [{letter}]" if letter else ""


FORM = Form(printable, _cell, _letter, str, lambda text: f"  {text.partition(' (')[0]}")
