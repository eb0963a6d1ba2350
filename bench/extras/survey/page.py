"""A survey and the findings of a check as a page: one file, with a slice of each case."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from bench.data.check import Finding
from bench.data.facts import Facts, named
from bench.data.split import SIDES
from bench.dataset import Case
from bench.errors import BenchError, printable
from bench.extras.survey.measure import (
    GREY,
    Survey,
    count,
    divisions,
    greys,
    notes,
    number,
    overview,
)
from bench.extras.survey.text import LABEL_HEAD, label_rows
from bench.show.thumbnail import SIDE, Thumbnail, colours
from bench.store import write_atomic

MOST_LABELS = 4  # volumes of a case that stand below its slice


@dataclass(frozen=True)
class Card:
    """One drawn case: its slice, and what stands below it."""

    case: str
    thumbnail: Thumbnail
    told: tuple[str, ...]
    kinds: tuple[str, ...]  # of its findings
    label: str  # "" where there is none

    @property
    def alt(self) -> str:
        """Return what a reader hears in place of the picture."""
        return f"Slice of {self.case}" + (" with its label" if self.thumbnail.mask else "")


def check_place(path: Path) -> None:
    """Refuse a file that cannot be written, before the work.

    Raises:
        BenchError: it is a folder, or lies in none.
    """
    if path.is_dir() or not path.parent.is_dir():
        why = "is a folder" if path.is_dir() else f"there is no folder {path.parent}"
        raise BenchError(
            f"--to {printable(str(path))}: {why}; name a file for the page, e.g. check.html"
        )


def write(survey: Survey, path: Path) -> None:
    """Write the page."""
    write_atomic(path, page(survey).encode())


def page(survey: Survey) -> str:
    """Return the page; it asks for nothing outside itself."""
    from bench.report.page import template

    dataset, cards = survey.dataset, _cards(survey)
    return template("survey.html.j2").render(
        name=survey.name,
        dataset=dataset,
        synthetic=survey.synthetic,
        count=count(survey),
        overview=overview(survey),
        findings=[_finding(survey.root, f) for f in survey.findings],
        notes=notes(survey),
        drawn={card.case for card in cards},
        skipped=survey.skipped,
        labels=[(_colour(row[0]), row) for row in label_rows(survey)],
        label_head=LABEL_HEAD,
        greys=greys(survey),
        grey_head=GREY,
        divisions=divisions(survey),
        sides=SIDES,
        cards=cards,
        masked=any(card.thumbnail.mask for card in cards),
        side=SIDE,
    )


def _finding(root: Path, finding: Finding) -> tuple[str, str, str, str]:
    """Return case, kind, detail and the file from the data set's folder on."""
    file = finding.file.removeprefix(f"{root}/")
    case, kind, detail, file = map(printable, (finding.case, finding.kind, finding.detail, file))
    return case, kind, detail, file


def _colour(value: str) -> str:
    """Return the colour of a label's value as CSS has it."""
    red, green, blue = colours()[(int(value) - 1) % len(colours())]
    return f"rgb({red} {green} {blue})"


def _cards(survey: Survey) -> list[Card]:
    kinds = defaultdict[str, list[str]](list)
    for finding in survey.findings:
        kinds[finding.case].append(finding.kind)
    return [
        Card(
            printable(f.case.id),
            survey.slices[f.case.id],
            tuple(_facts_in_words(survey, f)),
            tuple(dict.fromkeys(kinds[f.case.id])),
            _class(survey, f.case),
        )
        for f in survey.facts
        if f.case.id in survey.slices
    ]


def _facts_in_words(survey: Survey, facts: Facts) -> list[str]:
    """Return what stands below a slice: size, spacing, which slice, volumes."""
    flat = survey.dataset.flat
    size, spacing = (
        " x ".join(map(number, side)) for side in (facts.shape[: 2 if flat else 3], facts.spacing)
    )
    texts = [f"{size} pixels"]
    if not flat:
        texts = [f"{size} voxels", f"{spacing} mm", f"slice {facts.level + 1}"]
    if facts.counts is None:
        return texts
    named_labels, strange = named(
        facts.counts, survey.dataset.labels, survey.dataset.raw_labels, survey.dataset.ignore
    )
    volumes = [
        f"{survey.dataset.labels[v]} {number(facts.ml(n))} ml"
        for v, n in sorted(named_labels.items())
    ]
    volumes += [f"{v} (not declared) {number(facts.ml(n))} ml" for v, n in strange.items()]
    more = [f"and {len(volumes) - MOST_LABELS} more"] if len(volumes) > MOST_LABELS else []
    return [*texts, *map(printable, volumes[:MOST_LABELS]), *more]


def _class(survey: Survey, case: Case) -> str:
    if case.label is None:
        return "no label" if survey.dataset.labels else ""
    if isinstance(case.label, int):
        return printable(survey.dataset.labels.get(case.label, str(case.label)))
    return ""
