"""A judgement for people: page, Markdown, LaTeX, CSV, and what a terminal and a notebook show."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path

from bench.errors import printable
from bench.extras.judge.contents import cannot, figures, limits, read_sections, sections
from bench.extras.judge.grids import against_table, over, pairs_table, rank_table
from bench.extras.judge.judgement import Judgement
from bench.extras.judge.judging import Standing
from bench.extras.judge.wording import sentence
from bench.report import tex, text
from bench.report.footnotes import counted
from bench.report.names import metric_title
from bench.report.page import plain_page
from bench.report.redraw import refresh
from bench.report.sections import Section
from bench.report.spreadsheet import csv_text
from bench.report.tabular import Table
from bench.report.terminal import lines_of as terminal_lines
from bench.store import refuse_file, write_atomic

NAME, TITLE = "judge", "What may be said of these scores"
ABOUT = (
    "Methods compared over the cases that they share: paired differences with intervals, p after Holm, ties, "
    "ranks with intervals."
)
SHOWN = 40  # pairs of a scope that a terminal shows
PRINTED = 20  # data sets and metrics of which a terminal shows tables
OF_PAIR = """
dataset fraction target metric unit a b baseline n runs difference low high p p_holm verdict why of_these_weights
p_holm_of_these_weights p_equivalent p_equivalent_holm sd_patient sd_run sd_residual df detectable region only_a
only_b"""
OF_RANK = "dataset fraction target metric unit method mean rank low high best lacking"


def write(judgement: Judgement, folder: Path) -> Path:
    """Write ``index.html table.md table.tex pairs.csv ranks.csv`` and the figure; return the page."""
    refuse_file(folder)
    folder.mkdir(parents=True, exist_ok=True)
    drawn = figures(judgement)
    refresh(drawn, folder)
    shown = sections(judgement, drawn)
    in_files = [section for section in shown if "markdown" in section.forms]
    files = {
        "table.md": text.document(TITLE, ABOUT, in_files),
        "table.tex": tex.document([TITLE], in_files),
        "pairs.csv": csv_text(OF_PAIR.split(), _pair_lines(judgement)),
        "ranks.csv": csv_text(OF_RANK.split(), _rank_lines(judgement)),
        "index.html": plain_page(NAME, (TITLE, ABOUT), shown, _facts(judgement), folder),
    }
    for name, content in files.items():
        write_atomic(folder / name, content.encode("utf-8", "backslashreplace"))
    return folder / "index.html"


def as_text(judgement: Judgement, width: int = 200) -> str:
    """Return what was read, then what may be said over all targets, for a terminal."""
    parts = [terminal_lines(section, width) for section in read_sections(judgement)]
    parts += [printable(sentence(s, judgement)) for s in judgement.mains]
    for standing in judgement.mains[:PRINTED]:
        parts.append(terminal_lines(Section("", _printed(judgement, standing)), width))
    parts += [terminal_lines(section, width) for section in (*over(judgement), cannot(judgement))]
    many = counted(sum(len(s.against or s.pairs) for s in judgement.standings), "pair")
    parts.append(
        f"{many} in all: --to DIR and --json have each, with the cases that it leaves out."
    )
    return "\n\n".join(filter(None, parts))


def _printed(judgement: Judgement, standing: Standing) -> list[Table]:
    """Return the tables of a comparison for a terminal; many pairs are left to the page."""
    few = not standing.against and len(standing.pairs) <= SHOWN
    pairs = pairs_table(judgement, standing) if few else against_table(judgement, standing)
    return [table for table in (rank_table(standing), pairs) if table is not None]


def as_html(judgement: Judgement) -> str:
    """Return what a notebook shows: what was read, the sentences, the ranks and pairs over all targets."""
    blocks = [
        _html_table(part)
        for s in read_sections(judgement)
        for part in s.parts
        if isinstance(part, Table)
    ]
    blocks += [f"<p>{escape(w)}</p>" for w in (*judgement.table.warnings, *judgement.table.notes)]
    for standing in judgement.mains:
        blocks.append(f"<p><strong>{escape(sentence(standing, judgement))}</strong></p>")
        tables = (rank_table(standing), against_table(judgement, standing))
        blocks += [_html_table(table) for table in tables if table is not None]
    listed = "".join(f"<li>{escape(line)}</li>" for line in limits(judgement))
    return "\n".join([*blocks, f"<p>What these numbers cannot tell:</p><ul>{listed}</ul>"])


def _html_table(table: Table) -> str:
    head = "".join(
        f"<th>{escape(h)}</th>" for h in (*table.stubs, *(c.label for c in table.columns))
    )
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(word)}</td>" for word in line.words) + "</tr>"
        for line in table.lines
    )
    caption = f"<caption>{escape(table.title)}</caption>" if table.title else ""
    return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _facts(judgement: Judgement) -> list[tuple[str, str]]:
    frame = judgement.table.frame
    datasets = [name for name in frame["section"].cat.categories if name]
    return [
        ("Methods", str(len(frame["row"].cat.categories))),
        ("Scores", f"{len(frame):,}"),
        ("Data sets", ", ".join(datasets[:4]) or "one, without a name"),
        ("Metrics", ", ".join(metric_title(m) for m in judgement.table.measures)),
    ]


def _pair_lines(judgement: Judgement) -> Iterator[tuple[object, ...]]:
    for s in judgement.standings:
        for is_base, pairs in ((1, s.against), (0, s.pairs)):
            for p in pairs:
                c, j, w = p.judged.comparison, p.judged, p.of_weights
                yield (
                    s.scope.dataset,
                    s.scope.fraction,
                    s.scope.target,
                    s.scope.metric,
                    s.unit,
                    p.a,
                    p.b,
                    is_base,
                    c.patients,
                    p.runs,
                    c.difference,
                    c.low,
                    c.high,
                    c.p,
                    j.p,
                    j.verdict,
                    j.why,
                    w.verdict,
                    w.p,
                    c.p_equivalent,
                    j.p_equivalent,
                    c.sd_patient,
                    c.sd_run,
                    c.sd_residual,
                    c.df,
                    c.detectable,
                    c.rope or None,
                    len(p.only_a),
                    len(p.only_b),
                )


def _rank_lines(judgement: Judgement) -> Iterator[tuple[object, ...]]:
    for s in judgement.standings:
        r = s.ranks
        for i, method in enumerate(s.methods if r is not None else ()):
            assert r is not None
            yield (
                s.scope.dataset,
                s.scope.fraction,
                s.scope.target,
                s.scope.metric,
                s.unit,
                method,
                float(r.mean[i]),
                float(r.rank[i]),
                float(r.low[i]),
                float(r.high[i]),
                float(r.best[i]),
                s.lacking.get(method, 0),
            )
