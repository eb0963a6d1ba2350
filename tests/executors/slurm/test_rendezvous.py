"""Processes of one task that meet, train together and say which of them failed."""

import socket
import subprocess
import sys

import pytest

from bench import distributed
from bench.executors.slurm import rendezvous

OTHER = """
import sys, pathlib
from bench.executors.slurm import rendezvous
from bench.runtime.execute import Outcome
def part(job):
    from bench import distributed
    print(job, distributed.rank(), distributed.size(), distributed.agree(False), flush=True)
    return Outcome(job, sys.argv[2], "out of memory")
rendezvous.attend(pathlib.Path(sys.argv[1]), part)
print("over", flush=True)
"""


@pytest.fixture
def second(tmp_path, monkeypatch):
    """Return a function that starts the second of two processes, and their meeting place."""
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    monkeypatch.setenv("SLURM_PROCID", "1")
    started = []

    def start(state="done"):
        command = [sys.executable, "-c", OTHER, str(tmp_path / "meeting.json"), state]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start, tmp_path / "meeting.json"
    for process in started:
        process.kill()
        process.communicate()


def test_the_second_process_trains_each_of_the_leaders_jobs_and_ends_after_it(second):
    start, meeting = second
    process = start()
    with rendezvous.lead(meeting, 2) as led:
        for job in ("j1", "j1", "j2"):  # it lost the first and got it back
            with led(job):
                assert (distributed.rank(), distributed.size()) == (0, 2)
                assert distributed.agree(True) is True
            assert process.stdout.readline() == f"{job} 1 2 True\n"
            assert distributed.size() == 1
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1.0)  # srun would else end the leader while it saves
    assert process.communicate(timeout=60)[0] == "over\n"
    assert process.returncode == 0


def test_a_closed_connection_is_explained_by_the_process_that_failed(second):
    start, meeting = second
    process = start("failed")
    with rendezvous.lead(meeting, 2) as led, led("j1"):
        distributed.agree(False)
    process.communicate(timeout=60)
    lost = "RuntimeError: [gloo/transport/tcp/pair.cc] Connection reset by peer"
    assert rendezvous.explained(lost, meeting) == "process 1 of the task failed: out of memory"
    assert rendezvous.explained("loss is not finite", meeting) == "loss is not finite"


def test_where_nobody_says_why_that_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(rendezvous, "WORDS", 0.1)
    told = rendezvous.explained("RuntimeError: gloo", tmp_path / "meeting.json")
    assert told == "another process of the task ended in the middle of training"


def test_a_node_whose_name_means_nothing_is_found_by_its_address(monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "no-such-node.invalid")
    monkeypatch.setenv("SLURM_LAUNCH_NODE_IPADDR", "10.0.0.7")
    assert rendezvous._address() == "10.0.0.7"
    monkeypatch.setattr(socket, "gethostname", lambda: "localhost")
    assert rendezvous._address() == "localhost"
