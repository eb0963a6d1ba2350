"""docs/findings.md: every interval and verdict in it is that of the tracked report, or of its records."""

import csv
import re
from pathlib import Path

import pandas as pd
import pytest

from bench import stats

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "findings.md").read_text()
LINE = re.compile(
    r"^\| `(?P<report>\w+)` \| `(?P<row>[^`]+)` \| (?P<section>\w+), (?P<fraction>\d+) % "
    r"\| (?P<difference>\S+) \[(?P<low>\S+) to (?P<high>\S+)\] \| (?P<verdict>[^|]+?) \|",
    re.MULTILINE,
)
BESIDE = re.compile(
    r"^\| `(?P<report>\w+)` \| `(?P<row>[^`]+)` \| `(?P<other>[^`]+)` "
    r"\| (?P<section>\w+), (?P<fraction>\d+) % "
    r"\| (?P<difference>\S+) \[(?P<low>\S+) to (?P<high>\S+)\] \| (?P<verdict>[^|]+?) \|$",
    re.MULTILINE,
)
STATED = [match.groupdict() for match in LINE.finditer(TEXT)]
NUMBERS = ("difference", "low", "high")
PAIRS = [match.groupdict() for match in BESIDE.finditer(TEXT)]


def test_studies_with_a_report_are_all_there():
    drawn = {file.parent.name for file in (ROOT / "reports").glob("studies_*/verdicts.csv")}
    assert {one["report"] for one in STATED} == drawn != set()


@pytest.mark.parametrize("one", STATED, ids=lambda one: "-".join(list(one.values())[:4]))
def test_a_finding_is_what_the_report_says(one):
    with (ROOT / "reports" / one["report"] / "verdicts.csv").open(newline="") as file:
        places = ("row", "section", "fraction")
        (found,) = [
            line
            for line in csv.DictReader(file)
            if line["metric"] == "dice" and all(line[k] == one[k] for k in places)
        ]
    assert stated(one) == [*points(*(float(found[k]) for k in NUMBERS)), found["verdict"]]


@pytest.mark.parametrize("one", PAIRS, ids=lambda one: "-".join(list(one.values())[:5]))
def test_a_row_beside_another_is_what_the_records_say(one):
    rows = pd.read_parquet(ROOT / "results" / "studies" / "records" / f"{one['report']}.parquet")
    place = rows["section"].eq(one["section"]) & rows["fraction"].eq(int(one["fraction"]))
    means = (
        rows[place & rows["metric"].eq("dice")]
        .groupby(["row", "patient", "seed"], observed=True)["value"]
        .mean()
    )
    gained = (means[one["row"]] - means[one["other"]]).unstack("seed")
    found = stats.compared(gained.to_numpy(), None, rope=0.01, seeds=list(gained))
    assert stated(one) == [*points(found.difference, found.low, found.high), found.verdict]


def test_what_is_said_in_short_counts_every_comparison_once():
    own = {}  # the verdict of the study that comes first: how much is corrected hangs on its rows
    for one in STATED:
        control = one["row"].endswith(("(shuffled)", "(long)"))
        if not control and not one["report"].startswith("studies_positive_control"):
            own.setdefault(
                tuple(one[key] for key in ("section", "fraction", *NUMBERS)), one["verdict"]
            )
    verdicts = [*own.values()]
    assert f"of {len(own)} comparisons" in TEXT and {*verdicts} == {"equivalent", "not separable"}
    assert f"of {verdicts.count('not separable')} nothing is shown" in TEXT


def test_each_study_states_what_it_can_see():
    """The header of a study's protocol has the numbers of the table, which `bench plan --detect 1` prints."""
    table = re.findall(
        r"^\| (\w+) \| \w+, (\d+) % \| \d+ \| \d+ \| \d+ \| ([\d.]+) \| ", TEXT, re.MULTILINE
    )
    for study in {name for name, *_ in table}:
        sees = ", ".join(
            f"{points} points at {share} %" for name, share, points in table if name == study
        )
        header = (ROOT / "protocols" / "studies" / f"{study}.yaml").read_text()
        assert f"# Sees:       with 80 % power, {sees} of the labels" in header, study


def stated(one):
    return [one[key] for key in (*NUMBERS, "verdict")]


def points(*shares):
    return [f"{100 * share:+.2f}".replace("-", "\N{MINUS SIGN}") for share in shares]
