"""The page of all tables and figures says what protocols and published numbers say today."""

import importlib.util
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_page_is_what_its_script_writes():
    spec = importlib.util.spec_from_file_location("papers_page", DOCS / "papers.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (DOCS / "papers.md").read_text(encoding="utf-8") == module.page(), "run 'python docs/papers.py'"
