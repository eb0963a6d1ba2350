"""Types of numbers that say which values make sense, for a method's parameters: ``flip: Share = 0.5``."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Annotated, Any, get_args, get_type_hints


@dataclass(frozen=True)
class Range:
    """Bounds of a number; of two numbers, each within them and the first not above the second."""

    low: float
    high: float = inf
    above: bool = False  # is the lower bound itself left out?

    def problem(self, value: Any) -> str:
        """Return what is wrong with a value (None is never wrong), "" where nothing is."""
        numbers = value if isinstance(value, tuple) else () if value is None else (value,)
        if any(not self._holds(number) for number in numbers):
            return f"must be {self._words()}"
        return "must not fall" if list(numbers) != sorted(numbers) else ""

    def _holds(self, number: float) -> bool:
        return (number > self.low if self.above else number >= self.low) and number <= self.high

    def _words(self) -> str:
        if self.high == inf:
            return f"above {self.low:g}" if self.above else f"{self.low:g} or more"
        between = "above {:g} and at most {:g}" if self.above else "from {:g} to {:g}"
        return between.format(self.low, self.high)


Share = Annotated[float, Range(0, 1)]  # a probability, a share, a momentum
Positive = Annotated[float, Range(0, above=True)]
Amount = Annotated[float, Range(0)]
Count = Annotated[int, Range(1)]
Whole = Annotated[int, Range(0)]
Pair = tuple[float, float]
Shares = Annotated[Pair, Range(0, 1, above=True)]  # bounds of a share that is never nothing
Amounts = Annotated[Pair, Range(0)]
Factors = Annotated[Pair, Range(0, above=True)]


def problems(values: Any) -> list[str]:
    """Return what is out of range among a dataclass's fields, one line each with the field's name."""
    found = []
    for name, hint in get_type_hints(type(values), include_extras=True).items():
        for part in (hint, *get_args(hint)):  # ``Count | None`` has it among its arguments
            for bounds in (b for b in getattr(part, "__metadata__", ()) if isinstance(b, Range)):
                value = getattr(values, name)
                if said := bounds.problem(value):
                    found.append(f"{name} {said}, got {value!r}")
    return found
