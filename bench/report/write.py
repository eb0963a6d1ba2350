"""Write a report: tables as Markdown, LaTeX and CSV, figures, and one page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench.protocol import Protocol
from bench.report import index
from bench.report.answer import answer, dose_figures, forest_figures
from bench.report.cells import aggregate
from bench.report.figures import wanted
from bench.report.grouping import distinct
from bench.report.names import dataset_info
from bench.report.notes import blocks
from bench.report.page import Content, page
from bench.report.published import Published
from bench.report.redraw import refresh
from bench.report.scene import Scene
from bench.report.supplement import Extras, ReportPaths
from bench.report.tables import tables
from bench.report.terminal import terminal
from bench.report.tex import tex
from bench.report.text import markdown, tidy
from bench.report.verdict_table import verdicts_csv
from bench.report.verdicts import verdicts
from bench.store import write_atomic

if TYPE_CHECKING:
    import pandas as pd

WIDTH = 120  # characters of a terminal
SAID = [  # columns of which the notes speak
    "section", "row", "fraction", "seed", "params", "pretrain", "init", "split_hash", "task", "n_train",
    "status", "patient", "case",
]  # fmt: skip


def write(
    protocol: Protocol, records: pd.DataFrame, to: Path, extras: Extras | None = None, figures: bool = True,
    plain: bool = False,
) -> ReportPaths:  # fmt: skip
    """Draw a report from rows alone and return where its files are.

    Args:
        protocol: decides the order, the layout and the names of rows.
        records: columns of ``bench.record.COLUMNS``; may be empty.
        to: the report's own folder, created if missing.
        extras: what rows do not carry.
        figures: draw those that are out of date; otherwise the page shows those that are current.
        plain: the paper's own look, without verdicts, intervals and ranks.

    Raises:
        BenchError: the records mix scales, or do not belong to this protocol.
    """
    scene = scene_of(protocol, records, extras or Extras())
    made, notes = tables(scene)
    few = distinct(records, SAID)  # notes say what there is, not how often
    said = blocks(scene, few)
    places = [] if plain else verdicts(scene)
    found = None if plain else answer(scene, places)
    seeds = few.loc[few["status"] != "failed", "seed"].nunique()
    to.mkdir(parents=True, exist_ok=True)
    plans = [*dose_figures(scene, places), *wanted(scene), *forest_figures(scene, places)]
    drawn = refresh(plans, to) if figures else ()
    index.put(index.summary(scene, places, found), to)
    content = Content(made, notes, said, plans, to, seeds, found)
    if places:
        _put(to / "verdicts.csv", verdicts_csv(scene, places))
    else:
        (to / "verdicts.csv").unlink(missing_ok=True)
    return ReportPaths(
        markdown=_put(to / "table.md", markdown(scene, made, notes, said, found)),
        tex=_put(to / "table.tex", tex(scene, made, notes, said, found)),
        csv=_put(to / "table.csv", tidy(scene)),
        page=_put(to / "index.html", page(scene, content)),
        figures=drawn,
        text=terminal(scene, made, notes, WIDTH, found),
    )


def terminal_table(
    protocol: Protocol, records: pd.DataFrame, extras: Extras | None = None, width: int = WIDTH
) -> str:
    """Return the tables as plain text for a terminal of ``width`` characters, footnotes below.

    Raises:
        BenchError: the records mix scales, or do not belong to this protocol.
    """
    scene = scene_of(protocol, records, extras or Extras())
    return terminal(scene, *tables(scene), width)


def scene_of(protocol: Protocol, records: pd.DataFrame, extras: Extras) -> Scene:
    """Return what a report is made of.

    Raises:
        BenchError: the records mix scales, or do not belong to this protocol.
    """
    info = {t.dataset: dataset_info(t.dataset, extras) for t in protocol.finetune}
    cells = aggregate(protocol, records)
    return Scene(protocol, cells, extras, info, Published(protocol, extras.published))


def _put(path: Path, text: str) -> Path:
    write_atomic(path, text.encode("utf-8", "backslashreplace"), flush=False)
    return path
