"""What a target is, and what an execution may do: succeed, or say in one line what is wrong."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from bench.errors import BenchError

LONGEST = 2000  # characters of one line that a person is to read


class Target:
    """One kind of input. ``once`` damages an original by ``rng`` alone and has it read."""

    name: ClassVar[str]
    slow: ClassVar[int]  # executions in the slow part of the tests
    seconds: ClassVar[float] = 1.0  # of processor time that one execution may take

    def __init__(self, folder: Path) -> None:
        raise NotImplementedError

    def once(self, rng: random.Random) -> None:
        """Damage, read; raises whatever the project lets through."""
        raise NotImplementedError


def tried(call: Callable[..., Any], *given: Any) -> Any:
    """Return what a call returns, or None where it refuses in one line that can be printed."""
    try:
        return call(*given)
    except BenchError as error:
        one_line(str(error))
        return None


def one_line(text: str) -> None:
    """Fail where a message is not one line, or so long that nobody reads it."""
    assert text and "\n" not in text and "\r" not in text, f"not one line: {text[:300]!r}"
    assert len(text) <= LONGEST, f"{len(text)} characters: {text[:300]!r}"
    assert "do not fit into memory" not in text, text[:300]  # it was asked for all the same
