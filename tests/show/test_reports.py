"""Drawing a report again: whose records they are, and the exit code where cells are missing."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from invented import row_of
from one_line import refusal
from small_protocol import NAME

from bench import record
from bench.cli import main
from bench.data.parts import Value
from bench.errors import BenchError
from bench.jobs.class_scores import save
from bench.jobs.guard import spec as guarded
from bench.jobs.guard.spec import Leak
from bench.jobs.scoring import Scoring
from bench.protocol import read
from bench.show import gather
from bench.show.reports import refuse_others
from bench.store import Store


@pytest.fixture
def drawn(tmp_path, protocol_file, capsys):
    """Return a function that leaves one row and what is said beside it, and draws ``x/m.yaml``'s report."""
    store, path = Store.open(tmp_path / "out"), protocol_file(name="x/m.yaml")
    row = {"protocol": "m", "scale": "paper", "section": NAME, "dataset": NAME, "row": "alone"}

    def draw(beside, **given):
        record.frame([row_of(**row | given)]).to_parquet(
            store.root / "records" / "m.parquet", index=False
        )
        (store.root / "records" / "m.json").write_text(json.dumps(beside))
        code = main(["report", str(path), "--out", str(store.root)])
        return code, "".join(capsys.readouterr())

    return draw


def test_a_report_with_scores_missing_ends_1_and_says_so(drawn):
    hole = {
        "job": "0" * 16,
        "row": "alone",
        "reason": "run it again",
        "log": "",
        "section": NAME,
        "fraction": 100,
        "seed": 0,
        "attempts": 1,
        "hole": "not scored",
    }
    code, said = drawn({"failures": [hole]}, status="failed", value=float("nan"), target="")
    assert f"not scored: alone · {NAME} · 100 % · seed 0, job {'0' * 16}: run it again\n" in said
    assert code == 1 and "[a] 1 run not scored" in said
    assert drawn({})[0] == 0


def test_a_plain_report_prints_and_leaves_every_file_as_it_is(drawn, tmp_path, capsys):
    drawn({"overrides": ["title=Changed"]})
    (tmp_path / "out" / "reports" / "m" / "verdicts.csv").write_text("of its run")

    def files():
        return {p: (p.stat().st_mtime_ns, p.stat().st_ino) for p in (tmp_path / "out").rglob("*")}

    before, words = files(), ["report", str(tmp_path / "x" / "m.yaml"), "--plain"]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "Changed" in said and "page: " not in said and files() == before
    assert "--plain prints" in refusal(
        capsys, *words, "--out", tmp_path / "out", "--to", tmp_path / "to"
    )
    assert not (tmp_path / "to").exists()


def test_a_report_is_drawn_again_with_what_was_set_for_its_run(drawn, tmp_path):
    code, said = drawn(
        {"overrides": ["title=Changed", "method.params.temperature=1", "gone.long.ago=1"]}
    )
    assert code == 0 and "Changed" in said
    page = (tmp_path / "out" / "reports" / "m" / "index.html").read_text()
    assert "<title>Changed" in page and "--set title=Changed" in page


def test_records_of_another_file_of_one_name_are_not_drawn(drawn, protocol_file, tmp_path):
    store = Store.open(tmp_path / "out")
    own = read(protocol_file(name="x/m.yaml"))
    other = read(protocol_file({"title": "Other"}, "y/m.yaml"))

    def origin(protocol):
        return {"origin": {"path": protocol.origin.path, "content": protocol.origin.content}}

    assert drawn(origin(own))[0] == 0 and drawn({})[0] == 0  # of old, nothing is known
    code, said = drawn(origin(other))
    assert code == 2 and said.count("\n") == 1
    assert "m.json: these are the records of another protocol file" in said and "'name:'" in said
    with pytest.raises(BenchError, match="another --out"):
        refuse_others([own], store)
    refuse_others([other], store)
    # a run writes it anew
    for damaged in ("nonsense", json.dumps({"leaks": [{"dataset": "as of old"}]})):
        (store.root / "records" / "m.json").write_text(damaged)
        refuse_others([own], store)


def test_sections_that_share_a_data_set_name_the_leaks_of_their_own_tests(plan_of, tmp_path):
    section = {"dataset": NAME, "steps": 6, "hold": "steps", "seeds": [0], "fractions": [100]}
    two = [
        {**section, "split": "even"},
        {**section, "split": "leave_one_out", "folds": [0], "name": "one"},
    ]
    reading = {"datasets": [{"dataset": NAME, "cases": "all"}], "leaks": "allow"}
    plan, store = plan_of({"finetune": two, "pretrain": reading}), Store.open(tmp_path / "out")
    (guard,) = {c.guard for c in plan.cells["test0"]} - {None}
    (store.jobs / guard).mkdir()
    (store.jobs / guard / "manifest.json").write_text("{}")
    met = [Leak(NAME, case, NAME, case, "patient") for case in "abc"]
    guarded.write(store.jobs / guard, guarded.GuardResult(9, {NAME: 3}, tuple(met)))
    cases = [(NAME, "a"), (NAME, "b"), ("one", "c")]
    rows = record.frame(
        [dict.fromkeys(record.COLUMNS, 0) | {"section": s, "case": c} for s, c in cases]
    )
    told = [(k.section, k.tests, k.cases) for k in gather.leaks(plan, store, "test0", rows)]
    assert told == [(NAME, 2, ("a (patient)", "b (patient)")), ("one", 1, ("c (patient)",))]


def test_a_report_is_drawn_where_a_plugin_is_gone(drawn, protocol_file, tmp_path, capsys):
    lost = {"plugins": ["gone.py"], "networks": {"net": {"network": "my_network"}}}
    path = protocol_file({**lost, "rows": {"alone": {"method": "my_method"}}}, "x/m.yaml")
    said = {
        "titles": {"my_method": "My method"},
        "sources": {"method/my_method": {"cite": "Who", "url": "u"}},
    }
    code, text = drawn(said)
    assert code == 0 and "My method" in text and "gone" not in text
    assert "Who" in (tmp_path / "out" / "reports" / "m" / "index.html").read_text()
    for wrong in (["plan", str(path)], ["run", str(path), "--out", str(tmp_path / "out")]):
        assert main(wrong) == 2 and "gone.py: no such file" in capsys.readouterr().err


def test_a_row_that_shares_its_first_pretraining_does_not_show_that_of_another_seed(tmp_path):
    store = Store.open(tmp_path / "out")
    for loss, job in enumerate(("one", "two")):
        (store.jobs / job).mkdir(parents=True)
        (store.jobs / job / "curve.csv").write_text(f"step,total\n1,{loss}\n")
    found = [
        (SimpleNamespace(row=row), {job: {"kind": "pretrain"}})
        for row in ("a", "a (shuffled)")
        for job in ("one", "two")
    ]
    assert gather.curves(found, store) == {"a": {"step": (1,), "loss": (0,)}}


CONSTANT = {  # task, what each run gives for its cases: how many of the runs are told
    "no class": (
        "classification",
        [[[0.9, 0.1], [0.6, 0.4]], [[0.9, 0.1], [0.4, 0.6]]],
        "1 of 2 runs predict",
    ),
    "no number": ("regression", [[[3.5], [3.5], [3.5]]], "its run predicts"),
    "numbers": ("regression", [[[3.5], [3.6]]], ""),
    "one case": ("regression", [[[3.5]]], ""),
}


@pytest.mark.parametrize(("task", "runs", "text"), CONSTANT.values(), ids=CONSTANT)
def test_runs_that_predict_the_same_for_every_case_are_told(task, runs, text, drawn, tmp_path):
    columns, cells = {"task": task, "section": "lungs", "fraction": 25}, []
    for number, scores in enumerate(runs):
        (tmp_path / f"{number}").mkdir()
        save(tmp_path / f"{number}", {f"c{n}": np.array(s) for n, s in enumerate(scores)})
        cells.append(SimpleNamespace(columns=columns, evaluate=f"{number}", row="pair"))
    plan, protocol = SimpleNamespace(cells={"m": cells}), SimpleNamespace(name="m")
    lines = [*gather.constant(protocol, plan, SimpleNamespace(jobs=tmp_path))]
    assert bool(lines) == bool(text) and text in "".join(lines)
    if lines:
        drawn({"constant": lines})
        assert lines[0] in (tmp_path / "out/reports/m/index.html").read_text()


@pytest.mark.parametrize(
    ("value", "labels", "level"),
    [
        # the share of class 0 by patient: 1, 0.5, 1 and 0; of class 1 the rest
        (None, [("p1", 0), ("p2", 0), ("p2", 1), ("p3", 0), ("p4", 1)], {"accuracy": 2.5 / 4}),
        (Value(meta="age"), [("p1", "1"), ("p2", "2.5"), ("p3", "10")], {"mae": (1.5 + 7.5) / 3}),
        (Value(volume=(1,)), [("p1", 0)], None),  # would have to be measured in each label map
    ],
)
def test_what_one_prediction_for_all_cases_gets_is_known_of_classes_and_of_stated_values(
    tmp_path, monkeypatch, value, labels, level
):
    cases = {
        f"c{n}": SimpleNamespace(id=f"c{n}", label=label, meta={"age": label}, patient=patient)
        for n, (patient, label) in enumerate(labels)
    }
    prepared = SimpleNamespace(
        cases=lambda: [*cases.values()], patient=lambda case: cases[case].patient
    )
    monkeypatch.setattr("bench.data.prepared.Prepared", lambda folder: prepared)
    columns = {"task": "regression" if value else "classification", "section": "lungs"}
    cells = []
    for fold, half in enumerate(([*cases][::2], [*cases][1::2])):  # of several rows one is enough
        if half:
            (tmp_path / f"{fold}").mkdir()
            save(tmp_path / f"{fold}", {case: np.zeros(2) for case in half})
            cells += 2 * [SimpleNamespace(columns={**columns, "fold": fold}, evaluate=f"{fold}")]
    protocol = SimpleNamespace(
        name="m", sections=["lungs"], finetune=[SimpleNamespace(value=value)]
    )
    store = SimpleNamespace(jobs=tmp_path, manifest=lambda job: {"needs": ["a", "b"]}, done=bool)
    found = gather.chance(protocol, SimpleNamespace(cells={"m": cells}), store)
    assert found == ({"lungs": pytest.approx(level)} if level else {})


@pytest.mark.parametrize("empty", ["default", "skip"])
def test_what_one_label_in_every_voxel_gets_is_known_where_scratch_is_low(
    tmp_path, monkeypatch, empty
):
    """Patient p has two cases and no voxel of the second label; patients count alike, then targets."""
    maps = {  # of 8 voxels; 9 is of nobody and counts nowhere
        "a": np.array([1, 1, 0, 0, 0, 0, 0, 9]),
        "b": np.array([1, 1, 1, 1, 0, 0, 0, 0]),
        "c": np.array([1, 2, 2, 2, 2, 0, 0, 0]),
    }
    prepared = SimpleNamespace(native=maps.__getitem__, patient=dict(a="p", b="p", c="q").get)
    monkeypatch.setattr("bench.data.prepared.Prepared", lambda folder: prepared)
    monkeypatch.setattr("bench.data.cache.Pack", lambda folder, name: [*maps])
    columns = {"task": "segmentation", "section": "organs", "fold": 0}
    scoring = Scoring("segmentation", (), "", empty, {"1": "one", "2": "two"}, {}, 9)
    plan = SimpleNamespace(
        cells={"m": [SimpleNamespace(columns=columns, evaluate="e")]},
        scoring_of={"m": {"organs": scoring}},
    )
    row = {"init": "random", "metric": "dice", "section": "organs", "row": "r", "fraction": 5}
    found = []
    for dice, basis in ((0.49, True), (0.51, True), (0.49, False)):  # the last without its scans
        store = SimpleNamespace(
            jobs=tmp_path,
            manifest=lambda job: {"needs": "ab"},
            done=lambda job, basis=basis: basis or job != "b",
        )
        table = pd.DataFrame([{**row, "value": dice}])
        found.append(gather.one_label(table, SimpleNamespace(name="m"), plan, store))
    one = {"dice": ((4 / 9 + 2 / 3) / 2 + 2 / 9) / 2, "iou": ((2 / 7 + 1 / 2) / 2 + 1 / 8) / 2}
    # where a case without the label is scored, patient p gets 0 of the second
    two = {"dice": 2 / 3, "iou": 1 / 2} if empty == "skip" else {"dice": 1 / 3, "iou": 1 / 4}
    want = {metric: max(one[metric], two[metric]) / 2 for metric in one}
    assert found == [{"organs": pytest.approx(want)}, {}, {}]
