"""What a folder of scans holds, beside what is wrong with it: in numbers, as ``bench check`` says them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, median_low

from bench.data import split as splits
from bench.data.check import Finding
from bench.data.facts import PERCENTILES, Facts, facts, named
from bench.data.fit import doubts
from bench.data.layout_msd import likely_visits
from bench.dataset import Case, Dataset, natural, present
from bench.errors import BenchError, first_of, printable
from bench.phantoms.synthetic import is_synthetic
from bench.show.thumbnail import Thumbnail, thumbnail
from bench.volumes.reading import LabelVolume, Volume3D

MOST = 500  # cases that are drawn; of more every n-th
DIVISIONS = (splits.RULE, splits.EVEN, splits.CV5, splits.LEAVE_ONE_OUT)  # told of any data set
NAMED = 5  # patients of a line
LEFTOVER = "files that belong to no case: if they are left out on purpose, "
UNREAD = (
    f"{LEFTOVER}name them in the member 'unread' of the data set's class, such as "
    'unread = ("*/seg.nii.gz",)'
)
MOVE = f"{LEFTOVER}move them out of the folder"
GREY = ("lowest", *(f"{p:g} %" for p in PERCENTILES), "highest")  # of a case's channel


class Survey:
    """What is seen of a data set's cases while they are checked; ``draw``: keep a slice of each."""

    def __init__(self, name: str, dataset: Dataset, root: Path, *, draw: bool = False) -> None:
        self.name, self.dataset, self.root = name, dataset, root
        self.cases, _ = dataset.readable(root)
        self.skipped = dataset.skipped(root)
        self.synthetic = is_synthetic(root)
        self.findings: Sequence[Finding] = ()
        self._facts: dict[str, Facts] = {}
        self.slices: dict[str, Thumbnail] = {}
        self._drawn = (
            {c.id for c in self.cases[:: -(-len(self.cases) // MOST) or 1]} if draw else set[str]()
        )

    def look(self, case: Case, image: Volume3D, label: LabelVolume | None) -> None:
        """Take down what a case holds; called in the threads of a check."""
        self._facts[case.id] = measured = facts(case, image, label)
        if case.id in self._drawn:
            self.slices[case.id] = thumbnail(measured, image, label, self.dataset)

    @property
    def facts(self) -> list[Facts]:
        """Return what was seen, in the order of the cases."""
        return [self._facts[case.id] for case in self.cases if case.id in self._facts]


@dataclass(frozen=True)
class Label:
    """One label or class: its declared value, in how many cases it is, and how large there."""

    value: int
    name: str
    cases: int
    of: int  # cases whose labels were read
    ml: tuple[float, ...]  # in each case that has it, ascending; empty of a class


def count(survey: Survey) -> str:
    """Return how many cases there are, of how many published."""
    published = survey.dataset.published
    of = f" of {sum(published)} published" if published and not survey.synthetic else ""
    return f"{len(survey.cases)}{of}"


def overview(survey: Survey) -> list[tuple[str, str]]:
    """Return what there is, as pairs of a name and a value."""
    cases, seen, dataset = survey.cases, survey.facts, survey.dataset
    labelled, published = sum(map(_labelled, cases)), dataset.published
    of = f" of {published[0]}" if published and published[0] and not survey.synthetic else ""
    rows = [("cases", f"{count(survey)}; with label {labelled}{of}")]
    patients = {c.patient for c in cases}
    if len(patients) != len(cases):
        rows.append(("patients", str(len(patients))))
    elif visits := likely_visits(cases):
        rows.append(("visits", visits))
    if same := [f.case.id for f in seen if any(grey[0] == grey[-1] for grey in f.grey)]:
        where = f"in {len(same)} case{'s' * (len(same) > 1)}"
        text = f"{where} a channel has one value in all voxels, first in {same[0]}"
        rows.append(("constant", text))
    parts = Counter(c.meta["part"] for c in cases if "part" in c.meta)
    if len(parts) > 1:
        rows.append(("parts", ", ".join(f"{part} {n}" for part, n in parts.items())))
    if seen and not dataset.flat:
        rows.append(("size", _triples([f.shape for f in seen], "voxels")))
        rows.append(("spacing", _triples([f.spacing for f in seen], "mm")))
        fields = [
            tuple(round(n * s) for n, s in zip(f.shape, f.spacing, strict=True)) for f in seen
        ]
        rows.append(("field of view", _triples(fields, "mm")))
    elif seen:
        rows.append(("size", _triples([f.shape[:2] for f in seen], "pixels")))
    rows += recipe_doubts(survey)
    doubtful = [c.id for c in cases if c.id in dataset.doubtful]
    if doubtful:
        more = f" and {len(doubtful) - 1} more" if len(doubtful) > 1 else ""
        why = f"{doubtful[0]} ({dataset.doubtful[doubtful[0]]}){more}"
        rows.append(("doubtful", f"{why}; 'exclude: [doubtful]' in a protocol leaves it out"))
    return [(printable(name), printable(value)) for name, value in rows]


def recipe_doubts(survey: Survey) -> list[tuple[str, str]]:
    """Return each declared recipe that does not fit the scans, and why."""
    dataset = survey.dataset
    return [
        (f"recipe {name}", doubt)
        for name, recipe in dataset.recipes.items()
        for doubt in doubts(recipe, survey.facts, dataset.modality, flat=dataset.flat)
    ]


def greys(survey: Survey) -> list[tuple[str, ...]]:
    """Return each channel with ``GREY`` of a case: the median over cases and the extremes."""
    rows = list[tuple[str, ...]]()
    for n, channel in enumerate(survey.dataset.channels):
        grey = [f.grey[n] for f in survey.facts if n < len(f.grey)]
        if grey:
            rows.append(
                (printable(channel), *(spread(values) for values in zip(*grey, strict=True)))
            )
    return rows


def _labelled(case: Case) -> bool:
    return present(case.label) if isinstance(case.label, Path) else case.label is not None


def labels(survey: Survey) -> list[Label]:
    """Return every declared label or class, and every value that nobody declared (named so)."""
    dataset, cases = survey.dataset, survey.cases
    if dataset.task == "classification":
        counts = Counter(c.label for c in cases if isinstance(c.label, int))
        names = {**dataset.labels, **{v: "not declared" for v in counts if v not in dataset.labels}}
        return [
            Label(value, name, counts[value], counts.total(), ()) for value, name in names.items()
        ]
    volumes: dict[tuple[int, str], list[float]] = {
        (v, name): [] for v, name in dataset.labels.items()
    }
    read = [f for f in survey.facts if f.counts is not None]
    for f in read:
        by_value, strange = named(
            f.counts or {}, dataset.labels, dataset.raw_labels, dataset.ignore
        )
        volume_of = {(value, dataset.labels[value]): n for value, n in by_value.items()}
        if dataset.ignore is not None and (void := (f.counts or {}).get(dataset.ignore)):
            volume_of[dataset.ignore, "ignored"] = void
        undeclared = {(value, "not declared"): n for value, n in strange.items()}
        for key, n in (volume_of | undeclared).items():
            volumes.setdefault(key, []).append(f.ml(n))
    return [Label(*key, len(ml), len(read), tuple(sorted(ml))) for key, ml in volumes.items()]


def divisions(survey: Survey) -> list[tuple[str, tuple[str, ...], str]]:
    """Return each split with its patients to train, validate and test and its folds, or why it cannot be."""
    if not survey.dataset.labels or not any(c.label is not None for c in survey.cases):
        return []
    rows = list[tuple[str, tuple[str, ...], str]]()
    given = [splits.GIVEN] if splits.gives(survey.cases) else []
    for split in (*survey.dataset.splits, *given, *DIVISIONS):
        try:
            folds = splits.folds(survey.dataset, survey.name, survey.cases, split)
        except BenchError as error:
            rows.append((split, (), str(error).removeprefix(f"{survey.name}: ")))
            continue
        sizes = [sorted(len(getattr(fold, part)) for fold in folds) for part in splits.SIDES]
        texts = (f"{s[0]}" if s[0] == s[-1] else f"{s[0]} to {s[-1]}" for s in sizes)
        rows.append((split, (*texts, str(len(folds))), ""))
    return rows


def notes(survey: Survey) -> list[str]:
    """Return what a person should know of a data set beside its findings, one line each."""
    lines = [line for split in survey.dataset.splits if (line := _omission(survey, split))]
    if any(f.kind == "extra" for f in survey.findings):
        # a folder without a class, and one of bench's own, whose user does not write it
        given = type(survey.dataset).__module__.startswith(("bench.", "bench_datasets."))
        lines.append(MOVE if given else UNREAD)
    return lines


def _omission(survey: Survey, split: str) -> str:
    """Return which labelled patients the file of a split leaves out; "" where it has a note about its list."""
    labelled = {case.patient for case in survey.cases if case.label is not None}
    try:
        folds = splits.listed(survey.dataset, split)
        noted = splits.read_list(survey.dataset, survey.dataset.splits[split]).get("note")
    except BenchError:
        return ""  # `divisions` says why
    left_out = [labelled.difference(fold.train, fold.val, fold.test) for fold in folds]
    patients = sorted(set[str]().union(*left_out), key=natural)
    if not patients or noted:
        return ""
    where = "no part" if all(left == left_out[0] for left in left_out) else "no part of some fold"
    verb = "is" if len(patients) == 1 else "are"
    return (
        f"split {split!r}: {len(patients)} of {len(labelled)} labelled patients {verb} in {where} "
        f"({first_of(patients, NAMED)}); list them, or say in the file's 'note' why not"
    )


def spread(values: Sequence[float]) -> str:
    """Return one number where all are equal, else the median and the extremes."""
    low, high = min(values), max(values)
    if low == high:
        return number(low)
    return f"{number(median(values))} ({number(low)} to {number(high)})"


def number(value: float) -> str:
    """Return a number as a person reads it: three digits or all before the point."""
    if value == int(value) and abs(value) < 1e7:
        return str(int(value))
    if abs(value) >= 1e7 or 0 < abs(value) < 1e-3:
        return f"{value:.2e}"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _triples(triples: Sequence[tuple[float, ...]], unit: str) -> str:
    """Return the median along each axis, and the extremes where not all are equal."""
    sides = [[round(side, 4) for side in along] for along in zip(*triples, strict=True)]
    middle = " x ".join(number(median_low(along)) for along in sides)
    if all(min(along) == max(along) for along in sides):
        return f"{middle} {unit}"
    low, high = (" x ".join(number(edge(along)) for along in sides) for edge in (min, max))
    return f"{middle} {unit} (median; {low} to {high})"
