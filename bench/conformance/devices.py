"""One step of a method on the CPU and on a second device (``bench.gpu.device``), to be compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench import constants
from bench.gpu.device import NAME as NAME
from bench.gpu.device import WAITS, Generator
from bench.gpu.device import WrongDeviceError as WrongDeviceError
from bench.gpu.device import device as device
from bench.gpu.device import second_device as second_device
from bench.gpu.device import unavailable as unavailable


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
        raise WrongDeviceError(f"{what}; create it on the device of the batch")
    terms = method.loss(fixed)
    terms["total"].backward()
    method.after_step(0.0)
    waits = {at: n for at, n in WAITS.items() if not at.startswith(constants.__file__)}
    gradients = {k: p.grad for k, p in method.named_parameters() if p.grad is not None}
    return Step(back(created), back(terms), back(gradients), waits)


def on_cpu(
    build: Callable[[], Any], raw: dict[str, Tensor], views: dict[str, Tensor]
) -> tuple[Step, dict[str, Tensor], str]:
    """Take one step on the CPU in double precision, or in that of ``views`` where it is refused.

    Returns:
        the step, the views in its precision, and why they are not in double precision.
    """
    cpu = torch.device("cpu")
    exact = {k: v.double() if v.is_floating_point() else v for k, v in views.items()}
    try:
        return step(build, raw, exact, cpu), exact, ""
    except RuntimeError as error:
        return step(build, raw, views, cpu), views, str(error).splitlines()[0]


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
    return f"{sum(waits.values())} waits of the host per step" + "".join(f", {x}" for x in lines)


def _short(where: str) -> str:
    path = Path(where)
    return f"{path.parent.name}/{path.name}" if path.suffix else where
