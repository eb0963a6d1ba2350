"""What stands beside a result and is not part of its name: versions, machine, source."""

from __future__ import annotations

import platform
import subprocess
import sys
import time
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bench.jobs.made_by import source_hash

PACKAGES = ("bench", "torch", "monai", "numpy", "scipy", "nibabel", "blosc2", "lightning-fabric")


@lru_cache(maxsize=1)
def _fixed() -> dict[str, Any]:
    import torch

    device = torch.cuda.get_device_name(0) if torch.cuda.is_available() else _processor()
    return {
        "python": sys.version.split()[0],
        "packages": {name: _version(name) for name in PACKAGES},
        "host": platform.node(),
        "platform": platform.platform(),
        "device": device,
        "commit": _commit(),
    }


def provenance(job: dict[str, Any], threads: int) -> dict[str, Any]:
    """Return what a manifest records of its circumstances. No environment variable is kept."""
    from bench import world  # with it comes torch

    return {
        **_fixed(), "source": source_hash(job), "threads": threads, "processes": world.size(),
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }  # fmt: skip


def _processor() -> str:
    """Return the processor's own name where Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _commit() -> str:
    root = Path(__file__).resolve().parents[2]
    try:
        found = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "--short=12", "HEAD"],
            capture_output=True, text=True, timeout=5, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.strip()
