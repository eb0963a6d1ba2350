"""The index of a prepared data set: what may stand in it, and what is refused."""

import io
import shutil
import zipfile

import blosc2
import numpy as np
import pytest
from one_line import refused
from small_prepared import write_prepared

from bench.data import index
from bench.data.cache import compress
from bench.data.index import FRAMES, ROW, Index
from bench.data.prepared import Prepared
from bench.data.shards import Gathered, Made, Writer, join
from bench.dataset import Case
from bench.volumes.resampling import Geometry

IMAGE = np.arange(24, dtype=np.int16).reshape(1, 2, 3, 4)
MAP = np.ones((2, 3, 4), np.uint8)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    frames = {
        "image": IMAGE,
        "label": MAP,
        "native": MAP * 2,
        "fingerprint": np.ones((1, 9, 9, 9), np.uint8),
    }
    cases = {"b": frames, "a": {"image": IMAGE}, "é\n/../": {"image": IMAGE + 1}}
    write_prepared(folder, cases, patients={"b": "p"}, classes={"a": 3}, step=0.5, offset=-1.0)
    return folder


@pytest.fixture
def folder(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "job")
    return tmp_path / "job"


def columns(folder):
    with np.load(folder / index.NAME) as found:
        return {name: found[name].copy() for name in found}


def change(folder, name, value):
    found = {**columns(folder), name: value}
    np.savez(folder / index.NAME, **{k: v for k, v in found.items() if v is not None})


def test_what_was_written_is_read(folder):
    found = Prepared(folder)
    assert [(c.id, c.patient, c.label) for c in found.cases()] == [
        ("b", "p", 0),
        ("a", "a", 3),
        ("é\n/../", "é\n/../", None),
    ]
    assert (found.native("b") == 2).all() and (found.label("b") == 1).all()
    assert found.fingerprint("a") is None and found.fingerprint("b").shape == (1, 9, 9, 9)
    assert found.patient("b") == "p"
    assert found.geometry("b").native_spacing == (1.0, 1.0, 1.0)
    np.testing.assert_array_equal(found.volume("a").whole(), IMAGE * np.float32(0.5) - 1)
    assert found.volume("b").foreground.shape == (0, 3) and found.volume("a").foreground is None
    with refused("lacks the native of case 'a'"):
        found.native("a")
    with refused("lacks case 'z'"):
        found.volume("z")


def edited(name, value):
    def edit(rows):
        rows[name][1] = value
        return rows

    return edit


def frame(name, field, value):
    def edit(rows):
        rows["frames"][field][0, FRAMES.index(name)] = value
        return rows

    return edit


CASE = {
    "step": (np.nan, np.inf),
    "offset": (1e31,),
    "native_spacing": (0, np.nan),
    "shape": (0, 2**30, 2**19),
    "native_shape": (-1,),
    "box": ([[0, 99]] * 3, [[1, 1]] * 3, [[-1, 1]] * 3),
    "class": (-2,),
}
FRAME = {
    ("image", "start"): (-1, 2**62),
    ("image", "length"): (2**62, -1, 0),
    ("image", "file"): (1, -1),
    ("native", "length"): (0,),
    ("label", "length"): (0,),
    ("foreground", "length"): (10**6,),
}
EDITS = (
    *(edited(name, value) for name, values in CASE.items() for value in values),
    *(frame(*field, value) for field, values in FRAME.items() for value in values),
    lambda rows: rows[:2],
    lambda rows: rows[None],
    lambda rows: rows["step"],
    lambda rows: rows.astype([(n, ROW[n] if n != "step" else "<f4") for n in ROW.names]),
)


@pytest.mark.parametrize("edit", EDITS)
def test_rows_that_cannot_be_are_refused(folder, edit):
    rows = columns(folder)["rows"]
    change(folder, "rows", edit(rows))
    with refused() as caught:
        Prepared(folder)
    assert str(folder) in str(caught.value)
    assert "index.npz: damaged" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        *(("shard", (name,)) for name in ("", ".", "..", "a\0b", "/etc/passwd", "not there")),
        ("shard", ("../private/shard-0000.b2",)),
        ("shard", ()),
        ("case", ("a", "a", "b")),
        ("case", ("a", "b")),
        ("case", ("a", b"\xff", "b")),
        ("patient", ("a",)),
    ],
)
def test_texts_that_cannot_be_are_refused(folder, name, values):
    raw = [v.encode() if isinstance(v, str) else v for v in values]
    change(folder, name, np.frombuffer(b"".join(raw), np.uint8))
    change(folder, f"{name}_ends", np.cumsum([len(r) for r in raw]).astype(np.int64))
    with refused() as caught:
        Prepared(folder)
    assert str(folder) in str(caught.value)


ENDS = ([1, 2, 99], [5, 2, 8], [-1, 2, 3], [1, 2], [], [[1, 2, 8]], [1.0, 2.0, 8.0])
COLUMNS = ("rows", "frames", "case", "patient_ends", "shard")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("case_ends", np.array(ends)) for ends in ENDS),
        *((name, value) for name in COLUMNS for value in (None, np.zeros(3, "<U3"))),
        ("frames", np.frombuffer(",".join(reversed(FRAMES)).encode(), np.uint8)),
        ("edges", np.zeros((2, 3, 3))),
        ("edges", np.full((3, 3, 3), np.nan)),
        ("edges", np.zeros(3, "<U3")),
    ],
)
def test_a_column_that_is_lacking_or_other_is_refused(folder, name, value):
    change(folder, name, value)
    with refused(r"index\.npz: damaged"):
        Prepared(folder)


def test_a_shard_cut_short_is_found_when_it_is_opened(folder):
    shard = folder / "shard-0000.b2"
    shard.write_bytes(shard.read_bytes()[:-5])
    with refused("a frame outside its file"):
        Prepared(folder)


def test_a_flipped_bit_is_found_when_a_frame_is_read_whole(folder):
    shard = folder / "shard-0000.b2"
    place = Index(folder).place("b", "native")
    raw = bytearray(shard.read_bytes())
    raw[place.start + place.length // 2] ^= 4
    shard.write_bytes(raw)
    with refused(r"shard-0000.b2, byte \d+: damaged \(its checksum is another\)"):
        Prepared(folder).native("b")
    assert (Prepared(folder).label("b") == 1).all()


def job_of(tmp_path, frames):
    """Return a data set of one case whose frames are as given, whatever the index says of them."""
    grid = Geometry((2, 3, 4), (1.0, 1.0, 1.0), ((0, 2), (0, 3), (0, 4)), (2, 3, 4))
    with Writer(tmp_path / "s") as writer:
        writer.add(Made("a", "00" * 16, grid, 1.0, 0.0, {"image": compress(IMAGE), **frames}))
    (tmp_path / "job").mkdir()
    join(Gathered(tmp_path / "s", {"a": "00" * 16}), tmp_path / "job", [Case("a", "a", ())])
    return Prepared(tmp_path / "job")


@pytest.mark.parametrize(
    ("frames", "said"),
    [
        ({"image": IMAGE[0]}, "another shape"),
        ({"image": IMAGE[:, :, :2]}, "of another shape than it says"),
        *(({"label": other, "native": MAP}, "another shape") for other in (MAP[:, :2], IMAGE)),
        (
            {"label": MAP, "native": MAP, "foreground": np.ones((4, 2), np.int16)},
            "no list of voxels",
        ),
    ],
)
def test_a_frame_of_other_axes_is_refused(tmp_path, frames, said):
    found = job_of(tmp_path, {name: compress(array) for name, array in frames.items()})
    with refused(said):
        found.volume("a")


def test_a_frame_that_would_fill_the_memory_is_refused(tmp_path):
    bomb = blosc2.zeros((1 << 11,) * 3, np.uint8).to_cframe()  # 8 GiB in 100 bytes
    found = job_of(tmp_path, {"label": bomb, "native": bomb, "fingerprint": bomb})
    for call in (found.volume, found.label, found.native, found.fingerprint):
        with refused(r"another shape|damaged \(\(2048"):
            call("a")


def test_members_of_the_archive_are_keys_and_never_paths(folder):
    with zipfile.ZipFile(folder / index.NAME, "a") as file:
        raw = io.BytesIO()
        np.save(raw, np.ones(3))
        file.writestr("../../pwned.npy", raw.getvalue())
    before = {p.name for p in folder.parent.rglob("*")}
    Prepared(folder)
    assert {p.name for p in folder.parent.rglob("*")} == before


def test_a_shard_that_is_a_link_is_not_followed(folder, tmp_path):
    (folder / "shard-0000.b2").rename(tmp_path / "private")
    (folder / "shard-0000.b2").symlink_to(tmp_path / "private")
    with refused("no regular file"):
        Prepared(folder)


def test_an_empty_data_set_is_one(tmp_path):
    index.write(tmp_path, np.zeros(0, ROW), [], [], {}, {})
    assert Prepared(tmp_path).cases() == []
