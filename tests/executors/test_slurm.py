"""The SLURM executor without a cluster, on fakes of its commands; with one where it is asked for."""

import json
import os
import shutil
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import BenchError
from bench.executors import arrays, slurm, squeue, submission, task
from bench.executors.cluster import Profile, Shape, options, profile
from bench.job import Job
from bench.jobs.execute import Outcome, execute
from bench.plan import Plan
from bench.store import Store

PROTOCOL = Path(__file__).parents[2] / "protocols" / "pilot" / "hippocampus.yaml"


def a_plan(pretrains=1, seeds=2):
    """One preparation; cells from scratch and on each pretraining, one per seed."""
    plan = Plan()
    prepare = plan.add(Job("prepare", {"dataset": "d"}))
    bases = [None, *(plan.add(Job("pretrain", {"m": m}, (prepare,))) for m in range(pretrains))]
    tuned = [
        plan.add(Job("finetune", {"seed": s}, (prepare,) + ((b,) if b else ())))
        for b in bases for s in range(seeds)
    ]  # fmt: skip
    for job in tuned:
        plan.add(Job("evaluate", {}, (job, prepare)))
    return plan


def of(plan, kind):
    return [id for id, job in plan.jobs.items() if job.kind == kind]


# What a person says of a cluster


def toml(tmp_path, text):
    path = tmp_path / "bench.toml"
    path.write_text(text)
    return path


def test_without_a_name_the_cluster_decides_and_no_gpu_is_asked_for():
    asked = options(profile(None), Shape(2, gpu=True), "n", ())
    assert asked["time"] is None  # submitit's own default would be five minutes
    assert asked["cpus_per_task"] == 2
    assert not {"gpus_per_node", "gres", "partition", "mem", "dependency"} & set(asked)


def test_a_section_is_read_with_its_types(tmp_path):
    path = toml(tmp_path, '[cluster.big]\npartition = "gpu"\nmem_gb = 8\nsetup = ["module load x"]\n')
    assert profile("big", path) == Profile(partition="gpu", mem_gb=8.0, setup=("module load x",))


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("partion = 'x'", "did you mean 'partition'"),
        ("minutes = '1:00'", "expected a whole number"),
        ("gpus = -1", "'gpus' needs at least 0"),
        ("pack = 0", "'pack' needs at least 1"),
        ("gpus = 1\ngres = 'gpu:1'", "keep one"),
        ("minutes = 1", "too little of 'minutes' 1"),
        ('account = "a\\n#SBATCH --x"', "one line of text"),
        ("mem_gb = 0.0", "positive number"),
    ],
)
def test_a_mistake_in_a_section_is_one_line_with_file_and_line(tmp_path, line, told):
    path = toml(tmp_path, f"[data]\n\n[cluster.big]\n{line}\n")
    with pytest.raises(BenchError) as error:
        profile("big", path)
    assert told in str(error.value)
    assert f"{path}:3: cluster.big" in str(error.value)
    assert "\n" not in str(error.value)


def test_an_unknown_cluster_names_the_nearest(tmp_path):
    with pytest.raises(BenchError, match="did you mean 'jean_zay'"):
        profile("jean_zai", toml(tmp_path, "[cluster.jean_zay]\n"))
    with pytest.raises(BenchError, match=r"write \[cluster.x\] into it"):
        profile("x", tmp_path / "none.toml")


def test_preparing_asks_for_no_gpu_and_may_go_elsewhere():
    big = Profile(partition="gpu", cpu_partition="cpu", gpus=1, constraint="a100")
    light, heavy = (options(big, Shape(1, gpu), "n", ()) for gpu in (False, True))
    assert (light["partition"], heavy["partition"]) == ("cpu", "gpu")
    assert "gpus_per_node" not in light
    assert "constraint" not in light
    assert heavy["gpus_per_node"] == 1


def test_a_step_is_given_its_cpus_and_a_task_may_be_requeued():
    asked = options(Profile(cpus=6), Shape(2), "n", ("7", "8_3"))
    assert asked["srun_args"] == ["--cpus-per-task", "6"]
    assert asked["additional_parameters"] == {"requeue": True}
    assert asked["dependency"] == "afterany:7:8_3"


# How jobs become arrays


def test_a_fine_tuning_takes_its_evaluations_along():
    plan = a_plan()
    cells = arrays.units(plan.jobs, list(plan.jobs))["cell"]
    assert len(cells) == 4
    for tuned, scored in cells:
        assert plan.jobs[scored].needs[0] == tuned


def test_an_evaluation_whose_fine_tuning_is_done_runs_alone():
    plan = a_plan()
    todo = of(plan, "evaluate")
    assert arrays.units(plan.jobs, todo)["cell"] == [(job,) for job in todo]


@given(
    count=st.integers(1, 60), pack=st.integers(1, 9), limit=st.integers(1, 9),
    shapes=st.integers(1, 3), waits=st.integers(1, 3),
)  # fmt: skip
def test_arrays_hold_every_unit_once_within_the_limits(count, pack, limit, shapes, waits):
    found = [(str(n),) for n in range(count)]

    def shape(unit):
        return Shape(1 + int(unit[0]) % shapes)

    def after(unit):
        return (str(int(unit[0]) % waits),)

    site = Profile(pack=pack, max_array_size=limit)
    made = list(arrays.arrays("cell", found, shape, after, site))
    jobs = [job for array in made for p in array.packs for job in p]
    assert sorted(jobs, key=int) == [u[0] for u in found]
    assert all(len(a.packs) <= limit and all(len(p) <= pack for p in a.packs) for a in made)
    for array in made:
        for job in (job for p in array.packs for job in p):
            assert (shape((job,)), after((job,))) == (array.shape, array.after)


def test_pretrainings_are_never_packed():
    made = arrays.arrays("pretrain", [("a",), ("b",)], lambda u: Shape(), lambda u: (), Profile(pack=9))
    assert next(iter(made)).packs == (("a",), ("b",))


# Questions to SLURM


@pytest.fixture
def fakes(tmp_path, monkeypatch):
    """Return a function that puts a shell script on PATH; each leaves its arguments in NAME.log."""
    folder = tmp_path / "fake bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr(squeue, "BETWEEN", 0.0)

    def add(name, body=""):
        script = folder / name
        script.write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" >> "{folder}/{name}.log"\n{body}\n')
        script.chmod(0o755)
        return folder / f"{name}.log"

    for name in ("sbatch", "squeue", "srun", "sacct", "scancel", "scontrol"):
        add(name)
    return add


def test_squeue_lines_are_read_with_and_without_an_array():
    found = squeue.parse(
        "12_3|bench-a|3|RUNNING|None\n13|bench-b|N/A|PENDING|Dependency\nnoise\n"
        "14_0|bench-c|0|PENDING|(launch_failed_requeued_held)\n"
    )
    assert found["bench-a", 3].id == "12_3"
    assert found["bench-b", 0].state == "PENDING"
    assert not found["bench-b", 0].hopeless
    assert found["bench-c", 0].hopeless


def test_all_arrays_are_asked_for_in_one_call(fakes):
    log = fakes("squeue", 'echo "5|b|N/A|RUNNING|None"')
    assert list(squeue.listed({"b", "a"})) == [("b", 0)]
    assert len(log.read_text().splitlines()) == 1
    assert "--name a,b" in log.read_text()


def test_a_squeue_that_never_answers_ends_in_one_line(fakes):
    log = fakes("squeue", "echo 'error: Unable to contact slurm controller' >&2; exit 1")
    with pytest.raises(BenchError, match=r"no answer in 5 tries \(error: Unable to contact"):
        squeue.listed({"a"})
    assert len(log.read_text().splitlines()) == squeue.TRIES


def test_a_squeue_that_hangs_is_not_waited_for(fakes, monkeypatch):
    fakes("squeue", "exec sleep 30")
    monkeypatch.setattr(squeue, "TIMEOUT", 0.2)
    with pytest.raises(BenchError, match="did not answer in 0 s"):
        squeue.listed({"a"})


def test_accounting_that_is_off_is_no_error(fakes):
    fakes("sacct", "echo 'Slurm accounting storage is disabled' >&2; exit 1")
    assert squeue.states(["1"]) == {}
    fakes("sacct", 'echo "1_2|CANCELLED by 0"; echo "3|OUT_OF_MEMORY"')
    assert squeue.states(["1_2", "3"]) == {"1_2": "CANCELLED", "3": "OUT_OF_MEMORY"}


def test_a_machine_without_slurm_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BenchError, match="no sbatch on this machine"):
        squeue.require()


# What sbatch is given


def test_a_path_reaches_the_shell_quoted(fakes, tmp_path):
    fakes("sbatch", f'cp "$1" "{tmp_path}/script.sh"; echo Submitted batch job 7')
    folder = tmp_path / "a b; touch pwned"
    calls = [("out", ("j1",), str(folder), 1), ("out", ("j2",), str(folder), 1)]
    asked = options(Profile(), Shape(), "bench-x", ())
    assert submission.submit(folder, asked, calls, None) == ["7_0", "7_1"]
    script = (tmp_path / "script.sh").read_text()
    assert "#SBATCH --array=0-1%2" in script
    assert "--time" not in script
    command = script.splitlines()[-1]
    assert f"'{folder}'" in command
    assert "; touch" not in command.replace(str(folder), "")


def test_a_refusal_is_one_line_in_sbatchs_words(fakes, tmp_path, capsys):
    fakes("sbatch", "echo 'sbatch: error: invalid partition specified: x' >&2; exit 1")
    call = [("out", ("j1",), "f", 1)]
    with pytest.raises(BenchError, match=r"^sbatch: invalid partition specified: x \(1 tasks\)"):
        submission.submit(tmp_path / "f", options(Profile(), Shape(), "n", ()), call, None)
    assert capsys.readouterr().err == ""


# The controller


class Site:
    """A cluster in memory: what was submitted, and what is listed as ``states`` says."""

    def __init__(self):
        self.arrays, self.tasks, self.lines, self.ended = [], {}, {}, {}
        self.asked = 0

    def submit(self, folder, parameters, calls, python):
        number = 10 * (len(self.arrays) + 1)
        self.arrays.append((parameters, [call[1] for call in calls]))
        ids = [f"{number}_{i}" for i in range(len(calls))]
        for index, (id, call) in enumerate(zip(ids, calls, strict=True)):
            key = parameters["job_name"], index
            self.tasks[id] = (key, call[1], Path(call[2]))
            self.lines[key] = squeue.Line(id, *key, "RUNNING", "None")
        return ids

    def listed(self, names):
        self.asked += 1
        return {key: line for key, line in self.lines.items() if key[0] in names}

    def leave(self, id, state=""):
        del self.lines[self.tasks[id][0]]
        self.ended[id] = state

    def states(self, ids):
        return {i: self.ended[i] for i in ids if self.ended[i]}

    def id_of(self, job):
        return next(i for i, (_, pack, _) in reversed(self.tasks.items()) if job in pack)


@pytest.fixture
def site(monkeypatch):
    made = Site()
    monkeypatch.setattr(slurm, "submit", made.submit)
    monkeypatch.setattr(squeue, "listed", made.listed)
    monkeypatch.setattr(squeue, "states", made.states)
    monkeypatch.setattr(squeue, "cancel", lambda ids: [made.leave(i) for i in list(ids)])
    return made


@pytest.fixture
def store(tmp_path):
    return Store.open(tmp_path / "out")


def control(plan, store, **given):
    heard = []
    jobs = [job for job in plan.jobs if not store.done(job)]
    for job in jobs:
        entry = {"kind": plan.jobs[job].kind, "spec": {}, "needs": list(plan.jobs[job].needs)}
        store.write_spec(job, {"job": entry, "run": {}})
    made = slurm.Controller(plan, store, jobs, Profile(**given), heard.append, grace=0.0)
    made.attach()
    return made, heard


def publish(store, *jobs):
    for job in jobs:
        (store.jobs / job).mkdir(parents=True)
        (store.jobs / job / "manifest.json").write_text(json.dumps({"seconds": 1.5}))
        shutil.rmtree(store.work / job, ignore_errors=True)


def test_everything_is_submitted_at_once_and_waits_for_its_own_needs(site, store):
    plan = a_plan(pretrains=2)
    controller, _ = control(plan, store)
    assert controller.step()
    ids = {job: site.id_of(job) for job in plan.jobs}
    waits = {packs[0][0]: given.get("dependency") for given, packs in site.arrays}
    prepare, (one, two) = of(plan, "prepare")[0], of(plan, "pretrain")
    assert len(site.arrays) == 5  # prepare, pretrain, cells: from scratch, on one, on two
    assert waits[prepare] is None
    assert waits[one] == f"afterany:{ids[prepare]}"
    asked = {d for d in waits.values() if d and d != waits[one]}
    assert asked == {f"afterany:{ids[prepare]}:{ids[p]}" for p in (one, two)}


def test_results_end_the_run_and_its_folder_is_removed(site, store):
    plan = a_plan()
    controller, heard = control(plan, store)
    controller.step()
    assert (controller.folder / "submitted.json").exists()
    publish(store, *plan.jobs)
    assert not controller.step()
    site.lines.clear()
    controller.tidy()
    assert {o.job: o.state for o in heard} == dict.fromkeys(plan.jobs, "done")
    assert not controller.folder.exists()


def test_a_second_run_waits_for_the_first_ones_tasks_and_submits_nothing_twice(site, store):
    plan = a_plan()
    first, _ = control(plan, store)
    first.step()
    before = len(site.arrays)
    second, heard = control(plan, store)
    assert second.step()
    assert len(site.arrays) == before
    publish(store, *plan.jobs)
    assert not second.step()
    assert len(heard) == len(plan.jobs)


def test_a_run_killed_inside_sbatch_is_found_again_by_name(site, store, monkeypatch):
    plan = a_plan(pretrains=0, seeds=1)
    first, _ = control(plan, store)

    def killed(*given):
        site.submit(*given)
        raise KeyboardInterrupt

    monkeypatch.setattr(slurm, "submit", killed)
    with pytest.raises(KeyboardInterrupt):
        first.step()
    monkeypatch.setattr(slurm, "submit", site.submit)
    second, _ = control(plan, store)
    second.step()
    packs = [pack for _, packs in site.arrays for pack in packs]
    assert len(packs) == len(set(packs)) == 2


def test_what_a_dead_run_left_is_submitted_again(site, store):
    plan = a_plan(pretrains=0, seeds=1)
    control(plan, store)[0].step()
    site.lines.clear()
    control(plan, store)[0].step()
    assert len(site.arrays) == 4


def test_a_job_that_another_command_works_on_is_waited_for(site, store):
    plan = a_plan(pretrains=0, seeds=1)
    controller, _ = control(plan, store)
    claim = store.claim(of(plan, "prepare")[0])
    assert controller.step()
    assert site.arrays == []  # what needs it holds no node meanwhile either
    store.release(claim)
    controller.step()
    assert len(site.arrays) == 2


def test_a_failed_pretraining_ends_its_own_cells_only(site, store):
    plan = a_plan(pretrains=2, seeds=1)
    controller, heard = control(plan, store)
    controller.step()
    bad, good = of(plan, "pretrain")
    publish(store, of(plan, "prepare")[0])
    task.tell(task.outcome_file(controller.folder, bad), Outcome(bad, "failed", "loss is not finite"))
    cells = {j for j in plan.jobs if bad in plan.jobs[j].needs}
    cells |= {j for j in plan.jobs if cells & set(plan.jobs[j].needs)}
    refused = next(iter(cells))
    task.tell(task.outcome_file(controller.folder, refused), Outcome(refused, "refused", "too early"))
    assert controller.step()
    failed = {o.job: o.reason for o in heard if o.state == "failed"}
    assert set(failed) == {bad, *cells}
    assert all("loss is not finite" in reason for reason in failed.values())
    publish(store, good, *[j for j in plan.jobs if j not in failed and not store.done(j) and j != good])
    assert not controller.step()


def test_a_cell_that_started_too_early_is_submitted_again(site, store):
    plan = a_plan(pretrains=0, seeds=1)
    controller, _ = control(plan, store)
    controller.step()
    tuned = of(plan, "finetune")[0]
    path = task.outcome_file(controller.folder, tuned)
    task.tell(path, Outcome(tuned, "refused", "needs x, which is not done"))
    controller.step()
    assert len(site.arrays) == 2
    publish(store, of(plan, "prepare")[0])
    controller.step()
    assert len(site.arrays) == 3
    assert not path.exists()


def test_a_lost_task_fails_with_slurms_reason_and_leaves_it_on_disk(site, store):
    plan = a_plan(pretrains=0, seeds=1)
    controller, heard = control(plan, store)
    controller.step()
    prepare = of(plan, "prepare")[0]
    store.release(store.claim(prepare))
    site.leave(site.id_of(prepare), "OUT_OF_MEMORY")
    controller.step()
    while controller.step():
        pass
    assert "out of memory; raise 'mem_gb'" in store.failure(prepare)["reason"]
    assert store.failure(prepare)["log"].endswith("_0_log.err")
    assert [o.state for o in heard] == ["failed"] * 3


def test_the_rest_of_a_lost_pack_gets_its_turn(site, store):
    plan = a_plan(pretrains=0, seeds=3)
    publish(store, *of(plan, "prepare"))
    controller, heard = control(plan, store, pack=3)
    controller.step()
    (pack,) = site.arrays[0][1]
    store.release(store.claim(pack[0]))
    site.leave(site.id_of(pack[0]), "OUT_OF_MEMORY")
    controller.step()
    controller.step()
    assert {o.job for o in heard} == set(pack[:2])  # the fine-tuning, and the evaluation of it
    assert site.arrays[1][1] == [pack[2:]]


@pytest.mark.parametrize("state", ["PREEMPTED", "NODE_FAIL"])
def test_what_the_cluster_lost_is_submitted_again_a_few_times(site, store, state):
    plan = a_plan(pretrains=0, seeds=0)
    controller, heard = control(plan, store)
    while controller.step():
        for id in [line.id for line in site.lines.values()]:
            site.leave(id, state)
    assert len(site.arrays) == slurm.RETRIES
    assert state in heard[0].reason


def test_scores_that_a_killed_task_owes_are_asked_for_again(site, store):
    plan = a_plan(pretrains=0, seeds=1)
    scored = of(plan, "evaluate")[0]
    plan.scoring[scored] = [{"metrics": ["dice"]}]
    controller, heard = control(plan, store)
    started = []
    controller.on_start = started.append
    controller.step()
    publish(store, *plan.jobs)
    site.lines.clear()
    site.ended = dict.fromkeys(site.tasks, "CANCELLED")
    controller.step()
    controller.step()
    assert site.arrays[2][1] == [(scored,)]
    assert started.count(scored) == 2
    assert scored not in {o.job for o in heard}


def test_a_requeued_task_is_not_taken_for_finished(site, store):
    plan = a_plan(pretrains=0, seeds=0)
    controller, heard = control(plan, store)
    controller.step()
    key = next(iter(site.lines))
    for state in ("NODE_FAIL", "REQUEUED", "PREEMPTED", "PENDING"):
        site.lines[key] = squeue.Line("10_0", *key, state, "BeginTime")
        assert controller.step()
    assert heard == []


def test_a_task_that_slurm_will_never_start_is_cancelled_and_named(site, store):
    plan = a_plan(pretrains=0, seeds=0)
    controller, heard = control(plan, store)
    controller.step()
    key = next(iter(site.lines))
    site.lines[key] = squeue.Line("10_0", *key, "PENDING", "PartitionTimeLimit")
    controller.step()
    assert "will not start it: PartitionTimeLimit" in heard[0].reason
    assert site.lines == {}


def test_a_full_queue_is_tried_again_while_something_runs(site, store, monkeypatch):
    plan = a_plan(pretrains=0, seeds=1)
    controller, _ = control(plan, store)

    def one(*given):
        if site.lines:
            raise submission.FullError("sbatch: full")
        return site.submit(*given)

    monkeypatch.setattr(slurm, "submit", one)
    assert controller.step()
    assert len(site.arrays) == 1
    publish(store, of(plan, "prepare")[0])
    site.lines.clear()
    assert controller.step()
    assert len(site.arrays) == 2


def test_each_look_asks_the_queue_once(site, store):
    controller, _ = control(a_plan(pretrains=5, seeds=5), store)
    controller.step()
    before = site.asked
    controller.step()
    assert site.asked == before + 1


def test_looks_become_rarer():
    waits = [slurm.pause(seconds) for seconds in (0, 60, 600, 1e6)]
    assert waits == [2.0, 5.0, 30.0, 30.0]
    assert all(a <= b for a, b in pairwise(waits))


def test_a_percent_sign_in_the_output_folder_is_refused(tmp_path):
    with pytest.raises(BenchError, match="reads '%'"):
        control(a_plan(), Store.open(tmp_path / "50%"))


# On the node


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

    def fake(out, job, stopping):
        ran.append(job)
        return answer(job, stopping)

    for job in jobs:
        store.write_spec(job, {"job": {"kind": "prepare", "needs": []}, "run": {}})
    monkeypatch.setattr(task, "execute", fake)
    folder = store.root / "slurm" / "r"
    folder.mkdir(parents=True, exist_ok=True)
    task.work(str(store.root), jobs, str(folder), requeues)
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
        publish(store, job)
        return Outcome(job, "busy")

    ran, told = node(store, monkeypatch, elsewhere)
    assert (ran, told) == (["a", "b"], {})


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


def test_a_site_that_forbids_requeueing_is_told_as_the_reason(store, monkeypatch, on_node, fakes):
    fakes("scontrol", "echo 'Requested operation is presently disabled' >&2; exit 1")
    _, told = node(store, monkeypatch, signalled(signal.SIGUSR2))
    assert "presently disabled" in told["outcome-b"]["reason"]


def test_a_busy_job_is_waited_for(store, monkeypatch, on_node):
    states = iter(["busy", "busy", "done"])
    ran, told = node(store, monkeypatch, lambda job, _: Outcome(job, next(states)), jobs=("a",))
    assert (len(ran), told) == (3, {})


def test_a_job_without_its_need_is_refused_by_the_task_and_by_execute(store, on_node):
    store.write_spec("b", {"job": {"kind": "evaluate", "needs": ["a"]}, "run": {}})
    folder = store.root / "slurm"
    folder.mkdir()
    task.work(str(store.root), ("b",), str(folder), 1)
    assert json.loads(task.outcome_file(folder, "b").read_text())["state"] == "refused"
    outcome = execute(str(store.root), "b")
    assert (outcome.state, outcome.reason) == ("failed", "needs a, which is not done")
    assert store.claims("b") == []


# On a real cluster


@pytest.mark.skipif(
    not (shutil.which("slurmctld") and os.environ.get("BENCH_TEST_SLURM")),
    reason="needs a running SLURM with slurmctld here and BENCH_TEST_SLURM=1",
)
def test_a_real_cluster_gives_the_records_of_this_machine(tmp_path):
    bench = [sys.executable, "-m", "bench.cli"]
    subprocess.run([*bench, "phantom", "msd04_hippocampus", str(tmp_path), "--cases", "12"], check=True)
    found = []
    for executor in ("slurm", "local"):
        out = tmp_path / f"out of {executor}"
        asked = ["--scale", "smoke", "--only", "fraction=100", "--only", "row=scratch_unet3d"]
        places = ["--data", str(tmp_path), "--out", str(out), "--executor", executor]
        command = [*bench, "run", str(PROTOCOL), *asked, *places]
        subprocess.run(command, check=True, timeout=300, cwd=tmp_path)
        found.append(pd.read_parquet(out / "records" / "pilot_hippocampus.parquet"))
    assert len(found[0])
    pd.testing.assert_frame_equal(*found)
