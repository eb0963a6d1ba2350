"""Documents that people write, YAML and TOML: plain values, and for every key the line that it stands on.

YAML is read strictly: duplicate keys are errors, ``1e-4`` is a number. ``bench.typed`` makes frozen
dataclasses of the values.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import yaml
from yaml.composer import Composer

from bench import typed
from bench.errors import BenchError, shown

T = TypeVar("T")

DEEPEST = 50  # levels of one file
LARGEST = 256 << 10  # bytes of one file; PyYAML reads about 20 KiB a second
MOST = 20_000  # values of one file, aliases written out
# TOML text without quotes
UNIT = re.compile(r"\s*([\w.-]+)\s*=\s*(\d+) ?[A-Za-z]+\s*(?:#.*)?")
SECTIONS = {"data": "[data]", "cuda": "[cuda]", "cluster": "[cluster.NAME]"}  # of bench.toml
BARE = re.compile(r"\s*([\w.-]+)\s*=\s*([A-Za-z][\w.:/ -]*?)\s*(?:#.*)?")


if yaml.__with_libyaml__:  # ten times as fast

    class _Parsed(Composer, yaml.CSafeLoader):
        """Nodes of what libyaml parses, composed in Python, where their depth is counted."""

        def __init__(self, stream: str) -> None:
            yaml.CSafeLoader.__init__(self, stream)
            Composer.__init__(self)

else:
    _Parsed = yaml.SafeLoader  # type: ignore[assignment,misc]


class _Loader(_Parsed):
    """Reads YAML 1.2's scalars: ``1e-4`` is a float; ``no``, ``on`` and dates are text."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose one node; refuses depth early, as the scanner's work is quadratic in it."""
        self.depth += 1
        if self.depth > DEEPEST:
            raise RecursionError
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


_Loader.yaml_implicit_resolvers = {
    key: [
        (tag, pattern)
        for tag, pattern in rules
        if not tag.endswith((":float", ":bool", ":int", ":timestamp"))
    ]
    for key, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(true|false)$"), list("tf"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"^[-+]?\d+$"), list("-+0123456789")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^[-+]?(\d+\.\d*([eE][-+]?\d+)?|\.\d+([eE][-+]?\d+)?|\d+[eE][-+]?\d+|\.inf|\.nan)$"
    ),
    list("-+.0123456789"),
)


def _float(text: str) -> float:
    return float(text.replace(".inf", "inf").replace(".nan", "nan"))


SCALARS: dict[str, Callable[[str], Any]] = {  # tag: what its text means; no other tag is read
    "tag:yaml.org,2002:str": str,
    "tag:yaml.org,2002:int": int,
    "tag:yaml.org,2002:float": _float,
    "tag:yaml.org,2002:bool": lambda text: {"true": True, "false": False}[text],
    "tag:yaml.org,2002:null": lambda text: None,
}

PLAINLY = {  # what libyaml says: what that means to who wrote the file
    "mapping values are not allowed": "': ' inside a value; put the value in quotes, or correct the indentation",
    "expected ',' or": "the bracket{since} is not closed; a ',' or the closing bracket is missing",
    "unexpected end of stream": "the quote{since} is not closed",
    "did not find expected key": "no key begins here; correct the indentation, or the brackets and quotes above",
    "could not find expected ':'": "the key{since} has no ':' after it",
    "expected '-'": "the list{since} has a line without '-'; correct the indentation",
    "but found another document": "'---' begins a second document; keep only one document",
}


@dataclass
class Document:
    """Plain values of one file, and the line on which each path stands."""

    path: Path
    value: dict[str, Any]
    # a text: of --set, which states it
    lines: dict[typed.Keys, int | str] = field(default_factory=dict)
    # are its records drawn and nothing run? A plugin that it names may then be gone
    drawn: bool = False
    room: int = 0  # values that are still allowed: aliases of aliases can mean billions

    def where(self, keys: tuple[str, ...]) -> str:
        """Return ``file:line: key.path`` of the deepest path that is stated, and by which --set if by one."""
        stated, key = keys, ".".join(keys) or "top level"
        while stated and stated not in self.lines:
            stated = stated[:-1]
        line = self.lines.get(stated, 1)
        if isinstance(line, str):
            return f"--set {line}: {key}"
        inside = (
            at
            for path, at in self.lines.items()
            if path[: len(keys)] == keys and isinstance(at, str)
        )
        key += "".join(f", with --set {text}" for text in dict.fromkeys(inside)) if keys else ""
        return f"{self.path}:{line}: {key}" if self.lines else f"{self.path}: {key}"

    def build(self, kind: type[T], value: Any = None, keys: tuple[str, ...] = ()) -> T:
        """Turn the file's values, or what stands under ``keys``, into the dataclass ``kind``.

        Raises:
            BenchError: names file, line and key.
        """
        return typed.build(
            kind, self.value if value is None and not keys else value, self.where, keys
        )


def parse(path: Path) -> Document:
    """Read one YAML mapping.

    Raises:
        BenchError: unreadable, empty, not YAML, not a mapping, or a key twice; names file and line.
    """
    text = _text(path)
    try:
        node = _composed(text)
    except RecursionError:
        raise BenchError(f"{path}: nested too deeply; use fewer levels") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise BenchError(f"{path}{line}: not YAML: {_problem(error, text)}") from None
    if node is None:
        raise BenchError(
            f"{path}: the file has no keys; write 'key: value' lines, or name another file"
        )
    if not isinstance(node, yaml.MappingNode):
        what = "a list" if isinstance(node, yaml.SequenceNode) else "text"
        first = node.start_mark.line + 1
        raise BenchError(
            f"{path}:{first}: expected a mapping of keys ('key: value' lines), got {what}"
        )
    document = Document(path, {}, room=MOST)
    document.value = _values(node, document)
    return document


def read_toml(path: Path) -> Document | None:
    """Read ``bench.toml``; None where there is none.

    Raises:
        BenchError: unreadable, not TOML, or a section that nobody reads; names the file.
    """
    if not path.is_file():
        return None
    text = _text(path)
    try:
        document = Document(path, tomllib.loads(text), _toml_lines(text))
    except (ValueError, RecursionError) as error:  # among them TOMLDecodeError
        at = re.search(r" \(at line (\d+), column \d+\)", str(error))
        if at is None:
            raise BenchError(f"{path}: not TOML ({error})") from None
        hint = _toml_hint(text.split("\n")[int(at[1]) - 1])
        why = str(error).replace(at[0], "")
        raise BenchError(f"{path}:{at[1]}: not TOML ({why}){hint}") from None
    for key in document.value:
        if key not in SECTIONS:
            said = f"section {shown(key)} is unknown; write {' or '.join(SECTIONS.values())}"
            raise BenchError(f"{document.where((key,))}: {said}")
    return document


def _toml_hint(line: str) -> str:
    """Return what to write in place of a line that is not TOML, of mistakes that are common."""
    if bare := BARE.fullmatch(line):
        return f'; text needs quotes: {bare[1]} = "{bare[2]}"'
    if unit := UNIT.fullmatch(line):
        return f"; a number has no unit: {unit[1]} = {unit[2]}"
    return "; the quote is not closed" if line.count('"') % 2 else ""


def _toml_lines(text: str) -> dict[typed.Keys, int | str]:
    """Return the line on which each key of a TOML text begins.

    A run of lines that is TOML by itself is one statement: a table's head, or a key with its value.
    """
    lines = dict[typed.Keys, int | str]()
    table: tuple[str, ...] = ()
    first, statement = 1, ""
    for number, line in enumerate(text.split("\n"), 1):
        statement += f"{line}\n"
        try:
            paths = list(_paths(tomllib.loads(statement)))
        except ValueError:  # a bracket or a quote closes on a later line
            continue
        is_head = statement.lstrip().startswith("[")
        for path in paths:
            lines.setdefault(path if is_head else (*table, *path), first)
        table = paths[-1] if is_head else table
        first, statement = number + 1, ""
    return lines


def _paths(table: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield the path of every key in nested tables, a table's own before those of its keys."""
    for key, value in table.items():
        yield (key,)
        if isinstance(value, dict):
            yield from ((key, *path) for path in _paths(value))


def _text(path: Path) -> str:
    try:
        if path.is_dir():
            raise BenchError(f"{path}: is a folder; name a file in it")
        if path.stat().st_size > LARGEST:
            raise BenchError(
                f"{path}: more than {LARGEST >> 10} KiB; make it smaller, or name another file"
            )
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BenchError(
            f"{path}: no such file; correct the path, or use a name that 'bench list protocols' prints"
        ) from None
    except UnicodeDecodeError:
        raise BenchError(f"{path}: is not text in UTF-8; save it as UTF-8") from None
    except OSError as error:
        raise BenchError(
            f"{path}: cannot be read ({error.strerror}); correct this, or name another file"
        ) from None


@lru_cache(maxsize=64)
def _composed(text: str) -> yaml.Node | None:
    """Return YAML's nodes, not to be written to: settings are read by every protocol that names them."""
    node: yaml.Node | None = yaml.compose(text, Loader=_Loader)
    return node


def _values(node: yaml.Node, document: Document) -> Any:
    try:
        return _plain(node, (), document)
    except RecursionError:
        raise BenchError(
            f"{document.path}: an alias contains itself; write the values instead"
        ) from None


def scalar(text: str) -> Any:
    """Read one YAML value, as after ``--set key=``."""
    try:
        node = yaml.compose(text, Loader=_Loader)
    except RecursionError:
        raise BenchError(f"{shown(text)} is nested too deeply") from None
    except yaml.YAMLError as error:
        raise BenchError(f"{shown(text)} is not a YAML value: {_problem(error, text)}") from None
    return None if node is None else _values(node, Document(Path("--set"), {}, room=MOST))


def _problem(error: yaml.YAMLError, text: str) -> str:
    """Return what is wrong and what to write, in one line: libyaml names its own grammar, in several."""
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    mark, begun = getattr(error, "problem_mark", None), getattr(error, "context_mark", None)
    line = f"{text}\n".split("\n")[mark.line] if mark else ""
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return "a tab indents the line; write spaces"
    if mark and "cannot start any token" in problem:
        return f"no value begins with {line[mark.column]!r}; put the value in quotes"
    since = f" of line {begun.line + 1}" if begun else ""
    return next(
        (words.format(since=since) for part, words in PLAINLY.items() if part in problem), problem
    )


def _plain(node: yaml.Node, keys: tuple[str, ...], document: Document) -> Any:
    document.lines.setdefault(keys, node.start_mark.line + 1)
    document.room -= 1
    if document.room < 0:
        raise BenchError(
            f"{document.path}: its aliases expand to more than {MOST} values; use fewer"
        )
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, keys, document)
    if isinstance(node, yaml.SequenceNode):
        return [_plain(v, (*keys, str(i)), document) for i, v in enumerate(node.value)]
    if node.tag not in SCALARS:
        raise BenchError(
            f"{document.where(keys)}: tag {shown(node.tag)} is not supported; write a plain value"
        )
    try:
        return SCALARS[node.tag](node.value)
    except (ValueError, KeyError):
        kind = node.tag.rpartition(":")[2]
        raise BenchError(
            f"{document.where(keys)}: {shown(node.value)} is not a valid {kind}"
        ) from None


def _mapping(node: yaml.MappingNode, keys: tuple[str, ...], document: Document) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = str(key_node.value)
        line = key_node.start_mark.line + 1
        if key in values:
            first = document.lines[(*keys, key)]
            raise BenchError(
                f"{document.path}:{line}: key {'.'.join((*keys, key))!r} is written twice (first on line "
                f"{first}); keep one of them"
            )
        document.lines[(*keys, key)] = line
        values[key] = _plain(value_node, (*keys, key), document)
    return values


def overlay(base: Any, over: Any) -> Any:
    """Lay a scale's small overrides over the paper's values.

    Mappings merge key by key; a mapping over a list applies to every element; anything else
    replaces.
    """
    if isinstance(over, dict) and isinstance(base, dict):
        return {**base, **{k: overlay(base.get(k), v) for k, v in over.items()}}
    if isinstance(over, dict) and isinstance(base, list):
        return [overlay(b, over) for b in base]
    return over
