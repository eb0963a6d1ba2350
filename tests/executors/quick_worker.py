"""A stand-in for a worker of bench.executors.local, which starts in half a second: no torch, no pytest."""

import os
import signal
import time
from pathlib import Path

from bench.runtime.memory import TUNABLES
from bench.store import Store, write_atomic
from bench.workers import received


def die(store, job, do, claim):
    """End this process in the middle of a job, where its description says so."""
    if do == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if do == "exit":
        os._exit(3)
    if do == "repeat" or (do == "advance" and claim.number < 6):
        step = claim.number if do == "advance" else 7
        write_atomic(store.work / job / f"step-{step:09d}-{claim.number}.pt", "")
        os._exit(0)


def serve(pipe, parent, out, number):
    """Do what the job's description says, or is asked to score."""
    store = Store(Path(out))
    trap = store.root / "die-while-starting"
    if trap.exists():
        trap.unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    while (task := received(pipe)) is not None:
        job, options = task
        do = "score" if options.scoring else store.spec(job)["job"]["spec"]["do"]
        claim = None if store.done(job) else store.claim(job)
        die(store, job, do, claim)
        if do == "leave":
            return
        time.sleep({"hang": 600, "score": 0.2}.get(do, 0))
        if claim is not None:
            facts = {"pid": os.getpid(), "pages": os.environ.get(TUNABLES, "")}
            with store.attempt(claim) as made:
                store.publish(claim, made, facts)
        if do == "die at score":  # for want of memory
            os.kill(os.getpid(), signal.SIGKILL)
        if store.done(job):
            for word in options.scoring:
                (store.jobs / job / word).touch()
        from bench.runtime.execute import Outcome

        pipe.send(Outcome(job, "done" if store.done(job) else "busy"))
