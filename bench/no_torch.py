"""Plan without torch: its import takes longer than a plan, which calls nothing of it.

Methods name torch's classes as they are defined, and a plan asks their parameters alone. So the process of
``bench plan`` puts names in torch's place. They can be inherited, stand in annotations and decorate; whatever
else is done with them raises, and the command then starts anew with torch itself (``bench.cli``).
"""

from __future__ import annotations

import importlib.machinery
import os
import sys
from abc import ABCMeta
from collections.abc import Callable
from types import ModuleType
from typing import Any

REAL = "BENCH_TORCH"  # of the environment: set where a plan needs torch after all


class Named(ABCMeta):
    """Gives what stands for a class of torch's every attribute asked of it, and none to what inherits it."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__") or not cls.__module__.startswith("torch"):
            raise AttributeError(f"{cls.__name__!r} has no attribute {name!r}")
        return named(name, cls)


class Name(metaclass=Named):
    """What stands for a class or function of torch."""

    def __init__(self, *given: Any, **more: Any) -> None:
        pass

    def __bool__(self) -> bool:
        """Raise: nobody knows what torch would say."""
        raise TypeError("torch is not here")

    def __call__(self, function: Callable[..., Any]) -> Any:
        """Return a function that is decorated, as nothing else is called while methods are defined."""
        if not callable(function):
            raise TypeError("torch is not here")
        return function


class Names(ModuleType):
    """A module of torch's: every name that is asked of it is there."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__ = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return named(name, self)


def named(name: str, owner: Any) -> Any:
    """Return what stands for a name of a module or class of torch's, from now on."""
    stand_in = Named(name, (Name,), {"__module__": "torch"})
    setattr(owner, name, stand_in)
    return stand_in


class Finder:
    """Finds ``torch`` and all below it."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Return a module of names for torch's, None for any other."""
        ours = name == "torch" or name.startswith("torch.")
        loader: Any = self  # by its methods: importlib.abc, which names them, imports much else
        return importlib.machinery.ModuleSpec(name, loader, is_package=True) if ours else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """Return an empty one."""
        return Names(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to run."""


def install() -> bool:
    """Put names in torch's place for all of this process; False where torch is here or is needed."""
    if "torch" in sys.modules or os.environ.get(REAL):
        return False
    sys.meta_path.insert(0, Finder())
    return True


def used() -> bool:
    """Tell whether anything has asked for torch since."""
    return isinstance(sys.modules.get("torch"), Names)


def require() -> None:
    """Start this command anew where names stand in torch's place."""
    import torch  # noqa: F401 - or what stands for it

    if used():
        start_anew()


def start_anew() -> None:
    """Run this command again with torch itself."""
    os.environ[REAL] = "1"
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "bench", *sys.argv[1:]])
