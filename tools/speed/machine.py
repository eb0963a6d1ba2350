"""Which machine measured, and whether it was quiet."""

import os
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
QUIET = 0.1  # of the cores that others use, up to which a machine is called quiet
PACKAGES = ("torch", "monai", "numpy", "pandas", "pyarrow")


def quiet(busy: float | None = None) -> str:
    """Say whether others use the machine, by the share of all cores that is busy in the second before."""
    busy = _busy() if busy is None else busy
    cores, load = os.cpu_count(), os.getloadavg()[0]
    word = "quiet" if busy <= QUIET else "not quiet"
    return (
        f"{word}: {100 * busy:.0f} % of {cores} cores busy, load average {load:.1f} when it began"
    )


def _busy() -> float:
    def ticks() -> tuple[int, int]:
        counts = [int(n) for n in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
        return sum(counts), counts[3] + counts[4]  # idle and waiting for a disk

    before = ticks()
    time.sleep(1)
    total, idle = (b - a for a, b in zip(before, ticks(), strict=True))
    return 1 - idle / max(total, 1)


def machine() -> dict[str, str]:
    """Return what a table says of where it was measured."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next(
        (line.split(": ")[1] for line in lines if line.startswith("model name")), platform.machine()
    )
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    python = sys.version.split()[0]
    return {
        "processor": model,
        "commit": f"commit {commit()}",
        "versions": f"Python {python}, {packages}",
    }


def commit() -> str:
    """Return the commit of this tree, and whether more than the measured page differs from it."""
    git = ["git", "-C", str(ROOT)]
    name = subprocess.run(
        [*git, "rev-parse", "--short=10", "HEAD"], capture_output=True, text=True
    ).stdout
    drawn = [f":!docs/{name}" for name in ("speed.md", "growth.json", "growth_*.svg")]
    changed = subprocess.run(
        [*git, "status", "--porcelain", "--", ".", *drawn], capture_output=True, text=True
    )
    return name.strip() + (" and changes" if changed.stdout else "")


def resident(field: str) -> float:
    """Return the MB that this process holds (``VmRSS``), or held at most (``VmHWM``)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def fake_slurm(folder: Path) -> None:
    """Write an ``sbatch`` that answers at once and notes its calls, and a ``squeue`` and ``srun`` that say nothing."""
    call = f'echo call >> "{folder}/calls"; echo "Submitted batch job $(wc -l < "{folder}/calls")"'
    for tool, body in {"sbatch": call, "squeue": "", "srun": ""}.items():
        (folder / tool).write_text(f"#!/bin/sh\n{body}\n")
        (folder / tool).chmod(0o755)
    os.environ["PATH"] = f"{folder}:{os.environ['PATH']}"
