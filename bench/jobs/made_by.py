"""Which source files stand behind a kind of job, and their digest; imports nothing heavy."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
TRAINING = ("bench/data", "bench/nets", "bench/augment", "bench/train", "bench/random.py", "bench/world.py")
ROOMS = {
    "prepare": ("bench/data", "bench/jobs/prepare.py"),
    "guard": ("bench/data", "bench/jobs/guard.py", "bench/jobs/compare.py", "bench/jobs/inputs.py"),
    "pretrain": (
        *TRAINING, "bench/pretext", "bench/method.py", "bench/jobs/pretrain.py", "bench/jobs/watch.py",
        "bench/jobs/inputs.py",
    ),
    "finetune": (
        *TRAINING, "bench/jobs/finetune.py", "bench/jobs/initial.py", "bench/jobs/supervised.py",
        "bench/jobs/predict.py", "bench/jobs/window.py",
        "bench/jobs/classes.py", "bench/jobs/inputs.py",
    ),
    "latency": ("bench/nets", "bench/jobs/latency.py"),
    "embed": (
        "bench/data", "bench/nets", "bench/pretext/collapse.py", "bench/pretext/losses.py", "bench/random.py",
        "bench/jobs/embed.py", "bench/jobs/watch.py", "bench/jobs/initial.py", "bench/jobs/inputs.py",
    ),
    "evaluate": (
        "bench/data", "bench/nets", "bench/jobs/evaluate.py", "bench/jobs/predict.py", "bench/jobs/window.py",
        "bench/jobs/classes.py",
    ),
}  # fmt: skip


def source_hash(job: dict[str, Any]) -> str:
    """Return a digest of the files that a job's numbers come from.

    Args:
        job: ``kind`` and ``spec``, as a manifest has them.
    """
    plugin = ""
    if job["kind"] == "pretrain":
        plugin = f"methods/{job['spec']['method']['name']}.py"
    elif job["kind"] == "prepare":
        plugin = f"datasets/{job['spec']['dataset']}.py"
    return _digest(job["kind"], plugin)


@lru_cache(maxsize=256)
def _digest(kind: str, plugin: str) -> str:
    digest = hashlib.sha256()
    for room in (*ROOMS[kind], plugin) if plugin else ROOMS[kind]:
        path = ROOT / room
        files = sorted(path.rglob("*.py")) if path.is_dir() else [path] * path.is_file()
        for file in files:
            digest.update(file.relative_to(ROOT).as_posix().encode() + file.read_bytes())
    return digest.hexdigest()[:16]
