"""Autocast on the second device: the casts that torch makes on a card, by torch's own lists of operations.

torch/aten/src/ATen/autocast_mode.h, lists AT_FORALL_LOWER_PRECISION_FP, AT_FORALL_FP32, AT_FORALL_PROMOTE.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch._C import DispatchKeySet, _ExcludeDispatchKeyGuard
from torch.utils import _pytree as pytree

KEY = "AutocastPrivateUse1"
LOWER = [
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_tbc",
    "conv_transpose1d",
    "conv_transpose2d.input",
    "conv_transpose3d.input",
    "convolution",
    "_convolution",
    "prelu",
    "addmm",
    "addmv",
    "addr",
    "matmul",
    "einsum",
    "mm",
    "mv",
    "linalg_vecdot",
    "linear",
    "addbmm",
    "baddbmm",
    "bmm",
    "chain_matmul",
    "linalg_multi_dot",
    "_thnn_fused_lstm_cell",
    "_thnn_fused_gru_cell",
    "lstm_cell",
    "gru_cell",
    "rnn_tanh_cell",
    "rnn_relu_cell",
    "scaled_dot_product_attention",
]
SINGLE = [
    "acos",
    "asin",
    "cosh",
    "erfinv",
    "exp",
    "expm1",
    "log",
    "log10",
    "log2",
    "log1p",
    "reciprocal",
    "rsqrt",
    "sinh",
    "tan",
    "pow.Tensor_Scalar",
    "pow.Tensor_Tensor",
    "pow.Scalar",
    "softplus",
    "layer_norm",
    "native_layer_norm",
    "group_norm",
    "frobenius_norm.dim",
    "nuclear_norm",
    "nuclear_norm.dim",
    "cosine_similarity",
    "poisson_nll_loss",
    "cosine_embedding_loss",
    "nll_loss",
    "nll_loss2d",
    "hinge_embedding_loss",
    "kl_div",
    "l1_loss",
    "smooth_l1_loss",
    "huber_loss",
    "mse_loss",
    "margin_ranking_loss",
    "multilabel_margin_loss",
    "soft_margin_loss",
    "triplet_margin_loss",
    "multi_margin_loss",
    "binary_cross_entropy_with_logits",
    "dist",
    "pdist",
    "cdist",
    "renorm",
    "logsumexp",
    "upsample_nearest1d",
    "upsample_nearest2d",
    "upsample_nearest3d",
    "upsample_linear1d",
    "upsample_bilinear2d",
    "upsample_bicubic2d",
    "upsample_trilinear3d",
    "prod",
    "prod.dim_int",
    "softmax.int",
    "log_softmax.int",
    "cumprod",
    "cumsum",
    "linalg_vector_norm",
    "linalg_matrix_norm",
    "sum",
    "sum.dim_IntList",
]
WIDEST = [
    "addcdiv",
    "addcmul",
    "atan2",
    "bilinear",
    "cross",
    "dot",
    "vdot",
    "grid_sampler",
    "index_put",
    "tensordot",
    "scatter_add",
    "cat",
    "stack",
]
_copies = dict[
    int, tuple[Tensor, Tensor]
]()  # of weights, while autocast is on: as torch keeps them


@lru_cache(maxsize=1)
def _registered() -> Any:
    """Give torch the casts, once in a process; autocast on other devices is as before."""
    every = torch.library.Library("_", "IMPL")
    every.fallback(torch.library.fallthrough_kernel, KEY)
    library = torch.library.Library("aten", "IMPL")
    for names, cast in ((LOWER, _lower), (SINGLE, _single), (WIDEST, _widest)):
        for name in names:
            packet, _, overload = name.partition(".")
            operation = getattr(getattr(torch.ops.aten, packet), overload or "default")
            library.impl(name, _casting(operation, cast), KEY)
    return every, library


def _without() -> DispatchKeySet:
    return DispatchKeySet(getattr(torch._C.DispatchKey, KEY))


def _casting(operation: Any, cast: Callable[[list[Tensor]], torch.dtype | None]) -> Any:
    def run(*args: Any, **kwargs: Any) -> Any:
        with _ExcludeDispatchKeyGuard(_without()):
            leaves, shape = pytree.tree_flatten((args, kwargs))
            floats = [x for x in leaves if isinstance(x, Tensor) and x.is_floating_point()]
            dtype = cast(floats)
            if dtype is not None:
                leaves = [_cast(x, dtype) for x in leaves]
            args, kwargs = pytree.tree_unflatten(leaves, shape)
            return operation(*args, **kwargs)

    return run


def _lower(tensors: list[Tensor]) -> torch.dtype | None:
    return torch.get_autocast_dtype(torch._C._get_privateuse1_backend_name())


def _single(tensors: list[Tensor]) -> torch.dtype | None:
    return torch.float32


def _widest(tensors: list[Tensor]) -> torch.dtype | None:
    return torch.float32 if any(x.dtype == torch.float32 for x in tensors) else None


def _cast(x: Any, dtype: torch.dtype) -> Any:
    if not isinstance(x, Tensor) or not x.is_floating_point() or x.dtype in (dtype, torch.float64):
        return x
    if dtype == torch.float32 or not (x.is_leaf and x.requires_grad):
        return x.to(dtype)
    weight, copy = _copies.get(id(x), (None, None))
    if weight is not x or copy is None:
        copy = x.to(dtype)
        _copies[id(x)] = x, copy
    return copy


@contextmanager
def kernels() -> Iterator[None]:
    """Let autocast cast on the second device inside."""
    _registered()
    clear = torch.clear_autocast_cache

    def cleared() -> None:
        _copies.clear()
        clear()

    with patch.object(torch, "clear_autocast_cache", cleared):
        try:
            yield
        finally:
            _copies.clear()
