"""What stands beside a result and is not part of its name: versions, machine, source."""

from __future__ import annotations

import hashlib
import platform
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bench import __version__
from bench.runtime.sources import ROOT, source_hash

PACKAGES = ("torch", "monai", "numpy", "scipy", "nibabel", "blosc2", "lightning-fabric")
MAKES = ("bench", "methods", "datasets")  # the folders of a clone that numbers come from


@lru_cache(maxsize=1)
def _fixed() -> dict[str, Any]:
    import torch

    device = torch.cuda.get_device_name(0) if torch.cuda.is_available() else _processor()
    return {
        "python": sys.version.split()[0],
        "packages": {"bench": __version__, **{name: _version(name) for name in PACKAGES}},
        "host": platform.node(),
        "platform": platform.platform(),
        "device": device,
        **asdict(tree()),
    }


def provenance(made_by: Mapping[str, str], threads: int) -> dict[str, Any]:
    """Return what a manifest records of its circumstances. No environment variable is kept.

    ``made_by`` are the files behind the job, as ``sources`` returned them before it began.
    """
    from bench import distributed  # with it comes torch

    return {
        **_fixed(),
        "source": source_hash(made_by),
        "sources": dict(made_by),
        "threads": threads,
        "processes": distributed.size(),
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def versions() -> str:
    """Return bench's version, its commit, and the versions of what it runs on; imports none of them."""
    commit = tree().commit + ("+" if tree().modified else "")
    parts = (f"commit {commit}" if commit else "", f"Python {platform.python_version()}")
    packages = (f"{name} {_version(name) or 'not there'}" for name in ("torch", "monai"))
    return ", ".join(filter(None, (f"bench {__version__}", *parts, *packages)))


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


@dataclass(frozen=True)
class Tree:
    """The state of the clone that this bench runs from; nothing where it is installed without one."""

    commit: str = ""
    modified: bool = False
    changed: str = ""  # digest of what was modified


@lru_cache(maxsize=1)
def tree(root: Path = ROOT) -> Tree:
    """Return the commit of a clone, and whether what makes numbers was modified or never committed.

    Looked at once a process: later edits are not in what it has imported. A folder ``root`` inside another
    project's clone has no commit.
    """
    head = _git(root, "rev-parse", "--show-toplevel", "--short=12", "HEAD").splitlines()
    if len(head) < 2 or Path(head[0]).resolve() != root.resolve():
        return Tree()
    how = ("--porcelain", "-z", "--no-renames", "--untracked-files=all")
    lines = filter(None, _git(root, "status", *how, "--", *MAKES).split("\0"))
    names = [line[3:] for line in lines if line[:2] != "??" or line.endswith(".py")]
    digest = hashlib.sha256()
    for name in sorted(names):
        digest.update(name.encode(errors="surrogateescape") + b"\0")
        with suppress(OSError):  # deleted
            digest.update((root / name).read_bytes() + b"\0")
    return Tree(head[1], bool(names), digest.hexdigest()[:12] if names else "")


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "--no-optional-locks", "-C", str(root), *arguments]
    run = partial(subprocess.run, capture_output=True, text=True, errors="surrogateescape")
    try:
        ran = run(command, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return ran.stdout if ran.returncode == 0 else ""
