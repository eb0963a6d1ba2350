"""Which values stand behind a mean, and whose means are of the same: the place that decides who is compared.

Gains, marks, differences to what a paper printed, and the notes under tables and figures ask here.
``bench.report.scores`` keeps, by the same rule, what two or more rows have in common, for verdicts and ranks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from bench.protocol import View, row_of
from bench.report import selected
from bench.report.cells import MEAN, Key
from bench.report.differences import run_means
from bench.report.scene import Scene
from bench.report.scores import shared

APART = "not of the patients, runs and targets that the other rows have, so without a mark"


def usual(scene: Scene, keys: Iterable[Key]) -> int:
    """Return what most of some cells are the mean of; 0 where none has a number.

    Of as many, that of more patients and values, then the first.
    """
    cells = [
        cell for key in keys if (cell := scene.cells.at(key)) is not None and cell.mean is not None
    ]
    often = Counter(cell.over for cell in cells)
    best = max(
        cells, key=lambda c: (often[c.over], c.patients, c.values - c.undefined), default=None
    )
    return 0 if best is None else best.over


def rivals(scene: Scene, key: Key) -> list[Key]:
    """Return the cells at the same place of rows that are fine-tuned as this row is, controls left out."""
    own = key.row.removesuffix(row_of(scene.protocol, key.row)[1])
    alike = scene.ways.get((own, key.section))
    if alike is None:
        return []
    return [
        key._replace(row=row) for row in scene.rows if scene.alike.get((row, key.section)) == alike
    ]


def stands(scene: Scene, key: Key) -> bool:
    """Tell whether a cell is whole: no run of it failed, and its mean is of what its rivals' means are of."""
    cell = scene.cells.at(key)
    if cell is None or cell.mean is None or cell.failed:
        return False
    among = rivals(scene, key)
    return not among or cell.over == usual(scene, among)


def same(scene: Scene, key: Key, other: Key) -> bool:
    """Tell whether two cells are means of the same patients, runs and targets."""
    one, two = scene.cells.at(key), scene.cells.at(other)
    return one is not None and two is not None and one.over == two.over != 0


def apart(scene: Scene, keys: Sequence[Key]) -> tuple[str, ...]:
    """Return a sentence that names the cells, among some, that are of other patients, runs or targets."""
    found: dict[str, dict[str, None]] = {}
    for key in keys:
        cell, among = scene.cells.at(key), rivals(scene, key)
        if (
            cell is not None
            and cell.mean is not None
            and among
            and cell.over != usual(scene, among)
        ):
            share = f"{scene.labels[key.section]}, {key.fraction} %"
            place = share if key.target == MEAN else f"{share}, {key.target}"
            found.setdefault(scene.named(key.row), {})[place] = None
    named = "; ".join(f"{row} ({'; '.join(places)})" for row, places in found.items())
    return (f"{OTHERS} {named}.",) if found else ()


def means_of(scene: Scene, keys: Sequence[Key]) -> np.ndarray:
    """Return the means of cells, (cells,), over the patients, runs and targets that all of them have.

    As in the table: over patients, then targets, then runs. NaN where there is nothing in common. Of values
    over all test cases at once the cells' own means, where these are of the same folds and runs.
    """
    cells, scores = [scene.cells.at(key) for key in keys], [scene.cells.scores(key) for key in keys]
    if not cells or any(cell is None or cell.mean is None for cell in cells):
        return np.full(len(keys), np.nan)
    own = np.array([cell.mean for cell in cells if cell is not None], float)
    if len({cell.over for cell in cells if cell is not None}) == 1:
        return own
    known = [one for one in scores if one is not None]
    if len(known) < len(keys):
        return np.full(len(keys), np.nan)
    return np.array([_mean_of(run_means(one.values)) for one in shared(known)])


def apart_in(scene: Scene, view: View) -> tuple[str, ...]:
    """Return the same of all that a view shows."""
    rows = selected.rows(scene.protocol, view, scene.rows)
    return apart(
        scene, [place._replace(row=row) for row in rows for place in selected.places(scene, view)]
    )


def _mean_of(values: np.ndarray) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


OTHERS = (
    "Not comparable with the rows beside them, for other patients, runs or targets have scores:"
)
