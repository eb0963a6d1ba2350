"""The tables as LaTeX: one bare ``tabular`` per table (booktabs), notes as text below."""

from __future__ import annotations

import re
from collections.abc import Sequence

from bench.errors import printable
from bench.report import gate, pretrainings, sensitivity, survival, verdict_table, verdicts
from bench.report.answer import Answer
from bench.report.footnotes import COUNTS, Footnotes
from bench.report.notes import Block
from bench.report.scene import Scene
from bench.report.tabular import Column, Entry, Line, Table
from bench.report.text import title_of

SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    '"': "''",  # \textquotedbl exists in T1 fonts only
    "[": "{[}", "]": "{]}", "*": "{*}",  # after \\ a bare [ or * would be read as its argument
    "`": r"\textasciigrave{}",
    "\n": " ", "\r": " ", "\t": " ", "\N{NO-BREAK SPACE}": "~",
    "±": r"\ensuremath{\pm}", "\N{MINUS SIGN}": r"\ensuremath{-}",
    "\N{MULTIPLICATION SIGN}": r"\ensuremath{\times}", "\N{EM DASH}": r"\textemdash{}",
    "\N{EN DASH}": r"\textendash{}", "†": r"\textsuperscript{\dag}", "·": r"\textperiodcentered{}",
    "→": r"\ensuremath{\rightarrow}", "…": r"\ldots{}", "\N{MICRO SIGN}": r"\ensuremath{\mu}",
    "≤": r"\ensuremath{\leq}", "≥": r"\ensuremath{\geq}", "°": r"\ensuremath{^\circ}",
    "✓": r"\ensuremath{\surd}",
}  # fmt: skip


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


def escape(text: str) -> str:
    """Return ``text`` so that LaTeX prints it as it stands; control characters are dropped."""
    kept = (SPECIAL.get(c, c) for c in text if c in SPECIAL or c == printable(c))
    return re.sub(r"-(?=-)", "-{}", "".join(kept))  # two hyphens would become a dash


def tex(
    scene: Scene, made: list[Table], notes: Footnotes, blocks: list[Block], found: Answer | None = None
) -> str:  # fmt: skip
    """Return ``table.tex``; its head says what its reader loads. ``found``: what stands beside scratch."""
    parts = [f"\\textbf{{{escape(title_of(scene))}}}\\par\\medskip"]
    if below := gate.warning(scene):
        parts.append(f"\\textbf{{{escape(below)}}}\\par\\medskip")
    parts += _sensitivity(found) if found is not None and found.sensitivity.any else []
    for table in made:
        parts += [
            f"\\textbf{{{escape(table.title)}}}\\par\\smallskip",
            tabular(table),
            f"\\par\\smallskip{{\\footnotesize {escape(table.caption)}}}\\par\\medskip",
        ]
    parts += _against(found) if found is not None and found.any else []
    parts += _pretraining(scene)
    lines = [f"\\textsuperscript{{{k}}}~{escape(t)}" for t, k in notes.letters.items()]
    for block in blocks:
        lines.append(f"\\textbf{{{escape(block.heading)}.}}")
        lines += [escape(" ".join(p for p in (n.text, n.url) if p)) for n in block.notes]
    body = "\\par\n".join(lines)
    parts.append("{\\footnotesize\\raggedright\n" + body + "\\par}")
    return "\n".join([*_hints(parts), *parts]) + "\n"


def _hints(parts: Sequence[str]) -> list[str]:
    """Return, as comments, which packages such parts need, and what to do where pdfLaTeX will not do."""
    foreign = sorted({c for part in parts for c in part if not c.isascii() and c not in LATIN})
    some = ", ".join(foreign[:LISTED]) + (" ..." if len(foreign) > LISTED else "")
    return [*HINTS, *([FOREIGN.format(some)] if foreign else [])]


def _against(found: Answer) -> list[str]:
    made = []
    for title, caption, lines in verdict_table.lines(found):
        made.append(f"\\textbf{{{escape(verdicts.HEADING)} {escape(title)}}}\\par\\smallskip")
        made += _lined("lrrrlr", verdict_table.HEAD, lines, caption)
    made.insert(0, f"\\textbf{{{escape(found.sentence)}}}\\par\\smallskip")
    made.append(f"{{\\footnotesize {escape(found.notes)}}}\\par\\medskip")
    for one in found.survivals:
        made.append(f"\\textbf{{{escape(survival.HEADING)} {escape(one.title)}}}\\par\\smallskip")
        made += _lined("llll", survival.HEAD, one.lines, one.note)
    return made


def _sensitivity(found: Answer) -> list[str]:
    seen = found.sensitivity
    made = [f"\\textbf{{{escape(sensitivity.HEADING)}}}\\par\\smallskip"]
    made += [f"\\textbf{{{escape(text)}}}\\par\\smallskip" for text in seen.blind]
    made += [f"{escape(text)}\\par\\smallskip" for text in seen.sentences]
    return made + (_lined("llrrlrrrr", sensitivity.HEAD, seen.lines, sensitivity.NOTE) if seen.lines else [])


def _lined(columns: str, head: Sequence[str], lines: Sequence[Sequence[str]], caption: str) -> list[str]:
    """Return a table of words, and what stands below it."""
    rows = [_row([escape(c) for c in cells]) for cells in (head, *lines)]
    return [
        f"\\begin{{tabular}}{{@{{}}{columns}@{{}}}}", "\\toprule", rows[0], "\\midrule", *rows[1:],
        "\\bottomrule", "\\end{tabular}",
        f"\\par\\smallskip{{\\footnotesize {escape(caption)}}}\\par\\medskip",
    ]  # fmt: skip


def _pretraining(scene: Scene) -> list[str]:
    made = pretrainings.pretexts(scene)
    if not made:
        return []
    columns = "l" * pretrainings.LEFT + "r" * (len(pretrainings.HEAD) - pretrainings.LEFT)
    rows = [_row([escape(c) for c in cells]) for cells in (pretrainings.HEAD, *(line.all for line in made))]
    return [
        f"\\textbf{{{pretrainings.HEADING}}}\\par\\smallskip",
        f"\\begin{{tabular}}{{@{{}}{columns}@{{}}}}", "\\toprule", rows[0], "\\midrule", *rows[1:],
        "\\bottomrule", "\\end{tabular}",
        f"\\par\\smallskip{{\\footnotesize {escape(pretrainings.NOTE)}}}\\par\\medskip",
    ]  # fmt: skip


def tabular(table: Table) -> str:
    """Return one table as a bare ``tabular``."""
    left = len(table.stubs)
    width = left + len(table.columns) + table.counted
    kinds = "".join("c" if c.kind == "check" else "r" for c in table.columns) + "r" * table.counted
    lines = [f"\\begin{{tabular}}{{@{{}}{'l' * left}{kinds}@{{}}}}", "\\toprule"]
    for level in table.heads:
        lines += _group_head(level, left, table.counted)
    n = [escape(COUNTS)] if table.counted else []
    lines += [_row([*map(escape, table.stubs), *map(_heading, table.columns), *n])]
    for i, (heading, rows) in enumerate(table.groups):
        lines.append("\\midrule" if i == 0 or heading else "\\addlinespace")
        if heading:
            lines.append(f"\\multicolumn{{{width}}}{{@{{}}l}}{{\\textit{{{escape(heading)}}}}} \\\\")
        for line in rows:
            lines += _line(table, line)
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}"])


def _heading(column: Column) -> str:
    return _quoted(escape(column.label), column.quoted) + _sup(column.note)


def _quoted(text: str, quoted: bool) -> str:
    return f"\\textit{{{text}}}" if quoted and text else text


def _sup(letter: str) -> str:
    return f"\\textsuperscript{{{letter}}}" if letter else ""


def _group_head(level: list[tuple[str, int]], left: int, counted: bool) -> list[str]:
    """Return one level of headings over columns, and the rules below it."""
    cells, rules, at = [""] * left, [], left + 1
    for group, n in level:
        cells.append(f"\\multicolumn{{{n}}}{{c}}{{{escape(group)}}}")
        rules += [f"\\cmidrule(lr){{{at}-{at + n - 1}}}"] if group else []
        at += n
    return [_row([*cells, *([""] if counted else [])]), "".join(rules)]


def _line(table: Table, line: Line) -> list[str]:
    labels = [*map(escape, line.labels)]
    labels[table.leaf] = _quoted(labels[table.leaf], line.kind == "quoted") + _sup(line.note)
    made = [_row([*labels, *map(_entry, line.entries), *([escape(line.n)] if table.counted else [])])]
    if line.published:
        cells = [
            f"{{\\footnotesize {escape(e.beside)}{_sup(e.erratum)}}}" if e.published else ""
            for e in line.entries
        ]
        said = f"\\quad{{\\footnotesize {table.beside} (ours $-$ published)}}"
        label = [said if i == table.leaf else "" for i in range(len(table.stubs))]
        made.append(_row([*label, *cells, *([""] if table.counted else [])]))
    return made


def _entry(entry: Entry) -> str:
    wrap = {"best": "\\textbf{%s}", "second": "\\underline{%s}"}.get(entry.mark, "%s")
    text = wrap % escape(entry.mean)
    text += f" {{\\footnotesize\\ensuremath{{\\pm}} {escape(entry.sd)}}}" if entry.sd else ""
    text += f" {{\\footnotesize ({escape(entry.gain)})}}" if entry.gain else ""
    return _quoted(text, entry.quoted) + _sup(entry.note)


def _row(cells: list[str]) -> str:
    return " & ".join(cells) + " \\\\"
