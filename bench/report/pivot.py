"""What stands where in a view: its tables, the lines and columns of each, and the cell where two meet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from bench.protocol import View, base_of, row_of
from bench.protocol.views import MEAN as BY_NAME
from bench.report import not_run, selected
from bench.report.cells import MEAN, Key
from bench.report.context import ReportContext
from bench.report.names import metric_axis, metric_title

# of axes that a view does not name, outermost first
TABLES = ("metric", "section", "fraction", "target")
STUBS = {
    "row": "Method",
    "network": "Network",
    "section": "Data",
    "fraction": "Labels",
    "target": "Target",
    "metric": "Metric",
}
CONTROLS = "Positive controls"  # heading of rows that are pretrained with labels
AxisValues = tuple[Any, ...]  # a value for each axis of the lines, or of the columns


class Point(NamedTuple):
    """Where a cell stands, and on which network its row is ("" where nobody says)."""

    row: str
    network: str
    section: int
    fraction: int
    target: str
    metric: str

    @property
    def key(self) -> Key:
        """The cell's own."""
        return Key(self.row, self.section, self.fraction, self.target, self.metric)


@dataclass(frozen=True)
class Pivot:
    """One table of a view: lines and columns in the order of print, and the point where two meet, if any."""

    view: View
    lines: tuple[AxisValues, ...]
    columns: tuple[AxisValues, ...]
    points: dict[tuple[AxisValues, AxisValues], Point]
    apart: tuple[str, ...]  # the axes by which the view's tables differ

    def values(self, axis: str) -> list[Any]:
        """Return the values of a point's field in this table, each once."""
        return list(dict.fromkeys(getattr(point, axis) for point in self.points.values()))

    def shown(self, axes: tuple[str, ...]) -> list[int]:
        """Return which levels of its headings say anything: the innermost, rows, and those that vary."""
        last = len(axes) - 1
        return [i for i, a in enumerate(axes) if i == last or a == "row" or len(self.values(a)) > 1]

    @property
    def rows(self) -> list[str]:
        """The rows in it."""
        return self.values("row")


def pivots(report: ReportContext, view: View, ran: bool = False) -> list[Pivot]:
    """Return the tables of a view; those that would hold nothing are left out.

    Args:
        report: has the cells.
        view: what stands where.
        ran: leave out rows and label fractions of which nothing ran.
    """
    axes = (*view.lines, *view.columns)
    free = tuple(axis for axis in TABLES if axis not in axes)
    ranks = _ranks(report, view)

    def values_on(point: Point, axes: tuple[str, ...]) -> AxisValues:
        return tuple(_value(report, view, axis, point) for axis in axes)

    def sort(values: dict[AxisValues, None], axes: tuple[str, ...]) -> tuple[AxisValues, ...]:
        return tuple(
            sorted(values, key=lambda p: [ranks[a][v] for a, v in zip(axes, p, strict=True)])
        )

    tables: dict[AxisValues, dict[tuple[AxisValues, AxisValues], Point]] = {}
    for point in _points(report, view):
        if ran and not not_run.known_at(report, point.row, point.section, point.fraction):
            continue
        points = tables.setdefault(values_on(point, free), {})
        points[values_on(point, view.lines), values_on(point, view.columns)] = point
    apart = tuple(a for i, a in enumerate(free) if len({key[i] for key in tables}) > 1)
    pivots = []
    for key in sort(dict.fromkeys(tables), free):
        lines, columns = (dict.fromkeys(names) for names in zip(*tables[key], strict=True))
        ordered = sort(lines, view.lines), sort(columns, view.columns)
        pivots.append(Pivot(view, *ordered, tables[key], apart))
    return pivots


def _value(report: ReportContext, view: View, axis: str, point: Point) -> Any:
    if axis == "row" and on_networks(view):
        return report.titles[point.row]  # one line or column for all of them
    return getattr(point, axis)


def on_networks(view: View) -> bool:
    """Tell whether rows of one title on several networks are one."""
    return "network" in (*view.lines, *view.columns)


def _points(report: ReportContext, view: View) -> Iterator[Point]:
    rows = [
        (row, network) for row in _rows(report, view) for network in _networks(report, view, row)
    ]
    for section in selected.sections(view, report.protocol.sections):
        for fraction in _selected(view.fractions, report.fractions(section)):
            for target in _targets(report, view, section):
                for metric in _selected(view.metrics, report.metrics):
                    if report.judges(metric, section):  # Dice says nothing of classes
                        rest = (section, fraction, target, metric)
                        yield from (
                            Point(r, n, *rest) for r, n in rows if _holds(report, r, n, rest)
                        )


def _holds(report: ReportContext, row: str, network: str, rest: tuple[int, int, str, str]) -> bool:
    """Tell whether a row has a cell at a place: one that is quoted only where the paper printed a number."""
    if row in report.protocol.published_only:
        return report.printed(Key(row, *rest), network) is not None
    return report.has(row, rest[0])


def _selected(requested: Sequence[Any], available: Sequence[Any]) -> list[Any]:
    """Return those that are asked for and are there, as asked; all where none are."""
    return [value for value in requested or available if value in available]


def _targets(report: ReportContext, view: View, section: int) -> list[str]:
    along = "target" in (*view.lines, *view.columns)
    return selected.targets(report, view, section, along=along)


def _networks(report: ReportContext, view: View, row: str) -> list[str]:
    """Return the network of a row; of one that is quoted, where they are told apart, each that there is."""
    if row in report.protocol.published_only and on_networks(view):
        return list(dict.fromkeys(declared.network for declared in report.protocol.rows.values()))
    declared, _ = row_of(report.protocol, row)
    return [declared.network if declared else ""]


def _rows(report: ReportContext, view: View) -> list[str]:
    """Return the rows in the order of print, those without a group first; variants beside their row.

    Positive controls without a group stand last.
    """
    headings = ["", *report.protocol.layout.groups, CONTROLS]
    return sorted(selected.shown(report, view), key=lambda row: headings.index(group(report, row)))


def group(report: ReportContext, row: str) -> str:
    """Return the heading under which a row stands, "" for none."""
    named = base_of(report.protocol, row)
    declared = report.protocol.rows.get(named)
    otherwise = CONTROLS if declared is not None and declared.ceiling else ""
    return next(
        (h for h, rows in report.protocol.layout.groups.items() if named in rows), otherwise
    )


def _ranks(report: ReportContext, view: View) -> dict[str, dict[Any, int]]:
    """Return the order of every axis: as the view states it, else as the protocol does."""
    sections = range(len(report.protocol.sections))
    rows = _rows(report, view)
    fractions = sorted({f for s in sections for f in report.fractions(s)})
    order = {
        "row": dict.fromkeys(report.titles[row] for row in rows) if on_networks(view) else rows,
        "network": ["", *report.protocol.networks],
        "section": selected.sections(view, report.protocol.sections),
        "fraction": view.fractions or fractions,
        "target": [t for s in sections for t in _targets(report, view, s) if t != MEAN] + [MEAN],
        "metric": _selected(view.metrics, report.metrics),
    }
    if view.targets:
        order["target"] = [MEAN if t == BY_NAME else t for t in view.targets]
    return {
        axis: {v: i for i, v in enumerate(dict.fromkeys(values))} for axis, values in order.items()
    }


def word(report: ReportContext, axis: str, value: Any, *, alone: bool = True) -> str:
    """Return a value in print.

    Args:
        report: knows the names.
        axis: what it is of.
        value: as a point has it; of rows also the title of several.
        alone: does it stand under a heading that says what it is of?
    """
    match axis:
        case "row":
            return report.titles.get(value, value)
        case "section":
            return report.labels[value]
        case "fraction":
            return f"{value} %" if alone else f"{value} % of labels"
        case "target":
            return report.protocol.layout.mean if value == MEAN else value
        case "metric":
            return metric_axis(value, report.unit(value))[0] if alone else metric_title(value)
    return str(value)
