"""docs/findings.md: every interval and verdict in it is the one of the tracked report."""

import csv
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINE = re.compile(
    r"^\| `(?P<report>\w+)` \| `(?P<row>[^`]+)` \| (?P<section>\w+), (?P<fraction>\d+) % "
    r"\| (?P<difference>\S+) \[(?P<low>\S+) to (?P<high>\S+)\] \| (?P<verdict>[^|]+?) \|",
    re.MULTILINE,
)
STATED = [match.groupdict() for match in LINE.finditer((ROOT / "docs" / "findings.md").read_text())]


def test_studies_with_a_report_are_all_there():
    drawn = {folder.name for folder in (ROOT / "reports").glob("studies_*") if folder.is_dir()}
    assert {one["report"] for one in STATED} == drawn != set()


@pytest.mark.parametrize("one", STATED, ids=lambda one: "-".join(list(one.values())[:4]))
def test_a_finding_is_what_the_report_says(one):
    with (ROOT / "reports" / one["report"] / "verdicts.csv").open(newline="") as file:
        places = ("row", "section", "fraction")
        (found,) = [
            line for line in csv.DictReader(file)
            if line["metric"] == "dice" and all(line[k] == one[k] for k in places)
        ]  # fmt: skip
    numbers = [
        f"{100 * float(found[k]):+.2f}".replace("-", "\N{MINUS SIGN}") for k in ("difference", "low", "high")
    ]
    assert [one["difference"], one["low"], one["high"], one["verdict"]] == [*numbers, found["verdict"]]
