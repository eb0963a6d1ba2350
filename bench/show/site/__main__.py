"""Write the pages of the site: ``python -m bench.show.site DIR``, as ``make docs`` does.

``DIR/pages`` mirrors the clone, so that links between hand-written pages hold as they are; what registries
and dataclasses say comes beside it, in ``reference/``. ``DIR/mkdocs.yml`` is ``docs/mkdocs.yml`` with every
page listed. MkDocs with the Material theme, because it takes Markdown as GitHub shows it, checks links and
anchors (``--strict``) and searches from disk.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from bench import registry
from bench.nets import catalog
from bench.protocol.named import ROOT
from bench.show.site import datasets, methods, networks, protocols

ROOT_FILES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "CITATION.cff", "LICENSE")
COPIED = ("docs", "protocols", "reports", "results", *ROOT_FILES)
LEFT = shutil.ignore_patterns("mkdocs.yml", "*.parquet", "*.pdf", "*.tex")
CONFIG = ROOT / "docs" / "mkdocs.yml"


def generated() -> dict[str, str]:
    """Return the generated pages: path under ``pages``, Markdown."""
    used = protocols.users()
    every: dict[str, tuple[list[str], Callable[[str], str], Callable[[], str]]] = {
        "protocols": (sorted(protocols.every()), protocols.page, protocols.index),
        "methods": (registry.names("method"), lambda n: methods.page(n, used["methods"]), methods.index),
        "datasets": (registry.names("dataset"), lambda n: datasets.page(n, used["datasets"]), datasets.index),
        "networks": (catalog.names(), lambda n: networks.page(n, used["networks"]), networks.index),
    }
    found = {}
    for kind, (names, page, index) in every.items():
        found[f"reference/{kind}/index.md"] = index()
        found |= {f"reference/{kind}/{name}.md": page(name) for name in names}
    return found


def listed(nav: Any, pages: Mapping[str, str]) -> Any:
    """Return a navigation in which a folder (``reference/methods/``) is the list of its pages."""
    if isinstance(nav, dict):
        return {key: listed(one, pages) for key, one in nav.items()}
    if isinstance(nav, str):
        return _folder(nav, pages) if nav.endswith("/") else nav
    found: list[Any] = []
    for one in nav:
        inner = listed(one, pages)
        found += inner if isinstance(inner, list) else [inner]
    return found


def _folder(path: str, pages: Mapping[str, str]) -> list[Any]:
    own = [page for page in pages if page.startswith(path)]
    return [page if page.endswith("index.md") else {Path(page).stem: page} for page in own]


def write(to: Path) -> None:
    """Write pages and configuration under ``to``; what was there is replaced."""
    pages, found = to / "pages", generated()
    shutil.rmtree(pages, ignore_errors=True)
    for name in COPIED:
        source, target = ROOT / name, pages / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=LEFT)
        else:
            shutil.copy(source, target)
    for path, text in found.items():
        (pages / path).parent.mkdir(parents=True, exist_ok=True)
        (pages / path).write_text(text, encoding="utf-8")
    base = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    own = {"INHERIT": str(CONFIG), "docs_dir": "pages", "site_dir": "site", "nav": listed(base["nav"], found)}
    (to / "mkdocs.yml").write_text(yaml.safe_dump(own, sort_keys=False), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
