"""Processes of one task that meet, train together and say which of them failed."""

import json
import subprocess
import sys

import pytest

from bench.executors import together
from bench.jobs.execute import Outcome

OTHER = """
import sys, pathlib
from bench.executors import together
from bench.jobs.execute import Outcome
def part(job):
    from bench import world
    print(job, world.rank(), world.size(), world.agree(False), flush=True)
    return Outcome(job, sys.argv[2], "out of memory")
together.attend(pathlib.Path(sys.argv[1]), lambda: False, part)
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


def test_the_second_process_trains_the_leaders_job_and_ends_after_it(second):
    from bench import world

    start, meeting = second
    process = start()
    with together.lead(meeting, 2) as led:
        with led("j1"):
            assert (world.rank(), world.size(), world.agree(True)) == (0, 2, True)
        assert process.stdout.readline() == "j1 1 2 True\n"
        assert world.size() == 1
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1.0)  # srun would else end the leader while it saves
    assert process.communicate(timeout=60)[0] == "over\n"
    assert process.returncode == 0


def test_without_anything_to_train_the_second_process_ends(second):
    start, meeting = second
    process = start()
    with together.lead(meeting, 2):
        pass
    assert process.communicate(timeout=60)[0] == "over\n"


def test_the_reason_of_the_process_that_failed_stands_beside_the_leaders(second):
    from bench import world

    start, meeting = second
    process = start("failed")
    with together.lead(meeting, 2) as led, led("j1"):
        world.agree(False)
    process.communicate(timeout=60)
    lost = Outcome("j1", "failed", "RuntimeError: [gloo/transport/tcp/pair.cc] Connection reset by peer")
    reason = together.blamed(lost, meeting).reason
    assert reason == "another process of the task ended in the middle of training; process 1: out of memory"
    assert together.blamed(Outcome("j1", "done"), meeting).reason == ""


def test_a_process_that_is_stopped_does_not_wait_for_a_leader_that_never_comes(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    together.attend(tmp_path / "meeting.json", lambda: True, lambda job: Outcome(job, "done"))
    assert json.dumps(list(tmp_path.iterdir())) == "[]"
