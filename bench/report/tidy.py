"""Every cell as a line of ``table.csv``, in the unit of the records (overlap: 0 to 1)."""

from __future__ import annotations

import csv
import io
from itertools import product

from bench.protocol import row_of
from bench.report import spreadsheet
from bench.report.cells import MEAN, Cell, Key
from bench.report.entries import minus_published
from bench.report.footnotes import state
from bench.report.scene import Scene

CSV_COLUMNS = (
    "row",
    "method",
    "network",
    "section",
    "dataset",
    "split",
    "evaluation",
    "fraction",
    "target",
    "metric",
    "unit",
    "mean",
    "sd",
    "n_runs",
    "n_patients",
    "n_cases",
    "values",
    "undefined",
    "penalised",
    "failed",
    "published",
    "difference",
    "state",
)


def tidy(scene: Scene) -> str:
    """Return ``table.csv``: one line per cell, in the unit of the records (overlap: 0 to 1).

    A name that a spreadsheet would run gets an apostrophe before it.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    places = [
        (section, fraction, target)
        for section in range(len(scene.protocol.finetune))
        for fraction in scene.fractions(section)
        for target in (*scene.targets(section), MEAN)
    ]
    for metric, row, place in product(scene.metrics, scene.rows, places):
        if scene.has(row, place[0]):
            writer.writerow(_tidy_line(scene, Key(row, *place, metric)))
    for metric, row, place in product(scene.metrics, scene.protocol.published_only, places):
        if scene.printed(Key(row, *place, metric)):
            writer.writerow(_tidy_line(scene, Key(row, *place, metric)))
    return out.getvalue()


def _tidy_line(scene: Scene, key: Key) -> tuple[str, ...]:
    known, _ = row_of(scene.protocol, key.row)
    place = scene.protocol.finetune[key.section]
    found = scene.cells.at(key)
    cell = found or Cell()
    printed = scene.printed(key)
    return (
        *map(
            spreadsheet.cell,
            (
                key.row,
                known.method if known else "",
                known.network if known else "",
                scene.protocol.sections[key.section],
                place.dataset,
                place.split,
                place.evaluation,
                str(key.fraction),
                "mean" if key.target == MEAN else key.target,
                key.metric,
                scene.unit(key.metric),
            ),
        ),
        spreadsheet.number(cell.mean),
        spreadsheet.number(cell.sd),
        *map(
            str,
            (
                cell.runs,
                cell.patients,
                cell.cases,
                cell.values,
                cell.undefined,
                cell.penalised,
                cell.failed,
            ),
        ),
        spreadsheet.number(printed.number if printed else None),
        spreadsheet.number(minus_published(scene, key)),
        "published" if key.row in scene.protocol.published_only else state(scene, key, found),
    )
