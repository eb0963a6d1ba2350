"""A survey and the findings of a check for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from bench.data.split import SIDES
from bench.errors import printable
from bench.extras.survey.measure import (
    GREY,
    Survey,
    count,
    divisions,
    greys,
    labels,
    notes,
    number,
    overview,
    recipe_doubts,
)

LABEL_HEAD = ("Label", "Name", "Cases", "Median ml", "Least", "Most")


def as_text(survey: Survey) -> str:
    """Return what there is, what is wrong with it, and a closing line with the number of both."""
    from tabulate import tabulate

    rows = [tuple(map(printable, (f.case, f.kind, f.detail, f.file))) for f in survey.findings]
    table = (
        tabulate(rows, headers=("Case", "Kind", "What", "File"), tablefmt="plain") if rows else ""
    )
    lines = "\n".join(map(printable, notes(survey)))
    return "\n\n".join(filter(None, (*_holds(survey), table, lines, closing(survey))))


def closing(survey: Survey) -> str:
    """Return how many cases there are, what was left out, and how much is wrong."""
    skipped, n = survey.skipped, len(survey.findings)
    out = f"{len(skipped)} left out (first {skipped[0][0]}: {skipped[0][1]}), " if skipped else ""
    summary = f"{n} finding{'' if n == 1 else 's'}" if n else "nothing wrong"
    if unfit := recipe_doubts(survey):
        summary += f"; {unfit[0][0]} does not fit: {unfit[0][1]}"
    cases = f"{count(survey)} case{'' if len(survey.cases) == 1 else 's'}"
    return f"{survey.name}: {cases}, {printable(out)}{summary}"


def _holds(survey: Survey) -> Iterator[str]:
    from tabulate import tabulate

    synthetic = "; synthetic" if survey.synthetic else ""
    yield printable(f"{survey.dataset.title} ({survey.dataset.modality}{synthetic})")
    yield tabulate(overview(survey), tablefmt="plain")
    if grey_rows := greys(survey):
        yield tabulate(
            grey_rows, headers=("Grey values", *GREY), tablefmt="plain", disable_numparse=True
        )
    if volume_rows := label_rows(survey):
        yield tabulate(
            volume_rows,
            headers=LABEL_HEAD[: len(volume_rows[0])],
            tablefmt="plain",
            disable_numparse=True,
            colalign=("right", "left", *["right"] * (len(volume_rows[0]) - 2)),
        )
    if divided := divisions(survey):
        sizes = [(split, *numbers) for split, numbers, why in divided if not why]
        if sizes:
            yield tabulate(sizes, headers=("Patients", *SIDES, "folds"), tablefmt="plain")
        yield "\n".join(f"{split}: {printable(why)}" for split, _, why in divided if why)


def label_rows(survey: Survey) -> list[tuple[str, ...]]:
    """Return the lines of a table of labels, without volumes where none was measured."""
    measured = labels(survey)
    sized = any(label.ml for label in measured)
    rows = list[tuple[str, ...]]()
    for label in measured:
        ml = label.ml
        sizes = (number(median(ml)), number(ml[0]), number(ml[-1])) if ml else ("", "", "")
        cases = f"{label.cases} of {label.of}"
        rows.append((str(label.value), printable(label.name), cases, *(sizes if sized else ())))
    return rows
