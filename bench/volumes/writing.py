"""Label maps as files for others: on the grid and in the place of the image that they are of."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np

from bench.volumes.reading import turned_back


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
