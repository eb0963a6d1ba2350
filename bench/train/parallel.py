"""One objective trained by several processes as if by one."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from bench import distributed


def together(objective: nn.Module) -> nn.Module:
    """Return what to call in the place of ``objective``, which lies on its device already.

    Alone that is the objective itself. Among several processes its batch norms (exchanged in place,
    keys of ``state_dict`` as before) take their statistics over the global batch, and gradients are
    averaged over processes.
    """
    if distributed.size() == 1:
        return objective
    if next(objective.parameters()).is_cuda:
        nn.SyncBatchNorm.convert_sync_batchnorm(objective)
    else:
        _exchange(objective)
    return DistributedDataParallel(objective, find_unused_parameters=True)


def keeping_gradients(called: nn.Module, keep: bool) -> AbstractContextManager[None]:
    """Return a context in which gradients are, to ``keep``, not averaged yet: more will be added to them."""
    return (
        called.no_sync() if keep and isinstance(called, DistributedDataParallel) else nullcontext()
    )


def _exchange(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, _BatchNorm):
            setattr(module, name, GlobalBatchNorm(child))
        else:
            _exchange(child)


class GlobalBatchNorm(_BatchNorm):
    """Batch norm over the batches of all processes, on a CPU: torch's ``SyncBatchNorm`` needs a GPU.

    Args:
        norm: whose parameters, statistics and settings it takes over; of any number of dimensions.
    """

    def __init__(self, norm: _BatchNorm) -> None:
        super().__init__(norm.num_features)
        self.__dict__.update(norm.__dict__)

    def _check_input_dim(self, input: Tensor) -> None:
        """Take any shape (N, C, ...)."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (N, C, ...), N equal in all processes; in evaluation they know nothing of each other."""
        if not self.training:
            return super().forward(input)
        axes, shape = [0, *range(2, input.ndim)], (1, -1, *[1] * (input.ndim - 2))
        moments = torch.stack(torch.var_mean(input, axes, correction=0))
        variances, means = distributed.gather(moments[None]).unbind(1)
        mean = means.mean(0)
        variance = (variances + (means - mean).square()).mean(0)
        seen = self.num_batches_tracked
        if self.running_mean is not None and self.running_var is not None and seen is not None:
            count = distributed.size() * input.numel() // len(mean)
            seen.add_(1)
            share = self.momentum if self.momentum is not None else 1 / float(seen)
            self.running_mean.lerp_(mean.detach(), share)
            self.running_var.lerp_(variance.detach() * (count / (count - 1)), share)
        x = (input - mean.view(shape)) * (variance + self.eps).rsqrt().view(shape)
        return x if self.weight is None else x * self.weight.view(shape) + self.bias.view(shape)
