"""A cluster in memory, plans for it, and what a task would leave on disk."""

import json
import shutil

from by_hand import a_job

from bench.executors.slurm import sbatch, squeue, task
from bench.executors.slurm.controller import Controller
from bench.executors.slurm.profile import Profile
from bench.plan import Plan


def a_plan(pretrains=1, seeds=2):
    """One preparation; cells from scratch and on each pretraining, one per seed."""
    plan = Plan()
    prepare = plan.add(a_job("prepare"))
    bases = [
        (),
        *((plan.add(a_job("pretrain", {"seed": m}, (prepare,))),) for m in range(pretrains)),
    ]
    tuned = [
        plan.add(a_job("finetune", {"seed": s}, (prepare, *b))) for b in bases for s in range(seeds)
    ]
    for one in tuned:
        plan.add(a_job("evaluate", {}, (one, prepare)))
    return plan


def of(plan, kind):
    return [id for id, job in plan.jobs.items() if job.kind == kind]


class Site:
    """A cluster in memory: what was submitted, and what is listed until it leaves."""

    def __init__(self):
        self.arrays, self.tasks, self.lines, self.ended, self.asked = [], {}, {}, {}, 0
        self.refuse = self.then = lambda calls: None  # called before sbatch takes tasks, and after

    def installed(self, monkeypatch):
        """Stand in for SLURM from now on."""
        monkeypatch.setattr(sbatch, "submit", self.submit)
        for name in ("listed", "states", "cancel", "config"):
            monkeypatch.setattr(squeue, name, getattr(self, name))
        return self

    def config(self):
        return {}

    def submit(self, folder, parameters, calls, python):
        self.refuse(calls)
        number = 10 * (len(self.arrays) + 1)
        self.arrays.append((parameters, [tuple(call[1]) for call in calls]))
        ids = [f"{number}_{i}" for i in range(len(calls))]
        for index, (id, call) in enumerate(zip(ids, calls, strict=True)):
            key = parameters["job_name"], index
            self.tasks[id] = key, call[1]
            self.lines[key] = squeue.Line(id, *key, "RUNNING", "None")
        self.then(calls)
        return ids

    def listed(self, names, tries=1):
        self.asked += 1
        return {key: line for key, line in self.lines.items() if key[0] in names}

    def tell(self, state, reason):
        """Say something else of the only task."""
        ((key, line),) = self.lines.items()
        self.lines[key] = squeue.Line(line.id, *key, state, reason)

    def leave(self, id, state=""):
        del self.lines[self.tasks[id][0]]
        self.ended[id] = state

    def end(self, state):
        """Let every task leave the queue."""
        for line in list(self.lines.values()):
            self.leave(line.id, state)

    def cancel(self, ids):
        wanted = set(ids)
        for line in list(self.lines.values()):
            if wanted & {line.id, line.id.split("_")[0]}:
                self.leave(line.id)

    def states(self, ids):
        return {i: self.ended[i] for i in ids if self.ended[i]}

    def unmet(self, plan, done):
        """Return (job, need) where a submitted job could start before its need has ended."""
        tasks, unmet = {}, []  # job -> id of its task
        for number, (given, packs) in enumerate(self.arrays, 1):
            waits = set(given.get("dependency", "").removeprefix("afterany:").split(":"))
            ended = {*done, *(job for job, task in tasks.items() if task in waits)}
            for index, pack in enumerate(packs):
                unmet += [
                    (job, need)
                    for place, job in enumerate(pack)
                    for need in plan.before(job)
                    if need not in ended and need not in pack[:place]
                ]
                tasks |= dict.fromkeys(pack, f"{10 * number}_{index}")
        return unmet

    def packs(self):
        return [pack for _, packs in self.arrays for pack in packs]

    def id_of(self, job):
        return next(i for i, (_, pack) in reversed(self.tasks.items()) if job in pack)


def control(plan, store, **given):
    """Return a controller that has begun, and what it will have told."""
    heard = []
    jobs = [job for job in plan.jobs if not store.done(job)]
    for job in jobs:
        store.write_spec(job, {"job": plan.jobs[job].plain()})
    made = Controller(plan, store, jobs, Profile(**given), heard.append, grace=0.0)
    made.attach()
    return made, heard


def publish(store, *jobs):
    for job in jobs:
        (store.jobs / job).mkdir(parents=True)
        (store.jobs / job / "manifest.json").write_text(json.dumps({"seconds": 1.5}))
        shutil.rmtree(store.work / job, ignore_errors=True)


def tell(controller, job, state, reason):
    """Leave an outcome as a task of this run would."""
    task.tell(controller.folder, task.Outcome(job, state, reason))
    return task.outcome_file(controller.folder, job)
