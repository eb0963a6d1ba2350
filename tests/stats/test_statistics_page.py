"""docs/statistics.md: its example prints what it says, and its tables are those of the simulation."""

import doctest
import re
from pathlib import Path

from simulate import END, LAYOUTS, SEED_COUNTS, START, share
from studies import Design, sign_flipped

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "statistics.md").read_text()
SIMULATED = PAGE.partition(START)[2].partition(END)[0]
STUDIES = int(re.match(r"\s*(\d+) studies a cell", SIMULATED)[1])


def table(head):
    """Return the lines of cells of the table whose head begins so, by its place among such tables."""
    blocks = re.findall(rf"^\| {re.escape(head)}.*\n\|.*\n((?:\|.*\n)+)", SIMULATED, re.MULTILINE)
    return [[[c.strip() for c in line.strip("|").split("|")] for line in b.splitlines()] for b in blocks]


def test_the_example_prints_what_the_page_says():
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    example = doctest.DocTestParser().get_doctest("".join(blocks), {}, "statistics.md", None, 0)
    tried = doctest.DocTestRunner().run(example)
    assert tried.failed == 0 and tried.attempted > 20


def test_its_tables_are_of_this_simulation():
    errors, habits, _ = table("SD of a run")
    assert [line[1] for line in errors] == [str(r) for _ in range(3) for r in SEED_COUNTS]
    assert max(float(cell.split(" ")[0]) for line in errors for cell in line[2:]) <= 6  # as the page promises
    assert [line[0] for line in table("pretrainings x fine-tunings")[0]] == list(LAYOUTS)
    (one,) = [line for line in habits if line[:2] == ["1", "3"]]
    assert one[4].split(";")[0] == share(sign_flipped(Design(), STUDIES), STUDIES)
