"""Do scores differ between groups of patients, such as sex or scanner, and more so than from scratch?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from bench import stats
from bench.dataset import natural
from bench.report.cells import MEAN, Key
from bench.report.context import ReportContext
from bench.report.footnotes import counted
from bench.report.names import metric_title
from bench.report.numbers import DASH, MINUS, TIMES, difference, number, p_value
from bench.report.scores import aligned, mean_of
from bench.report.sections import Section, Text
from bench.report.tabular import COUNTS, Table, TableCell, grid
from bench.report.verdicts import judging, run_seeds
from bench.stats.unpaired import LEAST, Gap, gaps, gaps_of

HEADING = "Do scores differ between groups of patients?"
HOW = (
    "In brackets: number of patients. Gap: the largest group mean minus the smallest. The interval of the gap "
    "covers patients and runs."
)
PICKED = (
    " The pair with the largest gap is picked from all pairs of a row, so the interval has {share} % for each "
    "pair, and Holm adjusts p over all pairs of the row."
)
TOO_FEW = " Too few: with so few patients no exact test gives p below 0.05."
WEIGHTS = (
    " With one run, one pretraining or one fine-tuning seed the gap holds for these weights, not for the method: "
    "{rows}."
)
PAIRS = (
    "Gap minus scratch's: the row's gap minus the gap of scratch, for the same groups, patients and runs. A "
    "positive value means that the gap moves towards the first group. Each pair has a 95 % interval. Holm adjusts "
    "p over all pairs of a row."
)
MOST = 12  # groups of a column that are compared
FEW = "too few"  # patients, for any p below 0.05
GAP = ("Gap", "95 % interval", "p")


@dataclass(frozen=True)
class GroupedBy:
    """One section, label fraction and metric, and a column that divides its patients."""

    section: int
    fraction: int
    metric: str
    column: str
    groups: Mapping[str, str]  # patient: group

    def key(self, row: str) -> Key:
        """Return a row's cell."""
        return Key(row, self.section, self.fraction, MEAN, self.metric)


@dataclass(frozen=True, eq=False)
class Divided:
    """Scores of one row by group, (patients, the same runs) each; two groups or more of two patients or more."""

    scores: dict[str, np.ndarray]
    # of pretraining and of fine-tuning, of each run
    seeds: tuple[list[int] | None, list[int] | None]

    @property
    def runs(self) -> int:
        """How many there are."""
        return int(next(iter(self.scores.values())).shape[1])

    @property
    def of_weights(self) -> bool:
        """Whether there is one run, or one pretraining or one fine-tuning seed behind all."""
        clusters, seeds = self.seeds
        pretrainings = 0 if clusters is None else len({*clusters})
        return bool(stats.alone(self.runs, pretrainings, seeds))

    @cached_property
    def gaps(self) -> list[Gap]:
        """Compare every two groups, the widest gap first."""
        return gaps([*self.scores.values()], *self.seeds)


def sections(report: ReportContext) -> list[Section]:
    """Return, for each column by which a protocol divides a data set, means, gaps and pairs."""
    parts: list[Text | Table] = []
    for index, section in enumerate(report.protocol.finetune):
        grouping, metric = report.protocol.groups.get(section.dataset), judging(report, index)
        for column in grouping.by if grouping and metric else ():
            stated = report.extras.groups.get(section.dataset, {})
            groups = {who: of[column] for who, of in stated.items() if column in of}
            for fraction in sorted(report.fractions(index)):
                parts += _parts(report, GroupedBy(index, fraction, metric, column, groups))
    return [Section(HEADING, tuple(parts), "groups", "Groups", first=True)] if parts else []


def _parts(report: ReportContext, by: GroupedBy) -> list[Text | Table]:
    """Return both tables of a column, or a line that says why there is none."""
    tested = _tested(report, by)
    sizes = Counter(by.groups[who] for who in tested if who in by.groups)
    names = sorted((name for name, n in sizes.items() if n >= LEAST), key=natural)
    left_out = _left_out(by, tested, sizes)
    where = f"{report.labels[by.section]}, {by.fraction} % of the labels"
    title = f"{metric_title(by.metric)} by {by.column}, {where}"
    if tested and not 2 <= len(names) <= MOST:
        why = f"{counted(len(names), 'group')} of {LEAST} patients or more; a comparison needs 2 to {MOST}"
        return [Text(f"{title}: {why}.{left_out}", "warning")]
    return _tables(report, by, names, title, left_out)


def _tables(
    report: ReportContext, by: GroupedBy, names: Sequence[str], title: str, left_out: str
) -> list[Text | Table]:
    """Return a table of means and widest gaps, and one of pairs; none where no row can be divided."""
    every = {row: _divided(report, by, names, row) for row in report.rows}
    rows = {row: divided for row, divided in every.items() if divided is not None}
    if not rows:
        return []
    lines = [_means(report, by, names, row, divided) for row, divided in rows.items()]
    few = any(gap.too_few for divided in rows.values() for gap in divided.gaps)
    caption = HOW + left_out + _how(report, rows, len(names), few=few)
    pairs = [line for row, divided in rows.items() for line in _pairs(report, by, row, divided)]
    head = ("Row", "Groups", *GAP, "Gap minus scratch's", *GAP[1:])
    each = grid(head, pairs, f"{title}: each pair", PAIRS, words=[1])
    return [grid(("Row", *names, *GAP, COUNTS), lines, title, caption), replace(each, folded=True)]


def _how(report: ReportContext, rows: Mapping[str, Divided], groups: int, *, few: bool) -> str:
    """Return what else the numbers of a table need: several pairs, few patients, weights that are alone."""
    text = ""
    if groups > 2:
        count = groups * (groups - 1) // 2
        text += PICKED.format(share=f"{100 * (1 - 0.05 / count):.3g}")
    text += TOO_FEW if few else ""
    lone = [report.named(row) for row, divided in rows.items() if divided.of_weights]
    return text + (WEIGHTS.format(rows="; ".join(lone)) if lone else "")


def _tested(report: ReportContext, by: GroupedBy) -> list[str]:
    """Return the patients that any row has a score of."""
    every = (report.cells.scores(by.key(row)) for row in report.rows)
    return sorted({who for scores in every if scores is not None for who in scores.patients})


def _left_out(by: GroupedBy, tested: Sequence[str], sizes: Mapping[str, int]) -> str:
    """Return who is in no group, and which groups are too small, in words."""
    text, without = "", [who for who in tested if who not in by.groups]
    if without:
        text += (
            f" Left out: {len(without)} of {counted(len(tested), 'patient')} without an entry in "
            f"{by.column} (the first is {without[0]})."
        )
    small = sorted((name for name, n in sizes.items() if n < LEAST), key=natural)
    if small:
        shown = ", ".join(small[:MOST])
        text += (
            f" Left out: {counted(len(small), 'group')} of fewer than {LEAST} patients ({shown})."
        )
    return text


def _divided(
    report: ReportContext, by: GroupedBy, names: Sequence[str], row: str, baseline: str = ""
) -> Divided | None:
    """Return a row's scores by group, or how far they are above a baseline's.

    None where fewer than two groups have scores.
    """
    scores = report.cells.scores(by.key(row))
    if scores is None:
        return None
    patients, runs, values = scores.patients, scores.runs, scores.values
    if baseline:
        base = report.cells.scores(by.key(baseline))
        if base is None:
            return None
        ours, theirs, patients, runs = aligned(scores, base)
        values = ours - theirs
    if not values.size:
        return None
    group_of = np.array([by.groups.get(who, "") for who in patients], object)
    inside, complete = _divide(mean_of(values, 2), group_of, names)
    if len(inside) < 2:
        return None
    used = [run for run, has in zip(runs, complete, strict=True) if has]
    return Divided(inside, run_seeds(report, row, baseline or row, used))


def _divide(
    table: np.ndarray, group_of: np.ndarray, names: Sequence[str]
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return (patients, runs) of each group that is not too small, where it has values; and which runs all have."""
    has_value = ~np.isnan(table)
    members = {name: (group_of == name) & has_value.any(axis=1) for name in names}
    members = {name: rows for name, rows in members.items() if rows.sum() >= LEAST}
    in_each = [has_value[rows].any(axis=0) for rows in members.values()]
    complete = np.all(in_each, axis=0) if in_each else np.zeros(table.shape[1], bool)
    inside = {name: table[rows][:, complete] for name, rows in members.items()}
    inside = {name: of[~np.isnan(of).all(axis=1)] for name, of in inside.items()}
    return {name: of for name, of in inside.items() if len(of) >= LEAST}, complete


def _means(
    report: ReportContext, by: GroupedBy, names: Sequence[str], row: str, divided: Divided
) -> tuple[str | TableCell, ...]:
    """Return a row's mean of each group, and its widest gap."""
    every, unit, inside = divided.gaps, report.unit(by.metric), [*divided.scores]
    mean_of: dict[str, float] = {}
    for gap in every:
        means = reversed(gap.change.means)  # a change is from the second group to the first
        mean_of |= {inside[at]: mean for at, mean in zip(gap.groups, means, strict=True)}
    cells = [
        f"{number(mean_of[name], unit)} ({len(divided.scores[name])})" if name in mean_of else DASH
        for name in names
    ]
    widest, patients = every[0], sum(map(len, divided.scores.values()))
    cells += [difference(widest.change.mean, unit), _interval(widest.low, widest.high, unit)]
    return report.named(row), *cells, _p(widest), f"{divided.runs} {TIMES} {patients}"


def _pairs(
    report: ReportContext, by: GroupedBy, row: str, divided: Divided
) -> list[tuple[str | TableCell, ...]]:
    """Return a line for each pair of a row's groups: its gap, and that less the gap of scratch."""
    every, unit, names = divided.gaps, report.unit(by.metric), [*divided.scores]
    named = [(names[a], names[b]) for a, b in (gap.groups for gap in every)]
    beyond = _beyond_scratch(report, by, row, named)
    return [
        (
            report.named(row),
            f"{first} {MINUS} {second}",
            *_entries(gap, unit),
            *(_entries(beyond[first, second], unit) if (first, second) in beyond else ("",) * 3),
        )
        for gap, (first, second) in zip(every, named, strict=True)
    ]


def _beyond_scratch(
    report: ReportContext, by: GroupedBy, row: str, pairs: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], Gap]:
    """Return how much wider each gap is than that of the row from scratch, paired; none of scratch itself."""
    near = report.nearest.get((row, by.section))
    unlearned = near and (near[0], by.section, by.fraction) in report.unlearned
    if near is None or near[0] == row or near[1] or unlearned:
        return {}
    names = list(dict.fromkeys(name for pair in pairs for name in pair))
    divided = _divided(report, by, names, row, near[0])
    if divided is None:
        return {}
    inside = [*divided.scores]
    both = [pair for pair in pairs if {*pair} <= {*inside}]
    at = [(inside.index(first), inside.index(second)) for first, second in both]
    return dict(zip(both, gaps_of(at, [*divided.scores.values()], *divided.seeds), strict=True))


def _entries(gap: Gap, unit: str) -> tuple[str, str, str]:
    change = gap.change
    return (difference(change.mean, unit), _interval(change.low, change.high, unit), _p(gap))


def _interval(low: float, high: float, unit: str) -> str:
    return f"{difference(low, unit)} to {difference(high, unit)}"


def _p(gap: Gap) -> str:
    return FEW if gap.too_few else p_value(gap.p)
