"""What a person states of a cluster: ``[cluster.NAME]`` of ``bench.toml``."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from bench.document import read_toml
from bench.errors import BenchError, Misstated, unknown
from bench.gpu.cards import card
from bench.jobs.context import Cuda
from bench.ranges import Count, Range, Whole

FILE = Path("bench.toml")

# bounds beyond any site's: seconds and megabytes are told
Minutes = Annotated[int, Range(1, 60_000)]
Gigabytes = Annotated[float, Range(0, 32_768, above=True)]

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
    **dict.fromkeys(("job_name", "dependency", "array", "output", "error", "open_mode"), ""),
    **dict.fromkeys(("requeue", "use_srun", "stderr_to_stdout"), ""),
    **dict.fromkeys(("signal_delay_s", "signal"), "signal"),
    "nodes": "nodes",
    "ntasks_per_node": "processes",
    "cpus_per_task": "cpus",
}


@dataclass(frozen=True)
class Shape:
    """What one task of an array needs."""

    cpus: int = 1  # of a process
    gpu: bool = False
    nodes: int = 1
    processes: int = 1  # on each node


OTHER = {  # keys that people write, and what bench calls them
    **dict.fromkeys(
        ("time", "hours", "walltime", "time_limit", "time_min", "timeout_min"), "minutes"
    ),
    **dict.fromkeys(("mem", "memory", "mem_mb", "ram"), "mem_gb"),
    **dict.fromkeys(("gpu", "gpus_per_node", "gpus_per_task", "num_gpus"), "gpus"),
    **dict.fromkeys(("cpus_per_task", "threads", "cores"), "cpus"),
    **dict.fromkeys(("ntasks", "ntasks_per_node", "tasks"), "processes"),
    "queue": "partition",
}
EXAMPLES = {  # of the keys of a section, as TOML has them
    **dict.fromkeys(("partition", "cpu_partition", "account", "qos", "constraint"), '"name"'),
    "gres": '"gpu:a100:1"',
    "gpus": "1",
    "nodes": "2",
    "processes": "4",
    "minutes": "1440  # a day",
    "cpus": "12",
    "mem_gb": "64",
    "setup": '["module load cuda"]',
    "python": '"/home/me/.venv/bin/python"',
    "image": '"/shared/images/bench.sif"',
    "card": '"a100-40gb"',
    "cuda": '{ tf32 = "off" }',
    "array_parallelism": "64",
    "max_array_size": "1000",
    "pack": "4",
    "signal": "120",
    "requeues": "50",
    "max_gpus": "8",
}


@dataclass(frozen=True)
class Profile:
    """How to ask a cluster for a task; what is None is left to the cluster's own defaults."""

    partition: str | None = None
    cpu_partition: str | None = None  # of `prepare` and `guard`, without GPU; default: partition
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    gres: str | None = None
    gpus: Whole = 0  # of one process
    card: str | None = None  # which, for `bench plan`: a name of bench.gpu.cards, or its memory
    cuda: Cuda | None = None  # how its cards compute; default: [cuda] of bench.toml
    nodes: Count = 1  # over which one pretraining goes
    processes: Count = 1  # of one pretraining on each of its nodes; they share its global batch
    minutes: Minutes | None = None  # time limit of a task, which holds `pack` cells
    cpus: Count | None = None  # default: the threads of the protocol
    mem_gb: Gigabytes | None = None
    setup: tuple[str, ...] = ()  # shell lines before Python starts, e.g. "module load cuda"
    python: str | None = None  # a shell command; default: the Python that runs this
    image: str | None = None  # a container image by path, run by Apptainer; has bench installed
    array_parallelism: Count = 256
    max_array_size: Count = 1000  # cut to the site's own limit (slurm.conf, MaxArraySize)
    pack: Count = 1  # cells (a fine-tuning and its evaluations) in one task
    signal: Count = 120  # seconds of warning before the time limit
    requeues: Whole = 50  # times a task may save itself and go back into the queue
    max_gpus: Count | None = None  # of one run at once, over all its tasks
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
                raise Misstated(name, f"needs one line of text, got {text!r}")
        if self.gpus and self.gres:
            raise Misstated("gres", "'gpus' and 'gres' both ask for devices; keep one of them")
        if self.card is not None:
            try:
                card(self.card)
            except BenchError as error:
                raise Misstated("card", str(error).partition(": ")[2]) from None
        if self.image is not None and not Path(self.image).is_absolute():
            why = "needs an absolute path that every node can read"
            raise Misstated("image", f"{why}, got {self.image!r}")
        # SLURM's poll of time limits sends the warning up to about half a minute early.
        if self.minutes is not None and self.minutes * 60 < 2 * self.signal:
            why = f"'signal' {self.signal} s of warning is too long for 'minutes' {self.minutes}"
            raise Misstated("minutes", f"{why}; use at most half of the time")
        if self.max_gpus is not None:
            self._check_cap(self.max_gpus)

    def _check_cap(self, most: int) -> None:
        """Refuse a cap that cannot be counted, or that a single task is beyond."""
        if not self.gpus:
            raise Misstated(
                "max_gpus", "limits the GPUs that 'gpus' asks for; set 'gpus' to 1 or more"
            )
        if self.gpus_of(Shape(gpu=True, nodes=self.nodes, processes=self.processes)) > most:
            each = f"{self.gpus} x {self.processes} processes x {self.nodes} nodes"
            raise Misstated("max_gpus", f"{most} is less than one pretraining needs ({each})")

    def gpus_of(self, shape: Shape) -> int:
        """Return the GPUs that a task of a shape takes; 0 where 'gpus' does not say."""
        return self.gpus * shape.processes * shape.nodes if shape.gpu else 0


def _is_line(text: str) -> bool:
    """Can it be an option in a batch script? A line break would start a command."""
    return bool(text.strip()) and text.isprintable()


def profile(name: str | None, path: Path = FILE) -> Profile:
    """Return ``[cluster.NAME]`` of ``bench.toml``; without a name, the cluster's own defaults.

    Raises:
        BenchError: no such section, an unknown key, a wrong type or value.
    """
    if name is None:
        return Profile()
    document = read_toml(path)
    if document is None:
        raise BenchError(
            f"--cluster {name}: {path} does not exist; create it with a section [cluster.{name}]"
        )
    clusters = document.value.get("cluster", {})
    if not isinstance(clusters, dict) or name not in clusters:
        names = clusters if isinstance(clusters, dict) else ()
        raise BenchError(f"--cluster {name}: {unknown(f'cluster in {path}', name, names)}")
    keys = ("cluster", name)
    section, passed = document.build(dict[str, Any], clusters[name], keys), dict[str, Any]()
    for key in [key for key in section if key.startswith(PASSED)]:
        parameter, value = key.removeprefix(PASSED), section.pop(key)
        if why := _refusal(parameter, value, section):
            raise BenchError(f"{document.where((*keys, key))}: {why}")
        passed[parameter] = document.build(KINDS.get(parameter, PLAIN), value, (*keys, key))
    for key in filter(OTHER.__contains__, section):
        where, name = document.where((*keys, key)), OTHER[key]
        raise BenchError(f"{where}: unknown key {key!r}; write {name!r}{_example(name)}")
    try:
        return replace(document.build(Profile, section, keys), slurm=passed)
    except Misstated as error:
        stated = f"{document.where((*keys, error.key))}: {error}"
        raise BenchError(stated + _example(error.key)) from None
    except BenchError as error:
        dotted = re.escape(".".join(keys))
        key = next((k for k in section if re.search(rf": {dotted}\.{k}\b", str(error))), "")
        raise BenchError(f"{error}{_example(key)}") from None


def _example(key: str) -> str:
    """Return how a key is written; "" for one that is not known."""
    return f"; e.g. {key} = {EXAMPLES[key]}" if key in EXAMPLES else ""


def _refusal(parameter: str, value: Any, section: Collection[str]) -> str:
    """Return why a parameter cannot go to submitit beside a section's own keys; empty where it can."""
    import submitit

    valid = submitit.SlurmExecutor._valid_parameters()
    if parameter not in valid:
        return unknown("parameter of submitit", parameter, valid)
    more = value if isinstance(value, dict) else {}
    for name in (parameter, *more):
        key = DECIDED.get(name.replace("-", "_"))
        if key is not None:
            advice = f"write {key!r} instead" if key else "leave it out"
            return f"bench sets {name!r} itself; {advice}"
    for key in ALIKE.get(parameter, (parameter,)):
        if key in section:
            return f"{key!r} sets the same; keep one of them"
    texts = [*more, *more.values(), *(value if isinstance(value, list) else [value])]
    broken = [text for text in texts if isinstance(text, str) and not _is_line(text)]
    if broken and parameter not in ("setup", "teardown"):
        return f"needs one line of text, got {broken[0]!r}"
    return ""
