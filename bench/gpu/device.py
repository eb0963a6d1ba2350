"""A second device on a machine that has none: real numbers on the CPU that torch takes for a GPU's.

A tensor of this device wraps one of the CPU. torch sends every operation on it here (PrivateUse1, its hook for
backends written in Python). The operation runs on the wrapped tensors, so its numbers are the CPU's, while code
that asks for a tensor's device takes the path of a GPU. An operation on tensors of two devices raises with the
line that asked for it. So do ``.cuda()`` and ``.numpy()``. Waits of the host are counted by their line.
Who gives ``Kernels`` decides how operations run: ``bench.gpu.counting`` runs them without memory for numbers.

The hook is marked experimental by torch; ``unavailable`` says why a torch cannot be used. Autocast has no kernels
on this device. Views of a tensor share its memory, as on any device.
"""

from __future__ import annotations

import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode

from bench import random

NAME = "pretended"
LIBRARIES = ("torch", "monai", "unittest", "contextlib")
aten = torch.ops.aten
Keywords = dict[str, Any]

# operations that may read one device and write another
COPIES = {aten._to_copy.default, aten.copy_.default, aten.copy.default}
# the first tensor may be indexed by tensors of the CPU, which are copied to its device
INDEXING = {
    aten.index.Tensor,
    aten._unsafe_index.Tensor,
    aten.index_put.default,
    aten.index_put_.default,
    aten._index_put_impl_.default,
}
# operations after which the host has to know a value, or how many there are
ASKING = {
    aten._local_scalar_dense.default,
    aten.equal.default,
    aten.nonzero.default,
    aten.masked_select.default,
    aten._unique2.default,
    aten.unique_dim.default,
    aten.unique_consecutive.default,
    aten.bincount.default,
}
# operations that take a number from the CPU as a tensor without axes
POINTWISE = torch.Tag.pointwise


class WrongDeviceError(RuntimeError):
    """Code that a GPU would refuse; says the line, the operation, and what to do."""


@lru_cache(maxsize=1)
def unavailable() -> str:
    """Return why this torch has no such device, else nothing; the first call sets it up."""
    try:
        from torch.utils.backend_registration import _setup_privateuseone_for_python_backend
    except ImportError:
        return f"torch {torch.__version__} has no hook for backends in Python"
    current = torch._C._get_privateuse1_backend_name()
    if current not in ("privateuseone", NAME):
        return f"torch's hook for backends is already used by {current!r}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _setup_privateuseone_for_python_backend(NAME)
    module = getattr(torch, NAME)
    module.get_amp_supported_dtype = lambda: [torch.bfloat16, torch.float16]
    return ""


def device() -> torch.device:
    """Return the device; ``unavailable`` is asked first."""
    return torch.device(NAME, 0)


def line() -> str:
    """Return ``file:line`` of the innermost code that is neither torch's nor this module's."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        module = str(frame.f_globals.get("__name__"))
        if module != __name__ and module.partition(".")[0] not in LIBRARIES:
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back
    return "backward"  # torch runs it in a thread of its own


class SecondTensor(Tensor):
    """A tensor of the second device; ``on_cpu`` is the CPU's that holds its numbers."""

    on_cpu: Tensor

    @staticmethod
    def __new__(cls: Any, inner: Tensor) -> SecondTensor:
        """Wrap a tensor of the CPU."""
        new: SecondTensor = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            layout=inner.layout,
            device=device(),
        )
        new.on_cpu = inner
        if _current[-1].created is not None:
            _current[-1].created(inner)
        return new

    def __repr__(self) -> str:  # type: ignore[override]
        """Name the device, which the numbers alone do not."""
        return f"SecondTensor({self.on_cpu})"

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run an operation on the wrapped tensors."""
        return _run(func, args, kwargs or {})

    def tolist(self) -> Any:
        """Wait for the values."""
        WAITS[line()] += 1
        return self.on_cpu.tolist()

    def numpy(self, *, force: bool = False) -> Any:
        """Refuse, as a GPU's tensor does, unless it is copied by ``force``."""
        if not force:
            what = ".numpy() of a tensor on the device; call .cpu() first"
            raise WrongDeviceError(f"{line()}: {what}")
        WAITS[line()] += 1
        return self.on_cpu.detach().numpy()

    def __array__(self, *given: Any, **how: Any) -> Any:
        """Refuse: NumPy reads the memory of the CPU alone."""
        raise WrongDeviceError(f"{line()}: NumPy reads a tensor on the device; call .cpu() first")

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """Copy the numbers; a parameter's copy is a parameter."""
        if id(self) not in memo:
            copied: Tensor = self.detach().clone().requires_grad_(self.requires_grad)
            memo[id(self)] = nn.Parameter(copied) if isinstance(self, nn.Parameter) else copied
        return memo[id(self)]


@dataclass(frozen=True)
class Kernels:
    """How operations run on what tensors of the device wrap."""

    # operation, its arguments by place and by name, is the result on the device? -> the result
    run: Callable[[Any, tuple[Any, ...], Keywords, bool], Any]
    created: Callable[[Tensor], None] | None = None  # told of what a new tensor wraps


def _on_cpu(func: Any, args: tuple[Any, ...], kwargs: Keywords, on_device: bool) -> Any:
    return WRITTEN_OUT.get(func, func)(*args, **kwargs)


_current = [Kernels(_on_cpu)]

WAITS: Counter[str] = Counter()  # of the host, by the line that waits; ``second_device`` empties it


def _run(func: Any, args: tuple[Any, ...], kwargs: Keywords) -> Any:
    leaves, shape = pytree.tree_flatten((args, kwargs))
    tensors = [x for x in leaves if isinstance(x, Tensor)]
    ours = [x for x in tensors if isinstance(x, SecondTensor)]
    others = [x for x in tensors if not isinstance(x, SecondTensor)]
    if ours and others and func not in COPIES:
        _refuse_mixing(func, args, others)
    named = kwargs.get("device")
    result_on_device = bool(ours) if named is None else _is_ours(named)
    if func in INDEXING or func is aten.copy_.default:
        result_on_device = isinstance(args[0], SecondTensor)
    _count(func, args, kwargs, ours, others, result_on_device)
    inner_args, inner_kwargs = pytree.tree_unflatten(map(_inner, leaves), shape)
    inner_kwargs.pop("pin_memory", None)
    out = _current[-1].run(func, inner_args, inner_kwargs, result_on_device)
    written = _written(func, args, kwargs)
    if torch.Tag.inplace_view in func.tags:  # the wrapper, too, has another shape now
        with no_dispatch():
            func(*args, **kwargs)
    if written:
        return written[0] if len(written) == 1 else tuple(written)
    if not result_on_device:
        return out
    wrapped = {id(x.on_cpu): x for x in ours}
    return pytree.tree_map_only(Tensor, lambda x: wrapped.get(id(x)) or SecondTensor(x), out)


def _gru_cell(
    given: Tensor, hidden: Tensor, before: Tensor, *biases: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the next state of a GRU, and what its way back needs; a GPU has one kernel for it."""
    for gates, bias in zip((given, hidden), biases, strict=False):
        if bias is not None:
            gates.add_(bias)
    (r, z, n), (from_r, from_z, from_n) = given.chunk(3, 1), hidden.chunk(3, 1)
    reset, keep = (r + from_r).sigmoid(), (z + from_z).sigmoid()
    new = (n + reset * from_n).tanh()
    return new + keep * (before - new), torch.cat([reset, keep, new, before, from_n], 1)


def _gru_cell_backward(grad: Tensor, saved: Tensor, has_bias: bool) -> tuple[Tensor | None, ...]:
    """Return the gradients of both gates, of the state, and of both biases."""
    reset, keep, new, before, from_n = saved.chunk(5, 1)
    of_new = grad * (1 - keep) * (1 - new**2)
    of_keep = grad * (before - new) * (1 - keep) * keep
    of_reset = of_new * from_n * (1 - reset) * reset
    given = torch.cat([of_reset, of_keep, of_new], 1)
    hidden = torch.cat([of_reset, of_keep, of_new * reset], 1)
    biases = (given.sum(0), hidden.sum(0)) if has_bias else (None, None)
    return given, hidden, grad * keep, *biases


# kernels that a GPU has and the CPU lacks
WRITTEN_OUT = {
    aten._thnn_fused_gru_cell.default: _gru_cell,
    aten._thnn_fused_gru_cell_backward.default: _gru_cell_backward,
}


def _is_ours(named: Any) -> bool:
    return torch.device(named).type == NAME


def _inner(leaf: Any) -> Any:
    if isinstance(leaf, SecondTensor):
        return leaf.on_cpu
    return torch.device("cpu") if isinstance(leaf, torch.device) else leaf


def _refuse_mixing(func: Any, args: tuple[Any, ...], others: list[Tensor]) -> None:
    if func in INDEXING:
        values = args[2] if len(args) > 2 else None
        at_cpu = isinstance(values, Tensor) and not isinstance(values, SecondTensor) and values.ndim
        if isinstance(args[0], SecondTensor) and not at_cpu:
            return
    elif POINTWISE in func.tags and all(x.ndim == 0 for x in others):
        return
    shapes = ", ".join(str(tuple(x.shape)) for x in others)
    what = f"{func} of a tensor on the CPU {shapes} and a tensor on the device"
    raise WrongDeviceError(f"{line()}: {what}; create both on the same device")


def _count(
    func: Any,
    args: tuple[Any, ...],
    kwargs: Keywords,
    ours: list[SecondTensor],
    others: list[Tensor],
    result_on_device: bool,
) -> None:
    if func is aten._to_copy.default:
        crosses, blocking = bool(ours) is not result_on_device, not kwargs.get("non_blocking")
        waits = crosses and blocking
    elif func is aten.copy_.default:
        waits = bool(ours and others) and not (len(args) > 2 and args[2])
    elif func in INDEXING:
        by_mask = any(isinstance(x, Tensor) and x.dtype == torch.bool for x in args[1])
        waits = bool(ours) and (bool(others) or (by_mask and func is aten.index.Tensor))
    elif func is aten.repeat_interleave.Tensor:
        waits = bool(ours) and kwargs.get("output_size") is None
    else:
        waits = bool(ours) and func in ASKING
    if waits:
        WAITS[line()] += 1


def _written(func: Any, args: tuple[Any, ...], kwargs: Keywords) -> list[Any]:
    """Return the arguments that an operation writes and returns."""
    returned = [x.alias_info for x in func._schema.returns]
    written = [alias.before_set for alias in returned if alias is not None and alias.is_write]
    if not written:
        return []
    named = [
        (kwargs.get(x.name) if x.kwarg_only or i >= len(args) else args[i], x.alias_info)
        for i, x in enumerate(func._schema.arguments)
    ]
    return [value for value, alias in named if alias is not None and alias.before_set in written]


class _Mode(TorchDispatchMode):
    """Takes the operations that make a tensor on the device out of none."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        named = kwargs.get("device")
        if named is not None and _is_ours(named):
            return _run(func, args, kwargs)
        if any(isinstance(x, SecondTensor) for x in pytree.tree_leaves((args, kwargs))):
            return _run(func, args, kwargs)
        return func(*args, **kwargs)


def _refuse_cuda(self: Any, *given: Any, **how: Any) -> Any:
    raise WrongDeviceError(
        f"{line()}: .cuda() names a card; use .to(x.device), where x is an input"
    )


class Generator(torch._C.Generator):
    """A generator of any device; one of the second device draws what the CPU's draws from the same seed."""

    claimed: torch.device

    def __new__(cls: Any, device: Any = "cpu") -> Generator:
        """Return one that the CPU keeps."""
        created: Generator = torch._C.Generator.__new__(cls, "cpu")  # type: ignore[call-arg]
        return created

    def __init__(self, device: Any = "cpu") -> None:
        """Say of which ``device`` it is."""
        self.claimed = torch.device(NAME, 0) if _is_ours(device) else torch.device(device)

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        """Return the device whose tensors it fills."""
        return self.claimed


def _with_part() -> Any:
    return type("Generator", (Generator,), {"part": (0, 1)})  # as ``bench.random`` makes its own


@contextmanager
def second_device(kernels: Kernels | None = None) -> Iterator[Counter[str]]:
    """Let torch have the device inside; yields the waits of the host by ``file:line``.

    Args:
        kernels: how operations run, by default on the CPU.

    Raises:
        RuntimeError: this torch cannot; see ``unavailable``.
    """
    if reason := unavailable():
        raise RuntimeError(reason)
    WAITS.clear()
    before = torch._C._only_lift_cpu_tensors()
    with ExitStack() as stack:
        _current.append(kernels or _current[0])
        stack.callback(_current.pop)
        stack.enter_context(patch.object(random, "_partial", _with_part))
        stack.enter_context(patch.object(Tensor, "cuda", _refuse_cuda))
        stack.enter_context(patch.object(nn.Module, "cuda", _refuse_cuda))
        stack.enter_context(patch.object(torch, "Generator", Generator))
        stack.callback(torch._C._set_only_lift_cpu_tensors, before)
        # a module's parameters stay the objects that they were, as on a card
        swaps = torch.__future__.get_swap_module_params_on_conversion()
        stack.callback(torch.__future__.set_swap_module_params_on_conversion, swaps)
        torch.__future__.set_swap_module_params_on_conversion(True)
        torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(..., device=...) comes by here
        stack.enter_context(_Mode())
        yield WAITS


unavailable()  # autograd makes a queue for each device at the first way back of a process, and no more later
