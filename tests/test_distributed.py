"""What several processes know of each other, and gradients that pass between them, by hand."""

import pytest
import torch

from bench import distributed, process

BYTES = (b"", b"abc", bytes(10**6))


def told():
    mine = distributed.rank()
    return {
        "who": (mine, distributed.size()),
        "parts": distributed.parts(2),
        "mean": distributed.mean(torch.tensor([1.0, 4.0 * mine])).tolist(),
        "agree": [distributed.agree(value) for value in (mine == 1, mine == 0, False)],
        "bytes": [distributed.share_bytes(None if mine else raw) for raw in BYTES],
        "rows": distributed.gather(torch.full((2, 3), mine)).tolist(),
    }


def test_alone_a_process_is_the_whole_world():
    x = torch.ones(2, 3, requires_grad=True)
    assert (distributed.rank(), distributed.size(), distributed.local_device()) == (0, 1, 0)
    assert distributed.parts() == [(0, 1)] and distributed.parts(3) == [(0, 3), (1, 3), (2, 3)]
    assert distributed.gather(x) is x and distributed.mean(x) is x
    assert (distributed.agree(True), distributed.agree(False)) == (True, False)
    assert (distributed.share_bytes(b"x"), distributed.share_bytes(None)) == (b"x", b"")


def test_two_processes_know_each_other(pair):
    one, two = pair(told)
    assert (one.pop("who"), two.pop("who")) == ((0, 2), (1, 2))
    assert (one.pop("parts"), two.pop("parts")) == ([(0, 4), (2, 4)], [(1, 4), (3, 4)])
    assert one == two
    assert one["mean"] == [1.0, 2.0] and one["agree"] == [True, True, False]
    assert one["bytes"] == [*BYTES]
    assert one["rows"] == [[0, 0, 0]] * 2 + [[1, 1, 1]] * 2


def gradient_of_gathered():
    """Process r holds x_r = r + 1 and minimises (r + 1) (x_0 + 10 x_1^2)."""
    mine = distributed.rank() + 1
    x = torch.tensor([[float(mine)]], requires_grad=True)
    first, second = distributed.gather(x)
    (mine * (first + 10 * second**2)).backward()
    return x.grad.item()


def test_the_gradient_of_gathered_rows_is_summed_over_what_all_processes_do_with_them(pair):
    # over both losses: d/dx_0 = 1 + 2, d/dx_1 = (1 + 2) 20 x_1 = 120
    assert pair(gradient_of_gathered) == [3.0, 120.0]


def strided():
    x = (10.0 * distributed.rank() + torch.arange(6.0)).view(2, 3).t()
    x.requires_grad_()
    rows = distributed.gather(x)
    (rows * torch.arange(12.0).view(6, 2)).sum().backward()
    return rows.detach(), x.grad


def test_rows_that_are_not_contiguous_gather_alike(pair):
    (rows, one), (same, two) = pair(strided)
    expected = torch.cat([(10.0 * r + torch.arange(6.0)).view(2, 3).t() for r in range(2)])
    assert torch.equal(rows, expected) and torch.equal(same, expected)
    assert torch.equal(torch.cat([one, two]), 2 * torch.arange(12.0).view(6, 2))


@pytest.mark.parametrize("together", [True, False])  # a task of SLURM's, or a worker of one machine
@pytest.mark.parametrize(
    ("number", "gpus", "expected"), [("3", 4, 3), ("3", 1, 0), ("5", 4, 1), (None, 0, 0)]
)
def test_a_process_takes_the_gpu_of_its_number_on_the_host(
    together, number, gpus, expected, monkeypatch
):
    monkeypatch.setattr(distributed, "_together", lambda: together)
    monkeypatch.setattr(distributed, "rank", lambda: 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    for name in ("SLURM_LOCALID", process.WORKER):
        monkeypatch.delenv(name, raising=False)
    if number is not None:
        monkeypatch.setenv("SLURM_LOCALID" if together else process.WORKER, number)
    assert distributed.local_device() == expected


@pytest.mark.parametrize(
    ("said", "count"), [("0,1,3", 3), ("", 0), ("-1", 0), ("GPU-8a, GPU-9b", 2)]
)
def test_the_gpus_that_the_environment_allows_are_counted(said, count, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", said)
    assert process.gpus() == count
