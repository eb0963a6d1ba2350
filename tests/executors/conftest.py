"""Fakes of SLURM's commands, and a cluster in memory."""

import pytest
from in_memory import Site

from bench.executors.slurm import squeue
from bench.store import Store


@pytest.fixture
def fakes(tmp_path, monkeypatch):
    """Return a function that puts a shell script on PATH; each leaves its arguments in NAME.log."""
    folder = tmp_path / "fake bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr(squeue, "BETWEEN", 0.0)

    def add(name, body=""):
        script = folder / name
        script.write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" >> "{folder}/{name}.log"\n{body}\n')
        script.chmod(0o755)
        return folder / f"{name}.log"

    for name in ("sbatch", "squeue", "srun", "sacct", "scancel", "scontrol"):
        add(name)
    return add


@pytest.fixture
def site(monkeypatch):
    return Site().installed(monkeypatch)


@pytest.fixture
def store(tmp_path):
    return Store.open(tmp_path / "out")
