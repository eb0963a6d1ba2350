"""``bench compare A B``: what differs between two runs of a protocol, and which cells moved beyond noise."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import BenchError, unknown
from bench.record import COLUMNS, read_rows
from bench.report import Beside
from bench.report.grouping import distinct
from bench.show.moved import Cells, cells
from bench.show.reports import read_beside
from bench.store import Store

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

SOME = 5  # names in a line
MADE = ("bench", "commit", "torch", "monai", "device", "threads", "last run")  # of what made the numbers
ROW = ("method", "network", "params", "pretrain", "evaluation")  # columns of records that a row has
ALIKE = {  # what must be equal, by the columns that have it and those that name its place
    "scale": (["scale"], []),
    "split": (["dataset", "split", "split_hash"], ["section", "fold"]),
    "convention": (["convention", "unit"], ["section", "metric"]),
}


@dataclass(frozen=True)
class Side:
    """One of two runs."""

    path: Path  # as a person named it
    name: str  # of the protocol
    table: pd.DataFrame
    beside: Beside


@dataclass(frozen=True)
class Difference:
    """Something other than scores that the two do not share."""

    what: str
    a: str
    b: str


@dataclass(frozen=True)
class Compared:
    """All that is said of two runs."""

    a: Side
    b: Side
    differs: tuple[Difference, ...]
    alike: tuple[str, ...]
    cells: Cells

    @property
    def beyond(self) -> int:
        """How many cells moved beyond noise."""
        return sum(moved.beyond for moved in self.cells.moved)


def sides(a: tuple[Path, Path], b: tuple[Path, Path], protocol: str | None) -> tuple[Side, Side]:
    """Return the records of two runs of one protocol.

    Args:
        a: as a person named it, and where it lies: an output folder, or a file of records.
        b: likewise.
        protocol: its name, where both have several.

    Raises:
        BenchError: no records there, or no protocol that both have.
    """
    (named_a, known_a), (named_b, known_b) = ((named, _records(named, place)) for named, place in (a, b))
    if protocol is not None:
        for named, known in ((named_a, known_a), (named_b, known_b)):
            if protocol not in known:
                raise BenchError(f"{named}: {unknown('records of a protocol', protocol, known)}")
        chosen = (protocol, protocol)
    elif len(known_a) == len(known_b) == 1 and (a[1].is_file() or b[1].is_file()):
        chosen = next(iter(known_a)), next(iter(known_b))  # a file may have any name
    else:
        both = sorted(known_a.keys() & known_b.keys())
        if len(both) != 1:
            what = f"both hold {', '.join(both)}; say which with --protocol" if both else (
                f"hold no protocol in common ({', '.join(known_a)}; {', '.join(known_b)})"
            )  # fmt: skip
            raise BenchError(f"{named_a} and {named_b}: {what}")
        chosen = both[0], both[0]
    return _side(named_a, known_a[chosen[0]]), _side(named_b, known_b[chosen[1]])


def _records(named: Path, place: Path) -> dict[str, Path]:
    """Return the files of records that a path holds, by the name of their protocol."""
    if place.is_dir():
        folder = Store.open(place, create=False).root / "records"
        found = {file.stem: file for file in sorted(folder.glob("*.parquet"))}
        if not found:
            raise BenchError(f"{named}: holds no records; run a protocol with --out {named} first")
        return found
    if place.suffix == ".parquet" and place.is_file():
        return {place.stem: place}
    why = "is neither an output folder, nor a bundle (.zip), nor records (.parquet)"
    raise BenchError(f"{named}: {why if place.exists() else 'is not there'}")


def _side(named: Path, file: Path) -> Side:
    table = read_rows(file, COLUMNS)
    names = sorted(distinct(table, ["protocol"])["protocol"])
    if len(names) != 1:
        raise BenchError(f"{named}: records of {len(names)} protocols in {file.name}; name one protocol's")
    return Side(named, names[0], table, read_beside(file.with_suffix(".json")))


def compare(a: Side, b: Side) -> Compared:
    """Compare two runs.

    Raises:
        BenchError: they are of other splits, scales or conventions, or share no cell.
    """
    for what, (columns, place) in ALIKE.items():
        _refuse(a, b, what, columns, place)
    found = cells(a.table, b.table)
    if not (found.equal or found.moved):
        raise BenchError(f"{a.path} and {b.path}: share no cell that has scores; nothing to compare")
    differs, alike = list[Difference](), ["scale", "splits", "conventions"]
    for one in _facts(a, b):
        if one.a != one.b:
            differs.append(one)
        elif one.a:
            alike.append(one.what)
    return Compared(a, b, (*differs, *_rows(a, b), *_tested(a, b)), tuple(alike), found)


def _refuse(a: Side, b: Side, what: str, columns: list[str], place: list[str]) -> None:
    """Refuse records that say something else of one place: they are no runs of one comparison."""
    known = [_said(side.table, columns, place) for side in (a, b)]
    for where in sorted(known[0].keys() & known[1].keys()):
        if known[0][where] != known[1][where]:
            at = " of " + ", ".join(f"{k} {v}" for k, v in zip(place, where, strict=True)) if where else ""
            one, other = (" or ".join(" ".join(v) for v in sorted(k[where])) for k in known)
            raise BenchError(
                f"{a.path} and {b.path}: the {what}{at} differs, {one} and {other}; only runs on one split, "
                "at one scale and by one convention can be compared"
            )


def _said(
    table: pd.DataFrame, columns: list[str], place: list[str]
) -> dict[tuple[Any, ...], set[tuple[str, ...]]]:
    """Return by place what its rows say in some columns."""
    found: dict[tuple[Any, ...], set[tuple[str, ...]]] = {}
    for line in distinct(table, [*place, *columns], _good(table)).itertuples(index=False, name=None):
        found.setdefault(line[: len(place)], set()).add(line[len(place) :])
    return found


def _facts(a: Side, b: Side) -> list[Difference]:
    origins = [side.beside.origin for side in (a, b)]
    made = [Difference(k, *(side.beside.provenance.get(k, "") for side in (a, b))) for k in MADE]
    return [
        Difference("protocol", a.name, b.name),
        Difference("protocol's text", *(origin.content if origin else "" for origin in origins)),
        Difference("--set", *("; ".join(side.beside.overrides) for side in (a, b))),
        *made,
    ]


def _rows(a: Side, b: Side) -> list[Difference]:
    """Return in what rows of one name are not alike."""
    made = list[Difference]()
    for column in ROW:
        one, other = (_said(side.table, [column], ["row"]) for side in (a, b))
        for row in sorted(one.keys() & other.keys()):
            if one[row] != other[row]:
                texts = (", ".join(sorted(value for (value,) in k[row])) for k in (one, other))
                made.append(Difference(f"{column} of {row[0]}", *texts))
    return made


def _tested(a: Side, b: Side) -> list[Difference]:
    """Return which patients and runs are on one side only, and how many runs failed."""
    made = list[Difference]()
    for what, columns in (("patients", ["patient"]), ("runs", ["pretrain_seed", "seed", "fold"])):
        one, other = (_said(side.table, columns, ["section"]) for side in (a, b))
        for section in sorted(one.keys() & other.keys()):
            here, there = ({_called(v) for v in k[section]} - {""} for k in (one, other))
            if here != there:
                alone = _some(here - there), _some(there - here)
                made.append(Difference(f"{what} of {section[0]} on one side only", *alone))
    holes = [str(len(distinct(side.table, ["job", "row"], ~_good(side.table)))) for side in (a, b)]
    return [*made, *([Difference("failed jobs", *holes)] if holes[0] != holes[1] else [])]


def _good(table: pd.DataFrame) -> np.ndarray:
    return table["status"].ne("failed").to_numpy()


def _called(values: tuple[Any, ...]) -> str:
    """Return what a patient, or a run, is called."""
    return "pretraining {}, seed {}, fold {}".format(*values) if len(values) > 1 else str(values[0])


def _some(names: set[str]) -> str:
    listed = sorted(names)
    more = f" and {len(listed) - SOME} more" if len(listed) > SOME else ""
    return f"{len(listed)}: {', '.join(listed[:SOME])}{more}" if listed else "none"
