"""The phantoms' files say what was written, in the data sets' own conventions."""

import time
from pathlib import Path

import nibabel
import nrrd
import numpy as np
import pytest

from bench.phantoms.organs import organs, write_nifti, write_nrrd


def test_nifti_reads_back_in_ras_with_its_spacing(tmp_path: Path):
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4) - 0.4
    write_nifti(tmp_path / "new" / "a.nii.gz", array, (0.5, 1.0, 2.5), np.int16)
    image = nibabel.load(tmp_path / "new" / "a.nii.gz")
    assert nibabel.aff2axcodes(image.affine) == ("R", "A", "S")
    assert image.header.get_zooms() == (0.5, 1.0, 2.5)
    assert image.get_data_dtype() == np.int16
    assert np.array_equal(np.asarray(image.dataobj), np.arange(24).reshape(2, 3, 4))
    assert np.allclose(image.affine @ [0.5, 1.0, 1.5, 1.0], [0, 0, 0, 1])  # centred


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_nrrd_reads_back_through_its_directions(tmp_path: Path, dtype: type):
    array = np.arange(60).reshape(3, 4, 5).astype(dtype)
    write_nrrd(tmp_path / "new" / "a.nrrd", array, (0.625, 0.7, 1.25), dtype)
    data, header = nrrd.read(str(tmp_path / "new" / "a.nrrd"))
    assert header["space"] == "left-posterior-superior"
    assert np.array_equal(header["space directions"], np.diag([0.625, 0.7, 1.25]))
    assert data.dtype == dtype
    assert np.array_equal(data[::-1, ::-1], array)  # left, posterior turned to right, anterior


@pytest.mark.parametrize(("write", "name"), [(write_nifti, "a.nii.gz"), (write_nrrd, "a.nrrd")])
def test_equal_arrays_make_equal_bytes(tmp_path: Path, monkeypatch, write, name: str):
    array = organs((40, 52, 36), (1, 1, 1), 2, 0, 0)[1]
    write(tmp_path / name, array, (1, 1, 1), np.uint8)
    first = (tmp_path / name).read_bytes()
    monkeypatch.setattr(time, "time", lambda: 2e9)  # gzip and pynrrd write the time by default
    write(tmp_path / name, array, (1, 1, 1), np.uint8)
    assert (tmp_path / name).read_bytes() == first


def test_integers_are_rounded_and_kept_within_their_type(tmp_path: Path):
    write_nifti(tmp_path / "a.nii", np.array([[[-3.0, 1.6, 300.0]]]), (1, 1, 1), np.uint8)
    stored = np.asarray(nibabel.load(tmp_path / "a.nii").dataobj)
    assert stored.tolist() == [[[0, 2, 255]]]
