"""One printed cell: a mean with its spread, what the paper printed, and the difference to both."""

from __future__ import annotations

from dataclasses import replace

from bench.protocol import row_of
from bench.report.cells import Cell, Key
from bench.report.common import APART, same, stands, usual
from bench.report.context import ReportContext
from bench.report.errata import Errata
from bench.report.footnotes import Footnotes, counted, in_words, remark, state
from bench.report.names import is_ranked, lower_is_better
from bench.report.numbers import DASH, difference, number, shown
from bench.report.pivot import AxisValues, Pivot, Point
from bench.report.published import GAIN
from bench.report.tabular import TableCell
from bench.report.verdicts import gained

NO_GAIN = "no gain over {} is printed: the two means are not of the same patients, runs and targets"
PATIENTS_FIRST = (
    "the gain is averaged over targets first, then over patients, as in the verdicts; the printed means are "
    "averaged over patients first"
)
ROUNDED = 0.011  # as printed: what two roundings can bring
TableCells = dict[tuple[AxisValues, AxisValues], TableCell]  # by line and column


def quoted(report: ReportContext, point: Point, notes: Footnotes, errata: Errata) -> TableCell:
    """Return the paper's number where ours would stand, of a row that nobody here runs."""
    unit, on = report.unit(point.metric), point.network
    printed, gained = report.printed(point.key, on), report.printed(_gain_of(point.key), on)
    if printed is None:
        return TableCell()
    text = number(printed.number, unit)
    return TableCell(
        text + printed.dagger,
        gain="" if gained is None else difference(gained.number, unit),
        note=notes.mark(errata.of(report, point.key, shown(text))),
        tip="published, not run here",
        sort=printed.number,
        quoted=True,
    )


def table_cell(
    report: ReportContext, pivot: Pivot, point: Point, usual: str, notes: Footnotes, errata: Errata
) -> TableCell:
    """Return the cell at a point.

    Args:
        report: has the numbers.
        pivot: the table it is of.
        point: where it stands.
        usual: the n that most cells beside it have; another one gets a footnote.
        notes: takes the footnotes.
        errata: of the paper's numbers.
    """
    key, unit = point.key, report.unit(point.metric)
    cell = report.cells.at(key)
    letter = remark(report, key, cell, usual, notes)
    ours = _ours(report, pivot, key, cell, letter, notes)
    printed = report.printed(key) if pivot.view.published else None
    if printed is None:
        return ours
    printed_number, less = number(printed.number, unit), minus_published(report, key)
    gap = "" if less is None else difference(less, unit)
    gained = report.printed(_gain_of(key)) if pivot.view.gain else None
    more = "" if gained is None else f", {difference(gained.number, unit)}"
    erratum = notes.mark(errata.of(report, key, shown(printed_number)))
    return replace(
        ours, published=printed_number + printed.dagger + more, difference=gap, erratum=erratum
    )


def minus_published(report: ReportContext, key: Key) -> float | None:
    """Return our mean minus the paper's, in the metric's unit; None on synthetic scans, or of a part."""
    cell, printed = report.cells.at(key), report.printed(key)
    if report.info[report.protocol.finetune[key.section].dataset].synthetic:
        return None  # it would be read as a result
    if printed is None or cell is None or cell.mean is None or not stands(report, key):
        return None
    return cell.mean - printed.number


def _ours(
    report: ReportContext, pivot: Pivot, key: Key, cell: Cell | None, letter: str, notes: Footnotes
) -> TableCell:
    if cell is None or cell.mean is None:
        hole = state(report, key, cell)
        return TableCell(
            DASH if hole == "absent" else hole, note=letter, hole=hole, tip=in_words(cell)
        )
    unit = report.unit(key.metric)
    gain, why = _gain(report, pivot.view.gain, key)
    return TableCell(
        mean=number(cell.mean, unit),
        sd="" if cell.sd is None else number(cell.sd, unit),
        gain=gain,
        note=" ".join(filter(None, (letter, notes.mark(why)))),
        tip=in_words(cell),
        sort=cell.mean,
        key=key,
    )


def _gain(report: ReportContext, over: str, key: Key) -> tuple[str, str]:
    """Return what a cell gains on the row ``over``, and what is to be said of it.

    It is the difference that verdicts are of. Where the two are means of other patients, runs or targets,
    there is none, and it is said what it is over those that both have.
    """
    near = report.nearest.get((key.row, key.section))
    name = (near[0] if near else "") if over == "baseline" else over
    _, variant = row_of(report.protocol, key.row)
    other = f"{name}{variant}" if f"{name}{variant}" in report.rows else name
    if not name or key.row in (name, other):
        return "", ""
    other_key = key._replace(row=other)
    if other_key[:3] in report.unlearned:
        return "", f"no gain over {report.named(other)} is printed: it has not learned the task"
    cell, base = report.cells.at(key), report.cells.at(other_key)
    if cell is None or base is None or cell.mean is None or base.mean is None:
        return "", ""
    unit, paired = report.unit(key.metric), gained(report, key, other_key)
    if same(report, key, other_key):
        plain = cell.mean - base.mean
        value = plain if paired is None else paired.difference
        apart = abs(value - plain) * (100 if unit == "1" else 1) >= ROUNDED
        return difference(value, unit), PATIENTS_FIRST if apart else ""
    if paired is None:
        return "", f"{NO_GAIN.format(report.named(other))}; the two rows share none"
    who = f"on the {counted(paired.patients, 'patient')} of both rows"
    return (
        "",
        f"{NO_GAIN.format(report.named(other))}; {who} the gain is {difference(paired.difference, unit)}",
    )


def _gain_of(key: Key) -> Key:
    """Return where the paper's gain of a cell would be printed."""
    return key._replace(metric=key.metric + GAIN)


def marked(
    report: ReportContext,
    entries: TableCells,
    points: dict[tuple[AxisValues, AxisValues], Point],
    notes: Footnotes,
) -> TableCells:
    """Mark the best and the second printed value at each place among comparable rows.

    Those compete whose means are of what most of them have; the others get a note instead of a mark. No row
    competes that has not learned the task, and no score of 0 where more is better.
    """
    rivals: dict[tuple, dict[tuple[AxisValues, AxisValues], Point]] = {}
    for at, point in points.items():
        alike = report.alike.get((point.row, point.section))
        learned = point.key[:3] not in report.unlearned
        if (
            alike is not None
            and entries[at].sort is not None
            and learned
            and is_ranked(point.metric)
        ):
            rivals.setdefault((alike, *point.key[1:]), {})[at] = point
    marked = dict(entries)
    for (*_, metric), among in rivals.items():
        over = usual(report, [point.key for point in among.values()])
        merits = {}
        for at, point in among.items():
            cell = report.cells.at(point.key)
            if cell is not None and cell.over == over:
                merits[at] = shown(entries[at].mean)
            else:
                note = " ".join(filter(None, (entries[at].note, notes.mark(APART))))
                marked[at] = replace(entries[at], note=note)
        if len(merits) > 1:  # a lone value is not the best
            ranked = sorted(
                {*merits.values()}, reverse=not lower_is_better(metric, report.unit(metric))
            )
            shared = [*merits.values()].count(ranked[0]) > 1  # who comes after two is third
            names = dict(zip(ranked, ("best", "" if shared else "second"), strict=False))
            if not lower_is_better(metric, report.unit(metric)):
                names = {merit: mark for merit, mark in names.items() if merit > 0}
            marked |= {
                at: replace(marked[at], mark=names.get(merit, "")) for at, merit in merits.items()
            }
    return marked
