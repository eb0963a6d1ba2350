"""Methods beside methods: ranks with their intervals, and every pair that is fine-tuned alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from bench import stats
from bench.report.answer import SIGNS, p_value
from bench.report.cells import MEAN, Key
from bench.report.entries import number, signed
from bench.report.names import lower_is_better, metric_title
from bench.report.scene import Scene
from bench.report.verdicts import MANY, differences, judging, over_targets
from bench.stats.comparison import ROPE
from bench.stats.ranks import Ranks, kendall, ranks

HEADING = "How sure is the order?"
NOTE = (
    "Rank of the mean over patients and runs, with its 95 % interval over 1,000 draws of patients and runs "
    "(crossed bootstrap; too narrow with three runs or fewer) and the share of draws in which the row is the "
    "best: of rows that are fine-tuned alike, over the patients that all have. Beside the best: the paired "
    "difference from the first row, p adjusted by Holm over this table's pairs, so that a verdict may differ "
    "from that at the top of the page."
)


@dataclass(frozen=True)
class Rung:
    """One row of a ranking, in print."""

    row: str
    mean: str
    rank: str
    interval: str
    best: str  # how often, in percent
    beside: str  # the best: difference and interval
    verdict: str
    pairs: tuple[tuple[str, str], ...]  # beside each row of the ranking: sign, and words for a tooltip


@dataclass(frozen=True)
class Ranking:
    """Rows of one place that are fine-tuned alike, the best first."""

    title: str
    rungs: tuple[Rung, ...]
    tau: str  # how far other metrics agree with this order
    settled: str


def rankings(scene: Scene) -> list[Ranking]:
    """Return a ranking for every place where three or more rows may be compared."""
    made = [
        (section, fraction, rows)
        for section in range(len(scene.protocol.finetune))
        for fraction in sorted(scene.fractions(section))
        for rows in _alike(scene, section)
    ]
    pairs = sum(len(rows) * (len(rows) - 1) // 2 for *_, rows in made)
    return [found for place in made if (found := _ranking(scene, *place, every=pairs <= MANY))]


def _alike(scene: Scene, section: int) -> list[list[str]]:
    groups: dict[str, list[str]] = {}
    for row in scene.rows:
        if (row, section) in scene.alike and scene.has(row, section):
            groups.setdefault(scene.alike[row, section], []).append(row)
    return [rows for rows in groups.values() if len(rows) > 2]


def _ranking(
    scene: Scene, section: int, fraction: int, rows: Sequence[str], *, every: bool
) -> Ranking | None:
    metric = judging(scene, section)
    unit = scene.unit(metric)
    keys = [Key(row, section, fraction, MEAN, metric) for row in rows]
    found = _array(scene, keys)
    if found is None:
        return None
    kept, values, clusters = found
    ranked = ranks(values, higher=not lower_is_better(metric, unit), clusters=clusters)
    order = np.argsort(ranked.rank, kind="stable")
    keys = [kept[i] for i in order]
    pairs = _pairs(scene, keys, unit, every)
    rungs = tuple(
        Rung(
            row=scene.named(key.row),
            mean=number(float(ranked.mean[i]), unit),
            rank=f"{ranked.rank[i]:g}",
            interval=f"{ranked.low[i]:g} to {ranked.high[i]:g}",
            best=f"{100 * ranked.best[i]:.0f} %",
            beside=pairs[at][0][1].partition(",")[0] if at else "",
            verdict=pairs[at][0][2] if at else "",
            pairs=tuple((sign, words) for sign, words, _ in pairs[at]),
        )
        for at, (key, i) in enumerate(zip(keys, order, strict=True))
    )
    where = f"{scene.labels[section]}, {fraction} % of the labels"
    alone = scene.named(keys[0].row).rpartition(", ")[2] if len(_alike(scene, section)) > 1 else ""
    return Ranking(where + (f", {alone}" if alone else ""), rungs, _tau(scene, keys), _settled(ranked, order))


def _settled(ranked: Ranks, order: np.ndarray) -> str:
    """Say how many neighbours in the order have rank intervals apart."""
    apart = sum(bool(ranked.high[a] < ranked.low[b]) for a, b in pairwise(order))
    return f"{apart} of {len(order) - 1} neighbours have rank intervals apart."


def _array(scene: Scene, keys: list[Key]) -> tuple[list[Key], np.ndarray, list[int]] | None:
    """Return (rows, patients, runs) of those that have scores, NaN where a run is missing.

    Patients are those that all of them have: one that is missing from a row would change its mean alone.
    """
    scores = {key: found for key in keys if (found := scene.cells.scores(key)) is not None}
    if len(scores) < 3:
        return None
    patients = sorted(set.intersection(*({*one.patients} for one in scores.values())))
    runs = sorted({r for one in scores.values() for r in one.runs})
    values = np.full((len(scores), len(patients), len(runs)), np.nan)
    at = {run: i for i, run in enumerate(runs)}
    for i, one in enumerate(scores.values()):
        own = {patient: j for j, patient in enumerate(one.patients)}
        means = over_targets(one.values)[[own[patient] for patient in patients]]
        values[i][:, [at[run] for run in one.runs]] = means
    return list(scores), values, [pretrained for pretrained, _ in runs]


def _pairs(scene: Scene, keys: list[Key], unit: str, every: bool) -> list[list[tuple[str, str, str]]]:
    """Return for each row, beside each other: sign, words and verdict; all but the best only if ``every``."""
    blank = ("", "", "")
    made = [[blank] * (len(keys) if every else 1) for _ in keys]
    where = [(i, j) for i in range(len(keys)) for j in range(i if every else min(i, 1))]
    family = []
    for i, j in where:
        found = differences(scene, keys[i], keys[j])
        family.append(None if found is None else stats.compared(
            found[0], found[1], ROPE if unit == "1" else None, seeds=found[2], flips=False
        ))  # fmt: skip
    judged = iter(stats.judged([one for one in family if one is not None]))
    factor = 100 if unit == "1" else 1
    for (i, j), one in zip(where, family, strict=True):
        if one is None:
            continue
        said = next(judged)
        for a, b, sign in ((i, j, 1), (j, i, -1)):
            if b < len(made[a]):
                ends = sorted(sign * factor * v for v in (one.low, one.high))
                text = f"{signed(sign * factor * one.difference)} [{signed(ends[0])} to {signed(ends[1])}]"
                verdict = _turned(said.verdict, sign)
                p = "" if said.p != said.p else f", p {p_value(said.p)}"
                made[a][b] = (SIGNS[verdict], f"{text}, {verdict}{p}", verdict)
    return made


def _turned(verdict: str, sign: int) -> str:
    other = {"better": "worse", "worse": "better"}
    return other.get(verdict, verdict) if sign < 0 else verdict


def _tau(scene: Scene, keys: list[Key]) -> str:
    """Say how far the order by each other metric agrees with this one (Kendall's tau-b)."""
    own, section = keys[0].metric, keys[0].section
    said = []
    for metric in scene.metrics:
        cells = [scene.cells.at(key._replace(metric=metric)) for key in keys]
        if (
            metric == own
            or not scene.judges(metric, section)
            or any(c is None or c.mean is None for c in cells)
        ):
            continue
        sign = -1 if lower_is_better(metric, scene.unit(metric)) else 1
        means = [sign * (c.mean or 0.0) for c in cells if c is not None]
        tau = float(kendall(-np.arange(len(keys)), means)[0, 1])
        if tau == tau:
            said.append(f"{metric_title(metric)} {tau:.2f}".replace("-", "\N{MINUS SIGN}"))
    return (
        f"Agreement of the order with that by other metrics, Kendall's tau: {', '.join(said)}."
        if said
        else ""
    )
