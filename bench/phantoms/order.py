"""Which cases of a data set its first phantoms are: some of every part, and no more than there are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from bench.dataset import Dataset
from bench.errors import BenchError

TEST = 6  # every sixth phantom is a test scan, until there are no more of one kind
T = TypeVar("T")


def first(dataset: type[Dataset], order: Sequence[T], cases: int) -> Sequence[T]:
    """Return the first ``cases`` of all that a data set's phantoms can be.

    Raises:
        BenchError: there are not so many.
    """
    if cases > len(order):
        name = dataset.__module__.rpartition(".")[2]
        raise BenchError(f"{name}: {len(order)} phantoms at most, {cases} asked for")
    return order[:cases]


def interleaved(training: Sequence[T], tests: Sequence[T]) -> list[T]:
    """Return training cases with a test case in every sixth place; what is left over comes last."""
    rest = list(tests)
    order: list[T] = []
    for stem in training:
        if len(order) % TEST == TEST - 1 and rest:
            order.append(rest.pop(0))
        order.append(stem)
    return order + rest


def in_fives(division: Path) -> list[str]:
    """Return the patients of a file of 80 and 20: four that train, then one that tests, and so on."""
    listed = json.loads(division.read_text())
    train, test = listed["train"], listed["test"]
    return [id for i in range(20) for id in (*train[4 * i : 4 * i + 4], test[i])]
