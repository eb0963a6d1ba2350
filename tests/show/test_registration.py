"""A page says whether its protocol was there before the first score, and when it was changed."""

import json
from dataclasses import replace

import pytest
import yaml
from small_protocol import NAME

from bench import records
from bench.cli import main
from bench.document import overlay
from bench.errors import BenchError
from bench.protocol import read
from bench.report.registration import sentences
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


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"about": "Said more plainly."}, "; only texts changed."),
        ({"rows": {"pair": {"params": {"hidden": 8}}}}, "; changed: rows.pair."),
        ({"notes": ["Read."], "finetune": {"steps": 9}}, "; changed: finetune.{0}; texts changed."),
        ({"rows": {"more": {"method": "scratch", "network": "net"}}}, "; new: rows.more."),
        ({"layout": {"metric": "hd95"}}, "; new: layout.metric; texts changed."),
        ({"scales": {"paper": {"threads": 2}}}, "; nothing that this scale uses changed."),
    ],
)
def test_a_change_says_what_it_changed(plan_of, protocol_file, tmp_path, changes, says):
    store, plan = Store.open(tmp_path / "out"), plan_of()
    file = protocol_file(name="test0.yaml")
    registration.note([read(file)], plan, store)
    value = overlay(
        yaml.safe_load(file.read_text()), {k: v for k, v in changes.items() if k != "finetune"}
    )
    if "finetune" in changes:
        value["finetune"] = [section | changes["finetune"] for section in value["finetune"]]
    file.write_text(yaml.safe_dump(value))
    registration.note([read(file)], plan, store)
    changed = read(file)
    first, second = sentences(changed, registration.read(store, "test0"))
    says = says.format(changed.sections[0])
    assert first.startswith("Registered before the first cell") and second.endswith(says)
    (_, drawn) = sentences(changed, registration.read(store, "test0")[:1])  # and never run
    assert drawn.startswith("This page is drawn from a later text") and drawn.endswith(says)
    noted = json.loads((store.root / "registered" / "test0.json").read_text())
    del noted[1]["parts"]  # by an older bench
    (store.root / "registered" / "test0.json").write_text(json.dumps(noted))
    registration.note([read(file)], plan, store)
    assert [*sentences(changed, registration.read(store, "test0"))] == [first, second]


def test_a_study_that_goes_on_elsewhere_keeps_its_date(plan_of, protocol_file, tmp_path):
    first, second, third = (Store.open(tmp_path / name) for name in ("first", "second", "third"))
    protocol, plan = read(protocol_file(name="test0.yaml")), plan_of()
    registration.note([protocol], plan, first)
    file = first.root / "registered" / "test0.json"
    file.write_text(file.read_text().replace('"time": "20', '"time": "19'))
    folders = (tmp_path / "a_bundle.tar.gz", first.root)
    registration.note([protocol], plan, second, folders)
    assert registration.read(second, "test0") == registration.read(first, "test0")
    fourth, file = Store.open(tmp_path / "fourth"), tmp_path / "test0.yaml"
    file.write_text(file.read_text() + "about: other words\n")
    registration.note([read(file)], plan, fourth, folders)
    (_, changed) = sentences(read(file), registration.read(fourth, "test0"))
    assert registration.read(fourth, "test0")[0].time < "2" and changed.endswith(
        "only texts changed."
    )
    other = replace(protocol, overrides=("finetune.steps=9",))
    copied = {cell.evaluate for cell in plan.cells["test0"][:2]}
    registration.note([other], plan, third, folders, copied)  # another protocol: its own date
    (noted,) = registration.read(third, "test0")
    assert noted.overrides == ("finetune.steps=9",)
    assert 0 < noted.scored == len(copied) < noted.cells  # copied scores were known, too


@pytest.mark.usefixtures("inlined", "undrawn")
def test_the_page_says_it_of_a_run_that_began_before_such_notes(protocol_file, tmp_path):
    out = tmp_path / "out"
    probe = {"evaluation": "probe", "steps": None, "fractions": [100], "seeds": [0]}
    few = {"phantoms": {NAME: {"cases": 5}}}
    file = protocol_file({"rows": {"pair": None}, "name": "test", "finetune": probe, **few})
    for sentence in ("Registered before the first cell", "Not registered before the first cell"):
        assert main(["run", str(file), "--out", str(out)]) == 0
        assert sentence in (out / "reports" / "test" / "table.md").read_text()
        (out / "registered" / "test.json").unlink()
