"""Daemons of one folder: started in the foreground, known by pid files, ended by them alone."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from config import cluster_name

SBIN = ("/usr/sbin", "/sbin", "/usr/local/sbin")
ENDING = 5.0  # seconds that a daemon gets
ORDER = ("slurmd.", "slurmctld", "slurmdbd", "mariadbd", "munged")  # each needs the ones after it


def path() -> str:
    listed = os.environ.get("PATH", "").split(":")
    return ":".join(listed + [folder for folder in SBIN if folder not in listed])


def wait(true: Callable[[], bool], seconds: float, every: float = 0.1) -> bool:
    """Wait until something is true; False where it was not in time."""
    until = time.monotonic() + seconds
    while not true():
        if time.monotonic() > until:
            return False
        time.sleep(every)
    return True


class Daemons:
    """Named processes whose pid files lie in ``folder/run``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "PATH": path(), "SLURM_CONF": str(self.folder / "slurm.conf")}

    def start(self, name: str, command: list[str], more: dict[str, str] | None = None) -> None:
        """Start a daemon, its output in ``log/NAME.log``."""
        self._reap(name)
        environment = {**self.environment, **(more or {})}
        with (self.folder / "log" / f"{name}.out.log").open("ab") as log:
            child = subprocess.Popen(
                command,
                env=environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._children[name] = child
        (self.folder / "run" / f"{name}.pid").write_text(f"{child.pid} {_born(child.pid)}")

    def pid(self, name: str) -> int | None:
        """Return a daemon's process, None where it is no more.

        The start time is compared: the number may be another's by now.
        """
        try:
            number, born = (self.folder / "run" / f"{name}.pid").read_text().split()
        except (OSError, ValueError):
            return None
        return int(number) if born == _born(int(number)) and self._ours(int(number)) else None

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        pid = self.pid(name)
        if pid is not None:
            os.kill(pid, number)
        if number == signal.SIGKILL:
            self._reap(name)

    def end(self, name: str) -> None:
        self.kill(name, signal.SIGTERM)
        if not wait(lambda: self.pid(name) is None, ENDING):
            self.kill(name)
        self._reap(name)
        (self.folder / "run" / f"{name}.pid").unlink(missing_ok=True)

    def stop(self) -> None:
        """End all daemons, then what they left of jobs whose node was killed."""
        names = [path.stem for path in (self.folder / "run").glob("*.pid")]
        for name in sorted(
            names, key=lambda n: next(i for i, o in enumerate(ORDER) if n.startswith(o))
        ):
            self.end(name)
        for pid in self.tasks():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)  # ends a frozen one, too

    def tasks(self) -> list[int]:
        """Return the processes of jobs and their keepers, whatever became of the daemons."""
        processes = (int(item.name) for item in Path("/proc").iterdir() if item.name.isdecimal())
        return [pid for pid in processes if self._ours(pid) and self._in_job(pid)]

    def _ours(self, pid: int) -> bool:
        if environment(pid).get("SLURM_CONF") == self.environment["SLURM_CONF"]:
            return True
        # A daemon may hide its environment, from others than root.
        return bytes(self.folder) + b"/" in _read(pid, "cmdline")

    def _in_job(self, pid: int) -> bool:
        # Whoever looks may be in a job of another cluster, with our SLURM_CONF beside it.
        inside = environment(pid).get("SLURM_CLUSTER_NAME") == cluster_name(self.folder)
        return inside or _read(pid, "cmdline").startswith(b"slurmstepd")

    def _reap(self, name: str) -> None:
        child = self._children.get(name)
        if child is not None and wait(lambda: child.poll() is not None, 2 * ENDING):
            del self._children[name]


def environment(pid: int) -> dict[str, str]:
    entries = _read(pid, "environ").decode(errors="replace").split("\0")
    return dict(item.split("=", 1) for item in entries if "=" in item)


def children(pid: int) -> set[int]:
    return {int(child) for child in _read(pid, f"task/{pid}/children").split()}


def _born(pid: int) -> str:
    """Return when a process started; empty where it is gone or a zombie."""
    fields = _read(pid, "stat").decode().rpartition(")")[2].split()
    return fields[19] if fields and fields[0] not in "ZX" else ""


def _read(pid: int, what: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{what}").read_bytes()
    except OSError:
        return b""
