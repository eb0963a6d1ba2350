"""What a person says of a cluster: ``[cluster.NAME]`` of ``bench.toml``, and sbatch's options."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.document import read_toml
from bench.errors import BenchError, unknown
from bench.ranges import Count, Positive, Whole

FILE = Path("bench.toml")
WAIT = 60  # seconds that the other processes of a task get when one has ended

PASSED = "slurm_"  # begins a key whose value goes to submitit as it is, under the rest of its name
PLAIN: Any = str | int | float | bool
KINDS: dict[str, Any] = {  # of submitit's parameters that are no plain value
    **dict.fromkeys(("setup", "teardown", "srun_args"), list[str]),
    "additional_parameters": dict[str, PLAIN],
}
GPUS = ("gpus_per_node", "gpus_per_task", "gres", "num_gpus")  # parameters that ask for devices
ALIKE = {  # parameter: keys that ask for the same; its own name is among them
    **dict.fromkeys(GPUS, ("gpus", "gres")),
    **dict.fromkeys(("mem", "mem_per_cpu", "mem_per_gpu"), ("mem_gb",)),
    "partition": ("partition", "cpu_partition"),
    "time": ("minutes",),
}
DECIDED = {  # what bench relies on: the key that states it, if one does
    **dict.fromkeys(
        ("job_name", "dependency", "array", "output", "error", "open_mode", "requeue"), ""
    ),
    **dict.fromkeys(("use_srun", "stderr_to_stdout"), ""),
    **dict.fromkeys(("signal_delay_s", "signal"), "signal"),
    "nodes": "nodes",
    "ntasks_per_node": "processes",
    "cpus_per_task": "cpus",
}


@dataclass(frozen=True)
class Profile:
    """How to ask a cluster for a task; what is None is left to the cluster's own defaults."""

    partition: str | None = None
    cpu_partition: str | None = (
        None  # of `prepare` and `guard`, which ask for no GPU; default: partition
    )
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    gres: str | None = None
    gpus: Whole = 0  # of one process
    nodes: Count = 1  # over which one pretraining goes
    processes: Count = 1  # of one pretraining on each of its nodes; they share its global batch
    minutes: Count | None = None  # time limit of a task, which holds `pack` cells
    cpus: Count | None = None  # default: the threads of the protocol
    mem_gb: Positive | None = None
    setup: tuple[str, ...] = ()  # shell lines before Python starts, e.g. "module load cuda"
    python: str | None = None  # a shell command; default: the Python that runs this
    image: str | None = None  # a container image by path, run by Apptainer; has bench installed
    array_parallelism: Count = 256
    max_array_size: Count = 1000  # cut to the site's own limit (slurm.conf, MaxArraySize)
    pack: Count = 1  # cells (a fine-tuning and its evaluations) in one task
    signal: Count = 120  # seconds of warning before the time limit
    requeues: Whole = 50  # times a task may save itself and go back into the queue
    # submitit's, as they are
    slurm: dict[str, Any] = field(default_factory=dict, metadata={"unsaid": True})

    @property
    def asks_for_gpus(self) -> bool:
        """Is a task with a GPU asked for at all?"""
        return bool(self.gpus or self.gres or any(name in self.slurm for name in GPUS))

    @property
    def world(self) -> int:
        """Return how many processes share one pretraining."""
        return self.nodes * self.processes

    def __post_init__(self) -> None:
        for name, text in vars(self).items():
            if isinstance(text, str) and not _is_line(text):
                raise ValueError(f"{name!r} needs one line of text, got {text!r}")
        if self.gpus and self.gres:
            raise ValueError("'gpus' and 'gres' both ask for devices; keep one")
        if self.image is not None and not Path(self.image).is_absolute():
            raise ValueError(
                f"'image' needs an absolute path, which every node sees, got {self.image!r}"
            )
        # SLURM's poll of time limits sends the warning up to about half a minute early.
        if self.minutes is not None and self.minutes * 60 < 2 * self.signal:
            raise ValueError(
                f"'signal' {self.signal} s of warning leaves too little of 'minutes' {self.minutes}; "
                "at most half of the time"
            )


def _is_line(text: str) -> bool:
    """Can it be an option in a batch script? A line break would start a command."""
    return bool(text.strip()) and text.isprintable()


@dataclass(frozen=True)
class Shape:
    """What one task of an array needs."""

    cpus: int = 1  # of a process
    gpu: bool = False
    nodes: int = 1
    processes: int = 1  # on each node


def profile(name: str | None, path: Path = FILE) -> Profile:
    """Return ``[cluster.NAME]`` of ``bench.toml``; without a name, the cluster's own defaults.

    Raises:
        BenchError: no such section, an unknown key, a wrong type or value.
    """
    if name is None:
        return Profile()
    document = read_toml(path)
    if document is None:
        raise BenchError(f"--cluster {name}: no {path} here; write [cluster.{name}] into it")
    clusters = document.value.get("cluster", {})
    if not isinstance(clusters, dict) or name not in clusters:
        known = clusters if isinstance(clusters, dict) else ()
        raise BenchError(f"--cluster {name}: {unknown(f'cluster in {path}', name, known)}")
    keys = ("cluster", name)
    section, passed = document.build(dict[str, Any], clusters[name], keys), dict[str, Any]()
    for key in [key for key in section if key.startswith(PASSED)]:
        parameter, value = key.removeprefix(PASSED), section.pop(key)
        if why := _refusal(parameter, value, section):
            raise BenchError(f"{document.where((*keys, key))}: {why}")
        passed[parameter] = document.build(KINDS.get(parameter, PLAIN), value, (*keys, key))
    return replace(document.build(Profile, section, keys), slurm=passed)


def _refusal(parameter: str, value: Any, section: Collection[str]) -> str:
    """Return why a parameter cannot go to submitit beside a section's own keys; empty where it can."""
    import submitit

    known = submitit.SlurmExecutor._valid_parameters()
    if parameter not in known:
        return unknown("parameter of submitit", parameter, known)
    more = value if isinstance(value, dict) else {}
    for name in (parameter, *more):
        key = DECIDED.get(name.replace("-", "_"))
        if key is not None:
            return f"bench decides {name!r}; " + (
                f"write {key!r} instead" if key else "leave it out"
            )
    for key in ALIKE.get(parameter, (parameter,)):
        if key in section:
            return f"{key!r} asks for the same; keep one"
    texts = [*more, *more.values(), *(value if isinstance(value, list) else [value])]
    broken = [text for text in texts if isinstance(text, str) and not _is_line(text)]
    if broken and parameter not in ("setup", "teardown"):
        return f"needs one line of text, got {broken[0]!r}"
    return ""


def options(profile: Profile, shape: Shape, name: str, after: tuple[str, ...]) -> dict[str, Any]:
    """Return the parameters of submitit's ``SlurmExecutor`` for an array of tasks of one shape.

    Args:
        profile: the cluster's.
        shape: of each task.
        name: the array's job name, by which it is found again.
        after: SLURM ids of the tasks that must have ended, well or not.
    """
    processes, passed = shape.processes, _fitting(profile.slurm, shape)
    more = _fitting(passed.pop("additional_parameters", {}), shape)
    # SLURM takes one of them
    cpus = None if "cpus_per_gpu" in passed else profile.cpus or shape.cpus
    counted = [] if cpus is None else ["--cpus-per-task", str(cpus)]
    # Where one process of several dies the others would wait for it: they get the time to say why.
    together = ["--wait", str(WAIT)] if shape.nodes * processes > 1 else []
    given = {
        "partition": profile.partition if shape.gpu else profile.cpu_partition or profile.partition,
        "account": profile.account,
        "qos": profile.qos,
        "constraint": profile.constraint if shape.gpu else None,
        "gres": profile.gres if shape.gpu else None,
        "gpus_per_node": profile.gpus * processes or None if shape.gpu else None,
        "ntasks_per_node": processes if processes > 1 else None,
        "mem": None
        if profile.mem_gb is None
        else f"{max(1, round(profile.mem_gb * 1024)) * processes}MB",
        "setup": list(profile.setup) or None,
        # A task that needs another's result looks for the result itself: afterok would leave it
        # pending for ever where the other failed.
        "dependency": "afterany:" + ":".join(after) if after else None,
    }
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
    return {**fixed, **{k: v for k, v in given.items() if v is not None}, **passed}


def _fitting(parameters: dict[str, Any], shape: Shape) -> dict[str, Any]:
    """Return parameters without those that concern tasks with a GPU alone, where the shape has none."""
    return {
        name: value
        for name, value in parameters.items()
        if shape.gpu or not ("gpu" in name or name in ("constraint", "gres"))
    }


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
            raise BenchError(
                f"{folder}: ':' and ',' mean something to apptainer; name another folder"
            )
    binds = [word for folder in sorted(set(folders)) for word in ("--bind", str(folder))]
    devices = ["--nv"] if profile.asks_for_gpus else []
    inside = profile.python or "python3"
    return f"{shlex.join(['apptainer', 'exec', *devices, *binds, profile.image])} {inside}"
