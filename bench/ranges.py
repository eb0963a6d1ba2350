"""Types of numbers that say which values make sense, for parameters and settings: ``flip: Share = 0.5``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from math import inf, isfinite
from typing import Annotated, Any, get_args, get_origin, get_type_hints


@dataclass(frozen=True)
class Range:
    """Bounds of a finite number; of several, each within them and, in ``order``, none below the last."""

    low: float
    high: float = inf
    above: bool = False  # is the lower bound itself left out?
    below: bool = False  # and the upper one?
    order: bool = True

    def problem(self, value: Any) -> str:
        """Return what is wrong with a value, "" where nothing is: None or a word in its place never is."""
        numbers = (
            value
            if isinstance(value, tuple)
            else (value,)
            if isinstance(value, (int, float))
            else ()
        )
        if any(not self._holds(number) for number in numbers):
            return f"must be {self._words()}"
        return "must not fall" if self.order and list(numbers) != sorted(numbers) else ""

    def _holds(self, number: float) -> bool:
        low = number > self.low if self.above else number >= self.low
        return (
            low and (number < self.high if self.below else number <= self.high) and isfinite(number)
        )

    def _words(self) -> str:
        if self.high == inf:
            return f"above {self.low:g}" if self.above else f"{self.low:g} or more"
        low = f"above {self.low:.10g} and" if self.above else f"from {self.low:.10g}"
        high = "below" if self.below else "at most" if self.above else "to"
        joined = " and" if self.below and not self.above else ""
        return f"{low}{joined} {high} {self.high:.10g}"


Share = Annotated[float, Range(0, 1)]  # a probability, a share, a momentum
Part = Annotated[float, Range(0, 1, below=True)]  # a share that is never all
Positive = Annotated[float, Range(0, above=True)]
Amount = Annotated[float, Range(0)]
Count = Annotated[int, Range(1)]
Whole = Annotated[int, Range(0)]
Pair = tuple[float, float]
Triple = tuple[int, int, int]  # x, y, z
Shares = Annotated[Pair, Range(0, 1, above=True)]  # bounds of a share that is never nothing
Amounts = Annotated[Pair, Range(0)]
Factors = Annotated[Pair, Range(0, above=True)]


def problems(kind: Any, values: Mapping[str, Any]) -> dict[str, str]:
    """Return what is wrong with values of a dataclass's fields, by field: those that are out of range."""
    return {
        name: f"{problem}, got {values[name]!r}"
        for name, bounds in _bounded(kind)
        if name in values and (problem := bounds.problem(values[name]))
    }


@cache
def _bounded(kind: Any) -> tuple[tuple[str, Range], ...]:
    """Return a dataclass's fields with their bounds; the numbers of a plain tuple have no order."""
    return tuple(
        (name, replace(bounds, order=False) if get_origin(hint) is tuple else bounds)
        for name, hint in get_type_hints(kind, include_extras=True).items()
        for part in (hint, *get_args(hint))  # ``Count | None`` has it among its arguments
        for bounds in getattr(part, "__metadata__", ())
        if isinstance(bounds, Range)
    )
