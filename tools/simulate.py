"""What the statistics get wrong where the truth is known: Markdown tables.

    python tools/simulate.py [--studies 4000] [--write docs/simulations.md]

Prints the tables, or puts them between the markers of a page. Minutes; the same numbers every time.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from itertools import product
from math import sqrt
from pathlib import Path
from typing import Any

import studies as of
from studies import CLUSTERS, HEAVY, RUNS, SEEDS, TENTH, UNFINISHED, Design

PATIENTS = (6, 24, 42, 100)
SEED_COUNTS = (2, 3, 5, 10)
SDS = (0.0, 1.0, 2.0)
START = "<!-- simulated: python tools/simulate.py --write docs/simulations.md -->"
END = "<!-- /simulated -->"

TREES = dict(sd_pretraining=1.0, sd_seed=1.0)
LAYOUTS = {
    "3 pretrainings, each with one fine-tuning seed of its own": Design(
        pretrainings=3, seeds=1, shared=False, told=CLUSTERS, **TREES
    ),
    "3 pretrainings, one fine-tuning seed for all": Design(
        pretrainings=3, seeds=1, told=CLUSTERS, **TREES
    ),
    "3 x 3, seeds of their own": Design(
        pretrainings=3, seeds=3, shared=False, told=CLUSTERS, **TREES
    ),
    "2 x 2, the same seeds": Design(pretrainings=2, seeds=2, told=SEEDS, **TREES),
    "3 x 3, the same seeds": Design(pretrainings=3, seeds=3, told=SEEDS, **TREES),
    "5 x 3, the same seeds": Design(pretrainings=5, seeds=3, told=SEEDS, **TREES),
    "3 x 3, the same seeds, not said": Design(pretrainings=3, seeds=3, told=CLUSTERS, **TREES),
    "3 x 3, nothing said": Design(pretrainings=3, seeds=3, told=RUNS, **TREES),
}
TROUBLED = [
    Design(patients=n, seeds=r, **what)
    for n, r in [(24, 3), (42, 5)]
    for what in ({"cells": TENTH}, {"cells": UNFINISHED}, {"shape": HEAVY})
] + [replace(LAYOUTS["3 x 3, the same seeds"], cells=TENTH)]


def share(value: float, studies: int) -> str:
    """Return a share in percent with its standard error."""
    return f"{100 * value:.1f} ± {100 * sqrt(max(value * (1 - value), 1 / studies) / studies):.1f}"


def few(studies: int) -> int:
    """Return how many are enough where one costs more."""
    return max(studies // 8, 10)


def table(head: Iterable[str], lines: Iterable[Iterable[object]]) -> str:
    """Return a Markdown table, numbers to the right."""
    head = list(head)
    rule = ["---", *["--:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in [head, rule, *lines])


@cache
def judged(design: Design, studies: int) -> of.Outcome:
    """Return what ``paired`` says of studies, once for all tables."""
    return of.paired(design, studies)


def grid(cell: Callable[[Design], str], runs: Iterable[int], sds: Iterable[float] = SDS) -> str:
    """Return a table of run SD and runs by patients."""
    lines = [
        [f"{sd:g}", r, *[cell(Design(patients=n, seeds=r, sd_seed=sd)) for n in PATIENTS]]
        for sd in sds
        for r in runs
    ]
    return table(["SD of a run", "runs", *[f"{n} patients" for n in PATIENTS]], lines)


def errors(studies: int) -> str:
    """Type-I error of the verdict."""
    cells = grid(lambda d: share(judged(d, studies).rejected, studies), SEED_COUNTS)
    return f"% of studies in which `paired` claims a difference that does not exist (nominal 5):\n\n{cells}"


def habits(studies: int) -> str:
    """Type-I error of tests on patients' means."""

    def cell(design: Design) -> str:
        wilcoxon = 100 * of.signed_ranks(design, studies)
        return f"{share(of.sign_flipped(design, studies), studies)}; {wilcoxon:.1f}"

    cells = grid(cell, (1, *SEED_COUNTS), (0.0, 1.0))
    return f"The same for a sign-flip test on patients' means and (after the semicolon) Wilcoxon's test:\n\n{cells}"


def widths(studies: int) -> str:
    """Half the width of the interval, and what is seen of a true difference."""

    def cell(design: Design) -> str:
        result = judged(design, studies)
        return f"{result.half.mean() / of.POINT:.1f}; {100 * result.power(2):.0f}"

    cells = grid(cell, SEED_COUNTS, (1.0,))
    return (
        "Half the width of the interval in Dice points, mean over studies; after the semicolon, % of studies that "
        f"give `better` for a method that is better by 2 points:\n\n{cells}"
    )


def layouts(studies: int) -> str:
    """Pretraining seeds with fine-tuning seeds."""
    lines = []
    for name, d in LAYOUTS.items():
        rejected = judged(d, studies).rejected, of.sign_flipped(d, studies)
        lines.append([name, d.told, *(share(part, studies) for part in rejected)])
    cells = table(["pretrainings x fine-tunings", "told", "`paired`", "sign flip"], lines)
    return f"% of studies with a false claim; pretraining SD 1, fine-tuning SD 1, 42 patients:\n\n{cells}"


def troubled(studies: int) -> str:
    """Missing cells, unequal seeds and what is not normal."""
    lines = []
    for d in TROUBLED:
        missing = d.cells if d.cells != of.FULL else d.shape
        runs = d.seeds if d.told == RUNS else f"{d.pretrainings} x {d.seeds}"
        lines.append([missing, d.patients, runs, share(judged(d, studies).rejected, studies)])
    return f"False claims, % of studies, run SD 1:\n\n{table(['trouble', 'patients', 'runs', '`paired`'], lines)}"


WITHOUT: dict[str, Any] = {"scratch": False, "merit": 0.0}  # scratch has nothing to choose


def tuned(studies: int) -> str:
    """Type-I error where each row chooses its own recipe."""
    designs = [Design(seeds=r) for r in SEED_COUNTS]
    lines = [
        [k, *[share(of.tuned_each(k, d, studies), studies) for d in designs]] for k in (1, 3, 12)
    ]
    head = [f"{r} runs" for r in SEED_COUNTS]
    alone = []
    for k, (by, c) in product((3, 12), (("by its own run", False), ("by the other runs", True))):
        counts = [of.tuned_each(k, d, studies, **WITHOUT, crossed=c) for d in designs]
        alone.append([k, by, *(share(count, studies) for count in counts)])
    return (
        "Tuned each: both rows choose the recipe with the best validation score, and no row is better. % of "
        f"studies with a false claim, 42 patients, run SD 1:\n\n{table(['recipes', *head], lines)}\n\n"
        "The same where scratch has one recipe and only the other row chooses, among recipes that are equally "
        f"good:\n\n{table(['recipes', 'a run chooses', *head], alone)}"
    )


def others(studies: int) -> str:
    """Equivalence, families and the bootstrap."""
    less = few(studies)
    lines = []
    for r in SEED_COUNTS:
        design = Design(seeds=r)
        equivalent = share(judged(design, studies).falsely_equivalent, studies)
        others = of.families(12, design, less), of.bootstrapped(design, less)
        lines.append([r, equivalent, *(share(part, less) for part in others)])
    head = ["runs", "called equivalent at a true 1 point", "any of 12 methods wrong, after Holm"]
    cells = table([*head, "bootstrap interval leaves the truth out"], lines)
    return f"Other errors in % of studies or families, 42 patients, run SD 1:\n\n{cells}"


def standings(studies: int) -> str:
    """Rank intervals."""
    lines = []
    for r in (1, *SEED_COUNTS):
        result = [of.ranked(Design(seeds=r), few(studies), 8, step) for step in (0.2, 1.0)]
        lines.append([r, *[f"{100 * held:.1f}; {width:.1f}" for held, width in result]])
    cells = table(["runs", "0.2 points apart", "1 point apart"], lines)
    return (
        "% of 95 % rank intervals that contain the true rank; after the semicolon, their mean width in ranks. "
        f"8 methods at equal distances, 42 patients, run SD 1:\n\n{cells}"
    )


def draws(studies: int) -> str:
    """Probes: thirty draws of labelled patients, crossed with pretrainings."""
    lines = []
    for sd, pretrainings in product((0.5, 1.0), (2, 3, 5, 8)):
        design = Design(pretrainings=pretrainings, seeds=30, told=SEEDS, sd_pretraining=sd)
        count = few(studies)
        result = judged(design, count)
        half, powers = result.half.mean() / of.POINT, [100 * result.power(p) for p in (1, 2)]
        seen = [f"{half:.1f}", *[f"{power:.0f}" for power in powers]]
        lines.append([f"{sd:g}", pretrainings, share(result.rejected, count), *seen])
    head = ["SD of a pretraining", "pretrainings", "`paired`", "half width", "sees 1", "sees 2"]
    return (
        "Probes with thirty draws of labelled patients, the same for every pretraining (`draws: 30`), SD of a draw "
        "1, 42 test patients: % of studies with a false claim, half the width of the interval in points, and % "
        f"of studies that detect a true difference of 1 and of 2 points:\n\n{table(head, lines)}"
    )


def files(studies: int) -> str:
    """What ``bench judge`` claims of CSV files."""
    less = few(studies)
    lines = [
        [runs, f"{sd:g}", *[share(of.through_a_file(runs, sd, m, less), less) for m in (2, 6)]]
        for runs, sd in ((1, 0.0), (1, 1.0), (2, 1.0), (3, 1.0), (5, 1.0))
    ]
    cells = table(["runs", "SD of a run", "2 methods", "any of 15 pairs of 6 methods"], lines)
    return (
        "`bench judge` on a CSV file: % of files with a claimed difference although no methods differ, 24 patients. "
        f"With one run each, the claim is about these weights only:\n\n{cells}"
    )


TABLES = (errors, habits, widths, layouts, draws, troubled, tuned, others, standings, files)


def page(text: str, studies: int) -> str:
    """Return a page with what is between its markers made anew."""
    before, _, rest = text.partition(START)
    after = rest.partition(END)[2]
    built = "\n\n".join(make(studies) for make in TABLES)
    message = f"{studies} studies a cell, {few(studies)} where families, the bootstrap or ranks are judged;"
    return f"{before}{START}\n\n{message} ± is the standard error.\n\n{built}\n\n{END}{after}"


def main() -> None:
    """Print the tables or write them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--studies", type=int, default=4000)
    parser.add_argument("--write", type=Path, help="a page with the markers")
    given = parser.parse_args()
    if given.write:
        given.write.write_text(page(given.write.read_text(), given.studies))
    else:
        print(page("", given.studies))


if __name__ == "__main__":
    main()
