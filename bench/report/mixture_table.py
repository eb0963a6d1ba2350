"""The table of a pretraining's mixture: its data sets, and what was read of each."""

from __future__ import annotations

from bench.protocol import View, mixture
from bench.protocol.sections import Mix
from bench.report.context import ReportContext
from bench.report.names import dataset_info
from bench.report.numbers import DASH, MINUS
from bench.report.supplement import Ingredient
from bench.report.tabular import Column, Line, Table, TableCell

COUNTS = {"Group ID": "group_id", "Classes": "n_classes", "Cases": "n_cases", "Slices": "n_slices"}
NOTE = (
    "Cases and slices (along z, after preparation) are those that the pretraining read. A dash means that "
    "it was not run here. Labels are those of the data set; the pretraining may not use them."
)


def mixture_of(report: ReportContext, view: View) -> Table:
    """Return the table, one line for each entry of the mixture."""
    section = report.protocol.pretrain
    assert section is not None  # a protocol without one is refused
    named = mixture.mixture(section.mixture) if section.mixture else None
    parts, read = mixture.parts(section), report.extras.read
    ingredients: tuple[Ingredient, ...] = ()
    if [ingredient.dataset for ingredient in read] == [part.dataset for part in parts]:
        ingredients = read
    groups = {str(number): name for number, name in (named.groups if named else {}).items()}
    lines = [
        _line(report, view, part, groups, ingredients[i] if ingredients else None)
        for i, part in enumerate(parts)
    ]
    return Table(
        title=view.title or (named.title if named else mixture.title(section)),
        caption=NOTE,
        stubs=("Task", "Data set", "Group", "Labels"),
        columns=tuple(Column((name,)) for name in COUNTS),
        groups=(("", tuple(lines)),),
        leaf=1,
        counted=False,
    )


def _line(
    report: ReportContext, view: View, part: Mix, groups: dict[str, str], read: Ingredient | None
) -> Line:
    info = dataset_info(part.dataset, report.extras)
    labels = ", ".join(f"{value}: {name}" for value, name in info.labels) or DASH
    task, group = (DASH if n is None else str(n) for n in (part.task, part.group))
    ours = {
        "Group ID": part.group,
        "Classes": len(info.labels) or None,
        "Cases": read.cases if read else None,
        "Slices": read.slices if read else None,
    }
    count = report.published.count
    printed = [count(part.dataset, m) if view.published else None for m in COUNTS.values()]
    entries = tuple(map(_count_cell, ours.values(), printed))
    return Line((task, info.title, groups.get(group, DASH), labels), entries)


def _count_cell(ours: int | None, printed: float | None) -> TableCell:
    published = "" if printed is None else f"{printed:,.0f}"
    if ours is None:
        return TableCell(DASH, published=published, hole="absent")
    gap = "" if printed is None else f"{ours - printed:+,.0f}".replace("-", MINUS)
    return TableCell(
        f"{ours:,}", published=published, difference="" if gap in ("+0",) else gap, sort=float(ours)
    )
