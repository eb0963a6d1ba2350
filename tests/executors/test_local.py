"""Worker processes that die, hang or are replaced; the queue that outlives them."""

import os
import signal
import threading
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from by_hand import LEAST, a_job
from quick_worker import serve

from bench import run
from bench.executors import local
from bench.jobs.context import RunOptions
from bench.plan.dag import Plan
from bench.plugins import Planned, Plugin
from bench.runtime.execute import Outcome
from bench.runtime.memory import TUNABLES, UNCACHED

# what a job does at each attempt, others at the first alone
ALWAYS = ("repeat", "advance", "die at score")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(local, "_serve", serve)
    monkeypatch.setattr(local, "POLL", 0.05)
    monkeypatch.setattr(local, "LOOK_AGAIN", 0.05)


@pytest.fixture
def go(store):
    """Return a function that runs jobs, each described by a word, and returns their outcomes."""

    def run(jobs, words, count=1, on_start=lambda job: None, outside=None):
        def start(job):
            entry = {"kind": "prepare", "spec": {"do": words.get(job, "done")}, "needs": []}
            if words.get(job) not in ALWAYS:
                words.pop(job, None)
            store.write_spec(job, {"job": entry})  # the second time it goes well
            on_start(job)
            return RunOptions(plugins=(outside or {}).get(job, ()))

        queue = local.Queue(jobs, list(jobs.jobs))
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


@pytest.mark.parametrize(
    ("word", "how"), [("die", "SIGKILL; out of memory?"), ("exit", "exit code 3")]
)
def test_a_worker_that_dies_fails_its_job_and_what_needs_it_and_nothing_else(go, store, word, how):
    outcomes = go(plan(A, B, C, TUNED, SCORED), {A.id: word})
    failed = dict.fromkeys((A.id, TUNED.id, SCORED.id), "failed")
    assert states(outcomes) == {**failed, B.id: "done", C.id: "done"}
    assert outcomes[A.id].reason == f"the worker process died ({how})"
    assert A.id in outcomes[TUNED.id].reason and how in outcomes[TUNED.id].reason
    assert TUNED.id in outcomes[SCORED.id].reason
    assert store.failure(A.id)["reason"] == outcomes[A.id].reason
    assert store.failure(B.id) is None
    # the next run takes over what the dead one held
    assert states(go(plan(A), {})) == {A.id: "done"}
    assert store.failure(A.id) is None


def test_a_worker_that_dies_while_it_starts_fails_one_job(go, store):
    (store.root / "die-while-starting").touch()
    outcomes = go(plan(A, B, C), {})
    assert sorted(states(outcomes).values()) == ["done", "done", "failed"]


DIED = {  # what a job does: how often it is claimed, and why it fails
    "repeat": (4, "the worker process died (exit code 0), 3 times in a row without"),
    "die at score": (0, "scoring: the worker process died (SIGKILL; out of memory?), 3 times in a"),
}


@pytest.mark.parametrize("word", DIED)
def test_a_worker_that_ends_again_and_again_without_progress_fails_its_job_and_nothing_else(
    go, store, word
):
    (claims, reason), outcomes = DIED[word], go(plan(A, B), {A.id: word})
    assert states(outcomes) == {A.id: "failed", B.id: "done"}
    assert outcomes[A.id].reason.startswith(reason)
    assert len(store.claims(A.id)) == claims  # the first, and three that got no further
    if claims:
        why = store.failure(A.id)
        assert why["reason"] == outcomes[A.id].reason and reason in Path(why["log"]).read_text()
    else:
        assert store.done(A.id)


def test_a_worker_that_ends_again_and_again_with_a_step_of_progress_gets_to_the_end(go, store):
    assert states(go(plan(A), {A.id: "advance"})) == {A.id: "done"}


def test_a_worker_that_was_told_to_end_costs_nothing(go):
    assert states(go(plan(A, B), {A.id: "leave"})) == {A.id: "done", B.id: "done"}


def test_workers_are_used_again_never_more_than_asked_for_and_gone_after_a_run(go, store):
    jobs = plan(*(a_job("prepare", {"contents": f"{n}"}) for n in range(8)))
    assert set(states(go(jobs, {}, count=2)).values()) == {"done"}
    workers = {store.manifest(job)["pid"] for job in jobs.jobs}
    # so that they may keep them
    assert all(UNCACHED in store.manifest(job)["pages"] for job in jobs.jobs)
    assert UNCACHED not in os.environ.get(TUNABLES, "")
    assert 1 <= len(workers) <= 2
    for pid in workers:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_process_that_ran_a_plugin_takes_no_job_without_it(go, store):
    """Jobs in turn, each with the plugins that it touches; one worker at a time."""
    named = {name: Plugin("method", name, Path(f"{name}.py"), name) for name in "xy"}
    brought = {name: Planned(plugin, "0" * 16) for name, plugin in named.items()}
    touched = ["", "", "x", "x", "", "y", "xy", "xy", "x"]
    jobs = plan(*(a_job("prepare", {"contents": f"{n}"}) for n in range(len(touched))))
    given = ([brought[name] for name in names] for names in touched)
    outside = dict(zip(jobs.jobs, given, strict=True))
    assert set(states(go(jobs, {}, outside=outside)).values()) == {"done"}
    pids = [store.manifest(job)["pid"] for job in jobs.jobs]
    same = [a == b for a, b in pairwise(pids)]
    assert same == [True, True, True, False, True, True, True, False]
    assert len({*pids}) == 3


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


def test_each_of_two_runs_at_once_has_every_job_scored_as_it_asks(store):
    jobs, outcomes = plan(A, B, C), {}

    def run_one(word):
        def start(job):
            run.describe(jobs, store, [job])
            return RunOptions(scoring=(word,))

        queue = local.Queue(jobs, list(jobs.jobs))
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


@pytest.mark.parametrize("state", ["busy", "stopped"])
def test_a_job_that_another_command_holds_or_whose_worker_was_stopped_gets_another_turn(state):
    queue = local.Queue(plan(A), [A.id])
    assert queue.take() == A.id
    queue.finish(Outcome(A.id, state))
    assert queue.open() and queue.take() is None
    time.sleep(0.06)
    assert queue.take() == A.id
    queue.finish(Outcome(A.id, "done"))
    assert not queue.open()


def test_what_waits_for_its_turn_again_is_the_first_of_its_stage():
    one, two, three = (a_job("pretrain", {"seed": n}) for n in range(3))
    queue = local.Queue(plan(one, two, three, TUNED), [one.id, two.id, three.id])
    assert queue.take() == one.id
    queue.finish(Outcome(one.id, "stopped"))
    time.sleep(0.06)
    assert [queue.take() for _ in range(3)] == [one.id, two.id, three.id]


def test_a_job_waits_for_what_it_needs():
    queue = local.Queue(plan(A, B, TUNED), [TUNED.id, A.id, B.id])
    assert [queue.take(), queue.take(), queue.take()] == [A.id, B.id, None]
    queue.finish(Outcome(B.id, "done"))
    assert queue.take() is None
    queue.finish(Outcome(A.id, "done"))
    assert queue.take() == TUNED.id


def test_scores_come_first_and_scratch_before_any_pretraining():
    learned = a_job("pretrain", {}, (A.id,))
    after = a_job("finetune", {"seed": 1}, (A.id, learned.id))
    late = a_job("evaluate", {"weights": "best_val"}, (after.id,))
    jobs = plan(A, learned, after, TUNED, late, SCORED)
    queue, taken = local.Queue(jobs, list(jobs.jobs)), []
    while queue.open():
        taken.append(queue.take())
        queue.finish(Outcome(taken[-1], "done"))
    assert taken == [A.id, TUNED.id, SCORED.id, learned.id, after.id, late.id]


def a_probe(seed, needs, init="random", **spec):
    probing = {"steps": None, "evaluation": "probe"}
    return a_job("finetune", {"finetune": probing, "seed": seed, "init": init, **spec}, needs)


def test_a_worker_goes_on_with_the_encoder_whose_features_it_keeps_and_no_two_read_the_same():
    learned = [a_job("pretrain", {"seed": n}, (A.id,)) for n in range(2)]
    early, late = (
        [a_probe(draw, (A.id, p.id), f"job:{p.id}") for draw in range(3)] for p in learned
    )
    jobs = plan(A, *learned, *early, *late)
    queue, workers = local.Queue(jobs, [j.id for j in (*early, *late)]), ["", ""]
    given = [[], []]
    for turn in range(6):
        free, busy = workers[turn % 2], workers[1 - turn % 2]
        job = queue.take({free} - {""}, {busy} - {""})
        workers[turn % 2] = queue.keeps(job)
        given[turn % 2].append(job)
    assert given == [[j.id for j in early], [j.id for j in late]]
    scored = a_job("evaluate", {}, (early[0].id, A.id))
    queue = local.Queue(plan(A, *learned, *early, scored), [early[1].id, early[2].id])
    assert queue.keeps(scored.id) == queue.keeps(early[1].id)
    # rather the same again than nothing
    assert queue.take(set(), {queue.keeps(early[1].id)}) == early[1].id
    assert queue.keeps(learned[0].id) == ""


def test_of_many_jobs_an_outcome_or_a_free_worker_looks_at_few(monkeypatch):
    """Each job is looked at a few times, not once for every other job: studies have ten thousand."""
    learned = [a_job("pretrain", {"seed": n}, (A.id,)) for n in range(2)]
    probes = [a_probe(draw, (A.id, p.id), f"job:{p.id}") for draw in range(60) for p in learned]
    jobs, calls = plan(A, *learned, *probes), Counter()

    def count(kind, name):
        inner = getattr(kind, name)

        def counted(self, *given):
            calls[name] += 1
            return inner(self, *given)

        monkeypatch.setattr(kind, name, counted)

    count(Plan, "hopeless")
    count(local.Queue, "keeps")
    queue, kept = local.Queue(jobs, list(jobs.jobs)), ""
    while queue.open():
        job = queue.take({kept} - {""})
        kept = queue.keeps(job)
        queue.finish(Outcome(job, "done"))
    assert calls["hopeless"] == 2 * len(probes) + len(learned)  # once for each need of each job
    assert calls["keeps"] == 2 * len(jobs.jobs)  # once here


def test_a_random_encoder_is_another_one_for_each_draw_and_the_same_at_each_fraction():
    few, more, other = (
        a_probe(seed, (A.id,), data={**LEAST["finetune"]["data"], "n_train": n})
        for seed, n in ((0, 3), (0, 6), (1, 3))
    )
    queue = local.Queue(plan(A, few, more, other), [])
    assert queue.keeps(few.id) == queue.keeps(more.id) != queue.keeps(other.id)


@pytest.mark.parametrize("first", ["done", "failed"])
@pytest.mark.parametrize("second", ["done", "failed"])
def test_a_job_waits_for_its_guards_and_one_that_passes_is_enough(first, second):
    starts = "done" in (first, second)
    guarded = plan(A, B, C)
    guarded.after[C.id] = (A.id, B.id)
    queue = local.Queue(guarded, [A.id, B.id, C.id])
    assert [queue.take(), queue.take(), queue.take()] == [A.id, B.id, None]
    queue.finish(Outcome(A.id, first, "leak: 1 case"))
    assert queue.take() is None
    queue.finish(Outcome(B.id, second))
    assert (queue.take() == C.id) is starts is queue.open()
    if not starts:
        assert A.id in queue.outcomes[C.id].reason and "leak: 1 case" in queue.outcomes[C.id].reason
