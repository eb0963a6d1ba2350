"""Packs: what goes in comes out, whole and by box."""

import json

import blosc2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bench.data import cache
from bench.data.cache import Pack, PackWriter, compress
from bench.errors import BenchError


def noise(shape, dtype=np.int16, seed=0):
    return np.random.default_rng(seed).integers(0, 200, shape).astype(dtype)


@pytest.fixture
def pack(tmp_path):
    """Return three arrays and the pack that holds them."""
    arrays = {
        "a": noise((1, 70, 33, 5)), "b": noise((2, 16, 16, 16), np.uint16, 1),
        "c": noise((40, 3, 65), np.uint8, 2),
    }  # fmt: skip
    with PackWriter(tmp_path, "image") as writer:
        for key, array in arrays.items():
            writer.add(key, array, shape=list(array.shape), note=key)
    return arrays, Pack(tmp_path, "image")


def test_what_goes_in_comes_out_with_its_type_and_notes(pack):
    arrays, found = pack
    assert list(found) == ["a", "b", "c"] and "a" in found and "z" not in found
    for key, array in arrays.items():
        assert found[key].dtype == array.dtype and found[key].shape == array.shape
        np.testing.assert_array_equal(found[key][:], array)
        assert found.meta(key) == {"shape": list(array.shape), "note": key}


@st.composite
def boxes(draw, shape):
    edges = [sorted(draw(st.tuples(st.integers(0, n), st.integers(0, n)))) for n in shape]
    return tuple(slice(lo, hi) for lo, hi in edges)


@given(boxes((70, 33, 5)))
@settings(max_examples=60, deadline=None)
def test_a_crop_equals_the_slice(box):
    np.testing.assert_array_equal(PACKED[(slice(None), *box)], ARRAY[(slice(None), *box)])


ARRAY = noise((1, 70, 33, 5), seed=3)
PACKED = blosc2.ndarray_from_cframe(compress(ARRAY))


@given(hnp.arrays(np.int16, hnp.array_shapes(min_dims=3, max_dims=4, min_side=1, max_side=9)))
@settings(max_examples=40, deadline=None)
def test_any_small_array_survives(array):
    np.testing.assert_array_equal(blosc2.ndarray_from_cframe(compress(array))[:], array)


def test_an_array_in_fortran_order_survives():
    array = np.asfortranarray(noise((2, 9, 8, 7)))
    np.testing.assert_array_equal(blosc2.ndarray_from_cframe(compress(array))[:], array)


def test_a_small_box_decodes_small_blocks():
    packed = blosc2.ndarray_from_cframe(compress(noise((2, 100, 100, 20))))
    assert packed.chunks == (1, 64, 64, 20) and packed.blocks == (1, 32, 32, 20)


def test_equal_arrays_are_equal_bytes():
    assert compress(noise((1, 40, 40, 40))) == compress(noise((1, 40, 40, 40)))


def test_a_pack_rolls_over_to_further_files(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "ROLL", 3000)
    arrays = {str(i): noise((1, 12, 12, 12), seed=i) for i in range(5)}
    with PackWriter(tmp_path, "image") as writer:
        for key, array in arrays.items():
            writer.add(key, array)
    files = sorted(p.name for p in tmp_path.glob("*.b2"))
    assert len(files) > 1 and files[0] == "image-000.b2"
    found = Pack(tmp_path, "image")
    for key, array in arrays.items():
        np.testing.assert_array_equal(found[key][:], array)


def test_a_pack_that_was_not_finished_cannot_be_read(tmp_path):
    with pytest.raises(RuntimeError), PackWriter(tmp_path, "image") as writer:
        writer.add("a", noise((4, 4, 4)))
        raise RuntimeError
    with pytest.raises(BenchError, match=r"image.json: cannot be read .*delete the folder") as caught:
        Pack(tmp_path, "image")
    assert "\n" not in str(caught.value)


def test_a_damaged_index_is_named(tmp_path):
    with PackWriter(tmp_path, "image"):
        pass
    assert list(Pack(tmp_path, "image")) == []
    (tmp_path / "image.json").write_text(json.dumps({"a": 1})[:-2])
    with pytest.raises(BenchError, match=r"image.json: cannot be read"):
        Pack(tmp_path, "image")


ENTRY = {"file": "image-000.b2", "start": 0, "length": 5, "meta": {"patient": "p"}}


@pytest.mark.parametrize(
    "index",
    [
        [], {"a": 1}, {"a": {}}, {"a": {**ENTRY, "x": 1}}, {"a": {**ENTRY, "start": "0"}},
        {"a": {**ENTRY, "start": -1}}, {"a": {**ENTRY, "file": "../x.b2"}}, {"a": {**ENTRY, "file": None}},
        {"a": {**ENTRY, "meta": []}}, {"a": {**ENTRY, "meta": {"patient": 5}}},
        {"a": {**ENTRY, "meta": {"step": float("inf")}}}, {"a": {**ENTRY, "meta": {"spacing": None}}},
    ],
)  # fmt: skip
def test_an_index_of_other_values_is_named(tmp_path, index):
    (tmp_path / "image.json").write_text(json.dumps(index))
    with pytest.raises(BenchError, match=r"image.json: cannot be read"):
        Pack(tmp_path, "image")


def test_what_an_index_lacks_is_named(tmp_path, pack):
    _, found = pack
    for call in (lambda: found["z"], lambda: found.meta("z"), lambda: found.meta("a")["patient"]):
        with pytest.raises(BenchError, match=r"lacks .*run again"):
            call()


def test_damaged_blocks_are_named_when_they_are_decoded(tmp_path):
    array = noise((64, 64, 64))
    with PackWriter(tmp_path, "image") as writer:
        writer.add("a", array)
    raw = bytearray((tmp_path / "image-000.b2").read_bytes())
    raw[200:-200] = bytes(len(raw) - 400)
    (tmp_path / "image-000.b2").write_bytes(raw)
    with pytest.raises(BenchError, match=r"image-000.b2, byte 0: damaged .*run again"):
        Pack(tmp_path, "image")["a"][:]
