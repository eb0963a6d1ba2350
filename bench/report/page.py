"""The page: one file with everything in it, readable without a network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.report import gate, pretrainings, ranking, sensitivity, survival, verdicts, worst
from bench.report.across import NOTE as ACROSS
from bench.report.across import across
from bench.report.answer import Answer, interval
from bench.report.footnotes import COUNTS, Footnotes, failed_jobs
from bench.report.notes import Block
from bench.report.redraw import Figure, current_svg
from bench.report.scene import Scene
from bench.report.tabular import Entry, Table
from bench.report.tex import tabular
from bench.report.text import COST_HEAD, COST_NOTE, costs, title_of

if TYPE_CHECKING:
    import jinja2

MOST_SIDE_BY_SIDE = 6  # columns; in a wider table the spread stands below the mean
FOREST = "forest"  # has its own, of text, at the top of the page
LATE = ("curves", "pretext", "pretraining_steps", "pretraining_cases", "embeddings", "training")


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


@dataclass(frozen=True)
class Content:
    """What a page is made of besides its scene."""

    tables: list[Table]
    notes: Footnotes
    blocks: list[Block]
    figures: list[Figure]  # as ``wanted``
    folder: Path  # where they are drawn
    seeds: int  # of fine-tuning that ran
    answer: Answer | None = None  # None: the paper's own look, without verdicts, intervals and ranks


def page(scene: Scene, made: Content) -> str:
    """Return ``index.html`` with every figure that is drawn and may be shown inside it."""
    aside = {"Provenance", *(["Embeddings"] if scene.extras.clouds else [])}  # they stand elsewhere
    plain = made.answer is None
    found = dict(
        answer=made.answer or Answer("", (), ""),
        rankings=[] if plain else ranking.rankings(scene),
        across=[] if plain else across(scene),
        hard=[] if plain else worst.worst(scene),
        figures=[_shown(f, made.folder) for f in made.figures if f.name != FOREST],
        pretexts=pretrainings.pretexts(scene),
        costs=costs(scene),
        failures=failed_jobs(scene),
        blocks=[b for b in made.blocks if b.heading not in aside],
        provenance=scene.extras.provenance,
    )
    return template("page.html.j2").render(
        **found,
        title=title_of(scene),
        protocol=scene.protocol,
        tables=made.tables,
        letters=made.notes.letters,
        tip=_tips(scene, made),
        counts=COUNTS,
        tabular=tabular,
        verdicts=verdicts,
        sensitivity=sensitivity,
        survival=survival,
        ranking=ranking,
        across_note=ACROSS,
        worst=worst,
        pretext=pretrainings,
        below=gate.warning(scene).removeprefix(gate.UNDERTRAINED),
        undertrained=gate.UNDERTRAINED,
        collapsed=sum(p.collapsed for p in pretrainings.shown(scene)),
        guesses=sum(p.guesses for p in pretrainings.shown(scene)),
        cost_head=COST_HEAD,
        cost_note=COST_NOTE,
        synthetic=scene.synthetic,
        facts=_facts(scene, made.seeds),
        parts=_parts(found, made.tables),
        stacked=MOST_SIDE_BY_SIDE,
        progress=scene.extras.progress,
    )


def _tips(scene: Scene, made: Content) -> Callable[[Entry], str]:
    """Return what says all that is known of an entry: its interval, its counts, where its rows are."""
    entries = [e for table in made.tables for line in table.lines for e in line.entries if e.key is not None]
    few = made.answer is not None and len(entries) <= verdicts.MANY

    def tip(entry: Entry) -> str:
        if entry.key is None:
            return entry.counts
        held = interval(scene, entry.key) if few else ""
        where = scene.place(entry.key)
        return "; ".join(
            filter(None, (held, entry.counts, f"records/{scene.protocol.name}.parquet: {where}"))
        )

    return tip


def _parts(found: dict[str, Any], tables: list[Table]) -> list[tuple[str, str]]:
    """Return what the page has, for the list at its top: anchor and words."""
    every = [
        ("sensitivity", "What could be found", found["answer"].sensitivity.any),
        ("answer", "The answer", found["answer"].any),
        ("survival", "Other tuning", found["answer"].survivals),
        ("table", "Tables", tables),
        ("order", "How sure the order is", found["rankings"] or found["across"]),
        ("figures", "Figures", found["figures"]),
        ("worst", "Worst cases", found["hard"]),
        ("pretraining", "What pretraining did", found["pretexts"]),
        ("cost", "Cost", found["costs"]),
        ("failures", "Failures", found["failures"]),
        ("notes", "Notes", found["blocks"]),
        ("provenance", "Provenance", found["provenance"]),
    ]
    return [(anchor, words) for anchor, words, there in every if there]


def _shown(figure: Figure, folder: Path) -> dict[str, Any]:
    svg = current_svg(figure, folder)
    return {
        "title": figure.title,
        "late": figure.name.startswith(LATE),
        "svg": svg if figure.embed else "",
        "reason": figure.reason or ("" if svg else "Not drawn in this report."),
        "captions": figure.captions,
    }


def _facts(scene: Scene, seeds: int) -> list[tuple[str, str]]:
    """Return the few numbers that stand at the top of the page."""
    places = scene.protocol.finetune
    titles = dict.fromkeys(scene.info[t.dataset].title for t in places)
    fractions = sorted({f for s in range(len(places)) for f in scene.fractions(s)})
    done = {k.row for k, c in scene.cells.cells.items() if c.mean is not None}
    return [
        ("Rows with results", f"{len(done)} of {len(scene.rows)}"),
        ("Data sets" if len(titles) > 1 else "Data set", ", ".join(titles)),
        (f"Label fraction{'s' if len(fractions) > 1 else ''}", ", ".join(f"{f} %" for f in fractions)),
        ("Fine-tuning seeds", str(seeds)),
    ]
