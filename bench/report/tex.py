"""The tables as LaTeX: one bare ``tabular`` per table (booktabs), notes as text below."""

from __future__ import annotations

import re
from collections.abc import Sequence

from bench.errors import printable
from bench.report import undertrained
from bench.report.context import ReportContext
from bench.report.sections import Note, Notes, Part, Section, Text
from bench.report.tabular import Form, Table, TableCell, body, head
from bench.report.text import title_of

SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",  # \textquotedbl exists in T1 fonts only
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",  # after \\ a bare [ or * would be read as its argument
    "`": r"\textasciigrave{}",
    "\n": " ",
    "\r": " ",
    "\t": " ",
    "\N{NO-BREAK SPACE}": "~",
    "±": r"\ensuremath{\pm}",
    "\N{MINUS SIGN}": r"\ensuremath{-}",
    "\N{MULTIPLICATION SIGN}": r"\ensuremath{\times}",
    "\N{EM DASH}": r"\textemdash{}",
    "\N{EN DASH}": r"\textendash{}",
    "†": r"\textsuperscript{\dag}",
    "·": r"\textperiodcentered{}",
    "→": r"\ensuremath{\rightarrow}",
    "…": r"\ldots{}",
    "\N{MICRO SIGN}": r"\ensuremath{\mu}",
    "≤": r"\ensuremath{\leq}",
    "≥": r"\ensuremath{\geq}",
    "°": r"\ensuremath{^\circ}",
    "✓": r"\ensuremath{\surd}",
}


# what pdfLaTeX prints by itself: Latin letters but those that its old font lacks, and some punctuation
LATIN = {chr(n) for n in range(0xA1, 0x180) if n != 0xAD} - {*"«»ÐÞðþĄąĐđĘęĦħĮįĸĿŀŉŊŋŦŧŲųſ"}
LATIN |= {*map(chr, (0x2018, 0x2019, 0x201C, 0x201D, 0x2022, 0x20AC, 0x2122))}
HINTS = (
    "% Generated. Needs \\usepackage{booktabs}; for a tabular wider than a line also \\usepackage{graphicx}.",
    "% Such a tabular fits as \\noindent\\resizebox{\\linewidth}{!}{\\begin{tabular}...\\end{tabular}}.",
)
FOREIGN = (
    "% Has characters that pdfLaTeX does not print ({}): compile with XeLaTeX or LuaLaTeX, and a font "
    "that has them: \\usepackage{{fontspec}} \\setmainfont{{DejaVu Serif}}."
)
LISTED = 8  # of such characters
LONG = 40  # characters of words that are set on one line


def escape(text: str) -> str:
    """Return ``text`` so that LaTeX prints it as it stands; control characters are dropped."""
    characters = (SPECIAL.get(c, c) for c in text if c in SPECIAL or c == printable(c))
    return re.sub(r"-(?=-)", "-{}", "".join(characters))  # two hyphens would become a dash


def tex(report: ReportContext, sections: Sequence[Section]) -> str:
    """Return ``table.tex``; its head says what its reader loads."""
    return document([title_of(report), undertrained.warning(report)], sections)


def document(headings: Sequence[str], sections: Sequence[Section]) -> str:
    """Return sections under some headings as LaTeX; its head says what its reader loads."""
    parts = [_heading(text) for text in headings if text]
    for section in sections:
        if "tex" in section.forms:
            parts.append(_heading(section.title))
            parts += [text for part in section.parts for text in _part(part)]
    return "\n".join([*hints(parts), *parts]) + "\n"


def _heading(text: str) -> str:
    return f"\\par\\medskip\\textbf{{{escape(text)}}}\\par\\smallskip"


def _part(part: Part) -> list[str]:
    match part:
        case Text():
            bold, small = part.kind in ("sentence", "warning"), part.kind == "note"
            escaped = escape(part.with_command)
            text = f"\\textbf{{{escaped}}}" if bold else escaped
            return [f"{{\\footnotesize {text}\\par}}" if small else f"{text}\\par\\smallskip"]
        case Table():
            title = [_heading(part.title)] if part.title else []
            caption = f"\\par\\smallskip{{\\footnotesize {escape(part.caption)}\\par}}"
            return [*title, tabular(part), caption]
        case Notes():
            lines = [f"\\textbf{{{escape(part.heading)}.}}"] if part.heading else []
            lines += map(_note, part.notes)
            return ["{\\footnotesize\\raggedright\n" + "\\par\n".join(lines) + "\\par}"]
    return []


def _note(sentence: Note) -> str:
    return note(sentence.letter, " ".join(filter(None, (sentence.text, sentence.url))))


def note(letter: str, text: str) -> str:
    """Return a sentence below a table with its raised letter, "" for none."""
    return (f"{_sup(letter)}~" if letter else "") + escape(text)


def hints(parts: Sequence[str]) -> list[str]:
    """Return, as comments, which packages such parts need, and what to do where pdfLaTeX will not do."""
    foreign = sorted({c for part in parts for c in part if not c.isascii() and c not in LATIN})
    listed = ", ".join(foreign[:LISTED]) + (" ..." if len(foreign) > LISTED else "")
    return [*HINTS, *([FOREIGN.format(listed)] if foreign else [])]


def _column(kind: str, widest: int) -> str:
    """Return how a column is set: long words are broken into lines."""
    if kind == "left" and widest > LONG:
        return "p{.25\\linewidth}"
    return {"check": "c", "left": "l"}.get(kind, "r")


def tabular(table: Table) -> str:
    """Return one table as a bare ``tabular``."""
    left, n = len(table.stubs), [""] * table.counted
    kinds = ["left"] * left + [column.kind for column in table.columns]
    words = zip(*(line.words for line in table.lines), strict=True)
    widest = [max(map(len, cells)) for cells in words] or [0] * len(kinds)
    letters = "".join(map(_column, kinds, widest))
    lines = [f"\\begin{{tabular}}{{@{{}}{letters}{'r' * table.counted}@{{}}}}", "\\toprule"]
    for level in table.heads:
        cells, rules, at = [""] * left, "", left + 1
        for heading, span in level:
            cells.append(f"\\multicolumn{{{span}}}{{c}}{{{escape(heading)}}}")
            rules += f"\\cmidrule(lr){{{at}-{at + span - 1}}}" if heading else ""
            at += span
        lines += [_row([*cells, *n]), rules]
    lines.append(_row(head(table, FORM, [column.label for column in table.columns])))
    for i, (heading, rows) in enumerate(body(table, FORM)):
        lines.append("\\midrule" if i == 0 or heading else "\\addlinespace")
        if heading:
            width = left + len(table.columns) + table.counted
            lines.append(f"\\multicolumn{{{width}}}{{@{{}}l}}{{\\textit{{{heading}}}}} \\\\")
        lines += map(_row, rows)
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}"])


def _cell(cell: TableCell) -> str:
    wrap = {"best": "\\textbf{%s}", "second": "\\underline{%s}"}.get(cell.mark, "%s")
    text = wrap % escape(cell.mean)
    text += f" {{\\footnotesize\\ensuremath{{\\pm}} {escape(cell.sd)}}}" if cell.sd else ""
    text += f" {{\\footnotesize ({escape(cell.gain)})}}" if cell.gain else ""
    return (_italic(text) if cell.quoted else text) + _sup(cell.note)


def _italic(text: str) -> str:
    return f"\\textit{{{text}}}" if text else ""


def _sup(letter: str) -> str:
    return f"\\textsuperscript{{{letter}}}" if letter else ""


def _row(cells: list[str]) -> str:
    return " & ".join(cells) + " \\\\"


FORM = Form(escape, _cell, _sup, _italic, lambda text: f"\\quad{{\\footnotesize {escape(text)}}}")
