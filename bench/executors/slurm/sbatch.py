"""How tasks are submitted: sbatch's options, submitit's call, and what earlier runs have submitted."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.executors.slurm import squeue
from bench.executors.slurm.arrays import Unit
from bench.executors.slurm.profile import Profile, Shape
from bench.executors.slurm.task import work
from bench.process import environment
from bench.runtime.memory import fitting_pages
from bench.store import read_json, write_atomic

WAIT = 60  # seconds that the other processes of a task get when one has ended
CANCELLED = "cancelled"  # file in a run's folder: somebody took the run back
WORDS = 4000  # bytes from the end of a task's log
LATER = (
    "unable to contact",
    "unknown host",
    "socket timed out",
    "temporarily unable",
    "connection refused",
    "try again",
)
INSIDE = ("SLURMD_", "SRUN_", "SUBMITIT_")  # beginnings of variables that a job's processes inherit

# SBATCH_<NAME> wins over a batch script's own lines. What every script states ...
STATED = {
    "ARRAY_INX",
    "ERROR",
    "INPUT",
    "JOB_NAME",
    "OPEN_MODE",
    "OUTPUT",
    "REQUEUE",
    "NO_REQUEUE",
    "SIGNAL",
}
# ... what the profile alone decides ...
STATED |= {
    "CPUS_PER_GPU",
    "GPUS",
    "GPUS_PER_NODE",
    "GPUS_PER_SOCKET",
    "GPUS_PER_TASK",
    "GRES",
    "TIMELIMIT",
}
# ... and what bench relies on: one cluster, its own environment, an answer at once.
STATED |= {"CLUSTERS", "EXPORT", "EXPORT_FILE", "WAIT", "DEBUG"}
MEMORY = {"MEM_PER_CPU", "MEM_PER_GPU", "MEM_PER_NODE"}  # each is refused beside 'mem'


class FullError(BenchError):
    """The site does not let this person queue that many tasks at once; a shorter array may fit."""


class LaterError(BenchError):
    """SLURM did not answer in time; it may have taken the tasks all the same."""


@dataclass(eq=False)
class Task:
    """A pack of jobs that was submitted, or was about to be."""

    name: str  # of its array, unique in the world
    index: int
    folder: Path  # of the run that submitted it
    pack: Unit
    id: str = ""  # as SLURM names it, once that is known
    claims: dict[str, int] = field(default_factory=dict)  # that its jobs had when it was submitted
    missing: float | None = None  # since when the queue does not list it

    @property
    def key(self) -> tuple[str, int]:
        """Return by what ``squeue`` lists it."""
        return self.name, self.index

    @property
    def log(self) -> Path:
        """Return where its first process writes errors."""
        return self.folder / f"{self.id}_0_log.err"

    def last_words(self) -> str:
        """Return the end of its log."""
        try:
            return self.log.read_bytes()[-WORDS:].decode(errors="replace").strip()
        except OSError:
            return ""


def options(profile: Profile, shape: Shape, name: str, after: tuple[str, ...]) -> dict[str, Any]:
    """Return the parameters of submitit's ``SlurmExecutor`` for an array of tasks of one shape.

    ``name`` is the array's job name, by which it is found again; ``after`` are the SLURM ids of the tasks that
    must have ended, well or not.
    """
    processes, memory = shape.processes, profile.mem_gb
    megabytes = None if memory is None else max(1, round(memory * 1024)) * processes
    stated = {
        "partition": profile.partition if shape.gpu else profile.cpu_partition or profile.partition,
        "account": profile.account,
        "qos": profile.qos,
        "constraint": profile.constraint,
        "gres": profile.gres,
        "gpus_per_node": profile.gpus * processes or None,
        "ntasks_per_node": processes if processes > 1 else None,
        "mem": None if megabytes is None else f"{megabytes}MB",
        "setup": list(profile.setup) or None,
        # A task that needs another's result looks for the result itself: afterok would leave it
        # pending for ever where the other failed.
        "dependency": "afterany:" + ":".join(after) if after else None,
    }
    given = {name: value for name, value in stated.items() if value is not None}
    passed = _fitting(given | profile.slurm, shape)
    more = _fitting(passed.pop("additional_parameters", {}), shape)
    # SLURM takes one of them
    cpus = None if "cpus_per_gpu" in passed else profile.cpus or shape.cpus
    counted = [] if cpus is None else ["--cpus-per-task", str(cpus)]
    # Where one process of several dies the others would wait for it: they get the time to say why.
    together = ["--wait", str(WAIT)] if shape.nodes * processes > 1 else []
    fixed = {
        "job_name": name,
        "nodes": shape.nodes,
        "cpus_per_task": cpus,
        "signal_delay_s": profile.signal,
        "array_parallelism": profile.array_parallelism,
        "time": profile.minutes,  # None must be said: submitit's own default is five minutes
        "wckey": None,  # submitit's own would be refused where keys are tracked
        # Since SLURM 22.05 a step no longer inherits the job's --cpus-per-task.
        "srun_args": [*counted, *together, *passed.pop("srun_args", ())],
        # Sites with JobRequeue=0 would else lose the task when its node fails.
        "additional_parameters": {**more, "requeue": True},
    }
    return {**fixed, **passed}


def _fitting(parameters: dict[str, Any], shape: Shape) -> dict[str, Any]:
    """Return parameters without those that concern tasks with a GPU alone, where the shape has none."""
    devices = {name for name in parameters if "gpu" in name or name in ("constraint", "gres")}
    left_out = set() if shape.gpu else devices
    return {name: value for name, value in parameters.items() if name not in left_out}


def python(profile: Profile, folders: Sequence[Path]) -> str | None:
    """Return the shell command that starts Python on a node; None for the one that runs this.

    Args:
        profile: the cluster's.
        folders: what a container must see under the same path.

    Raises:
        BenchError: a folder's name cannot be said to the container.
    """
    if profile.image is None:
        return profile.python
    for folder in folders:
        if set(":,") & set(str(folder)):
            why = "apptainer cannot mount a path with ':' or ','; name another folder"
            raise BenchError(f"{folder}: {why}")
    binds = [word for folder in sorted(set(folders)) for word in ("--bind", str(folder))]
    devices = ["--nv"] if profile.asks_for_gpus else []
    inside = profile.python or "python3"
    return f"{shlex.join(['apptainer', 'exec', *devices, *binds, profile.image])} {inside}"


def submit(
    folder: Path,
    parameters: dict[str, Any],
    calls: list[tuple[Any, ...]],
    python: str | None,
    function: Callable[..., None] = work,
) -> list[str]:
    """Submit one array of calls of ``function`` and return the tasks' ids.

    Raises:
        BenchError: sbatch refused; says why in its own words. ``FullError``, ``LaterError``: for now.
    """
    import submitit

    executor = submitit.SlurmExecutor(folder=folder, python=python)
    executor.update_parameters(**parameters)
    dropped = dict.fromkeys(_dropped(parameters))
    try:
        # submitit prints what it then raises.
        with contextlib.redirect_stderr(io.StringIO()), environment(dropped), fitting_pages():
            jobs = executor.map_array(function, *zip(*calls, strict=True))
    except (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError) as error:
        for left in (*folder.glob(f"{'?' * 32}.pkl"), *folder.glob(".submission_file_*")):
            left.unlink(missing_ok=True)  # one per task; a full queue is tried again and again
        raise _refusal(str(error), len(calls)) from None
    return [job.job_id for job in jobs]


def _refusal(message: str, tasks: int) -> BenchError:
    lines = [line.strip() for line in message.splitlines() if line.strip()] or ["no reason given"]
    # SLURM names a limit in a line of its own, before the one that says what comes of it.
    errors = [line for line in lines if line.startswith("sbatch: error: ")] or lines[-1:]
    words = (line.removeprefix("sbatch: ").removeprefix("error: ") for line in errors)
    queue = "tasks that are in the queue already stay there"
    kind, advice = BenchError, f"correct [cluster.NAME] in bench.toml and run again, {queue}"
    if any(sign in message.lower() for sign in LATER):
        kind, advice = LaterError, "run the same command again when SLURM answers"
    # The site's limits on queued tasks: AssocMaxSubmitJobLimit, QOSGrpSubmitJobsLimit and the like.
    elif "SubmitJob" in message:
        limit = "your account or QOS has a limit on queued tasks (MaxSubmitJobs)"
        kind, advice = FullError, f"{limit}, run the same command again when other tasks have ended"
    elif "job array specification" in message:
        limit = "the site allows only shorter arrays (MaxArraySize)"
        kind, advice = FullError, f"{limit}, lower 'max_array_size' of [cluster.NAME] in bench.toml"
    return kind(f"sbatch: {'; '.join(dict.fromkeys(words))} ({tasks} tasks); {advice}")


def _dropped(parameters: dict[str, Any]) -> list[str]:
    """Return the variables without which sbatch submits as if not inside a job, and as the profile says.

    sbatch hands its environment to the tasks, so that a job's own variables would pass for theirs;
    and its ``SBATCH_`` variables win over the options in a batch script.
    """
    names = {*parameters, *parameters.get("additional_parameters", ())}
    stated = STATED | {name.replace("-", "_").upper() for name in names}
    if any(name.startswith("mem") for name in names):
        stated |= MEMORY
    overruling = {f"SBATCH_{name}" for name in stated}
    return [
        n for n in os.environ if n.startswith(INSIDE) or not squeue.inherited(n) or n in overruling
    ]


def remember(folder: Path, arrays: list[dict[str, Any]]) -> None:
    """Leave what a run submits, or is about to: per array ``name``, SLURM's id or none, and packs of jobs."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / "submitted.json", json.dumps({"arrays": arrays}))


def earlier(folder: Path) -> list[Task]:
    """Return every task that runs under ``folder`` have submitted, or were about to."""
    tasks = []
    for path in sorted(folder.glob("*/submitted.json")):
        # bench makes a run's folder, and makes and removes files in it
        if path.parent.is_symlink():
            continue
        for array in (read_json(path) or {"arrays": []})["arrays"]:
            packs = enumerate(array["packs"])
            tasks += [Task(array["name"], i, path.parent, tuple(pack)) for i, pack in packs]
    return tasks
