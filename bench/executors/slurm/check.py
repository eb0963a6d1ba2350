"""``bench cluster check``: submit a small task of each shape and say what works there."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench import __version__
from bench.errors import BenchError
from bench.executors.slurm import squeue
from bench.executors.slurm.profile import Profile, Shape
from bench.executors.slurm.rendezvous import attend, lead, rank_and_size
from bench.executors.slurm.sbatch import options, python, remember, submit
from bench.executors.slurm.task import PATIENCE, StopRequest, restarts
from bench.process import task_id
from bench.runtime.execute import Outcome
from bench.store import read_json, write_atomic

LOOK_AGAIN = 1.0
SKEW = 5.0  # seconds between two clocks from which on it is worth saying
MEGABYTES = 1024  # of a process; the smallest job takes 0.6 GB
SECONDS = 120  # of a task: PyTorch alone takes a while to load from a slow disk
SILENT = "SLURM does not say"
TOKEN = "seen from where bench was started"


@dataclass(frozen=True)
class Finding:
    """One thing that works or does not."""

    check: str
    ok: bool
    detail: str


def check(profile: Profile, folder: Path, wait: float) -> Iterator[Finding]:
    """Yield what works, as it becomes known.

    Args:
        profile: of the cluster.
        folder: where output will lie; a folder for the probe is made in it.
        wait: seconds for a task to start, and again for it to come back after a requeue.

    Raises:
        BenchError: SLURM is not here or does not answer, or refuses a probe.
    """
    squeue.require()
    config = squeue.config()
    yield from _site(profile, config)
    shapes = {
        "preparation": Shape(),
        "cell": Shape(gpu=True),
        "pretraining": Shape(gpu=True, nodes=profile.nodes, processes=profile.processes),
    }
    # kinds of job that ask SLURM for the same are one probe
    kinds_by_options: dict[str, list[str]] = {}
    for kind, shape in shapes.items():
        kinds_by_options.setdefault(json.dumps(options(profile, shape, "", ())), []).append(kind)
    shape_by_kinds = {", ".join(kinds): shapes[kinds[-1]] for kinds in kinds_by_options.values()}
    tasks = [_Probe(profile, folder.resolve(), shape, wait) for shape in shape_by_kinds.values()]
    found = [_granted(profile, shape, config) for shape in shape_by_kinds.values()]
    found += [task.run(again=task is tasks[-1]) for task in tasks]
    for kinds, findings in zip(2 * [*shape_by_kinds], found, strict=True):
        for finding in findings:
            yield replace(finding, check=f"{kinds}: {finding.check}")


def _granted(profile: Profile, shape: Shape, config: Mapping[str, str]) -> Iterator[Finding]:
    """Judge the memory and the time that a task of a shape gets, by the profile or the site's defaults."""
    given = options(profile, shape, "", ())
    given |= {key.replace("-", "_"): v for key, v in given["additional_parameters"].items()}
    partitions = squeue.partitions(given.get("partition") or os.environ.get("SBATCH_PARTITION"))
    for partition in partitions or [{}]:
        where = f" in partition {partition['PartitionName']}" if partition else ""
        megabytes, why = _memory(given, shape, [partition, config])
        need = MEGABYTES * shape.processes
        ok = megabytes is None or megabytes >= need
        size = "all memory of the node" if megabytes is None else f"{megabytes:.0f} MB"
        more = "" if ok else f"; the smallest job needs {need} MB: set 'mem_gb' in bench.toml"
        yield Finding("memory", ok, f"{size} ({why}){where}{more}")
        ok, detail = _time(profile, given["time"], partition)
        yield Finding("time", ok, f"{detail[0]}{where}{detail[1]}")


def _memory(
    given: Mapping[str, Any], shape: Shape, sites: list[Mapping[str, str]]
) -> tuple[float | None, str]:
    """Return the MB that a task gets on a node, None: all; and by what."""
    device = re.search(r"gpu(?::[a-z]\w*)?(?::(\d+))?", given.get("gres", ""), re.IGNORECASE)
    gpus = given.get("gpus_per_node") or (int(device[1] or 1) if device else 0)
    cpus = (given["cpus_per_task"] or given.get("cpus_per_gpu", 1) * gpus) * shape.processes
    units = {"GPU": int(gpus), "CPU": cpus, "Node": 1}
    stated = {"Node": "mem", "CPU": "mem_per_cpu", "GPU": "mem_per_gpu"}
    for unit, key in stated.items():
        if key in given:
            each = squeue.megabytes(given[key])
            return (each * units[unit] if each else None), "stated in the profile"
    for site in sites:
        defaults = {**site, **dict(re.findall(r"(\w+)=(\d+)", site.get("JobDefaults", "")))}
        for unit, n in units.items():
            name = f"DefMemPer{unit}"
            if n and (each := squeue.megabytes(defaults.get(name, ""))):
                return each * n, f"the site's {name} {each:.0f} MB x {n}"
    return None, "the site sets no default" if any(sites) else SILENT


def _time(
    profile: Profile, stated: str | int | None, partition: Mapping[str, str]
) -> tuple[bool, tuple[str, str]]:
    """Return whether the time that a task gets is enough, and what to say before and after the partition."""
    most, default = (partition.get(key, "") for key in ("MaxTime", "DefaultTime"))
    name, text = ("DefaultTime", default) if squeue.seconds(default) else ("MaxTime", most)
    by = f"the site's {name}" if partition else SILENT
    by = by if stated is None else "stated in the profile"
    granted = squeue.seconds(text if stated is None else stated)
    limit, need = squeue.seconds(most), max(SECONDS, 2 * profile.signal)
    first = f"{'no limit' if granted is None else f'{granted / 60:g} min'} ({by})"
    if granted is not None and granted < need:
        return False, (
            first,
            f"; the smallest job needs {need / 60:g} min: set 'minutes' in bench.toml",
        )
    if stated is not None and limit is not None and (granted is None or granted > limit):
        why = f"; the partition's MaxTime is {limit / 60:g} min: lower 'minutes' in bench.toml"
        return False, (first, why)
    return True, (first, "")


def _site(profile: Profile, config: Mapping[str, str]) -> Iterator[Finding]:
    """Judge what the site says of itself."""
    if (most := squeue.array_limit(config)) is not None:
        cut = f", so arrays are cut to {most}" if profile.max_array_size > most else ""
        detail = f"max_array_size {profile.max_array_size}, the site allows {most}{cut}"
        yield Finding("site: array size", True, detail)
    if "KillWait" in config:
        detail = f"{profile.signal} s (KillWait {int(config['KillWait'].split()[0])} s)"
        yield Finding("site: time to save after a warning", True, detail)
    unknown = "sacct does not answer: a task that SLURM kills is reported without SLURM's reason"
    yield Finding("site: accounting", True, "sacct answers" if squeue.accounting() else unknown)


@dataclass
class _Probe:
    """One task of one shape."""

    profile: Profile
    out: Path
    shape: Shape
    wait: float
    name: str = field(default_factory=lambda: f"bench-{uuid.uuid4().hex[:16]}")

    def run(self, again: bool) -> Iterator[Finding]:
        """Submit, listen, judge; ``again``: is it to be warned and requeued as well?"""
        folder = self.out / "slurm" / self.name
        folder.mkdir(parents=True)
        (folder / "token").write_text(TOKEN)
        # 'bench cancel' looks for it.
        remember(folder, [{"name": self.name, "array": None, "packs": [[]]}])
        given = options(self.profile, self.shape, self.name, ())
        given["time"] = min(self.profile.minutes or 10, 10)
        given["signal_delay_s"] = min(self.profile.signal, 60)
        call = (str(folder), self.wait if again else 0.0)
        try:
            submit(folder, given, [call], python(self.profile, [self.out]), probe)
            began = time.monotonic()
            facts = self._awaited(folder / "answer-0.json")
            if facts is None:
                yield Finding("starts", False, f"{self._state()} (log in {folder})")
                return
            took = f"on {facts['host']} after {time.monotonic() - began:.0f} s"
            yield Finding("starts", True, took)
            yield from self._judged(facts)
            if again:
                yield from self._requeued(folder)
            shutil.rmtree(folder, ignore_errors=True)  # after a failure the log is wanted
        finally:
            with suppress(BenchError):
                squeue.cancel(line.id for line in squeue.listed([self.name], tries=1).values())

    def _judged(self, facts: dict[str, Any]) -> Iterator[Finding]:
        bench, token, gpus = facts["bench"], facts["token"], facts["gpus"]
        yield Finding(
            "same bench", bench == __version__, f"{bench} in the task, {__version__} here"
        )
        yield Finding("shared folder", token == TOKEN, f"{self.out}: {token or 'not seen'}")
        folders = "the file system has none; jobs are claimed by making folders"
        links = "jobs are claimed with them" if facts["link"] else folders
        yield Finding("exclusive links", True, links)
        skew = abs(facts["time"] - facts["disk"])
        yield Finding("clock", skew < SKEW, f"{skew:.1f} s away from the file system's clock")
        wanted = self.profile.gpus if self.shape.gpu else 0
        detail = f"PyTorch sees {gpus}, the profile asks for {wanted}: {facts['device']}"
        yield Finding("GPUs", gpus >= wanted, detail)
        size = self.shape.nodes * self.shape.processes
        if size > 1:
            together = facts["processes"]
            yield Finding(
                "processes", together == size, f"{together} of {size} processes trained together"
            )

    def _requeued(self, folder: Path) -> Iterator[Finding]:
        began = time.monotonic()
        # What SLURM sends before a time limit.
        squeue.cancel((line.id for line in squeue.listed([self.name]).values()), "--signal=USR2")
        warned = self._awaited(folder / "warned.json") is not None
        yield Finding("warning signal", warned, "arrives" if warned else "never arrived")
        if warned:
            back = self._awaited(folder / "answer-1.json") or {"refused": self._state()}
            took = f"back after {time.monotonic() - began:.0f} s"
            yield Finding("requeue", "refused" not in back, back.get("refused", took))

    def _awaited(self, path: Path) -> dict[str, Any] | None:
        until = time.monotonic() + self.wait
        while time.monotonic() < until:
            # makes a network file system forget what was not there
            next(path.parent.iterdir(), None)
            facts = read_json(path)
            if facts is not None:
                return facts
            lines = squeue.listed([self.name])
            time.sleep(LOOK_AGAIN)
            if not lines or any(line.hopeless for line in lines.values()):
                return read_json(path)
        return None

    def _state(self) -> str:
        line = next(iter(squeue.listed([self.name]).values()), None)
        state = f"{line.state} ({line.reason})" if line else "the task ended without an answer"
        return f"{state} after {self.wait:.0f} s"


def probe(folder: str, wait: float) -> None:
    """Say on a node what is there; called by submitit in every process of a task.

    ``folder`` is the probe's. After ``wait`` seconds for the warning signal the task requeues itself; 0: never.
    """
    request, home = StopRequest(), Path(folder)
    request.listen()
    rank, size = rank_and_size()
    meeting = home / f"meeting-{task_id()}-{restarts()}.json"
    if rank:
        attend(meeting, lambda job: Outcome(job, "done"))
        return
    facts = _facts(home)
    with lead(meeting, size) as led:
        with led("probe"):
            from bench import distributed

            facts["processes"] = distributed.size()
        write_atomic(home / f"answer-{restarts()}.json", json.dumps(facts))
        if not wait or restarts():
            return
        until = time.monotonic() + wait
        while not request.stop and time.monotonic() < until:
            time.sleep(0.2)
        if request.again:
            write_atomic(home / "warned.json", "{}")
            why = squeue.requeue(task_id())
            if why:
                write_atomic(home / "answer-1.json", json.dumps({"refused": why}))
            else:
                time.sleep(PATIENCE)


def _facts(folder: Path) -> dict[str, Any]:
    import torch

    token = folder / "token"
    link, clock = (folder / f"{name}-{uuid.uuid4().hex}" for name in ("link", "clock"))
    clock.touch()
    now, disk = time.time(), clock.stat().st_mtime
    with suppress(OSError):
        os.link(clock, link)
    count = torch.cuda.device_count()
    return {
        "host": socket.gethostname(),
        "bench": __version__,
        "time": now,
        "disk": disk,
        "link": link.exists(),
        "token": token.read_text() if token.exists() else "",
        "gpus": count,
        "device": _card() if count else "none",
    }


def _card() -> str:
    """Return the first GPU in words: name, memory, driver, and what bf16 does there."""
    import torch

    memory = torch.cuda.get_device_properties(0).total_memory / 2**30
    driver: int = getattr(torch._C, "_cuda_getDriverVersion")()  # noqa: B009 - CUDA builds alone have it
    if torch.cuda.is_bf16_supported(including_emulation=False):
        bf16 = "bf16 is fast"
    elif torch.cuda.is_bf16_supported():
        bf16 = "bf16 is emulated and slow: use fp16"
    else:
        bf16 = "bf16 is not supported: use fp16"
    name = torch.cuda.get_device_name(0)
    return f"{name}, {memory:.0f} GiB, the driver supports CUDA {driver // 1000}.{driver % 1000 // 10}, {bf16}"
