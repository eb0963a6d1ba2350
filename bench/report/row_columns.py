"""Columns about a row itself: the size of its network, and which of its method's parts are on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from bench.errors import BenchError
from bench.nets import catalog
from bench.nets.sizes import Preset
from bench.protocol import Row, View, method_pretrains, row_of
from bench.report.context import ReportContext
from bench.report.numbers import DASH, difference, number
from bench.report.tabular import Column, TableCell

CHECK = "\N{CHECK MARK}"
PRETRAINED = "pretrained"  # the check that any row has whose weights were pretrained
FACTS: dict[str, tuple[str, Callable[[Preset], int]]] = {
    "parameters": ("Parameters (M)", lambda size: size.parameters),
    "decoder_parameters": ("Decoder (M)", lambda size: size.parameters - size.encoder_parameters),
}
MILLION = 1e6
SIZES = "Parameters of networks in millions, for the channels and classes that bench list networks shows."
CHECKS = f"{CHECK}: switched on in the row's pretraining."
UNKNOWN = f"{DASH}: not recorded by the run."


def columns(view: View) -> list[Column]:
    """Return a view's columns about rows; the network is no number and stands beside the row's title."""
    facts = [Column((FACTS[name][0],), "fact") for name in view.facts if name in FACTS]
    return [*facts, *(Column((heading,), "check") for heading in view.checks)]


def entries(report: ReportContext, view: View, rows: Sequence[str]) -> list[TableCell]:
    """Return their entries of one line, of one row or of one title on several networks."""
    facts = [_fact(report, view, name, rows) for name in view.facts if name in FACTS]
    return [*facts, *(_check(report, rows, parameter) for parameter in view.checks.values())]


def sentences(view: View, entries: Sequence[TableCell]) -> list[str]:
    """Return what a caption says of them; ``entries`` are the table's."""
    texts = [SIZES] if {*view.facts} & {*FACTS} else []
    texts += [CHECKS] if view.checks else []
    return texts + ([UNKNOWN] if view.checks and any(e == TableCell(DASH) for e in entries) else [])


def _fact(report: ReportContext, view: View, name: str, rows: Sequence[str]) -> TableCell:
    declared = [row for row, _ in (row_of(report.protocol, row) for row in rows) if row]
    quoted = report.protocol.published_only.get(rows[0])
    printed = (
        report.published.fact(declared[0] if declared else quoted, name) if view.published else None
    )
    published = number(printed.number, "M") + printed.dagger if printed else ""
    if not declared:
        return TableCell(published, quoted=bool(quoted), sort=printed.number if printed else None)
    nets = [report.protocol.networks[row.network] for row in declared]
    try:
        sizes = dict.fromkeys(
            FACTS[name][1](catalog.preset(n.network, n.preset)) / MILLION for n in nets
        )
    except BenchError:  # a plugin's, which is gone
        return TableCell(DASH, published=published, hole="absent")
    text = " / ".join(number(size, "M") for size in sizes)
    first = next(iter(sizes))
    gap = difference(first - printed.number, "M") if printed and len(sizes) == 1 else ""
    return TableCell(text, published=published, difference=gap, sort=first)


def _check(report: ReportContext, rows: Sequence[str], parameter: str) -> TableCell:
    declared = [row for row, _ in (row_of(report.protocol, row) for row in rows) if row]
    on = _is_on(report, declared[0], parameter) if declared else False
    return TableCell(DASH if on is None else CHECK if on else "")


def _is_on(report: ReportContext, row: Row, parameter: str) -> bool | None:
    """Tell whether a row's parameter is neither false nor 0; None where nobody here knows its default."""
    if not method_pretrains(row):
        return False
    if parameter == PRETRAINED:
        return True
    value: Any = row.params.get(
        parameter, report.extras.defaults.get(row.method, {}).get(parameter)
    )
    return None if value is None else value > 0 if isinstance(value, int | float) else bool(value)
