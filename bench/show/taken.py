"""What stands beside rows of elsewhere, and beside those made here: one report speaks of both."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from bench import records
from bench.record import CELL
from bench.report import Beside
from bench.report.grouping import distinct
from bench.runtime.stale import AGAIN
from bench.store import Store, write_atomic
from bench.typed import plain

if TYPE_CHECKING:
    import pandas as pd

THEIRS = "track: "  # begins what is said of how rows of elsewhere came about
K = TypeVar("K", bound=Hashable)
T = TypeVar("T")
TOGETHER = (  # mappings, of which our own win
    "titles", "sources", "receipts", "gaps", "choices", "curves", "defaults",
)  # fmt: skip
ONE_AFTER_ANOTHER = (
    "costs", "failures", "leaks", "pretrainings", "pretexts", "clouds", "submissions",
)  # fmt: skip
FORWARD = "one crop forward"  # a cost that is drawn from rows, wherever they were made
Key = tuple[Any, ...]  # the columns `record.CELL`


def joined(own: Beside, theirs: Beside) -> Beside:
    """Return both in one: what made the numbers of each is told apart.

    A row of elsewhere that was run here as well is spoken of as it ran here.
    """
    if theirs == Beside():
        return own
    here = {cost.row for cost in own.costs if cost.stage != FORWARD}
    ran = {cell_of(course) for course in own.courses}
    known = {info.name for info in own.datasets}
    both = _both(own, theirs)
    for name in ONE_AFTER_ANOTHER:
        both[name] = (*_elsewhere(getattr(theirs, name), here), *getattr(own, name))
    both["pretexts"] = tuple({(one.row, one.seed): one for one in both["pretexts"]}.values())
    both["courses"] = (*(one for one in theirs.courses if cell_of(one) not in ran), *own.courses)
    return replace(
        own,
        **both,
        datasets=(*own.datasets, *(info for info in theirs.datasets if info.name not in known)),
        read=own.read or theirs.read,
        taken=(*theirs.taken, *own.taken),
        other_source=(*own.other_source, *map(_done_there, theirs.other_source)),
        provenance=own.provenance | {THEIRS + k: v for k, v in _merged(theirs.provenance.items()).items()},
    )


def _done_there(line: str) -> str:
    """Return what is said of jobs elsewhere without what can only be done about jobs here."""
    return THEIRS + line.removeprefix(THEIRS).removesuffix(f"; {AGAIN}")


def _merged(facts: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return what produced numbers, of several places as of one: how far away it was is not told."""
    found: dict[str, dict[str, None]] = {}
    for name, values in facts:
        found.setdefault(name.removeprefix(THEIRS), {}).update(dict.fromkeys(values.split("; ")))
    return {name: "; ".join(values) for name, values in found.items()}


def _both(own: Beside, theirs: Beside) -> dict[str, Any]:
    return {name: getattr(theirs, name) | getattr(own, name) for name in TOGETHER}


def _elsewhere(some: tuple[T, ...], here: set[str]) -> list[T]:
    """Return what is of no row that was run here."""
    return [one for one in some if not here & _rows(one)]


def _rows(one: Any) -> set[str]:
    return {*getattr(one, "rows", ()), *filter(None, [getattr(one, "row", "")])}


def cell_of(one: Any) -> Key:
    """Return the key of the cell that a course or a taken cell is of."""
    return tuple(getattr(one, name) for name in CELL)


def leave(
    store: Store, name: str, table: pd.DataFrame, said: Beside, curves: pd.DataFrame | None = None
) -> None:
    """Leave rows of elsewhere, what is said beside them and their learning curves as a protocol's here."""
    file = records.taken_file(store, name)
    records.take(table, file, name)
    write_atomic(file.with_suffix(".json"), json.dumps(plain(said)))
    points = records.taken_file(store, name, f"{file.parent.name}/curves")
    if curves is not None:
        records.take(curves, points, name)
    else:
        points.unlink(missing_ok=True)


@dataclass(frozen=True)
class Names:
    """What cells of elsewhere are called there, and here; nothing is said of others."""

    cells: dict[Key, tuple[Key, ...]]
    whole: frozenset[str]  # rows there of which every cell is taken
    trained: frozenset[str]  # rows there of which every pretraining is behind a cell that is taken

    @cached_property
    def rows(self) -> dict[str, tuple[str, ...]]:
        """Return the rows here by the row there."""
        return _told((there[0], key[0]) for there, here in self.cells.items() for key in here)

    @cached_property
    def sections(self) -> dict[tuple[str, str], tuple[tuple[str, str], ...]]:
        """Return rows and sections here by those there."""
        return _told((there[:2], key[:2]) for there, here in self.cells.items() for key in here)


def _told(pairs: Iterable[tuple[K, T]]) -> dict[K, tuple[T, ...]]:
    found: dict[K, dict[T, None]] = {}
    for there, here in pairs:
        found.setdefault(there, {})[here] = None
    return {there: tuple(some) for there, some in found.items()}


def renamed(said: Beside, names: Names) -> Beside:
    """Return what is said elsewhere of the cells that are taken, by the names that they have here.

    What is told of a row as a whole, as its costs, which are sums over its jobs, is told only where all of it
    is taken. What every run says of its own protocol, methods and data sets is left to that.
    """
    trained = {row: () if row not in names.trained else here for row, here in names.rows.items()}
    costs = (c for c in said.costs if c.row in names.whole or c.stage.startswith("pretrain"))
    pretrainings = (replace(one, rows=_several(one.rows, names)) for one in said.pretrainings)
    pretexts = (replace(one, shared=_several(one.shared, names)) for one in said.pretexts)
    return Beside(
        costs=tuple(_each(costs, trained)),
        leaks=tuple(
            replace(one, row=row, section=section)
            for one in said.leaks for row, section in names.sections.get((one.row, one.section), ())
        ),
        pretrainings=tuple(one for one in pretrainings if one.rows),
        receipts={here: text for row, text in said.receipts.items() for here in names.rows.get(row, ())},
        gaps={here: layers for row, layers in said.gaps.items() for here in names.rows.get(row, ())},
        choices={here: text for row, text in said.choices.items() for here in names.rows.get(row, ())},
        curves={here: curve for row, curve in said.curves.items() for here in names.rows.get(row, ())},
        pretexts=tuple(_each(pretexts, trained)),
        courses=tuple(_of_cells(said.courses, names)),
    )  # fmt: skip


def made(said: Beside, *, there: bool, taken: bool) -> Beside:
    """Return how rows of a view came about: those that were run ``there``, those that it has ``taken``."""

    def asked(text: str) -> bool:
        return taken if text.startswith(THEIRS) else there

    return Beside(
        other_source=tuple(o.removeprefix(THEIRS) for o in said.other_source if asked(o)),
        provenance=_merged((k, v) for k, v in said.provenance.items() if asked(k)),
    )


def _several(rows: Iterable[str], names: Names) -> tuple[str, ...]:
    return tuple(here for row in rows for here in names.rows.get(row, ()))


def _each(some: Iterable[Any], rows: Mapping[str, Iterable[str]]) -> Iterator[Any]:
    return (replace(one, row=row) for one in some for row in rows.get(one.row, ()))


def _of_cells(some: Iterable[Any], names: Names) -> Iterator[Any]:
    for one in some:
        for key in names.cells.get(cell_of(one), ()):
            yield replace(one, **dict(zip(CELL, key, strict=True)))


def together(a: Beside, b: Beside) -> Beside:
    """Return what is said in two places, as of one; what a row cost that both have part of, neither says."""
    both = _both(a, b)
    for name in (*ONE_AFTER_ANOTHER, "courses", "taken", "other_source"):
        both[name] = tuple(dict.fromkeys((*getattr(a, name), *getattr(b, name))))
    twice = {cost.row for cost in a.costs} & {cost.row for cost in b.costs}
    both["costs"] = tuple(cost for cost in both["costs"] if cost.row not in twice)
    made = _merged((*a.provenance.items(), *b.provenance.items()))
    return replace(a, **both, provenance=made, scorings=a.scorings | b.scorings)


def cells(table: pd.DataFrame) -> Iterator[Key]:
    """Yield the key of every cell of some rows."""
    yield from distinct(table, CELL).itertuples(index=False, name=None)


def only(said: Beside, cells: Iterable[Key]) -> Beside:
    """Return what is said of some cells and of their rows; of none nothing."""
    keys = set(cells)
    rows = {row for row, *_ in keys}
    if not keys:
        return Beside()
    some: dict[str, Any] = {
        name: tuple(o for o in getattr(said, name) if _rows(o) <= rows) for name in ONE_AFTER_ANOTHER
    }
    some["pretrainings"] = tuple(
        replace(one, rows=kept) for one in said.pretrainings
        if (kept := tuple(row for row in one.rows if row in rows))
    )  # fmt: skip
    some["submissions"] = said.submissions
    return replace(
        said,
        **some,
        receipts={row: text for row, text in said.receipts.items() if row in rows},
        gaps={row: layers for row, layers in said.gaps.items() if row in rows},
        choices={row: text for row, text in said.choices.items() if row in rows},
        curves={row: curve for row, curve in said.curves.items() if row in rows},
        courses=tuple(one for one in said.courses if cell_of(one) in keys),
        taken=tuple(one for one in said.taken if cell_of(one) in keys),
    )
