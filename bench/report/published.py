"""Find what a paper printed for a cell. Strict: a near match is no match."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

from bench.protocol import Protocol, Quoted, Row
from bench.report.names import unit_of

if TYPE_CHECKING:
    import pandas as pd

MEANS = {"mean", "ave", "avg", "average"}
DAGGER = "†"
# results/published/README.md
MEANING = "the paper's authors ran this row themselves; most other rows are quoted"
GAIN = "_gain"  # of a metric's name: what is printed is a difference
COLUMNS = [
    "method",
    "network",
    "dataset",
    "target",
    "fraction",
    "metric",
    "value",
    "unit",
    "dagger",
    "note",
]


@dataclass(frozen=True)
class Value:
    """One printed number in the metric's own unit (overlap: 0 to 1), and the paper's dagger."""

    number: float
    dagger: str = ""


class _Line(NamedTuple):
    network: str
    note: str
    value: Value


class Published:
    """The printed numbers of one table of one paper."""

    def __init__(self, protocol: Protocol, frame: pd.DataFrame | None) -> None:
        self._lines: dict[tuple, list[_Line]] = {}
        self._facts: dict[tuple, list[_Line]] = {}  # of a method or a data set: sizes, counts
        self._mean = MEANS | {plain(protocol.layout.mean)}
        if frame is None or not protocol.paper or not protocol.table:
            return
        same = (frame["paper"] == protocol.paper) & (frame["table"] == protocol.table)
        for r in frame.loc[same, COLUMNS].astype("object").itertuples(index=False):
            self._add(r)

    @property
    def any(self) -> bool:
        """Is there a printed score for this table, or a fact? Gains alone stand beside no row."""
        return bool(self._facts) or any(
            not where[-1].endswith(plain(GAIN)) for where in self._lines
        )

    @property
    def marked(self) -> bool:
        """Has any of the printed numbers a dagger?"""
        of_all = (*self._lines.values(), *self._facts.values())
        return any(line.value.dagger for lines in of_all for line in lines)

    def _add(self, r: tuple) -> None:
        method, network, dataset, target, fraction, metric, value, unit, marked, note = (
            _text(v) for v in r
        )
        number = _float(value)
        percent = _float(fraction.rstrip("%"))
        mark = "" if marked.lower() in ("0", "false", "no") else DAGGER if marked else ""
        if number is not None and not fraction:
            where: tuple = (method, plain(dataset), plain(metric))
            self._facts.setdefault(where, []).append(_Line(network, note, Value(number, mark)))
        if number is None or percent is None:
            return
        # a distance printed without a unit is in its metric's own
        share = (unit or unit_of(metric)) not in ("mm", "ml", "s", "count")
        if share and (unit in ("%", "percent") or number > 1):  # 0 to 1 in rows, percent in print
            number /= 100
        where = (method, plain(dataset), self._name(target), int(percent), plain(metric))
        self._lines.setdefault(where, []).append(_Line(network, note, Value(number, mark)))

    def _name(self, target: str) -> str:
        name = same_target(target)
        return "" if name in self._mean else name

    def find(
        self,
        row: Row | Quoted | None,
        datasets: tuple[str, ...],
        targets: tuple[str, ...],
        fraction: int,
        metric: str,
        on: str = "",
    ) -> Value | None:
        """Return the one printed value for a row, or None.

        Args:
            row: its ``published`` names the printed line, ``Name`` or ``Name|note``.
            datasets: names under which the section's data may stand, best first.
            targets: likewise; the mean over targets is any of ``mean``, ``ave``, ``avg``.
            fraction: percent of the labels.
            metric: its short name.
            on: a network, to take what is printed for it alone.
        """
        if row is None or not row.published:
            return None
        method, _ = printed_name(row.published)
        for dataset, target in product(datasets, targets):
            where = (method, plain(dataset), self._name(target), fraction, plain(metric))
            lines = [
                s for s in self._lines.get(where, ()) if not on or plain(s.network) == plain(on)
            ]
            if lines:
                return _only(lines, row)
        return None

    def fact(self, row: Row | Quoted | None, metric: str) -> Value | None:
        """Return the one printed size of a row's, as its parameters in millions, or None."""
        if row is None or not row.published:
            return None
        method, _ = printed_name(row.published)
        return _only(self._facts.get((method, "", plain(metric)), []), row)

    def count(self, dataset: str, metric: str) -> float | None:
        """Return the one printed number of a data set itself, as of its slices, or None."""
        counts = {
            line.value.number for line in self._facts.get(("", plain(dataset), plain(metric)), ())
        }
        return counts.pop() if len(counts) == 1 else None


def dagger() -> str:
    """Return what a dagger beside a published number means, in a sentence."""
    return f"{DAGGER}: {MEANING}."


def printed_name(published: str) -> tuple[str, str]:
    """Return the method and the note of ``Name|note``."""
    method, _, note = (part.strip() for part in published.partition("|"))
    return method, note


def _only(lines: list[_Line], row: Row | Quoted) -> Value | None:
    (_, note), network = printed_name(row.published), getattr(row, "network", "")
    if note:
        lines = [s for s in lines if s.note == note] or [
            s for s in lines if s.note.startswith(note)
        ]
    if len({s.value for s in lines}) > 1:
        lines = [s for s in lines if plain(s.network) == plain(network)] or lines
    if len({s.value for s in lines}) > 1:
        lines = [s for s in lines if not s.note]
    return lines[0].value if len({s.value for s in lines}) == 1 else None


def plain(name: str) -> str:
    """Return letters and digits in lower case: ``Right kidney`` equals ``right_kidney``."""
    return re.sub(r"[^a-z0-9@]+", "", name.lower())


def same_target(name: str) -> str:
    """Return the name of a target by which its spellings meet."""
    return plain(name).replace("oe", "e").replace("gland", "")


def _text(value: object) -> str:
    text = "" if value is None or value != value else str(value)
    return text.strip()


def _float(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if number == number else None
