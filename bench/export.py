"""``bench export``: the weights of a finished job as a file for others, and for ``init: FILE``."""

from __future__ import annotations

import re
from pathlib import Path

from bench.errors import BenchError
from bench.nets import exported, transfer
from bench.store import Store

JOB = re.compile(r"[0-9a-f]{1,16}")
KINDS = ("pretrain", "finetune")


def export(store: Store, job: str, to: Path, format: str) -> str:
    """Write what a pretraining or a fine-tuning made, and return one line about it.

    Args:
        store: the output folder.
        job: id, or the beginning of one; ``@step`` after it names a snapshot of a pretraining.
        to: the file; an existing one is replaced.
        format: one of ``exported.FORMATS``.

    Raises:
        BenchError: no such job or snapshot, a job without weights, a format that does not know the network,
            or a file that cannot be written.
    """
    name, _, step = job.partition("@")
    folder = store.jobs / _whole(store, name)
    kind = store.manifest(folder.name).get("kind", "unknown")
    if kind not in KINDS:
        raise BenchError(
            f"job {folder.name} is one of kind {kind}, which has no weights; name a pretrain job"
        )
    path = folder / _file(kind, step)
    if path.parent != folder or not path.is_file():
        there = ", ".join(sorted(p.name for p in folder.glob("*.safetensors")))
        raise BenchError(f"{path}: no such weights; the job has {there}")
    if not to.absolute().parent.is_dir():
        raise BenchError(f"{to}: its folder does not exist; make it first")
    tensors, manifest = transfer.read(path)
    exported.write(to, tensors, manifest, format)
    values = sum(t.numel() for t in tensors.values())
    what = f"{manifest.network}/{manifest.preset}, {len(tensors)} tensors, {values:,} values"
    return f"{to}: {what}, of {kind} {folder.name}" + (f" at step {step}" if step else "")


def _file(kind: str, step: str) -> str:
    if kind == "pretrain":
        return f"weights-{step}.safetensors" if step else "weights.safetensors"
    return f"{step or 'last'}.safetensors"


def _whole(store: Store, start: str) -> str:
    """Return the finished job whose id begins like this."""
    found = [p.name for p in store.jobs.glob(f"{start}*")] if JOB.fullmatch(start) else []
    if len(found) != 1:
        what = f"{len(found)} jobs begin so" if found else "no finished job begins so"
        raise BenchError(f"{start[:40]}: {what}; 'bench plan PROTOCOL --json' lists the ids")
    return found[0]
