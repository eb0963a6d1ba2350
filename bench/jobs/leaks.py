"""What a guard found: test cases among the data of a pretraining. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.digest import read_json
from bench.errors import Damaged
from bench.schema import LEAKS

FILE = "leaks.json"


@dataclass(frozen=True)
class Leak:
    """A case that is pretrained on, and the test case that it is, or whose patient it shows."""

    dataset: str
    case: str
    test_dataset: str
    test_case: str
    why: str  # patient | content
    score: float | None = None  # of the two fingerprints

    def __str__(self) -> str:
        return f"{self.dataset} {self.case} = {self.test_dataset} {self.test_case} ({self.why})"


@dataclass(frozen=True)
class Found:
    """One guard's result."""

    read: int  # cases of the pretraining
    tests: dict[str, int]  # test cases by data set
    leaks: tuple[Leak, ...]


def write(folder: Path, read: int, tests: Mapping[str, int], found: Sequence[Leak]) -> None:
    """Write a guard's result."""
    plain = [{k: v for k, v in asdict(leak).items() if v is not None} for leak in found]
    (folder / FILE).write_text(json.dumps({"read": read, "tests": dict(tests), "leaks": plain}))


def read(folder: Path) -> Found:
    """Return what a finished guard found.

    Raises:
        Damaged: the file is lost or not what was published.
    """
    found: dict[str, Any] | None = read_json(folder / FILE, LEAKS)
    if found is None:
        raise Damaged(folder / FILE, "it is lost")
    known = Leak.__dataclass_fields__
    made = (Leak(**{k: v for k, v in entry.items() if k in known}) for entry in found["leaks"])
    return Found(found["read"], found["tests"], tuple(made))


def seen(folder: Path) -> set[tuple[str, str]]:
    """Return data set and id of every case of a pretraining that stands in a test part."""
    return {(leak.dataset, leak.case) for leak in read(folder).leaks}
