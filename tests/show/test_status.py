"""What a person reads of jobs: row, data set, fraction and seed; what nobody wants any more."""

import os

import pytest
from small_protocol import NAME, cell, ids

from bench import claims
from bench.cli import main
from bench.runtime.execute import Outcome
from bench.show.labels import labels, labels_wanted, remember
from bench.show.screen import Watch
from bench.show.status import as_text, prune, status
from bench.store import Store

OLD = "0123456789abcdef"  # of a protocol as it was before an edit


@pytest.fixture
def folder(plan_of, tmp_path):
    """Return a plan and its output folder: a run has said what it wants."""
    plan, store = plan_of(), Store.open(tmp_path / "out")
    remember(plan, store)
    return plan, store


def waiting(store, job, kind="finetune"):
    store.write_spec(job, {"job": {"kind": kind, "spec": {}, "needs": []}, "run": {}})


def failed(store, job):
    waiting(store, job)
    store.fail(store.claim(job), "out of memory", "memory")


def test_every_job_has_a_name_that_a_person_knows(plan_of):
    plan = plan_of()
    called = labels(plan)
    assert set(called) == set(plan.jobs)
    one = cell(plan, row="pair", fraction=25, seed=1)
    assert (
        str(called[one.finetune]) == str(called[one.evaluate]) == f"pair · {NAME} · 25 % · seed 1"
    )
    assert str(called[one.pretrain]) == f"pair · {NAME} · seed 0"
    (prepare,) = ids(plan, "prepare")
    assert str(called[prepare]) == NAME
    assert {str(called[j]) for j in ids(plan, "guard")} == {f"pair · {NAME}", "pair"}


def test_a_fold_is_named_where_there_are_several(plan_of):
    plan = plan_of({"finetune": [{"dataset": NAME, "split": "cv5", "steps": 6}]})
    called = labels(plan)
    folds = {str(called[job]).rpartition(" · ")[2] for job in ids(plan, "finetune")}
    assert folds == {f"fold {i}" for i in range(5)}


def test_status_and_progress_speak_of_rows(folder, capsys):
    plan, store = folder
    one = cell(plan, row="alone", fraction=100, seed=0)
    called = f"alone · {NAME} · 100 % · seed 0"
    failed(store, one.finetune)
    found = status(store)
    (entry,) = found["failed"]
    assert {k: entry[k] for k in ("row", "dataset", "fraction", "seed", "wanted")} == {
        "row": "alone",
        "dataset": NAME,
        "fraction": 100,
        "seed": 0,
        "wanted": True,
    }
    assert {"job", "kind", "reason", "log", "cause", "attempts"} <= set(entry)
    assert f"failed: finetune {called} ({one.finetune}): out of memory (log " in as_text(found)
    with Watch(plan, store, [one.finetune]) as watch:
        watch.outcome(Outcome(one.finetune, "done", seconds=2.0))
    said = capsys.readouterr().err
    assert f"[1/1] finetune {called} done in 2.0 s" in said and one.finetune not in said


def test_what_an_edited_protocol_left_is_marked_and_pruned(folder, capsys, monkeypatch):
    plan, store = folder
    kept = cell(plan, row="alone", fraction=25, seed=0).finetune
    failed(store, kept)
    failed(store, OLD)
    waiting(store, "a" * 16, "evaluate")
    waiting(store, "b" * 16, "pretrain")
    assert store.claim("b" * 16) is not None  # of a living process: ours
    (store.jobs / ("c" * 16)).mkdir()
    (store.jobs / ("c" * 16) / "manifest.json").write_text("{}")
    (store.work / ".replaced-x").mkdir()
    text = as_text(status(store))
    assert (
        "no longer wanted by any protocol: 1 failed, 1 waiting; 'bench status --prune' removes"
        in text
    )
    marked = [
        line for line in text.splitlines() if line.endswith("; no longer wanted by any protocol")
    ]
    assert [line.split(":")[0] for line in marked] == ["running", "failed"] and OLD in marked[1]
    monkeypatch.setattr(claims, "is_suspended", lambda held: True)
    assert f"process {os.getpid()}, SUSPENDED (Ctrl-Z?): 'fg' in " in as_text(status(store))
    assert main(["status", "--out", str(store.root), "--prune"]) == 0
    said = capsys.readouterr()
    assert said.err.splitlines() == [f"removed: finetune {OLD}", f"removed: evaluate {'a' * 16}"]
    assert {p.name for p in store.work.iterdir()} == {kept, "b" * 16} and store.done("c" * 16)
    assert prune(store) == []


def test_what_one_protocol_scale_or_set_wants_another_does_not_unsay(plan_of, tmp_path):
    store = Store.open(tmp_path / "out")
    plans = [
        plan_of({"finetune": [{"dataset": NAME, "split": "even", "steps": n}]}) for n in (3, 4)
    ]
    plans[1].overrides = ("finetune.steps=4",)
    plans.append(plan_of({"name": "two", "finetune": {"steps": 5}}))
    for plan in plans:
        remember(plan, store)
    wanted = set(labels_wanted(store))
    assert all(
        c.finetune in wanted for plan in plans for cells in plan.cells.values() for c in cells
    )
