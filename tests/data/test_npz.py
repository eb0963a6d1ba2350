"""Arrays of an ``.npz`` file come back as they were, or the file is named."""

import io
import zipfile

import numpy as np
import pytest
from one_line import refused

from bench.data import npz
from bench.data.npz import Arrays
from bench.volumes.archive import Limits


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_come_back(tmp_path, save):
    given = {
        "a": np.arange(6).reshape(2, 3),
        "b/c": np.asfortranarray(np.ones((2, 3), np.uint8)),
        "d": np.float32(2),
    }
    save(tmp_path / "x.npz", **given)
    found = Arrays(tmp_path / "x.npz")
    assert set(found) == set(given)
    for name, array in given.items():
        np.testing.assert_array_equal(found[name], array)


def packed(path, raw):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a.npy", raw)
    return path


def npy(shape, data=b""):
    raw = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        raw, {"descr": "<f8", "fortran_order": False, "shape": shape}
    )
    return raw.getvalue() + data


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"x" * 100,
        npy((1 << 40,)),
        npy((-1,)),
        npy((2,), bytes(8)),
        npy((1,), bytes(8)).replace(b"<f8", b"|O\x20"),
        npy((1,), bytes(8)).replace(b"{", b"["),
    ],
)
def test_a_header_that_does_not_fit_is_refused_before_memory_is_given(tmp_path, raw):
    found = Arrays(packed(tmp_path / "x.npz", raw))
    with refused(r"x.npz: damaged .*run again"):
        found["a"]


def test_what_is_no_archive_or_lacks_a_name_is_named(tmp_path):
    (tmp_path / "y.npz").write_bytes(b"PK")
    with refused(r"y\.npz: damaged"):
        Arrays(tmp_path / "y.npz")
    with refused(r"x\.npz: damaged"):
        Arrays(packed(tmp_path / "x.npz", npy((1,), bytes(8))))["b"]


def test_a_small_file_becomes_no_large_array(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "x.npz", a=np.zeros(100_000))
    assert Arrays(tmp_path / "x.npz")["a"].size == 100_000
    monkeypatch.setattr(npz, "LIMITS", Limits(free=1000))
    with refused(r"x\.npz: damaged \(a would become 800128 bytes of [0-9]+: a bomb"):
        Arrays(tmp_path / "x.npz")["a"]
