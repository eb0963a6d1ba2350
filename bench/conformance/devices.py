"""A second device on a machine that has none: real numbers on the CPU that torch takes for a GPU's.

A tensor of this device wraps one of the CPU. torch sends every operation on it here (PrivateUse1, its hook for
backends written in Python). The operation runs on the wrapped tensors, so its numbers are the CPU's, while code
that asks for a tensor's device takes the path of a GPU. An operation on tensors of two devices raises with the
line that asked for it. So do ``.cuda()`` and ``.numpy()``. Waits of the host are counted by their line.

The hook is marked experimental by torch; ``unavailable`` says why a torch cannot be used. Autocast has no kernels
on this device. Views of a tensor share its memory, as on any device.
"""

from __future__ import annotations

import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode

from bench import constants

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
        return f"torch's hook for backends is taken by {current!r}"
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
            what = ".numpy() of a tensor on the device; take .cpu() first"
            raise WrongDeviceError(f"{line()}: {what}")
        WAITS[line()] += 1
        return self.on_cpu.detach().numpy()

    def __array__(self, *given: Any, **how: Any) -> Any:
        """Refuse: NumPy reads the memory of the CPU alone."""
        raise WrongDeviceError(f"{line()}: NumPy reads a tensor on the device; take .cpu() first")

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """Copy the numbers; a parameter's copy is a parameter."""
        if id(self) not in memo:
            copied: Tensor = self.detach().clone().requires_grad_(self.requires_grad)
            memo[id(self)] = nn.Parameter(copied) if isinstance(self, nn.Parameter) else copied
        return memo[id(self)]


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
    out = WRITTEN_OUT.get(func, func)(*inner_args, **inner_kwargs)
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
    what = f"{func} of a tensor on the CPU {shapes} and one on the device"
    raise WrongDeviceError(f"{line()}: {what}; make it on the other's device")


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
    if not any(x.alias_info is not None and x.alias_info.is_write for x in func._schema.returns):
        return []
    named = [
        (kwargs.get(x.name) if x.kwarg_only or i >= len(args) else args[i], x.alias_info)
        for i, x in enumerate(func._schema.arguments)
    ]
    return [value for value, alias in named if alias is not None and alias.is_write]


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
    raise WrongDeviceError(f"{line()}: .cuda() names a card; take .to(x.device) of what is read")


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


@contextmanager
def second_device() -> Iterator[Counter[str]]:
    """Let torch have the device inside; yields the waits of the host by ``file:line``.

    Raises:
        RuntimeError: this torch cannot; see ``unavailable``.
    """
    if reason := unavailable():
        raise RuntimeError(reason)
    WAITS.clear()
    before = torch._C._only_lift_cpu_tensors()
    with ExitStack() as stack:
        stack.enter_context(patch.object(Tensor, "cuda", _refuse_cuda))
        stack.enter_context(patch.object(nn.Module, "cuda", _refuse_cuda))
        stack.enter_context(patch.object(torch, "Generator", Generator))
        stack.callback(torch._C._set_only_lift_cpu_tensors, before)
        torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(..., device=...) comes by here
        stack.enter_context(_Mode())
        yield WAITS


@dataclass(frozen=True)
class Step:
    """What one step of a method gave: views of its batch, then terms and gradients of fixed views."""

    views: dict[str, Tensor]
    terms: dict[str, Tensor]
    gradients: dict[str, Tensor]
    # of the host, by ``file:line``; what is copied once and kept is left out
    waits: dict[str, int] = field(default_factory=dict)


def step(
    build: Callable[[], Any], raw: dict[str, Tensor], views: dict[str, Tensor], where: torch.device
) -> Step:
    """Take one step on a device; ``second_device`` is entered where it is the second.

    Args:
        build: gives the method, on the CPU.
        raw: a batch as it was read, on the CPU; views are made of it in single precision.
        views: of which the loss is taken, on the CPU; the method has their precision.
        where: the device.
    """
    single = build().to(where)
    method = _as(build(), views).to(where)
    batch, fixed = ({k: v.to(where) for k, v in of.items()} for of in (raw, views))
    WAITS.clear()
    created = single.views(batch, Generator(where).manual_seed(0))
    left = [k for k, v in created.items() if v.device.type != where.type]
    if left:
        what = f"{type(single).__module__}.views leaves {', '.join(left)} on another device"
        raise WrongDeviceError(f"{what}; make it on the batch's")
    terms = method.loss(fixed)
    terms["total"].backward()
    method.after_step(0.0)
    waits = {at: n for at, n in WAITS.items() if not at.startswith(constants.__file__)}
    gradients = {k: p.grad for k, p in method.named_parameters() if p.grad is not None}
    return Step(back(created), back(terms), back(gradients), waits)


def double(build: Callable[[], Any], views: dict[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """Return views in double precision, or as they are where the loss refuses it on the CPU, and why."""
    exact = {k: v.double() if v.is_floating_point() else v for k, v in views.items()}
    try:
        _as(build(), exact).loss(exact)
    except RuntimeError as error:
        return views, str(error).splitlines()[0]
    return exact, ""


def _as(method: Any, views: dict[str, Tensor]) -> Any:
    exact = any(v.dtype == torch.float64 for v in views.values())
    return method.double() if exact else method


def back(values: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors as the CPU's, without a way back."""
    with torch.no_grad():
        return {k: getattr(v.detach(), "on_cpu", v.detach()) for k, v in values.items()}


def summary(waits: dict[str, int]) -> str:
    """Return how often the host waits, and at which lines."""
    lines = (f"{_short(where)} x{times}" for where, times in sorted(waits.items()))
    return f"{sum(waits.values())} waits of the host a step" + "".join(f", {x}" for x in lines)


def _short(where: str) -> str:
    path = Path(where)
    return f"{path.parent.name}/{path.name}" if path.suffix else where


unavailable()  # autograd makes a queue for each device at the first way back of a process, and no more later
