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
PAIR_LINE = re.compile(
    r"^\| `(?P<report>\w+)` \| `(?P<row>[^`]+)` \| `(?P<other>[^`]+)` "
    r"\| (?P<section>\w+), (?P<fraction>\d+) % "
    r"\| (?P<difference>\S+) \[(?P<low>\S+) to (?P<high>\S+)\] \| (?P<verdict>[^|]+?) \|$",
    re.MULTILINE,
)
STATED = [match.groupdict() for match in LINE.finditer(TEXT)]
NUMBERS = ("difference", "low", "high")
PAIRS = [match.groupdict() for match in PAIR_LINE.finditer(TEXT)]


def test_studies_with_a_report_are_all_there():
    drawn = {file.parent.name for file in (ROOT / "reports").glob("studies_*/verdicts.csv")}
    assert {finding["report"] for finding in STATED} == drawn != set()


@pytest.mark.parametrize(
    "finding", STATED, ids=lambda finding: "-".join(list(finding.values())[:4])
)
def test_a_finding_is_what_the_report_says(finding):
    with (ROOT / "reports" / finding["report"] / "verdicts.csv").open(newline="") as file:
        places = ("row", "section", "fraction")
        (verdict,) = [
            line
            for line in csv.DictReader(file)
            if line["metric"] == "dice" and all(line[k] == finding[k] for k in places)
        ]
    assert stated(finding) == [*points(*(float(verdict[k]) for k in NUMBERS)), verdict["verdict"]]


@pytest.mark.parametrize("finding", PAIRS, ids=lambda finding: "-".join(list(finding.values())[:5]))
def test_a_row_beside_another_is_what_the_records_say(finding):
    rows = pd.read_parquet(
        ROOT / "results" / "studies" / "records" / f"{finding['report']}.parquet"
    )
    at = rows["section"].eq(finding["section"]) & rows["fraction"].eq(int(finding["fraction"]))
    means = (
        rows[at & rows["metric"].eq("dice")]
        .groupby(["row", "patient", "seed"], observed=True)["value"]
        .mean()
    )
    gained = (means[finding["row"]] - means[finding["other"]]).unstack("seed")
    comparison = stats.compared(gained.to_numpy(), None, rope=0.01, seeds=list(gained))
    assert stated(finding) == [
        *points(comparison.difference, comparison.low, comparison.high),
        comparison.verdict,
    ]


def test_what_is_said_in_short_counts_every_comparison_once():
    first = {}  # the verdict of the study that comes first: how much is corrected hangs on its rows
    for finding in STATED:
        control = finding["row"].endswith(("(shuffled)", "(long)"))
        if not control and not finding["report"].startswith("studies_positive_control"):
            first.setdefault(
                tuple(finding[key] for key in ("section", "fraction", *NUMBERS)), finding["verdict"]
            )
    verdicts = [*first.values()]
    assert f"of {len(first)} comparisons" in TEXT and {*verdicts} == {"equivalent", "not separable"}
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


def stated(finding):
    return [finding[key] for key in (*NUMBERS, "verdict")]


def points(*shares):
    return [f"{100 * share:+.2f}".replace("-", "\N{MINUS SIGN}") for share in shares]
