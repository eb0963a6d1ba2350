"""Find a plugin by its file name: ``methods/voco.py`` is the method ``voco``.

Listing names imports nothing, so it is quick and needs no torch; a plugin is imported when it is
asked for by name. One that cannot be imported, or is half written, is named with its line; it is in nobody's
way who does not ask for it. Plugins from outside (``bench.plugins``) are found by the same names.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import sys
import types
from contextlib import suppress
from dataclasses import is_dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, get_args, get_origin, get_type_hints

from bench import blame, plugins, typed
from bench.errors import BenchError, shown, unknown

ROOMS = {  # kind: (package of plugins, module and name of their base class)
    "method": ("bench_methods", "bench.method", "Method"),
    "dataset": ("bench_datasets", "bench.dataset", "Dataset"),
}
OPTIONAL = ("figure",)  # what only some plugins state: of a method, one that pretrains


def names(kind: str) -> list[str]:
    """List the plugins of a kind (``method`` or ``dataset``) without importing any.

    Raises:
        BenchError: two have one name; names both places.
    """
    return sorted([*_ours(kind), *outside(kind)])


def _ours(kind: str) -> tuple[str, ...]:
    """Return the names of a kind's own plugins: those in its room."""
    folders = _folders(kind)  # one of an editable installation is no folder
    return _names(folders, tuple(f.stat().st_mtime_ns if f.is_dir() else 0 for f in folders))


def _folders(kind: str) -> tuple[Path, ...]:
    """Return the folders of a kind's own plugins."""
    return _paths(tuple(_module(ROOMS[kind][0]).__path__))


def _module(name: str) -> Any:
    """Import a module, or return it at once where that was done: plans ask thousands of times."""
    return sys.modules.get(name) or importlib.import_module(name)


@lru_cache(maxsize=8)
def _paths(folders: tuple[str, ...]) -> tuple[Path, ...]:
    return tuple(map(Path, folders))


@lru_cache(maxsize=8)
def _names(folders: tuple[Path, ...], changed: tuple[int, ...]) -> tuple[str, ...]:
    """Return the modules in ``folders`` as they were ``changed`` last: plans ask thousands of times."""
    return tuple(
        sorted(
            m.name for m in pkgutil.iter_modules(map(str, folders)) if not m.name.startswith("_")
        )
    )


def outside(kind: str) -> dict[str, plugins.Plugin]:
    """Return the plugins from outside by name.

    Raises:
        BenchError: two have one name, or one has that of a plugin here; names both places.
    """
    plugins_by_name = plugins.by_name(kind)
    for name in plugins_by_name.keys() & {*_ours(kind)} if plugins_by_name else ():
        raise name_clash(plugins_by_name[name], str(file(kind, name, ours=True)))
    return plugins_by_name


def name_clash(plugin: plugins.Plugin, ours: str) -> BenchError:
    """Return one line about a plugin from outside whose name one of bench's own has."""
    return BenchError(
        f"{plugin.kind} {plugin.name!r} is {ours} and {plugin.origin}; rename the second"
    )


def file(kind: str, name: str, *, ours: bool = False) -> Path:
    """Return the file of a plugin as its name says it, whether it is there or not; ``ours``: in our room."""
    if not ours and (plugin := outside(kind).get(name)) is not None:
        return plugin.file
    return _file(_folders(kind), name)


@lru_cache(maxsize=512)
def _file(folders: tuple[Path, ...], name: str) -> Path:
    files = [folder / f"{name}.py" for folder in folders]
    return next((path for path in files if path.is_file()), files[0])


def folder(kind: str) -> Path:
    """Return the folder in which the plugins of a kind lie."""
    return _folders(kind)[0]


def source(kind: str, name: str) -> str:
    """Return the digest of a plugin from outside, for the ids of jobs; empty for one of bench's own."""
    plugin = plugins.by_name(kind).get(name)
    return "" if plugin is None else plugins.digest(plugin)


def declared(kind: str, name: str, attribute: str, default: Any) -> Any:
    """Return a constant that a plugin's class states, read from the file without importing it."""
    path = file(kind, name)
    try:
        return _stated(path, path.stat().st_mtime_ns, attribute).get(attribute, default)
    except OSError:  # it says why where it is loaded
        return default


def pretrains(method: str) -> bool:
    """Tell whether a method pretrains at all; read from its file: a report must not import torch."""
    return bool(declared("method", method, "pretrains", True))


@lru_cache(maxsize=1024)
def _stated(path: Path, changed: int, attribute: str) -> dict[str, Any]:
    """Return the constants that the classes of a file state, none where ``attribute`` is not among them."""
    try:
        text = path.read_text(encoding="utf-8")
        # most state few
        tree = ast.parse(text if re.search(rf"\b{attribute}\s*[:=]", text) else "")
    except (SyntaxError, ValueError):
        return {}
    constants: dict[str, Any] = {}
    for node in (n for c in tree.body if isinstance(c, ast.ClassDef) for n in c.body):
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if isinstance(target, ast.Name):
                with suppress(ValueError):  # what is no constant
                    constants.setdefault(target.id, ast.literal_eval(node.value))
    return constants


def load(kind: str, name: str) -> Any:
    """Import one plugin file and return the single class it defines.

    Raises:
        BenchError: no such file, or one that cannot be imported, does not define exactly one plugin class,
            or lacks something of it.
    """
    room, home, base_name = ROOMS[kind]
    imported = sys.modules.get(f"{room}.{name}")
    if imported is not None and not plugins.by_name(kind):  # plans ask thousands of times
        return _class(imported, getattr(_module(home), base_name))
    plugin = outside(kind).get(name)
    if plugin is None and name not in _ours(kind):
        line = unknown(kind, name, names(kind))
        if "--plugins" not in line and not plugins.present():
            line += f"; if the {kind} is your own, name its file with --plugins"
        if kind == "dataset":
            line += "; a folder without such a file is read with --data and has no phantoms"
        raise BenchError(line)
    base = getattr(_module(home), base_name)
    try:
        module = plugins.module(plugin) if plugin else _module(f"{room}.{name}")
    except BenchError:
        raise
    except (Exception, SystemExit) as error:
        raise broken(kind, name, error) from error
    return _class(module, base)


@lru_cache(maxsize=256)
def _class(module: types.ModuleType, base: type) -> Any:
    """Return the one plugin class that a module defines."""
    classes = [
        c
        for c in vars(module).values()
        if isinstance(c, type) and issubclass(c, base) and c.__module__ == module.__name__
    ]
    if len(classes) != 1:
        raise BenchError(
            f"{module.__file__} must define one {base.__name__} subclass, found {len(classes)}"
        )
    plugin: Any = classes[0]
    if lacking := _lacking(plugin):
        raise BenchError(
            f"{module.__file__}: its class does not define {lacking!r}; add this, or remove the file"
        )
    if mistake := _mistaken(base, plugin):
        raise BenchError(f"{module.__file__}: {mistake}; correct this")
    from bench import blame  # it imports plugins, which import this

    blame.check_signatures(plugin, base)
    return plugin


def broken(kind: str, name: str, error: BaseException) -> BenchError:
    """Return one line about a plugin that raised: file, line, what it raised."""
    return raised(file(kind, name), error)


def raised(path: Path, error: BaseException) -> BenchError:
    """Return one line about what a plugin's file raised."""
    where = blame.raising_line(error, path) or path
    package = ((isinstance(error, ModuleNotFoundError) and error.name) or "").partition(".")[0]
    ours = package.startswith("bench") or not package
    way = "correct or remove the file" if ours else f"install {package}, or correct the file"
    return BenchError(f"{where}: {blame.summary(error)}; {way}")


def _lacking(plugin: type) -> str:
    """Return the first thing that a plugin's class must state and does not; empty where nothing lacks."""
    declared = {
        name
        for base in plugin.__mro__
        for name, kind in vars(base).get("__annotations__", {}).items()
        if str(kind).startswith("ClassVar") and name not in OPTIONAL
    }
    absent = {name for name in declared if not hasattr(plugin, name)}
    return min(absent | set(getattr(plugin, "__abstractmethods__", ())), default="")


def _mistaken(base: type, plugin: type) -> str:
    """Return what is wrong with what a plugin's class states; empty where nothing is."""
    hints = get_type_hints(base)
    for name in (
        n for n, kind in hints.items() if get_origin(kind) is ClassVar and hasattr(plugin, n)
    ):
        (kind,), stated = get_args(hints[name]), getattr(plugin, name)
        if get_origin(kind) is type:
            wanted = get_args(kind)[0]
            if not (isinstance(stated, type) and issubclass(stated, wanted)):
                return f"{name}: must be a class that inherits {wanted.__name__}"
            continue
        must = f"must be a {getattr(kind, '__name__', kind)}"
        if is_dataclass(kind) and not isinstance(stated, kind):  # type: ignore[arg-type]
            return f"{name}: {must}, got {shown(stated)}"
        try:
            built = typed.build(kind, stated, ".".join, (name,))
        except BenchError as error:
            return str(error)
        if built != stated:
            return f"{name}: {must}, got {shown(stated)}"
    return str(plugin.mistake()) if hasattr(base, "mistake") and hasattr(plugin, "mistake") else ""


def callable_module(module: str, kind: str) -> None:
    """Let ``bench.<kind>(name)`` load a plugin although ``bench.<kind>`` is also a module.

    ``bench.method`` is both the home of the contract that adapters import and, by the public
    contract, a function of a name; a module whose class has ``__call__`` is both.
    """

    class CallableModule(types.ModuleType):
        def __call__(self, name: str) -> Any:
            plugin = load(kind, name)
            return plugin() if kind == "dataset" else plugin  # a declaration needs no arguments

    sys.modules[module].__class__ = CallableModule
