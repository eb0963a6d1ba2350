"""What other papers print for the same cells: of one method, data set, target, fraction and metric."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

from bench.protocol import Quoted, Row, method_pretrains
from bench.report.cells import MEAN, Key
from bench.report.context import ReportContext
from bench.report.errata import same_methods, table_title
from bench.report.names import metric_title
from bench.report.published import MEANS, plain, printed_name, same_target

if TYPE_CHECKING:
    import pandas as pd

HEADING = "Other papers on the same cells"
NOTE = "Numbers are as printed. Splits, networks and settings may differ from paper to paper."
COPIED = "copied_from"  # in a note: the paper that a number was taken from


class _Cell(NamedTuple):
    method: str
    scratch: bool  # is it trained from scratch?
    dataset: str
    target: str
    fraction: str
    metric: str


def sentences(report: ReportContext) -> list[str]:
    """Return one for each number that another paper prints for a cell of this table, in the order of rows."""
    frame, protocol = report.extras.published, report.protocol
    if frame is None or not protocol.table:
        return []
    names = same_methods(report.extras.errata)
    others = _others(frame, protocol.paper, names)
    ours = dict[_Cell, dict[str, Key]]()  # by row
    rows: dict[str, Row | Quoted] = {**protocol.rows, **protocol.published_only}
    for name, row in rows.items():
        method = plain(printed_name(row.published)[0])
        scratch = isinstance(row, Row) and not method_pretrains(row)
        for key in _keys(report, name) if method else ():
            if report.printed(key) is not None:
                datasets, targets, fraction, metric = report.printed_as(key)
                for dataset, target in product(map(plain, datasets), map(_target, targets)):
                    called = names.get(method, method)
                    cell = _Cell(called, scratch, dataset, target, str(fraction), plain(metric))
                    ours.setdefault(cell, {})[name] = key
    texts = dict[str, None]()
    for cell, keys in ours.items():
        for (paper, table), values in others.get(cell, {}).items():
            if len(keys) == len(values) == 1:  # of several settings none is the other's
                (key,) = keys.values()
                texts[
                    f"{_location(report, key)}: {values[0]} in {table_title(table)} of {paper}."
                ] = None
    return [*texts, *([NOTE] if texts else [])]


def _others(
    frame: pd.DataFrame, paper: str, names: dict[str, str]
) -> dict[_Cell, dict[tuple[str, str], list[str]]]:
    """Return by cell what the tables of other papers print for it."""
    by_cell: dict[_Cell, dict[tuple[str, str], list[str]]] = {}
    for r in frame[frame["paper"] != paper].astype(str).itertuples(index=False):
        method, scratch = names.get(plain(r.method), plain(r.method)), r.pretrain == "none"
        share = r.fraction.rstrip("%")
        cell = _Cell(method, scratch, plain(r.dataset), _target(r.target), share, plain(r.metric))
        value = f"{r.value} ({r.note})" if COPIED in r.note else r.value
        by_cell.setdefault(cell, {}).setdefault((r.paper, r.table), []).append(value)
    return by_cell


def _target(name: str) -> str:
    return "" if plain(name) in MEANS else same_target(name)


def _keys(report: ReportContext, row: str) -> Iterator[Key]:
    """Yield every cell of a row; of a section with one target that one alone."""
    for section in range(len(report.protocol.finetune)):
        targets = report.targets(section)
        printed = targets if len(targets) == 1 else (*targets, MEAN)
        for fraction, target, metric in product(report.fractions(section), printed, report.metrics):
            yield Key(row, section, fraction, target, metric)


def _location(report: ReportContext, key: Key) -> str:
    target = report.protocol.layout.mean if key.target == MEAN else key.target
    title = report.titles.get(key.row, key.row)
    metric = metric_title(key.metric)
    return ", ".join((title, report.labels[key.section], target, f"{key.fraction} %", metric))
