"""Whose code an exception, or a wrong value, comes from: one line with the plugin's file and line."""

from __future__ import annotations

import errno
import inspect
import pkgutil
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from bench import plugins
from bench.errors import BenchError, Bug

PACKAGES = ("bench_methods", "bench_datasets")  # the packages of bench's own plugins
# else the system's, whoever asked for it
ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST)


@contextmanager
def blaming() -> Iterator[None]:
    """Raise what a plugin's code raises inside as a ``Bug``; anything else stays as it is."""
    try:
        yield
    except (Exception, SystemExit) as error:
        system = isinstance(error, OSError) and error.errno not in (None, *ABSENT)
        where = "" if system or isinstance(error, BenchError | MemoryError) else raising_line(error)
        if not where:
            raise
        trace = "".join(traceback.format_exception(error))
        raise Bug(
            f"{where}: {summary(error)}{_below(error, where)}; correct the code", trace
        ) from error


def raising_line(error: BaseException, named: Path | None = None) -> str:
    """Return ``file:line`` of the innermost call in a plugin's code, or in the file ``named``, else nothing.

    A file that is no Python is named by the line that is none.
    """
    ours = [
        f"{frame.f_code.co_filename}:{line}"
        for frame, line in traceback.walk_tb(error.__traceback__)
        if frame.f_code.co_filename == str(named) or _ours(str(frame.f_globals.get("__name__")))
    ]
    if isinstance(error, SyntaxError) and error.filename and (ours or error.filename == str(named)):
        ours.append(f"{error.filename}:{error.lineno or 1}")
    return ours[-1] if ours else ""


def defined(function: Callable[..., Any]) -> str:
    """Return ``file:line`` of where a function is written, whatever decorates it."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code is not None else repr(function)


def calling_line() -> str:
    """Return ``file:line`` of the innermost call in a plugin's code that is running, else nothing."""
    for frame, line in traceback.walk_stack(inspect.currentframe()):
        if _ours(str(frame.f_globals.get("__name__"))):
            return f"{frame.f_code.co_filename}:{line}"
    return ""


def field_line(kind: type, name: str) -> str:
    """Return ``file:line`` of where a dataclass, or one that it inherits from, declares a field."""
    owner = next((k for k in kind.__mro__ if name in vars(k).get("__annotations__", {})), kind)
    try:
        lines, first = inspect.getsourcelines(owner)
        file = inspect.getfile(owner)
    except (OSError, TypeError):  # made by code that stands in no file
        return owner.__qualname__
    declared = (n for n, text in enumerate(lines) if re.match(rf"\s*{name}\s*:", text))
    return f"{file}:{first + next(declared, 0)}"


def named(values: Any, function: Callable[..., Any], what: str) -> Mapping[str, Any]:
    """Return what a plugin's function gave, if it is a mapping from names.

    Raises:
        BenchError: it is anything else; names the function's file and line.
    """
    if isinstance(values, Mapping):
        return values
    kind = "nothing" if values is None else f"a {type(values).__name__}"
    name = getattr(function, "__name__", "it")
    raise BenchError(
        f"{defined(function)}: {name} returns {kind}; it must return a dict of {what} by name"
    )


def summary(error: BaseException) -> str:
    """Return an exception's kind and the first line of its text."""
    text = str(error.msg if isinstance(error, SyntaxError) else error)
    line = f"{type(error).__name__}: {text.splitlines()[0] if text else ''}".rstrip(": ")
    return line + _near_module(error) + _keys_of_batch(error)


def _near_module(error: BaseException) -> str:
    """Return the module of the same package that may be meant; nothing of another error."""
    package, _, leaf = (getattr(error, "name", None) or "").rpartition(".")
    folders = getattr(sys.modules.get(package), "__path__", ())
    if not isinstance(error, ModuleNotFoundError) or not folders:
        return ""
    near = get_close_matches(leaf, [module.name for module in pkgutil.iter_modules(folders)], n=1)
    return f"; did you mean {package}.{near[0]}?" if near else ""


def _keys_of_batch(error: BaseException) -> str:
    """Return the keys of the variable ``batch`` where a key that it lacks was looked up; else nothing."""
    if not isinstance(error, KeyError):
        return ""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    batch = frames[-1].f_locals.get("batch") if frames else None
    if not isinstance(batch, Mapping) or all(key in [*batch] for key in error.args):
        return ""
    return f" (the batch has {', '.join(map(repr, batch))})"


def _ours(module: str) -> bool:
    return module.partition(".")[0] in PACKAGES or plugins.brings(module)


def _below(error: BaseException, where: str) -> str:
    """Return where it was raised, if not in the plugin itself: it may have handed on a wrong value."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    file = Path(last.filename)
    if f"{file}:{last.lineno}" == where or isinstance(error, SyntaxError):
        return ""
    return f" (raised in {file.parent.name}/{file.name}:{last.lineno})"


@cache
def check_signatures(kind: type, base: type) -> None:
    """Refuse a function of a class that cannot be called as the one of the base class is.

    Raises:
        BenchError: names its file and line, and what it must take.
    """
    for name, function in vars(base).items():
        override = getattr(kind, name, function)
        # of a classmethod
        function, override = (getattr(of, "__func__", of) for of in (function, override))
        both = inspect.isfunction(function) and inspect.isfunction(override)
        if override is function or not both or (name.startswith("__") and name != "__init__"):
            continue
        given = [*inspect.signature(function).parameters]
        try:
            inspect.signature(override).bind(*given)
        except TypeError:
            wanted, has = ", ".join(given), ", ".join(inspect.signature(override).parameters)
            raise BenchError(f"{defined(override)}: {name}({has}) must take ({wanted})") from None
