"""A page says whether its protocol was there before the first score, and when it was changed."""

from dataclasses import replace

import pytest

from bench import records
from bench.cli import main
from bench.errors import BenchError
from bench.protocol import read
from bench.show import registration
from bench.store import Store


def test_the_first_text_and_each_change_are_noted_once(
    plan_of, protocol_file, tmp_path, monkeypatch
):
    store, plan = Store.open(tmp_path / "out"), plan_of()
    protocol = read(protocol_file(name="test0.yaml"))
    for _ in range(2):
        registration.note([protocol], plan, store)
    (first,) = registration.read(store, "test0")
    assert (first.scored, first.cells, first.content) == (0, 8, protocol.origin.content)
    monkeypatch.setattr(records, "done", lambda *_: True)
    registration.note([protocol], plan, store)
    for changed in (replace(protocol, overrides=("finetune.steps=9",)), protocol):
        registration.note([changed], plan, store)
    assert [(n.scored, n.overrides) for n in registration.read(store, "test0")] == [
        (0, ()),
        (8, ("finetune.steps=9",)),
        (8, ()),
    ]
    (store.root / "registered" / "test0.json").write_text("{}")
    with pytest.raises(BenchError, match=r"registered/test0\.json: damaged"):
        registration.note([protocol], plan, store)


def test_a_study_that_goes_on_elsewhere_keeps_its_date(plan_of, protocol_file, tmp_path):
    first, second, third = (Store.open(tmp_path / name) for name in ("first", "second", "third"))
    protocol, plan = read(protocol_file(name="test0.yaml")), plan_of()
    registration.note([protocol], plan, first)
    file = first.root / "registered" / "test0.json"
    file.write_text(file.read_text().replace('"time": "20', '"time": "19'))
    folders = (tmp_path / "a_bundle.tar.gz", first.root)
    registration.note([protocol], plan, second, folders)
    assert registration.read(second, "test0") == registration.read(first, "test0")
    other = replace(protocol, overrides=("finetune.steps=9",))
    copied = {cell.evaluate for cell in plan.cells["test0"][:2]}
    registration.note([other], plan, third, folders, copied)  # another protocol: its own date
    (noted,) = registration.read(third, "test0")
    assert noted.overrides == ("finetune.steps=9",)
    assert 0 < noted.scored == len(copied) < noted.cells  # copied scores were known, too


@pytest.mark.usefixtures("inlined")
def test_the_page_says_it_of_a_run_that_began_before_such_notes(protocol_file, phantoms, tmp_path):
    out = tmp_path / "out"
    probe = {"evaluation": "probe", "steps": None, "fractions": [100], "seeds": [0]}
    file = protocol_file({"rows": {"pair": None}, "name": "test", "finetune": probe})
    for sentence in ("Registered before the first cell", "Not registered before the first cell"):
        assert main(["run", str(file), "--data", str(phantoms), "--out", str(out)]) == 0
        assert sentence in (out / "reports" / "test" / "table.md").read_text()
        (out / "registered" / "test.json").unlink()
