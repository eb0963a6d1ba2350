"""The page: one file with everything in it, readable without a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

from bench.report import glossary, not_run, pretrainings, undertrained, verdicts
from bench.report.captions import folded
from bench.report.conclusion import interval
from bench.report.contents import Contents
from bench.report.context import ReportContext
from bench.report.names import cautions
from bench.report.redraw import current_svg
from bench.report.sections import Notes, Section
from bench.report.tabular import COUNTS, Table, TableCell
from bench.report.tex import tabular
from bench.report.text import title_of

if TYPE_CHECKING:
    import jinja2

MOST_SIDE_BY_SIDE = 6  # columns; in a wider table the spread stands below the mean
# of a report alone, not of other pages in its form
NOT_OF_OTHERS = [
    "not_run",
    "cautions",
    "below",
    "undertrained",
    "control",
    "failed",
    "collapsed",
    "guesses",
    "changed",
]


@lru_cache
def template(name: str) -> jinja2.Template:
    """Return one of the pages in ``html``; what is put into it is escaped."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "html"),
        autoescape=True,  # by suffix it would be off for .j2
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["folded"] = folded
    environment.filters["words"] = glossary.on_page
    return environment.get_template(name)


def page(report: ReportContext, contents: Contents, folder: Path, seeds: int) -> str:
    """Return ``index.html``, with every figure inside it that is drawn and may be shown."""
    shown = pretrainings.shown(report)
    sections = [
        _for_page(report, section) for section in contents.sections if "page" in section.forms
    ]
    sections.sort(key=lambda section: not section.first)
    return template("page.html.j2").render(
        title=title_of(report),
        protocol=report.protocol,
        sections=sections,
        tip=_tips(report, contents),
        counts=COUNTS,
        tabular=tabular,
        svg=partial(current_svg, folder=folder),
        not_run=not_run.names(report),
        cautions=cautions(report.info.values()),
        below=undertrained.warning(report).removeprefix(undertrained.UNDERTRAINED),
        undertrained=undertrained.UNDERTRAINED,
        control=contents.control,
        failed=len({failure.job for failure in report.extras.failures}),
        collapsed=sum(p.collapsed for p in shown),
        guesses=sum(p.guesses for p in shown),
        changed=report.extras.changed,
        synthetic=report.synthetic,
        facts=_facts(report, seeds),
        stacked=MOST_SIDE_BY_SIDE,
        progress=report.extras.progress,
    )


def plain_page(
    name: str,
    titles: tuple[str, str],
    sections: Sequence[Section],
    facts: Sequence[tuple[str, str]],
    folder: Path,
    marks: tuple[str, str] = ("", ""),
) -> str:
    """Return the page of something other than a report, in the form of one.

    Args:
        name: in its badge, and of the files that it offers.
        titles: its title, and a line about it.
        sections: its content.
        facts: the few words at its top, by their names.
        folder: where the figures are drawn.
        marks: the scale of the records, and a mark for scores of synthetic scans; "" for none.
    """
    (title, about), (scale, synthetic) = titles, marks
    header = {"name": name, "title": title, "about": about, "scale": scale}
    header |= {"paper": "", "table": ""}
    return template("page.html.j2").render(
        title=title,
        protocol=SimpleNamespace(**header, scaled=bool(scale)),
        sections=sections,
        facts=facts,
        tip=lambda cell: cell.tip,
        counts=COUNTS,
        tabular=tabular,
        svg=partial(current_svg, folder=folder),
        synthetic=synthetic,
        stacked=MOST_SIDE_BY_SIDE,
        progress=None,
        **dict.fromkeys(NOT_OF_OTHERS, ""),
    )


def _for_page(report: ReportContext, section: Section) -> Section:
    """Return a section without the note on embeddings where these are drawn: it stands below them."""
    parts = [
        part
        for part in section.parts
        if not (report.extras.clouds and isinstance(part, Notes) and part.heading == "Embeddings")
    ]
    return replace(section, parts=tuple(parts))


def _tips(report: ReportContext, contents: Contents) -> Callable[[TableCell], str]:
    """Return what says all that is known of an entry: its interval, its counts, where its rows are."""
    tables = [
        part for section in contents.sections for part in section.parts if isinstance(part, Table)
    ]
    keyed = sum(e.key is not None for table in tables for line in table.lines for e in line.entries)
    few = keyed <= verdicts.MANY

    def tip(cell: TableCell) -> str:
        if cell.key is None:
            return cell.tip
        within = interval(report, cell.key) if few else ""
        rows = f"records/{report.protocol.name}.parquet: {report.location(cell.key)}"
        return "; ".join(filter(None, (within, cell.tip, rows)))

    return tip


def _facts(report: ReportContext, seeds: int) -> list[tuple[str, str]]:
    """Return the few numbers that stand at the top of the page."""
    places = report.protocol.finetune
    scored = [k for k, c in report.cells.cells.items() if c.mean is not None]
    done, measured = {k.row for k in scored}, {places[k.section].dataset for k in scored}
    titles = [
        report.info[d].title + (" (no results yet)" if measured and d not in measured else "")
        for d in dict.fromkeys(t.dataset for t in places)
    ]
    fractions = sorted({f for s in range(len(places)) for f in report.fractions(s)})
    seeded = "Seeds" if report.cells.probed else "Fine-tuning seeds"
    if all(t.draws for t in places):
        seeded = "Draws of patients"
    shares = ", ".join(f"{fraction} %" for fraction in fractions)
    return [
        ("Rows with results", f"{len(done)} of {len(report.rows)}"),
        ("Data sets" if len(titles) > 1 else "Data set", ", ".join(titles)),
        (f"Label fraction{'s' if len(fractions) > 1 else ''}", shares),
        (seeded, str(seeds)),
    ]
