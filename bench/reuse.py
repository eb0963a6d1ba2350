"""Cells that an output folder or a bundle has scored already: their rows are taken over, their jobs not run.

A job's id is all that it was asked, so what the same evaluation scored elsewhere is this protocol's score,
whatever its row is called there. The rows are left in ``OUT/tracks/`` with what stood beside them;
cells whose rows lie there are not run, until the files are deleted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property, reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import records
from bench.bundle.opening import as_folder
from bench.elsewhere import Rows
from bench.errors import BenchError
from bench.jobs.scoring import key
from bench.metrics.request import LATENCY
from bench.record import CELL, COLUMNS, CURVE, read_rows, stacked
from bench.report import Beside, Taken
from bench.report.footnotes import counted
from bench.report.grouping import distinct
from bench.show.reports import read_beside
from bench.show.taken import Names, cell_of, leave, made, renamed, together
from bench.store import Store

if TYPE_CHECKING:
    import pandas as pd

    from bench.jobs.scoring import Scoring
    from bench.plan import Cell, Plan

OF_ALL = "of all that is recorded there, "


@dataclass(frozen=True)
class View:
    """Records, what is said beside them, and their learning curves; read once, and only if asked for."""

    file: Path
    folder: str  # that it lies in, in words; empty where a protocol here has taken them before

    @cached_property
    def jobs(self) -> frozenset[str]:
        """Return the jobs that it has rows of."""
        return frozenset(self._read(self.file, {"job": "str"})["job"].cat.categories)

    @cached_property
    def rows(self) -> Rows:
        """Return its rows."""
        return Rows(self._read(self.file, COLUMNS))

    @cached_property
    def curves(self) -> Rows | None:
        """Return the points of its learning curves, if it has some."""
        file = self.file.parent / "curves" / self.file.name
        return Rows(self._read(file, CURVE)) if file.exists() else None

    @cached_property
    def said(self) -> Beside:
        """Return what is said beside it."""
        file = self.file.with_suffix(".json")
        try:
            if not file.exists():
                raise BenchError(f"{file}: is lost")
            return read_beside(file)
        except BenchError as error:
            raise self._damaged(error) from None

    @cached_property
    def elsewhere(self) -> frozenset[str]:
        """Return the jobs whose rows it has taken from other views."""
        cells = set(map(cell_of, self.said.taken))
        known = distinct(self.rows.table, ["job", *CELL]) if cells else None
        if known is None:
            return frozenset()
        return frozenset(
            job for job, *cell in known.itertuples(index=False, name=None) if tuple(cell) in cells
        )

    def _read(self, file: Path, columns: dict[str, str]) -> pd.DataFrame:
        try:
            return read_rows(file, columns)
        except BenchError as error:
            raise self._damaged(error) from None

    def _damaged(self, error: BenchError) -> BenchError:
        undo = "take another --records"
        if not self.folder:
            undo = f"remove {self.file} and {self.file.with_suffix('.json').name}, and take them again"
        return BenchError(f"{str(error).partition(';')[0]}; {undo}")


@dataclass(eq=False)
class Reused:
    """What one protocol takes over."""

    cells: list[Cell] = field(default_factory=list)  # that are not run for it
    before: View | None = None  # what was taken before
    rows: list[pd.DataFrame] = field(default_factory=list)  # anew, by view
    points: list[pd.DataFrame] = field(default_factory=list)  # of learning curves
    beside: list[Beside] = field(default_factory=list)


@dataclass(eq=False)
class Open:
    """The wanted cells of one protocol that nobody has scored yet."""

    plan: Plan
    name: str
    cells: dict[int, tuple[Cell, Scoring]]  # by their place in the plan

    def take(self, view: View, jobs: frozenset[str]) -> list[tuple[Cell, Scoring, Any]]:
        """Return cells of which a view has all scores, with the lines; they are not wanted any more."""
        taken = []
        for place, (cell, scoring) in list(self.cells.items()):
            if cell.evaluate not in jobs:
                continue
            lines = view.rows.asked(cell, scoring)
            if view.rows.whole(lines, cell, scoring) and (not view.folder or _judged(view, cell, scoring)):
                taken.append((cell, scoring, lines))
                self.plan.cells[self.name][place] = replace(cell, wanted=False)
                del self.cells[place]
        return taken


def reuse(plan: Plan, store: Store, places: Sequence[Path]) -> dict[str, Reused]:
    """Leave out of a plan what is scored in some places, and return that by protocol.

    Args:
        plan: cells that are taken over are not wanted any more.
        store: the output folder; what it has scored itself, or taken before, it keeps.
        places: output folders or bundles; the first that has a cell counts.

    Raises:
        BenchError: a place cannot be read, or has nothing of a plan of which something is left to do.
    """
    found = {name: Reused() for name in plan.cells}
    left = {name: Open(plan, name, _undone(plan, store, name)) for name in plan.cells}
    for name, one in found.items():
        if (file := records.taken_file(store, name)).exists():
            one.before = View(file, "")
            assert one.before.said is not None  # what is damaged is told before anything runs
            one.cells += [cell for cell, *_ in left[name].take(one.before, one.before.jobs)]
    with ExitStack() as stack:
        views = {place: _views(stack.enter_context(as_folder(place)), place) for place in places}
        for ran in (True, False):  # what was run for its view, then what that has taken from another
            for view in (view for some in views.values() for view in some):
                for name, one in found.items():
                    _take(one, left[name], view, ran=ran)
        if any(one.cells for one in left.values()) and not plan.provisional:
            _refuse_useless(plan, left, views)
    return {name: one for name, one in found.items() if one.cells}


def put(reused: dict[str, Reused], store: Store) -> None:
    """Leave what is taken over beside what is run here, and beside what was taken before."""
    for name, one in ((name, one) for name, one in reused.items() if one.rows):
        rows, points, beside = list(one.rows), list(one.points), list(one.beside)
        if one.before is not None:
            rows.insert(0, one.before.rows.table)
            points[:0] = [one.before.curves.table] if one.before.curves else []
            beside.insert(0, one.before.said)
        curves = stacked([(table, {}) for table in points], CURVE) if points else None
        leave(store, name, stacked([(table, {}) for table in rows]), reduce(together, beside), curves)


def said(reused: dict[str, Reused], store: Store) -> Iterator[str]:
    """Yield a line for each protocol that takes cells over."""
    for name, one in reused.items():
        rows = ", ".join(dict.fromkeys(cell.row for cell in one.cells))
        file = records.taken_file(store, name)
        undo = f"; remove {file} and {file.stem}.json to run them here" if file.exists() else ""
        yield f"{name}: {counted(len(one.cells), 'cell')} ({rows}) taken from records, not run{undo}"


def _undone(plan: Plan, store: Store, name: str) -> dict[int, tuple[Cell, Scoring]]:
    scorings = plan.scoring_of[name]
    return {
        i: (cell, scorings[cell.columns["section"]])
        for i, cell in enumerate(plan.cells[name])
        if cell.wanted and not cell.submission and not records.done(plan, store, cell.evaluate)
    }


def _views(folder: Path, place: Path) -> list[View]:
    """Return the views in an output folder."""
    if not (folder / "bench.json").is_file():
        raise BenchError(f"--records {place}: is neither an output folder of bench nor a bundle (.zip)")
    Store.open(folder, create=False)  # refuses another schema
    called = place.name if place.is_absolute() else str(place)  # a page tells nobody where a home lies
    return [View(file, called) for file in sorted((folder / "records").glob("*.parquet"))]


def _refuse_useless(plan: Plan, left: dict[str, Open], views: dict[Path, list[View]]) -> None:
    """Refuse a place that has no cell of a plan: a slip of the pen would train for hours."""
    still = {cell.evaluate for one in left.values() for cell, _ in one.cells.values()}
    over = {cell.evaluate for cells in plan.cells.values() for cell in cells} - still
    for place, some in views.items():
        if not any(over & view.jobs for view in some):
            raise BenchError(
                f"--records {place}: has all scores of no cell of {', '.join(plan.cells)}: none there is of "
                "the same recipe, data, seeds, metrics and targets"
            )


def _judged(view: View, cell: Cell, scoring: Scoring) -> bool:
    """Tell whether a view scored as is asked here, and no guard found test cases in the pretraining."""
    table, lines = view.rows.table, view.rows.of_job(cell.evaluate)
    row, section = (str(table[name].iloc[lines[0]]) for name in ("row", "section"))
    leaky = {(leak.row, leak.section) for leak in view.said.leaks if not leak.dropped}
    if cell.guard is not None and (row, section) in leaky:
        return False
    stated = view.said.scorings.get(section)
    return stated is None or stated == key(replace(scoring, metrics=()))


def _take(one: Reused, left: Open, view: View, *, ran: bool) -> None:
    """Take what one view has of one protocol; where only what was ``ran`` for it counts, that."""
    if not any(cell.evaluate in view.jobs for cell, _ in left.cells.values()):
        return
    taken = left.take(view, view.jobs - view.elsewhere if ran else view.jobs)
    if not taken:
        return
    cells = [cell for cell, *_ in taken]
    one.cells += cells
    one.rows.append(view.rows.of_cells((cell, cell.evaluate, lines) for cell, _, lines in taken))
    if (points := view.curves) is not None:
        tracked = ((c, c.finetune, points.of_job(c.finetune)) for c in cells if c.curve)
        one.points.append(points.of_cells(tracked, curve=True))
    one.beside.append(_beside(view, cells, [scoring for _, scoring, _ in taken]))


def _beside(view: View, cells: Sequence[Cell], scorings: Sequence[Scoring]) -> Beside:
    """Return what is said beside a view of cells that are taken from it, by the names that they have here."""
    here: dict[str, list[Cell]] = {}
    for cell in cells:
        here.setdefault(cell.evaluate, []).append(cell)
    table = view.rows.table
    ran = distinct(table[table["metric"] != LATENCY], ["job", *CELL])
    named, kept = dict[Any, dict[Any, None]](), dict[str, set[bool]]()
    seeds, first = dict[Any, bool](), {cell_of(t): t.place for t in view.said.taken}  # where it has them from
    told, used = list[Taken](), set[str]()
    for job, *cell in ran.itertuples(index=False, name=None):
        row, _, _, fold, pretrained, _ = cell
        taken = job in here
        kept.setdefault(row, set()).add(taken)
        seeds[row, pretrained, fold] = seeds.get((row, pretrained, fold), False) or taken
        if taken and job not in used:  # rows there that share a job are one row's here
            used.add(job)
            place = first.get(tuple(cell), f"{view.file.stem} in {view.folder}")
            told += [Taken(**{k: one.columns[k] for k in CELL}, place=place) for one in here[job]]
            keys = (tuple(one.columns[name] for name in CELL) for one in here[job])
            named.setdefault(tuple(cell), {}).update(dict.fromkeys(keys))
    names = Names(
        {there: tuple(some) for there, some in named.items()},
        frozenset(row for row, some in kept.items() if some == {True}),
        frozenset(kept) - {row for (row, *_), taken in seeds.items() if not taken},
    )
    theirs = {job for job in used if job in view.elsewhere}
    origin = made(view.said, there=theirs != used, taken=bool(theirs) or not view.said.taken)
    lines = origin.other_source
    if names.whole != kept.keys():
        lines = tuple(OF_ALL + line.removeprefix(OF_ALL) for line in lines)
    known = {c.columns["section"]: key(replace(s, metrics=())) for c, s in zip(cells, scorings, strict=True)}
    return replace(
        renamed(view.said, names), taken=tuple(told), other_source=lines, provenance=origin.provenance,
        scorings=known,
    )  # fmt: skip
