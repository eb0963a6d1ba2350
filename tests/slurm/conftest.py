"""A cluster for the session, healthy and empty before each test."""

import shutil
import tempfile
from pathlib import Path

import pytest
from config import Cluster
from sandbox import Sandbox, lacking, stopping_on_sigterm
from smoke import CELL, Smoke
from trial import Trial


@pytest.fixture(scope="session")
def session_cluster():
    why = lacking()
    if why:
        pytest.skip(why)
    # Not pytest's own folder: sockets need a short path.
    folder = Path(tempfile.mkdtemp(prefix="bench-slurm-"))
    try:
        with Sandbox(folder / "c", Cluster()) as made, stopping_on_sigterm():
            yield made
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def cluster(session_cluster):
    session_cluster.recover()
    return session_cluster


@pytest.fixture(scope="session")
def cell(tmp_path_factory):
    """Return the smallest run, and its records by this machine's own workers."""
    return Smoke.make(tmp_path_factory.mktemp("cell"), pretrain=4, finetune=40, only=CELL)


@pytest.fixture
def trial(cluster, cell, tmp_path):
    """Return a run of the smallest part of the smoke protocol on the cluster, not started yet."""
    made = Trial(cluster, cell, tmp_path)
    yield made
    made.close()
