"""Which modules a source file imports, by its text: nothing is run."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence


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
            texts = (one.value for one in given if isinstance(one, ast.Constant))
            yield from (_absolute(text, package) for text in texts if isinstance(text, str))


def _absolute(name: str, package: Sequence[str]) -> str:
    """Return a name that may begin with dots from the top on."""
    rest = name.lstrip(".")
    level = len(name) - len(rest)
    above = package[: len(package) - level + 1] if level else ()
    return ".".join([*above, *([rest] if rest else [])])


def _words(node: ast.AST) -> set[str]:
    """Return the name that an expression is, or the last of a dotted one."""
    return {getattr(node, "id", ""), getattr(node, "attr", "")}
