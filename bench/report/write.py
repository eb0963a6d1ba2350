"""Write a report: tables as Markdown, LaTeX and CSV, figures, and one page."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from bench.protocol import Protocol
from bench.report import index
from bench.report.cells import aggregate
from bench.report.contents import contents_of
from bench.report.context import ReportContext
from bench.report.names import dataset_info
from bench.report.page import page
from bench.report.published import Published
from bench.report.redraw import refresh
from bench.report.spreadsheet import table_csv, verdicts_csv
from bench.report.supplement import Extras, ReportPaths
from bench.report.terminal import terminal
from bench.report.tex import tex
from bench.report.text import markdown
from bench.report.verdicts import uncompared
from bench.store import write_atomic

if TYPE_CHECKING:
    import pandas as pd

WIDTH, NARROWEST = 120, 40  # characters of a line where there is no terminal; of one at least
NOTED = [  # columns of which the notes speak
    "section",
    "row",
    "fraction",
    "seed",
    "params",
    "pretrain",
    "init",
    "split_hash",
    "task",
    "n_train",
    "status",
    "patient",
    "case",
]


def write(
    protocol: Protocol,
    records: pd.DataFrame,
    to: Path,
    extras: Extras | None = None,
    figures: bool = True,
) -> ReportPaths:
    """Draw a report from rows alone and return where its files are.

    Args:
        protocol: decides the order, the layout and the names of rows.
        records: columns of ``bench.record.COLUMNS``; may be empty.
        to: the report's own folder, created if missing.
        extras: what rows do not carry.
        figures: draw those that are out of date; otherwise the page shows those that are current.

    Raises:
        BenchError: the records mix scales, or do not belong to this protocol.
    """
    report = context_of(protocol, records, extras or Extras())
    few = records[[*NOTED]].drop_duplicates()  # notes say what there is, not how often
    contents = contents_of(report, few)
    to.mkdir(parents=True, exist_ok=True)
    drawn = refresh(contents.figures, to) if figures else ()
    index.put(index.summary(report, contents.groups, contents.sentence, contents.control), to)
    if contents.groups or any(uncompared(report)):
        _put(to / "verdicts.csv", verdicts_csv(report, contents.groups))
    else:
        (to / "verdicts.csv").unlink(missing_ok=True)
    seeds = few.loc[few["status"] != "failed", "seed"].nunique()
    return ReportPaths(
        markdown=_put(to / "table.md", markdown(report, contents.sections)),
        tex=_put(to / "table.tex", tex(report, contents.sections)),
        csv=_put(to / "table.csv", table_csv(report)),
        page=_put(to / "index.html", page(report, contents, to, seeds)),
        figures=drawn,
        text=terminal(report, contents.sections, terminal_width()),
    )


def plain_text(protocol: Protocol, records: pd.DataFrame, extras: Extras) -> str:
    """Return a report for a terminal in the paper's own look, without verdicts, intervals and ranks."""
    report = context_of(protocol, records, extras)
    sections = contents_of(report, records[[*NOTED]].drop_duplicates(), plain=True).sections
    return terminal(report, sections, terminal_width())


def terminal_width() -> int:
    """Return the characters of a line on this terminal; ``WIDTH`` in a file or a pipe."""
    return max(NARROWEST, shutil.get_terminal_size((WIDTH, 24)).columns)


def context_of(protocol: Protocol, records: pd.DataFrame, extras: Extras) -> ReportContext:
    """Return what a report is made of.

    Raises:
        BenchError: the records mix scales, or do not belong to this protocol.
    """
    info = {t.dataset: dataset_info(t.dataset, extras) for t in protocol.finetune}
    cells = aggregate(protocol, records)
    return ReportContext(protocol, cells, extras, info, Published(protocol, extras.published))


def _put(path: Path, text: str) -> Path:
    write_atomic(path, text.encode("utf-8", "backslashreplace"), flush=False)
    return path
