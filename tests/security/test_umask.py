"""Every file and folder has the permissions that the user's umask gives, no more and no less."""

import os
import stat

import numpy as np
import pytest
from small_prepared import write_prepared
from small_protocol import NAME

from bench import stand_ins
from bench.data.cache import PackWriter
from bench.data.roots import Roots
from bench.protocol import read
from bench.report.write import write
from bench.store import Store, write_atomic


@pytest.fixture
def umask():
    """Return a function that sets the umask for this test."""
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


def modes(root, mask):
    """Return what has other permissions than the umask gives."""
    found = {p: stat.S_IMODE(p.lstat().st_mode) for p in root.rglob("*")}
    assert found
    return [p for p, mode in found.items() if mode != (0o777 if p.is_dir() else 0o666) & ~mask]


def test_a_colleague_can_read_all_that_a_run_left(attacked):
    for folder in ("out", "to"):
        assert modes(attacked.root / folder, 0o002) == []


@pytest.mark.parametrize("mask", [0o002, 0o027, 0o077])
def test_files_get_the_users_umask(tmp_path, umask, mask, report_of, protocol_file):
    umask(mask)
    store = Store.open(tmp_path / "out")
    store.write_spec("a", {})
    claim = store.claim("a")
    store.tell("a", 1, 2, 0.5)
    store.fail(claim, "reason", "bug")
    (store.work / ("b" * 16)).mkdir()
    store.lost("b" * 16, "killed")
    claim = store.claim("a")
    with store.attempt(claim) as made:
        with PackWriter(made, "image") as pack:
            pack.add("c", np.ones((4, 4, 4), np.uint8))
        write_prepared(made, {"c": {"image": np.ones((1, 4, 4, 4), np.int16)}})
        store.publish(claim, made, {})
    write_atomic(tmp_path / "out" / "contents.json", "{}")
    write(*report_of("x"), tmp_path / "out" / "reports" / "x", figures=mask == 0o027)
    protocol = read(protocol_file({"phantoms": {NAME: {"cases": 3}}}))
    stand_ins.where_lacking(Roots(), [protocol], tmp_path / "out", make=True)
    assert modes(tmp_path / "out", mask) == []
    assert len(list((tmp_path / "out").rglob("*"))) > 20
