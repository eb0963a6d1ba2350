"""What a report holds: its sections in the order of print, and its figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from bench.report import (
    conclusion,
    costs,
    external,
    footnotes,
    notes,
    pretrainings,
    ranking,
    survival,
    worst,
)
from bench.report import groups as patient_groups
from bench.report.context import ReportContext
from bench.report.figures import wanted
from bench.report.footnotes import Footnotes
from bench.report.redraw import Figure
from bench.report.sections import PAGE, Note, Notes, Section, Text
from bench.report.sensitivity import Sensitivity, sensitivity
from bench.report.tables import tables
from bench.report.tabular import Table
from bench.report.verdicts import VerdictGroup, positive_control, verdicts

if TYPE_CHECKING:
    import pandas as pd

LATE = ("curves", "pretext", "pretraining_steps", "pretraining_cases", "embeddings", "training")


@dataclass(frozen=True)
class Contents:
    """The sections of a report, its figures, and what is compared with scratch."""

    sections: list[Section]
    figures: list[Figure]
    groups: list[VerdictGroup]
    sentence: str = ""  # the answer
    control: dict[str, str] = field(default_factory=dict)  # of `positive_control`


def contents_of(report: ReportContext, records: pd.DataFrame, plain: bool = False) -> Contents:
    """Return what a report holds; ``plain``: without verdicts, intervals and ranks."""
    groups = [] if plain else verdicts(report)
    seen = Sensitivity() if plain else sensitivity(report, groups)
    doses = conclusion.dose_figures(report, groups)
    forests = conclusion.forest_figures(report, groups)
    figures = [*doses, *wanted(report)]
    late = [figure for figure in figures if figure.name.startswith(LATE)]
    summary = Text("") if plain else conclusion.sentence(report, groups)
    sections = [
        *seen.sections,
        *table_sections(*tables(report, ran=True)),
        *conclusion.sections(report, groups, summary, forests),
        *survival.sections(report, groups),
        *([] if plain else external.sections(report)),
        *([] if plain else patient_groups.sections(report)),
        *([] if plain else ranking.sections(report)),
        *_drawn([figure for figure in figures if figure not in late], "figures"),
        *([] if plain else worst.sections(report)),
        *pretrainings.sections(report),
        *_drawn(late),
        *costs.sections(report),
        *footnotes.failed_jobs(report),
        *notes.sections(report, records),
    ]
    text = seen.after(summary.with_command)
    return Contents(sections, [*figures, *forests], groups, text, positive_control(groups))


def table_sections(tables: Sequence[Table], letters: Footnotes) -> list[Section]:
    """Return a section for each table of scores, and one of their footnotes."""
    sections = [
        Section(table.title, (replace(table, title=""),), *(() if n else ("table", "Tables")))
        for n, table in enumerate(tables)
    ]
    lines = tuple(Note(text, letter=letter) for text, letter in letters.letters.items())
    return [*sections, *([Section("Footnotes", (Notes("", lines),))] if lines else [])]


def _drawn(figures: Sequence[Figure], anchor: str = "") -> list[Section]:
    """Return a section for each figure; the first one is listed at the top of a page under ``anchor``."""
    sections = [Section(figure.title, (figure,), forms=PAGE) for figure in figures]
    if sections and anchor:
        sections[0] = replace(sections[0], anchor=anchor, listed=anchor.capitalize())
    return sections
