"""Write the pages of the site: ``python -m bench.extras.site DIR``, as ``make docs`` does.

``DIR/pages`` mirrors the clone, so that links between hand-written pages hold as they are; what registries
and dataclasses say comes beside it, in ``reference/``. ``DIR/mkdocs.yml`` is ``docs/mkdocs.yml`` with every
page listed. MkDocs with the Material theme, because it takes Markdown as GitHub shows it, checks links and
anchors (``--strict``) and searches from disk.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from bench.extras.site.reference import generated
from bench.protocol.named import ROOT

ROOT_FILES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "CITATION.cff", "LICENSE")
COPIED = ("docs", "protocols", "reports", "results", *ROOT_FILES)
LEFT = shutil.ignore_patterns("mkdocs.yml", "*.parquet", "*.pdf", "*.tex")
CONFIG = ROOT / "docs" / "mkdocs.yml"


def listed(nav: Any, pages: Mapping[str, str]) -> Any:
    """Return a navigation in which a folder (``reference/methods/``) is the list of its pages."""
    if isinstance(nav, dict):
        return {key: listed(item, pages) for key, item in nav.items()}
    if isinstance(nav, str) and nav.endswith("/"):
        within = [page for page in pages if page.startswith(nav)]
        return [page if page.endswith("index.md") else {Path(page).stem: page} for page in within]
    if isinstance(nav, str):
        return nav
    items = [listed(item, pages) for item in nav]
    return [part for item in items for part in (item if isinstance(item, list) else [item])]


def write(to: Path) -> None:
    """Write pages and configuration under ``to``; what was there is replaced."""
    folder, pages = to / "pages", generated()
    shutil.rmtree(folder, ignore_errors=True)
    for name in COPIED:
        source, target = ROOT / name, folder / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=LEFT)
        else:
            shutil.copy(source, target)
    for path, text in pages.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    base = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    nav = listed(base["nav"], pages)
    config = {"INHERIT": str(CONFIG), "docs_dir": "pages", "site_dir": "site", "nav": nav}
    (to / "mkdocs.yml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
