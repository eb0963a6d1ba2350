"""Numbers of the house that may fall and not rise; ``ratchet.toml`` has the highest that is allowed.

python tests/ratchet.py                              the numbers of now beside the allowed ones
python tests/ratchet.py --list banned_names          where a number comes from, most first
python tests/ratchet.py --write                      lower what fell
python tests/ratchet.py --write --because "REASON"   raise what rose, too; the reason stays in the file
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import sys
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
LIMITS = Path(__file__).with_suffix(".toml")
PRODUCT = ("bench", "methods", "datasets")
ROOMS = (*PRODUCT, "tests", "tools")
HIGHEST = 10  # complexity that is not counted
WORDS = """
found one own made said told asked some there here known taken whole answer gate entry place scene beside
elsewhere moved kept trains around"""
BANNED = set(WORDS.split())  # as names: they name nothing of the field
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
HEAD = "# The highest that each number may be (`python tests/ratchet.py`); tests/test_layers.py compares.\n"


class Parsed(NamedTuple):
    """What counts of a file's syntax tree."""

    names: list[str]  # that it binds
    functions: list[tuple[int, int, str]]  # complexity, line, name
    imports: list[tuple[str, str]]  # module, and the name that is imported from it


@dataclass(frozen=True)
class File:
    """A Python file of the house, by its path below the root."""

    root: Path
    path: Path

    @cached_property
    def name(self) -> str:
        return self.path.relative_to(self.root).as_posix()

    @property
    def room(self) -> str:
        return self.path.relative_to(self.root).parts[0]

    @property
    def module(self) -> str:
        """Return the name by which others import it."""
        first, *rest = self.path.relative_to(self.root).with_suffix("").parts
        rest = rest[:-1] if rest[-1:] == ["__init__"] else rest
        return ".".join([f"bench_{first}" if first in ("methods", "datasets") else first, *rest])

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def parsed(self) -> Parsed:
        """Return what counts of its syntax tree, which is large and not kept: outside the product, names."""
        nodes = list(ast.walk(ast.parse(self.text)))
        names = [name for node in nodes if (name := bound(node))]
        if self.room not in PRODUCT:
            return Parsed(names, [], [])
        imports = []
        for node in nodes:
            if isinstance(node, ast.ImportFrom):
                imports += [(node.module or "", alias.name) for alias in node.names]
            elif isinstance(node, ast.Import):
                imports += [(alias.name, "") for alias in node.names]
        functions = [(complexity(n), n.lineno, n.name) for n in nodes if isinstance(n, FUNCTIONS)]
        return Parsed(names, functions, imports)


def files(root: Path = ROOT) -> list[File]:
    return [File(root, path) for room in ROOMS for path in sorted((root / room).rglob("*.py"))]


def lines(*rooms: str) -> Callable[[Iterable[File]], Iterator[str]]:
    """Return a measure that yields a file's name for each of its lines."""
    return lambda house: (f.name for f in house if f.room in rooms for _ in f.text.splitlines())


def matches(pattern: str, rooms: Iterable[str]) -> Callable[[Iterable[File]], Iterator[str]]:
    """Return a measure that yields a file's name for each match."""

    def measure(house: Iterable[File]) -> Iterator[str]:
        for file in (f for f in house if f.room in rooms):
            yield from (file.name for _ in re.finditer(pattern, file.text))

    return measure


def bound(node: ast.AST) -> str | None:
    """Return the name that a node gives to a class, function, argument, variable, attribute or import."""
    if isinstance(node, (*FUNCTIONS, ast.ClassDef, ast.ExceptHandler, ast.MatchAs, ast.MatchStar)):
        return node.name
    if isinstance(node, (ast.Name, ast.Attribute)) and isinstance(node.ctx, ast.Store):
        return node.id if isinstance(node, ast.Name) else node.attr
    return node.arg if isinstance(node, ast.arg) else getattr(node, "asname", None)


def banned(*rooms: str) -> Callable[[Iterable[File]], Iterator[str]]:
    """Return a measure of names that say nothing; underscores around a name and capitals do not matter."""

    def measure(house: Iterable[File]) -> Iterator[str]:
        for file in (f for f in house if f.room in rooms):
            names = (file.module.rpartition(".")[2], *file.parsed.names)
            empty = (name for name in names if name.strip("_").lower() in BANNED)
            yield from (f"{file.name}: {name}" for name in empty)

    return measure


def complexity(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return one more than a function's branches, conditions and comprehensions, as radon 6 counts them.

    Functions and classes inside it, and what an assertion says, are not part of it.
    """
    total, waiting = 1, list[ast.AST](function.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, (*FUNCTIONS, ast.ClassDef, ast.Assert)):
            total += isinstance(node, ast.Assert)
            continue
        if isinstance(node, (ast.If, ast.IfExp)):
            total += 1
        elif isinstance(node, (ast.For, ast.AsyncFor, ast.While)):
            total += 1 + bool(node.orelse)
        elif isinstance(node, (ast.Try, ast.TryStar)):
            total += len(node.handlers) + bool(node.orelse)
        elif isinstance(node, ast.BoolOp):
            total += len(node.values) - 1
        elif isinstance(node, ast.comprehension):
            total += 1 + len(node.ifs)
        elif isinstance(node, ast.Match):
            patterns = [getattr(case.pattern, "pattern", 0) for case in node.cases]
            total += len(patterns) - any(pattern is None for pattern in patterns)
        waiting += ast.iter_child_nodes(node)
    return total


def complex_functions(house: Iterable[File]) -> Iterator[str]:
    """Yield the functions of the product that are more complex than allowed."""
    for file in (f for f in house if f.room in PRODUCT):
        for count, line, name in file.parsed.functions:
            if count > HIGHEST:
                yield f"{count} {file.name}:{line} {name}"


def one_importer(house: Iterable[File]) -> Iterator[str]:
    """Yield the modules that exactly one other module of the product imports."""
    modules = {f.module: f for f in house if f.room in PRODUCT}
    edges = set[tuple[str, str]]()  # imported, by
    for by in modules.values():
        for module, name in by.parsed.imports:  # a name inside a module leads to that module
            inside = f"{module}.{name}"
            edges.add((inside if inside in modules else module, by.module))
    importers = Counter(to for to, by in edges if to != by)
    for name, file in modules.items():
        if importers[name] == 1 and file.path.stem != "__init__":
            yield file.name


MEASURES: dict[str, Callable[[Iterable[File]], Iterator[str]]] = {
    "lines_of_bench": lines("bench"),
    "lines_of_methods": lines("methods"),
    "lines_of_datasets": lines("datasets"),
    "lines_of_tests": lines("tests"),
    "lines_of_tools": lines("tools"),
    "fmt_skips": matches(r"#\s*fmt: skip", ROOMS),
    "untyped_dicts": matches(r"\bdict\[str, Any\]", PRODUCT),
    "banned_names": banned(*PRODUCT),
    "banned_names_of_tests": banned("tests", "tools"),
    "complex_functions": complex_functions,
    "modules_with_one_importer": one_importer,
}


def numbers(root: Path = ROOT) -> dict[str, int]:
    """Return the numbers of now."""
    house = files(root)
    return {name: sum(1 for _ in measure(house)) for name, measure in MEASURES.items()}


def limits(file: Path = LIMITS) -> tuple[dict[str, int], dict[str, str]]:
    """Return the highest that each number may be, and why some were raised last."""
    table = tomllib.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return table.get("highest", {}), table.get("raised", {})


def risen(now: Mapping[str, int], highest: Mapping[str, int]) -> list[str]:
    """Return a line for each number that is higher than allowed."""
    above = {k: n for k, n in now.items() if n > highest.get(k, n)}
    return [f"{k}: {n}, allowed {highest[k]}" for k, n in above.items()]


def write(now: Mapping[str, int], file: Path = LIMITS, because: str = "") -> list[str]:
    """Write the numbers; where some rose and no reason is given, write nothing and return these."""
    highest, raised = limits(file)
    up = risen(now, highest)
    if up and not because.strip():
        return up
    raised |= {line.partition(":")[0]: " ".join(because.split()) for line in up}
    rows = ["[highest]", *(f"{name} = {count}" for name, count in now.items())]
    rows += ["", "[raised]  # why, last"]
    reasons = {name: why for name, why in raised.items() if name in now}
    rows += [f"{name} = {json.dumps(why, ensure_ascii=False)}" for name, why in reasons.items()]
    file.write_text("\n".join([HEAD, *rows, ""]), encoding="utf-8")
    return []


def main(arguments: list[str] | None = None) -> int:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--list", choices=MEASURES, help="print where a number comes from")
    parser.add_argument("--write", action="store_true", help="write the numbers of now")
    parser.add_argument("--because", default="", help="why a number may rise")
    given = parser.parse_args(arguments)
    if given.list:
        counts = Counter(MEASURES[given.list](files())).items()
        for item, count in sorted(counts, key=lambda pair: (-pair[1], pair[0])):
            print(f"{count:6} {item}")
        return 0
    now = numbers()
    if given.write and (up := write(now, because=given.because)):
        advice = 'nothing written: lower them, or say why with --because "REASON"'
        print(*up, advice, sep="\n", file=sys.stderr)
        return 1
    highest, raised = limits()
    for name, count in now.items():
        print(f"{name:28}{count:8}{highest.get(name, 0):8}  {raised.get(name, '')}".rstrip())
    return 1 if risen(now, highest) else 0


if __name__ == "__main__":
    sys.exit(main())
