"""Predicted label maps as a challenge's server takes them: one zip of files that the data set names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from zipfile import ZIP_STORED, ZipFile, ZipInfo

import numpy as np

from bench.dataset import Case, Dataset
from bench.volumes.writing import nifti_like

FILE = "submission.zip"
EPOCH = (1980, 1, 1, 0, 0, 0)  # equal predictions, equal bytes


@contextmanager
def archive(
    folder: Path, dataset: Dataset, cases: Sequence[Case]
) -> Iterator[Callable[[str, np.ndarray], None]]:
    """Give a function that adds one case's label map, contiguous values (X, Y, Z) in RAS+, to the zip.

    A map lies on the grid of the case's first image and has the values of the data set's own files; the data set
    names the files (``submission``) and knows their values (``raw_labels``).
    """
    images = {case.id: case.images[0] for case in cases}
    values = raw_values(dataset)
    with ZipFile(folder / FILE, "w", ZIP_STORED) as file:  # its members are compressed

        def add(case: str, label: np.ndarray) -> None:
            name = ZipInfo(dataset.submission.format(case=case), EPOCH)
            name.external_attr = 0o644 << 16
            file.writestr(name, nifti_like(values[label], images[case]))

        yield add


def raw_values(dataset: Dataset) -> np.ndarray:
    """Return what each contiguous label value (0 to 255) is in the data set's files; of several the first."""
    most = max([255, *dataset.raw_labels])
    table = np.arange(256, dtype=np.uint8 if most < 256 else np.int16)
    for raw, label in reversed(dataset.raw_labels.items()):
        table[label] = raw
    return table
