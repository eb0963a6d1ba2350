"""A protocol's records as a run on phantoms leaves them, with made-up scores."""

import json
from types import SimpleNamespace

import pytest
from invented import scored

from bench.extras.bundle.making import bundle
from bench.protocol import read
from bench.store import Store
from bench.typed import plain


def made_up(cell, number):
    return 0.5 + 0.01 * number + 0.1 * cell.columns["seed"]


@pytest.fixture
def ran(plan_of, tmp_path, monkeypatch):
    """Return a function from changes to the small protocol: its file, and a folder with its records."""
    monkeypatch.chdir(tmp_path)

    def left(changes=None, beside=None):
        plan, store = plan_of(changes), Store.open(tmp_path / "out")
        path = tmp_path / "test0.yaml"
        protocol = read(path)
        records = store.root / "records"
        table = scored(plan.cells[protocol.name], protocol.name, made_up)
        table.to_parquet(records / f"{protocol.name}.parquet", index=False)
        said = {"origin": plain(protocol.origin), "provenance": {"torch": "2.13.0"}} | (
            beside or {}
        )
        (records / f"{protocol.name}.json").write_text(json.dumps(said))
        return SimpleNamespace(path=path, store=store, name=protocol.name, protocol=protocol)

    return left


HONEST: list[bytes] = []  # made once


@pytest.fixture
def made(ran, phantoms, tmp_path):
    """Return the file of an honest bundle."""
    if not HONEST:
        one = ran()
        HONEST.append(bundle([one.path], one.store, phantoms).raw)
    file = tmp_path / "made.bench.zip"
    file.write_bytes(HONEST[0])
    return file
