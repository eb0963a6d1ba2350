"""What a bundle holds, that equal records make equal bytes, and what is told before it is passed on."""

import json
import sys

import outside
import pandas as pd
from bundles import members
from one_line import refused
from small_protocol import NAME, TEST, TRAIN, VAL

from bench.cli import main
from bench.extras.bundle.making import bundle, name_of, put
from bench.extras.bundle.verifying import verify


def test_a_bundle_holds_rows_text_and_patients_and_no_more(ran, phantoms):
    one = ran()
    made = bundle([one.path], one.store, phantoms)
    assert sorted(made.members) == sorted(
        [
            f"files/{one.name}/test0.yaml",
            f"records/{one.name}.json",
            f"records/{one.name}.parquet",
            f"reports/{one.name}/table.csv",
            f"reports/{one.name}/table.md",
            f"reports/{one.name}/verdicts.csv",
            "results/reference.csv",
            f"splits/{NAME}.even.json",
        ]
    )
    (fold,) = json.loads(made.members[f"splits/{NAME}.even.json"])["folds"]
    assert (sorted(fold["train"]), sorted(fold["val"]), sorted(fold["test"])) == (TRAIN, VAL, TEST)
    hashes = {*pd.read_parquet(one.store.root / "records" / f"{one.name}.parquet")["split_hash"]}
    assert {fold["hash"]} == hashes and not made.notes
    assert made.manifest.protocols[one.name].made == {"torch": "2.13.0"}
    assert name_of(made) == f"{one.name}.bench.zip"


def test_equal_records_make_equal_bytes_and_nothing_else_is_replaced(ran, phantoms, tmp_path):
    one = ran()
    made, again = (bundle([one.path], one.store, phantoms) for _ in range(2))
    assert made.raw == again.raw
    to = tmp_path / "x.bench.zip"
    for _ in range(2):
        assert put(made, to).startswith(f"{to}: {one.name}; 9 members")
        assert to.read_bytes() == made.raw
    to.write_bytes(b"somebody's")
    for file, why in (
        (to, "exists already"),
        (tmp_path / "x.tar", "is a zip"),
        (tmp_path / "no/x.zip", "written"),
    ):
        with refused(why):
            put(made, file)
    assert to.read_bytes() == b"somebody's"


def test_without_the_data_a_split_by_rule_is_named_by_its_hash_alone(ran):
    one = ran()
    made = bundle([one.path], one.store)
    assert not [name for name in made.members if name.startswith("splits/")]
    assert made.manifest.splits[0].file == "" and "its patients are not listed" in made.notes[0]


def test_a_row_without_scores_is_named_by_who_makes_and_who_judges(ran, phantoms, tmp_path):
    one = ran()
    view = one.store.root / "records" / f"{one.name}.parquet"
    table = pd.read_parquet(view)
    gone = table["row"].iloc[0]
    table[table["row"].ne(gone)].to_parquet(view, index=False)
    made, to = bundle([one.path], one.store, phantoms), tmp_path / "x.bench.zip"
    put(made, to)
    said = f"{one.name}: has no scores of {gone}: not run yet, or failed"
    assert said in made.notes and said in verify(to).notes


def test_shared_settings_come_along_where_they_lie_to_each_other(ran, phantoms, tmp_path):
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "base.yaml").write_text("batch: 2\n")
    (tmp_path / "shared" / "own.yaml").write_text("settings: base.yaml\nsteps: 6\n")
    section = {
        "dataset": NAME,
        "split": "even",
        "fractions": [100],
        "seeds": [0],
        "steps": 6,
        "hold": "steps",
    }
    one = ran({"finetune": [section | {"settings": "shared/own.yaml"}]})
    made = bundle([one.path], one.store, phantoms)
    held = {
        name.removeprefix(f"files/{one.name}/")
        for name in made.members
        if name.startswith("files/")
    }
    assert held == {"test0.yaml", "shared/own.yaml", "shared/base.yaml"}
    one.path.write_text(
        one.path.read_text().replace("shared/own.yaml", str(tmp_path / "shared/own.yaml"))
    )
    with refused(r"test0.yaml:\d+: finetune.0.settings: .* is an absolute path"):
        bundle([one.path], one.store, phantoms)


def test_what_tells_of_a_machine_is_named(ran, phantoms, tmp_path):
    failure = {
        "job": "0" * 16,
        "row": "alone",
        "reason": "killed",
        "log": "/home/ada/runs/work/0/log.txt",
    }
    one = ran(beside={"failures": [failure]})
    said = put(bundle([one.path], one.store, phantoms), tmp_path / "x.zip").splitlines()
    named = [line for line in said if "before it is passed on" in line]
    assert any(
        f"records/{one.name}.json names /home/ada/runs/work/0/log.txt" in line for line in named
    )


def test_records_with_more_in_them_than_rows_are_not_passed_on(ran, phantoms):
    one = ran()
    file = one.store.root / "records" / f"{one.name}.parquet"
    pd.read_parquet(file).assign(image=b"a patient's").to_parquet(file, index=False)
    with refused("has a column 'image'"):
        bundle([one.path], one.store, phantoms)


def test_a_plugin_comes_along_as_text_and_no_redraw_runs_it(
    ran, phantoms, tmp_path, monkeypatch, capsys
):
    trap = 'import os\nos.environ["TRAP"] = "sprung"\n'
    file = outside.written(tmp_path / "own", "method", "mine", lambda text: trap + text)
    one = ran(
        {
            "plugins": ["own/mine.py"],
            "rows": {"mine": {"method": "mine", "network": "net"}, "pair": None},
        }
    )
    made = bundle([one.path], one.store, phantoms)
    assert made.members["plugins/method-mine/mine.py"] == file.read_bytes()
    assert len(made.manifest.plugins["method mine"].digest) == 16
    to = tmp_path / "x.zip"
    put(made, to)
    monkeypatch.setenv("BENCH_PLUGINS", "")
    monkeypatch.delenv("TRAP", raising=False)
    for name in [name for name in sys.modules if name.startswith("bench_outside_")]:
        monkeypatch.delitem(sys.modules, name)
    file.unlink()
    assert main(["bundle", "verify", str(to)]) == 0, capsys.readouterr().out
    assert main(["report", str(to), "--to", str(tmp_path / "drawn")]) == 0
    import os

    assert "TRAP" not in os.environ and os.environ["BENCH_PLUGINS"] == ""
    assert (
        "| mine" in (tmp_path / "drawn" / "table.md").read_text()
        or "mine" in members(to)[f"reports/{one.name}/table.csv"].decode()
    )


def test_several_protocols_share_a_bundle_and_each_has_its_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    from bench.protocol.named import ROOT

    names = ["pilot_lasc", "pilot_networks"]
    assert main(["bundle", *names, "--out", str(ROOT / "results/pilot")]) == 0
    assert main(["bundle", "verify", "bundle.bench.zip", "--json"]) == 0
    said = capsys.readouterr().out
    found = json.loads(said[said.index("{") :])
    assert found["protocols"] == names and found["findings"] == [] and len(found["notes"]) >= 2
    for name in names:
        held = members(tmp_path / "bundle.bench.zip")[f"reports/{name}/table.csv"]
        assert held == (ROOT / "reports" / name / "table.csv").read_bytes()
