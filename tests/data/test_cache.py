"""Packs: what goes in comes out, whole and by box."""

import json
import os
from pathlib import Path

import blosc2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from one_line import refused

from bench.data import cache
from bench.data.cache import Pack, PackWriter, compress
from bench.errors import Damaged


def noise(shape, dtype=np.int16, seed=0):
    return np.random.default_rng(seed).integers(0, 200, shape).astype(dtype)


def test_what_goes_in_comes_out_with_its_type(tmp_path):
    kinds = {
        "a": ((1, 70, 33, 5), np.int16),
        "b": ((2, 16, 16, 16), np.uint16),
        "c": ((40, 3, 65), np.uint8),
    }
    arrays = {key: noise(*kind) for key, kind in kinds.items()}
    with PackWriter(tmp_path, "image") as writer:
        for key, array in arrays.items():
            writer.add(key, array)
    found = Pack(tmp_path, "image")
    assert list(found) == ["a", "b", "c"] and "a" in found and "z" not in found
    with refused(r"lacks case 'z'.*run again"):
        found["z"]
    for key, array in arrays.items():
        assert found[key].dtype == array.dtype and found[key].shape == array.shape
        np.testing.assert_array_equal(found[key][:], array)


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
def test_any_small_array_survives_in_either_order(array):
    for stored in (array, np.asfortranarray(array)):
        np.testing.assert_array_equal(blosc2.ndarray_from_cframe(compress(stored))[:], array)
    assert compress(array) == compress(array.copy())


@pytest.mark.parametrize(
    ("shape", "chunks", "blocks"),
    [
        ((2, 200, 200, 100), (1, 64, 64, 64), (1, 32, 32, 32)),
        ((300, 100, 20), (128, 100, 20), (32, 32, 20)),
        ((3, 700, 600, 1), (1, 512, 512, 1), (1, 256, 256, 1)),  # a picture
        ((1, 7, 600, 600), (1, 7, 256, 256), (1, 7, 64, 64)),
        ((5000, 3), (5000, 3), (5000, 3)),  # voxels of the foreground
        ((4, 4, 4), (4, 4, 4), (4, 4, 4)),
    ],
)
def test_a_block_holds_about_as_many_voxels_whatever_the_shape(shape, chunks, blocks):
    packed = blosc2.ndarray_from_cframe(compress(noise(shape)))
    assert (packed.chunks, packed.blocks) == (chunks, blocks)


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
    with refused(r"image.json: damaged .*run again"):
        Pack(tmp_path, "image")


ENTRY = {"file": "image-000.b2", "start": 0, "length": 5, "meta": {"patient": "p"}}


OTHERS = (
    *({"x": 1}, {"start": "0"}, {"start": -1}, {"file": "../x.b2"}),
    *({"file": None}, {"meta": []}, {"crc": "1"}),
)
INDICES = ([], {"a": 1}, {"a": {}}, '{"a": ', *({"a": ENTRY | other} for other in OTHERS))


@pytest.mark.parametrize("index", INDICES)
def test_an_index_of_other_values_is_named_in_one_line(tmp_path, index):
    (tmp_path / "image.json").write_text(index if isinstance(index, str) else json.dumps(index))
    with refused(r"image.json: damaged"):
        Pack(tmp_path, "image")


def test_many_arrays_can_be_open_at_once(tmp_path):
    with PackWriter(tmp_path, "image") as writer:
        for i in range(300):
            writer.add(str(i), noise((4, 4, 4), seed=i))
    found = Pack(tmp_path, "image")
    handles = Path("/proc/self/fd")
    before = len(list(handles.iterdir()))
    held = [found[str(i)] for i in range(300)]
    assert len(list(handles.iterdir())) <= before + 3  # a handle each would end at 1024
    assert all((held[i][:] == noise((4, 4, 4), seed=i)).all() for i in (0, 150, 299))


@pytest.fixture
def one(tmp_path):
    """Return a folder with a pack of one array, ``a``, and a function that changes its entry."""
    with PackWriter(tmp_path, "image") as writer:
        writer.add("a", noise((64, 64, 64)))
    entry = json.loads((tmp_path / "image.json").read_text())["a"]
    return tmp_path, lambda **more: (tmp_path / "image.json").write_text(
        json.dumps({"a": {**entry, **more}})
    )


@pytest.mark.parametrize("other", [{"start": 10**9}, {"length": 0}, {"length": 40}, {"start": 3}])
def test_an_entry_that_points_elsewhere_is_refused(one, other):
    folder, change = one
    change(**other)
    with refused(r"damaged|no array of numbers"):
        Pack(folder, "image")["a"]


def test_a_fifo_in_the_place_of_a_file_is_not_waited_for(one):
    folder, _ = one
    (folder / "image-000.b2").unlink()
    os.mkfifo(folder / "image-000.b2")
    with refused("no regular file"):
        Pack(folder, "image")["a"]


def test_without_checksums_a_pack_is_read_and_damaged_blocks_are_named_when_they_are_decoded(one):
    folder, change = one
    change(crc=None)
    assert (Pack(folder, "image")["a"][:] == noise((64, 64, 64))).all()
    raw = bytearray((folder / "image-000.b2").read_bytes())
    raw[200:-200] = bytes(len(raw) - 400)
    (folder / "image-000.b2").write_bytes(raw)
    change(crc=None)  # another index, so the file is opened anew
    with refused(r"image-000.b2, byte 0: damaged .*run again"):
        Pack(folder, "image")["a"][:]


def test_one_flipped_bit_anywhere_is_found_before_anything_is_decoded(tmp_path):
    with PackWriter(tmp_path, "image") as writer:
        for key in "ab":
            writer.add(key, noise((40, 40, 40)))
    path = tmp_path / "image-000.b2"
    raw = path.read_bytes()
    half = len(raw) // 2
    # the header, offsets of blocks, data, the index of chunks and the trailer, of the second array
    for at in [half + n for n in (0, 5, 20, 60, 90, 140, 200, 300, 5000)] + [
        len(raw) - n for n in range(1, 120, 7)
    ]:
        changed = bytearray(raw)
        changed[at] ^= 1 << at % 8
        path.write_bytes(changed)
        found = Pack(tmp_path, "image")
        assert (found["a"][:] == noise((40, 40, 40))).all()
        with pytest.raises(Damaged, match=rf"image-000.b2, byte {half}: damaged .*run again"):
            found["b"]
