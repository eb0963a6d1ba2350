"""One printed cell: a mean with its spread, what the paper printed, and the difference to both."""

from __future__ import annotations

from dataclasses import replace

from bench.report.cells import Cell, Key
from bench.report.common import APART, same, stands, usual
from bench.report.errata import Errata
from bench.report.footnotes import Footnotes, counted, in_words, remark, state
from bench.report.names import lower_is_better, zero_is_best
from bench.report.numbers import DASH, difference, number, shown
from bench.report.pivot import Pivot, Place, Point, own
from bench.report.published import GAIN
from bench.report.scene import Scene
from bench.report.tabular import Entry
from bench.report.verdicts import gained

NO_GAIN = "no gain on {}: the two are not means of the same patients, runs and targets"
PATIENTS_FIRST = "gain as in the verdicts, over each patient's targets first; the printed means are over patients first"
ROUNDED = 0.011  # as printed: what two roundings can bring
Entries = dict[tuple[Place, Place], Entry]  # by line and column


def quoted(scene: Scene, point: Point, notes: Footnotes, errata: Errata) -> Entry:
    """Return the paper's number where ours would stand, of a row that nobody here runs."""
    unit, on = scene.unit(point.metric), point.network
    printed, gained = scene.printed(point.key, on), scene.printed(_gain_of(point.key), on)
    if printed is None:
        return Entry()
    text = number(printed.number, unit)
    return Entry(
        text + printed.dagger,
        gain="" if gained is None else difference(gained.number, unit),
        note=notes.mark(errata.of(scene, point.key, shown(text))),
        tip="published, not run here",
        sort=printed.number,
        quoted=True,
    )


def entry(
    scene: Scene, pivot: Pivot, point: Point, usual: str, notes: Footnotes, errata: Errata
) -> Entry:
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
    made = _ours(scene, pivot, key, cell, letter, notes)
    printed = scene.printed(key) if pivot.view.published else None
    if printed is None:
        return made
    beside, less = number(printed.number, unit), minus_published(scene, key)
    gap = "" if less is None else difference(less, unit)
    gained = scene.printed(_gain_of(key)) if pivot.view.gain else None
    more = "" if gained is None else f", {difference(gained.number, unit)}"
    said = notes.mark(errata.of(scene, key, shown(beside)))
    return replace(made, published=beside + printed.dagger + more, difference=gap, erratum=said)


def minus_published(scene: Scene, key: Key) -> float | None:
    """Return our mean minus the paper's, in the metric's unit; None where ours is not of all there is."""
    cell, printed = scene.cells.at(key), scene.printed(key)
    if printed is None or cell is None or cell.mean is None or not stands(scene, key):
        return None
    return cell.mean - printed.number


def _ours(
    scene: Scene, pivot: Pivot, key: Key, cell: Cell | None, letter: str, notes: Footnotes
) -> Entry:
    if cell is None or cell.mean is None:
        hole = state(scene, key, cell)
        return Entry(DASH if hole == "absent" else hole, note=letter, hole=hole, tip=in_words(cell))
    unit = scene.unit(key.metric)
    gain, why = _gain(scene, pivot.view.gain, key)
    return Entry(
        mean=number(cell.mean, unit),
        sd="" if cell.sd is None else number(cell.sd, unit),
        gain=gain,
        note=" ".join(filter(None, (letter, notes.mark(why)))),
        tip=in_words(cell),
        sort=cell.mean,
        key=key,
    )


def _gain(scene: Scene, over: str, key: Key) -> tuple[str, str]:
    """Return what a cell gains on the row ``over``, and what is to be said of it.

    It is the difference that verdicts are of. Where the two are means of other patients, runs or targets,
    there is none, and it is said what it is over those that both have.
    """
    name = _baseline(scene, key) if over == "baseline" else over
    variant = key.row.removeprefix(own(scene, key.row))
    other = f"{name}{variant}" if f"{name}{variant}" in scene.rows else name
    if not name or key.row in (name, other):
        return "", ""
    beside = key._replace(row=other)
    cell, base = scene.cells.at(key), scene.cells.at(beside)
    if cell is None or base is None or cell.mean is None or base.mean is None:
        return "", ""
    unit, paired = scene.unit(key.metric), gained(scene, key, beside)
    if same(scene, key, beside):
        plain = cell.mean - base.mean
        value = plain if paired is None else paired.difference
        apart = abs(value - plain) * (100 if unit == "1" else 1) >= ROUNDED
        return difference(value, unit), PATIENTS_FIRST if apart else ""
    if paired is None:
        return "", f"{NO_GAIN.format(scene.named(other))}; the two have none in common"
    who = f"over the {counted(paired.patients, 'patient')} of both"
    return (
        "",
        f"{NO_GAIN.format(scene.named(other))}; {who} it is {difference(paired.difference, unit)}",
    )


def _baseline(scene: Scene, key: Key) -> str:
    """Return the row from scratch that a row is measured against; none where there is none."""
    near = scene.nearest.get((key.row, key.section))
    return near[0] if near else ""


def _gain_of(key: Key) -> Key:
    """Return where the paper's gain of a cell would be printed."""
    return key._replace(metric=key.metric + GAIN)


def marked(
    scene: Scene, entries: Entries, points: dict[tuple[Place, Place], Point], notes: Footnotes
) -> Entries:
    """Mark the best and the second printed value at each place among comparable rows.

    Those compete whose means are of what most of them have; the others get a note instead of a mark.
    """
    rivals: dict[tuple, dict[tuple[Place, Place], Point]] = {}
    for at, point in points.items():
        alike = scene.alike.get((point.row, point.section))
        if alike is not None and entries[at].sort is not None and not zero_is_best(point.metric):
            rivals.setdefault((alike, *point.key[1:]), {})[at] = point
    found = dict(entries)
    for (*_, metric), among in rivals.items():
        over = usual(scene, [point.key for point in among.values()])
        merits = {}
        for at, point in among.items():
            cell = scene.cells.at(point.key)
            if cell is not None and cell.over == over:
                merits[at] = shown(entries[at].mean)
            else:
                note = " ".join(filter(None, (entries[at].note, notes.mark(APART))))
                found[at] = replace(entries[at], note=note)
        if len(merits) > 1:  # a lone value is not the best
            ranked = sorted(
                {*merits.values()}, reverse=not lower_is_better(metric, scene.unit(metric))
            )
            shared = [*merits.values()].count(ranked[0]) > 1  # who comes after two is third
            names = dict(zip(ranked, ("best", "" if shared else "second"), strict=False))
            found |= {
                at: replace(found[at], mark=names.get(merit, "")) for at, merit in merits.items()
            }
    return found
