"""What ``results/published/errata.md`` says of a printed number; its tables are known by their heads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from bench.protocol import Protocol
from bench.report.cells import Key
from bench.report.context import ReportContext
from bench.report.published import plain, printed_name, same_target

MEANS = ("paper", "table", "method", "note", "dataset", "metric", "printed", "mean of parts")
TWICE = ("paper", "dataset", "target", "metric", "first", "printed", "second", "printed")
NAMES = "here"  # the head of the table of methods that go by several names, then papers


class _Erratum(NamedTuple):
    method: str
    dataset: str
    target: str
    metric: str
    printed: str
    text: str


class Errata:
    """What is listed of one table of one paper."""

    def __init__(self, protocol: Protocol, text: str) -> None:
        self._listed = (
            [] if not protocol.table else [*_listed(text, protocol.paper, protocol.table)]
        )

    def of(self, report: ReportContext, key: Key, printed: float) -> str:
        """Return what is listed of a printed number: where it stands and its value tell it; else nothing."""
        row = report.protocol.rows.get(key.row) or report.protocol.published_only.get(key.row)
        method, _ = printed_name(row.published if row else "")
        datasets, targets, _, metric = report.printed_as(key)
        texts = [
            erratum.text
            for erratum in self._listed
            if (erratum.method, erratum.metric) == (method, metric)
            and plain(erratum.dataset) in map(plain, datasets)
            and same_target(erratum.target) in map(same_target, targets)
            and erratum.printed
            and float(erratum.printed) == printed
        ]
        return " ".join(texts)


def _listed(text: str, paper: str, table: str) -> Iterator[_Erratum]:
    for head, lines in _tables(text):
        for cells in lines:
            if head[: len(MEANS)] == MEANS and cells[:2] == (paper, table):
                _, _, method, _, dataset, metric, printed, mean = cells[: len(MEANS)]
                sentence = (
                    f"The paper prints {printed}, but the mean of the parts that the paper prints is "
                    f"{mean}."
                )
                yield _Erratum(method, dataset, "mean", metric, printed, sentence)
            if head[: len(TWICE)] == TWICE and cells[0] == paper:
                yield from _twice(cells, table)


def _twice(cells: tuple[str, ...], table: str) -> Iterator[_Erratum]:
    """Yield what is to be said of a cell's number in one table by that of another, named ``table1: PGL``."""
    _, dataset, target, metric, *both = cells[: len(TWICE)]
    for (first, printed), (second, other) in ((both[:2], both[2:]), (both[2:], both[:2])):
        table_name, _, method = first.partition(": ")
        other_table, _, name = second.partition(": ")
        if table_name == table:
            text = f"{table_title(other_table)} of the same paper ({name}) prints {other} for this cell."
            yield _Erratum(method, dataset, target, metric, printed, text)


def same_methods(text: str) -> dict[str, str]:
    """Return, by ``plain`` name, one name for methods that papers call otherwise."""
    names_of: dict[str, str] = {}
    for head, lines in _tables(text):
        for cells in lines if head[:1] == (NAMES,) else ():
            names = [name for cell in cells for name in map(plain, cell.split(",")) if name]
            names_of |= dict.fromkeys(names, names[0])
    return names_of


def _tables(text: str) -> Iterator[tuple[tuple[str, ...], list[tuple[str, ...]]]]:
    """Yield the head and the lines of every table of a Markdown page that is whole."""
    for block in text.split("\n\n"):
        lines = [_cells(line) for line in block.splitlines() if line.startswith("|")]
        if len(lines) > 2 and len({*map(len, lines)}) == 1:
            yield lines[0], lines[2:]


def _cells(line: str) -> tuple[str, ...]:
    return tuple(cell.strip() for cell in line.strip()[1:].removesuffix("|").split("|"))


def table_title(name: str) -> str:
    """Return ``Table 5`` for ``table5``, ``Fig. 3`` for ``fig3``."""
    kind, digits = name.rstrip("0123456789"), name[len(name.rstrip("0123456789")) :]
    return " ".join(filter(None, ({"table": "Table", "fig": "Fig."}.get(kind, kind), digits)))
