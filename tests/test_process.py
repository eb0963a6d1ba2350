"""Which GPUs a command may use, and which one a worker takes."""

import pytest
import torch

from bench import distributed, process


@pytest.mark.parametrize(("said", "count"), [("0,1,3", 3), ("", 0), ("-1", 0), ("GPU-8a, GPU-9b", 2)])
def test_the_gpus_that_the_environment_allows_are_counted(said, count, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", said)
    assert process.gpus() == count


def test_workers_take_the_gpus_of_a_machine_in_turn(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    taken = []
    for number in range(4):
        monkeypatch.setenv(process.WORKER, str(number))
        taken.append(distributed.local_device())
    assert taken == [0, 1, 0, 1]
