"""Records that outlive the jobs they came from: kept before a run writes its view without them.

Job folders hold weights, so they are what a person deletes first. A view is drawn from job folders alone,
and the next run would write it without the rows of those that are gone.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from bench import records
from bench.digest import sha256
from bench.errors import BenchError
from bench.store import Store


def keep(names: Iterable[str], store: Store) -> list[str]:
    """Copy the records of protocols aside that have scores of jobs whose folders are gone.

    They lie in ``DIR/kept/<protocol>-<digest>``, an output folder of its own: the same records are kept once.
    Return a line for each.
    """
    said = list[str]()
    for name in names:
        view = store.root / "records" / f"{name}.parquet"
        if lost := _lost(store, name, view):
            to = store.within(store.root / "kept") / f"{name}-{sha256(view)[:8]}"
            _copy(view, name, to)
            of = "1 job whose folder is" if len(lost) == 1 else f"{len(lost)} jobs whose folders are"
            said.append(
                f"{view}: has scores of {of} gone; kept as it is in {to}, from where --records takes it over"
            )
    return said


def _lost(store: Store, name: str, view: Path) -> set[str]:
    """Return the jobs of a view's scores that are neither here, nor set aside, nor another folder's."""
    jobs = _scored(view)
    return jobs - {*store.present(jobs), *store.aside()} - _scored(records.taken_file(store, name))


def _scored(file: Path) -> set[str]:
    """Return the jobs of the scores in a file of records; none where it cannot be read, as a report says."""
    from bench.record import COLUMNS, read_rows

    try:
        rows = read_rows(file, {name: COLUMNS[name] for name in ("job", "status")}) if file.exists() else None
    except BenchError:
        return set()
    return set() if rows is None else set(rows["job"][rows["status"] != "failed"].unique())


def _copy(view: Path, name: str, to: Path) -> None:
    beside = (view, view.with_suffix(".json"), view.parent / "curves" / view.name)
    try:
        there = Store.open(to).root / "records"
        for file in beside:
            if file.exists():
                target = there / file.relative_to(view.parent)
                target.parent.mkdir(exist_ok=True)
                shutil.copy2(file, target)
    except OSError as error:
        raise BenchError(f"{to}: records of {name!r} cannot be kept there ({error.strerror})") from None
