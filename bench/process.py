"""Is a process still the one that it was?"""

from __future__ import annotations

import os
from pathlib import Path


def started(pid: int) -> str:
    """Return when a process started, empty where it is no more.

    So that a reused process number is not mistaken for it.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return _elsewhere(pid)
    return "" if fields[0] == "Z" else fields[19]


def _elsewhere(pid: int) -> str:
    if Path("/proc/self").exists():
        return ""  # Linux, and there is no such process
    try:
        os.kill(pid, 0)
    except OSError:
        return ""
    return "unknown"
