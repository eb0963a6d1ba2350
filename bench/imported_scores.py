"""Scores of jobs that nobody runs here: another output folder, or a bundle, has them (``--records``).

A job's id is all that it was asked, so what the same evaluation scored there is the score of a cell here,
whatever its row is called there. Imported are scores only: no weights, no predictions. Records that have
some are copied as they are to ``OUT/tracks/<name>-<digest>.parquet``, with ``.json`` (which says where they
come from) and learning curves. Cells look up their jobs there; while the files are there, they are not run.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bench import records, typed
from bench.digest import sha256, short
from bench.errors import BenchError
from bench.jobs.scoring import key, targets_of
from bench.metrics.request import LATENCY
from bench.record import CELL, COLUMNS, CURVE, SCORES, read_rows, stacked
from bench.report.footnotes import counted
from bench.report.supplement import ImportedCell, Supplement
from bench.runtime.stale import AGAIN
from bench.store import Store, write_atomic
from bench.typed import plain

if TYPE_CHECKING:
    import pandas as pd

    from bench.jobs.scoring import Scoring
    from bench.plan import Cell, Plan

KEY = ("row", "section", "fraction", "seed")  # what a failure names of its cell
POINT = {name: CURVE[name] for name in (*SCORES, "part", "step", "epoch")}  # of a learning curve
OVERALL = {"", "all"}  # targets of what is no label's
PART = "of all that is recorded there, "
ORIGIN = "track: "  # begins what is said of how imported rows came about


Parts = list[tuple[Any, dict[str, Any]]]  # some rows, and the columns of their cell
# by protocol: cells that are not run, and who scored them
Cells = dict[str, list[tuple["View", "Cell"]]]


class Lines(NamedTuple):
    """The lines of one job in a table of records, of one cell where several share it."""

    cell: tuple[Any, ...]  # columns ``CELL``, as they are there
    at: Any  # numbers of lines


def by_job(table: pd.DataFrame) -> dict[str, Lines]:
    """Return the lines of every job of records or of learning curves."""
    groups = table.groupby(["job", *CELL], observed=True, sort=False).indices
    per_job: dict[str, Lines] = {}
    for (job, *cell), lines in sorted(groups.items(), key=lambda group: int(group[1][0])):
        per_job.setdefault(job, Lines(tuple(cell), lines))
    return per_job


@dataclass(frozen=True)
class View:
    """The records of one protocol in an output folder: rows, what stands beside them, learning curves."""

    file: Path
    folder: str = ""  # in words; empty of a copy here, which says itself where it comes from

    @cached_property
    def jobs(self) -> frozenset[str]:
        """Return the jobs that it has rows of."""
        return frozenset(self._rows(self.file, {"job": "str"})["job"].cat.categories)

    @cached_property
    def table(self) -> pd.DataFrame:
        """Return its rows."""
        return self._rows(self.file, COLUMNS)

    @cached_property
    def curves(self) -> pd.DataFrame | None:
        """Return the points of its learning curves, None where it has none."""
        file = self.file.parent / "curves" / self.file.name
        return self._rows(file, CURVE) if file.exists() else None

    @cached_property
    def beside(self) -> Supplement:
        """Return what stands beside its rows.

        Raises:
            BenchError: that is lost or damaged.
        """
        file = self.file.with_suffix(".json")
        try:
            return typed.read(Supplement, file.read_bytes())
        except FileNotFoundError:
            raise BenchError(f"{file}: is lost; {self._remedy}") from None
        except ValueError as error:
            raise BenchError(f"{file}: damaged ({error}); {self._remedy}") from None

    @cached_property
    def jobs_imported(self) -> frozenset[str]:
        """Return the jobs whose rows it has from other records itself."""
        cells = {_cell_of(origin) for origin in self.beside.taken}
        return frozenset(job for job, lines in self._lines.items() if lines.cell in cells)

    @property
    def place(self) -> str:
        """Return where it lies, or lay, in words."""
        return self.beside.imported or f"{self.file.stem} in {self.folder or self.file.parent.name}"

    def scores(self, cell: Cell, scoring: Scoring, failed: bool = False) -> pd.DataFrame | None:
        """Return the scores that a cell asks for: of its job, its metrics, its convention and its targets.

        None unless all are there. ``failed``: rows of a cell that failed there count as well.
        """
        lines = self._lines.get(cell.evaluate)
        if lines is None:
            return None
        metrics = {*scoring.metrics} | ({LATENCY} if cell.latency else set())
        rows = self.table.iloc[lines.at]
        rows = rows[
            rows["metric"].isin(metrics) & rows["convention"].eq(cell.columns["convention"])
        ]
        if rows["status"].eq("failed").any():
            return rows if failed else None
        targets = {*rows["target"].unique()} - OVERALL
        every = metrics == {*rows["metric"].unique()} and targets == (
            {*targets_of(scoring)} or targets
        )
        return rows if every else None

    def points(self, job: str) -> pd.DataFrame | None:
        """Return the learning curve of a fine-tuning."""
        if self.curves is None or job not in self._curve_lines:
            return None
        return self.curves.iloc[self._curve_lines[job].at]

    def scored_alike(self, cell: Cell, scoring: Scoring) -> bool:
        """Tell whether a cell's job was scored in the way that is asked here; also where nobody says."""
        stated = self.beside.scorings.get(self._lines[cell.evaluate].cell[1])
        return stated in (None, key(replace(scoring, metrics=())))

    def clean(self, cell: Cell) -> bool:
        """Tell whether no guard met test cases in the pretraining; also where none guards it here."""
        leaky = {(leak.row, leak.section) for leak in self.beside.leaks if not leak.dropped}
        return cell.guard is None or self._lines[cell.evaluate].cell[:2] not in leaky

    def copied(self, to: Path) -> None:
        """Copy it, and where it comes from, to the folder ``to``; equal copies are one."""
        facts_json = json.dumps(plain(replace(self.beside, imported=self.place))).encode()
        rows = records.as_parquet(self.table)
        name = f"{self.file.stem}-{short(rows + facts_json)[:8]}"
        (to / "curves").mkdir(parents=True, exist_ok=True)
        if self.curves is not None:
            write_atomic(to / "curves" / f"{name}.parquet", records.as_parquet(self.curves))
        write_atomic(to / f"{name}.json", facts_json)
        write_atomic(to / f"{name}.parquet", rows)  # last: without it, the others are nothing

    def facts(self, cells: Sequence[Cell]) -> Supplement:
        """Return what stands beside the rows of some cells, by the names that these have here.

        What is said of a row as a whole, as its costs, which are sums over its jobs, is said only where all
        of it is imported. What every run says of its own protocol and methods is left to that.
        """
        stated = self.beside
        cells_of: dict[str, list[Cell]] = {}
        for cell in cells:
            cells_of.setdefault(cell.evaluate, []).append(cell)
        origins = {_cell_of(fact_): fact_.place for fact_ in stated.taken}
        names, imported = list[tuple[tuple[Any, ...], tuple[Any, ...]]](), list[ImportedCell]()
        complete, behind = dict[str, bool](), dict[tuple[Any, ...], bool]()
        for job, *columns in (
            self._trained[["job", *CELL]].drop_duplicates().itertuples(index=False, name=None)
        ):
            row, _, _, fold, pretrained, _ = key_there = tuple(columns)
            complete[row] = complete.get(row, True) and job in cells_of
            behind[row, pretrained, fold] = (
                behind.get((row, pretrained, fold), False) or job in cells_of
            )
            for cell in cells_of.get(job, ()) if self._lines[job].cell == key_there else ():
                names.append((key_there, tuple(cell.columns[k] for k in CELL)))
                source_text = origins.get(key_there, self.place)
                imported.append(
                    ImportedCell(**{k: cell.columns[k] for k in CELL}, place=source_text)
                )
        rows = _pairs((key_there[0], ours[0]) for key_there, ours in names)
        trained = rows.keys() - {row for (row, *_), every in behind.items() if not every}
        costs = (
            c
            for c in stated.costs
            if c.row in trained and (complete[c.row] or c.stage[:8] == "pretrain")
        )
        pretexts = (
            replace(fact_, shared=_several(fact_.shared, rows))
            for fact_ in stated.pretexts
            if fact_.row in trained
        )
        pictured = {
            row: ours
            for row, ours in rows.items()
            if row in trained and any(c.embed for c in cells)
        }
        drawn = (replace(fact_, rows=_several(fact_.rows, pictured)) for fact_ in stated.clouds)
        pretrainings = (
            replace(fact_, rows=_several(fact_.rows, rows)) for fact_ in stated.pretrainings
        )
        theirs = self.jobs_imported & cells_of.keys()
        # by how a line begins
        origin = {ORIGIN: bool(theirs) or not stated.taken, "": theirs != cells_of.keys()}
        source = (t.removeprefix(ORIGIN) for t in stated.other_source if origin[_origin(t)])
        if not all(complete.values()):
            source = (PART + line.removeprefix(PART) for line in source)
        by_row: dict[str, Any] = {
            name: {
                ours: fact
                for row, fact in getattr(stated, name).items()
                for ours in rows.get(row, ())
            }
            for name in BY_ROW
        }
        return Supplement(
            **by_row,
            costs=_renamed(costs, names, CELL[:1]),
            leaks=_renamed(stated.leaks, names, CELL[:2]),
            failures=_renamed(stated.failures, names, KEY),
            datasets=stated.datasets,
            pretrainings=tuple(fact_ for fact_ in pretrainings if fact_.rows),
            pretexts=_renamed(pretexts, names, CELL[:1]),
            courses=_renamed(stated.courses, names, CELL),
            clouds=tuple(fact_ for fact_ in drawn if fact_.rows),
            read=stated.read,
            taken=tuple(imported),
            other_source=tuple(source),
            provenance=_merged((k, v) for k, v in stated.provenance.items() if origin[_origin(k)]),
        )

    @cached_property
    def _lines(self) -> dict[str, Lines]:
        return by_job(self.table)

    @cached_property
    def _curve_lines(self) -> dict[str, Lines]:
        return {} if self.curves is None else by_job(self.curves)

    @property
    def _trained(self) -> pd.DataFrame:
        return self.table[self.table["metric"] != LATENCY]

    @property
    def _remedy(self) -> str:
        if self.folder:
            return "take another --records"
        return f"remove {self.file} and {self.file.with_suffix('.json').name}, and take them again"

    def _rows(self, file: Path, columns: Mapping[str, str]) -> pd.DataFrame:
        try:
            return read_rows(file, columns)
        except BenchError as error:
            raise BenchError(f"{str(error).partition(';')[0]}; {self._remedy}") from None


def views(folder: Path, called_by: Path) -> list[View]:
    """Return the records in an output folder; ``called_by``: as a person names it.

    Raises:
        BenchError: it is no output folder, or one of another schema.
    """
    if not (folder / "bench.json").is_file():
        raise BenchError(
            f"--records {called_by}: is neither an output folder of bench nor a bundle (.zip)"
        )
    store = Store.open(folder, create=False)
    # a page tells nobody where a home lies
    called = called_by.name if called_by.is_absolute() else str(called_by)
    return [View(file, called) for file in store.views()]


def folder_of(store: Store) -> Path:
    """Return where records that are imported lie."""
    return store.within(store.root / "tracks")


def copies(store: Store) -> list[View]:
    """Return the records that were imported before."""
    return [View(file) for file in sorted(folder_of(store).glob("*.parquet"))]


def leave_out(plan: Plan, store: Store, places: Mapping[Path, Path]) -> Cells:
    """Leave out of a plan what others have scored, and return that by protocol.

    Args:
        plan: cells that are imported are not wanted any more.
        store: the output folder; what it has scored itself counts first, then what it imported before.
        places: folders with records, by what a person calls them; those that ran a job before those that
            imported its scores.

    Raises:
        BenchError: a place cannot be read, or has nothing of a plan of which something is left to do.
    """
    left = {name: _undone(plan, store, name) for name in plan.cells}
    imported: Cells = {}
    given = {path: views(folder, path) for path, folder in places.items()}
    every = [view for listed in given.values() for view in listed]
    turns = [(view, ran) for ran in (True, False) for view in every]
    for view, ran in [*((view, False) for view in copies(store)), *turns]:
        for name, cells in left.items():
            for number, (cell, scoring) in [*cells.items()]:
                if cell.evaluate not in view.jobs or (ran and cell.evaluate in view.jobs_imported):
                    continue
                scored = view.scores(cell, scoring) is not None and view.scored_alike(cell, scoring)
                if scored and view.clean(cell):
                    _ = view.curves  # read now: a bundle is gone when it is copied
                    plan.cells[name][number] = replace(cell, wanted=False)
                    imported.setdefault(name, []).append((view, cells.pop(number)[0]))
    open_jobs = {cell.evaluate for cells in left.values() for cell, _ in cells.values()}
    if open_jobs and not plan.provisional:  # else a slip of the pen would train for hours
        over = {cell.evaluate for cells in plan.cells.values() for cell in cells} - open_jobs
        for path, listed in given.items():
            if not any(over & view.jobs for view in listed):
                raise BenchError(
                    f"--records {path}: has no scores for {', '.join(plan.cells)} with the same recipe, data, "
                    "seeds, metrics and targets; use other records, or leave --records out"
                )
    return imported


def put(imported: Cells, store: Store) -> None:
    """Copy the records of which something is imported, where they are not copies."""
    for view in dict.fromkeys(view for pairs in imported.values() for view, _ in pairs):
        if view.folder:
            view.copied(folder_of(store))


def as_lines(imported: Cells, store: Store) -> Iterator[str]:
    """Yield a line for each protocol of which cells are imported."""
    copied = copies(store)
    for name, pairs in imported.items():
        jobs = {cell.evaluate for _, cell in pairs}
        rows = ", ".join(dict.fromkeys(cell.row for _, cell in pairs))
        files = ", ".join(f"{v.file} and {v.file.stem}.json" for v in copied if jobs & v.jobs)
        undo = f"; remove {files} to run them here" if files else ""
        yield f"{name}: {counted(len(pairs), 'cell')} ({rows}) taken from records, not run{undo}"


def _undone(plan: Plan, store: Store, name: str) -> dict[int, tuple[Cell, Scoring]]:
    return {
        number: (cell, scoring)
        for number, (cell, scoring) in enumerate(records.scored_cells(plan, name))
        if cell.wanted and not cell.submission and not records.done(plan, store, cell.evaluate)
    }


class Added(NamedTuple):
    """What imported records add to a protocol's own."""

    rows: pd.DataFrame
    points: pd.DataFrame  # of learning curves
    beside: list[Supplement]


def added(plan: Plan, store: Store, protocol: str, run: pd.DataFrame) -> Added:
    """Return the imported scores of the cells that this run does not want, whose jobs ``run`` rows lack."""
    rows, points = Parts(), Parts()
    used: dict[View, list[Cell]] = {}
    run_jobs = {*run["job"].unique()}
    cells = [pair for pair in records.scored_cells(plan, protocol) if not pair[0].wanted]
    cells = [pair for pair in cells if pair[0].evaluate not in run_jobs]
    every = copies(store) if cells else []
    for cell, scoring in cells:
        having = [view for view in every if cell.evaluate in view.jobs]
        # who ran it first
        for view in sorted(having, key=lambda view: cell.evaluate in view.jobs_imported):
            scores = view.scores(cell, scoring, failed=True)
            if scores is None or not view.scored_alike(cell, scoring):
                continue
            rows.append((scores[[*SCORES]], {**cell.columns, "job": cell.evaluate}))
            if cell.curve and (curve := view.points(cell.finetune)) is not None:
                points.append((curve[[*POINT]], {**cell.columns, "job": cell.finetune}))
            used.setdefault(view, []).append(cell)
            break
    facts = [view.facts(used[view]) for view in every if view in used]
    return Added(_stacked(rows, COLUMNS), _stacked(points, CURVE), facts)


def _stacked(parts: Parts, columns: Mapping[str, str]) -> pd.DataFrame:
    """Return rows one below the other, their text without what other rows of a view say."""
    table = stacked(parts, columns)
    for name in (name for name, kind in columns.items() if kind == "str"):
        table[name] = table[name].cat.remove_unused_categories()
    return table


# What stands beside rows, of several places in one

BY_ROW = ("receipts", "gaps", "choices", "curves")  # mappings
# of one row, or of several
FACTS = ("costs", "failures", "leaks", "pretrainings", "pretexts", "clouds")
FORWARD = "one crop forward"  # a cost that is drawn from rows, wherever they were made


def merged(ours: Supplement, others: Sequence[Supplement]) -> Supplement:
    """Return all in one; what made the numbers of others is told apart.

    A row that was run here as well is spoken of as it ran here; what a row of several places cost, none says.
    """
    if not others:
        return ours
    run_rows = {cost.row for cost in ours.costs if cost.stage != FORWARD}
    ran = {_cell_of(course) for course in ours.courses}

    def every(name: str) -> list[Any]:
        return [item for other in others for item in getattr(other, name)]

    rows = [row for other in others for row in {cost.row for cost in other.costs}]
    several = {row for row in rows if rows.count(row) > 1}
    facts: dict[str, Any] = {
        name: tuple(
            dict.fromkeys(
                [*(o for o in every(name) if not run_rows & _rows(o)), *getattr(ours, name)]
            )
        )
        for name in FACTS
    }
    facts["costs"] = tuple(c for c in facts["costs"] if c in ours.costs or c.row not in several)
    facts["pretexts"] = tuple({(item.row, item.seed): item for item in facts["pretexts"]}.values())
    for name in BY_ROW:
        facts[name] = {k: v for o in (*reversed(others), ours) for k, v in getattr(o, name).items()}
    datasets = {info.name: info for info in (*reversed(every("datasets")), *ours.datasets)}
    produced = _merged(pair for other in others for pair in other.provenance.items())
    return replace(
        ours,
        **facts,
        courses=(*(item for item in every("courses") if _cell_of(item) not in ran), *ours.courses),
        datasets=tuple(datasets.values()),
        read=ours.read or next((other.read for other in others if other.read), ()),
        taken=tuple(every("taken")),
        other_source=(*ours.other_source, *dict.fromkeys(map(_done_there, every("other_source")))),
        provenance=ours.provenance | {ORIGIN + name: value for name, value in produced.items()},
    )


def _done_there(line: str) -> str:
    """Return what is said of jobs of others without what can only be done about jobs here."""
    return ORIGIN + line.removesuffix(f"; {AGAIN}")


def _merged(facts: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return what produced numbers, of several places as of one, however far away each was."""
    texts: dict[str, dict[str, None]] = {}
    for name, values in facts:
        texts.setdefault(name.removeprefix(ORIGIN), {}).update(dict.fromkeys(values.split("; ")))
    return {name: "; ".join(values) for name, values in texts.items()}


def _origin(text: str) -> str:
    return ORIGIN if text.startswith(ORIGIN) else ""


def _cell_of(fact: Any, columns: Sequence[str] = CELL) -> tuple[Any, ...]:
    """Return the columns of its cell that something is said of."""
    return tuple(getattr(fact, name) for name in columns)


def _rows(fact: Any) -> set[str]:
    """Return the rows that something is said of."""
    return {*getattr(fact, "rows", ()), *filter(None, [getattr(fact, "row", "")])}


def _pairs(pairs: Iterable[tuple[Any, Any]]) -> dict[Any, tuple[Any, ...]]:
    """Return all that stands second beside each that stands first, once."""
    seconds_of: dict[Any, dict[Any, None]] = {}
    for first, second in pairs:
        seconds_of.setdefault(first, {})[second] = None
    return {first: tuple(seconds) for first, seconds in seconds_of.items()}


def _several(names: Iterable[str], rows: Mapping[str, Iterable[str]]) -> tuple[str, ...]:
    return tuple(ours for row in names for ours in rows.get(row, ()))


def _renamed(
    facts: Iterable[Any],
    names: Iterable[tuple[tuple[Any, ...], tuple[Any, ...]]],
    columns: Sequence[str],
) -> tuple[Any, ...]:
    """Return facts, which name these ``columns`` of their cells, by the names that the cells have here."""
    of = [CELL.index(name) for name in columns]
    to = _pairs(
        (tuple(theirs[i] for i in of), tuple(ours[i] for i in of)) for theirs, ours in names
    )
    return tuple(
        replace(fact, **dict(zip(columns, ours, strict=True)))
        for fact in facts
        for ours in to.get(_cell_of(fact, columns), ())
    )


# Records that outlive the jobs they came from


def keep(names: Iterable[str], store: Store) -> list[str]:
    """Copy records aside that have scores of jobs whose folders are gone, and are no imports.

    Job folders hold weights, so they are what a person deletes first; the next run would write its view
    without their rows. A copy lies in ``DIR/kept/<protocol>-<digest>``, an output folder of its own. Return a
    line for each.
    """
    lines = list[str]()
    for name in names:
        view = store.root / "records" / f"{name}.parquet"
        jobs = _scored(view)
        lost = jobs - {*store.present(jobs), *store.aside()}
        if lost := lost - {
            job for file in folder_of(store).glob("*.parquet") for job in _scored(file)
        }:
            to = store.within(store.root / "kept") / f"{name}-{sha256(view)[:8]}"
            try:
                target = Store.open(to).root / "records"
                for file in (view, view.with_suffix(".json"), records.curves_file(store, name)):
                    if file.exists():
                        (target / file.relative_to(view.parent)).parent.mkdir(exist_ok=True)
                        shutil.copy2(file, target / file.relative_to(view.parent))
            except OSError as error:
                why = f"records of {name!r} cannot be kept there ({error.strerror})"
                raise BenchError(f"{to}: {why}") from None
            of = (
                "1 job whose folder is" if len(lost) == 1 else f"{len(lost)} jobs whose folders are"
            )
            lines.append(
                f"{view}: has scores of {of} gone; a copy is in {to}, which --records reads"
            )
    return lines


def _scored(file: Path) -> set[str]:
    """Return the jobs of the scores in a file of records; none where it cannot be read, as a report says."""
    try:
        rows = (
            read_rows(file, {name: COLUMNS[name] for name in ("job", "status")})
            if file.exists()
            else None
        )
    except BenchError:
        return set()
    return set() if rows is None else set(rows["job"][rows["status"] != "failed"].unique())
