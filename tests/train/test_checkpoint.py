"""Checkpoints: two generations, nothing half written, a damaged one is passed over."""

import hashlib
import os

import pytest
import torch

from bench.errors import BenchError
from bench.train import checkpoint


def state(value):
    return {
        "weights": {"w": torch.full((3,), float(value))},
        "extra": {"best": value, "none": None},
    }


def latest(folder):
    found = checkpoint.read(checkpoint.latest(folder))
    return found.pop("step"), found


def test_what_is_saved_is_restored(tmp_path):
    assert checkpoint.latest(tmp_path) == b""
    checkpoint.save(tmp_path, 7, state(1.5))
    step, found = latest(tmp_path)
    assert step == 7 and found["extra"] == {"best": 1.5, "none": None}
    assert torch.equal(found["weights"]["w"], torch.full((3,), 1.5))


def test_the_two_newest_generations_stay(tmp_path):
    for step in (5, 10, 100, 1000):
        checkpoint.save(tmp_path, step, state(step))
    names = sorted(p.name for p in tmp_path.iterdir())
    assert [n[:14] for n in names] == ["step-000000100", "step-000001000"]
    assert latest(tmp_path)[0] == 1000


def flipped(data):
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@pytest.mark.parametrize("damaged", [flipped, lambda data: data[:-9], lambda data: b""])
def test_a_damaged_newest_falls_back_to_the_older_and_two_are_a_new_start(tmp_path, damaged):
    for step in (1, 2):
        checkpoint.save(tmp_path, step, state(step))
    newest = max(tmp_path.glob("step-*2-*.pt"))
    newest.write_bytes(damaged(newest.read_bytes()))
    step, found = latest(tmp_path)
    assert step == 1 and found["weights"]["w"][0] == 1
    # and from there two sound generations come about again
    for step in (3, 4):
        checkpoint.save(tmp_path, step, state(step))
    assert [p.name[:14] for p in sorted(tmp_path.glob("*"))] == ["step-000000003", "step-000000004"]
    for path in tmp_path.glob("step-*"):
        path.write_bytes(damaged(path.read_bytes()))
    assert checkpoint.latest(tmp_path) == b""


def test_a_kill_while_writing_leaves_the_older_one(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, 1, state(1))

    def killed(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", killed)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(tmp_path, 2, state(2))
    assert latest(tmp_path)[0] == 1


@pytest.mark.parametrize("data", [b"x", b"PK" + bytes(200), b"\x80\x02}q\x00.", b""])
def test_bytes_that_are_no_state_are_refused_though_their_checksum_holds(tmp_path, data):
    (tmp_path / f"step-000000001-{hashlib.sha256(data).hexdigest()[:16]}.pt").write_bytes(data)
    found = checkpoint.latest(tmp_path)
    assert found == data
    with pytest.raises(BenchError, match=r"not written by bench .*delete the job's step-\*.pt"):
        checkpoint.read(found)
