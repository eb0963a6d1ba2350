"""Methods beside methods: ranks with their intervals, and every pair that is fine-tuned alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from bench import stats
from bench.report.cells import MEAN, Key
from bench.report.common import means_of
from bench.report.conclusion import SIGNS, reason
from bench.report.context import ReportContext
from bench.report.names import is_ranked, lower_is_better, metric_title
from bench.report.numbers import difference, number, p_value
from bench.report.scores import Scores, mean_of, shared
from bench.report.sections import PAGE, Part, Section, Text
from bench.report.tabular import Table, TableCell, grid
from bench.report.verdicts import MANY, differences_of, judging, region
from bench.stats.critical import CriticalDifference, critical_difference
from bench.stats.ranks import Ranks, kendall, ranks

HEADING = "How sure is the order?"
NOTE = (
    "Rows with the same fine-tuning are ranked by their mean over patients and runs. Only patients, seeds and "
    "targets that all of these rows have are counted, so a mean may differ from that in the table of scores. "
    "The 95 % interval of a rank comes from 1,000 draws of patients and runs (crossed bootstrap; too narrow "
    "with three runs or fewer). Best in: the share of these draws in which the row is the best. Minus the "
    "best: the paired difference from the first row. Holm adjusts p over the pairs of this table, so a "
    "verdict may differ from that at the top of the page."
)
HEAD = ("Row", "Mean", "Rank", "95 % interval", "Best in", "Minus the best", "Verdict")
LEGEND = (
    "Each sign compares the row at the left with the row at the top. ▲ better, ▼ worse, ≈ equivalent, "
    "? not separable, · these weights only. Point at a sign to see the difference."
)
WITHHELD = "no rank intervals: {row} has one run, and another seed may change the order"


class Ranking(NamedTuple):
    """Rows of one place that are fine-tuned alike, the best first."""

    title: str
    settled: str  # how many neighbours are apart, or why nobody knows
    table: Table
    pairs: Table | None  # every row beside every other


def sections(report: ReportContext) -> list[Section]:
    """Return the ranks of each place, and those over all data sets."""
    ranked, over = rankings(report), across(report)
    tables = [table for r in ranked for table in (r.table, r.pairs) if table is not None]
    note = [Text(NOTE, "note")] if ranked else []
    parts: list[Part] = [*tables, *note, *over]
    listed = "How sure the order is"
    return [Section(HEADING, parts, "order", listed, folded=True, forms=PAGE)] if parts else []


def rankings(report: ReportContext) -> list[Ranking]:
    """Return a ranking for every place where three or more rows may be compared."""
    places = [
        (section, fraction, rows)
        for section in range(len(report.protocol.finetune))
        for fraction in sorted(report.fractions(section))
        for rows in _alike(report, section)
    ]
    pairs = sum(len(rows) * (len(rows) - 1) // 2 for *_, rows in places)
    return [
        ranking
        for arguments in places
        if (ranking := _ranking(report, *arguments, every=pairs <= MANY))
    ]


def _alike(report: ReportContext, section: int) -> list[list[str]]:
    groups: dict[str, list[str]] = {}
    for row in report.rows:
        if (row, section) in report.alike and report.has(row, section):
            groups.setdefault(report.alike[row, section], []).append(row)
    return [rows for rows in groups.values() if len(rows) > 2]


def _ranking(
    report: ReportContext, section: int, fraction: int, rows: Sequence[str], *, every: bool
) -> Ranking | None:
    metric = judging(report, section)
    unit = report.unit(metric)
    rows = [row for row in rows if (row, section, fraction) not in report.unlearned]
    keys = [Key(row, section, fraction, MEAN, metric) for row in rows]
    scores_of = {key: scores for key in keys if (scores := report.cells.scores(key)) is not None}
    if len(scores_of) < 3:
        return None
    both = dict(zip(scores_of, shared([*scores_of.values()]), strict=True))
    values, clusters = stacked([*both.values()])
    order_given = [*both]
    lone = [i for i, of_row in enumerate(values) if (~np.isnan(of_row)).any(axis=0).sum() == 1]
    ranked = ranks(values, higher=not lower_is_better(metric, unit), clusters=clusters)
    order = np.argsort(ranked.rank, kind="stable")
    keys = [order_given[i] for i in order]
    pairs = _pairs(report, keys, both, unit, every)
    lines = [
        (
            report.named(key.row),
            number(float(ranked.mean[i]), unit),
            f"{ranked.rank[i]:g}",
            "" if lone else f"{ranked.low[i]:g} to {ranked.high[i]:g}",
            "" if lone else f"{100 * ranked.best[i]:.0f} %",
            pairs[at][0].numbers if at else "",
            pairs[at][0].verdict if at else "",
        )
        for at, (key, i) in enumerate(zip(keys, order, strict=True))
        if not np.isnan(ranked.rank[i])
    ]
    if not lines:
        return None
    who = "every row"
    if len(lone) != len(order_given):
        who = "; ".join(report.named(order_given[i].row) for i in lone)
    settled = WITHHELD.format(row=who) if lone else _settled(ranked, order)
    where = f"{report.labels[section]}, {fraction} % of the labels"
    alone = (
        report.named(keys[0].row).rpartition(", ")[2] if len(_alike(report, section)) > 1 else ""
    )
    where += f", {alone}" if alone else ""
    table = grid(HEAD, lines, f"{where}: {settled}", _tau(report, keys), words=(6,))
    return Ranking(
        where, settled, table, _matrix(where, [line[0] for line in lines], pairs) if every else None
    )


def _matrix(where: str, rows: Sequence[str], pairs: Sequence[Sequence[Pair]]) -> Table:
    """Return the sign of every row beside every other, with words on hover."""
    numbers = [str(n) for n in range(1, len(rows) + 1)]
    lines: list[Sequence[str | TableCell]] = [
        (f"{n} {row}", *(TableCell(pair.sign, tip=pair.words) for pair in of_row))
        for n, row, of_row in zip(numbers, rows, pairs, strict=False)
    ]
    table = grid(["Row against", *numbers], lines, f"{where}: all pairs of rows", LEGEND)
    columns = tuple(replace(column, kind="check") for column in table.columns)
    return replace(table, columns=columns, folded=True)


def _settled(ranked: Ranks, order: np.ndarray) -> str:
    """Say how many neighbours in the order have rank intervals that overlap."""
    overlap = sum(bool(ranked.high[a] >= ranked.low[b]) for a, b in pairwise(order))
    pairs = len(order) - 1
    return f"The rank intervals overlap in {overlap} of {pairs} pairs of neighbouring rows."


def stacked(rows: Sequence[Scores]) -> tuple[np.ndarray, list[int]]:
    """Return (rows, patients, runs), NaN where a row has no such run, and each run's pretraining seed."""
    runs = sorted({run for scores in rows for run in scores.runs})
    values = np.full((len(rows), len(rows[0].patients), len(runs)), np.nan)
    at = {run: i for i, run in enumerate(runs)}
    for i, scores in enumerate(rows):
        values[i][:, [at[run] for run in scores.runs]] = mean_of(scores.values, 2)
    return values, [pretrained for pretrained, _ in runs]


class Pair(NamedTuple):
    """A row beside another, in print: empty where the two have nothing in common."""

    sign: str = ""
    numbers: str = ""  # difference and interval
    verdict: str = ""  # the verdict, with its reason
    p: str = ""

    @property
    def words(self) -> str:
        """All of it in a line."""
        return f"{self.numbers}, {self.verdict}{self.p}" if self.sign else ""


def _pairs(
    report: ReportContext, keys: list[Key], scores: Mapping[Key, Scores], unit: str, every: bool
) -> list[list[Pair]]:
    """Return for each row, beside each other, what is said of the two; all but the best only if ``every``."""
    pairs = [[Pair()] * (len(keys) if every else 1) for _ in keys]
    where = [(i, j) for i in range(len(keys)) for j in range(i if every else min(i, 1))]
    within = region(report, keys[0])
    rope = within.rope if within else None
    family: list[stats.Comparison | None] = []
    for i, j in where:
        paired = differences_of(report, keys[i], keys[j], scores[keys[i]], scores[keys[j]])
        comparison = None
        if paired is not None:
            values, clusters, seeds = paired
            comparison = stats.compared(values, clusters, rope, seeds=seeds, flips=False)
        family.append(comparison)
    judged = iter(stats.judged([comparison for comparison in family if comparison is not None]))
    for (i, j), comparison in zip(where, family, strict=True):
        if comparison is None:
            continue
        found_so = next(judged)
        p = "" if found_so.p != found_so.p else f", p {p_value(found_so.p)}"
        why = reason(found_so)
        for a, b, sign in ((i, j, 1), (j, i, -1)):
            if b < len(pairs[a]):
                low, high = (
                    difference(v, unit)
                    for v in sorted(sign * v for v in (comparison.low, comparison.high))
                )
                verdict = _turned(found_so.verdict, sign)
                gap = f"{difference(sign * comparison.difference, unit)} [{low} to {high}]"
                text = f"{verdict} ({why})" if why else verdict
                pairs[a][b] = Pair(SIGNS[verdict], gap, text, p)
    return pairs


def _turned(verdict: str, sign: int) -> str:
    other = {"better": "worse", "worse": "better"}
    return other.get(verdict, verdict) if sign < 0 else verdict


def _tau(report: ReportContext, keys: list[Key]) -> str:
    """Say how far the order by each other metric agrees with this one (Kendall's tau-b)."""
    main, section = keys[0].metric, keys[0].section
    agreements = []
    for metric in report.metrics:
        means = means_of(report, [key._replace(metric=metric) for key in keys])
        known = report.judges(metric, section) and is_ranked(metric)
        if metric == main or not known or np.isnan(means).any():
            continue
        means *= -1 if lower_is_better(metric, report.unit(metric)) else 1
        tau = kendall(-np.arange(len(keys)), means)
        if tau == tau:
            agreements.append(f"{metric_title(metric)} {tau:.2f}".replace("-", "\N{MINUS SIGN}"))
    if not agreements:
        return ""
    before = "Kendall's tau between this order of rows and the order by another metric (1: the same order): "
    return f"{before}{', '.join(agreements)}."


# Rows over several data sets: mean ranks and Nemenyi's critical difference.
ACROSS = ("Row", "Mean rank", "± half the critical difference")
ACROSS_NOTE = (
    "Mean rank over the data sets; rank 1 is the best. Each data set counts once, with its own metric and its "
    "largest label fraction, on the patients, seeds and targets that all rows have. If Friedman's p is "
    "below 0.05, rows with separate intervals differ (Nemenyi; Demšar 2006)."
)


def across(report: ReportContext) -> list[Table]:
    """Return the rows that are fine-tuned alike on each of several data sets; nothing where there are few."""
    sections = _one_each(report)
    if len(sections) < 2:
        return []
    groups: dict[tuple[str, ...], list[str]] = {}
    for row in report.rows:
        if all((row, section) in report.alike and report.has(row, section) for section in sections):
            groups.setdefault(tuple(report.alike[row, s] for s in sections), []).append(row)
    return [table for rows in groups.values() if (table := _of_rows(report, rows, sections))]


def _one_each(report: ReportContext) -> list[int]:
    """Return the first section of every data set on which something is trained."""
    first: dict[str, int] = {}
    for section, tuned in enumerate(report.protocol.finetune):
        if tuned.external is None and judging(report, section) and report.fractions(section):
            first.setdefault(tuned.dataset, section)
    return list(first.values())


def _of_rows(report: ReportContext, rows: list[str], sections: list[int]) -> Table | None:
    table = np.array([_scores(report, rows, section) for section in sections]).T
    rows = [
        row for row, complete in zip(rows, np.isfinite(table).all(axis=1), strict=True) if complete
    ]
    table = table[np.isfinite(table).all(axis=1)]
    if len(rows) < 3:
        return None
    friedman = critical_difference(table)
    half = friedman.difference / 2
    lines = [
        (report.named(rows[i]), f"{rank:.2f}", f"{rank - half:.2f} to {rank + half:.2f}")
        for i in np.argsort(friedman.rank, kind="stable")
        for rank in [friedman.rank[i]]
    ]
    title = (
        f"{len(rows)} rows over {len(sections)} data sets: {_significance(friedman, len(sections))}"
    )
    return grid(ACROSS, lines, title, ACROSS_NOTE)


def _significance(friedman: CriticalDifference, datasets: int) -> str:
    differ = "ranks differ" if friedman.p <= 0.05 else "no difference between ranks is shown"
    text = f"Friedman p {p_value(friedman.p)}: {differ}; critical difference {friedman.difference:.2f}."
    if datasets < friedman.needed:
        rows = len(friedman.rank)
        text += f" With {rows} rows, a conclusion needs at least {friedman.needed} data sets."
    return text


def _scores(report: ReportContext, rows: list[str], section: int) -> np.ndarray:
    """Return the rows' means, more being better, over what those that have a mean have in common."""
    metric = judging(report, section)
    keys = [Key(row, section, max(report.fractions(section)), MEAN, metric) for row in rows]
    scored = np.array(
        [(cell := report.cells.at(key)) is not None and cell.mean is not None for key in keys]
    )
    means = np.full(len(rows), np.nan)
    means[scored] = means_of(
        report, [key for key, has_mean in zip(keys, scored, strict=True) if has_mean]
    )
    return -means if lower_is_better(metric, report.unit(metric)) else means
