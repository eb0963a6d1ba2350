"""What a view shows of a report, each in the order of print: all that it does not narrow down."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from bench.metrics.request import LATENCY
from bench.protocol import Protocol, View, base_of
from bench.protocol.views import MEAN as MEAN_TARGET
from bench.report.cells import MEAN, Key
from bench.report.context import ReportContext


def rows(protocol: Protocol, view: View, rows: Iterable[str]) -> list[str]:
    """Return those of some rows that a view names, in its order, each with its variants; all by default."""
    available = list(rows)
    base_rows = {row: base_of(protocol, row) for row in available}
    if view.rows:
        return [row for name in view.rows for row in available if base_rows[row] == name]
    return available


def sections(view: View, names: Sequence[str]) -> list[int]:
    """Return the numbers of those of some sections that a view names, in its order; all by default."""
    return [names.index(name) for name in view.sections or names if name in names]


def metrics(report: ReportContext, view: View, section: int) -> list[str]:
    """Return the metrics of a section: those that judge its task."""
    requested = view.metrics or [m for m in report.metrics if m != LATENCY]
    return [m for m in requested if report.judges(m, section)]


def fractions(report: ReportContext, view: View, section: int) -> list[int]:
    """Return the label fractions of a section, in ascending order."""
    return sorted(f for f in report.fractions(section) if not view.fractions or f in view.fractions)


def targets(report: ReportContext, view: View, section: int, *, along: bool = False) -> list[str]:
    """Return the targets of a section, their mean as ``MEAN``.

    Args:
        report: knows them.
        view: names some; by default the mean alone, or all and then the mean.
        section: counted from 0.
        along: do they stand side by side?
    """
    targets = report.targets(section)
    if view.targets:
        requested = [MEAN if name == MEAN_TARGET else name for name in view.targets]
        return [name for name in requested if name == MEAN or name in targets]
    return [*targets, *([MEAN] if len(targets) != 1 else [])] if along else [MEAN]


def not_shown(report: ReportContext) -> list[str]:
    """Return a sentence for each view that names targets or label fractions that none of its sections has."""
    lines = []
    for number, view in enumerate(report.protocol.layout.views, 1):
        numbers = sections(view, report.protocol.sections)
        title = f" (“{view.title}”)" if view.title else ""
        present: dict[str, set[Any]] = {
            "fractions": {f for s in numbers for f in report.fractions(s)},
            "targets": {MEAN_TARGET}.union(*map(report.targets, numbers)),
        }
        for key, values in present.items():
            if absent := [str(name) for name in getattr(view, key) if name not in values]:
                lines.append(
                    f"View {number} of the layout{title} names {key} that its sections do not have: "
                    f"{', '.join(absent)}. They have {', '.join(map(str, sorted(values)))}."
                )
    return lines


def places(report: ReportContext, view: View) -> list[Key]:
    """Return every place that a view shows, its row left empty."""
    along = "target" in view.columns
    return [
        Key("", section, fraction, target, metric)
        for section in sections(view, report.protocol.sections)
        for fraction in fractions(report, view, section)
        for metric in metrics(report, view, section)
        for target in targets(report, view, section, along=along)
    ]


def shown(report: ReportContext, view: View) -> list[str]:
    """Return the rows of a view; at the end those that the paper alone has numbers for."""
    quoted = report.protocol.published_only if view.published else ()
    return rows(report.protocol, view, [*report.rows, *quoted])
