"""docs/statistics.md: its example prints what it says; docs/simulations.md has the simulation's tables."""

import doctest
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from simulate import END, LAYOUTS, SEED_COUNTS, START, share
from studies import Design, sign_flipped

from bench import stats

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "statistics.md").read_text()
SIMULATED = (ROOT / "docs" / "simulations.md").read_text().partition(START)[2].partition(END)[0]
STUDIES = int(re.match(r"\s*(\d+) studies a cell", SIMULATED)[1])


def table(head):
    """Return the lines of cells of the table whose head begins so, by its place among such tables."""
    blocks = re.findall(rf"^\| {re.escape(head)}.*\n\|.*\n((?:\|.*\n)+)", SIMULATED, re.MULTILINE)
    return [
        [[c.strip() for c in line.strip("|").split("|")] for line in b.splitlines()] for b in blocks
    ]


def test_the_example_prints_what_the_page_says():
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    example = doctest.DocTestParser().get_doctest("".join(blocks), {}, "statistics.md", None, 0)
    tried = doctest.DocTestRunner().run(example)
    assert tried.failed == 0 and tried.attempted > 20


RULES = {  # how the page's account reads without one of them
    "variance": (r" - off\[0\], off\[0\]\)", " - off[0], 1e-12)"),
    "df": (r"\n    df = max\(.*", ""),
    "runs": (r"\(variance, df\), added\[1\]", "(variance, df)"),
}


def without(*rules):
    """Return the page's own account of an interval, without some of its rules."""
    (block,) = [
        b for b in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "def reckoned" in b
    ]
    text = "\n".join(line[4:] for line in block.splitlines())
    for rule in rules:
        text, n = re.subn(*RULES[rule], text)
        assert n == 1, rule
    space: dict = {}
    exec(text, space)
    return space["reckoned"]


def test_an_interval_is_what_the_page_says_and_each_of_its_rules_is_needed():
    rng, page = np.random.default_rng(0), without()
    needed = dict.fromkeys(RULES, 0)
    others = {rule: without(rule) for rule in RULES}
    for _ in range(300):
        n, r = int(rng.integers(2, 9)), int(rng.integers(2, 5))
        values = rng.normal(0, 1, (n, r)) + rng.choice([0, 0.3, 3]) * rng.normal(0, 1, (1, r))
        result = stats.compared(values, rope=None)
        assert (result.low, result.high) == pytest.approx(page(values), rel=1e-9)
        for rule, other in others.items():
            needed[rule] += abs(other(values)[1] - result.high) > 1e-6
    assert min(needed.values()) >= 10, needed


def test_the_intervals_of_a_tracked_study_are_what_the_page_says_and_need_its_rules():
    """Out of its records, patient by patient; each of three seeds has a pretraining of its own."""
    name, page, counts = "studies_hippocampus", without(), [0, 0]
    bare = without("variance", "df"), without("runs")
    records = pd.read_parquet(ROOT / "results" / "studies" / "records" / f"{name}.parquet")
    values = records.set_index(["fraction", "row", "patient", "seed", "target"])["value"]
    values = values[(records["metric"] == "dice").to_numpy()]
    printed = pd.read_csv(ROOT / "reports" / name / "verdicts.csv")
    for line in printed.itertuples():
        gaps = values[line.fraction][line.row] - values[line.fraction][line.baseline]
        gaps = gaps.groupby(["patient", "seed"]).mean().unstack("seed").to_numpy()
        assert page(gaps) == pytest.approx((line.low, line.high), abs=1e-6), line.row
        high = page(gaps)[1]
        counts = [
            counts[0] + (bare[0](gaps)[1] > high + 1e-6),
            counts[1] + (bare[1](gaps)[1] < high - 1e-6),
        ]
    message = "In `{}` the first two together make {} of the {} intervals narrower. The third makes {} wider."
    assert message.format(name, counts[0], len(printed), counts[1]) in PAGE


def test_its_tables_are_of_this_simulation():
    errors, habits, _ = table("SD of a run")
    assert [line[1] for line in errors] == [str(r) for _ in range(3) for r in SEED_COUNTS]
    # as the page promises
    assert max(float(cell.split(" ")[0]) for line in errors for cell in line[2:]) <= 6
    assert [line[0] for line in table("pretrainings x fine-tunings")[0]] == list(LAYOUTS)
    (first,) = [line for line in habits if line[:2] == ["1", "3"]]
    assert first[4].split(";")[0] == share(sign_flipped(Design(), STUDIES), STUDIES)
