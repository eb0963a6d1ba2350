"""How far a run is: counts, who works where, what failed, and when the rest will be there."""

import json
import os
import shutil
import socket
from dataclasses import replace

import pytest
from by_hand import a_job

from bench.plan.dag import Plan
from bench.protocol import read
from bench.report.progress import Progress
from bench.show import state as states
from bench.show.reports import unfinished
from bench.show.state import RunState, ends

A, B, C = (a_job("prepare", {"contents": f"{n}"}) for n in range(3))
TUNED = a_job("finetune", {}, (A.id, B.id))
SECONDS = {A.id: 10.0, B.id: 20.0, C.id: 30.0, TUNED.id: 5.0}
LAID = {  # places, in work: when each has ended
    "one place": (1, {}, {A.id: 10, B.id: 30, C.id: 60, TUNED.id: 65}),
    "two places": (2, {}, {A.id: 10, B.id: 20, C.id: 40, TUNED.id: 25}),
    "many": (9, {}, {A.id: 10, B.id: 20, C.id: 30, TUNED.id: 25}),
    "one begun": (1, {A.id: 4.0}, {A.id: 4, B.id: 24, C.id: 54, TUNED.id: 59}),
    "more begun than places": (
        1,
        {A.id: 4.0, B.id: 6.0},
        {A.id: 4, B.id: 6, C.id: 36, TUNED.id: 41},
    ),
}


@pytest.mark.parametrize("name", LAID)
def test_jobs_are_laid_out_on_the_places_in_the_order_of_the_run(name):
    places, working, expected = LAID[name]
    plan = Plan({job.id: job for job in (A, B, C, TUNED)})
    waiting = {job: seconds for job, seconds in SECONDS.items() if job not in working}
    assert ends(plan, waiting, working, places) == expected


def test_what_waits_for_a_job_that_never_ends_has_no_end():
    plan = Plan({job.id: job for job in (A, B, TUNED)})
    assert ends(plan, {}, {}, 1) == {} and ends(plan, {TUNED.id: 5.0}, {}, 0) == {TUNED.id: 5.0}


@pytest.fixture
def run(made):
    """Return a folder without its fine-tunings and evaluations, the run that is to do them, these jobs."""
    jobs = [job.id for job in made.plan.jobs.values() if job.kind in ("finetune", "evaluate")]
    for job in jobs:
        shutil.rmtree(made.store.jobs / job)
        made.store.write_spec(job, {"job": made.plan.jobs[job].plain()})
    with states.announced(made.store, made.plan, jobs, 2) as note:
        yield made, note, jobs


def state(run, at):
    made, note, _ = run
    return RunState(note, made.store, lambda: at).of(made.protocol.name)


def test_a_run_tells_what_works_where_what_failed_and_what_is_left(run):
    made, _, jobs = run
    tuned = [job for job in jobs if made.plan.jobs[job].kind == "finetune"]
    first, second, *rest = tuned
    assert made.store.claim(first) is not None
    made.store.tell(first, 2, 4, 0.5)
    since = made.store.owner(first)["since"]
    why = {"reason": "out of\x1b memory", "kind": "memory", "log": "the/log.txt", "attempts": 1}
    (made.store.work / second / "failed.json").write_text(json.dumps(why))
    old = made.store.work / rest[0] / "failed.json"  # of an earlier run: this one tries again
    old.write_text(json.dumps(why))
    os.utime(old, (1, 1))

    found = state(run, since + 60.0)
    assert isinstance(found, Progress) and found.state == "running" and found.at == since + 60.0
    assert found.by == f"{socket.gethostname()}, process {os.getpid()}"
    cells = [cell for cell in made.plan.cells[made.protocol.name] if cell.wanted]
    assert (found.cells, found.finished, found.failed) == (len(cells), 0, 1)
    (working,) = found.working
    assert (working.kind, working.step, working.steps, working.since) == ("finetune", 2, 4, since)
    assert working.left == 60.0  # half its steps took a minute
    assert working.location == found.by and "seed" in working.label
    (broken,) = found.broken
    assert (broken.reason, broken.log, broken.behind) == ("out of\\x1b memory", "the/log.txt", 1)
    stages = {stage.kind: stage for stage in found.stages}
    tuning, scoring = stages["finetune"], stages["evaluate"]
    assert (tuning.done, tuning.working, tuning.waiting, tuning.failed) == (0, 1, len(tuned) - 2, 1)
    assert (scoring.done, scoring.waiting, scoring.failed) == (0, len(tuned) - 1, 1)
    assert stages["prepare"].done > 0 and stages["prepare"].waiting == 0
    assert found.left == 2 * len(tuned) - 2 and found.seconds >= 60.0
    assert f"Jobs left: {found.left}" in found.reckoned
    assert "with 2 workers" in found.reckoned


def test_what_an_alike_job_took_counts_for_the_others(run):
    made, _, jobs = run
    tuned = [job for job in jobs if made.plan.jobs[job].kind == "finetune"]
    done, like = tuned[0], made.plan.jobs[tuned[0]]
    (made.store.jobs / done).mkdir()
    (made.store.jobs / done / "manifest.json").write_text(
        json.dumps({**like.plain(), "seconds": 100.0})
    )
    found = state(run, 0.0)
    assert "estimated from similar jobs that ran here" in found.reckoned
    assert "estimated by the plan" in found.reckoned
    assert found.seconds > 100.0 * (len(tuned) - 1) / 2  # on two workers


def test_of_a_run_on_a_cluster_no_time_is_said_by_the_speed_of_this_processor(run):
    made, note, jobs = run
    run = made, replace(note, note=replace(note.note, workers=None)), jobs
    job = next(job for job in jobs if made.plan.jobs[job].kind == "finetune")
    assert made.store.claim(job) is not None
    found = state(run, 60.0)
    assert found.seconds is None
    assert found.reckoned == "of some kind of job, none has ended on the cluster yet"
    assert [working.left for working in found.working] == [None]
    for kind in ("prepare", "guard", "pretrain", "finetune", "evaluate"):
        done = next((j for j in jobs if made.plan.jobs[j].kind == kind and j != job), None)
        if done is not None:
            (made.store.jobs / done).mkdir()
            manifest = {**made.plan.jobs[done].plain(), "seconds": 100.0}
            (made.store.jobs / done / "manifest.json").write_text(json.dumps(manifest))
    assert state(run, 60.0).seconds is not None  # measured there


def test_one_that_was_killed_says_so_and_one_with_nothing_left_says_nothing(run):
    made, note, jobs = run
    assert made.store.claim(jobs[0]) is not None
    claim = made.store.work / note.name / "claim-0001"
    held = json.loads(claim.read_text())
    claim.write_text(json.dumps({**held, "start": "another"}))  # its process is no more
    name = made.protocol.name
    assert unfinished(made.store, name).state == "unattended"  # a job goes on
    (made.store.work / jobs[0] / "claim-0001").write_text("")
    found = unfinished(made.store, name)
    assert (found.state, found.by, found.seconds, found.left) == ("stopped", "", None, len(jobs))
    for job in jobs:
        (made.store.work / job / "failed.json").write_text(
            json.dumps({"reason": "r", "kind": "mistake", "log": "", "attempts": 1})
        )
    assert unfinished(made.store, name) is None


def test_the_note_goes_with_the_last_of_its_protocols(plan_of, tmp_path, made):
    plan = plan_of(others=[{"name": "two"}], data=None)
    store = made.store
    with states.announced(store, plan, plan.wanted(), None) as alive:
        assert states.latest(store, "two").note == alive.note
        states.forget(store, ["two", "test0"])
        assert states.run_name(store, "two") == alive.name  # its command has not ended
    states.forget(store, ["two"])
    assert states.run_name(store, "two") == "" and states.run_name(store, "test0") == alive.name
    (store.work / f"{states.PREFIX}cut").mkdir()
    states.forget(store, ["test0"])
    assert not list(store.work.glob(f"{states.PREFIX}*"))
    assert unfinished(store, read(tmp_path / "test0.yaml").name) is None
