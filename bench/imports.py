"""What a source file imports and what it means, by its text: nothing is run."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence

DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
POSITIONS = {"lineno", "col_offset", "end_lineno", "end_col_offset", "ctx", "kind", "type_comment"}


def imports(nodes: Iterable[ast.AST], package: Sequence[str] = ()) -> Iterator[str]:
    """Yield what is imported anywhere below ``nodes``; ``package.name`` also where the name is no module.

    So is what ``import_module`` is given as a plain text; what a type checker alone reads is not.

    Args:
        nodes: of a file's tree.
        package: the parts of the package that the file is in, from which relative names go.
    """
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in _words(node.test):
            waiting += node.orelse
            continue
        waiting += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            home = _absolute("." * node.level + (node.module or ""), package)
            yield home
            yield from (f"{home}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and "import_module" in _words(node.func):
            given = [*node.args[:1], *(word.value for word in node.keywords if word.arg == "name")]
            texts = (node.value for node in given if isinstance(node, ast.Constant))
            yield from (_absolute(text, package) for text in texts if isinstance(text, str))


def meaning(
    raw: bytes, tree: ast.Module, ours: Callable[[str], str | None] = lambda name: None
) -> str:
    """Return 12 hex digits of what a file does: of its syntax tree without comments, layout and docstrings.

    Empty for a file that does nothing. What is absent or empty in a node is left out: a later Python that
    gives nodes more fields writes the same digits.

    Args:
        raw: the file; one that reads ``__doc__`` keeps its docstrings.
        tree: of the file.
        ours: an imported name -> what stands for it wherever its file lies; None: the name itself.
    """
    documented = () if b"__doc__" in raw else DOCUMENTED
    if not tree.body or (documented and len(tree.body) == 1 and _is_docstring(tree.body[0])):
        return ""
    parts, waiting = list[str](), list[ast.AST | str]([tree])
    while waiting:
        node = waiting.pop()
        if isinstance(node, str):
            parts.append(node)
            continue
        if isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names = [(ours(f"{node.module}.{alias.name}"), alias) for alias in node.names]
            if all(role is not None for role, _ in names):
                parts.append(
                    f"import {[(role, alias.name, alias.asname) for role, alias in names]}"
                )
                continue
        parts.append(type(node).__name__)
        below: list[ast.AST | str] = []
        for name in node._fields:
            value = getattr(node, name, None)
            if name in POSITIONS or value is None or value == []:
                continue
            if name == "body" and isinstance(node, documented) and _is_docstring(value[0]):
                value = value[1:]
            if isinstance(value, list):
                below += [f"{name}[", *("None" if v is None else v for v in value), "]"]
            else:
                below += [f"{name}=", value if isinstance(value, ast.AST) else repr(value)]
        waiting += [")", *reversed(below), "("]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def _is_docstring(node: ast.AST) -> bool:
    value = getattr(node, "value", None)
    return (
        isinstance(node, ast.Expr)
        and isinstance(value, ast.Constant)
        and isinstance(value.value, str)
    )


def _absolute(name: str, package: Sequence[str]) -> str:
    """Return a name that may begin with dots from the top on."""
    rest = name.lstrip(".")
    level = len(name) - len(rest)
    above = package[: len(package) - level + 1] if level else ()
    return ".".join([*above, *([rest] if rest else [])])


def _words(node: ast.AST) -> set[str]:
    """Return the name that an expression is, or the last of a dotted one."""
    return {getattr(node, "id", ""), getattr(node, "attr", "")}
