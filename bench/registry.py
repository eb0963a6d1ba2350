"""Find a plugin by its file name: ``methods/voco.py`` is the method ``voco``.

Listing names imports nothing, so it is quick and needs no torch; a plugin is imported when it is
asked for by name. One that cannot be imported, or is half written, is named with its line; it is in nobody's
way who does not ask for it.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import pkgutil
import sys
import traceback
import types
from functools import lru_cache
from pathlib import Path
from typing import Any

from bench.errors import BenchError, unknown

ROOMS = {  # kind: (package of plugins, module and name of their base class)
    "method": ("bench_methods", "bench.method", "Method"),
    "dataset": ("bench_datasets", "bench.dataset", "Dataset"),
}
SOME = ("figure",)  # what only some plugins state: of a method, one that pretrains


def names(kind: str) -> list[str]:
    """List the plugins of a kind (``method`` or ``dataset``) without importing any."""
    folders = tuple(importlib.import_module(ROOMS[kind][0]).__path__)
    there = [Path(f) for f in folders]  # one of an editable installation is no folder
    return list(_names(folders, tuple(f.stat().st_mtime_ns if f.is_dir() else 0 for f in there)))


@lru_cache(maxsize=8)
def _names(folders: tuple[str, ...], changed: tuple[int, ...]) -> tuple[str, ...]:
    """Return the modules in ``folders`` as they were ``changed`` last: plans ask thousands of times."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules(folders) if not m.name.startswith("_")))


def folder(kind: str) -> Path:
    """Return the folder in which the plugins of a kind lie."""
    return Path(next(iter(importlib.import_module(ROOMS[kind][0]).__path__)))


def declared(kind: str, name: str, attribute: str, default: Any) -> Any:
    """Return a constant that a plugin's class states, read from the file without importing it."""
    path = folder(kind) / f"{name}.py"
    try:
        tree = _tree(path, path.stat().st_mtime_ns)
    except (OSError, SyntaxError, ValueError):  # it says why where it is loaded
        return default
    for node in (n for c in tree.body if isinstance(c, ast.ClassDef) for n in c.body):
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if isinstance(target, ast.Name) and target.id == attribute:
                return ast.literal_eval(node.value)
    return default


@lru_cache(maxsize=256)
def _tree(path: Path, changed: int) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def load(kind: str, name: str) -> Any:
    """Import one plugin file and return the single class it defines.

    Raises:
        BenchError: no such file, or one that cannot be imported, does not define exactly one plugin class,
            or lacks something of it.
    """
    room, home, base_name = ROOMS[kind]
    if name not in names(kind):
        raise BenchError(unknown(kind, name, names(kind)))
    base = getattr(importlib.import_module(home), base_name)
    try:
        module = importlib.import_module(f"{room}.{name}")
    except BenchError:
        raise
    except (Exception, SystemExit) as error:
        raise broken(kind, name, error) from error
    found = [
        c
        for c in vars(module).values()
        if isinstance(c, type) and issubclass(c, base) and c.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise BenchError(f"{module.__file__} must define one {base_name} subclass, found {len(found)}")
    if lacking := _lacking(found[0]):
        raise BenchError(f"{module.__file__}: its class lacks {lacking!r}; finish it, or remove the file")
    return found[0]


def broken(kind: str, name: str, error: BaseException) -> BenchError:
    """Return one line about a plugin that raised: file, line, what it raised."""
    spec = importlib.util.find_spec(f"{ROOMS[kind][0]}.{name}")
    file = Path(spec.origin if spec and spec.origin else name)
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == file
    ]
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename) == file:
        lines.append(error.lineno)
    where = f"{file}:{lines[-1]}" if lines and lines[-1] else str(file)
    said = error.msg if isinstance(error, SyntaxError) else str(error)
    return BenchError(f"{where}: {type(error).__name__}: {said}; mend or remove the file")


def _lacking(plugin: type) -> str:
    """Return the first thing that a plugin's class must state and does not; empty where nothing lacks."""
    declared = {
        name
        for base in plugin.__mro__
        for name, kind in vars(base).get("__annotations__", {}).items()
        if str(kind).startswith("ClassVar") and name not in SOME
    }
    absent = {name for name in declared if not hasattr(plugin, name)}
    return min(absent | set(getattr(plugin, "__abstractmethods__", ())), default="")


def callable_module(module: str, kind: str) -> None:
    """Let ``bench.<kind>(name)`` load a plugin although ``bench.<kind>`` is also a module.

    ``bench.method`` is both the home of the contract that adapters import and, by the public
    contract, a function of a name; a module whose class has ``__call__`` is both.
    """

    class CallableModule(types.ModuleType):
        def __call__(self, name: str) -> Any:
            found = load(kind, name)
            return found() if kind == "dataset" else found  # a declaration needs no arguments

    sys.modules[module].__class__ = CallableModule
