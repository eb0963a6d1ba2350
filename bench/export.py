"""``bench export``: the weights of a finished job as a file for others, and for ``init: FILE``."""

from __future__ import annotations

import re
from pathlib import Path

from bench.errors import BenchError, unknown
from bench.nets import exported, transfer
from bench.store import Store

JOB = re.compile(r"[0-9a-f]{1,16}")
KINDS = ("pretrain", "finetune")


def export(store: Store, job: str, to: Path, format: str) -> str:
    """Write what a pretraining or a fine-tuning made, and return one line about it.

    Args:
        store: the output folder.
        job: id, or the beginning of one; ``@step`` after it names a snapshot of a pretraining.
        to: the file, which is not there yet; its suffix is one of the format's.
        format: a key of ``exported.FORMATS``.

    Raises:
        BenchError: no such job or snapshot, a job without weights, a format that does not know the network,
            a file that exists, has another format's suffix, or cannot be written.
    """
    name, _, step = job.partition("@")
    folder = store.jobs / _whole(store, name)
    kind = store.manifest(folder.name).get("kind", "unknown")
    if kind not in KINDS:
        raise BenchError(
            f"job {folder.name} is one of kind {kind}, which has no weights; name a pretrain job"
        )
    weights = f"weights-{step}" if step else "weights"
    path = folder / f"{weights if kind == 'pretrain' else step or 'last'}.safetensors"
    if path.parent != folder or not path.is_file():
        there = ", ".join(sorted(p.name for p in folder.glob("*.safetensors")))
        raise BenchError(f"{path}: no such weights; the job has {there}")
    _check_target(to, format)
    tensors, manifest = transfer.read(path)
    exported.write(to, tensors, manifest, format)
    values = sum(t.numel() for t in tensors.values())
    what = f"{manifest.network}/{manifest.preset}, {len(tensors)} tensors, {values:,} values"
    return f"{to}: {what}, of {kind} {folder.name}" + (f" at step {step}" if step else "")


def _check_target(to: Path, format: str) -> None:
    """Refuse to replace a file, and a suffix that says another format: readers choose by it."""
    if format not in exported.FORMATS:
        raise BenchError(unknown("format", format, exported.FORMATS))
    suffixes = exported.FORMATS[format]
    if to.is_dir():
        raise BenchError(f"{to}: is a folder; name a file in it")
    if to.exists() or to.is_symlink():
        raise BenchError(f"{to}: exists already; name another file, or remove this one first")
    if to.suffix not in suffixes:
        fitting = [name for name, own in exported.FORMATS.items() if to.suffix in own]
        ways = [f"name it {to.stem}{suffixes[0]}", *(f"--format {name} for {to.suffix}" for name in fitting)]
        raise BenchError(
            f"{to}: format {format!r} is written to a {' or '.join(suffixes)} file; {', or '.join(ways)}"
        )
    if not to.absolute().parent.is_dir():
        raise BenchError(f"{to}: its folder does not exist; make it first")


def _whole(store: Store, start: str) -> str:
    """Return the finished job whose id begins like this."""
    found = [p.name for p in store.jobs.glob(f"{start}*")] if JOB.fullmatch(start) else []
    if len(found) != 1:
        what = f"{len(found)} jobs begin so" if found else "no finished job begins so"
        raise BenchError(f"{start[:40]}: {what}; 'bench plan PROTOCOL --json' lists the ids")
    return found[0]
