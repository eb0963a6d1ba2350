"""What a person says of a cluster: ``[cluster.NAME]`` of ``bench.toml``, and sbatch's options."""

from __future__ import annotations

import shlex
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from bench.errors import BenchError, unknown
from bench.protocol.strict import Document
from bench.ranges import Count, Positive, Whole

FILE = Path("bench.toml")
WAIT = 60  # seconds that the other processes of a task get when one has ended


@dataclass(frozen=True)
class Profile:
    """How to ask a cluster for a task; what is None is left to the cluster's own defaults."""

    partition: str | None = None
    cpu_partition: str | None = None  # of `prepare` and `guard`, which ask for no GPU; default: partition
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

    @property
    def world(self) -> int:
        """Return how many processes share one pretraining."""
        return self.nodes * self.processes

    def __post_init__(self) -> None:
        for field in fields(self):
            # An option is one line of a batch script: a line break would start a command.
            text = getattr(self, field.name)
            if isinstance(text, str) and (not text.strip() or not text.isprintable()):
                raise ValueError(f"{field.name!r} needs one line of text, got {text!r}")
        if self.gpus and self.gres:
            raise ValueError("'gpus' and 'gres' both ask for devices; keep one")
        if self.image is not None and not Path(self.image).is_absolute():
            raise ValueError(f"'image' needs an absolute path, which every node sees, got {self.image!r}")
        # SLURM's poll of time limits sends the warning up to about half a minute early.
        if self.minutes is not None and self.minutes * 60 < 2 * self.signal:
            raise ValueError(
                f"'signal' {self.signal} s of warning leaves too little of 'minutes' {self.minutes}; "
                "at most half of the time"
            )


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
    try:
        text = path.read_text(encoding="utf-8")
        clusters = tomllib.loads(text).get("cluster", {})
    except FileNotFoundError:
        raise BenchError(f"--cluster {name}: no {path} here; write [cluster.{name}] into it") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BenchError(f"{path}: not TOML ({error})") from None
    if not isinstance(clusters, dict) or name not in clusters:
        known = clusters if isinstance(clusters, dict) else ()
        raise BenchError(f"--cluster {name}: {unknown(f'cluster in {path}', name, known)}")
    keys, heads = ("cluster", name), (f"[cluster.{name}]", f'[cluster."{name}"]')
    lines = [line.replace(" ", "") for line in text.splitlines()]
    number = next((n for n, line in enumerate(lines, 1) if line.startswith(heads)), 1)
    return Document(path, {}, {keys: number}).build(Profile, clusters[name], keys)


def options(profile: Profile, shape: Shape, name: str, after: tuple[str, ...]) -> dict[str, Any]:
    """Return the parameters of submitit's ``SlurmExecutor`` for an array of tasks of one shape.

    Args:
        profile: the cluster's.
        shape: of each task.
        name: the array's job name, by which it is found again.
        after: SLURM ids of the tasks that must have ended, well or not.
    """
    cpus, processes = profile.cpus or shape.cpus, shape.processes
    # Where one process of several dies the others would wait for it: they get the time to say why.
    together = ["--wait", str(WAIT)] if shape.nodes * processes > 1 else []
    given = {
        "partition": profile.partition if shape.gpu else profile.cpu_partition or profile.partition,
        "account": profile.account, "qos": profile.qos,
        "constraint": profile.constraint if shape.gpu else None,
        "gres": profile.gres if shape.gpu else None,
        "gpus_per_node": profile.gpus * processes or None if shape.gpu else None,
        "ntasks_per_node": processes if processes > 1 else None,
        "mem": None if profile.mem_gb is None else f"{max(1, round(profile.mem_gb * 1024)) * processes}MB",
        "setup": list(profile.setup) or None,
        # A task that needs another's result looks for the result itself: afterok would leave it
        # pending for ever where the other failed.
        "dependency": "afterany:" + ":".join(after) if after else None,
    }  # fmt: skip
    fixed = {
        "job_name": name, "nodes": shape.nodes, "cpus_per_task": cpus, "signal_delay_s": profile.signal,
        "array_parallelism": profile.array_parallelism,
        "time": profile.minutes,  # None must be said: submitit's own default is five minutes
        "wckey": None,  # submitit's own would be refused where keys are tracked
        # Since SLURM 22.05 a step no longer inherits the job's --cpus-per-task.
        "srun_args": ["--cpus-per-task", str(cpus), *together],
        # Sites with JobRequeue=0 would else lose the task when its node fails.
        "additional_parameters": {"requeue": True},
    }  # fmt: skip
    return {**fixed, **{k: v for k, v in given.items() if v is not None}}


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
            raise BenchError(f"{folder}: ':' and ',' mean something to apptainer; name another folder")
    binds = [word for folder in sorted(set(folders)) for word in ("--bind", str(folder))]
    devices = ["--nv"] if profile.gpus or profile.gres else []
    inside = profile.python or "python3"
    return f"{shlex.join(['apptainer', 'exec', *devices, *binds, profile.image])} {inside}"
