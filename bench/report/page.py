"""The page: one file with everything in it, readable without a network."""

from __future__ import annotations

import base64
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.report import gate, pretrainings
from bench.report.footnotes import Footnotes, failed_jobs
from bench.report.notes import Block
from bench.report.redraw import Figure, current
from bench.report.scene import Scene
from bench.report.tabular import Table
from bench.report.text import COST_HEAD, costs, title_of

if TYPE_CHECKING:
    import jinja2

MOST_SIDE_BY_SIDE = 6  # columns; in a wider table the spread stands below the mean


@lru_cache(maxsize=1)
def _template() -> jinja2.Template:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,  # by suffix it would be off for .j2
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2")


def page(
    scene: Scene, made: tuple[list[Table], Footnotes], blocks: list[Block],
    figures: list[Figure], folder: Path, seeds: int,
) -> str:  # fmt: skip
    """Return ``index.html`` with every figure that is drawn and may be shown inside it.

    ``seeds``: how many of fine-tuning ran.
    """
    tables, notes = made
    aside = {"Provenance", *(["Embeddings"] if scene.extras.clouds else [])}  # they stand elsewhere
    return _template().render(
        title=title_of(scene),
        protocol=scene.protocol,
        tables=tables,
        letters=notes.letters,
        figures=[_shown(f, folder) for f in figures],
        pretexts=pretrainings.pretexts(scene),
        pretext=pretrainings,
        below=gate.warning(scene).removeprefix(gate.UNDERTRAINED),
        undertrained=gate.UNDERTRAINED,
        collapsed=sum(p.collapsed for p in scene.extras.pretexts),
        cost_head=COST_HEAD,
        costs=costs(scene),
        failures=failed_jobs(scene),
        scaled=scene.scaled,
        synthetic=scene.synthetic,
        blocks=[b for b in blocks if b.heading not in aside],
        provenance=scene.extras.provenance,
        facts=_facts(scene, seeds),
        stacked=MOST_SIDE_BY_SIDE,
        progress=scene.extras.progress,
    )


def _shown(figure: Figure, folder: Path) -> dict[str, Any]:
    png = current(figure, folder)
    shown = base64.b64encode(png.read_bytes()).decode("ascii") if png is not None and figure.embed else ""
    return {
        "title": figure.title,
        "data": f"data:image/png;base64,{shown}" if shown else "",
        "reason": figure.reason or ("" if png else "Not drawn in this report."),
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
