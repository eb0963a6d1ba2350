"""The page: one file with everything in it, readable without a network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench.report import gate, pretrainings, verdicts
from bench.report.answer import interval
from bench.report.contents import Contents
from bench.report.redraw import current_svg
from bench.report.scene import Scene
from bench.report.sections import Notes, Section
from bench.report.tabular import COUNTS, Entry, Table
from bench.report.tex import tabular
from bench.report.text import title_of

if TYPE_CHECKING:
    import jinja2

MOST_SIDE_BY_SIDE = 6  # columns; in a wider table the spread stands below the mean


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
    return environment.get_template(name)


def page(scene: Scene, contents: Contents, folder: Path, seeds: int) -> str:
    """Return ``index.html``, with every figure inside it that is drawn and may be shown.

    Args:
        scene: what is drawn.
        contents: its sections.
        folder: where the figures are drawn.
        seeds: how many of fine-tuning ran.
    """
    shown = pretrainings.shown(scene)
    sections = [
        _for_page(scene, section) for section in contents.sections if "page" in section.forms
    ]
    sections.sort(key=lambda section: not section.first)
    return template("page.html.j2").render(
        title=title_of(scene),
        protocol=scene.protocol,
        sections=sections,
        tip=_tips(scene, contents),
        counts=COUNTS,
        tabular=tabular,
        svg=partial(current_svg, folder=folder),
        below=gate.warning(scene).removeprefix(gate.UNDERTRAINED),
        undertrained=gate.UNDERTRAINED,
        blind=contents.blind,
        failed=len({failure.job for failure in scene.extras.failures}),
        collapsed=sum(p.collapsed for p in shown),
        guesses=sum(p.guesses for p in shown),
        synthetic=scene.synthetic,
        facts=_facts(scene, seeds),
        stacked=MOST_SIDE_BY_SIDE,
        progress=scene.extras.progress,
    )


def _for_page(scene: Scene, section: Section) -> Section:
    """Return a section without the note on embeddings where these are drawn: it stands below them."""
    if not scene.extras.clouds:
        return section
    parts = [
        part
        for part in section.parts
        if not (isinstance(part, Notes) and part.heading == "Embeddings")
    ]
    return replace(section, parts=tuple(parts))


def _tips(scene: Scene, contents: Contents) -> Callable[[Entry], str]:
    """Return what says all that is known of an entry: its interval, its counts, where its rows are."""
    tables = [
        part for section in contents.sections for part in section.parts if isinstance(part, Table)
    ]
    keyed = sum(e.key is not None for table in tables for line in table.lines for e in line.entries)
    few = not contents.plain and keyed <= verdicts.MANY

    def tip(entry: Entry) -> str:
        if entry.key is None:
            return entry.tip
        within = interval(scene, entry.key) if few else ""
        rows = f"records/{scene.protocol.name}.parquet: {scene.place(entry.key)}"
        return "; ".join(filter(None, (within, entry.tip, rows)))

    return tip


def _facts(scene: Scene, seeds: int) -> list[tuple[str, str]]:
    """Return the few numbers that stand at the top of the page."""
    places = scene.protocol.finetune
    titles = dict.fromkeys(scene.info[t.dataset].title for t in places)
    fractions = sorted({f for s in range(len(places)) for f in scene.fractions(s)})
    done = {k.row for k, c in scene.cells.cells.items() if c.mean is not None}
    return [
        ("Rows with results", f"{len(done)} of {len(scene.rows)}"),
        ("Data sets" if len(titles) > 1 else "Data set", ", ".join(titles)),
        (
            f"Label fraction{'s' if len(fractions) > 1 else ''}",
            ", ".join(f"{f} %" for f in fractions),
        ),
        ("Fine-tuning seeds", str(seeds)),
    ]
