"""The controller, on a cluster in memory; tests/slurm has a real one."""

import json
import time
from contextlib import suppress
from itertools import pairwise

import pytest
from by_hand import NET, a_job
from in_memory import a_plan, control, of, publish, tell
from outside import written

from bench import plugins, run
from bench.errors import BenchError
from bench.executors import slurm
from bench.executors.slurm import squeue
from bench.executors.slurm.controller import RETRIES
from bench.executors.slurm.profile import Profile
from bench.executors.slurm.sbatch import CANCELLED, FullError, LaterError
from bench.jobs.context import RunOptions
from bench.jobs.scoring import Scoring, path
from bench.plan import Plan
from bench.show.status import as_text, status
from bench.store import Store


@pytest.fixture
def alone(site, store):
    """A run of one job, which is in the queue: its controller, what it has told, and the job."""
    controller, heard = control(a_plan(pretrains=0, seeds=0), store)
    assert controller.step()
    return controller, heard, controller.jobs[0]


@pytest.fixture
def prepared(site, store):
    """Return a function that follows a plan whose preparation is done."""

    def make(pretrains, seeds, **given):
        plan = a_plan(pretrains, seeds)
        publish(store, *of(plan, "prepare"))
        return *control(plan, store, **given), plan

    return make


def scoring_by(metric):
    return Scoring("segmentation", (metric,), "medpy", "default", {}, {})


def raises(error):
    def refuse(calls):
        raise error

    return refuse


def dependencies(site):
    return {packs[0][0]: given.get("dependency") for given, packs in site.arrays}


# What is submitted


def test_a_pretraining_is_submitted_behind_its_guards_and_refused_only_by_all(site, store):
    plan = Plan()
    prepare = plan.add(a_job("prepare"))
    guards = [plan.add(a_job("guard", {"seed": n}, (prepare,))) for n in range(2)]
    pretrain = plan.add(a_job("pretrain", {}, (prepare,)))
    for guard in guards:
        plan.wait(pretrain, guard)
    controller, _ = control(plan, store)
    controller.step()
    assert {site.id_of(g) for g in guards} <= set(dependencies(site)[pretrain].split(":"))
    publish(store, prepare)
    tell(controller, guards[0], "failed", "leak: 1 case")
    controller.step()
    assert pretrain not in controller.outcomes
    site.leave(site.id_of(pretrain), "NODE_FAIL")
    controller.step()
    assert site.packs().count((pretrain,)) == 2  # one guard that may still pass is enough
    tell(controller, guards[1], "failed", "leak: 2 cases")
    controller.step()
    assert controller.outcomes[pretrain].state == "failed"
    assert "leak: 1 case" in controller.outcomes[pretrain].reason


def test_a_pretraining_takes_all_its_processes_and_a_cell_one(site, store):
    controller, _ = control(a_plan(), store, nodes=2, processes=4, gpus=1, mem_gb=2.0)
    controller.step()
    asked = {packs[0][0]: given for given, packs in site.arrays}
    one, many = asked[of(controller.plan, "finetune")[0]], asked[of(controller.plan, "pretrain")[0]]
    assert (many["nodes"], many["ntasks_per_node"], many["gpus_per_node"]) == (2, 4, 4)
    assert (many["mem"], one["mem"]) == ("8192MB", "2048MB")
    assert many["srun_args"][-2:] == ["--wait", "60"]
    assert one["nodes"] == 1 and "ntasks_per_node" not in one and one["gpus_per_node"] == 1


CAPS = [  # the cap, fine-tuning seeds, more of the profile
    (1, 3, {}),
    (3, 3, {}),
    (4, 3, {"processes": 2, "pack": 2}),
    (5, 1, {"processes": 3}),  # room for cells, and none for the pretraining of some
    (8, 3, {"max_array_size": 2}),
]


@pytest.mark.parametrize(("most", "seeds", "given"), CAPS)
def test_no_more_gpus_than_the_cap_run_at_once_and_every_job_gets_its_turn(
    site, store, most, seeds, given
):
    plan = a_plan(pretrains=4, seeds=seeds)
    controller, _ = control(plan, store, gpus=1, max_gpus=most, **given)
    gpus = {**dict.fromkeys(of(plan, "prepare"), 0)}
    gpus |= dict.fromkeys(of(plan, "pretrain"), given.get("processes", 1))
    taken = []
    while controller.step():
        queued = {task: [*pack] for task, (key, pack) in site.tasks.items() if key in site.lines}
        # all of them count, whatever they wait for
        taken.append(sum(gpus.get(pack[0], 1) for pack in queued.values()))
        known = {job for pack in queued.values() for job in pack}
        needs = {need for job in known for need in plan.before(job)}
        assert all(store.done(need) or need in known for need in needs)
        *_, task = (  # the youngest that may run
            task
            for task, pack in queued.items()
            if all(store.done(n) or n in pack for job in pack for n in plan.before(job))
        )
        publish(store, *queued[task])
        site.leave(task)
    assert [o.state for o in controller.outcomes.values()] == ["done"] * len(plan.jobs)
    assert most >= max(taken) > most / 2
    assert sorted(job for pack in site.packs() for job in pack) == sorted(plan.jobs)


def test_a_pack_holds_jobs_of_the_same_plugins(site, store, tmp_path):
    file = written(tmp_path, "network")
    plugins.use([file])
    plan = a_plan(pretrains=0, seeds=0)
    nets = [{**NET, "network": name, "out_channels": 2} for name in ("unet3d", "my_network") * 3]
    prepare = of(plan, "prepare")
    jobs = (a_job("finetune", {"network": net, "seed": n}, prepare) for n, net in enumerate(nets))
    tuned = [plan.add(job) for job in jobs]
    publish(store, *prepare)
    controller, _ = control(plan, store, pack=9)
    controller.step()
    assert sorted(map(sorted, site.packs())) == sorted([sorted(tuned[::2]), sorted(tuned[1::2])])


def test_an_array_that_is_too_large_for_the_queue_is_halved_until_it_fits(site, prepared):
    controller, _, _ = prepared(0, 12)
    full = raises(FullError("sbatch: AssocMaxSubmitJobLimit"))
    site.refuse = lambda calls: len(calls) <= 3 or full(calls)
    for _ in range(12):
        controller.step()
    assert controller.profile.max_array_size == 3  # 1000, 500, ... 7, 3
    assert sorted(job for pack in site.packs() for job in pack) == sorted(controller.jobs)
    told = json.loads((controller.folder / "submitted.json").read_text())["arrays"]
    assert all(entry["array"] for entry in told)


def test_arrays_are_cut_to_the_sites_limit_whatever_the_profile_says(
    site, store, fakes, monkeypatch
):
    monkeypatch.setattr(slurm, "pause", lambda elapsed: 0.0)
    monkeypatch.setattr(slurm, "BETWEEN", 0.0)
    plan = a_plan(pretrains=0, seeds=8)
    site.config = lambda: {"MaxArraySize": "3"}
    site.installed(monkeypatch)
    site.then = lambda calls: publish(store, *(job for call in calls for job in call[1]))
    for job in plan.jobs.values():
        store.write_spec(job.id, {"job": job.plain()})
    profile = Profile(max_array_size=5)
    outcomes = slurm.run(plan, store, list(plan.jobs), profile, lambda outcome: None)
    assert {outcome.state for outcome in outcomes.values()} == {"done"}
    assert [len(packs) for _, packs in site.arrays] == [1, 3, 3, 2]


def test_a_percent_sign_in_the_output_folder_is_refused(tmp_path):
    with pytest.raises(BenchError, match="reads '%'"):
        control(a_plan(), Store.open(tmp_path / "50%"))


def test_each_look_asks_the_queue_once_and_looks_become_rarer(site, store):
    controller, _ = control(a_plan(pretrains=5, seeds=5), store)
    controller.step()
    before = site.asked
    controller.step()
    assert site.asked == before + 1
    waits = [slurm.pause(seconds) for seconds in (0, 60, 600, 1e6)]
    assert waits == [2.0, 5.0, 30.0, 30.0]
    assert all(a <= b for a, b in pairwise(waits))


def test_status_says_what_slurm_does_with_waiting_jobs(site, store, alone, fakes):
    site.tell("PENDING", "Priority")
    (told,) = status(store)["waiting"]
    assert (told["task"], told["slurm"], told["pending"]) == ("10_0", "PENDING", "Priority")
    assert "waiting: 1 jobs in SLURM, PENDING (Priority)" in as_text(status(store))


# Several commands on one folder


def test_results_end_the_run_and_its_folder_is_removed(site, store, monkeypatch):
    monkeypatch.setattr(slurm, "BETWEEN", 0.0)
    plan = a_plan()
    controller, heard = control(plan, store)
    controller.step()
    publish(store, *plan.jobs)
    assert not controller.step()
    assert {o.job: o.state for o in heard} == dict.fromkeys(plan.jobs, "done")
    slurm.tidy(store)
    assert (controller.folder / "submitted.json").exists()  # its tasks still write their logs
    site.lines.clear()
    slurm.tidy(store)
    assert not controller.folder.exists()


def test_a_second_run_has_scored_what_the_first_ones_task_did_not_score_for_it(site, store):
    runs = []
    for metric in ("dice", "hd95"):
        plan = a_plan(pretrains=0, seeds=1)
        (scored,) = of(plan, "evaluate")
        plan.scoring[scored] = [scoring_by(metric)]
        made, heard = control(plan, store)
        made.on_start = lambda job, plan=plan: run.options(plan, job)
        made.step()
        runs.append((made, heard, plan))
    (first, _, plan), (second, heard, theirs) = runs

    def asked():
        return [list(pack[scored].scoring) for _, pack in site.tasks.values() if scored in pack]

    assert asked() == [[scoring_by("dice")]]
    publish(store, *plan.jobs)
    path(store, scored, plan.scoring[scored][0]).touch()
    assert not first.step()
    site.end("COMPLETED")
    second.step()
    second.step()
    assert asked()[1:] == [[scoring_by("hd95")]]
    path(store, scored, theirs.scoring[scored][0]).touch()
    assert not second.step()
    assert {o.job: o.state for o in heard} == dict.fromkeys(plan.jobs, "done")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), LaterError("sbatch: Socket timed out")])
def test_what_sbatch_took_without_an_answer_is_found_again_by_name(site, store, error):
    plan = a_plan(pretrains=0, seeds=1)
    first, _ = control(plan, store)
    site.then = raises(error)
    with suppress(KeyboardInterrupt):
        first.step()
    site.then = site.refuse
    later = first if isinstance(error, LaterError) else control(plan, store)[0]
    assert later.step() and set(later.tasks) == set(plan.jobs)
    assert len(site.packs()) == len(set(site.packs())) == 2


def test_what_a_dead_run_left_is_submitted_again(site, store):
    plan = a_plan(pretrains=0, seeds=1)
    for submitted in (2, 4):
        control(plan, store)[0].step()
        site.lines.clear()
        assert len(site.arrays) == submitted


def test_two_runs_of_which_one_submits_while_the_other_waits_submit_each_job_once(site, store):
    plan = a_plan(pretrains=0, seeds=4)
    both = [control(plan, store, max_array_size=1)[0] for _ in range(2)]
    full = raises(FullError("sbatch: full"))
    room = []
    site.refuse = lambda calls: room.pop() if room else full(calls)
    for _ in range(8):
        for controller in both:
            room[:] = [1] if site.arrays else [1, 1]
            controller.step()
    assert len(site.packs()) == len(set(site.packs())) == 5


def test_a_job_that_another_command_works_on_is_waited_for(site, store):
    plan = a_plan(pretrains=0, seeds=1)
    controller, _ = control(plan, store)
    claim = store.claim(of(plan, "prepare")[0])
    assert controller.step()
    assert site.arrays == []  # what needs it holds no node meanwhile either
    store.release(claim)
    controller.step()
    assert len(site.arrays) == 2


def test_a_need_that_was_taken_away_ends_what_stands_on_it_unless_somebody_makes_it_anew(
    store, prepared
):
    controller, _, plan = prepared(1, 2)
    (prepare,) = of(plan, "prepare")
    controller.step()
    store.take_back(prepare, "its source files changed")  # by another command, or as damaged
    claim = store.claim(prepare)
    assert controller.step() and not controller.outcomes
    store.release(claim)
    controller.step()
    ended = [o for job, o in controller.outcomes.items() if prepare in plan.jobs[job].needs]
    assert ended and {o.state for o in ended} == {"failed"}
    assert all("not there any more" in o.reason for o in ended)


# Taking back


def test_a_run_that_is_taken_back_ends_with_what_attached_to_it_and_a_later_one_begins_anew(
    site, store
):
    plan = a_plan(pretrains=0, seeds=1)
    runs = [control(plan, store) for _ in range(2)]
    for controller, _ in runs:
        assert controller.step()
    queued = dict(site.lines)
    (runs[0][0].folder / CANCELLED).touch()
    for controller, heard in runs:
        assert not controller.step()
        assert {o.reason for o in heard} == {"taken back by 'bench cancel'"}
    assert (len(site.arrays), site.lines) == (2, {})
    site.lines |= queued  # SLURM is still ending them
    third, _ = control(plan, store)
    assert third.step()
    assert len(site.arrays) == 4


def test_a_run_taken_back_between_two_arrays_submits_no_more_and_cancels_its_own(site, store):
    controller, _ = control(a_plan(pretrains=2), store)
    site.then = lambda calls: (controller.folder / CANCELLED).touch()
    controller.step()
    assert len(site.arrays) == 1
    assert not controller.step()
    assert site.lines == {}


@pytest.fixture
def cancelling(monkeypatch):
    monkeypatch.setattr(squeue, "require", lambda: None)
    monkeypatch.setattr(slurm, "BETWEEN", 0.0)


def test_cancelling_takes_whole_arrays_out_and_tells_the_runs(site, store, monkeypatch, cancelling):
    controller, _ = control(a_plan(pretrains=2), store)
    controller.step()
    asked = []
    monkeypatch.setattr(squeue, "cancel", lambda ids: asked.extend(ids) or site.cancel(ids))
    assert slurm.cancel(store) == len(site.tasks)
    assert sorted(asked) == sorted({i.split("_")[0] for i in site.tasks})
    assert (controller.folder / CANCELLED).exists()
    assert slurm.cancel(store) == 0


def test_what_was_just_being_submitted_is_cancelled_with_a_second_look(
    site, store, monkeypatch, cancelling
):
    control(a_plan(), store)[0].step()
    lines = list(site.lines.items())
    site.lines, looks = dict(lines[:1]), iter([{}, dict(lines[1:])])
    cancel = lambda ids: site.cancel(ids) or site.lines.update(next(looks, {}))  # noqa: E731
    monkeypatch.setattr(squeue, "cancel", cancel)
    assert slurm.cancel(store) == len(site.tasks)


def test_tasks_that_stay_in_the_queue_are_no_success(alone, store, monkeypatch, cancelling):
    monkeypatch.setattr(squeue, "cancel", lambda ids: "Access denied")
    with pytest.raises(BenchError, match=r"1 tasks are still in SLURM's queue \(Access denied\)"):
        slurm.cancel(store)


# What tasks tell


def test_a_failed_pretraining_ends_its_own_cells_only_and_a_refused_one_waits_for_the_reason(
    site, store, prepared
):
    controller, heard, plan = prepared(2, 1)
    controller.step()
    bad, good = of(plan, "pretrain")
    (cell,) = (pack for pack in site.packs() if bad in plan.jobs[pack[0]].needs)
    for job in cell:
        tell(controller, job, "refused", "needs it")
    site.leave(site.id_of(cell[0]), "COMPLETED")
    for _ in range(3):
        assert controller.step() and heard == []
    tell(controller, bad, "failed", "loss is not finite")
    assert controller.step()
    failed = {o.job: o.reason for o in heard if o.state == "failed"}
    assert set(failed) == {bad, *cell}
    assert all("loss is not finite" in reason for reason in failed.values())
    publish(store, *[j for j in controller.jobs if j not in failed])
    assert not controller.step()
    assert controller.outcomes[good].state == "done"


def test_a_cell_that_started_too_early_is_submitted_again(site, store):
    plan = a_plan(pretrains=0, seeds=1)
    controller, _ = control(plan, store)
    controller.step()
    told = tell(controller, of(plan, "finetune")[0], "refused", "needs x, which is not done")
    controller.step()
    assert len(site.arrays) == 2
    publish(store, *of(plan, "prepare"))
    controller.step()
    assert len(site.arrays) == 3
    assert not told.exists()


def test_what_saved_itself_and_could_not_requeue_is_submitted_again_when_its_task_has_gone(
    site, prepared
):
    controller, heard, plan = prepared(1, 0, requeues=5)
    (job,) = of(plan, "pretrain")
    for submitted in range(1, 7):
        controller.step()
        assert len(site.arrays) == submitted
        tell(controller, job, "stopped", "no scontrol")
        controller.step()
        assert len(site.arrays) == submitted  # the task may still be ending
        site.leave(site.id_of(job))
    assert heard == []
    controller.step()
    assert "saved its state 5 times (no scontrol)" in heard[0].reason


# What got lost


def test_a_lost_task_fails_with_slurms_reason_and_leaves_it_on_disk(site, store):
    plan = a_plan(pretrains=0, seeds=1)
    controller, heard = control(plan, store)
    controller.step()
    prepare = of(plan, "prepare")[0]
    store.release(store.claim(prepare))
    site.leave(site.id_of(prepare), "OUT_OF_MEMORY")
    while controller.step():
        pass
    assert "out of memory; raise 'mem_gb'" in store.failure(prepare)["reason"]
    assert store.failure(prepare)["log"].endswith("_0_log.err")
    assert [o.state for o in heard] == ["failed"] * 3


@pytest.mark.parametrize(("state", "failed"), [("OUT_OF_MEMORY", 2), ("CANCELLED", 6)])
def test_the_rest_of_a_lost_pack_gets_its_turn_unless_it_was_cancelled(
    site, store, prepared, state, failed
):
    controller, heard, _ = prepared(0, 3, pack=3)
    controller.step()
    (pack,) = site.packs()
    store.release(store.claim(pack[0]))
    site.leave(site.id_of(pack[0]), state)
    controller.step()
    controller.step()
    assert {o.job for o in heard} == set(pack[:failed])  # the fine-tuning, and the evaluation of it
    assert site.packs()[1:] == ([pack[failed:]] if pack[failed:] else [])


@pytest.mark.parametrize("state", ["PREEMPTED", "NODE_FAIL", "FAILED"])
def test_what_the_cluster_lost_or_warned_before_it_listened_is_submitted_again_a_few_times(
    site, alone, state
):
    controller, heard, job = alone
    while job in controller.tasks:
        if state == "FAILED":
            controller.tasks[job].log.write_text("srun: error: n1: task 0: User defined signal 2\n")
        site.end(state)
        controller.step()
    assert len(site.arrays) == RETRIES
    assert state in heard[0].reason


def test_scores_that_a_killed_task_owes_are_asked_for_again(site, store):
    plan = a_plan(pretrains=0, seeds=1)
    (scored,) = of(plan, "evaluate")
    plan.scoring[scored] = [scoring_by("dice")]
    controller, heard = control(plan, store)
    started = []
    controller.on_start = lambda job: started.append(job) or RunOptions()
    controller.step()
    publish(store, *plan.jobs)
    site.end("CANCELLED")
    controller.step()
    controller.step()
    assert site.packs()[2:] == [(scored,)]
    assert started.count(scored) == 2
    assert scored not in {o.job for o in heard}


def test_a_requeued_task_is_not_taken_for_finished(site, alone):
    controller, heard, _ = alone
    for state in ("NODE_FAIL", "REQUEUED", "PREEMPTED", "PENDING"):
        site.tell(state, "BeginTime")
        assert controller.step()
    assert heard == []


def test_a_task_that_slurm_will_never_start_is_cancelled_and_named(site, alone):
    controller, heard, _ = alone
    site.tell("PENDING", "PartitionTimeLimit")
    controller.step()
    assert "will not start it: PartitionTimeLimit" in heard[0].reason
    assert site.lines == {}


@pytest.mark.parametrize("state", ["PENDING", "RUNNING", "SUSPENDED"])
def test_a_living_state_of_what_left_the_queue_is_waited_for_then_submitted_again_a_few_times(
    site, alone, state, monkeypatch
):
    controller, heard, _ = alone
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    controller.grace = 10.0
    for submitted in range(1, RETRIES + 1):
        site.end(state)  # what a database that lags behind says, or that missed the end
        for wait in (0, 50, 50):
            clock[0] += wait
            assert controller.step() and heard == []
            assert len(site.arrays) == submitted
        clock[0] += 1
        assert controller.step() is (submitted < RETRIES)
    assert f"({state})" in heard[0].reason


def test_a_task_that_slurm_has_ended_is_not_waited_for_though_its_heartbeat_is_fresh(
    site, store, alone, monkeypatch
):
    controller, heard, job = alone
    number, _, index = site.id_of(job).partition("_")
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", number)
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", index)
    assert store.claim(job) is not None
    site.leave(site.id_of(job), "NODE_FAIL")
    assert controller.step() and heard == []  # the orphan may still publish
    site.ended[site.id_of(job)] = "FAILED"
    controller.tasks[job].log.write_text("noise\nslurmstepd: error: Exceeded job memory limit\n")
    assert not controller.step()
    assert "out of memory; raise 'mem_gb'" in heard[0].reason
