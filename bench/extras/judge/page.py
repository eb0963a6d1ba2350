"""A judgement for people: page, Markdown, LaTeX, CSV, and what a terminal and a notebook show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from html import escape
from itertools import chain
from pathlib import Path

from bench.errors import first_of, printable
from bench.extras.judge.grids import against_table, over, pairing, pairs_table, rank_table
from bench.extras.judge.judgement import Judgement
from bench.extras.judge.judging import Standing, title
from bench.extras.judge.wording import difference, sentence
from bench.report import tex, text
from bench.report.conclusion import SIGNS
from bench.report.figures import forest
from bench.report.footnotes import counted
from bench.report.names import metric_title
from bench.report.numbers import DASH
from bench.report.page import plain_page
from bench.report.plots import Interval, line_of
from bench.report.redraw import Figure, refresh
from bench.report.sections import FILES, Part, Section, Text
from bench.report.spreadsheet import csv_text
from bench.report.tabular import Table, grid
from bench.report.terminal import lines_of as terminal_lines
from bench.stats.comparison import WEIGHTS
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
    parts = chain.from_iterable(section.parts for section in read_sections(judgement))
    blocks = [_html_table(part) for part in parts if isinstance(part, Table)]
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
                    *(*_scope(s), p.a, p.b, is_base, c.patients, p.runs),
                    *(c.difference, c.low, c.high, c.p),
                    *(j.p, j.verdict, j.why, w.verdict, w.p, c.p_equivalent, j.p_equivalent),
                    *(c.sd_patient, c.sd_run, c.sd_residual, c.df, c.detectable, c.rope or None),
                    *(len(p.only_a), len(p.only_b)),
                )


def _rank_lines(judgement: Judgement) -> Iterator[tuple[object, ...]]:
    for s in judgement.standings:
        r = s.ranks
        for i, method in enumerate(s.methods if r is not None else ()):
            assert r is not None
            numbers = [float(each[i]) for each in (r.mean, r.rank, r.low, r.high, r.best)]
            yield (*_scope(s), method, *numbers, s.lacking.get(method, 0))


def _scope(s: Standing) -> tuple[object, ...]:
    return s.scope.dataset, s.scope.fraction, s.scope.target, s.scope.metric, s.unit


# What a page of a judgement holds, section by section, and its figure.
DRAWN = 60  # rows of the forest plot
CANNOT = (
    "Whether the runs were independent. Several fine-tunings of one pretraining are not: name it with "
    "--pretraining.",
    "Whether the {noun}s are independent. Scans of one patient, or slices of one scan, are not: name the "
    "patient with --patient or --patients.",
    "Whether the test set, the metric or the methods were chosen after the scores were seen. Then p is "
    "too small and intervals are too narrow.",
    "Whether test cases were in somebody's training or pretraining data.",
    "Whether all scores were computed by the same code, convention and resolution.",
)
HOW = (
    "Difference: mean over {noun}s and runs, each paired; positive is better, whatever the metric. The 95 % "
    "interval covers {noun}s, and runs where there are several (two-way random effects, Satterthwaite); it is "
    "not adjusted. Printed p: test of no difference, adjusted by Holm (1979) over the pairs of one table. "
    "Better or worse: p below 0.05. Equivalent (checked first): p below 0.05 in the test of a difference "
    "beyond the region, adjusted in the same way."
)
OF_ONE_RUN = (
    "Each method has one run, so nothing can be said of methods. Every verdict is of these weights only: "
    "another training may give another order."
)
RANKING = (
    "Rank of the mean over the {noun}s and runs that all methods have. The interval, and the share of draws "
    "in which a method is the best, are from 1,000 draws of {noun}s and runs (crossed bootstrap; too narrow "
    "with three runs or fewer). Where each method has one run, only {noun}s are drawn."
)


def sections(judgement: Judgement, drawn: Sequence[Figure]) -> list[Section]:
    """Return all that a page holds; ``drawn``: its figures."""
    mains, noun = judgement.mains, judgement.table.noun
    claims: list[Part] = [Text(sentence(s, judgement), "sentence") for s in mains]
    claims += [*drawn, *_tables(judgement, mains), Text(RANKING.format(noun=noun), "note")]
    pairs: list[Part] = [
        *(pairs_table(judgement, s) for s in mains),
        Text(HOW.format(noun=noun), "note"),
    ]
    others = [s for s in judgement.standings if s not in mains]
    return [
        *read_sections(judgement),
        Section("What may be said", claims, "answer", "What may be said"),
        cannot(judgement),
        _folded("Every pair", "pairs", pairs),
        *over(judgement),
        *([_folded("Each target", "targets", _tables(judgement, others))] if others else []),
        _folded("Which cases pair", "pairing", [pairing(judgement)]),
    ]


def _folded(heading: str, anchor: str, parts: Sequence[Part]) -> Section:
    return Section(heading, parts, anchor, heading, folded=True, forms=FILES)


def _tables(judgement: Judgement, standings: Sequence[Standing]) -> list[Table]:
    """Return the ranks, and where there is one the baseline's table, of each."""
    both = [(rank_table(s), against_table(judgement, s)) for s in standings]
    return [table for tables in both for table in tables if table is not None]


def read_sections(judgement: Judgement) -> list[Section]:
    """Return the section that says what was taken for what, what was left out, and who lacks cases."""
    table = judgement.table
    parts: list[Part] = [
        grid(("What", "Read from", "Holds"), table.roles, words=(1, 2)),
        *(Text(line, "warning") for line in table.warnings),
        *(Text(f"{line[0].upper()}{line[1:]}.") for line in table.notes),
        *(Text(line) for line in lacking(judgement)),
    ]
    return [Section("What was read", parts, "read", "What was read")]


def lacking(judgement: Judgement) -> Iterator[str]:
    """Yield which methods lack cases that others have: they are compared over what both have."""
    for standing in judgement.mains:
        if standing.lacking:
            names = sorted(standing.lacking.items(), key=lambda item: -item[1])
            listed = first_of([f"{name} lacks {n}" for name, n in names], 5)
            noun = judgement.table.noun
            yield (
                f"{title(standing.scope)}: {noun}s are missing: {listed}. A pair is compared over what both "
                f"have. Ranks are over the {standing.patients} that all have."
            )


def limits(judgement: Judgement) -> list[str]:
    """Return what no table can tell, a sentence each."""
    return [line.format(noun=judgement.table.noun) for line in CANNOT]


def cannot(judgement: Judgement) -> Section:
    """Return the section on what no table can tell."""
    parts: list[Part] = [Text(f"{DASH} {line}") for line in limits(judgement)]
    if all(s.lone for s in judgement.standings):
        parts.insert(0, Text(OF_ONE_RUN, "warning"))
    if judgement.table.noun == "data set":
        parts.append(
            Text(f"{DASH} How sure the number of one data set is. Here each counts as one case.")
        )
    return Section("What this page cannot know", parts, "limits", "What this page cannot know")


def figures(judgement: Judgement) -> list[Figure]:
    """Return the forest plot: methods beside their baseline, else beside the best."""
    first = judgement.mains[0]
    rows = list[Interval]()
    for standing in judgement.mains:
        if standing.scope.metric == first.scope.metric:
            rows += _intervals(standing)
    if not rows:
        return []
    against = judgement.baseline or ("the baseline" if first.against else "the best")
    unit = "points" if first.unit == "1" else first.unit or "own unit"
    axis = f"{metric_title(first.scope.metric)} ({unit}) against {against}"
    figure = forest(tuple(rows[:DRAWN]), axis, against=against)
    cut = f"The first {DRAWN} of {len(rows)} differences are drawn. The tables have all."
    return [replace(figure, captions=(cut,) if len(rows) > DRAWN else ())]


def _intervals(standing: Standing) -> Iterator[Interval]:
    best, group = standing.methods[0], title(standing.scope)
    pairs = standing.against or [standing.pair(m, best) for m in standing.methods[1:]]
    for pair in pairs:
        if pair is not None and pair.judged.comparison.low == pair.judged.comparison.low:
            heading = group if standing.against else f"{group}: against {best}"
            judged = pair.judged.verdict
            printed = f"{SIGNS[judged]} {judged}"
            if judged == WEIGHTS:
                judged = pair.of_weights.verdict
                printed = f"of these weights: {judged}"
            c = pair.judged.comparison
            yield line_of(
                (pair.a, heading), (judged, printed), c, standing.unit, c.rope, words=difference
            )
