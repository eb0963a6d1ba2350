"""One printed cell: a mean with its spread, what the paper printed, and the difference to both."""

from __future__ import annotations

from dataclasses import replace

from bench.report.cells import Cell, Key
from bench.report.errata import Errata
from bench.report.footnotes import Footnotes, in_words, remark, state
from bench.report.names import lower_is_better, zero_is_best
from bench.report.pivot import Pivot, Place, Point, own
from bench.report.published import GAIN
from bench.report.scene import Scene
from bench.report.tabular import Entry

DASH, MINUS = "\N{EM DASH}", "\N{MINUS SIGN}"
Entries = dict[tuple[Place, Place], Entry]  # by line and column


def number(value: float, unit: str) -> str:
    """Return two decimals, shares of one in percent."""
    text = f"{100 * value if unit == '1' else value:.2f}"
    return "0.00" if text == "-0.00" else text.replace("-", MINUS)


def signed(value: float) -> str:
    """Return two decimals with their sign; nothing is never negative."""
    text = f"{value:+.2f}"
    return "+0.00" if text == "-0.00" else text.replace("-", MINUS)


def difference(text: str, other: str) -> str:
    """Return one printed number minus another, so that a reader's subtraction agrees."""
    return signed(_value(text) - _value(other))


def _value(text: str) -> float:
    return float(text.replace(MINUS, "-"))


def quoted(scene: Scene, point: Point, notes: Footnotes, errata: Errata) -> Entry:
    """Return the paper's number where ours would stand, of a row that nobody here runs."""
    unit, on = scene.unit(point.metric), point.network
    printed, gained = scene.printed(point.key, on), scene.printed(_gain_of(point.key), on)
    if printed is None:
        return Entry()
    text = number(printed.number, unit)
    return Entry(
        text + printed.dagger,
        gain="" if gained is None else signed(_value(number(gained.number, unit))),
        note=notes.mark(errata.of(scene, point.key, _value(text))),
        counts="published, not run here",
        sort=printed.number,
        quoted=True,
    )


def entry(scene: Scene, pivot: Pivot, point: Point, usual: str, notes: Footnotes, errata: Errata) -> Entry:
    """Return the cell at a point.

    Args:
        scene: has the numbers.
        pivot: the table it is of.
        point: where it stands.
        usual: the n that most cells beside it have; another one gets a footnote.
        notes: takes the footnotes.
        errata: of the paper's numbers.
    """
    key, unit = point.key, scene.unit(point.metric)
    cell = scene.cells.at(key)
    letter = remark(scene, key, cell, usual, notes)
    made = _ours(scene, pivot, key, cell, letter)
    printed = scene.printed(key) if pivot.view.published else None
    if printed is None:
        return made
    beside = number(printed.number, unit)
    gap = "" if made.sort is None else difference(made.mean, beside)
    gained = scene.printed(_gain_of(key)) if pivot.view.gain else None
    more = "" if gained is None else f", {signed(_value(number(gained.number, unit)))}"
    said = notes.mark(errata.of(scene, key, _value(beside)))
    return replace(made, published=beside + printed.dagger + more, difference=gap, erratum=said)


def _ours(scene: Scene, pivot: Pivot, key: Key, cell: Cell | None, letter: str) -> Entry:
    if cell is None or cell.mean is None:
        hole = state(scene, key, cell)
        return Entry(DASH if hole == "absent" else hole, note=letter, hole=hole, counts=in_words(cell))
    unit = scene.unit(key.metric)
    mean = number(cell.mean, unit)
    return Entry(
        mean=mean,
        sd="" if cell.sd is None else number(cell.sd, unit),
        gain=_gain(scene, pivot.view.gain, key, mean),
        note=letter,
        counts=in_words(cell),
        sort=cell.mean,
        key=key,
    )


def _gain(scene: Scene, over: str, key: Key, mean: str) -> str:
    """Return what a printed mean gains on the row ``over``; nothing where that has other runs."""
    name = _baseline(scene, key) if over == "baseline" else over
    variant = key.row.removeprefix(own(scene, key.row))
    other = f"{name}{variant}" if f"{name}{variant}" in scene.rows else name
    if not name or key.row in (name, other):
        return ""
    beside = key._replace(row=other)
    cell = scene.cells.at(beside)
    if cell is None or cell.mean is None or _seeds(scene, key) != _seeds(scene, beside):
        return ""
    return difference(mean, number(cell.mean, scene.unit(key.metric)))


def _seeds(scene: Scene, key: Key) -> set[int]:
    """Return the fine-tuning seeds of a cell; none where its values are over all test cases at once."""
    scores = scene.cells.scores(key)
    return set() if scores is None else {seed for _, seed in scores.runs}


def _baseline(scene: Scene, key: Key) -> str:
    """Return the row from scratch that a row is measured against; none where there is none."""
    near = scene.nearest.get((key.row, key.section))
    return near[0] if near else ""


def _gain_of(key: Key) -> Key:
    """Return where the paper's gain of a cell would be printed."""
    return key._replace(metric=key.metric + GAIN)


def marked(scene: Scene, entries: Entries, points: dict[tuple[Place, Place], Point]) -> Entries:
    """Mark the best and the second printed value at each place among comparable rows of the same seeds."""
    rivals: dict[tuple, dict[tuple[Place, Place], float]] = {}
    for at, point in points.items():
        alike = scene.alike.get((point.row, point.section))
        if alike is not None and entries[at].sort is not None and not zero_is_best(point.metric):
            among = alike, frozenset(_seeds(scene, point.key)), *point.key[1:]
            rivals.setdefault(among, {})[at] = _value(entries[at].mean)
    found = dict(entries)
    for (*_, metric), merits in rivals.items():
        if len(merits) > 1:  # a lone value is not the best
            ranked = sorted({*merits.values()}, reverse=not lower_is_better(metric, scene.unit(metric)))
            shared = [*merits.values()].count(ranked[0]) > 1  # who comes after two is third
            names = dict(zip(ranked, ("best", "" if shared else "second"), strict=False))
            found |= {at: replace(found[at], mark=names.get(merit, "")) for at, merit in merits.items()}
    return found
