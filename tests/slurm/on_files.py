"""Faults of the shared file system."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from registry import fault, skip
from trial import Trial

from bench.store import LEASE


@fault("claims of a host that is no more, an hour old, on every job", quick=True)
def stale_claims(trial: Trial) -> str:
    return _claimed(trial, age=3600)


@fault("the same, but renewed a moment ago")
def fresh_claims(trial: Trial) -> str:
    began = time.monotonic()
    told = _claimed(trial, age=0)
    waited = time.monotonic() - began
    assert waited > LEASE, f"taken over after {waited:.0f} s already"
    return told


def _claimed(trial: Trial, age: float) -> str:
    held = {"host": "gone-host", "pid": 1, "start": "1", "since": time.time() - age}
    undisturbed = trial.smoke.path.parent / "local" / "jobs"  # ids are those of the contents, the same here
    jobs = sorted(folder.name for folder in undisturbed.iterdir())
    for job in jobs:
        folder = trial.out / "work" / job
        folder.mkdir(parents=True)
        (folder / "claim-0001").write_text(json.dumps(held))
        os.utime(folder / "claim-0001", (time.time() - age,) * 2)
    trial.start()
    told = trial.settle()
    manifests = [json.loads((trial.out / "jobs" / job / "manifest.json").read_text()) for job in jobs]
    assert {manifest["attempts"] for manifest in manifests} == {2}, "the claims were not there"
    return f"{told}; all {len(jobs)} jobs taken over"


@fault(
    "the output folder's file system is full from the middle of a job until the run ends; then it has room"
)
def full_disk(trial: Trial) -> str:
    with _small(trial.out) as room:
        trial.start()
        trial.hit()
        _fill(trial.out / "filler")
        code = trial.end()
        why = trial.text().strip().splitlines()[-1]
        _grow(room)
        return f"exit {code}: {why}; with room, the same command again: exit {trial.again()}"


@fault("the same, for 15 s")
def full_for_a_while(trial: Trial) -> str:
    with _small(trial.out):
        trial.start()
        trial.hit()
        _fill(trial.out / "filler")
        time.sleep(15)
        (trial.out / "filler").unlink()
        return trial.settle()


@contextmanager
def _small(folder: Path) -> Iterator[Path]:
    """Yield a folder whose file system holds 64 MB; what it holds afterwards is kept."""
    folder.mkdir(parents=True)
    mounted = ["mount", "-t", "tmpfs", "-o", "size=64m", "bench-slurm", str(folder)]
    if subprocess.run(mounted, capture_output=True, check=False).returncode:
        skip("mounting needs root")
    kept = folder.with_name("kept")
    try:
        yield folder
        subprocess.run(["cp", "-a", str(folder), str(kept)], check=True)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
    folder.rmdir()
    kept.rename(folder)


def _grow(folder: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=256m", str(folder)], check=True)


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            pass
