"""The tables as Markdown, and every cell as a tidy CSV."""

from __future__ import annotations

import csv
import io
import re
from itertools import product

from bench.errors import printable
from bench.protocol import row_of
from bench.report import gate, pretrainings, sensitivity, spreadsheet, survival, verdict_table, verdicts
from bench.report.answer import Answer
from bench.report.cells import MEAN, Cell, Key
from bench.report.entries import minus_published
from bench.report.footnotes import COUNTS, Footnotes, state
from bench.report.notes import Block
from bench.report.numbers import MINUS
from bench.report.scene import Scene
from bench.report.tabular import Entry, Line, Table

CSV_COLUMNS = (
    "row", "method", "network", "section", "dataset", "split", "evaluation", "fraction", "target", "metric",
    "unit", "mean", "sd", "n_runs", "n_patients", "n_cases", "values", "undefined", "penalised", "failed",
    "published", "difference", "state",
)  # fmt: skip


def title_of(scene: Scene) -> str:
    """Return the report's title: its scale where the protocol has several, and whether data is synthetic."""
    said = [f"{scene.protocol.scale} scale"] if scene.protocol.scaled else []
    said += [scene.synthetic] if scene.synthetic else []
    return scene.protocol.title + (f" [{', '.join(said)}]" if said else "")


def markdown(
    scene: Scene, made: list[Table], notes: Footnotes, blocks: list[Block], found: Answer | None = None
) -> str:  # fmt: skip
    """Return ``table.md``; ``found``: what stands beside scratch."""
    parts = [f"# {_md(title_of(scene))}"]
    if scene.protocol.about:
        parts.append(_md(scene.protocol.about))
    if below := gate.warning(scene):
        parts.append(f"> **{gate.UNDERTRAINED}**{_md(below.removeprefix(gate.UNDERTRAINED))}")
    if found is not None and found.sensitivity.any:
        seen = found.sensitivity
        parts += [f"## {sensitivity.HEADING}", *(f"> **{_md(text)}**" for text in seen.blind)]
        parts += [_md(text) for text in seen.sentences]
        parts += _md_plain("", sensitivity.HEAD, [*seen.lines], _md(sensitivity.NOTE))[1:]
    for table in made:
        parts += [f"## {_md(table.title)}", _md_table(table), _md(table.caption)]
    parts += ["\n".join(_md_line(f"<sup>{k}</sup> ", t) for t, k in notes.letters.items())]
    if found is not None and found.any:
        parts += [f"## {verdicts.HEADING}", f"**{_md(found.sentence)}**"]
        for title, caption, rows in verdict_table.lines(found):
            parts += _md_plain(_md(title), verdict_table.HEAD, rows, _md(caption))
        parts.append(_md(found.notes))
        parts += [f"## {survival.HEADING}"] if found.survivals else []
        for one in found.survivals:
            parts += _md_plain(_md(one.title), survival.HEAD, [*one.lines], _md(one.note))
    tracked = [line.all for line in pretrainings.pretexts(scene)]
    parts += _md_plain(pretrainings.HEADING, pretrainings.HEAD, tracked, _md(pretrainings.NOTE))
    parts += _md_plain("Cost, as measured", COST_HEAD, costs(scene), COST_NOTE)
    for block in blocks:
        lines = [_md_line("", n.text, n.url) for n in block.notes]
        parts += [f"### {_md(block.heading)}", "\n".join(lines)]
    return "\n\n".join(p for p in parts if p) + "\n"


def _md_line(before: str, text: str, url: str = "") -> str:
    return f"- {before}{_md(text)}" + (f" <{url}>" if re.fullmatch(r"https?://[^\s<>`|]+", url) else "")


def _md(text: str) -> str:
    """Escape what Markdown and HTML read as markup; an underscore inside a word is harmless."""
    text = printable(re.sub(r"[\r\n\t]", " ", text))
    text = re.sub(r"([\\`*{}\[\]#|~$])", r"\\\1", text)
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", text)


def _md_table(table: Table) -> str:
    n = [COUNTS] if table.counted else []
    head = [*map(_md, table.stubs), *(_md(c.heading) + _sup(c.note) for c in table.columns), *n]
    rows = [head]
    for group, lines in table.groups:
        if group:
            rows.append([f"**{_md(group)}**"] + [""] * (len(head) - 1))
        for line in lines:
            n = [line.n] if table.counted else []
            rows.append([*_md_labels(table, line), *map(_md_entry, line.entries), *n])
            if line.published:
                said = at_leaf(table, f"*{table.beside} (ours {MINUS} published)*")
                rows.append([*said, *(_md(e.beside) + _sup(e.erratum) for e in line.entries), *[""] * len(n)])
    return _md_grid(rows, len(table.stubs))


def _md_labels(table: Table, line: Line) -> list[str]:
    """Return a line's labels; that of a row that nobody here runs in italics."""
    words = [*map(_md, line.labels)]
    if line.kind == "quoted":
        words[table.leaf] = f"*{words[table.leaf]}*{_sup(line.note)}"
    return words


def _sup(letter: str) -> str:
    return f"<sup>{letter}</sup>" if letter else ""


def at_leaf(table: Table, said: str) -> list[str]:
    """Return cells for the columns of labels, empty but for the innermost."""
    return [said if i == table.leaf else "" for i in range(len(table.stubs))]


def _md_grid(rows: list[list[str]], left: int = 2) -> str:
    """Return rows, the first one the head, of words in the first columns and numbers in the others."""
    widths = [max(3, *map(len, column)) for column in zip(*rows, strict=True)]
    rule = ["-" * w if i < left else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
    return "\n".join("| " + " | ".join(padded(r, widths, left)) + " |" for r in [rows[0], rule, *rows[1:]])


def padded(row: list[str], widths: list[int], left: int) -> list[str]:
    """Return cells of these widths, words in the first columns and numbers in the others."""
    return [c.ljust(w) if i < left else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]


def _md_entry(entry: Entry) -> str:
    text = {"best": "**{}**", "second": "<u>{}</u>"}.get(entry.mark, "{}").format(entry.mean)
    text += f" ± {entry.sd}" if entry.sd else ""
    text += f" ({entry.gain})" if entry.gain else ""
    return (f"*{text}*" if entry.quoted and text else text) + _sup(entry.note)


def _md_plain(heading: str, head: tuple[str, ...], lines: list[tuple[str, ...]], note: str = "") -> list[str]:
    """Return a heading, a table and what stands below it; nothing where it has no lines."""
    grid = _md_grid([list(head), *([_md(c) for c in line] for line in lines)])
    return [f"## {heading}", grid, note] if lines else []


COST_HEAD = ("Row", "Stage", "Wall time", "Peak memory", "Steps", "Samples", "Voxels")
COST_NOTE = "Sums over a stage's jobs; memory: of the largest. Times are of machines as busy as they were."


def costs(scene: Scene) -> list[tuple[str, ...]]:
    """Return the cost table's lines in the protocol's order, units spelled out."""
    order = {row: i for i, row in enumerate(scene.rows)}
    found = sorted(scene.extras.costs, key=lambda c: order.get(c.row, len(order)))
    return [
        (
            scene.named(c.row),
            c.stage or "all",
            "" if c.seconds is None else duration(c.seconds),
            "; ".join(
                f"{mb:,.0f} MB{where}"
                for mb, where in ((c.memory_mb, ""), (c.device_mb, " on the GPU"))
                if mb is not None
            ),
            *("" if v is None else f"{v:,}" for v in (c.steps, c.samples)),
            "" if c.voxels is None else f"{c.voxels:.3g}".replace("e+", "e"),
        )
        for c in found
    ]


def duration(seconds: float) -> str:
    """Return ``2 h 05 min``, ``3 min 20 s`` or ``4.2 s``."""
    if seconds < 1:
        return f"{1000 * seconds:.3g} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60):02d} min"


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
        *map(spreadsheet.cell, (
            key.row, known.method if known else "", known.network if known else "",
            scene.protocol.sections[key.section], place.dataset, place.split, place.evaluation,
            str(key.fraction), "mean" if key.target == MEAN else key.target, key.metric,
            scene.unit(key.metric),
        )),
        spreadsheet.number(cell.mean), spreadsheet.number(cell.sd),
        *map(str, (cell.runs, cell.patients, cell.cases, cell.values, cell.undefined, cell.penalised,
                   cell.failed)),
        spreadsheet.number(printed.number if printed else None),
        spreadsheet.number(minus_published(scene, key)),
        "published" if key.row in scene.protocol.published_only else state(scene, key, found),
    )  # fmt: skip
