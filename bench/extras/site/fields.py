"""The fields of a dataclass as a page lists them; what one means is the comment beside it in the source."""

from __future__ import annotations

import ast
import inspect
import io
import tokenize
import types
from collections.abc import Iterator
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from bench.ranges import Range
from bench.typed import plain

WORDS = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    Any: "anything",
    Path: "path",
}


@dataclass(frozen=True)
class Described:
    """One field: what it may be, what it is where nobody states it, and what it is for."""

    name: str
    kind: str  # in words, with its bounds
    default: str  # as YAML has it; empty where it is required
    comment: str
    required: bool


def described(kind: type) -> list[Described]:
    """Return the fields of a dataclass that a person may state, in the order of the source."""
    hints = get_type_hints(kind, include_extras=True)
    listed = [f for f in fields(kind) if not f.metadata.get("unsaid")]
    return [
        Described(f.name, in_words(hints[f.name]), _default(f), comment(kind, f.name), _required(f))
        for f in listed
    ]


def in_words(hint: Any, bounds: Range | None = None) -> str:
    """Return an annotation as a person writes it; a dataclass is a link to its own section."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        limits = next((m for m in inner[1:] if isinstance(m, Range)), bounds)
        return in_words(inner[0], limits)
    if origin in (Union, types.UnionType):
        return " or ".join(in_words(i, bounds) for i in inner if i is not type(None))
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in inner if value != "")
    if origin in (tuple, list):
        several = origin is list or inner[-1] is Ellipsis
        if several:
            return f"list of {in_words(inner[0], bounds)}"
        return f"{len(inner)} values: {in_words(inner[0], bounds)}"
    if origin is dict:
        return f"mapping of names to {in_words(inner[1], bounds)}"
    if is_dataclass(hint):
        return f"[{hint.__name__}](#{hint.__name__.lower()})"  # type: ignore[union-attr]
    return WORDS[hint] + (f" {_bounds(bounds)}" if bounds and hint in (int, float) else "")


def _bounds(bounds: Range) -> str:
    # what it says of a number that is in no range
    return bounds.problem(float("nan")).removeprefix("must be ")


def _required(f: Field[Any]) -> bool:
    return f.default is MISSING and f.default_factory is MISSING


def _default(f: Field[Any]) -> str:
    if _required(f):
        return ""
    value = plain(f.default if f.default_factory is MISSING else f.default_factory())
    if is_dataclass(f.default) or is_dataclass(f.default_factory):
        return "its own"
    return "" if value in (None, "", [], {}) else as_yaml(value)


def as_yaml(value: Any) -> str:
    """Return a plain value as it stands in a protocol, on one line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(as_yaml, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {as_yaml(v)}" for k, v in value.items()) + "}"
    return "null" if value is None else str(value)


def comment(kind: type, name: str) -> str:
    """Return the comment beside a field, or right above it; empty where there is none."""
    home = next(c for c in kind.__mro__ if name in vars(c).get("__annotations__", {}))
    return _comments(Path(inspect.getfile(home)), home.__qualname__).get(name, "")


@cache
def _comments(path: Path, qualname: str) -> dict[str, str]:
    """Return the comments of a class's fields, by field."""
    text = path.read_text(encoding="utf-8")
    body: list[ast.stmt] = ast.parse(text).body
    for part in qualname.split("."):
        body = next(n.body for n in body if isinstance(n, ast.ClassDef) and n.name == part)
    comment_of = dict(_lines(text))
    above = {line for line, (_, alone) in comment_of.items() if alone}
    comments = {}
    for node in body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            first = node.lineno
            while first - 1 in above:
                first -= 1
            lines_above = [comment_of[n][0] for n in range(first, node.lineno)]
            same_line = {
                *range(node.lineno, (node.end_lineno or node.lineno) + 1)
            } & comment_of.keys() - above
            comments[node.target.id] = "; ".join(
                [" ".join(lines_above)] * bool(lines_above)
                + [comment_of[n][0] for n in sorted(same_line)]
            )
    return comments


def _lines(text: str) -> Iterator[tuple[int, tuple[str, bool]]]:
    """Yield the line of each comment, what it says, and whether it stands alone there."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        for_tools = token.string.startswith(("# fmt:", "# noqa", "# type:"))
        if token.type == tokenize.COMMENT and not for_tools:
            words = token.string.lstrip("# ").partition("  # type:")[0]
            yield token.start[0], (words, not token.line[: token.start[1]].strip())
