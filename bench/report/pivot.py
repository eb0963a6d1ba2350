"""What stands where in a view: its tables, the lines and columns of each, and the cell where two meet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from bench.protocol import View, row_of
from bench.protocol.views import MEAN as BY_NAME
from bench.report.cells import MEAN, Key
from bench.report.names import metric_axis, metric_title
from bench.report.scene import Scene

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
Place = tuple[Any, ...]  # a value for each axis of the lines, or of the columns


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
    lines: tuple[Place, ...]
    columns: tuple[Place, ...]
    points: dict[tuple[Place, Place], Point]
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


def pivots(scene: Scene, view: View) -> list[Pivot]:
    """Return the tables of a view; those that would hold nothing are left out."""
    axes = (*view.lines, *view.columns)
    free = tuple(axis for axis in TABLES if axis not in axes)
    ranks = _ranks(scene, view)

    def place(point: Point, some: tuple[str, ...]) -> Place:
        return tuple(_value(scene, view, axis, point) for axis in some)

    def sort(places: dict[Place, None], some: tuple[str, ...]) -> tuple[Place, ...]:
        return tuple(
            sorted(places, key=lambda p: [ranks[a][v] for a, v in zip(some, p, strict=True)])
        )

    found: dict[Place, dict[tuple[Place, Place], Point]] = {}
    for point in _points(scene, view):
        here = found.setdefault(place(point, free), {})
        here[place(point, view.lines), place(point, view.columns)] = point
    apart = tuple(a for i, a in enumerate(free) if len({key[i] for key in found}) > 1)
    return [
        Pivot(
            view,
            sort(dict.fromkeys(line for line, _ in found[key]), view.lines),
            sort(dict.fromkeys(column for _, column in found[key]), view.columns),
            found[key],
            apart,
        )
        for key in sort(dict.fromkeys(found), free)
    ]


def _value(scene: Scene, view: View, axis: str, point: Point) -> Any:
    if axis == "row" and on_networks(view):
        return scene.titles[point.row]  # one line or column for all of them
    return getattr(point, axis)


def on_networks(view: View) -> bool:
    """Tell whether rows of one title on several networks are one."""
    return "network" in (*view.lines, *view.columns)


def _points(scene: Scene, view: View) -> Iterator[Point]:
    named = scene.protocol.sections
    rows = [(row, network) for row in _rows(scene, view) for network in _networks(scene, view, row)]
    for section in _asked(view.sections, named, range(len(named))):
        for fraction in _asked(view.fractions, scene.fractions(section)):
            for target in _targets(scene, view, section):
                for metric in _asked(view.metrics, scene.metrics):
                    if scene.judges(metric, section):  # Dice says nothing of classes
                        place = (section, fraction, target, metric)
                        yield from (
                            Point(r, n, *place) for r, n in rows if _holds(scene, r, n, place)
                        )


def _holds(scene: Scene, row: str, network: str, place: tuple[int, int, str, str]) -> bool:
    """Tell whether a row has a cell at a place: one that is quoted only where the paper printed a number."""
    if row in scene.protocol.published_only:
        return scene.printed(Key(row, *place), network) is not None
    return scene.has(row, place[0])


def _asked(asked: tuple[Any, ...], there: Any, values: Any = None) -> list[Any]:
    """Return the values of those that are asked for and are there, as asked; all where none are."""
    by_name = dict(zip(there, there if values is None else values, strict=True))
    return [by_name[name] for name in asked if name in by_name] if asked else list(by_name.values())


def _targets(scene: Scene, view: View, section: int) -> list[str]:
    targets = [*scene.targets(section)]
    if view.targets:
        return [MEAN if t == BY_NAME else t for t in view.targets if t == BY_NAME or t in targets]
    if "target" not in (*view.lines, *view.columns):
        return [MEAN]
    return targets if len(targets) == 1 else [*targets, MEAN]


def _networks(scene: Scene, view: View, row: str) -> list[str]:
    """Return the network of a row; of one that is quoted, where they are told apart, each that there is."""
    if row in scene.protocol.published_only and on_networks(view):
        return list(dict.fromkeys(known.network for known in scene.protocol.rows.values()))
    known, _ = row_of(scene.protocol, row)
    return [known.network if known else ""]


def _rows(scene: Scene, view: View) -> list[str]:
    """Return the rows in the order of print, those without a group first; variants beside their row.

    Positive controls without a group stand last.
    """
    rows = [*scene.rows, *(scene.protocol.published_only if view.published else ())]
    if view.rows:
        rows = [row for name in view.rows for row in rows if own(scene, row) == name]
    headings = ["", *scene.protocol.layout.groups, CONTROLS]
    return sorted(rows, key=lambda row: headings.index(group(scene, row)))


def own(scene: Scene, row: str) -> str:
    """Return a row's name without that of its variant: "voco" of "voco (last)"."""
    return row.removesuffix(row_of(scene.protocol, row)[1])


def group(scene: Scene, row: str) -> str:
    """Return the heading under which a row stands, "" for none."""
    named = own(scene, row)
    known = scene.protocol.rows.get(named)
    otherwise = CONTROLS if known is not None and known.ceiling else ""
    return next((h for h, rows in scene.protocol.layout.groups.items() if named in rows), otherwise)


def _ranks(scene: Scene, view: View) -> dict[str, dict[Any, int]]:
    """Return the order of every axis: as the view states it, else as the protocol does."""
    sections = range(len(scene.protocol.sections))
    rows = _rows(scene, view)
    fractions = sorted({f for s in sections for f in scene.fractions(s)})
    order = {
        "row": dict.fromkeys(scene.titles[row] for row in rows) if on_networks(view) else rows,
        "network": ["", *scene.protocol.networks],
        "section": _asked(view.sections, scene.protocol.sections, sections),
        "fraction": view.fractions or fractions,
        "target": [t for s in sections for t in _targets(scene, view, s) if t != MEAN] + [MEAN],
        "metric": _asked(view.metrics, scene.metrics),
    }
    if view.targets:
        order["target"] = [MEAN if t == BY_NAME else t for t in view.targets]
    return {
        axis: {v: i for i, v in enumerate(dict.fromkeys(values))} for axis, values in order.items()
    }


def word(scene: Scene, axis: str, value: Any, *, alone: bool = True) -> str:
    """Return a value in print.

    Args:
        scene: knows the names.
        axis: what it is of.
        value: as a point has it; of rows also the title of several.
        alone: does it stand under a heading that says what it is of?
    """
    match axis:
        case "row":
            return scene.titles.get(value, value)
        case "section":
            return scene.labels[value]
        case "fraction":
            return f"{value} %" if alone else f"{value} % of labels"
        case "target":
            return scene.protocol.layout.mean if value == MEAN else value
        case "metric":
            return metric_axis(value, scene.unit(value))[0] if alone else metric_title(value)
    return str(value)
