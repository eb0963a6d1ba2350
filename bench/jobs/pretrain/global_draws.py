"""Finds draws from a process's global generators, which a method's own seed does not reach."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from bench import blame

# functions of torch that draw; dropout is left out: the training loop seeds it for each step
OF_SHAPES = ("rand", "randn", "randint", "randperm", "rand_like", "randn_like", "randint_like")
OF_TENSORS = ("bernoulli", "multinomial", "normal", "poisson", "binomial", "gumbel_softmax")
IN_PLACE = ("cauchy", "exponential", "geometric", "log_normal", "normal", "random", "uniform")
DRAWS = frozenset((*OF_SHAPES, *OF_TENSORS, *(f"{n}_" for n in (*IN_PLACE, "bernoulli"))))
INSTEAD = (
    "draw random numbers in 'views' from its 'generator', or the loss depends on more than the batch and "
    "the seed"
)


class _TorchDraws(TorchFunctionMode):
    """Notes the first draw of torch that is given no generator, and the plugin's line it comes from."""

    def __init__(self) -> None:
        super().__init__()
        self.first = ""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        if not self.first and name in DRAWS:
            given = (*args, *(kwargs or {}).values())
            seeded = any(isinstance(value, torch.Generator) for value in given)
            what = f"{blame.calling_line()}: torch's {name} is called without a generator"
            self.first = "" if seeded else what
        return func(*args, **(kwargs or {}))


@contextmanager
def warned_of(warn: Callable[[str], None], method: Callable[..., Any]) -> Iterator[None]:
    """Give ``warn`` one line where code inside draws from a global generator of torch, NumPy or Python.

    Args:
        warn: takes a line with file and line number of the draw; of NumPy and Python those of ``method``.
        method: the function that is run inside.
    """
    numpy_before, python_before = _numpy_state(), random.getstate()
    draws = _TorchDraws()
    with draws:
        yield
    first = draws.first
    if not first and _numpy_state() != numpy_before:
        first = f"{blame.defined(method)}: NumPy's global random generator is used"
    if not first and random.getstate() != python_before:
        first = f"{blame.defined(method)}: Python's global random generator is used"
    if first:
        warn(f"{first}; {INSTEAD}")


def _numpy_state() -> tuple[bytes, int]:
    state: Any = np.random.get_state(legacy=False)  # noqa: NPY002 - whether code moved it
    return state["state"]["key"].tobytes(), int(state["state"]["pos"])
