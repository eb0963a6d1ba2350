"""Cells that an output folder or a bundle has scored already: their rows are taken over, their jobs not run.

A job's id is all that it was asked, so what the same evaluation scored elsewhere is this protocol's score,
whatever its row is called there. The rows are left in ``OUT/tracks/`` with what stood beside them;
cells whose rows lie there are not run, until the files are deleted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import records
from bench.bundle.opening import as_folder
from bench.errors import BenchError
from bench.metrics.request import LATENCY
from bench.record import COLUMNS, CURVE, SCORES, read_rows, stacked
from bench.report import Beside, Taken
from bench.report.footnotes import counted
from bench.report.grouping import distinct
from bench.show.reports import read_beside
from bench.show.taken import Key, Names, cell_of, leave, made, renamed, together

if TYPE_CHECKING:
    import pandas as pd

    from bench.plan import Cell, Plan
    from bench.store import Store

Part = tuple["pd.DataFrame", dict[str, Any]]  # rows, and what all of them have in other columns
KEY = ["row", "section", "fraction", "seed"]  # columns that name a cell to a reader
OF_ALL = "of all that is recorded there, "
POINT = [*SCORES, "part", "step", "epoch"]  # columns of a curve that are not its cell's


@dataclass(frozen=True)
class View:
    """Records, what is said beside them, and their learning curves."""

    file: Path
    place: str = ""  # in words
    before: bool = False  # has this protocol taken them already?

    @property
    def curves(self) -> Path:
        """Return where the learning curves lie."""
        return self.file.parent / "curves" / self.file.name

    def read(self, jobs: set[str]) -> tuple[pd.DataFrame, Beside] | None:
        """Return them, and what is said beside them; None where they have scores of none of some jobs.

        Raises:
            BenchError: one of both is damaged.
        """
        try:
            if jobs.isdisjoint(read_rows(self.file, {"job": "str"})["job"].cat.categories):
                return None
            return read_rows(self.file, COLUMNS), read_beside(self.file.with_suffix(".json"))
        except BenchError as error:
            what = str(error).partition(";")[0]
            undo = "remove both, and take them again" if self.before else "take another --records"
            raise BenchError(f"{what}; {undo}") from None


@dataclass(eq=False)
class Reused:
    """What one protocol takes over, by the view that it comes from."""

    cells: list[Cell] = field(default_factory=list)
    rows: list[Part] = field(default_factory=list)
    points: list[Part] = field(default_factory=list)  # of learning curves
    beside: list[Beside] = field(default_factory=list)
    anew: bool = False  # is anything of it not taken before?


def reuse(plan: Plan, store: Store, places: Sequence[Path]) -> dict[str, Reused]:
    """Leave out of a plan what is scored in some places, and return that by protocol.

    Args:
        plan: cells that are taken over are not wanted any more.
        store: the output folder; what it has scored itself, or taken before, it keeps.
        places: output folders or bundles; the first that has a cell counts.

    Raises:
        BenchError: a place cannot be read, or none has a cell of the plan.
    """
    found = {name: Reused() for name in plan.cells}
    for name, one in found.items():
        if (before := records.taken_file(store, name)).exists():
            _take(one, plan, store, name, View(before, before=True))
    with ExitStack() as stack:
        views = [one for place in places for one in _views(stack.enter_context(as_folder(place)), place)]
        for ran in (True, False):  # what was run for its view, then what that has taken from another
            for view in views:
                for name in found:
                    _take(found[name], plan, store, name, view, ran=ran)
    if places and not any(one.cells for one in found.values()) and _open(plan, store):
        raise BenchError(
            f"--records {', '.join(map(str, places))}: has scores of no cell that is left to do of "
            f"{', '.join(plan.cells)}: none there is of the same recipe, data and seeds"
        )
    return {name: one for name, one in found.items() if one.cells}


def put(reused: dict[str, Reused], store: Store) -> None:
    """Leave what is taken over beside what is run here."""
    for name, one in ((name, one) for name, one in reused.items() if one.anew):
        points = stacked(one.points, CURVE)
        said = reduce(together, one.beside)
        leave(store, name, stacked(one.rows), said, None if points.empty else points)


def said(reused: dict[str, Reused], store: Store) -> Iterator[str]:
    """Yield a line for each protocol that takes cells over."""
    for name, one in reused.items():
        rows = ", ".join(dict.fromkeys(cell.row for cell in one.cells))
        file = records.taken_file(store, name)
        undo = f"; remove {file.with_suffix('')}.* to run them here" if file.exists() else ""
        yield f"{name}: {counted(len(one.cells), 'cell')} ({rows}) taken from records, not run{undo}"


def _views(folder: Path, place: Path) -> list[View]:
    """Return the views in an output folder."""
    if not (folder / "bench.json").is_file():
        raise BenchError(f"--records {place}: is neither an output folder of bench nor a bundle (.zip)")
    return [View(view, f"{view.stem} in {place}") for view in sorted((folder / "records").glob("*.parquet"))]


def _open(plan: Plan, store: Store) -> bool:
    cells = [cell for some in plan.cells.values() for cell in some if cell.wanted]
    return any(not records.done(plan, store, cell.evaluate) for cell in cells)


def _take(one: Reused, plan: Plan, store: Store, name: str, view: View, *, ran: bool = False) -> None:
    """Take what one view has of one protocol.

    Args:
        one: what is taken already; it grows.
        plan: its cells that are taken are not wanted any more.
        store: the output folder.
        name: of the protocol.
        view: has scores of its cells, or not.
        ran: take only what was run for that view.
    """
    found = view.read({cell.evaluate for cell in plan.cells[name]})
    if found is None:
        return
    table, said = found
    skipped = _elsewhere(table, said) if ran else set()
    kept = table[table["status"].ne("failed") & ~table["job"].isin(skipped)]
    scores = dict(list(kept.groupby("job", observed=True)))
    taken, known = [], {(cell.row, cell.evaluate) for cell in one.cells}
    for i, cell in enumerate(plan.cells[name]):
        if (cell.row, cell.evaluate) in known or cell.submission or records.done(plan, store, cell.evaluate):
            continue
        if own := _scores(scores, cell, plan.scoring_of[name][cell.columns["section"]].metrics):
            one.rows += [(rows, {**cell.columns, "job": job}) for job, rows in own.items()]
            taken.append(cell)
            plan.cells[name][i] = replace(cell, wanted=False)
    if taken:
        one.cells += taken
        one.anew |= not view.before
        one.points += _points(view.curves, taken)
        one.beside.append(_beside(view, said, table, taken))


def _elsewhere(table: pd.DataFrame, said: Beside) -> set[str]:
    """Return the jobs of cells that a view has taken from another."""
    cells = {cell_of(one) for one in said.taken}
    known = distinct(table, ["job", *KEY]).itertuples(index=False, name=None) if cells else ()
    return {job for job, *key in known if tuple(key) in cells}


def _scores(scores: dict[str, pd.DataFrame], cell: Cell, metrics: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Return all rows that a protocol asks of a cell, by job; nothing where one is lacking."""
    asked = {cell.evaluate: {*metrics}} | ({cell.latency: {LATENCY}} if cell.latency else {})
    found: dict[str, pd.DataFrame] = {}
    for job, names in asked.items():
        rows = scores.get(job)
        if rows is None or set(rows["convention"]) != {cell.columns["convention"]}:
            return {}
        found[job] = rows.loc[rows["metric"].isin(names), list(SCORES)]
        if names - set(found[job]["metric"]):
            return {}
    return found


def _points(file: Path, cells: Sequence[Cell]) -> list[Part]:
    """Return the points of the cells' learning curves, as far as there are some."""
    wanted = [cell for cell in cells if cell.curve]
    table = read_rows(file, CURVE) if wanted and file.exists() else None
    if table is None:
        return []
    own = [(table.loc[table["job"] == cell.finetune, POINT], cell) for cell in wanted]
    return [(rows, {**cell.columns, "job": cell.finetune}) for rows, cell in own]


def _beside(view: View, said: Beside, table: pd.DataFrame, cells: Sequence[Cell]) -> Beside:
    """Return what is said beside a view of cells that are taken from it, by the names that they have here."""
    here: dict[str, list[Key]] = {}
    for cell in cells:
        here.setdefault(cell.evaluate, []).append(_key(cell.columns))
    ran = distinct(table[table["metric"] != LATENCY], ["job", *KEY, "pretrain_seed", "fold"])
    named, kept = dict[Key, dict[Key, None]](), dict[str, set[bool]]()
    seeds: dict[tuple[Any, ...], bool] = {}  # of a pretraining: is it behind one that is taken?
    for job, *key, pretrained, fold in ran.itertuples(index=False, name=None):
        taken, seed = job in here, (key[0], pretrained, fold)
        kept.setdefault(key[0], set()).add(taken)
        seeds[seed] = seeds.get(seed, False) or taken
        named.setdefault((key[0], key[1], key[2], key[3]), {}).update(dict.fromkeys(here.get(job, ())))
    names = Names(
        {there: tuple(some) for there, some in named.items() if some},
        frozenset(row for row, some in kept.items() if some == {True}),
        frozenset(kept) - {row for (row, *_), taken in seeds.items() if not taken},
    )
    found = renamed(said, names)
    if view.before:
        return replace(found, provenance=said.provenance, other_source=said.other_source)
    first = {cell_of(one): one.place for one in found.taken}  # where that view has them from
    keys = [key for some in names.cells.values() for key in some]
    own = any(key not in first for key in keys)
    origin = made(said, there=own, taken=bool(first) or not said.taken)
    lines = origin.other_source
    if names.whole != kept.keys():
        lines = tuple(OF_ALL + line.removeprefix(OF_ALL) for line in lines)
    told = tuple(Taken(*key, first.get(key, view.place)) for key in keys)
    return replace(found, taken=told, other_source=lines, provenance=origin.provenance)


def _key(columns: Mapping[str, Any]) -> Key:
    return columns["row"], columns["section"], columns["fraction"], columns["seed"]
