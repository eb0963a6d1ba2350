"""The tables as plain text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from bench.errors import printable
from bench.report import gate, pretrainings, sensitivity, survival, verdict_table, verdicts
from bench.report.answer import Answer
from bench.report.captions import counted
from bench.report.footnotes import COUNTS, Footnotes
from bench.report.scene import Scene
from bench.report.tabular import Entry, Table
from bench.report.text import at_leaf, padded, title_of

BEST = "^"  # an asterisk would read as significance


def terminal(
    scene: Scene, made: list[Table], notes: Footnotes, width: int, found: Answer | None = None
) -> str:  # fmt: skip
    """Return the tables as aligned plain text, cut into blocks of columns of at most ``width``.

    ``found``: what stands beside scratch.
    """
    parts = [printable(title_of(scene))]
    if found is not None and found.sensitivity.any:
        seen = found.sensitivity
        parts += [sensitivity.HEADING, *map(printable, (*seen.blind, *seen.sentences))]
        parts += [_lined(sensitivity.HEAD, seen.lines), sensitivity.NOTE] if seen.lines else []
    for table in made:
        parts.append(f"{printable(table.title)}\n{_grid(table, width)}")
    parts.append(_legend(made))
    parts += ["\n".join(dict.fromkeys(text for table in made for text in table.same))]
    parts += ["\n".join(f"[{k}] {printable(t)}" for t, k in notes.letters.items())]
    parts += [_against(found)] if found is not None and found.any else []
    parts += [*map(printable, pretrainings.faults(scene)), printable(gate.warning(scene))]
    return "\n\n".join(p for p in parts if p)


def _against(found: Answer) -> str:
    """Return the verdicts beside scratch, in a line each."""
    parts = [f"{verdicts.HEADING} {found.sentence}"]
    for title, caption, lines in verdict_table.lines(found):
        drawn = _lined(verdict_table.HEAD, lines)
        parts.append(f"{printable(title)}\n{drawn}\n{printable(caption)}")
    parts += [survival.HEADING] if found.survivals else []
    for one in found.survivals:
        drawn = _lined(survival.HEAD, one.lines)
        parts.append(f"{printable(one.title)}\n{drawn}\n{printable(one.note)}")
    return "\n\n".join(parts)


def _lined(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a table of words in aligned columns."""
    rows = [[printable(c) for c in line] for line in (head, *lines)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(padded(row, widths, 1)).rstrip() for row in rows)


def _legend(made: list[Table]) -> str:
    """Return what the signs in a terminal's tables mean, of those that are there."""
    lines = [line for table in made for line in table.lines]
    entries = [e for line in lines for e in line.entries]
    best = f"{BEST} best of its network, among rows fine-tuned alike"
    said = [best] if any(e.mark for e in entries) else []
    said += ["± over runs"] if any(e.sd for e in entries) else []
    said += ["in brackets the gain"] if any(e.gain for e in entries) else []
    n = [line.n for line in lines] + [e.mean for line in lines if line.kind == "n" for e in line.entries]
    return "; ".join([*said, counted(n).rstrip("."), "shares in percent, distances in mm, volumes in ml"])


def _grid(table: Table, width: int) -> str:
    words = ["" if stub == "Method" else stub.lower() for stub in table.stubs]
    heads = [c.heading + (f" [{c.note}]" if c.note else "") for c in table.columns]
    rows = [[*words, *heads, *([COUNTS.lower()] if table.counted else [])]]
    for group, lines in table.groups:
        if group:
            rows.append([group])
        for line in lines:
            n = [line.n] if table.counted else []
            labels = [*line.labels]
            labels[table.leaf] += f" [{line.note}]" if line.note else ""
            rows.append([*labels, *map(_grid_entry, line.entries), *n])
            if line.published:
                beside = [e.beside + (f" [{e.erratum}]" if e.erratum else "") for e in line.entries]
                rows.append([*at_leaf(table, f"  {table.beside}"), *beside, *[""] * len(n)])
    rows = [[printable(c) for c in r] for r in rows]
    left = len(table.stubs)
    widths = [max(map(len, column)) for column in zip(*(r for r in rows if len(r) > 1), strict=True)]
    return "\n\n".join(_block(rows, widths, left, at) for at in _cuts(widths, left, width))


def _cuts(widths: list[int], left: int, width: int) -> list[list[int]]:
    """Return the columns of each block; the names of the rows stand in every one."""
    blocks: list[list[int]] = [[]]
    room = width - sum(widths[:left])
    for i in range(left, len(widths)):
        if blocks[-1] and sum(widths[j] + 2 for j in [*blocks[-1], i]) > room:
            blocks.append([])
        blocks[-1].append(i)
    return blocks


def _block(rows: list[list[str]], widths: list[int], left: int, at: list[int]) -> str:
    kept = [*range(left), *at]
    sizes = [widths[i] for i in kept]
    text = [
        "  ".join(padded([r[i] for i in kept], sizes, left)).rstrip() if len(r) > 1 else r[0] for r in rows
    ]
    return "\n".join([text[0], "-" * (sum(sizes) + 2 * len(sizes) - 2), *text[1:]])


def _grid_entry(entry: Entry) -> str:
    text = entry.mean + (f" ± {entry.sd}" if entry.sd else "") + (f" ({entry.gain})" if entry.gain else "")
    return text + (f" {BEST}" if entry.mark == "best" else "") + (f" [{entry.note}]" if entry.note else "")
