"""``make speed`` draws every block of docs/speed.md, and nothing else of it."""

import re

import every
import pytest
from machine import quiet

PAGE = """# Speed

<!-- short -->
<!-- /short -->

## How it grows
<!-- growth -->
old
<!-- /growth -->
Prose stays.

## Views, and slices
<!-- views -->
<!-- /views -->
"""


def test_the_page_has_a_block_for_every_script_and_the_overview():
    named = re.findall(r"<!-- ([\w-]+) -->", every.PAGE.read_text())
    assert named == ["short", *dict.fromkeys(named[1:])]
    assert {*named[1:]} == {script.name for script in every.SCRIPTS}
    assert all(script.file.is_file() for script in every.SCRIPTS)


def test_the_first_table_of_the_page_is_what_its_blocks_say():
    page = every.PAGE.read_text()
    assert every.redrawn(page, "short", every.overview(page)) == page


def test_a_block_is_drawn_anew_and_what_it_says_in_short_comes_first():
    page = every.redrawn(PAGE, "growth", "new \\1\n\nIn short: in proportion\n")
    page = every.redrawn(page, "views", "In short: twice\n\nIn short: and thrice\n")
    assert "old" not in page and "new \\1" in page and "Prose stays." in page
    first = page.split("## ")[0]
    assert "| [How it grows](#how-it-grows) | in proportion |" in first
    assert "| [Views, and slices](#views-and-slices) | twice; and thrice |" in first
    assert every.redrawn(page, "views", "none\n").count("twice") == 0


def made(versions):
    named = f"; {versions}" if versions else ""
    return f"`python tools/speed/views.py`: quiet; commit 1a{named}; 0.2 minutes; 2026-11-25.\n"


def test_versions_that_most_blocks_share_are_stated_once_and_others_beside_their_block():
    old, new = "Python 3.11.7, torch 2.13.0+cpu", "Python 3.12.3, torch 2.14.0+cpu"
    more = PAGE + "".join(f"<!-- {name} -->\n<!-- /{name} -->\n" for name in ("loop", "crops"))
    page = every.redrawn(more, "growth", made(old))
    assert page.count(old) == 1 and f"{every.VERSIONS}{old}.\n" in page and made("") in page
    page = every.redrawn(page, "views", made(new))  # one block each: that of the first stays
    assert f"{every.VERSIONS}{old}.\n" in page and made(new) in page and page.count(new) == 1
    assert every.versions(page) == [old, new]
    for name in ("loop", "crops"):
        page = every.redrawn(page, name, made(new))
    assert every.versions(page) == [old, new, new, new]
    assert f"{every.VERSIONS}{new}.\n" in page and made(old) in page and page.count(new) == 1
    page = every.redrawn(page, "growth", made(new))
    assert f"{every.VERSIONS}{new}.\n" in page and page.count(new) == 1 and old not in page
    assert every.versions(page) == [new] * 4


def test_a_block_that_the_page_lacks_is_refused():
    with pytest.raises(ValueError, match="0 blocks <!-- metrics -->"):
        every.redrawn(PAGE, "metrics", "new")


def test_a_need_that_is_not_met_leaves_a_script_out(monkeypatch, capsys):
    monkeypatch.delenv("SLURM_CONF", raising=False)
    assert every.main(["packing"]) == 0
    assert (
        capsys.readouterr().out == "packing: left out, it needs a running SLURM: set SLURM_CONF\n"
    )


def test_a_name_that_is_none_is_refused(capsys):
    assert every.main(["vews"]) == 2
    assert "ONLY=vews: no such script; there are commands" in capsys.readouterr().err


def test_quiet_is_said_by_what_others_use():
    assert quiet(0.04).startswith("quiet: 4 % of")
    assert quiet(0.97).startswith("not quiet: 97 % of")
