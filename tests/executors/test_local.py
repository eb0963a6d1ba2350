"""Worker processes that die, hang or are replaced; the queue that outlives them."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest
from by_hand import a_job

from bench import run
from bench.executors import local
from bench.executors.queue import Queue
from bench.jobs.context import RunOptions
from bench.plan.dag import Plan
from bench.runtime.execute import Outcome
from bench.store import Store


def serve(pipe, parent, out, number):
    """Stand in for a worker without torch: do what the job's description says."""
    store = Store(Path(out))
    trap = store.root / "die-while-starting"
    if trap.exists():
        trap.unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    while True:
        try:
            job, options = pipe.recv()
        except EOFError:
            return
        if options.scoring:
            pipe.send(asked(store, job, options.scoring))
            continue
        do = store.spec(job)["job"]["spec"]["do"]
        claim = store.claim(job)
        if do == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if do == "exit":
            os._exit(3)
        if do == "leave":
            return
        if do == "hang":
            time.sleep(600)
        with store.attempt(claim) as made:
            store.publish(claim, made, {"pid": os.getpid()})
        pipe.send(Outcome(job, "done"))


def asked(store, job, words):
    """Do a job where nobody has, and leave a file for each word in which a run asked to have it scored."""
    claim = None if store.done(job) else store.claim(job)
    if claim is None and not store.done(job):
        return Outcome(job, "busy")
    if claim is not None:
        time.sleep(0.2)
        with store.attempt(claim) as made:
            store.publish(claim, made, {})
    for word in words:
        (store.jobs / job / word).touch()
    return Outcome(job, "done")


@pytest.fixture
def store(tmp_path):
    return Store.open(tmp_path / "out")


@pytest.fixture
def go(store, monkeypatch):
    """Return a function that runs jobs, each described by a word, and returns their outcomes."""
    monkeypatch.setattr(local, "_serve", serve)
    monkeypatch.setattr(local, "POLL", 0.05)

    def run(jobs, words, count=1, on_start=None):
        def start(job):
            entry = {"kind": "prepare", "spec": {"do": words.pop(job, "done")}, "needs": []}
            store.write_spec(job, {"job": entry})  # the second time it goes well
            if on_start:
                on_start(job)
            return RunOptions()

        queue = Queue(store, jobs, list(jobs.jobs))
        local.run(store, queue, count, lambda outcome: None, start)
        return queue.outcomes

    return run


def plan(*jobs):
    return Plan({job.id: job for job in jobs})


A, B, C = (a_job("prepare", {"contents": f"{n}"}) for n in range(3))
TUNED = a_job("finetune", {}, (A.id,))
SCORED = a_job("evaluate", {}, (TUNED.id,))


def states(outcomes):
    return {job: outcome.state for job, outcome in outcomes.items()}


@pytest.mark.parametrize(("word", "how"), [("die", "SIGKILL; out of memory?"), ("exit", "exit code 3")])
def test_a_worker_that_dies_fails_its_job_and_what_needs_it_and_nothing_else(go, store, word, how):
    outcomes = go(plan(A, B, C, TUNED, SCORED), {A.id: word})
    assert states(outcomes) == {
        A.id: "failed", B.id: "done", C.id: "done", TUNED.id: "failed", SCORED.id: "failed"
    }  # fmt: skip
    assert outcomes[A.id].reason == f"the worker process died ({how})"
    assert A.id in outcomes[TUNED.id].reason
    assert store.failure(A.id)["reason"] == outcomes[A.id].reason
    assert store.failure(B.id) is None


@pytest.mark.parametrize(("first", "second", "state"), [
    ("done", "done", "done"), ("die", "done", "done"), ("done", "die", "done"), ("die", "die", "failed"),
])  # fmt: skip
def test_a_job_waits_for_its_guards_and_one_that_passes_is_enough(go, first, second, state):
    guarded = plan(A, B, C)
    guarded.after[C.id] = (A.id, B.id)
    outcomes = go(guarded, {A.id: first, B.id: second}, count=2)
    assert outcomes[C.id].state == state
    if state == "failed":
        assert A.id in outcomes[C.id].reason and "SIGKILL" in outcomes[C.id].reason


def test_a_worker_that_dies_while_it_starts_fails_one_job(go, store):
    (store.root / "die-while-starting").touch()
    outcomes = go(plan(A, B, C), {})
    assert sorted(states(outcomes).values()) == ["done", "done", "failed"]


def test_what_a_dead_worker_held_is_taken_over_by_the_next_run(go, store):
    go(plan(A), {A.id: "die"})
    assert states(go(plan(A), {})) == {A.id: "done"}
    assert store.failure(A.id) is None


def test_a_worker_that_was_told_to_end_costs_nothing(go):
    outcomes = go(plan(A, B), {A.id: "leave"})
    assert states(outcomes) == {A.id: "done", B.id: "done"}


def test_workers_are_used_again_and_never_more_than_asked_for(go, store):
    jobs = plan(*(a_job("prepare", {"contents": f"{n}"}) for n in range(8)))
    assert set(states(go(jobs, {}, count=2)).values()) == {"done"}
    assert 1 <= len({store.manifest(job)["pid"] for job in jobs.jobs}) <= 2


def test_all_workers_are_gone_after_a_run(go, store):
    go(plan(A, B), {}, count=2)
    for job in (A.id, B.id):
        with pytest.raises(ProcessLookupError):
            os.kill(store.manifest(job)["pid"], 0)


@pytest.fixture
def interruptible():
    """Ctrl-C raises, also where these tests were started in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_ends_even_workers_that_do_not_answer(go, store, monkeypatch, interruptible):
    monkeypatch.setattr(local, "GRACE", 0.3)
    monkeypatch.setattr(local, "CLOSING", 0.3)

    def interrupt(job):
        threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        go(plan(A), {A.id: "hang"}, on_start=interrupt)
    assert time.monotonic() - began < 15
    assert store.owner(A.id) is None


def test_each_of_two_runs_at_once_has_every_job_scored_as_it_asks(store, monkeypatch):
    monkeypatch.setattr(local, "_serve", serve)
    monkeypatch.setattr("bench.executors.queue.LOOK_AGAIN", 0.05)
    jobs, outcomes = plan(A, B, C), {}

    def run_one(word):
        def start(job):
            run.describe(jobs, store, [job])
            return RunOptions(scoring=(word,))

        queue = Queue(store, jobs, list(jobs.jobs))
        local.run(store, queue, 1, lambda outcome: None, start)
        outcomes[word] = states(queue.outcomes)

    both = [threading.Thread(target=run_one, args=(word,)) for word in ("dice", "hd95")]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert outcomes == dict.fromkeys(("dice", "hd95"), dict.fromkeys(jobs.jobs, "done"))
    for job in jobs.jobs:
        assert {"dice", "hd95"} <= {path.name for path in (store.jobs / job).iterdir()}
    assert list(store.work.iterdir()) == []


def test_a_job_that_another_command_holds_is_waited_for(store, monkeypatch):
    monkeypatch.setattr("bench.executors.queue.LOOK_AGAIN", 0.05)
    queue = Queue(store, plan(A), [A.id])
    assert queue.take() == A.id
    queue.finish(Outcome(A.id, "busy"))
    assert queue.open()
    assert queue.take() is None
    time.sleep(0.06)
    assert queue.take() == A.id
    queue.finish(Outcome(A.id, "done"))
    assert not queue.open()


def test_a_job_waits_for_what_it_needs(store):
    queue = Queue(store, plan(A, B, TUNED), [TUNED.id, A.id, B.id])
    assert [queue.take(), queue.take(), queue.take()] == [A.id, B.id, None]
    queue.finish(Outcome(B.id, "done"))
    assert queue.take() is None
    queue.finish(Outcome(A.id, "done"))
    assert queue.take() == TUNED.id
