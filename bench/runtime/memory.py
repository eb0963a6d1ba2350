"""The memory of one job, in a process that may have done other jobs before it: pages kept, peak told."""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

from bench.process import environment

PROCESS = Path("/proc/self")
SLACK = 4.0  # MB that a process may grow by between two looks
TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3  # malloc.h of glibc
# bytes from which an array is mapped by itself; older glibc takes 32 MiB at most
MAPPED = (2**30, 2**25)
TUNABLES, UNCACHED = "GLIBC_TUNABLES", "glibc.malloc.tcache_count=0:glibc.malloc.mxfast=0"
STARTING = Lock()
LIMITS = {TRIM_THRESHOLD: 2**31 - 1, TOP_PAD: 64 << 20}  # bytes


@lru_cache(maxsize=1)
def keep_pages() -> None:
    """Let this process keep the pages of arrays that are gone for those to come; glibc alone can.

    A step frees what it allocated. glibc gives large arrays back at once and the system zeroes fresh
    pages for the next step: 3 to 10 % of a small network's step, a third of its inference (docs/speed.md).
    Only where arrays will fit into them (``fitting_pages``): else a process may grow with every step.
    """
    libc = _glibc() if UNCACHED in os.environ.get(TUNABLES, "") else None
    # first: once any of them is set, glibc no longer finds a threshold by itself
    if libc is not None and any(libc.mallopt(MMAP_THRESHOLD, size) for size in MAPPED):
        for name, value in LIMITS.items():
            libc.mallopt(name, value)


@contextmanager
def fitting_pages() -> Iterator[None]:
    """Let processes that are started meanwhile fit new arrays into the kept pages of those that are gone.

    For an aligned array glibc 2.36 asks for a little more and puts what it cuts off into caches of small
    blocks, where it parts the array, once it is gone, from free memory beside it: the next of its size does
    not fit. By luck a sliding window then held two to three times its memory, two arrays in turn twenty. Only
    the environment of a new process can switch these caches off; what a person has set wins.
    """
    with STARTING:  # the environment is one for all threads
        before = os.environ.get(TUNABLES)
        with environment({TUNABLES: UNCACHED if before is None else f"{UNCACHED}:{before}"}):
            yield


def _glibc() -> Any:
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None


class Peak:
    """Begins where a job begins: an earlier job's peak is forgotten.

    A process remembers the most memory that it ever held. Linux lets it forget (``clear_refs``, proc(5)),
    and so does CUDA's allocator; a system that does not has no number for a job rather than a wrong one.
    """

    def __init__(self) -> None:
        libc = _glibc()
        if libc is not None:
            libc.malloc_trim(0)  # else pages kept from an earlier job would count as this one's
        self._resettable = _forget()
        self._children = _of_children()
        self._cuda = _cuda()
        if self._cuda is not None and self._cuda.is_initialized():  # else nothing was held yet
            self._cuda.reset_peak_memory_stats()

    def facts(self, children: int = 0) -> dict[str, float]:
        """Return what a manifest says, in MB: ``peak_memory_mb`` and ``peak_device_mb``, each where known.

        The largest of ``children`` processes at work at one time may have met the largest case as many times.
        """
        figures = {}
        peak = _status().get("VmHWM") if self._resettable else None
        largest = _of_children()
        # else an earlier job's was larger
        if peak is not None and (not children or largest > self._children):
            figures["peak_memory_mb"] = round(peak + children * largest, 1)
        held = self._cuda.max_memory_allocated() if self._cuda is not None else 0
        if held:  # else the job used no device
            figures["peak_device_mb"] = round(held / 2**20, 1)
        return figures


def _forget() -> bool:
    """Let this process forget its peak, and tell whether it did."""
    try:
        (PROCESS / "clear_refs").write_text("5")
    except OSError:
        return False
    now = _status()
    return "VmHWM" in now and now["VmHWM"] <= now.get("VmRSS", 0.0) + SLACK


def _status() -> dict[str, float]:
    """Return the sizes in ``status``, in MB; empty where there is no such file."""
    try:
        lines = (PROCESS / "status").read_text().splitlines()
    except OSError:
        return {}
    sizes = [line.replace(":", " ").split() for line in lines if line.endswith(" kB")]
    return {name: float(size) / 1024 for name, size, _ in sizes}


def _of_children() -> float:
    """Return the peak of the largest process that this one started and that ended, in MB."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def _cuda() -> Any:
    """Return ``torch.cuda`` where torch is there already and has a device, else None."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_available() else None
