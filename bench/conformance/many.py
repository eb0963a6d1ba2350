"""Many processes of one training, of which only this one exists: torch's fake process group.

What crosses processes has its shape and its bytes; its numbers mean nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode


@dataclass
class Traffic:
    """Bytes that this process hands to the others in a step."""

    gathered: int = 0  # rows that all processes see
    reduced: int = 0  # sums over processes: gradients of gathered rows, means for reports
    gradients: int = 0  # of parameters, averaged

    def received(self, size: int) -> int:
        """Return the bytes that rows of all processes take in this one's memory."""
        return self.gathered * size


class _Counting(TorchDispatchMode):
    def __init__(self, traffic: Traffic) -> None:
        super().__init__()
        self.traffic = traffic

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func.namespace == "c10d":
            name = func.overloadpacket.__name__
            if "gather" in name:
                self.traffic.gathered += _bytes(args[1])
            elif "reduce" in name:
                self.traffic.reduced += _bytes(args[0])
        return func(*args, **(kwargs or {}))


def _bytes(sent: Any) -> int:
    return sum(x.nbytes for x in pytree.tree_leaves(sent) if isinstance(x, Tensor))


@contextmanager
def fake_processes(size: int, rank: int = 1) -> Iterator[Traffic]:
    """Be process ``rank`` of ``size``, none of which exists; yields what is handed to the others."""
    from torch.testing._internal.distributed.fake_pg import FakeStore

    traffic = Traffic()
    dist.init_process_group("fake", store=FakeStore(), rank=rank, world_size=size)
    try:
        with _Counting(traffic):
            yield traffic
    finally:
        dist.destroy_process_group()


def count_gradients(called: nn.Module, traffic: Traffic) -> None:
    """Count the gradients that ``train.parallel.together`` has averaged, and leave them as they are."""
    if not isinstance(called, DistributedDataParallel):
        raise TypeError(
            "gradients are averaged of what 'together' returned among several processes"
        )

    def counted(averaged: Tensor) -> torch.futures.Future[Tensor]:
        traffic.gradients += averaged.nbytes
        done: torch.futures.Future[Tensor] = torch.futures.Future()
        done.set_result(averaged)
        return done

    called.register_comm_hook(None, lambda state, bucket: counted(bucket.buffer()))
