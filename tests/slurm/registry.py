"""The faults by name, each with how it is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from trial import Trial


@dataclass(frozen=True)
class Fault:
    """Something that happens to a run; ``make`` returns in words how the run ended."""

    name: str
    how: str
    make: Callable[[Trial], str]
    quick: bool  # a test of every CI run, on the smallest protocol


FAULTS: dict[str, Fault] = {}


def fault(how: str, quick: bool = False) -> Callable[[Callable[[Trial], str]], Callable[[Trial], str]]:
    """Register a fault under its function's name."""

    def register(make: Callable[[Trial], str]) -> Callable[[Trial], str]:
        FAULTS[make.__name__] = Fault(make.__name__, how, make, quick)
        return make

    return register


def skip(why: str) -> str:
    """End a fault that cannot be made here."""
    pytest.skip(why)
