"""One run of the smoke protocol on the cluster that something happens to."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import smoke
from attempt import Attempt, children, environment, place
from config import user
from daemons import wait
from sandbox import Sandbox
from smoke import BENCH, Smoke

LIMIT = 420.0  # seconds in which any run ends, whatever was done to it


class TrialError(AssertionError):
    """The fault could not be made, or a run did not end."""


@dataclass
class Trial:
    """An output folder, the runs that write it, and what was seen of it."""

    cluster: Sandbox
    smoke: Smoke
    folder: Path
    kind: str = "finetune"  # of the job that is hit
    runs: list[subprocess.Popen[bytes]] = field(default_factory=list)
    published: dict[str, set[int]] = field(default_factory=dict)
    arrays: dict[str, list[list[str]]] = field(default_factory=dict)  # submitted, by name

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.out = self.folder / "out"
        self.profile()
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def profile(self, **changes: object) -> None:
        """Write the cluster's section."""
        smoke.profile(self.folder, **changes)

    # Runs

    def start(self, *flags: str, **more: str) -> subprocess.Popen[bytes]:
        """Start ``bench run`` on the cluster, or as ``flags`` say."""
        asked = flags or ("--executor", "slurm", "--cluster", "sandbox")
        variables = {**self.cluster.daemons.environment, **more}
        with self.log(len(self.runs)).open("wb") as log:
            run = self.smoke.start(self.out, *asked, log=log, cwd=self.folder, more=variables)
        self.runs.append(run)
        return run

    def end(self, run: subprocess.Popen[bytes] | None = None, seconds: float = LIMIT) -> int:
        """Wait for a run, by default the latest, and return its exit code."""
        run = run or self.runs[-1]
        try:
            return run.wait(seconds)
        except subprocess.TimeoutExpired:
            raise TrialError(f"a run does not end in {seconds:.0f} s\n{self.text()}") from None

    def again(self) -> int:
        """Run the same command to its end."""
        self.start()
        return self.end()

    def settle(self) -> str:
        """Wait for the latest run; where it failed, run again. Return what happened, in words."""
        code = self.end()
        if code == 0:
            return "exit 0"
        why = self.failures() or self.text().strip().splitlines()[-1]
        second = self.again()
        if second:
            raise TrialError(f"exit {code}: {why}; again: exit {second}\n{self.text()}")
        return f"exit {code}: {why}; the same command again: exit 0"

    def log(self, number: int) -> Path:
        """Return where a run's output goes."""
        return self.folder / f"run-{number}.txt"

    def text(self, number: int = -1) -> str:
        """Return what a run has printed; the latest by default."""
        return self.log(number % len(self.runs)).read_text(errors="replace")

    def status(self) -> dict[str, list[dict[str, Any]]]:
        """Return what ``bench status --json`` says."""
        return json.loads(subprocess.check_output([*BENCH, "status", "--out", str(self.out), "--json"]))

    def failures(self) -> str:
        """Return the reasons that ``bench status`` gives for failed jobs."""
        return "; ".join(sorted({job["reason"] for job in self.status()["failed"]}))

    # What is hit

    def hit(self, step: int = 5, kind: str | None = None, other: Attempt | None = None) -> Attempt:
        """Wait until a job of a kind is at a step, in a task; return the process."""
        found: list[Attempt] = []

        def there() -> bool:
            found[:] = [a for a in self._attempts(kind or self.kind, step) if a != other]
            return bool(found) or any(run.poll() is not None for run in self.runs[-1:])

        if not wait(there, 120, every=0.05) or not found:
            raise TrialError(f"no {kind or self.kind} reached step {step}\n{self.text()}")
        return found[0]

    def _attempts(self, kind: str, step: int) -> list[Attempt]:
        found = []
        for path in (self.out / "work").glob("*/progress.json"):
            try:
                told = json.loads(path.read_text())
                described = json.loads((path.parent / "job.json").read_text())["job"]
                held = json.loads(max(path.parent.glob("claim-*")).read_text())
            except (OSError, ValueError):
                continue  # published or released meanwhile
            task, node = place(held.get("pid"))
            if told["step"] >= step and described["kind"] == kind and task:
                found.append(Attempt(path.parent.name, held["host"], held["pid"], task, node))
        return found

    def on_node(self, node: str) -> list[int]:
        """Return the processes of tasks on a node, with their keepers."""
        tasks = self.cluster.daemons.tasks()
        here = [pid for pid in tasks if environment(pid).get("SLURMD_NODENAME") == node]
        return sorted({pid for pid in tasks if pid in here or set(children(pid)) & set(here)})

    def restarts(self, attempt: Attempt) -> str:
        """Return at which step the job's later attempts went on, in words."""
        log = (self.out / "jobs" / attempt.job / "log.txt").read_text()
        later = [part.partition("step ")[2].split("/")[0] for part in log.split(", attempt ")[2:]]
        return "went on at step " + ", ".join(step or "0" for step in later) if later else "none begun anew"

    def faketime(self) -> str:
        """Return libfaketime."""
        found = sorted(Path("/usr/lib").glob("**/faketime/libfaketime.so.1"))
        return str(found[0]) if found else pytest.skip("no libfaketime here: apt-get install libfaketime")

    def claims(self, job: str) -> int:
        """Return how many attempts a job has had; 0 when it is published."""
        return len(list((self.out / "work" / job).glob("claim-*")))

    def successor(self, attempt: Attempt, seconds: float) -> int:
        """Wait until another process has taken an attempt's job over, freeze it, return it."""
        folder = self.out / "work" / attempt.job

        def holder() -> int:
            with contextlib.suppress(OSError, ValueError, KeyError):
                return int(json.loads(max(folder.glob("claim-*")).read_text())["pid"])
            return attempt.pid

        self.until(lambda: holder() != attempt.pid, "a successor", seconds)
        os.kill(holder(), signal.SIGSTOP)
        return holder()

    def let_finish(self, attempt: Attempt) -> None:
        """Let a frozen attempt go on until it has given up; publishing is an error."""
        attempt.signal(signal.SIGCONT)
        folder = self.out / "work" / attempt.job
        self.until(lambda: not list(folder.glob("attempt-0001-*")), "the orphan's end", 90)
        if (self.out / "jobs" / attempt.job).exists():
            raise TrialError("the orphan published")

    def until(self, true: Callable[[], bool], what: str, seconds: float = 120) -> None:
        """Wait until something is true."""
        if not wait(true, seconds):
            raise TrialError(f"{what}: not in {seconds:.0f} s\n{self.text()}\n{self.cluster.queue()}")

    # What came of it

    def _watch(self) -> None:
        """Note each manifest that appears: a second one of a job would be another file."""
        while not self._over.wait(0.1):
            for path in (self.out / "jobs").glob("*/manifest.json"):
                with contextlib.suppress(OSError):
                    # Not its inode: a trial may copy the folder to another file system in the end.
                    self.published.setdefault(path.parent.name, set()).add(path.stat().st_mtime_ns)
            for path in (self.out / "slurm").glob("*/submitted.json"):
                with contextlib.suppress(OSError, ValueError):
                    entries = json.loads(path.read_text())["arrays"]
                    self.arrays.update({entry["name"]: entry["packs"] for entry in entries})

    def twice(self) -> int:
        """Return how many jobs were published twice, or whose log tells of two ends."""
        logs = (self.out / "jobs").glob("*/log.txt")
        ends = Counter({path.parent.name: path.read_text().count("  done in ") for path in logs})
        return sum(len(self.published.get(job, ())) > 1 or count > 1 for job, count in ends.items())

    def submissions(self) -> int:
        """Return how often the job was submitted that was submitted most often."""
        jobs = Counter(job for packs in self.arrays.values() for pack in packs for job in pack)
        return max(jobs.values(), default=0)

    def manifest(self, job: str) -> dict[str, Any]:
        """Return what a published job says of itself."""
        return json.loads((self.out / "jobs" / job / "manifest.json").read_text())

    def check(self) -> None:
        """Make sure that the folder is as an undisturbed run leaves it."""
        assert self.smoke.lost(self.out) == 0, f"records lost\n{self.text()}"
        assert smoke.reliability.whole(self.out) == []
        assert self.twice() == 0, "a job was published twice"
        found = self.status()
        assert not found["failed"], found["failed"]
        assert not found["running"], found["running"]
        wait(lambda: not self.cluster.queue(), 15)
        assert self.cluster.queue() == [], "tasks are left in the queue"

    def close(self) -> None:
        """End what is left: runs, frozen processes, tasks."""
        for run in self.runs:
            if run.poll() is None:
                os.killpg(run.pid, signal.SIGKILL)
            run.wait()
        for pid in self.cluster.daemons.tasks():
            os.kill(pid, signal.SIGCONT)
        self.cluster.ask("scancel", "--user", user())
        self._over.set()
        self._watcher.join()
