"""The tables as LaTeX: one bare ``tabular`` per table (booktabs), notes as text below."""

from __future__ import annotations

import re

from bench.errors import printable
from bench.report import gate, pretrainings
from bench.report.footnotes import Footnotes
from bench.report.notes import Block
from bench.report.scene import Scene
from bench.report.tables import Entry, Line, Table
from bench.report.text import beside, title_of

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
}  # fmt: skip


def escape(text: str) -> str:
    """Return ``text`` so that LaTeX prints it as it stands; control characters are dropped."""
    kept = (SPECIAL.get(c, c) for c in text if c in SPECIAL or c == printable(c))
    return re.sub(r"-(?=-)", "-{}", "".join(kept))  # two hyphens would become a dash


def tex(scene: Scene, made: list[Table], notes: Footnotes, blocks: list[Block]) -> str:
    """Return ``table.tex``; its reader loads the package booktabs."""
    parts = [
        "% Generated. Needs \\usepackage{booktabs}.",
        "% A wide tabular fits the line inside \\resizebox{\\linewidth}{!}{...}.",
        f"\\textbf{{{escape(title_of(scene))}}}\\par\\medskip",
    ]
    if below := gate.warning(scene):
        parts.append(f"\\textbf{{{escape(below)}}}\\par\\medskip")
    for table in made:
        parts += [
            f"\\textbf{{{escape(table.title)}}}\\par\\smallskip",
            _tabular(table),
            f"\\par\\smallskip{{\\footnotesize {escape(table.caption)}}}\\par\\medskip",
        ]
    parts += _pretraining(scene)
    lines = [f"\\textsuperscript{{{k}}}~{escape(t)}" for t, k in notes.letters.items()]
    for block in blocks:
        lines.append(f"\\textbf{{{escape(block.heading)}.}}")
        lines += [escape(" ".join(p for p in (n.text, n.url) if p)) for n in block.notes]
    body = "\\par\n".join(lines)
    parts.append("{\\footnotesize\\raggedright\n" + body + "\\par}")
    return "\n".join(parts) + "\n"


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


def _tabular(table: Table) -> str:
    left = 1 + table.networks
    width = left + len(table.columns) + 1
    lines = [f"\\begin{{tabular}}{{@{{}}{'l' * left}{'r' * (width - left)}@{{}}}}", "\\toprule"]
    if table.heads:
        lines += _group_head(table, left)
    network = ["Network"] if table.networks else []
    lines += [_row(["Method", *network, *(escape(c.label) for c in table.columns), "\\textit{n}"])]
    for i, (heading, rows) in enumerate(table.groups):
        lines.append("\\midrule" if i == 0 or heading else "\\addlinespace")
        if heading:
            lines.append(f"\\multicolumn{{{width}}}{{@{{}}l}}{{\\textit{{{escape(heading)}}}}} \\\\")
        for line in rows:
            lines += _line(line, table.networks)
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}"])


def _group_head(table: Table, left: int) -> list[str]:
    cells, rules, at = [""] * left, [], left + 1
    for group, n in table.heads:
        cells.append(f"\\multicolumn{{{n}}}{{c}}{{{escape(group)}}}")
        rules.append(f"\\cmidrule(lr){{{at}-{at + n - 1}}}")
        at += n
    return [_row([*cells, ""]), "".join(rules)]


def _line(line: Line, networks: bool) -> list[str]:
    network = [escape(line.network)] if networks else []
    made = [_row([escape(line.title), *network, *map(_entry, line.entries), escape(line.n)])]
    if line.published:
        cells = [f"{{\\footnotesize {escape(beside(e))}}}" if e.published else "" for e in line.entries]
        label = "\\quad{\\footnotesize published (ours $-$ published)}"
        made.append(_row([label, *[""] * len(network), *cells, ""]))
    return made


def _entry(entry: Entry) -> str:
    wrap = {"best": "\\textbf{%s}", "second": "\\underline{%s}"}.get(entry.mark, "%s")
    text = wrap % escape(entry.mean)
    text += f" {{\\footnotesize\\ensuremath{{\\pm}} {escape(entry.sd)}}}" if entry.sd else ""
    return text + (f"\\textsuperscript{{{entry.note}}}" if entry.note else "")


def _row(cells: list[str]) -> str:
    return " & ".join(cells) + " \\\\"
