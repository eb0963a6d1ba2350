"""What a task does on its node."""

import json
import os
import signal

import pytest
from by_hand import a_job
from in_memory import publish

from bench.executors.slurm import task
from bench.jobs.context import RunOptions
from bench.process import STOPS
from bench.runtime.execute import Outcome, execute


@pytest.fixture
def scontrol(monkeypatch, fakes):
    """Signals and SLURM's variables as a task has them; return the log of ``scontrol``."""
    before = [signal.getsignal(n) for n in STOPS]
    for name, value in {"JOB_ID": "15", "ARRAY_JOB_ID": "12", "ARRAY_TASK_ID": "3"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.delenv("SLURM_RESTART_COUNT", raising=False)
    monkeypatch.setattr(task, "PATIENCE", 0.0)
    monkeypatch.setattr(task, "LOOK_AGAIN", 0.0)
    yield fakes("scontrol")
    for number, handler in zip(STOPS, before, strict=True):
        signal.signal(number, handler)


@pytest.fixture
def node(store, monkeypatch, scontrol):
    """Return a function that runs a pack with ``answer(job, stopping)`` in the place of the work.

    It takes the pack's jobs, each with what it needs, and returns the jobs that ran, and all that is told.
    """

    def work(answer, jobs=("a", "b"), options=None):
        ran = []

        def fake(out, job, options, stopping, together, explain):
            ran.append((job, options))
            return answer(job, stopping)

        for job in jobs:
            if not store.done(job):
                needs = jobs[job] if isinstance(jobs, dict) else []
                store.write_spec(job, {"job": {"kind": "prepare", "spec": {}, "needs": needs}})
        if answer is not None:
            monkeypatch.setattr(task, "execute", fake)
        folder = store.root / "slurm" / "r"
        folder.mkdir(parents=True, exist_ok=True)
        task.work(str(store.root), dict.fromkeys(jobs, options or RunOptions()), str(folder), 5)
        told = (json.loads(path.read_text()) for path in folder.glob("outcome-*"))
        outcomes = {outcome["job"]: outcome for outcome in told}
        return [job for job, _ in ran], outcomes, [given for _, given in ran]

    return work


def does(*states):
    """Return an answer that gives one state after another."""
    left = iter(states)
    return lambda job, stopping: Outcome(job, next(left))


def signalled(number):
    def answer(job, stopping):
        assert not stopping()
        os.kill(os.getpid(), number)
        assert stopping()
        return Outcome(job, "stopped")

    return answer


def test_a_failure_does_not_stop_the_rest_of_its_pack_and_a_requeue_does_not_repeat_it(node):
    ran, told, _ = node(does("failed", "done"))
    assert (ran, list(told)) == (["a", "b"], ["a"])
    assert node(does("done"))[0] == ["b"]


def test_a_job_published_elsewhere_while_it_waited_ends(node, store):
    def elsewhere(job, stopping):
        if store.done(job):
            return Outcome(job, "done")  # scored
        publish(store, job)
        return Outcome(job, "busy")

    assert node(elsewhere)[:2] == (["a", "a", "b", "b"], {})


def test_a_job_that_another_run_did_and_cleared_is_scored_as_this_one_asks(node, store):
    publish(store, "a")
    options = RunOptions(scoring=[{"metrics": ["dice"]}])
    assert node(does("done"), ["a"], options) == (["a"], {}, [options])


@pytest.mark.parametrize("number", STOPS)
def test_a_warning_saves_and_goes_back_into_the_queue_and_being_cancelled_does_not(
    node, scontrol, number
):
    assert node(signalled(number))[:2] == (["a"], {})
    cancelled = number in (signal.SIGTERM, signal.SIGINT)
    assert scontrol.exists() is not cancelled
    assert cancelled or scontrol.read_text() == "requeue 12_3\n"


def test_requeues_are_counted(node, scontrol, monkeypatch):
    monkeypatch.setenv("SLURM_RESTART_COUNT", "5")
    _, told, _ = node(signalled(signal.SIGUSR2))
    assert not scontrol.exists()
    assert "5 times; raise 'minutes'" in told["a"]["reason"]


def test_where_a_site_forbids_requeueing_the_task_says_that_it_saved_itself(node, fakes):
    fakes("scontrol", "echo 'Requested operation is presently disabled' >&2; exit 1")
    _, told, _ = node(signalled(signal.SIGUSR2))
    assert {t["state"] for t in told.values()} == {"stopped"}
    assert "presently disabled" in told["b"]["reason"]


@pytest.mark.parametrize(("needs", "after"), [(["a"], ()), ([], ("a",))], ids=["need", "guard"])
def test_a_job_without_its_need_is_refused_by_the_task_and_by_execute(store, node, needs, after):
    options, made = RunOptions(after=after), a_job("evaluate", needs=needs)
    _, told, _ = node(None, {made.id: needs}, options)
    assert told[made.id]["state"] == "refused"
    store.write_spec(made.id, {"job": made.plain()})
    outcome = execute(str(store.root), made.id, options)
    assert (outcome.state, outcome.reason) == ("failed", "needs job a, which is not done")
    assert store.claims(made.id) == []


def test_what_needs_a_job_that_failed_here_does_not_wait_for_its_claim(store, node):
    def fails(job, stopping):
        assert store.claim(job) is not None  # and could not let it go
        return Outcome(job, "failed", "No space left on device")

    _, told, _ = node(fails, {"a": [], "b": ["a"]})
    assert told["b"]["state"] == "refused"
