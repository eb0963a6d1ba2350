"""Attention as a card's fused kernels do it: queries, keys, values and result are kept, never the weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from bench.gpu.device import NAME, SecondTensor
from bench.gpu.work import Work

FORWARD, BACKWARD = (
    2,
    5,
)  # products of (n, d) and (d, m) matrices; the way back computes the weights anew


class Fused(TorchFunctionMode):
    """Takes attention without a mask to a fused kernel, as torch does on a card; counts its operations."""

    def __init__(self, work: Work) -> None:
        super().__init__()
        self._work = work

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Replace that one function."""
        kwargs = kwargs or {}
        ours = len(args) == 3 and all(isinstance(x, SecondTensor) for x in args)
        plain = func is functional.scaled_dot_product_attention and not kwargs.get("dropout_p")
        if not (ours and plain and kwargs.get("attn_mask") is None):
            return func(*args, **kwargs)
        if torch.is_autocast_enabled(NAME):
            args = tuple(x.to(torch.get_autocast_dtype(NAME)) for x in args)
        return _Attention.apply(*args, self._work)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, work: Work) -> Tensor:
        out = q.new_empty(*q.shape[:-1], v.shape[-1])
        ctx.save_for_backward(q, k, v, out, q.new_empty(q.shape[:-1], dtype=torch.float32))
        ctx.work = work
        _count(work, q, k, FORWARD)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, _, _ = ctx.saved_tensors
        _count(ctx.work, q, k, BACKWARD)
        return torch.empty_like(q), torch.empty_like(k), torch.empty_like(v), None


def _count(work: Work, q: Tensor, k: Tensor, products: int) -> None:
    kind = "half" if q.itemsize == 2 else "product"
    flops = products * 2.0 * q.numel() * k.shape[-2]
    work.add(kind, flops, float(products * (q.nbytes + k.nbytes)))
