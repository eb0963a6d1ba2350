"""A cluster in memory, plans for it, and what a task would leave on disk."""

import json
import shutil
from pathlib import Path

from by_hand import a_job

from bench.executors.slurm import controller as following
from bench.executors.slurm import squeue, task
from bench.executors.slurm.profile import Profile
from bench.plan import Plan


def a_plan(pretrains=1, seeds=2):
    """One preparation; cells from scratch and on each pretraining, one per seed."""
    plan = Plan()
    prepare = plan.add(a_job("prepare"))
    bases = [None, *(plan.add(a_job("pretrain", {"seed": m}, (prepare,))) for m in range(pretrains))]
    tuned = [
        plan.add(a_job("finetune", {"seed": s}, (prepare,) + ((b,) if b else ())))
        for b in bases for s in range(seeds)
    ]  # fmt: skip
    for one in tuned:
        plan.add(a_job("evaluate", {}, (one, prepare)))
    return plan


def of(plan, kind):
    return [id for id, job in plan.jobs.items() if job.kind == kind]


class Site:
    """A cluster in memory: what was submitted, and what is listed as ``states`` says."""

    def __init__(self):
        self.arrays, self.tasks, self.lines, self.ended = [], {}, {}, {}
        self.asked, self.brought = 0, {}

    def submit(self, folder, parameters, calls, python):
        number = 10 * (len(self.arrays) + 1)
        self.arrays.append((parameters, [tuple(call[1]) for call in calls]))
        ids = [f"{number}_{i}" for i in range(len(calls))]
        for index, (id, call) in enumerate(zip(ids, calls, strict=True)):
            key = parameters["job_name"], index
            self.tasks[id] = (key, tuple(call[1]), Path(call[2]))
            self.brought[id] = call[1]
            self.lines[key] = squeue.Line(id, *key, "RUNNING", "None")
        return ids

    def listed(self, names, tries=1):
        self.asked += 1
        return {key: line for key, line in self.lines.items() if key[0] in names}

    def leave(self, id, state=""):
        del self.lines[self.tasks[id][0]]
        self.ended[id] = state

    def states(self, ids):
        return {i: self.ended[i] for i in ids if self.ended[i]}

    def id_of(self, job):
        return next(i for i, (_, pack, _) in reversed(self.tasks.items()) if job in pack)


def control(plan, store, **given):
    heard = []
    jobs = [job for job in plan.jobs if not store.done(job)]
    for job in jobs:
        store.write_spec(job, {"job": plan.jobs[job].plain()})
    made = following.Controller(plan, store, jobs, Profile(**given), heard.append, grace=0.0)
    made.attach()
    return made, heard


def tell(controller, outcome):
    """Leave an outcome as a task of this run would."""
    task.Task(controller.store, controller.folder, task.Asked(), 1).tell(outcome)
    return task.outcome_file(controller.folder, outcome.job)


def publish(store, *jobs):
    for job in jobs:
        (store.jobs / job).mkdir(parents=True)
        (store.jobs / job / "manifest.json").write_text(json.dumps({"seconds": 1.5}))
        shutil.rmtree(store.work / job, ignore_errors=True)
