"""How a report is laid out: its tables and figures, in the order of print."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from bench.errors import BenchError, unknown
from bench.ranges import Range
from bench.typed import percents

# What a cell is of. A row is a method on a network: where `network` is an axis beside it, rows of one
# title on several networks are one line.
Axis = Literal["row", "network", "section", "fraction", "target", "metric"]
MEAN = "mean"  # the target that is the mean over all
Percents = Annotated[tuple[int, ...], Range(1, 100, order=False)]
Cases = Annotated[int, Range(0, 100, above=True)]
COLUMNS: dict[str, tuple[Axis, ...]] = {  # by `draw`; of others targets
    "lines": ("fraction",),
    "learning": ("fraction",),
    "pretraining": ("fraction",),
    "dots": ("section", "metric"),
}


@dataclass(frozen=True, kw_only=True)
class View:
    """One table or figure. It shows all rows, sections, fractions, targets and metrics that it does not limit.

    A table is a pivot table: ``lines`` and ``columns`` name axes, outermost first. For an axis that
    is in neither, one table is printed for each value. For ``target``, only the mean is printed.
    ``bars``, ``lines`` and ``dots`` have ``columns`` along their axis (by default targets, fractions, and
    sections by metrics), one colour per row, and one plot per value of the other axes.
    """

    title: str = ""  # printed title
    # a table, or the kind of figure
    draw: Literal[
        "table",
        "bars",
        "lines",
        "dots",
        "learning",
        "pretraining",
        "embeddings",
        "panels",
        "mixture",
    ] = "table"
    lines: tuple[Axis, ...] = ("row",)  # axes down the table
    columns: tuple[Axis, ...] = ()  # by default [target]; some figures have another default
    rows: tuple[str, ...] = ()  # names of the rows to show, in this order; all by default
    sections: tuple[str, ...] = ()  # the same for sections
    fractions: Percents = percents(())  # the same for label fractions, in percent
    targets: tuple[str, ...] = ()  # the same for targets; "mean" is the mean over all
    metrics: tuple[str, ...] = ()  # by default the layout's metric first, then the others
    published: bool = True  # print the paper's numbers beside ours
    # in a table: print after each number the gain over this row, or over each row's "baseline"
    gain: str = ""
    # columns with facts about the row
    facts: tuple[Literal["network", "parameters", "decoder_parameters"], ...] = ()
    # title of a column of check marks: parameter of the method
    checks: dict[str, str] = field(default_factory=dict)
    cases: Cases = 3  # number of cases in panels; panels show the largest fraction by default
    # by the first metric, averaged over rows
    pick: Literal["first", "best", "median", "worst"] = "first"
    # largest: the slice with most labelled voxels; middle: half-way through the labels
    slices: Literal["largest", "middle"] = "largest"
    errors: bool = False  # draw a map of wrong voxels beside each prediction

    def __post_init__(self) -> None:
        if not self.columns:
            object.__setattr__(self, "columns", COLUMNS.get(self.draw, ("target",)))


@dataclass(frozen=True)
class Layout:
    """How the results are laid out. ``columns`` is used if there are no ``views``."""

    columns: Literal["targets", "fractions", "datasets"] = "targets"  # columns of the one table
    # metric of the first table; by default the first. Further tables have the others
    metric: str = ""
    mean: str = "Mean"  # printed name of the mean over targets
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)  # heading: rows under it
    views: tuple[View, ...] = ()  # several tables and figures, in the order of print


def check(protocol: Any) -> None:
    """Refuse views that name what the protocol lacks, or that cannot be laid out.

    Raises:
        BenchError: names file, line, key and the nearest name.
    """
    rows = (*protocol.rows, *protocol.published_only)
    if protocol.layout.metric and protocol.metrics:
        _check_names(
            protocol, "metric", (protocol.layout.metric,), protocol.metrics, ("layout", "metric")
        )
    for heading, named in protocol.layout.groups.items():
        _check_names(protocol, "row", named, rows, ("layout", "groups", heading))
    for name, row in protocol.rows.items():
        _check_names(
            protocol, "section", row.sections, protocol.sections, ("rows", name, "sections")
        )
    if twice := protocol.rows.keys() & protocol.published_only.keys():
        where = protocol.where(("published_only", min(twice)))
        raise BenchError(
            f"{where}: {min(twice)!r} is already the name of a row; give one of the two another name"
        )
    for number, view in enumerate(protocol.layout.views):
        keys = ("layout", "views", str(number))
        _check_view(view, protocol, rows, keys)


def _check_view(view: View, protocol: Any, rows: tuple[str, ...], keys: tuple[str, ...]) -> None:
    _check_names(protocol, "row", view.rows, rows, (*keys, "rows"))
    _check_names(protocol, "section", view.sections, protocol.sections, (*keys, "sections"))
    if view.metrics and protocol.metrics:
        _check_names(protocol, "metric", view.metrics, protocol.metrics, (*keys, "metrics"))
    if view.gain and view.gain != "baseline":
        _check_names(protocol, "row", (view.gain,), rows, (*keys, "gain"))
    axes = (*view.lines, *view.columns)
    if len({*axes}) < len(axes):
        raise BenchError(f"{protocol.where(keys)}: name each axis once, got {', '.join(axes)}")
    if view.draw == "table" and ("row" not in axes or not view.columns):
        where = protocol.where(keys)
        raise BenchError(
            f"{where}: the table lacks columns, or 'row' among its lines or columns; add what is missing"
        )
    if view.draw == "table" and "row" not in view.lines and (view.facts or view.checks):
        key = "facts" if view.facts else "checks"
        raise BenchError(
            f"{protocol.where((*keys, key))}: these keys are columns already; put 'row' among the lines"
        )
    if refused := _undrawn(view):
        raise BenchError(f"{protocol.where((*keys, 'columns'))}: {refused}")
    if view.draw == "mixture" and protocol.pretrain is None:
        where = protocol.where((*keys, "draw"))
        raise BenchError(
            f"{where}: the protocol has no pretraining; write 'pretrain: {{mixture: NAME}}' "
            "('bench list mixtures'), or remove this view"
        )
    if view.draw == "embeddings" and protocol.embeddings is None:
        where = protocol.where((*keys, "draw"))
        raise BenchError(f"{where}: no embeddings are made; write 'embeddings', or leave it out")


def _undrawn(view: View) -> str:
    """Return in words why a figure cannot have a view's columns along its axis; empty where it can."""
    along = ", ".join(view.columns)
    if view.draw == "lines" and view.columns != ("fraction",):
        return (
            f"lines need 'columns: [fraction]', got [{along}]; use bars or dots for other columns"
        )
    if view.draw in ("bars", "dots") and {"row", "network"} & {*view.columns}:
        return f"rows and networks are shown by colour and cannot be columns, got [{along}]"
    if view.draw == "bars" and "metric" in view.columns:
        return f"bars show one metric per plot, got [{along}]; put 'metric' among the lines, or use dots"
    return ""


def _check_names(
    protocol: Any, kind: str, named: tuple[str, ...], names: Any, keys: tuple[str, ...]
) -> None:
    for name in named:
        if name not in names:
            raise BenchError(f"{protocol.where(keys)}: {unknown(kind, name, tuple(names))}")
