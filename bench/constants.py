"""Small tensors that never change, made once per device: to copy one to a GPU waits for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

_KEPT: dict[Any, Tensor] = {}  # by numbers, device, type


def constant(values: Any, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """Return ``torch.tensor(values)`` on a device; nobody may change it in place.

    Args:
        values: a number, or numbers in lists, tuples, arrays.
        device: where it is read. On the CPU it is made anew: that waits for nothing.
        dtype: of its numbers; by default as ``torch.tensor`` chooses.
    """
    if device.type == "cpu":
        return torch.tensor(values, dtype=dtype)
    numbers = values.tolist() if hasattr(values, "tolist") else values
    return _once(_hashable(numbers), device, dtype or torch.tensor(values).dtype)


def _hashable(numbers: Any) -> Any:
    nested = isinstance(numbers, Sequence)
    return tuple(_hashable(n) for n in numbers) if nested else numbers


def _once(numbers: Any, device: torch.device, dtype: torch.dtype) -> Tensor:
    tensor = _KEPT.get(key := (numbers, device, dtype))
    if tensor is None:
        with torch.inference_mode(False):
            tensor = torch.tensor(numbers, device=device, dtype=dtype)
        if not isinstance(tensor, FakeTensor):  # these live as long as their mode
            _KEPT[key] = tensor
    return tensor
