"""The facts that a network's file from outside states, read without running it; each one is checked."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from bench import plugins, registry, typed
from bench.errors import BenchError
from bench.nets import sizes
from bench.nets.sizes import Entry
from bench.source import Source


@lru_cache(maxsize=64)
def stated(plugin: plugins.Plugin, changed: int) -> Entry:
    """Return the facts that a network's file states as it was ``changed`` last; only they are evaluated."""
    path = plugin.file
    try:
        node = next(n for n in ast.parse(path.read_bytes()).body if plugins.NETWORK in _targets(n))
    except (SyntaxError, ValueError, StopIteration, RecursionError) as error:
        raise registry.raised(path, error) from None
    words: dict[str, Any] = {
        name: value for name, value in vars(sizes).items() if is_dataclass(value)
    }
    words |= {"Source": Source, "__name__": plugin.module}
    where = f"{path}:{node.lineno}: {plugins.NETWORK}"
    try:
        network = _plain(node.value, words, path)  # type: ignore[attr-defined]
    except (ValueError, TypeError, RecursionError) as error:
        raise BenchError(
            f"{where}: {error}; write it with Entry, Preset, Source and plain values only, because it is "
            "read without running the file"
        ) from None
    if not isinstance(network, Entry) or (network.name, network.module) != (
        plugin.name,
        plugin.module,
    ):
        called = f"Entry({plugin.name!r}, title, __name__, ...)"
        raise BenchError(f"{where}: must be {called}, as the file is called")
    return network


def _plain(node: ast.AST, words: Mapping[str, Any], path: Path) -> Any:
    """Return what an expression of plain values, and calls of ``words`` that are classes, says.

    Raises:
        ValueError: it holds anything else.
        TypeError: a key of a mapping cannot be one.
        BenchError: a class has no such field, or one of another type; names the line.
    """
    match node:
        case ast.Constant(value=value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -value
        case ast.Name(id=name) if name in words:
            return words[name]
        case ast.Tuple(elts=elements) | ast.List(elts=elements):
            return tuple(_plain(element, words, path) for element in elements)
        case ast.Dict(keys=keys, values=values) if None not in keys:
            pairs = zip(keys, values, strict=True)
            return {
                _plain(k, words, path): _plain(v, words, path) for k, v in pairs if k is not None
            }
        case ast.Call(func=ast.Name(id=name)) if isinstance(words.get(name), type):
            return _built(words[name], node, words, path)
    raise ValueError(f"{ast.unparse(node)[:60]!r} is not a plain value")


def _built(kind: type, call: ast.Call, words: Mapping[str, Any], path: Path) -> Any:
    """Return the dataclass that a call states, its fields checked."""
    names = [field.name for field in fields(kind)]
    if len(call.args) > len(names) or any(word.arg is None for word in call.keywords):
        raise ValueError(f"{ast.unparse(call)[:60]!r} does not state the fields of {kind.__name__}")
    stated = dict(zip(names, call.args, strict=False))
    for word in call.keywords:
        if word.arg in stated:
            raise ValueError(f"{kind.__name__}.{word.arg} is stated twice")
        stated[str(word.arg)] = word.value

    def where(keys: typed.Keys) -> str:
        line = stated[keys[0]].lineno if keys and keys[0] in stated else call.lineno
        return f"{path}:{line}: {'.'.join([kind.__name__, *map(str, keys)])}"

    return typed.build(
        kind, {name: _plain(value, words, path) for name, value in stated.items()}, where
    )


def _targets(node: ast.AST) -> set[str]:
    """Return the names that a statement assigns."""
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return {target.id for target in targets if isinstance(target, ast.Name)}
