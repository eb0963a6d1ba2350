"""Tensors of the second device that have a shape and no memory: operations and bytes are counted, not done.

What a tensor of the device wraps is either small and real, so that draws, tables and queues decide as they
would, or lies on torch's device ``meta``. Every storage is counted while anything holds it.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any
from unittest.mock import patch

import torch
import torch._meta_registrations  # shapes of more operations
from torch import Tensor
from torch._C import DispatchKeySet, _ExcludeDispatchKeyGuard
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._foreach_utils import _foreach_supported_types
from torch.utils.flop_counter import flop_registry

from bench.gpu.device import NAME, WRITTEN_OUT, Kernels, Keywords, SecondTensor, second_device
from bench.gpu.work import Work

REAL = 1 << 18  # numbers of a tensor whose values are kept
FEW = 1e7  # floating point operations that are done
aten = torch.ops.aten
EMPTY = {aten.empty, aten.empty_like, aten.empty_strided, aten.new_empty, aten.new_empty_strided}
CONVOLUTIONS = {aten.convolution, aten.convolution_backward, aten._convolution}
INDEXED = {aten.index.Tensor, aten._unsafe_index.Tensor}


@dataclass
class Memory:
    """Bytes of all storages of the device: those held now, and the most at any time."""

    held: int = 0
    most: int = 0
    _storages: dict[int, Any] = field(default_factory=dict)

    def created(self, inner: Tensor) -> None:
        """Count a new tensor's storage, once for all that share it, until nothing holds it."""
        storage = inner.untyped_storage()
        key = storage._cdata
        if key in self._storages:
            return
        size = storage.nbytes()
        self._storages[key] = weakref.ref(storage, lambda _: self._gone(key, size))
        self.held += size
        self.most = max(self.most, self.held)

    def _gone(self, key: int, size: int) -> None:
        if self._storages.pop(key, None) is not None:
            self.held -= size


@dataclass
class Counted:
    """What was counted so far."""

    memory: Memory = field(default_factory=Memory)
    work: Work = field(default_factory=Work)

    def run(self, func: Any, args: tuple[Any, ...], kwargs: Keywords, on_device: bool) -> Any:
        """Return what an operation gives: real where all of it is small, else shapes alone."""
        if _is_view(func):
            return func(*args, **kwargs)
        tensors = _tensors((args, kwargs))
        real = _are_small(tensors)
        if func in GUESSES and not real:
            return GUESSES[func](args[0])
        if func in ASKING and real:
            return func(*args, **kwargs)
        shaped = _shapes(func, args, kwargs)
        flops, outputs = _flops(func, args, kwargs, shaped), _tensors(shaped)
        self.work.add(_kind(func, tensors), flops, _bytes(tensors) + _bytes(outputs))
        if real and flops <= FEW and all(x.numel() <= REAL for x in outputs):
            return _real(func, args, kwargs)
        return shaped if on_device else pytree.tree_map_only(Tensor, _zeros, shaped)


def _tensors(tree: Any) -> list[Tensor]:
    return [x for x in pytree.tree_leaves(tree) if isinstance(x, Tensor)]


def _are_small(tensors: list[Tensor]) -> bool:
    return all(not x.is_meta and x.numel() <= REAL for x in tensors)


def _real(func: Any, args: tuple[Any, ...], kwargs: Keywords) -> Any:
    out = WRITTEN_OUT.get(func, func)(*args, **kwargs)
    return out.zero_() if func.overloadpacket in EMPTY else out


@cache
def _is_view(func: Any) -> bool:
    aliases = [x.alias_info for x in func._schema.returns]
    return bool(aliases) and all(a is not None and not a.is_write for a in aliases)


def _shapes(func: Any, args: tuple[Any, ...], kwargs: Keywords) -> Any:
    """Run an operation on tensors without memory."""
    kwargs = {k: None if k == "generator" else v for k, v in kwargs.items()}
    if kwargs.get("device") is not None or not _tensors((args, kwargs)):
        kwargs["device"] = torch.device("meta")
    if func in INDEXED:
        args = (args[0], [part for index in args[1] for part in _rows(index)], *args[2:])
    args, kwargs = pytree.tree_map_only(Tensor, _shape, (args, kwargs))
    return WRITTEN_OUT.get(func, func)(*args, **kwargs)


def _shape(x: Tensor) -> Tensor:
    return (
        x if x.is_meta else torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device="meta")
    )


def _zeros(x: Tensor) -> Tensor:
    return torch.zeros(x.shape, dtype=x.dtype)


def _rows(index: Any) -> list[Any]:
    """Return indices in the place of a mask, one for each of its axes; of an unknown mask all is chosen."""
    if index is None or index.dtype != torch.bool:
        return [index]
    count = index.numel() if index.is_meta else int(index.count_nonzero())
    return [torch.empty(count, dtype=torch.long, device="meta")] * index.ndim


def _flops(func: Any, args: tuple[Any, ...], kwargs: Keywords, out: Any) -> float:
    formula = flop_registry.get(func.overloadpacket)
    return float(formula(*args, **kwargs, out_val=out)) if formula else 0.0


def _kind(func: Any, tensors: list[Tensor]) -> str:
    if not flop_registry.get(func.overloadpacket):
        return "memory"
    if tensors[0].itemsize == 2:
        return "half"
    return "convolution" if func.overloadpacket in CONVOLUTIONS else "product"


def _bytes(tensors: list[Tensor]) -> float:
    return float(sum({id(x): x.numel() * x.itemsize for x in tensors}.values()))


def _any_value(x: Tensor) -> Any:
    return True if x.dtype == torch.bool else 1.0 if x.is_floating_point() else 1


def _all_chosen(x: Tensor) -> Tensor:
    return torch.empty(x.numel(), x.ndim, dtype=torch.long, device="meta")


# what the host asks of values that nobody knows: as much as there can be
GUESSES: dict[Any, Callable[[Tensor], Any]] = {
    aten._local_scalar_dense.default: _any_value,
    aten.equal.default: lambda x: True,
    aten.nonzero.default: _all_chosen,
    aten.masked_select.default: lambda x: x.new_empty(x.numel()),
}
ASKING = {*GUESSES, aten.unique_dim.default, aten._unique2.default, aten.bincount.default}
ASKING |= {aten.unique_consecutive.default, aten.index.Tensor}


@contextmanager
def counting() -> Iterator[Counted]:
    """Let torch have the second device inside, on which nothing is computed; yields what is counted.

    Raises:
        RuntimeError: this torch cannot; see ``bench.gpu.device.unavailable``.
    """
    counted = Counted()
    with ExitStack() as stack:
        stack.enter_context(second_device(Kernels(counted.run, counted.memory.created)))
        stack.enter_context(autocast())
        stack.enter_context(Fused(counted.work))
        types: list[Any] = _foreach_supported_types
        types.append(SecondTensor)  # as a card's optimisers run
        stack.callback(types.remove, SecondTensor)
        yield counted


# Autocast on the second device: the casts that torch makes on a card, by torch's own lists of operations.
#
# torch/aten/src/ATen/autocast_mode.h, lists AT_FORALL_LOWER_PRECISION_FP, AT_FORALL_FP32, AT_FORALL_PROMOTE.
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
# of weights, while autocast is on: as torch keeps them
_copies = dict[int, tuple[Tensor, Tensor]]()


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
def autocast() -> Iterator[None]:
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


# Attention as a card's fused kernels do it: queries, keys, values and result are kept, never the weights.
# products of (n, d) and (d, m) matrices; the way back computes the weights anew
FORWARD, BACKWARD = 2, 5


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
