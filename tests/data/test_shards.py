"""Shards and journals: what was vouched for survives any kill, what was not is cut off."""

import json
import os

import numpy as np
import pytest

from bench.data import cache, shards
from bench.data.cache import compress
from bench.data.index import Index
from bench.data.shards import Gathered, Made, Writer, join
from bench.dataset import Case
from bench.errors import BenchError
from bench.volumes.resampling import Geometry

CONTENT = "ab" * 16
IDS = ["c2", "c10", "c1", "../x"]
GRID = Geometry((5, 6, 7), (1.0, 0.5, 2.0), ((0, 5), (1, 6), (0, 7)), (4, 4, 4))


def image(case):
    return (
        np.random.default_rng(len(case) + ord(case[-1]))
        .integers(0, 99, (1, 4, 4, 4))
        .astype(np.int16)
    )


def made(case, content=CONTENT):
    label = (image(case)[0] > 50).astype(np.uint8)
    native = np.ones((5, 6, 7), np.uint8)
    arrays = {"image": image(case), "label": label, "native": native}
    return Made(
        case, content, GRID, 0.1, -3.5, {name: compress(array) for name, array in arrays.items()}
    )


def write(folder, *ids):
    with Writer(folder) as writer:
        for case in ids:
            writer.add(made(case))


def gathered(folder):
    return Gathered(folder, dict.fromkeys(IDS, CONTENT))


def joined(folder, target):
    target.mkdir()
    join(gathered(folder), target, [Case(c, f"patient {c}", ()) for c in IDS])
    found = Index(target)
    assert all((found.whole(case, "image") == image(case)).all() for case in IDS)
    return found


def one(folder, suffix):
    (found,) = folder.glob(f"*{suffix}")
    return found


def test_the_index_is_in_the_order_of_the_cases_whoever_wrote_what(tmp_path):
    write(tmp_path / "a", IDS[3], IDS[0])
    write(tmp_path / "a", IDS[2], IDS[1])
    write(tmp_path / "b", *IDS)
    for name in ("a", "b"):
        found = joined(tmp_path / name, tmp_path / f"{name}-done")
        assert found.cases == IDS and found.patients == [f"patient {c}" for c in IDS]
        for case in IDS:
            assert found.geometry(case) == GRID
            assert (found.row(case)["step"], found.row(case)["offset"]) == (0.1, -3.5)
        assert sorted(p.name for p in (tmp_path / f"{name}-done").iterdir()) == [
            "index.npz",
            "shard-0000.b2",
        ]


def test_a_torn_line_takes_its_case_and_no_other(tmp_path):
    write(tmp_path / "s", *IDS[:3])
    journal = one(tmp_path / "s", ".jsonl")
    lines = journal.read_bytes().splitlines(keepends=True)
    for end in range(1, len(lines[2]), 40):  # at the last only the line break is lacking
        journal.write_bytes(b"".join(lines[:2]) + lines[2][:-end])
        found = gathered(tmp_path / "s")
        assert found.done.tolist() == [True, True, False, False]
    write(tmp_path / "s", *IDS[2:])
    done = joined(tmp_path / "s", tmp_path / "done")
    assert len(done) == 4
    counted = done.rows["frames"]["length"].sum()
    assert (
        one(tmp_path / "done", ".b2").stat().st_size == counted
    )  # the frames of nobody are cut off


@pytest.mark.parametrize("lost", [1, 30, 200])
def test_torn_frames_take_their_case_and_no_other(tmp_path, lost):
    write(tmp_path / "s", *IDS[:3])
    shard = one(tmp_path / "s", ".b2")
    os.truncate(shard, shard.stat().st_size - lost)
    assert gathered(tmp_path / "s").done.tolist() == [True, True, False, False]


def test_frames_that_never_reached_the_disk_are_found_by_their_checksum(tmp_path):
    write(tmp_path / "s", *IDS[:3])
    shard = one(tmp_path / "s", ".b2")
    raw = shard.read_bytes()
    first = gathered(tmp_path / "s").rows[0]["frames"]
    start = int((first["start"] + first["length"]).max())
    # a power failure: zeros behind the first case
    shard.write_bytes(raw[:start] + bytes(len(raw) - start))
    assert gathered(tmp_path / "s").done.tolist() == [True, False, False, False]


@pytest.mark.parametrize("small", [0, 1 << 30])
def test_bytes_behind_the_last_line_are_cut_off(tmp_path, monkeypatch, small):
    monkeypatch.setattr(shards, "SMALL", small)
    write(tmp_path / "s", *IDS)
    shard = one(tmp_path / "s", ".b2")
    whole = shard.read_bytes()
    shard.write_bytes(whole + b"half a frame")
    joined(tmp_path / "s", tmp_path / "done")
    assert one(tmp_path / "done", ".b2").read_bytes() == whole


def test_a_writer_that_was_killed_before_its_first_line_leaves_nothing(tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "x-000.b2").write_bytes(b"frames of nobody")
    assert not gathered(tmp_path / "s").done.any()
    write(tmp_path / "s", *IDS)
    joined(tmp_path / "s", tmp_path / "done")
    assert b"nobody" not in one(tmp_path / "done", ".b2").read_bytes()


def test_who_gathers_changes_nothing_of_a_writer_at_work(tmp_path, monkeypatch):
    writer = Writer(tmp_path / "s")
    writer.add(made("c2"))
    writer.flush()
    writer.add(made("c1"))
    writer._file.flush()
    monkeypatch.setattr(shards, "SMALL", 0)
    (tmp_path / "half").mkdir()
    gathered(tmp_path / "s").place(tmp_path / "half")  # an orphan, which cannot publish it
    writer.close()
    found = gathered(tmp_path / "s")
    assert found.done.tolist() == [True, False, True, False]
    assert all(shards._intact(found.files[0][0], found.rows[number]) for number in (0, 2))


def test_an_orphan_that_goes_on_writing_touches_nothing_that_counts(tmp_path):
    orphan = Writer(tmp_path / "s")
    for case in IDS[:2]:
        orphan.add(made(case))
    orphan.flush()
    write(tmp_path / "s", *IDS[2:])
    found = joined(tmp_path / "s", tmp_path / "done")
    orphan.add(made("c1"))
    orphan.close()
    assert all((found.whole(case, "image") == image(case)).all() for case in IDS)
    Index(tmp_path / "done")


def test_a_case_of_another_content_is_made_again(tmp_path):
    with Writer(tmp_path / "s") as writer:
        writer.add(made("c2", "cd" * 16))
        writer.add(made("c1"))
    assert gathered(tmp_path / "s").done.tolist() == [False, False, True, False]
    write(tmp_path / "s", "c2")
    assert gathered(tmp_path / "s").done.tolist() == [True, False, True, False]


NO_LINE = (  # the end of its journal
    {"frames": {"image": [0, 10]}},
    {"frames": {"x": [0, 10, 0]}},
    {"frames": 5},
    {"content": 3},
    {"box": [[0, 1]]},
    {"step": "much"},
    {"case": 5},
    {"frames": {"image": [0, 2**70, 0]}},
    {"shape": None},
)
NOBODYS = (
    {"frames": {"image": [-9, 9, 0]}},
    {"frames": {}},
    {"step": float("nan")},
    {"shape": [0, 4, 4]},
)


@pytest.mark.parametrize(
    ("change", "first"), [*((c, True) for c in NO_LINE), *((c, False) for c in NOBODYS)]
)
def test_a_line_of_other_values_ends_its_journal_and_one_that_no_writer_wrote_takes_it(
    tmp_path, change, first
):
    write(tmp_path / "s", *IDS[:2])
    journal = one(tmp_path / "s", ".jsonl")
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    lines[1] |= change
    journal.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    write(tmp_path / "s", IDS[2])
    assert gathered(tmp_path / "s").done.tolist() == [first, False, True, False]


def test_killed_between_linking_and_publishing_nothing_is_lost(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "SMALL", 0)  # every shard counts as a large one
    write(tmp_path / "s", *IDS[:2])
    write(tmp_path / "s", *IDS[2:])
    (tmp_path / "half").mkdir()
    names = gathered(tmp_path / "s").place(tmp_path / "half")
    assert names == ["shard-0000.b2", "shard-0001.b2"]
    assert [(tmp_path / "half" / name).stat().st_nlink for name in names] == [2, 2]
    joined(tmp_path / "s", tmp_path / "done")


def test_where_there_are_no_hard_links_shards_are_copied(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(shards, "SMALL", 0)
    write(tmp_path / "s", *IDS)
    found = joined(tmp_path / "s", tmp_path / "done")
    assert (found.whole("c10", "native") == 1).all()


def test_shards_roll_over_and_small_ones_become_one(tmp_path, monkeypatch):
    for case in IDS:
        write(tmp_path / "s", case)
    found = joined(tmp_path / "s", tmp_path / "one")
    assert found.files == ["shard-0000.b2"]
    size = len(one(tmp_path / "one", ".b2").read_bytes()) // 4
    monkeypatch.setattr(cache, "ROLL", int(2.5 * size))
    found = joined(tmp_path / "s", tmp_path / "two")
    assert found.files == ["shard-0000.b2", "shard-0001.b2"]
    write(tmp_path / "rolled", *IDS)
    assert len(list((tmp_path / "rolled").glob("*.b2"))) == 2


def test_lacking_cases_are_named(tmp_path):
    write(tmp_path / "s", *IDS[:3])
    with pytest.raises(BenchError, match=r"case \.\./x: its prepared data are lost"):
        joined(tmp_path / "s", tmp_path / "done")


def test_a_case_counts_once_it_is_flushed(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "FLUSH", 0.0)
    writer = Writer(tmp_path / "s")
    writer.add(made("c2"))
    assert gathered(tmp_path / "s").done.tolist() == [True, False, False, False]
    writer.close()
