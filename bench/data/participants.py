"""Tables that say of patients or cases what they are: sex, scanner, site. A CSV file, or BIDS' participants.tsv."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench.dataset import Case
from bench.errors import BenchError, shown, unknown

UNKNOWN = ("", "n/a")  # entries that say nothing; the second is BIDS'
PREFIX = "sub-"  # of BIDS' names: with it or without, a name is the same
SEPARATORS = {"\t": "tabs", ";": "semicolons", ",": "commas"}
LARGEST = 1 << 26  # bytes of a table


@dataclass(frozen=True)
class Participants:
    """A table of patients or cases.

    Attributes:
        columns: all but the first, which names a patient or a case.
        entries: name without ``sub-`` -> column -> entry; what is unknown is left out.
        source: the file, or the data set.
    """

    columns: tuple[str, ...]
    entries: Mapping[str, Mapping[str, str]]
    source: str

    def of(self, case: str, patient: str) -> Mapping[str, str]:
        """Return what is said of a case: the columns under its own name, else those of its patient."""
        names = (case.removeprefix(PREFIX), patient.removeprefix(PREFIX))
        return next((self.entries[name] for name in names if name in self.entries), {})

    def check(self, columns: Sequence[str]) -> None:
        """Refuse columns that are not there.

        Raises:
            BenchError: names the first, and the nearest.
        """
        for column in columns:
            if column not in self.columns:
                raise BenchError(f"{self.source}: {unknown('column', column, self.columns)}")

    def groups(
        self, cases: Iterable[tuple[str, str]], columns: Sequence[str]
    ) -> dict[str, dict[str, str]]:
        """Return the group of each patient by column; a patient without an entry has none.

        Raises:
            BenchError: a column is not there, no patient is named, or one has cases in two groups.
        """
        self.check(columns)
        grouped: dict[str, dict[str, str]] = {}
        for case, patient in cases:
            group_of, stated = grouped.setdefault(patient, {}), self.of(case, patient)
            for column in (name for name in columns if name in stated):
                if group_of.setdefault(column, stated[column]) != stated[column]:
                    raise BenchError(
                        f"{self.source}: patient {shown(patient)} has cases of {column} "
                        f"{shown(group_of[column])} and {shown(stated[column])}; write one value for each patient"
                    )
        if grouped and not any(grouped.values()):
            first = next(iter(self.entries), "")
            raise BenchError(
                f"{self.source}: has no value for any of the {len(grouped)} patients of the data set (first "
                f"patient {shown(next(iter(grouped)))}, first name in the table {shown(first)}); write the "
                "names of patients or cases in the first column"
            )
        return grouped


def read(path: Path) -> Participants:
    """Return a table whose first line names its columns; tabs, semicolons or commas divide them.

    Raises:
        BenchError: no file, no table, a line with more or fewer entries than the first, or two lines of one
            name; names file and line.
    """
    lines = _lines(path)
    separator = _separator(lines[0]) if lines else ","
    # BIDS' tables know no quotes
    quoting: Literal[0, 3] = csv.QUOTE_NONE if separator == "\t" else csv.QUOTE_MINIMAL
    reader = csv.reader(lines, delimiter=separator, quoting=quoting)
    head, entries = list[str](), dict[str, dict[str, str]]()
    try:
        for line in reader:
            where = f"{path}:{reader.line_num}"
            if not head:
                head = [text.strip() for text in line]
            elif any(text.strip() for text in line):
                name, stated = _stated(line, head, where, separator)
                if entries.setdefault(name, stated) != stated:
                    raise BenchError(
                        f"{where}: {shown(name)} is listed twice, with different entries; keep one line"
                    )
    except csv.Error as error:
        raise BenchError(
            f"{path}:{reader.line_num}: is not a valid CSV file ({error}); correct this line"
        ) from None
    return Participants(tuple(head[1:]), entries, str(path))


def _separator(line: str) -> str:
    return next((separator for separator in SEPARATORS if separator in line), ",")


def _lines(path: Path) -> list[str]:
    try:
        if path.exists() and not path.is_file():  # a folder, or a pipe that would be waited for
            raise BenchError(f"{path}: is no file; name a CSV file of patients or cases")
        if path.stat().st_size > LARGEST:
            raise BenchError(f"{path}: {LARGEST >> 20} MiB is the most that a table may have")
        return path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    except OSError as error:
        why = error.strerror or error
        raise BenchError(f"{path}: {why}; name a CSV file of patients or cases") from None


def _stated(
    line: Sequence[str], head: Sequence[str], where: str, separator: str
) -> tuple[str, dict[str, str]]:
    """Return the name in a line without ``sub-``, and what is stated of it by column."""
    if len(line) != len(head):
        raise BenchError(
            f"{where}: {len(line)} entries, the first line has {len(head)}; separate them by "
            + SEPARATORS[separator]
        )
    name, *rest = (text.strip() for text in line)
    stated = {key: text for key, text in zip(head[1:], rest, strict=True) if text not in UNKNOWN}
    return name.removeprefix(PREFIX), stated


def of_grouping(file: str, folder: Path, dataset: str, cases: Sequence[Case]) -> Participants:
    """Return what a protocol's groups of a data set are made of.

    Args:
        file: as the protocol states it; "" for what the data set says of its cases.
        folder: the protocol's.
        dataset: its name.
        cases: of the data set; none where it is not on this machine.

    Raises:
        BenchError: as ``read``.
    """
    return read(folder / file) if file else of_cases(cases, f"data set {dataset!r}")


def of_cases(cases: Sequence[Case], source: str) -> Participants:
    """Return what a data set itself says of its cases, such as by a ``participants.tsv`` in its folder."""
    columns = dict.fromkeys(key for case in cases for key in case.meta)
    entries = {
        case.id.removeprefix(PREFIX): {k: v for k, v in case.meta.items() if v not in UNKNOWN}
        for case in cases
    }
    return Participants(tuple(columns), entries, source)
