"""Plugins from outside: methods, data sets and networks that lie in another folder or another package.

They come by an entry point of an installed package (``GROUPS``), by ``plugins: [path]`` in a protocol, or by
``--plugins`` and the environment (``PATHS``), by which processes that are started from here know them, too.
Nothing is imported before it is asked for by name: what a file is, its text says.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import find_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from bench import process
from bench.errors import BenchError, printable, shown
from bench.imports import imports, meaning

GROUPS = {"method": "bench.methods", "dataset": "bench.datasets", "network": "bench.networks"}
PATHS = "BENCH_PLUGINS"  # files and folders, separated as those of PATH are
NETWORK = "NETWORK"  # what a network's file calls its row of facts
SIGNS = {  # what a file's text has that makes it a plugin of a kind; compiled when first asked for
    "network": rf"^{NETWORK}\b[^=\n]*=",
    "method": r"^from bench\.method import (\([^)]*|[^\n]*)\bMethod\b",
    "dataset": r"^from bench\.(data\.layout_\w+ import|dataset import (\([^)]*|[^\n]*)\bDataset\b)",
}
ASIDE = r"_|test_|conftest\.py|setup\.py"  # begins what is passed over in a folder
PREFIX = "bench_outside_"  # begins the package that the files of one folder are imported from


@dataclass(frozen=True)
class Plugin:
    """One file from outside. Its name is the file's, as that of every plugin is."""

    kind: str  # method, dataset or network
    name: str
    file: Path
    module: str  # by which it is imported
    package: str = ""  # the installed package that brings it

    @property
    def origin(self) -> str:
        """Return where it comes from, for a person."""
        return f"{self.file} (package {self.package})" if self.package else str(self.file)


@dataclass(frozen=True)
class Planned:
    """A plugin as a plan saw it: what a job's process must find."""

    plugin: Plugin
    digest: str


def use(paths: Iterable[Path], where: str = "--plugins") -> None:
    """Make plugins known to this process and to those that it starts.

    Args:
        paths: files, or folders of files; of a folder the plugins are taken, and what is none is passed over.
        where: named in errors.

    Raises:
        BenchError: nothing is there, or it is no plugin.
    """
    paths_known = os.environ.get(PATHS, "").split(os.pathsep)
    for path in (Path(os.path.abspath(path)) for path in paths):  # noqa: PTH100 - a link keeps its name
        if os.pathsep in str(path):
            raise BenchError(
                f"{where}: {shown(str(path))}: the path contains {os.pathsep!r}; rename the folder"
            )
        try:
            plugins = _of(path, _stamp(path))
        except (OSError, ValueError) as error:  # a name that no file can have
            why = getattr(error, "strerror", None) or error
            raise BenchError(f"{where}: {shown(str(path))}: {why}; name another file") from None
        if not plugins:
            raise BenchError(f"{where}: {_nothing(path)}")
        paths_known += [] if str(path) in paths_known else [str(path)]
    os.environ[PATHS] = os.pathsep.join(filter(None, paths_known))


def use_stated() -> None:
    """Take what the environment names as if it had been given: absolute, and refused where it is nothing."""
    stated = [Path(text) for text in os.environ.pop(PATHS, "").split(os.pathsep) if text]
    use(stated, PATHS)


def _nothing(path: Path) -> str:
    name = printable(str(path))
    if not path.exists():
        return f"{name}: no such file or folder; '~' and variables are not expanded in this path"
    return (
        f"{name}: not a plugin; a method imports Method of bench.method, a data set Dataset of bench.dataset "
        f"or a layout of bench.data, a network states {NETWORK} = Entry(...); the file's name is a Python "
        "name"
    )


def by_name(kind: str) -> dict[str, Plugin]:
    """Return the plugins of a kind by name, none of them imported.

    Raises:
        BenchError: two have one name; names both places.
    """
    if not os.environ.get(PATHS):
        return _of_kind(kind, _installed(tuple(sys.path)))
    return _of_kind(kind, tuple(_all()))


def present() -> bool:
    """Does this process know any plugin from outside?"""
    return next(_all(), None) is not None


@lru_cache(maxsize=64)  # plans ask thousands of times
def _of_kind(kind: str, plugins: tuple[Plugin, ...]) -> dict[str, Plugin]:
    plugins_by_name: dict[str, Plugin] = {}
    for plugin in (p for p in plugins if p.kind == kind):
        other = plugins_by_name.setdefault(plugin.name, plugin)
        if other.file != plugin.file and other.file.read_bytes() != plugin.file.read_bytes():
            both = f"{other.origin} and {plugin.origin}"
            raise BenchError(
                f"{kind} {plugin.name!r} is defined twice, by {both}; rename one of the two"
            )
    return plugins_by_name


def _all() -> Iterator[Plugin]:
    yield from _installed(tuple(sys.path))
    for text in filter(None, os.environ.get(PATHS, "").split(os.pathsep)):
        yield from _of(Path(text), _stamp(Path(text)))


@lru_cache(maxsize=4)
def _installed(places: tuple[str, ...]) -> tuple[Plugin, ...]:
    """Return the plugins of installed packages, found by their entry points without importing a package."""
    from importlib.metadata import entry_points

    installed = []
    for kind, group in GROUPS.items():
        for point in entry_points(group=group):
            module, package = (
                point.value.partition(":")[0].strip(),
                point.dist.name if point.dist else "?",
            )
            if point.name != module.rpartition(".")[2]:
                raise BenchError(
                    f"package {package}: entry point {point.name!r} of {group} leads to {module}; the "
                    "entry point must have the name of the file: rename one of the two"
                )
            installed.append(Plugin(kind, point.name, _located(module), module, package))
    return tuple(installed)


def brings(module: str) -> bool:
    """Tell whether a module is of a folder, or of an installed package, that brings plugins."""
    first = module.partition(".")[0]
    packages = {plugin.module.partition(".")[0] for plugin in _installed(tuple(sys.path))}
    return first.startswith(PREFIX) or first in packages


def _located(module: str) -> Path:
    """Return a module's file as its name says it, although it may not be there."""
    first, *rest = module.split(".")
    spec = find_spec(first)  # imports nothing, as it would of a dotted name
    if not rest:
        return Path(spec.origin if spec and spec.origin else f"{first}.py")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    files = [Path(folder, *rest).with_suffix(".py") for folder in folders]
    return next((f for f in files if f.is_file()), Path(*module.split(".")).with_suffix(".py"))


def _stamp(path: Path) -> tuple[int, int]:
    try:
        now = path.stat()
        return now.st_mtime_ns, now.st_size
    except OSError:
        return 0, 0


@lru_cache(maxsize=64)
def _of(path: Path, stamp: tuple[int, int]) -> tuple[Plugin, ...]:
    """Return the plugins that a file, or a folder, is or holds."""
    listed = sorted(path.glob("*.py")) if path.is_dir() else [path]
    files = (
        listed if listed == [path] else [file for file in listed if not re.match(ASIDE, file.name)]
    )
    return tuple(plugin for file in files for plugin in _plugin(file))


def _plugin(file: Path) -> Iterator[Plugin]:
    if file.suffix != ".py" or not file.stem.isidentifier() or not file.is_file():
        return
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BenchError(f"{file}: cannot be read ({error}); correct this") from None
    kind = next((kind for kind, sign in SIGNS.items() if re.search(sign, text, re.MULTILINE)), None)
    if kind is not None:
        yield Plugin(kind, file.stem, file, f"{_package(file.parent)}.{file.stem}")


def _package(folder: Path) -> str:
    return PREFIX + hashlib.sha256(str(folder).encode("utf-8", "surrogatepass")).hexdigest()[:8]


class _Loader(SourceFileLoader):
    """Runs a file as it stands: no compiled copy of an earlier state, and none is left beside it."""

    def get_code(self, fullname: str) -> Any:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


class _Finder:
    """Finds what ``PATHS`` names. The files of a folder are a package's modules: ``from .other import x``."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith(PREFIX):
            return None
        first, _, rest = fullname.partition(".")
        texts = filter(None, os.environ.get(PATHS, "").split(os.pathsep))
        paths = (Path(text) for text in texts)
        folders = (path if path.is_dir() else path.parent for path in paths)
        folder = next((folder for folder in folders if _package(folder) == first), None)
        if folder is None:
            return None
        if not rest:
            package = ModuleSpec(fullname, None, is_package=True)
            package.submodule_search_locations = [str(folder)]
            return package
        file = folder.joinpath(*rest.split(".")).with_suffix(".py")
        return spec_from_file_location(fullname, file, loader=_Loader(fullname, str(file)))


sys.meta_path.append(_Finder())


def files(plugin: Plugin) -> dict[str, Path]:
    """Return the files that a plugin consists of, by their names from its own folder or package on.

    That is its own and those of the same folder or package that it imports, and what these import.
    """
    top, *rest = plugin.module.split(".")
    if not rest:
        return {plugin.file.name: plugin.file}
    root, members = plugin.file.parents[len(rest) - 1], dict[str, Path]()
    waiting = _prefixes(plugin.module)
    while waiting:
        first, *parts = waiting.pop().split(".")
        path = root.joinpath(*parts)
        for file in (
            (path.with_suffix(".py"), path / "__init__.py") if parts else (path / "__init__.py",)
        ):
            name = file.relative_to(root).as_posix()
            if first == top and name not in members and file.is_file():
                members[name] = file
                waiting += _imports(
                    file, [top, *parts] if file.stem == "__init__" else [top, *parts[:-1]]
                )
    return dict(sorted(members.items()))


def _prefixes(module: str) -> list[str]:
    """Return a module and the packages that importing it runs."""
    parts = module.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts) + 1)]


def _imports(file: Path, package: Sequence[str]) -> list[str]:
    """Return the modules, and perhaps names in them, that a file of a package imports."""
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):  # it says why where it is imported
        return []
    return [module for name in imports(tree.body, package) for module in _prefixes(name)]


_digests: dict[Plugin, tuple[tuple[Any, ...], str]] = {}  # of one state of its files
_pinned: dict[tuple[str, str], Planned] = {}


def digest(plugin: Plugin) -> str:
    """Return 16 hex digits of what a plugin's files mean: part of the id of every job that it touches.

    In a process that runs a plan's jobs: of what the plan saw.
    """
    pinned = _pinned.get((plugin.kind, plugin.name))
    if pinned is not None and pinned.plugin.file == plugin.file:
        return pinned.digest
    return _now(plugin)


def _now(plugin: Plugin) -> str:
    """Return the digest of a plugin's files as they are; files that did not change are not read again."""
    stamps, digest = _digests.get(plugin, ((), ""))
    if not stamps or any(_stamp(file) != stamp for file, stamp in stamps):
        those = files(plugin)
        stamps = tuple((file, _stamp(file)) for file in those.values())
        text = "".join(f"{name} {_meaning(file.read_bytes())}\n" for name, file in those.items())
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        _digests[plugin] = stamps, digest
    return digest


def _meaning(data: bytes) -> str:
    """Return what stands for what a file does; its bytes where it is no Python."""
    try:
        return f"meaning {meaning(data, ast.parse(data))}"
    except (SyntaxError, ValueError, RecursionError):
        return hashlib.sha256(data).hexdigest()


def arrive(these: Iterable[Planned]) -> None:
    """Make a job's plugins known where it runs, as its plan saw them.

    What this process has imported already stays, whatever was written since.

    Raises:
        BenchError: a file is another one now.
    """
    for planned in these:
        plugin = planned.plugin
        if not plugin.package:
            use([plugin.file], f"{plugin.kind} {plugin.name!r}")
        if _imported.get(plugin.module) != planned.digest and planned.digest not in _now(plugin):
            raise BenchError(
                f"{plugin.file}: {plugin.kind} {plugin.name!r} was edited since this run began; run it again"
            )
        _pinned[plugin.kind, plugin.name] = planned


_imported: dict[str, str] = {}  # module of a plugin: digest of what was imported


def module(plugin: Plugin) -> ModuleType:
    """Import a plugin's file; one of a folder again where it was edited since.

    Raises:
        Exception: whatever it raises.
    """
    wanted = digest(plugin)
    if not plugin.package and _imported.get(plugin.module, wanted) != wanted:
        package = plugin.module.partition(".")[0]
        for name in [n for n in sys.modules if n == package or n.startswith(f"{package}.")]:
            del sys.modules[name]
            _imported.pop(name, None)
    with nullcontext() if (plugin.kind, plugin.name) in _pinned else contained():
        imported = importlib.import_module(plugin.module)
    _imported.setdefault(plugin.module, wanted)
    return imported


def contained() -> AbstractContextManager[None]:
    """Return a context in which a plan runs code of plugins: what it does to the process is undone."""
    outside = os.environ.get(PATHS) or _installed(tuple(sys.path))
    return process.contained(retained=[PATHS]) if outside else nullcontext()


def planned(named: Iterable[tuple[str, str]]) -> tuple[Planned, ...]:
    """Return those of some (kind, name) that come from outside, as they are now."""
    outside = {kind: by_name(kind) for kind in GROUPS}
    those = dict.fromkeys(outside[kind][name] for kind, name in named if name in outside[kind])
    return tuple(Planned(plugin, digest(plugin)) for plugin in those)
