"""One run of the smoke protocol on the cluster that something happens to."""

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from getpass import getuser
from pathlib import Path
from typing import Any

import smoke
from daemons import children, environment, wait
from sandbox import Sandbox
from smoke import BENCH, Smoke

LIMIT = 420.0  # seconds in which any run ends, whatever was done to it


class TrialError(AssertionError):
    """The fault could not be made, or a run did not end."""


@dataclass(frozen=True)
class Attempt:
    """A process that works on a job in a task of the cluster."""

    job: str
    host: str
    pid: int
    task: str  # as scancel takes it
    node: str

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    @contextlib.contextmanager
    def slowed(self, share: float = 0.1, turn: float = 1.0) -> Iterator[None]:
        """Let the process run for a share of the time only; with 0 it is frozen, whoever wakes it."""
        over = threading.Event()

        def pace() -> None:
            with contextlib.suppress(ProcessLookupError):
                while not over.is_set():
                    self.signal(signal.SIGSTOP)
                    time.sleep(turn * (1 - share))
                    if share:
                        self.signal(signal.SIGCONT)
                        time.sleep(turn * share)

        thread = threading.Thread(target=pace, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


@dataclass
class Trial:
    """An output folder, the runs that write it, and what was seen of it."""

    cluster: Sandbox
    smoke: Smoke
    folder: Path
    kind: str = "finetune"  # of the job that is hit
    shell: dict[str, str] = field(default_factory=dict)  # variables of the shell that starts a run
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
        smoke.profile(self.folder, **changes)

    # Runs

    def start(self, *flags: str) -> subprocess.Popen[bytes]:
        """Start ``bench run`` on the cluster, or as ``flags`` say."""
        requested = flags or ("--executor", "slurm", "--cluster", "sandbox")
        with (self.folder / f"run-{len(self.runs)}.txt").open("wb") as log:
            enclosing = {**self.cluster.daemons.environment, **self.shell}
            run = self.smoke.start(self.out, requested, log, self.folder, enclosing)
        self.runs.append(run)
        return run

    def end(self, run: subprocess.Popen[bytes] | None = None) -> int:
        try:
            return (run or self.runs[-1]).wait(LIMIT)
        except subprocess.TimeoutExpired:
            raise TrialError(f"a run does not end in {LIMIT:.0f} s\n{self.text()}") from None

    def begin(self, **changes: object) -> Attempt:
        """Start a run, with changes in the cluster's section; return the process that is to be hit."""
        if changes:
            self.profile(**changes)
        self.start()
        return self.hit()

    def kill(self) -> None:
        self.runs[-1].kill()
        self.runs[-1].wait()

    def again(self) -> int:
        self.start()
        return self.end()

    def settle(self, attempt: Attempt | None = None) -> str:
        """Wait for the latest run; where it failed, run again. Return what happened, in words.

        With what was hit, they say at which step the later attempts at its job went on.
        """
        if attempt is not None:
            printed, attempts = self.settle(), self.manifest(attempt.job)["attempts"]
            log = (self.out / "jobs" / attempt.job / "log.txt").read_text()
            later = [
                part.partition("step ")[2].split("/")[0] or "0"
                for part in log.split(", attempt ")[2:]
            ]
            went = "went on at step " + ", ".join(later) if later else "none begun anew"
            return f"{printed}; {attempts} attempts, {went}"
        code = self.end()
        if code == 0:
            return "exit 0"
        why = self.failures() or self.text().strip().splitlines()[-1]
        second = self.again()
        if second:
            raise TrialError(f"exit {code}: {why}; again: exit {second}\n{self.text()}")
        return f"exit {code}: {why}; the same command again: exit 0"

    def text(self, number: int = -1) -> str:
        """Return what a run has printed; the latest by default."""
        return (self.folder / f"run-{number % len(self.runs)}.txt").read_text(errors="replace")

    def status(self) -> dict[str, list[dict[str, Any]]]:
        return json.loads(
            subprocess.check_output([*BENCH, "status", "--out", str(self.out), "--json"])
        )

    def failures(self) -> str:
        return "; ".join(sorted({job["reason"] for job in self.status()["failed"]}))

    # What is hit

    def hit(self, step: int = 5) -> Attempt:
        """Wait until a job of the trial's kind is at a step, in a task; return the process."""
        result: list[Attempt] = []

        def reached() -> bool:
            result[:] = self._attempts(step)
            return bool(result) or self.runs[-1].poll() is not None

        if not wait(reached, 120, every=0.05) or not result:
            raise TrialError(f"no {self.kind} reached step {step}\n{self.text()}")
        return result[0]

    def _attempts(self, step: int) -> list[Attempt]:
        result = []
        for path in (self.out / "work").glob("*/progress.json"):
            try:
                printed = json.loads(path.read_text())
                described = json.loads((path.parent / "job.json").read_text())["job"]
                held = json.loads(max(path.parent.glob("claim-*")).read_text())
            except (OSError, ValueError):
                continue  # published or released meanwhile
            enclosing = environment(held["pid"])
            array, index = (enclosing.get(f"SLURM_ARRAY_{name}_ID") for name in ("JOB", "TASK"))
            # one alone is no array
            task = f"{array}_{index}" if array else enclosing.get("SLURM_JOB_ID")
            if printed["step"] >= step and described["kind"] == self.kind and task:
                node = enclosing.get("SLURMD_NODENAME", "")
                result.append(Attempt(path.parent.name, held["host"], held["pid"], task, node))
        return result

    def on_node(self, node: str) -> list[int]:
        tasks = self.cluster.daemons.tasks()
        local = [pid for pid in tasks if environment(pid).get("SLURMD_NODENAME") == node]
        return sorted({pid for pid in tasks if pid in local or children(pid) & set(local)})

    def claims(self, job: str) -> int:
        """Return how many attempts a job has had; 0 when it is published."""
        return len(list((self.out / "work" / job).glob("claim-*")))

    def overtaken(
        self, attempt: Attempt, seconds: float, then: Callable[[], Any] = lambda: None
    ) -> float:
        """Let a frozen attempt go on when another process has its job, and that one when it has given up.

        Return the seconds until the job was taken over. That the attempt publishes is an error.

        Args:
            attempt: frozen.
            seconds: to wait for the other process at most.
            then: is done between the attempt's end and the other process's going on.
        """
        folder, began = self.out / "work" / attempt.job, time.monotonic()

        def holder() -> int:
            with contextlib.suppress(OSError, ValueError, KeyError):
                return int(json.loads(max(folder.glob("claim-*")).read_text())["pid"])
            return attempt.pid

        self.until(lambda: holder() != attempt.pid, "a successor", seconds)
        os.kill(successor := holder(), signal.SIGSTOP)
        waited = time.monotonic() - began
        attempt.signal(signal.SIGCONT)
        self.until(lambda: not list(folder.glob("attempt-0001-*")), "the orphan's end", 90)
        if (self.out / "jobs" / attempt.job).exists():
            raise TrialError("the orphan published")
        then()
        os.kill(successor, signal.SIGCONT)
        return waited

    def published_by_another(self, attempt: Attempt, attempts: int | None = None) -> None:
        """Make sure that a later attempt, on another host, has published an attempt's job."""
        built = self.manifest(attempt.job)
        begun, host = built["attempts"], built["provenance"]["host"]
        if begun < 2 or begun != (attempts or begun) or host == attempt.host:
            raise TrialError(f"published by attempt {begun} on {host}")

    def until(self, true: Callable[[], bool], what: str, seconds: float = 120) -> None:
        if not wait(true, seconds):
            raise TrialError(
                f"{what}: not in {seconds:.0f} s\n{self.text()}\n{self.cluster.queue()}"
            )

    # What came of it

    def _watch(self) -> None:
        """Note each manifest that appears: a second one of a job would be another file."""
        while not self._over.wait(0.1):
            for path in (self.out / "jobs").glob("*/manifest.json"):
                with contextlib.suppress(OSError):
                    # Not its inode: a trial may copy the folder to another file system in the end.
                    self.published.setdefault(path.parent.name, set()).add(path.stat().st_mtime_ns)
            self.arrays.update({item["name"]: item["packs"] for item in self.entries()})

    def entries(self) -> list[dict[str, Any]]:
        """Return what the runs have submitted, or were about to: arrays with ``name``, id and packs."""
        result = []
        for path in (self.out / "slurm").glob("*/submitted.json"):
            with contextlib.suppress(OSError, ValueError):
                result += json.loads(path.read_text())["arrays"]
        return result

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
        return json.loads((self.out / "jobs" / job / "manifest.json").read_text())

    def check(self) -> None:
        """Make sure that the folder is as an undisturbed run leaves it."""
        assert self.smoke.lost(self.out) == 0, f"records lost\n{self.text()}"
        assert smoke.reliability.half_written(self.out) == []
        assert self.twice() == 0, "a job was published twice"
        result = self.status()
        assert not result["failed"], result["failed"]
        assert not result["running"], result["running"]
        wait(lambda: not self.cluster.queue(), 15)
        assert self.cluster.queue() == [], "tasks are left in the queue"

    def close(self) -> None:
        for run in self.runs:
            if run.poll() is None:
                os.killpg(run.pid, signal.SIGKILL)
            run.wait()
        for pid in self.cluster.daemons.tasks():
            os.kill(pid, signal.SIGCONT)
        self.cluster.ask("scancel", "--user", getuser())
        self._over.set()
        self._watcher.join()
