"""docs/datasets.md says what the declarations say."""

import re
from pathlib import Path

import pytest

from bench import registry
from bench.data.split import offered
from bench.protocol import mixture
from bench.report.names import declared_info

NAMES = registry.names("dataset")
TEXT = (Path(__file__).resolve().parents[2] / "docs" / "datasets.md").read_text(encoding="utf-8")
COLUMNS = ("name", "modality", "cases", "classes", "licence", "splits", "passed", "also")


def sections() -> dict[str, str]:
    found = re.findall(r"(?ms)^## ([a-z0-9_]+): (.*?)(?=^## |\Z)", TEXT)
    assert len({name for name, _ in found}) == len(found)
    return dict(found)


def rows() -> dict[str, dict[str, str]]:
    cells = [
        [c.strip() for c in line.strip("|").split("|")]
        for line in TEXT.partition("\n## ")[0].splitlines()
        if line[:2] == "| "
    ]
    table = [dict(zip(COLUMNS, row, strict=True)) for row in cells]
    return {row["name"]: row for row in table[1:]}


def words(cell: str) -> list[str]:
    return [] if cell == "-" else cell.split(", ")


@pytest.mark.parametrize("name", NAMES)
def test_a_section_names_licence_labels_recipes_splits_lists_and_overlaps(name):
    dataset, section = registry.load("dataset", name)(), sections()[name]
    lines = section.splitlines()
    assert lines[0] == dataset.title
    assert dataset.licence in section
    assert all(f"{value} {label}" in section for value, label in dataset.labels.items())
    assert dataset.source.url in section
    recipes = next(line for line in lines if line.startswith("- recipes: "))
    listed = re.match(r"- recipes: ([^;]*)", recipes)[1].split(", ")
    assert listed == list(dataset.recipes)
    named_splits = re.search(r"; splits: ([^;]*)", recipes)
    assert named_splits is None or named_splits[1].split(", ") == offered(dataset)
    assert all(split in section for split in (*dataset.splits, *dataset.lists))
    assert all(other in section for other in dataset.overlaps)
    doubtful = [*dataset.doubtful]
    named = doubtful if len(doubtful) < 20 else (doubtful[0], doubtful[-1])
    assert all(case in section for case in named)


@pytest.mark.parametrize("name", NAMES)
def test_the_table_agrees_with_the_declaration(name):
    dataset, row = registry.load("dataset", name)(), rows()[name]
    assert row["modality"] == dataset.modality
    assert row["licence"] == dataset.licence
    assert row["classes"] == (str(len(dataset.labels)) if dataset.labels else "none")
    assert words(row["splits"]) == list(dataset.splits)
    known = declared_info(name, dataset).redistribution
    assert row["passed"] == {True: "yes", False: "no", None: "not known"}[known]
    assert words(row["also"]) == list(dataset.overlaps)
    assert row["cases"]
    numbers = re.fullmatch(r"(\d+) (?:labelled|graded), (\d+) not", row["cases"])
    assert numbers is None or dataset.published == tuple(map(int, numbers.groups()))


def test_nothing_is_described_that_is_not_registered():
    assert set(sections()) == set(rows()) == set(NAMES)


def test_every_mixture_is_listed_with_its_data_sets_and_count():
    for name in mixture.names():
        found = mixture.mixture(name)
        line = next(text for text in TEXT.splitlines() if text.startswith(f"- `{name}`"))
        assert all(m.dataset in line for m in found.datasets)
        assert (f"{found.expected_cases} expected" in line) == (found.expected_cases is not None)


@pytest.mark.parametrize("name", ["msd04_hippocampus", "tone_phantoms"])
def test_phantoms_stand_in_for_a_data_set_unless_they_are_all_there_is_of_it(name):
    dataset = registry.load("dataset", name)()
    info = declared_info(name, dataset, synthetic=True)
    before = "" if dataset.invented else "Synthetic scans in the layout of "
    assert info.title == before + dataset.title and info.synthetic
