"""``bench compare A B``: what differs between two runs of a protocol, and which cells moved beyond noise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import BenchError, first_of, printable, unknown
from bench.extras.compare.changed_cells import CellKey, Cells, ChangedCell, cells
from bench.record import COLUMNS, read_rows
from bench.report.numbers import number
from bench.report.supplement import Supplement
from bench.show.reports import read_beside
from bench.stats.comparison import UNCLEAR, WEIGHTS
from bench.store import Store

if TYPE_CHECKING:
    import pandas as pd

LISTED = 5  # names in a line
SHOWN = 30  # cells in the text; --json has all
# columns of the text that are aligned to the right
NUMBERS = {"%", "A", "B", "B - A", "interval", "p"}
PROVENANCE = ("bench", "commit", "torch", "monai", "device", "threads", "last run")
ROW = ("method", "network", "params", "pretrain", "evaluation")  # columns of records that a row has
ALIKE = {  # what must be equal: its columns, and those that name what it is of
    "scale": (["scale"], []),
    "split": (["dataset", "split", "split_hash"], ["section", "fold"]),
    "convention": (["convention", "unit"], ["section", "metric"]),
}
Values = dict[tuple[Any, ...], set[tuple[str, ...]]]


@dataclass(frozen=True)
class Side:
    """One of two runs."""

    path: Path  # as a person named it
    name: str  # of the protocol
    table: pd.DataFrame
    beside: Supplement

    def values(self, columns: Sequence[str], of: Sequence[str], *, failed: bool = False) -> Values:
        """Return what rows (``failed``: failed ones) have in ``columns``, by what they have in ``of``."""
        rows = self.table[self.table["status"].eq("failed") == failed]
        by: Values = {}
        for line in rows[[*of, *columns]].drop_duplicates().itertuples(index=False, name=None):
            by.setdefault(line[: len(of)], set()).add(line[len(of) :])
        return by


@dataclass(frozen=True)
class Difference:
    """Something other than scores that the two do not share."""

    what: str
    a: str
    b: str


@dataclass(frozen=True)
class Compared:
    """All that is reported of two runs."""

    a: Side
    b: Side
    differs: tuple[Difference, ...]
    alike: tuple[str, ...]
    cells: Cells

    @property
    def beyond(self) -> int:
        """How many cells moved beyond noise."""
        return sum(cell.beyond for cell in self.cells.changed)


def sides(a: tuple[Path, Path], b: tuple[Path, Path], protocol: str | None) -> tuple[Side, Side]:
    """Return the records of two runs of one protocol.

    Args:
        a: as a person named it, and where it lies: an output folder, or a file of records.
        b: likewise.
        protocol: its name, where both have several.

    Raises:
        BenchError: no records there, or no protocol that both have.
    """
    (named_a, files_a), (named_b, files_b) = (
        (named, _records(named, path)) for named, path in (a, b)
    )
    if protocol is not None:
        for named, files in ((named_a, files_a), (named_b, files_b)):
            if protocol not in files:
                raise BenchError(f"{named}: {unknown('records of a protocol', protocol, files)}")
        chosen = (protocol, protocol)
    elif len(files_a) == len(files_b) == 1 and (a[1].is_file() or b[1].is_file()):
        chosen = next(iter(files_a)), next(iter(files_b))  # a file may have any name
    else:
        both = sorted(files_a.keys() & files_b.keys())
        if len(both) != 1:
            what = f"hold no protocol in common ({', '.join(files_a)}; {', '.join(files_b)})"
            if both:
                what = f"both hold {', '.join(both)}; say which with --protocol"
            raise BenchError(f"{named_a} and {named_b}: {what}")
        chosen = both[0], both[0]
    return _side(named_a, files_a[chosen[0]]), _side(named_b, files_b[chosen[1]])


def every_side(*places: tuple[Path, Path]) -> list[Side]:
    """Return the records of every protocol that lies at some places, each file once.

    Args:
        places: as a person named each, and where it lies, as of ``sides``.

    Raises:
        BenchError: no records at one of them.
    """
    files = {
        file.resolve(): (named, file)
        for named, path in places
        for file in _records(named, path).values()
    }
    return [_side(named, file) for named, file in files.values()]


def _records(named: Path, path: Path) -> dict[str, Path]:
    """Return the files of records that a path holds, by the name of their protocol."""
    if path.is_dir():
        folder = Store.open(path, create=False).root / "records"
        files = {file.stem: file for file in sorted(folder.glob("*.parquet"))}
        if not files:
            raise BenchError(f"{named}: holds no records; run a protocol with --out {named} first")
        return files
    if path.suffix == ".parquet" and path.is_file():
        return {path.stem: path}
    why = "is neither an output folder, nor a bundle (.zip), nor records (.parquet)"
    raise BenchError(f"{named}: {why if path.exists() else 'is not there'}")


def _side(named: Path, file: Path) -> Side:
    table = read_rows(file, COLUMNS)
    names = sorted(table["protocol"].unique())
    if len(names) != 1:
        raise BenchError(
            f"{named}: {file.name} has records of {len(names)} protocols; name a file with those of one protocol"
        )
    return Side(named, names[0], table, read_beside(file.with_suffix(".json")))


def compare(a: Side, b: Side) -> Compared:
    """Compare two runs.

    Raises:
        BenchError: they are of other splits, scales or conventions, or share no cell.
    """
    for what, (columns, of) in ALIKE.items():
        _refuse(a, b, what, columns, of)
    compared = cells(a.table, b.table)
    if not (compared.equal or compared.changed):
        raise BenchError(
            f"{a.path} and {b.path}: have no scores of the same row, data set, fraction and seed; nothing to compare"
        )
    facts = list(_facts(a, b))
    differs = [fact for fact in facts if fact.a != fact.b]
    alike = [fact.what for fact in facts if fact.a and fact.a == fact.b]
    differs += [*_rows(a, b), *_tested(a, b)]
    return Compared(a, b, tuple(differs), ("scale", "splits", "conventions", *alike), compared)


def _refuse(a: Side, b: Side, what: str, columns: list[str], of: list[str]) -> None:
    """Refuse records that differ in what must be equal: they are no runs of one comparison."""
    va, vb = a.values(columns, of), b.values(columns, of)
    for key in sorted(va.keys() & vb.keys()):
        if va[key] != vb[key]:
            at = " of " + ", ".join(f"{k} {v}" for k, v in zip(of, key, strict=True)) if key else ""
            texts = [" or ".join(" ".join(v) for v in sorted(values[key])) for values in (va, vb)]
            raise BenchError(
                f"{a.path} and {b.path}: the {what}{at} differs, {' and '.join(texts)}; runs "
                "can be compared only if split, scale and convention are the same"
            )


def _facts(a: Side, b: Side) -> Iterator[Difference]:
    """Yield the protocols, their settings and the provenance of either side, equal or not."""
    origins = [side.beside.origin for side in (a, b)]
    yield Difference("protocol", a.name, b.name)
    yield Difference("protocol's text", *(origin.content if origin else "" for origin in origins))
    yield Difference("--set", *("; ".join(side.beside.overrides) for side in (a, b)))
    for key in PROVENANCE:
        yield Difference(key, *(side.beside.provenance.get(key, "") for side in (a, b)))


def _rows(a: Side, b: Side) -> Iterator[Difference]:
    """Yield in what rows of one name differ."""
    for column in ROW:
        va, vb = (side.values([column], ["row"]) for side in (a, b))
        for row in sorted(va.keys() & vb.keys()):
            if va[row] != vb[row]:
                texts = (
                    ", ".join(sorted(value for (value,) in values[row])) for values in (va, vb)
                )
                yield Difference(f"{column} of {row[0]}", *texts)


def _tested(a: Side, b: Side) -> Iterator[Difference]:
    """Yield which patients and runs are on one side only, and how many jobs failed."""
    names = {
        "patients": (["patient"], "{}"),
        "runs": (["pretrain_seed", "seed", "fold"], "pretraining {}, seed {}, fold {}"),
    }
    for what, (columns, form) in names.items():
        va, vb = (side.values(columns, ["section"]) for side in (a, b))
        for section in sorted(va.keys() & vb.keys()):
            in_a, in_b = ({form.format(*v) for v in values[section]} - {""} for values in (va, vb))
            if in_a != in_b:
                alone = _list(in_a - in_b), _list(in_b - in_a)
                yield Difference(f"{what} of {section[0]} on one side only", *alone)
    holes = [str(len(side.values([], ["job", "row"], failed=True))) for side in (a, b)]
    if holes[0] != holes[1]:
        yield Difference("failed jobs", *holes)


def _list(names: set[str]) -> str:
    return f"{len(names)}: {first_of(sorted(names), LISTED)}" if names else "none"


def as_json(compared: Compared) -> dict[str, Any]:
    """Return all of it as JSON has it; what is not a number is null."""
    every = compared.cells
    changed = [
        m.cell._asdict() | {k: v for k, v in asdict(m).items() if k != "cell"}
        for m in every.changed
    ]
    return {
        "protocol": compared.a.name,
        "a": str(compared.a.path),
        "b": str(compared.b.path),
        "differs": [asdict(difference) for difference in compared.differs],
        "alike": list(compared.alike),
        "equal": every.equal,
        "moved": len(every.changed),
        "beyond_noise": compared.beyond,
        "cells": [{k: None if v != v else v for k, v in cell.items()} for cell in changed],
        "lacking": every.lacking,
        **{
            name: [c._asdict() for c in getattr(every, name)]
            for name in ("only_a", "only_b", "apart")
        },
    }


def as_text(compared: Compared) -> str:
    """Return what differs about the two, how many cells moved, and those that did, in a table."""
    every = compared.cells
    lines = [f"A  {compared.a.path}", f"B  {compared.b.path}", ""]
    if compared.differs:
        differs = [
            {"differs": d.what, "from A": d.a or "-", "to B": d.b or "-"} for d in compared.differs
        ]
        lines += [_grid(differs), ""]
    lines += [
        f"alike: {', '.join(compared.alike)}",
        f"{every.equal + len(every.changed)} cells compared: {every.equal} equal to the bit, "
        f"{len(every.changed)} moved, {compared.beyond} of them beyond noise",
    ]
    if every.changed:
        lines += [_origin(every.changed), "", _table(every.changed)]
    if every.lacking:
        lines.append(
            f"{every.lacking} compared cells lack values on one side; their other values are compared"
        )
    alone = {"only in A": every.only_a, "only in B": every.only_b}
    alone |= {"no patient and run in common": every.apart}
    lines += [f"{what}: {len(keys)} cells: {_keys(keys)}" for what, keys in alone.items() if keys]
    return "\n".join(printable(part) for line in lines for part in line.split("\n"))


def _origin(changed: Sequence[ChangedCell]) -> str:
    """Say whether cells moved because their jobs differ: equal jobs have equal specifications."""
    same = sum(m.same_jobs for m in changed)
    if same == len(changed):
        return "moved cells are of the same jobs on both sides: machine, versions or source differ"
    other = len(changed) - same
    return f"moved cells: {other} of other jobs (their settings differ), {same} of the same jobs"


def _table(changed: Sequence[ChangedCell]) -> str:
    lines = [_line(m) for m in changed[:SHOWN]]
    if len({m.cell.section for m in changed}) == 1:
        for line in lines:
            del line["section"]
    units = ", others in their own unit" if len({m.unit for m in changed}) > 1 else ""
    notes = [f"and {len(changed) - SHOWN} more; --json lists all"] if len(changed) > SHOWN else []
    notes.append(
        f"shares in percent{units}; B - A is paired by patient and run, in 95 % intervals; "
        "p after Holm over all cells"
    )
    if any(m.verdict == WEIGHTS for m in changed):
        notes.append(
            f"{WEIGHTS}: of one run or one pretraining; another seed may give another result"
        )
    return "\n".join([_grid(lines), *notes])


def _line(change: ChangedCell) -> dict[str, str]:
    cell, unit = change.cell, change.unit
    ends = [_signed(end, unit) for end in (change.low, change.high)]
    return {
        "row": cell.row,
        "section": cell.section,
        "%": str(cell.fraction),
        "target": cell.target,
        "metric": cell.metric,
        "A": _number(change.a, unit),
        "B": _number(change.b, unit),
        "B - A": _signed(change.difference, unit),
        "interval": f"[{', '.join(ends)}]" if all(ends) else "",
        "p": "" if change.p != change.p else f"{change.p:.3f}" if change.p >= 0.001 else "< 0.001",
        "verdict": _verdict(change),
    }


def _verdict(change: ChangedCell) -> str:
    if not change.verdict:
        return change.why
    if change.verdict == UNCLEAR and change.why:
        return f"{change.verdict} ({change.why})"
    return change.verdict + (
        " (beyond noise)" if change.beyond and change.verdict == WEIGHTS else ""
    )


def _number(value: float, unit: str) -> str:
    return number(value, unit) if value == value else ""


def _signed(value: float, unit: str) -> str:
    return ("+" if value > 0 else "") + _number(value, unit)


def _grid(lines: Sequence[dict[str, str]]) -> str:
    from tabulate import tabulate

    align = ["right" if name in NUMBERS else "left" for name in lines[0]]
    return tabulate(lines, headers="keys", disable_numparse=True, colalign=align, maxcolwidths=60)


def _keys(keys: Sequence[CellKey]) -> str:
    return "; ".join(" ".join(map(str, key)) for key in keys[:LISTED]) + (
        " ..." * (len(keys) > LISTED)
    )
