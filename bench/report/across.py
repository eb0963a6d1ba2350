"""Rows over several data sets: mean ranks and Nemenyi's critical difference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.report.answer import p_value
from bench.report.cells import MEAN, Key
from bench.report.common import means_of
from bench.report.names import lower_is_better
from bench.report.scene import Scene
from bench.report.verdicts import judging
from bench.stats.critical import CriticalDifference, critical_difference

HEADING = "Over the data sets"
NOTE = (
    "Mean rank over the data sets, each counted once, by its own metric and its largest label fraction, over "
    "the patients, seeds and targets that all rows have there; 1 is the best. Where Friedman's p is below "
    "0.05, two rows whose bars do not meet differ (Nemenyi; Demšar 2006)."
)


@dataclass(frozen=True)
class Bar:
    """One row: its mean rank in print, and places in percent of the width."""

    row: str
    rank: str
    low: float
    mid: float
    high: float


@dataclass(frozen=True)
class Across:
    """Rows of one network over the data sets."""

    title: str
    said: str
    bars: tuple[Bar, ...]


def across(scene: Scene) -> list[Across]:
    """Return the rows that are fine-tuned alike on each of several data sets; nothing where there are few."""
    sections = _one_each(scene)
    if len(sections) < 2:
        return []
    groups: dict[tuple[str, ...], list[str]] = {}
    for row in scene.rows:
        if all((row, section) in scene.alike and scene.has(row, section) for section in sections):
            groups.setdefault(tuple(scene.alike[row, s] for s in sections), []).append(row)
    return [made for rows in groups.values() if (made := _of_rows(scene, rows, sections))]


def _one_each(scene: Scene) -> list[int]:
    """Return the first section of every data set."""
    first: dict[str, int] = {}
    for section, tuned in enumerate(scene.protocol.finetune):
        if judging(scene, section) and scene.fractions(section):
            first.setdefault(tuned.dataset, section)
    return list(first.values())


def _of_rows(scene: Scene, rows: list[str], sections: list[int]) -> Across | None:
    table = np.array([_scores(scene, rows, section) for section in sections]).T
    rows = [row for row, whole in zip(rows, np.isfinite(table).all(axis=1), strict=True) if whole]
    table = table[np.isfinite(table).all(axis=1)]
    if len(rows) < 3:
        return None
    found = critical_difference(table)
    order, half = np.argsort(found.rank, kind="stable"), found.difference / 2
    low, high = 1 - half, len(rows) + half

    def at(rank: float) -> float:
        return round(100 * (rank - low) / (high - low), 2)

    bars = tuple(
        Bar(
            scene.named(rows[i]), f"{found.rank[i]:.2f}", at(found.rank[i] - half), at(found.rank[i]),
            at(found.rank[i] + half),
        )
        for i in order
    )  # fmt: skip
    title = f"{len(rows)} rows over {len(sections)} data sets"
    return Across(title, _said(found, len(sections)), bars)


def _said(found: CriticalDifference, datasets: int) -> str:
    differ = "ranks differ" if found.p <= 0.05 else "ranks are not told apart"
    text = f"Friedman p {p_value(found.p)}: {differ}; critical difference {found.difference:.2f}."
    if datasets < found.needed:
        text += f" So many rows need {found.needed} data sets before anything can be said."
    return text


def _scores(scene: Scene, rows: list[str], section: int) -> np.ndarray:
    """Return the rows' means, more being better, over what those that have a mean have in common."""
    metric = judging(scene, section)
    keys = [Key(row, section, max(scene.fractions(section)), MEAN, metric) for row in rows]
    there = np.array([(cell := scene.cells.at(key)) is not None and cell.mean is not None for key in keys])
    found = np.full(len(rows), np.nan)
    found[there] = means_of(scene, [key for key, known in zip(keys, there, strict=True) if known])
    return -found if lower_is_better(metric, scene.unit(metric)) else found
