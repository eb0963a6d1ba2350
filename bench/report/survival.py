"""Does a verdict survive, where rows are tuned alike in one section and each for itself in another?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.protocol import from_scratch
from bench.protocol.comparable import way
from bench.report.context import ReportContext
from bench.report.numbers import difference
from bench.report.sections import Section
from bench.report.tabular import Table, grid
from bench.report.verdicts import BLIND, RowComparison, VerdictGroup
from bench.stats.comparison import UNCLEAR, WEIGHTS

HEADING = "Do the verdicts survive another tuning rule?"
HEAD = ("Row", "Tuned alike", "Tuned each", "Survives?")
SAME_RUNS = "the same runs"
# how weights move: what a tuning rule is about; all else must be alike
RECIPE = ("tune", "norm", "new", "loaded", "optimiser", "schedule", "clip", "frozen")


def sections(report: ReportContext, groups: Sequence[VerdictGroup]) -> list[Section]:
    """Return the two verdicts of each row, a table for every place that is tuned alike and tuned each."""
    by = {(group.section, group.fraction): group for group in groups}
    tables = tuple(
        table
        for alike, each, differs in _pairs(report)
        for fraction in sorted({f for s, f in by if s == alike} & {f for s, f in by if s == each})
        if (table := _survival(report, by[alike, fraction], by[each, fraction], differs)).lines
    )
    return [Section(HEADING, tables, "survival", "Other tuning", first=True)] if tables else []


def _pairs(report: ReportContext) -> Iterator[tuple[int, int, list[str]]]:
    """Yield sections of one data set, tuned alike and each, and in which keys they differ besides."""
    sections = report.protocol.finetune
    for alike, section in enumerate(sections):
        for each, other in enumerate(sections):
            same_data = (section.dataset, section.split) == (other.dataset, other.split)
            if section.tune or not other.tune or not same_data:
                continue
            differs = _differing(report, alike, each)
            if differs is not None:
                yield alike, each, differs


def _differing(report: ReportContext, alike: int, each: int) -> list[str] | None:
    """Return in which keys of the recipe scratch differs between two sections; None where in others, too."""
    protocol = report.protocol
    rows = [
        row
        for row in protocol.rows.values()
        if from_scratch(row) and {alike, each} <= {*protocol.sections_of(row)}
    ]
    tune = protocol.finetune[each].tune
    chosen = {key.partition(".")[0] for key in tune.grid[0]} if tune else set()
    keys = set[str]()
    for row in rows:
        first, second = way(protocol, alike, row), way(protocol, each, row)
        keys |= {k.partition(".")[0] for k in {**first, **second} if first.get(k) != second.get(k)}
    keys -= {"tune", "title", *chosen}
    if not protocol.finetune[alike].judged:  # then only the grid looks at patients that validate
        keys.discard("val")
    return sorted(keys) if rows and keys <= {*RECIPE} else None


def _survival(
    report: ReportContext, alike: VerdictGroup, each: VerdictGroup, differs: Sequence[str]
) -> Table:
    others = {row.key.row: row for row in (*each.rows, *each.controls)}
    unit = report.unit(alike.metric)
    lines = []
    for row in (*alike.rows, *alike.controls) if alike.metric == each.metric else ():
        if other := others.get(row.key.row):
            both = _verdict(row, unit), _verdict(other, unit)
            lines.append((report.named(row.key.row), *both, _survives(row, other)))
    lost = sum(line[-1].startswith("no ") or line[-1] == "no" for line in lines)
    note = f"Verdicts that differ between the two sections: {lost} of {len(lines)}."
    if any(SAME_RUNS in line[-1] for line in lines):
        note += f" {SAME_RUNS[0].upper()}{SAME_RUNS[1:]}: the row chose the settings of the first section."
    note += (
        f" The two sections also differ in these settings: {', '.join(differs)}." if differs else ""
    )
    names = (report.labels[group.section] for group in (alike, each))
    title = f"{' and '.join(names)}, {alike.fraction} % of the labels"
    return grid(HEAD, lines, title, note, words=range(len(HEAD)))


def _survives(alike: RowComparison, each: RowComparison) -> str:
    verdict = survives(alike.judged.verdict, each.judged.verdict)
    return f"{verdict} ({SAME_RUNS})" if alike.repeats(each) else verdict


def _verdict(row: RowComparison, unit: str) -> str:
    c = row.judged.comparison
    low, high = (difference(v, unit) for v in (c.low, c.high))
    within = f" [{low} to {high}]" if c.low == c.low else ""
    blind = " (blind)" if BLIND in row.judged.why else ""
    return f"{difference(c.difference, unit)}{within}, {row.judged.verdict}{blind}"


def survives(alike: str, each: str) -> str:
    """Say whether a verdict is the same under both rules; of what claims nothing, that there is none."""
    if WEIGHTS in (alike, each):
        return "not judged"
    if alike == each == UNCLEAR:
        return "nothing claimed"
    return "yes" if alike == each else "no"
