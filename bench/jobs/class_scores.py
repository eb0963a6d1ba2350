"""The classes of cases: the true ones, and the scores of predicted ones as an evaluate job keeps them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from bench.data.npz import Arrays
from bench.data.prepared import Prepared
from bench.errors import BenchError, Damaged

FILE = "classes.npz"
PREDICTED = "predicted"  # kept where it is not the likeliest class
CLASSIFICATION = "classification"  # a data set's task


def true_classes(prepared: Prepared, cases: Sequence[str], count: int) -> list[int]:
    """Return the class of each case.

    Raises:
        BenchError: a case without a class, or of another one than 0 to ``count`` - 1; names it.
    """
    labels = {case.id: case.label for case in prepared.cases()}
    classes = []
    for case in cases:
        label = labels.get(case)
        if not isinstance(label, int) or not 0 <= label < count:
            why = f"case {case!r} has class {label}, but the data set declares classes 0 to {count - 1}"
            raise BenchError(f"{why}; correct the labels in the data set's adapter and run again")
        classes.append(label)
    return classes


def save(
    folder: Path,
    scores: Mapping[str, np.ndarray],
    decided: Callable[[np.ndarray], np.ndarray] | None = None,
) -> None:
    """Keep the scores of each case, (K,) probabilities, in one small file.

    ``decided`` goes from scores (N, K) to the classes (N,) that are then kept too; None: the likeliest.
    """
    stacked = np.array(list(scores.values()))
    arrays = {"case": np.array(list(scores)), "scores": stacked}
    if decided is not None:
        arrays[PREDICTED] = decided(stacked)
    np.savez(folder / FILE, allow_pickle=False, **arrays)


def read(folder: Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Return the cases, their scores, float64 (N, K), and predicted classes (N,) of a finished evaluate job.

    Raises:
        Damaged: the file is not what was published, or holds something else.
    """
    arrays = Arrays(folder / FILE)
    cases, scores = arrays["case"], arrays["scores"]
    if cases.dtype.kind != "U" or scores.dtype != np.float64 or scores.shape[:-1] != cases.shape:
        raise Damaged(arrays.path, "no scores of classes")
    predicted = arrays[PREDICTED] if PREDICTED in arrays else scores.argmax(1)
    if predicted.shape != cases.shape or predicted.dtype.kind != "i":
        raise Damaged(arrays.path, "no predicted classes")
    return cases.tolist(), scores, predicted
