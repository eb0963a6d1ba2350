"""Predicted label maps as a challenge's server takes them: one zip of files that the data set names."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from zipfile import ZIP_STORED, ZipFile, ZipInfo

import nibabel as nib
import numpy as np

from bench.dataset import Case, Dataset
from bench.volumes.reading import turned_back

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


def nifti_like(label: np.ndarray, image: Path) -> bytes:
    """Return a ``.nii.gz`` of a label map, with the axes, shape and affine of its image's file.

    Equal label maps give equal bytes: no time and no name stands in them. Where the image states no
    directions, the map states none.

    Args:
        label: integers (X, Y, Z) in RAS+, as volumes are read here.
        image: the file (of any format that is read here) that it is of.

    Raises:
        VolumeError: the image cannot be read, or is of another shape.
    """
    array, stored = turned_back(label, image)
    nifti = nib.Nifti1Image(np.ascontiguousarray(array), stored.affine)
    # scanner's coordinates, or none; readers differ in which form they take
    code = int(stored.stated.axes)
    nifti.set_sform(stored.affine, code=code)
    nifti.set_qform(stored.affine, code=code)
    nifti.header.set_xyzt_units("mm")
    return gzip.compress(nifti.to_bytes(), mtime=0)
