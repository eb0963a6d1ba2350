"""Numbers that other source files made are said to be so, everywhere, and done again when asked."""

import json

import pytest

from bench import run
from bench.cli import main
from bench.errors import BenchError
from bench.runtime import stale
from bench.runtime.sources import source_hash, sources
from bench.show.labels import remember
from bench.show.reports import rewrite_report, write_reports
from bench.show.status import as_text, prune, status
from bench.store import Store

METHOD = "methods/simclr3d.py"
LINE = (
    f"9 finished jobs were made by another version of {METHOD} "
    "(1 pretrain, 4 finetune, 4 evaluate that depend on these); they count as done; --redo changed reruns them"
)
MADE = {
    "packages": dict.fromkeys(("bench", "torch", "monai"), "1"),
    "date": "2026-01-01",
    "commit": "abc",
    "device": "d",
    "threads": 1,
}


@pytest.fixture
def made(finished):
    """Return a finished folder whose pretraining was made by a method's file that is another today."""
    done = finished({})
    for job in done.plan.jobs.values():
        found = sources(job.plain())
        old = {**found, METHOD: "0" * 12} if METHOD in found else found
        record(done.store, job.id, source=source_hash(old), sources=old)
    return done


def record(store, job, **more):
    file = store.jobs / job / "manifest.json"
    manifest = json.loads(file.read_text())
    file.write_text(json.dumps({**manifest, "provenance": {**MADE, **more}}))


def names(made, *kinds, row=None):
    cells = [c for found in made.plan.cells.values() for c in found if row in (None, c.row)]
    jobs = {j for c in cells for j in (c.pretrain, c.finetune, c.evaluate) if j}
    return {j for j in jobs if made.plan.jobs[j].kind in kinds}


def stale_of(made):
    return names(made, "pretrain", "finetune", "evaluate", row="pair")


def test_what_is_up_to_date_is_not_mentioned(made):
    (pretrain,) = names(made, "pretrain")
    now = sources(made.plan.jobs[pretrain].plain())
    record(made.store, pretrain, source=source_hash(now), sources=now)
    assert (
        run.changed(made.plan, made.store) == [] and stale.stale(stale.finished(made.store)) == {}
    )


@pytest.mark.usefixtures("undrawn")
def test_plan_status_page_and_run_name_the_file_and_what_stands_on_it(made, tmp_path, capsys):
    assert run.changed(made.plan, made.store) == [LINE]
    assert LINE in as_text(status(made.store)).splitlines()
    (shown,) = write_reports([made.protocol], made.plan, made.store)
    said = f"{LINE[0].upper()}{LINE[1:]}."
    assert (
        said in shown.page.read_text()
        and "Made by another version of the code" in shown.page.read_text()
    )
    again = rewrite_report(tmp_path / "test0.yaml", None, made.store, tmp_path / "to")
    assert said in again.page.read_text()
    capsys.readouterr()
    assert main(["plan", str(tmp_path / "test0.yaml"), "--out", str(made.store.root)]) == 0
    assert LINE in capsys.readouterr().out.splitlines()


def test_a_plan_to_redo_counts_what_is_stale_as_not_done(made, tmp_path, capsys):
    asked = ["plan", str(tmp_path / "test0.yaml"), "--out", str(made.store.root)]
    assert main([*asked, "--redo", "changed"]) == 0
    text = capsys.readouterr().out
    assert "to do: 1 pretrain, 4 finetune, 4 evaluate" in text
    assert f"{LINE.partition(';')[0]}; to do again" in text
    assert main([*asked, "--redo", "changed", "--json"]) == 0
    jobs = json.loads(capsys.readouterr().out)["jobs"]
    assert {j["id"] for j in jobs if not j["done"]} == stale_of(made)
    assert len(run.todo(made.plan, made.store)) == 0  # nothing was taken away


def test_redo_takes_away_what_is_stale_and_what_stands_on_it_and_nothing_else(made):
    gone = stale_of(made)
    kept = {j for j in made.plan.jobs if made.store.done(j)} - gone
    assert run.take_away_changed(made.plan, made.store) == []
    assert {j for j in made.plan.jobs if not made.store.done(j)} == gone
    assert all(made.store.done(j) for j in kept)
    assert set(run.todo(made.plan, made.store)) == gone
    assert (
        not list(made.store.work.glob(".replaced-*")) and run.changed(made.plan, made.store) == []
    )


def test_redo_that_is_killed_leaves_nothing_that_looks_up_to_date(made, monkeypatch):
    whole, taken = Store.take_back, []

    def once(self, job, why):
        if len(taken) == 5:
            raise KeyboardInterrupt
        taken.append(job)
        return whole(self, job, why)

    gone = stale_of(made)
    monkeypatch.setattr(Store, "take_back", once)
    with pytest.raises(KeyboardInterrupt):
        run.take_away_changed(made.plan, made.store)
    left = {j for j in gone if made.store.done(j)}
    assert len(left) == 4 and set(stale.stale(stale.finished(made.store))) == left
    monkeypatch.setattr(Store, "take_back", whole)
    run.take_away_changed(made.plan, made.store)
    assert not any(map(made.store.done, gone))


def test_redo_takes_what_another_protocol_made_of_a_pretraining_too(made):
    (pretrain,) = names(made, "pretrain")
    other = made.store.jobs / ("0" * 16)
    other.mkdir()
    (other / "manifest.json").write_text(
        json.dumps({"kind": "finetune", "spec": {}, "needs": [pretrain]})
    )
    run.take_away_changed(made.plan, made.store)
    assert not other.exists()


def test_redo_leaves_what_a_job_in_work_reads(made):
    (pretrain,) = names(made, "pretrain")
    reader = "1" * 16
    made.store.write_spec(
        reader, {"job": {"kind": "finetune", "spec": {}, "needs": [pretrain]}, "run": {}}
    )
    assert made.store.claim(reader) is not None
    (told, *more) = run.take_away_changed(made.plan, made.store)
    assert told == f"{pretrain} is not rerun now, because {reader} is running and reads it"
    assert made.store.done(pretrain) and len(more) == 8  # and what stands on it


def test_a_job_whose_files_nobody_recorded_is_said_once(made):
    (pretrain,) = names(made, "pretrain")
    record(made.store, pretrain, source="0123")
    (line,) = run.changed(made.plan, made.store)
    assert line == (
        "1 finished job was made by an older version of bench that recorded no source files "
        "(1 pretrain); whether the source files changed is unknown"
    )
    assert stale.redo(made.store, made.plan.jobs).again == ()


def test_an_edit_of_two_files_is_two_lines(made):
    own = next(iter(names(made, "evaluate", row="alone")))
    found = sources(made.plan.jobs[own].plain())
    record(made.store, own, sources={**found, "bench/jobs/window.py": "0"})
    one, two = run.changed(made.plan, made.store)
    assert one.startswith(
        "1 finished job was made by another version of bench/jobs/window.py (1 evaluate);"
    )
    assert two == LINE


def test_edits_of_many_sets_of_files_are_one_line():
    some = [
        stale.Stale(f"{i:016}", "evaluate", (f"bench/{i}.py", "bench/z.py"), direct=True)
        for i in range(4)
    ]
    assert len(stale.lines(some[:3])) == 3
    (line,) = stale.lines(some)
    files = "bench/0.py, bench/1.py, bench/2.py, bench/3.py, bench/z.py"
    assert (
        line
        == f"4 finished jobs were made by another version of {files} (4 evaluate); {stale.AGAIN}"
    )


def test_status_prunes_nothing_before_a_run_has_said_what_it_wants(made):
    with pytest.raises(BenchError, match="run the protocols once more"):
        prune(made.store)
    remember(made.plan, made.store)
    assert prune(made.store) == []
