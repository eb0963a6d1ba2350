"""Find what a paper printed for a cell. Strict: a near match is no match."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

from bench.metrics import METRICS
from bench.metrics.request import tolerance
from bench.protocol import Protocol, Row
from bench.report.names import unit_of

if TYPE_CHECKING:
    import pandas as pd

MEANS = {"mean", "ave", "avg", "average"}


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
        self._mean = MEANS | {plain(protocol.layout.mean)}
        if frame is None or not protocol.paper or not protocol.table:
            return
        same = (frame["paper"] == protocol.paper) & (frame["table"] == protocol.table)
        columns = ["method", "network", "dataset", "target", "fraction", "metric", "value",
                   "unit", "dagger", "note"]  # fmt: skip
        for r in frame.loc[same, columns].astype("object").itertuples(index=False):
            self._add(r)

    @property
    def any(self) -> bool:
        """Is there a printed score for this table at all?"""
        return bool(self._lines)

    def _add(self, r: tuple) -> None:
        method, network, dataset, target, fraction, metric, value, unit, dagger, note = (_text(v) for v in r)
        number = _float(value)
        percent = _float(fraction.rstrip("%"))
        if number is None or percent is None or not (metric in METRICS or tolerance(metric)):
            return  # a gain, a count or a size: nothing of ours stands beside it
        # a distance printed without a unit is in its metric's own
        share = (unit or unit_of(metric)) not in ("mm", "ml", "s", "count")
        if share and (unit in ("%", "percent") or number > 1):  # 0 to 1 in rows, percent in print
            number /= 100
        where = (method, plain(dataset), self._name(target), int(percent), plain(metric))
        mark = "" if dagger.lower() in ("0", "false", "no") else "†" if dagger else ""
        self._lines.setdefault(where, []).append(_Line(network, note, Value(number, mark)))

    def _name(self, target: str) -> str:
        name = plain(target).replace("oe", "e").replace("gland", "")  # two spellings of one organ
        return "" if name in self._mean else name

    def find(
        self, row: Row | None, datasets: tuple[str, ...], targets: tuple[str, ...],
        fraction: int, metric: str,
    ) -> Value | None:  # fmt: skip
        """Return the one printed value for a row, or None.

        Args:
            row: its ``published`` names the printed line, ``Name`` or ``Name|note``.
            datasets: names under which the section's data may stand, best first.
            targets: likewise; the mean over targets is any of ``mean``, ``ave``, ``avg``.
            fraction: percent of the labels.
            metric: its short name.
        """
        if row is None or not row.published or not self._lines:
            return None
        method, _, note = (p.strip() for p in row.published.partition("|"))
        for dataset, target in product(datasets, targets):
            where = (method, plain(dataset), self._name(target), fraction, plain(metric))
            if where in self._lines:
                return _only(self._lines[where], note, row.network)
        return None


def _only(lines: list[_Line], note: str, network: str) -> Value | None:
    if note:
        lines = [s for s in lines if s.note == note] or [s for s in lines if s.note.startswith(note)]
    if len({s.value for s in lines}) > 1:
        lines = [s for s in lines if plain(s.network) == plain(network)] or lines
    if len({s.value for s in lines}) > 1:
        lines = [s for s in lines if not s.note]
    return lines[0].value if len({s.value for s in lines}) == 1 else None


def plain(name: str) -> str:
    """Return letters and digits in lower case: ``Right kidney`` equals ``right_kidney``."""
    return re.sub(r"[^a-z0-9@]+", "", name.lower())


def _text(value: object) -> str:
    text = "" if value is None or value != value else str(value)
    return text.strip()


def _float(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if number == number else None
