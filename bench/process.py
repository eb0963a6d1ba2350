"""Processes of this machine: what code from outside may do to one, and whether one is still what it was."""

from __future__ import annotations

import io
import locale
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

WORKER = "BENCH_WORKER"  # environment variable: the number of a worker among those of its command
# What asks a run to save and end. Batch systems send the last three before a limit.
STOPS = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGXCPU,
)
ANSWERED = (*STOPS, signal.SIGALRM, signal.SIGPIPE)  # torch's own is SIGCHLD


@contextmanager
def contained(retained: Sequence[str] = ()) -> Iterator[None]:
    """Undo what code from outside does to this process: to all that is one for a whole process but torch.

    That is the folder it works in, its environment, the mask of new files, how signals are answered, the
    standard streams, the locale, the filters of warnings. New folders of imports go behind the others.

    Args:
        retained: environment variables that stay as they are changed.
    """
    # it may be moved, or removed
    folder = os.open(".", getattr(os, "O_PATH", os.O_RDONLY) | os.O_CLOEXEC)
    before, mask, imports = dict(os.environ), _mask(), list(sys.path)
    words, streams = locale.setlocale(locale.LC_ALL), (sys.stdin, sys.stdout, sys.stderr)
    # it alone may say how signals are answered
    first = threading.current_thread() is threading.main_thread()
    answers = {n: signal.getsignal(n) for n in ANSWERED} if first else {}
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        with warnings.catch_warnings():
            yield
    finally:
        os.fchdir(folder)
        os.close(folder)
        changed = {*before, *os.environ} - ({*retained} & os.environ.keys())
        _set({name: before.get(name) for name in changed})
        if _mask() != mask:
            os.umask(mask)
        if locale.setlocale(locale.LC_ALL) != words:
            locale.setlocale(locale.LC_ALL, words)
        sys.stdin, sys.stdout, sys.stderr = streams
        sys.path[:] = [*imports, *(path for path in sys.path if path not in imports)]
        for number, handler in answers.items():
            if handler is not None and signal.getsignal(number) != handler:
                signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


@contextmanager
def environment(changes: Mapping[str, str | None]) -> Iterator[None]:
    """Have these environment variables inside, those with None not at all; then as before."""
    before = {name: os.environ.get(name) for name in changes}
    _set(changes)
    try:
        yield
    finally:
        _set(before)


def _set(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        elif os.environ.get(name) != value:
            os.environ[name] = value


def _mask() -> int:
    """Return the mask of new files; Linux tells it without setting another for a moment."""
    try:
        return int(Path("/proc/self/status").read_text().partition("Umask:")[2].split()[0], 8)
    except (OSError, IndexError, ValueError):
        mask = os.umask(0o077)
        os.umask(mask)
        return mask


def gpus() -> int:
    """Return how many NVIDIA GPUs this process may use, without loading torch."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is not None:
        return len([name for name in allowed.split(",") if name.strip() not in ("", "-1")])
    return len(list(Path("/dev").glob("nvidia[0-9]*")))


def task_id() -> str:
    """Return this process's task as SLURM names it, ``12`` or in an array ``12_3``; empty outside one."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    return (
        f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}"
        if array
        else os.environ.get("SLURM_JOB_ID", "")
    )


def started(pid: int) -> str:
    """Return when a process started, empty where it is no more.

    So that a reused process number is not mistaken for it.
    """
    try:
        if sys.platform != "linux":
            os.kill(pid, 0)
            return "unknown"
        fields = _stat(pid)
    except OSError:  # there is no such process
        return ""
    return "" if fields[0] == "Z" else fields[19]


def suspended(pid: int) -> bool:
    """Tell whether a process of this machine was stopped, as Ctrl-Z does it, and can go on."""
    try:
        return sys.platform == "linux" and _stat(pid)[0] == "T"
    except OSError:
        return False


def _stat(pid: int) -> list[str]:
    """Return what proc(5) says of a process, from its state on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def sight() -> str:
    """Return whose processes this one is sure to see by their numbers; empty where it is not sure.

    Two processes of one host whose answers are equal judge each other by ``started``: one boot of one
    kernel, one PID namespace that ``/proc`` shows, one user (``hidepid`` hides the others' processes).
    """
    if sys.platform != "linux":
        return f"user {os.getuid()}"
    try:
        if str(Path("/proc/self").readlink()) != str(os.getpid()):  # the /proc of another namespace
            return ""
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()} user {os.getuid()}"
    except OSError:
        return ""


def ready_streams() -> None:
    r"""Put ``/dev/null`` where a standard stream is closed, and show what a stream cannot spell as ``\xb1``.

    Called before any file is opened: a file that got the number of a closed stream would be written to
    by whatever prints, and by every process that is started later.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
    sys.stdin = sys.stdin or io.TextIOWrapper(io.FileIO(0, "r", closefd=False))
    sys.stdout, sys.stderr = _writer(sys.stdout, 1), _writer(sys.stderr, 2)


def _writer(stream: TextIO | None, number: int) -> TextIO:
    if stream is None:
        stream = io.TextIOWrapper(io.BufferedWriter(io.FileIO(number, "w", closefd=False)))
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
    return stream
