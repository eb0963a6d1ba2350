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
from smoke import BENCH
from trial import Trial


@fault("claims of a host that is no more, an hour old, on every job", quick=True)
def stale_claims(trial: Trial) -> str:
    _claim(trial, age=3600)
    trial.start()
    return trial.settle()


@fault("the same, but renewed a moment ago")
def fresh_claims(trial: Trial) -> str:
    _claim(trial, age=0)
    trial.start()
    return trial.settle()


def _claim(trial: Trial, age: float) -> None:
    only = [flag for key in trial.smoke.only for flag in ("--only", key)]
    command = [*BENCH, "plan", str(trial.smoke.path), "--out", str(trial.out), *only, "--json"]
    held = {"host": "gone-host", "pid": 1, "start": "1", "since": time.time() - age}
    for job in json.loads(subprocess.check_output(command))["jobs"]:
        folder = trial.out / "work" / job["id"]
        folder.mkdir(parents=True)
        (folder / "claim-0001").write_text(json.dumps(held))
        os.utime(folder / "claim-0001", (time.time() - age,) * 2)


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
