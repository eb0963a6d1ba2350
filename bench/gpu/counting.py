"""Tensors of the second device that have a shape and no memory: operations and bytes are counted, not done.

What a tensor of the device wraps is either small and real, so that draws, tables and queues decide as they
would, or lies on torch's device ``meta``. Every storage is counted while anything holds it.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
import torch._meta_registrations  # shapes of more operations
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._foreach_utils import _foreach_supported_types
from torch.utils.flop_counter import flop_registry

from bench.gpu import autocast
from bench.gpu.attention import Fused
from bench.gpu.device import WRITTEN_OUT, Kernels, Keywords, SecondTensor, second_device
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
        stack.enter_context(autocast.kernels())
        stack.enter_context(Fused(counted.work))
        types: list[Any] = _foreach_supported_types
        types.append(SecondTensor)  # as a card's optimisers run
        stack.callback(types.remove, SecondTensor)
        yield counted
