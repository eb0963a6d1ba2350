"""What a page of a judgement holds, section by section, and its figure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from bench.errors import first_of
from bench.extras.judge.grids import against_table, over, pairing, pairs_table, rank_table
from bench.extras.judge.judgement import Judgement
from bench.extras.judge.judging import Standing, title
from bench.extras.judge.wording import difference, sentence
from bench.report.conclusion import SIGNS
from bench.report.figures import forest
from bench.report.names import metric_title
from bench.report.numbers import DASH
from bench.report.plots import Interval, line_of
from bench.report.redraw import Figure
from bench.report.sections import FILES, Part, Section, Text
from bench.report.tabular import Table, grid
from bench.stats.comparison import WEIGHTS

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
