"""What a task does on its node."""

import json
import os
import signal

import pytest
from by_hand import a_job
from in_memory import publish

from bench.executors.slurm import task
from bench.jobs.context import RunOptions
from bench.runtime.execute import Outcome, execute


@pytest.fixture
def on_node(monkeypatch, fakes):
    """Signals and SLURM's variables as a task has them; returns the log of ``scontrol``."""
    numbers = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM)
    before = [signal.getsignal(n) for n in numbers]
    monkeypatch.setenv("SLURM_JOB_ID", "15")
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "12")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    monkeypatch.delenv("SLURM_RESTART_COUNT", raising=False)
    monkeypatch.setattr(task, "PATIENCE", 0.0)
    monkeypatch.setattr(task, "LOOK_AGAIN", 0.0)
    yield fakes("scontrol")
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def node(store, monkeypatch, answer, jobs=("a", "b"), requeues=5):
    """Run a pack with ``answer(job, stopping)`` in the place of the work; return what ran."""
    ran = []

    def fake(out, job, options, stopping, together, explain):
        ran.append(job)
        return answer(job, stopping)

    for job in jobs:
        store.write_spec(job, {"job": {"kind": "prepare", "spec": {}, "needs": []}})
    monkeypatch.setattr(task, "execute", fake)
    folder = store.root / "slurm" / "r"
    folder.mkdir(parents=True, exist_ok=True)
    task.work(str(store.root), dict.fromkeys(jobs, RunOptions()), str(folder), requeues)
    return ran, {p.stem: json.loads(p.read_text()) for p in folder.glob("outcome-*")}


def test_a_failure_does_not_stop_the_rest_of_its_pack(store, monkeypatch, on_node):
    ran, told = node(store, monkeypatch, lambda job, _: Outcome(job, "failed" if job == "a" else "done"))
    assert ran == ["a", "b"]
    assert list(told) == ["outcome-a"]


def test_a_requeue_does_not_repeat_what_has_failed(store, monkeypatch, on_node):
    node(store, monkeypatch, lambda job, _: Outcome(job, "failed"), jobs=("a",))
    ran, _ = node(store, monkeypatch, lambda job, _: Outcome(job, "done"))
    assert ran == ["b"]


def test_a_job_published_elsewhere_while_it_waited_ends(store, monkeypatch, on_node):
    def elsewhere(job, _):
        if store.done(job):
            return Outcome(job, "done")  # scored
        publish(store, job)
        return Outcome(job, "busy")

    ran, told = node(store, monkeypatch, elsewhere)
    assert (ran, told) == (["a", "a", "b", "b"], {})


def test_a_job_that_another_run_did_and_cleared_is_scored_as_this_one_asks(store, monkeypatch, on_node):
    given = []

    def scores(out, job, options, *_):
        given.append(options)
        return Outcome(job, "done")

    monkeypatch.setattr(task, "execute", scores)
    publish(store, "a")
    options = RunOptions(scoring=[{"metrics": ["dice"]}])
    task.work(str(store.root), {"a": options}, str(store.root / "slurm"), 1)
    assert given == [options]


def signalled(number):
    def answer(job, stopping):
        assert not stopping()
        os.kill(os.getpid(), number)
        assert stopping()
        return Outcome(job, "stopped")

    return answer


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2])
def test_a_warning_saves_and_goes_back_into_the_queue(store, monkeypatch, on_node, number):
    ran, told = node(store, monkeypatch, signalled(number))
    assert (ran, told) == (["a"], {})
    assert on_node.read_text() == "requeue 12_3\n"


def test_being_cancelled_does_not_come_back(store, monkeypatch, on_node):
    node(store, monkeypatch, signalled(signal.SIGTERM))
    assert not on_node.exists()


def test_requeues_are_counted(store, monkeypatch, on_node):
    monkeypatch.setenv("SLURM_RESTART_COUNT", "5")
    _, told = node(store, monkeypatch, signalled(signal.SIGUSR2))
    assert not on_node.exists()
    assert "5 times; raise 'minutes'" in told["outcome-a"]["reason"]


def test_where_a_site_forbids_requeueing_the_task_says_that_it_saved_itself(
    store, monkeypatch, on_node, fakes
):
    fakes("scontrol", "echo 'Requested operation is presently disabled' >&2; exit 1")
    _, told = node(store, monkeypatch, signalled(signal.SIGUSR2))
    assert {t["state"] for t in told.values()} == {"stopped"}
    assert "presently disabled" in told["outcome-b"]["reason"]


def test_a_busy_job_is_waited_for(store, monkeypatch, on_node):
    states = iter(["busy", "busy", "done"])
    ran, told = node(store, monkeypatch, lambda job, _: Outcome(job, next(states)), jobs=("a",))
    assert (len(ran), told) == (3, {})


@pytest.mark.parametrize(("needs", "after"), [(["a"], ()), ([], ("a",))], ids=["need", "guard"])
def test_a_job_without_its_need_is_refused_by_the_task_and_by_execute(store, on_node, needs, after):
    options = RunOptions(after=after)
    made = a_job("evaluate", needs=needs)
    store.write_spec(made.id, {"job": made.plain()})
    folder = store.root / "slurm"
    folder.mkdir()
    task.work(str(store.root), {made.id: options}, str(folder), 1)
    assert json.loads(task.outcome_file(folder, made.id).read_text())["state"] == "refused"
    outcome = execute(str(store.root), made.id, options)
    assert (outcome.state, outcome.reason) == ("failed", "needs a, which is not done")
    assert store.claims(made.id) == []


def test_what_needs_a_job_that_failed_here_does_not_wait_for_its_claim(store, monkeypatch, on_node):
    store.write_spec("b", {"job": {"kind": "evaluate", "spec": {}, "needs": ["a"]}})

    def fails(out, job, options, stopping, together, explain):
        assert store.claim(job) is not None  # and could not let it go
        return Outcome(job, "failed", "No space left on device")

    monkeypatch.setattr(task, "execute", fails)
    store.write_spec("a", {"job": {"kind": "finetune", "spec": {}, "needs": []}})
    folder = store.root / "slurm" / "r"
    folder.mkdir(parents=True)
    task.work(str(store.root), dict.fromkeys(("a", "b"), RunOptions()), str(folder), 1)
    assert json.loads(task.outcome_file(folder, "b").read_text())["state"] == "refused"
