"""A protocol is found by its file, by its name, and by its place."""

from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.protocol.named import SHIPPED, find

TABLE = SHIPPED / "protocols" / "voco" / "table1.yaml"


@pytest.mark.parametrize("text", ["voco_table1", "voco/table1", str(TABLE)])
def test_found(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find(Path(text)) == TABLE


@pytest.mark.parametrize(
    "text", ["voco_tabel1", "voco/tabel1", "protocols/voco/table1.yaml", "clone/voc/table1.yaml"]
)
def test_the_nearest_is_named(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BenchError, match=f"{text}: no such file; did you mean 'voco_table1'"):
        find(Path(text))
