"""Strict YAML: every key keeps its line, duplicates are errors, ``1e-4`` is a number.

Two steps: text to plain values with a line for every path, then values to frozen dataclasses.
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml

from bench.errors import BenchError, shown

DEEPEST = 50  # levels of one file
LARGEST = 256 << 10  # bytes of one file; PyYAML reads about 20 KiB a second
MOST = 20_000  # values of one file, aliases written out


class _Loader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2's scalars: ``1e-4`` is a float; ``no``, ``on`` and dates are text."""

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
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?\d+$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.\d*([eE][-+]?\d+)?|\.\d+([eE][-+]?\d+)?|\d+[eE][-+]?\d+|\.inf|\.nan)$"),
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


@dataclass
class Document:
    """Plain values of one YAML file, and the line on which each path stands."""

    path: Path
    value: dict[str, Any]
    lines: dict[tuple[str, ...], int] = field(default_factory=dict)
    room: int = 0  # values that are still allowed: aliases of aliases can mean billions

    def where(self, keys: tuple[str, ...]) -> str:
        """Return ``file:line: key.path`` of the deepest path that stands in the file."""
        known = keys
        while known and known not in self.lines:
            known = known[:-1]
        line = f":{self.lines.get(known, 1)}" if self.lines else ""
        return f"{self.path}{line}: {'.'.join(keys) or 'top level'}"


def parse(path: Path) -> Document:
    """Read one YAML mapping.

    Raises:
        BenchError: unreadable, not YAML, not a mapping, or a key twice; names file and line.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise BenchError(f"{path}: more than {LARGEST >> 10} KiB is no protocol")
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=_Loader)
    except (OSError, UnicodeDecodeError) as error:
        raise BenchError(f"{path}: cannot be read ({error})") from None
    except RecursionError:
        raise BenchError(f"{path}: nested too deeply; write it flat") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise BenchError(f"{path}{line}: not YAML: {_problem(error)}") from None
    if not isinstance(node, yaml.MappingNode):
        raise BenchError(f"{path}: expected a mapping of keys, got something else")
    document = Document(path, {}, room=MOST)
    document.value = _values(node, document)
    return document


def _values(node: yaml.Node, document: Document) -> Any:
    try:
        return _plain(node, (), document)
    except RecursionError:
        raise BenchError(f"{document.path}: an alias contains itself; write its values out") from None


def scalar(text: str) -> Any:
    """Read one YAML value, as after ``--set key=``."""
    try:
        node = yaml.compose(text, Loader=_Loader)
    except RecursionError:
        raise BenchError(f"{shown(text)} is nested too deeply") from None
    except yaml.YAMLError as error:
        raise BenchError(f"{shown(text)} is not a YAML value ({_problem(error)})") from None
    return None if node is None else _values(node, Document(Path("--set"), {}, room=MOST))


def _problem(error: yaml.YAMLError) -> str:
    """Return what is wrong in one line: PyYAML's own text has several."""
    return getattr(error, "problem", None) or str(error).splitlines()[0]


def _plain(node: yaml.Node, keys: tuple[str, ...], document: Document) -> Any:
    document.lines.setdefault(keys, node.start_mark.line + 1)
    document.room -= 1
    if document.room < 0:
        raise BenchError(f"{document.path}: its aliases stand for more than {MOST} values; write fewer")
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, keys, document)
    if isinstance(node, yaml.SequenceNode):
        return [_plain(v, (*keys, str(i)), document) for i, v in enumerate(node.value)]
    if node.tag not in SCALARS:
        raise BenchError(f"{document.where(keys)}: tag {shown(node.tag)} is not read; write a plain value")
    try:
        return SCALARS[node.tag](node.value)
    except (ValueError, KeyError):
        kind = node.tag.rpartition(":")[2]
        raise BenchError(f"{document.where(keys)}: {shown(node.value)} is no {kind}") from None


def _mapping(node: yaml.MappingNode, keys: tuple[str, ...], document: Document) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = str(key_node.value)
        line = key_node.start_mark.line + 1
        if key in found:
            first = document.lines[(*keys, key)]
            raise BenchError(
                f"{document.path}:{line}: key {'.'.join((*keys, key))!r} stands twice "
                f"(first on line {first}); keep one"
            )
        document.lines[(*keys, key)] = line
        found[key] = _plain(value_node, (*keys, key), document)
    return found


def build(kind: Any, document: Document, value: Any = None, keys: tuple[str, ...] = ()) -> Any:
    """Turn plain values into the frozen dataclass ``kind``, field for field.

    Raises:
        BenchError: unknown key (with the nearest valid one), missing key or wrong type; names
            file, line and key.
    """
    return _value(kind, document.value if value is None and not keys else value, keys, document)


def _value(kind: Any, value: Any, keys: tuple[str, ...], doc: Document) -> Any:
    origin = get_origin(kind)
    if kind is Any:
        return value
    if origin in (Union, types.UnionType):
        return _union(kind, value, keys, doc)
    if origin is Literal:
        return _choice(get_args(kind), value, keys, doc)
    if origin is tuple:
        return _tuple(get_args(kind), value, keys, doc)
    if origin is dict:
        if not isinstance(value, dict):
            raise BenchError(f"{doc.where(keys)}: expected a mapping, got {shown(value)}")
        inner = get_args(kind)[1]
        return {k: _value(inner, v, (*keys, k), doc) for k, v in value.items()}
    if is_dataclass(kind):
        return _dataclass(kind, value, keys, doc)
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        quote = "; put it in quotes" if kind is str and isinstance(value, (int, float)) else ""
        raise BenchError(f"{doc.where(keys)}: expected {_name(kind)}, got {shown(value)}{quote}")
    return value


def _dataclass(kind: Any, value: Any, keys: tuple[str, ...], doc: Document) -> Any:
    if not isinstance(value, dict):
        raise BenchError(f"{doc.where(keys)}: expected a mapping, got {shown(value)}")
    known = {f.name: f for f in fields(kind) if not f.metadata.get("unsaid")}
    for key in value:
        if key not in known:
            near = get_close_matches(key[:80], known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(known))}"
            raise BenchError(f"{doc.where((*keys, key))}: unknown key {shown(key)}; {hint}")
    for key, f in known.items():
        if key not in value and f.default is MISSING and f.default_factory is MISSING:
            raise BenchError(f"{doc.where(keys)}: key {key!r} is missing")
    hints = get_type_hints(kind)
    built = {k: _value(hints[k], v, (*keys, k), doc) for k, v in value.items()}
    try:
        return kind(**built)
    except ValueError as error:  # a dataclass's own __post_init__ names the field
        raise BenchError(f"{doc.where(keys)}: {error}") from None


def _union(kind: Any, value: Any, keys: tuple[str, ...], doc: Document) -> Any:
    options = get_args(kind)
    if value is None and type(None) in options:
        return None
    rest = [o for o in options if o is not type(None)]
    if isinstance(value, dict):
        rest = [o for o in rest if is_dataclass(o) or get_origin(o) is dict] or rest
    elif len(rest) > 1:
        named = [o for o in rest if get_origin(o) is Literal and isinstance(value, str)]
        rest = named or [o for o in rest if o is type(value)] or rest
    return _value(rest[0], value, keys, doc)


def _choice(options: tuple[Any, ...], value: Any, keys: tuple[str, ...], doc: Document) -> Any:
    if value in options and not isinstance(value, bool):
        return value
    raise BenchError(f"{doc.where(keys)}: expected one of {', '.join(map(str, options))}, got {shown(value)}")


def _tuple(inner: tuple[Any, ...], value: Any, keys: tuple[str, ...], doc: Document) -> Any:
    if not isinstance(value, list):
        raise BenchError(f"{doc.where(keys)}: expected a list, got {shown(value)}")
    if inner[-1] is Ellipsis:
        return tuple(_value(inner[0], v, (*keys, str(i)), doc) for i, v in enumerate(value))
    if len(value) != len(inner):
        raise BenchError(f"{doc.where(keys)}: expected {len(inner)} values, got {len(value)}")
    pairs = zip(inner, value, strict=True)
    return tuple(_value(k, v, (*keys, str(i)), doc) for i, (k, v) in enumerate(pairs))


def _name(kind: Any) -> str:
    return {"str": "text", "int": "a whole number", "float": "a number", "bool": "true or false"}.get(
        kind.__name__, kind.__name__
    )


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
