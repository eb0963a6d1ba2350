"""The classes of cases: the true ones, and the scores of predicted ones as an evaluate job keeps them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from bench.data.npz import Arrays
from bench.data.prepared import Prepared
from bench.errors import BenchError, Damaged

FILE = "classes.npz"
CLASSIFICATION = "classification"  # a data set's task


def true_classes(prepared: Prepared, cases: Sequence[str], count: int) -> list[int]:
    """Return the class of each case.

    Raises:
        BenchError: a case without a class, or of another one than 0 to ``count`` - 1; names it.
    """
    known = {case.id: case.label for case in prepared.cases()}
    found = []
    for case in cases:
        label = known.get(case)
        if not isinstance(label, int) or not 0 <= label < count:
            raise BenchError(
                f"case {case!r} is of class {label}, the data set declares 0 to {count - 1}; "
                "mend its adapter's labels and run again"
            )
        found.append(label)
    return found


def save(folder: Path, scores: Mapping[str, np.ndarray]) -> None:
    """Keep the scores of each case, (K,) probabilities, in one small file."""
    np.savez(folder / FILE, case=np.array(list(scores)), scores=np.array(list(scores.values())))


def read(folder: Path) -> tuple[list[str], np.ndarray]:
    """Return the cases and their scores, float64 (N, K), of a finished evaluate job.

    Raises:
        Damaged: the file is not what was published, or holds something else.
    """
    arrays = Arrays(folder / FILE)
    cases, scores = arrays["case"], arrays["scores"]
    if cases.dtype.kind != "U" or scores.dtype != np.float64 or scores.shape[:-1] != cases.shape:
        raise Damaged(arrays.path, "no scores of classes")
    return cases.tolist(), scores
