"""The controller, on a cluster in memory; tests/slurm has a real one."""

import json
import time
from itertools import pairwise

import pytest
from by_hand import a_job
from in_memory import a_plan, control, of, publish, tell

from bench import run
from bench.errors import BenchError
from bench.executors import slurm
from bench.executors.slurm import controller as following
from bench.executors.slurm import postmortem, squeue, submission
from bench.executors.slurm.tidy import tidy
from bench.jobs.context import RunOptions
from bench.jobs.scoring import path
from bench.plan import Plan
from bench.runtime.execute import Outcome
from bench.show.status import as_text, status
from bench.store import Store


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


def test_a_pretraining_is_submitted_behind_its_guards_and_refused_only_by_all(site, store):
    plan = Plan()
    prepare = plan.add(a_job("prepare"))
    guards = [plan.add(a_job("guard", {"seed": n}, (prepare,))) for n in range(2)]
    pretrain = plan.add(a_job("pretrain", {}, (prepare,)))
    for guard in guards:
        plan.wait(pretrain, guard)
    controller, _ = control(plan, store)
    controller.step()
    waits = {packs[0][0]: given.get("dependency") for given, packs in site.arrays}
    assert {site.id_of(g) for g in guards} <= set(waits[pretrain].split(":"))
    publish(store, prepare)
    tell(controller, Outcome(guards[0], "failed", "leak: 1 case"))
    controller.step()
    assert pretrain not in controller.outcomes
    tell(controller, Outcome(guards[1], "failed", "leak: 2 cases"))
    controller.step()
    assert controller.outcomes[pretrain].state == "failed"
    assert "leak: 1 case" in controller.outcomes[pretrain].reason


def test_results_end_the_run_and_its_folder_is_removed(site, store):
    plan = a_plan()
    controller, heard = control(plan, store)
    controller.step()
    assert (controller.folder / "submitted.json").exists()
    publish(store, *plan.jobs)
    assert not controller.step()
    site.lines.clear()
    tidy(store)
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


def test_a_second_run_has_scored_what_the_first_ones_task_did_not_score_for_it(site, store):
    metrics, runs = ("dice", "hd95"), []
    for metric in metrics:
        plan = a_plan(pretrains=0, seeds=1)
        (scored,) = of(plan, "evaluate")
        plan.scoring[scored] = [{"metrics": [metric]}]
        made, heard = control(plan, store)
        made.on_start = lambda job, plan=plan: run.options(plan, job)
        made.step()
        runs.append((made, heard, plan))
    (first, _, plan), (second, heard, theirs) = runs
    assert [
        tuple(site.brought[i][j].scoring) for i in site.tasks for j in site.brought[i] if j == scored
    ] == [({"metrics": ["dice"]},)]
    publish(store, *plan.jobs)
    path(store, scored, plan.scoring[scored][0]).touch()
    assert not first.step()
    site.lines.clear()
    site.ended = dict.fromkeys(site.tasks, "COMPLETED")
    second.step()
    second.step()
    (task_id,) = [i for i, pack in site.brought.items() if list(pack) == [scored]]
    assert site.brought[task_id][scored].scoring == [{"metrics": ["hd95"]}]
    path(store, scored, theirs.scoring[scored][0]).touch()
    assert not second.step()
    assert {o.job: o.state for o in heard} == dict.fromkeys(plan.jobs, "done")


def test_a_run_killed_inside_sbatch_is_found_again_by_name(site, store, monkeypatch):
    plan = a_plan(pretrains=0, seeds=1)
    first, _ = control(plan, store)

    def killed(*given):
        site.submit(*given)
        raise KeyboardInterrupt

    monkeypatch.setattr(following, "submit", killed)
    with pytest.raises(KeyboardInterrupt):
        first.step()
    monkeypatch.setattr(following, "submit", site.submit)
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
    tell(controller, Outcome(bad, "failed", "loss is not finite"))
    cells = {j for j in plan.jobs if bad in plan.jobs[j].needs}
    cells |= {j for j in plan.jobs if cells & set(plan.jobs[j].needs)}
    refused = next(iter(cells))
    tell(controller, Outcome(refused, "refused", "too early"))
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
    path = tell(controller, Outcome(tuned, "refused", "needs x, which is not done"))
    controller.step()
    assert len(site.arrays) == 2
    publish(store, of(plan, "prepare")[0])
    controller.step()
    assert len(site.arrays) == 3
    assert not path.exists()


def test_what_saved_itself_and_could_not_requeue_is_submitted_again_when_its_task_has_gone(site, store):
    plan = a_plan(pretrains=1, seeds=0)
    publish(store, *of(plan, "prepare"))
    controller, heard = control(plan, store, requeues=5)
    (job,) = of(plan, "pretrain")
    for submitted in range(1, 7):
        controller.step()
        assert len(site.arrays) == submitted
        tell(controller, Outcome(job, "stopped", "no scontrol"))
        controller.step()
        assert len(site.arrays) == submitted  # the task may still be ending
        site.leave(site.id_of(job))
    assert heard == []
    controller.step()
    assert "saved itself 5 times (no scontrol)" in heard[0].reason


def test_a_run_that_is_taken_back_ends_and_submits_nothing_more(site, store):
    controller, heard = control(a_plan(), store)
    controller.step()
    before = len(site.arrays)
    (controller.folder / submission.CANCELLED).touch()
    assert not controller.step()
    assert len(site.arrays) == before
    assert {o.reason for o in heard} == {"taken back by 'bench cancel'"}


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
    assert len(site.arrays) == postmortem.RETRIES
    assert state in heard[0].reason


def test_scores_that_a_killed_task_owes_are_asked_for_again(site, store):
    plan = a_plan(pretrains=0, seeds=1)
    scored = of(plan, "evaluate")[0]
    plan.scoring[scored] = [{"metrics": ["dice"]}]
    controller, heard = control(plan, store)
    started = []
    controller.on_start = lambda job: started.append(job) or RunOptions()
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

    monkeypatch.setattr(following, "submit", one)
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


def test_a_pretraining_takes_all_its_processes_and_a_cell_one(site, store):
    controller, _ = control(a_plan(), store, nodes=2, processes=4, gpus=1, mem_gb=2.0)
    controller.step()
    asked = {packs[0][0]: given for given, packs in site.arrays}
    one, many = asked[of(controller.plan, "finetune")[0]], asked[of(controller.plan, "pretrain")[0]]
    assert (many["nodes"], many["ntasks_per_node"], many["gpus_per_node"]) == (2, 4, 4)
    assert (many["mem"], one["mem"]) == ("8192MB", "2048MB")
    assert many["srun_args"][-2:] == ["--wait", "60"]
    assert one["nodes"] == 1 and "ntasks_per_node" not in one and one["gpus_per_node"] == 1


def test_status_says_what_slurm_does_with_waiting_jobs(site, store, fakes):
    plan = a_plan(pretrains=0, seeds=1)
    controller, _ = control(plan, store)
    controller.step()
    key = next(iter(site.lines))
    site.lines[key] = squeue.Line("10_0", *key, "PENDING", "Priority")
    found = status(store)
    told = {entry["job"]: entry for entry in found["waiting"]}[of(plan, "prepare")[0]]
    assert (told["task"], told["slurm"], told["pending"]) == ("10_0", "PENDING", "Priority")
    assert "waiting: 1 jobs in SLURM, PENDING (Priority)" in as_text(found)


def test_an_attached_run_is_taken_back_with_what_it_attached_to(site, store):
    plan = a_plan(pretrains=0, seeds=1)
    first, _ = control(plan, store)
    first.step()
    second, heard = control(plan, store)
    before = len(site.arrays)
    (first.folder / submission.CANCELLED).touch()
    site.lines.clear()
    assert not second.step()
    assert len(site.arrays) == before
    assert {o.state for o in heard} == {"failed"}
    third, _ = control(plan, store)  # a run that is started after that begins anew
    assert third.step()
    assert len(site.arrays) == 2 * before


def test_a_run_taken_back_between_two_arrays_submits_no_more_and_cancels_its_own(site, store, monkeypatch):
    controller, _ = control(a_plan(pretrains=2), store)

    def submit(*given):
        ids = site.submit(*given)
        (controller.folder / submission.CANCELLED).touch()
        return ids

    monkeypatch.setattr(following, "submit", submit)
    controller.step()
    assert len(site.arrays) == 1
    assert not controller.step()
    assert site.lines == {}


def test_two_runs_of_which_one_submits_while_the_other_waits_submit_each_job_once(site, store, monkeypatch):
    plan = a_plan(pretrains=0, seeds=4)
    both = [control(plan, store, max_array_size=1)[0] for _ in range(2)]
    room = [2]

    def submit(*given):
        if not room[0]:
            raise submission.FullError("sbatch: full")
        room[0] -= 1
        return site.submit(*given)

    monkeypatch.setattr(following, "submit", submit)
    for _ in range(8):
        for controller in both:
            room[0] = 1
            controller.step()
    packs = [pack for _, packs in site.arrays for pack in packs]
    assert len(packs) == len(set(packs)) == 5


def test_an_array_that_is_too_large_for_the_queue_is_halved_until_it_fits(site, store, monkeypatch):
    plan = a_plan(pretrains=0, seeds=12)
    publish(store, *of(plan, "prepare"))
    controller, _ = control(plan, store)

    def submit(folder, parameters, calls, python):
        if len(calls) > 3:
            raise submission.FullError("sbatch: AssocMaxSubmitJobLimit")
        return site.submit(folder, parameters, calls, python)

    monkeypatch.setattr(following, "submit", submit)
    for _ in range(12):
        controller.step()
    assert controller.profile.max_array_size == 3  # 1000, 500, ... 7, 3
    assert sorted(j for _, packs in site.arrays for p in packs for j in p) == sorted(controller.jobs)
    told = json.loads((controller.folder / "submitted.json").read_text())["arrays"]
    assert all(entry["array"] for entry in told)


def test_an_answer_that_got_lost_is_looked_for_before_anything_is_submitted_again(site, store, monkeypatch):
    controller, _ = control(a_plan(pretrains=0, seeds=0), store)

    def submit(*given):
        site.submit(*given)
        raise submission.LaterError("sbatch: Socket timed out")

    monkeypatch.setattr(following, "submit", submit)
    controller.step()
    monkeypatch.setattr(following, "submit", site.submit)
    controller.step()
    assert len(site.arrays) == 1
    assert controller.tasks


def test_what_a_task_refused_waits_for_its_need_and_fails_with_the_needs_reason(site, store):
    plan = a_plan(pretrains=1, seeds=1)
    publish(store, *of(plan, "prepare"))
    controller, heard = control(plan, store)
    controller.step()
    (bad,) = of(plan, "pretrain")
    tuned = next(j for j in of(plan, "finetune") if bad in plan.jobs[j].needs)
    tell(controller, Outcome(tuned, "refused", "needs it"))
    site.leave(site.id_of(tuned), "COMPLETED")
    for _ in range(3):
        controller.step()
    assert tuned not in {o.job for o in heard}
    tell(controller, Outcome(bad, "failed", "loss is not finite"))
    controller.step()
    assert "loss is not finite" in {o.job: o.reason for o in heard}[tuned]


def test_cancelling_a_pack_fails_all_of_it(site, store):
    plan = a_plan(pretrains=0, seeds=3)
    publish(store, *of(plan, "prepare"))
    controller, heard = control(plan, store, pack=3)
    controller.step()
    (pack,) = site.arrays[0][1]
    store.release(store.claim(pack[0]))
    site.leave(site.id_of(pack[0]), "CANCELLED")
    assert not controller.step()
    assert {o.job for o in heard} == set(pack)
    assert len(site.arrays) == 1


def test_a_state_that_is_not_final_is_waited_for_but_not_for_ever(site, store):
    controller, heard = control(a_plan(pretrains=0, seeds=0), store)
    controller.grace = 0.05
    controller.step()
    (job,) = controller.jobs
    site.leave(site.id_of(job), "RUNNING")  # what a database that lags behind says
    controller.step()
    time.sleep(0.1)
    assert controller.step() and heard == []
    time.sleep(0.6)
    assert not controller.step()
    assert "(RUNNING)" in heard[0].reason


def test_a_task_that_slurm_has_ended_is_not_waited_for_though_its_heartbeat_is_fresh(
    site, store, monkeypatch
):
    controller, heard = control(a_plan(pretrains=0, seeds=0), store)
    controller.step()
    (job,) = controller.jobs
    number, _, index = site.id_of(job).partition("_")
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", number)
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", index)
    assert store.claim(job) is not None
    site.leave(site.id_of(job), "NODE_FAIL")
    assert controller.step() and heard == []  # the orphan may still publish
    site.ended[site.id_of(job)] = "FAILED"
    sent = controller.tasks[job]
    sent.log.write_text("noise\nslurmstepd: error: Exceeded job memory limit\n")
    assert not controller.step()
    assert "out of memory; raise 'mem_gb'" in heard[0].reason


@pytest.mark.parametrize("fault", ["PREEMPTED", "words"])
def test_what_was_warned_before_it_listened_is_submitted_again(site, store, fault):
    controller, heard = control(a_plan(pretrains=0, seeds=0), store)
    controller.step()
    (job,) = controller.jobs
    if fault == "words":
        controller.tasks[job].log.write_text("srun: error: n1: task 0: User defined signal 2\n")
    site.leave(site.id_of(job), "FAILED" if fault == "words" else fault)
    assert controller.step()
    assert (len(site.arrays), heard) == (2, [])


def test_a_need_that_was_taken_away_ends_what_stands_on_it_unless_somebody_makes_it_anew(site, store):
    plan = a_plan()
    (prepare,) = of(plan, "prepare")
    publish(store, prepare)
    controller, _ = control(plan, store)
    controller.step()
    store.take_back(prepare, "its source files changed")  # by another command, or as damaged
    claim = store.claim(prepare)
    assert controller.step() and not controller.outcomes
    store.release(claim)
    controller.step()
    ended = {j: o for j, o in controller.outcomes.items() if prepare in plan.jobs[j].needs}
    assert ended and all(o.state == "failed" and "not done any more" in o.reason for o in ended.values())
