"""The processes that train one model together: who this one is, and what all of them know.

Alone, without ``joined``, a process is number 0 of 1 and every function returns what it was given.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from bench.process import WORKER

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store  # torch.distributed has it, unknown to mypy

# for each other, as while process 0 validates; a dead one closes its connection
WAIT = timedelta(days=1)


@contextmanager
def joined(rank: int, size: int, store: Store) -> Iterator[None]:
    """Be process ``rank`` of ``size`` that find each other through ``store``.

    Tensors on the CPU travel by gloo, those on a GPU by NCCL.
    """
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=WAIT)
    try:
        yield
    finally:
        dist.destroy_process_group()


def rank() -> int:
    """Return this process's number, from 0."""
    return dist.get_rank() if _together() else 0


def size() -> int:
    """Return how many processes train together."""
    return dist.get_world_size() if _together() else 1


def local_device() -> int:
    """Return the index of this process's GPU among those visible.

    Processes of one task take them in SLURM's order, workers of one machine in turn.
    """
    alone = os.environ.get(WORKER, "0")
    number = os.environ.get("SLURM_LOCALID", str(rank())) if _together() else alone
    return int(number) % max(1, torch.cuda.device_count())


def parts(accumulate: int = 1) -> list[tuple[int, int]]:
    """Return the parts (p, P) of every batch that are this process's, one per micro-batch, in order.

    A batch is cut into P = ``accumulate`` x ``size()`` equal parts of neighbouring rows; part p is its rows
    p B / P to (p + 1) B / P.
    """
    return [(micro * size() + rank(), accumulate * size()) for micro in range(accumulate)]


def gather(x: Tensor) -> Tensor:
    """Return the rows of all processes in the order of their numbers, (size() * N, ...) from (N, ...) each.

    Gradients flow back to every process's rows, summed over what all processes do with them. So a loss
    that each process computes on gathered rows has, after averaging gradients over processes, exactly
    the gradient of that loss in one process.
    """
    rows: Tensor = _Gather.apply(x) if size() > 1 else x
    return rows


def mean(x: Tensor) -> Tensor:
    """Return the mean over processes of a tensor, for reports and denominators: it passes no gradient on."""
    if size() == 1:
        return x
    total = x.detach().clone()
    dist.all_reduce(total)
    return total / size()


def agree(flag: bool) -> bool:
    """Return whether any process says so."""
    if size() == 1:
        return flag
    flags = torch.tensor(int(flag))
    dist.all_reduce(flags, dist.ReduceOp.MAX)
    return bool(flags)


def share_bytes(data: bytes | None) -> bytes:
    """Return process 0's ``data`` in every process; what the others give is not looked at."""
    if size() == 1:
        return data or b""
    length = torch.tensor(len(data or b""))
    dist.broadcast(length, 0)
    shared = np.empty(int(length), np.uint8)
    if rank() == 0:
        shared[:] = np.frombuffer(data or b"", np.uint8)
    dist.broadcast(torch.from_numpy(shared), 0)
    return shared.tobytes()


def _together() -> bool:
    return dist.is_available() and dist.is_initialized()


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.contiguous()
        rows = [torch.empty_like(x) for _ in range(size())]
        dist.all_gather(rows, x)
        return torch.cat(rows)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total.chunk(size())[rank()]
