"""The site: a page for everything that is registered, every key described, links that lead somewhere."""

import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import pytest
import yaml

from bench import record, registry
from bench.dataset import Recipe
from bench.extras.site import __main__ as site
from bench.extras.site import drawing, keys
from bench.extras.site.fields import Described, described
from bench.nets import catalog
from bench.protocol import named, read
from bench.protocol.sections import Optimiser
from bench.ranges import Range
from bench.report import glossary

ROOT = named.ROOT
REFERENCE = "reference"


@pytest.fixture(scope="module")
def pages():
    return site.generated()


@dataclass(frozen=True)
class Sample:
    """Fields of every form."""

    # above it, on
    # two lines
    plain: int
    bounded: Annotated[float, Range(0, 1)] = 0.5  # beside it
    both: Literal["a", "b"] | None = None  # no default
    # of what follows
    inner: Optimiser = field(default_factory=Optimiser)  # and beside
    # where it opens
    several: tuple[str, ...] = ("x",)
    three: tuple[int, int, int] = (1, 2, 3)
    hidden: str = field(default="", metadata={"unsaid": True})
    named: dict[str, bool] = field(default_factory=dict)


def test_a_field_is_described_by_its_annotation_its_default_and_the_comment_beside_it():
    assert described(Sample) == [
        Described("plain", "whole number", "", "above it, on two lines", True),
        Described("bounded", "number from 0 to 1", "0.5", "beside it", False),
        Described("both", "`a`, `b`", "", "no default", False),
        Described(
            "inner", "[Optimiser](#optimiser)", "its own", "of what follows; and beside", False
        ),
        Described("several", "list of text", "[x]", "where it opens", False),
        Described("three", "3 values: whole number", "[1, 2, 3]", "", False),
        Described("named", "mapping of names to true or false", "", "", False),
    ]


def test_every_registered_thing_has_a_page_and_every_page_a_place_in_the_navigation(pages):
    wanted = {
        "methods": registry.names("method"),
        "datasets": registry.names("dataset"),
        "networks": catalog.names(),
        "protocols": [read(path).name for path in named.files()],
    }
    names = {
        f"{REFERENCE}/{kind}/{name}.md" for kind, own in wanted.items() for name in (*own, "index")
    }
    assert pages.keys() == names
    nav = yaml.safe_load(site.CONFIG.read_text(encoding="utf-8"))["nav"]
    listed = re.findall(r"[\w/]+\.md", str(site.listed(nav, pages)))
    assert names <= {*listed} and len({*listed}) == len(listed)
    assert all((ROOT / path).is_file() for path in {*listed} - names)


def test_links_of_generated_pages_lead_to_pages_or_files(pages):
    for path, text in pages.items():
        prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
        for link in re.findall(r"\]\(([^)#:]+)", prose):
            to = (ROOT / path).parent.joinpath(link).resolve().relative_to(ROOT)
            assert to.as_posix() in pages or (ROOT / to).is_file(), f"{path}: {link}"


@pytest.mark.parametrize(
    ("file", "made", "command"),
    [
        (keys.PAGE, keys.page, "python -m bench.extras.site.keys"),
        (drawing.PAGE, drawing.drawing, "python -m bench.extras.site.drawing"),
        (glossary.PAGE, glossary.page, "glossary.write()"),
    ],
    ids=["keys", "layers", "glossary"],
)
def test_what_is_generated_and_tracked_is_current(file, made, command):
    assert (ROOT / file).read_text(encoding="utf-8") == made(), f"run {command}"


def test_a_page_explains_the_words_that_it_has_and_no_others():
    html = "<style>.row { }</style><p title='blind'>Not separable, 3 draws<br>of Scratch; no grown rowing</p>"
    assert [word for word, _ in glossary.on_page(html)] == ["draw", "scratch", "not separable"]


@pytest.mark.parametrize("kind", keys.sections(), ids=lambda kind: kind.__name__)
def test_every_key_of_a_protocol_is_described_beside_it_or_by_its_class(kind):
    told = kind.__doc__ if kind is Recipe else ""  # its file is in the digests of finished jobs
    assert [
        one.name for one in described(kind) if not (one.comment or f"``{one.name}``" in told)
    ] == []


def test_every_key_that_a_tracked_protocol_states_has_a_row():
    text = keys.page()
    for path in named.files():
        for key in yaml.safe_load(path.read_text(encoding="utf-8")):
            assert f"| `{key}` |" in text, f"{path}: {key}"


def test_the_first_protocol_of_the_page_is_a_file_that_plans():
    file = ROOT / "docs" / "examples" / "small.yaml"
    page = (ROOT / "docs" / "protocols.md").read_text(encoding="utf-8")
    assert f"```yaml\n{file.read_text(encoding='utf-8').rstrip()}\n```" in page
    assert [*read(file).rows] == ["scratch", "genesis"]


def test_the_page_of_records_lists_every_column_in_order():
    text = (ROOT / "docs" / "records.md").read_text(encoding="utf-8")
    first = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    assert re.findall(r"`(\w+)`", "".join(first)) == [*record.COLUMNS]


@pytest.mark.slow
def test_the_site_builds_from_the_clone_and_fetches_nothing(tmp_path):
    pytest.importorskip("mkdocs")
    site.write(tmp_path)
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "-q",
        "--strict",
        "-f",
        str(tmp_path / "mkdocs.yml"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for page in (tmp_path / "site").rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        loads = re.findall(r'<(?:script|link|img)[^>]*?(?:src|href)="?(https?:[^" >]+)', text)
        assert not [url for url in loads if Path(url).suffix], page
    assert (tmp_path / "site" / "search" / "search_index.js").is_file()
