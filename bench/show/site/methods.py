"""A page for each method: what it states of itself, its parameters with their sources, who it trains."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from bench import registry
from bench.protocol.named import ROOT
from bench.show.site.fields import described
from bench.show.site.markdown import cited, facts, joined, paragraphs, table, words

NEEDS = {
    "features": "an encoder's maps",
    "tokens": "an encoder that can leave patches out",
    "patches": "an encoder whose patches can be replaced",
    "decoder": "a decoder, which it trains, too",
}


def page(name: str, used: Mapping[str, Sequence[str]]) -> str:
    """Return the page of one method.

    Args:
        name: a method.
        used: names of methods, each with links to the protocols that have it.
    """
    method = registry.load("method", name)
    return "\n\n".join([
        f"# {name}: {method.title}",
        paragraphs(sys.modules[method.__module__].__doc__), paragraphs(method.__doc__),
        f"How it works, what differs from the authors' code and what was measured: [notes]({notes(name)}).",
        facts(_facts(name, method)), "## Parameters", _parameters(method),
        "## Protocols", ", ".join(used.get(name, ())) or "None.", "",
    ])  # fmt: skip


def notes(name: str) -> str:
    """Return the link to a method's notes; a task on slices may share those of its volumes."""
    own = [n for n in (name, f"{name.removesuffix('2d')}3d") if (ROOT / f"docs/methods/{n}.md").is_file()]
    return f"../../docs/methods/{own[0]}.md"


def _facts(name: str, method: Any) -> list[tuple[str, object]]:
    return [
        ("source", cited(method.source)), ("fidelity", words(method.fidelity)), ("paper", method.paper),
        ("dimensions", "2 and 3" if method.any_dims else method.dims), ("figure", _figure(method)),
        ("needs", NEEDS[method.needs] if method.pretrains else "nothing: it does not pretrain"),
        ("networks", ", ".join(f"[{n}](../networks/{n}.md)" for n in method.networks())),
        ("compares samples of a batch", "yes" if method.across_batch else "no"),
        ("smallest batch", method.min_batch), ("version", method.version), ("file", f"`methods/{name}.py`"),
    ]  # fmt: skip


def _figure(method: Any) -> str:
    """Return in words by which number a run shows that it learns."""
    figure = getattr(method, "figure", None)
    if figure is None:
        return ""
    beside = f", beside `{figure.chance}` of guessing" if figure.chance else ""
    better = "higher" if figure.rises else "lower"
    return f"`{figure.term}`: {words(figure.says)}; {better} is better{beside}"


def _parameters(method: Any) -> str:
    rows = [(f"`{one.name}`", one.kind, f"`{one.default}`" if one.default else "", words(one.comment))
            for one in described(method.Params)]  # fmt: skip
    if not rows:
        return "None."
    return paragraphs(method.Params.__doc__) + "\n\n" + table(("name", "type", "default", "source"), rows)


def index() -> str:
    """Return the list of all methods."""
    every = [(name, registry.load("method", name)) for name in registry.names("method")]
    rows = [
        (f"[{n}]({n}.md)", m.title, "2, 3" if m.any_dims else m.dims, joined([m.needs]), words(m.fidelity))
        for n, m in every
    ]
    return "# Methods\n\n" + table(("name", "title", "dimensions", "needs", "fidelity"), rows) + "\n"
