"""What a first protocol over a folder of scans reads, as what was seen of them suggests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from statistics import median, median_low

from bench import typed
from bench.data import split as splits
from bench.data.facts import Facts
from bench.data.fit import doubts, window_fault
from bench.data.layout_msd import read_listing
from bench.dataset import Case, Dataset, Recipe
from bench.errors import BenchError
from bench.extras.survey.measure import Survey, number
from bench.nets.catalog import CATALOG
from bench.nets.nearest import nearest
from bench.ranges import Triple
from bench.report.footnotes import counted

# such a case is left out, and one of which image or label could not be used
UNUSABLE = ("unreadable", "truncated", "shape", "label_value", "duplicate")
VOXELS = 1_500_000  # of a median scan on the recipe's grid, at most: coarser from there on
CROP, SMALL = 48**3, 24**3  # voxels of a crop, at most; of a trial's
STEP = 8  # every side of a crop is a multiple: most networks halve three times
NETWORK = "resenc_unet"  # where none is named
# presets of runs and of trials, where a network has them
BASE, TINY = "base", ("tiny_leaky", "tiny")
FOUR_STAGES = {
    "resenc_unet": "small"
}  # in place of a tiny one whose crops are too large for small scans
SAME = 0.02  # spacings that differ by less are one
FEW = 2  # patients with labels that the small fraction holds at least, where it can
TESTED = 25  # patients from which a fifth of them is enough to test; of fewer each is tested once
FOLDED = 5  # patients that five folds take
CT = {"window": [-175, 250]}


@dataclass(frozen=True)
class Chosen:
    """A network, its sizes, and the crops that they read; views are of a contrast, smaller than a crop."""

    name: str
    base: str  # preset at paper scale
    tiny: str  # at pilot and smoke scale
    crop: Triple
    view: Triple
    pilot: Triple  # crop, as large as a scan where that is small
    pilot_view: Triple
    small: Triple  # crop of a trial
    small_view: Triple


@dataclass(frozen=True)
class First:
    """The choices. ``excluded``: cases left out; ``parts``, ``why``: in words."""

    excluded: tuple[str, ...]
    spacing: tuple[float, ...] | None  # mm; None: as the scans have it
    recipe: dict[str, object]
    why: str
    net: Chosen
    split: str
    unlabelled: int  # scans without a label that pretraining reads
    folds: int
    parts: str
    fractions: tuple[int, ...]
    judges: int  # patients that validate in each fold
    pretrain: int  # steps
    finetune: int
    doubts: tuple[str, ...]  # what of the recipe does not fit the scans


def first(survey: Survey, network: str = NETWORK) -> First:
    """Choose crop, spacing, split, fractions and steps.

    Raises:
        BenchError: a file is missing, or too few patients are left to train and test on.
    """
    _complete(survey)
    labelled = {f.case.id for f in survey.facts if f.counts is not None or f.case.label is None}
    unread = {c.id for c in survey.cases} - labelled  # for whatever reason
    excluded = tuple(
        dict.fromkeys(
            f.case for f in survey.findings if f.case and (f.kind in UNUSABLE or f.case in unread)
        )
    )
    seen = [f for f in survey.facts if f.case.id not in excluded]
    if not seen:
        first_finding = next(f for f in survey.findings if f.case)
        raise BenchError(
            f"{first_finding.file}: {first_finding.detail}; no image of {survey.root} can be used: correct what "
            f"'bench check {survey.root}' lists"
        )
    cases = [c for c in survey.cases if c.id not in excluded]
    patients = {c.patient for c in cases if c.label is not None}
    if len(patients) < 2:
        raise BenchError(
            f"{survey.root}: {counted(len(patients), 'patient')} with a usable label, and two are "
            "needed: one to train on, one to test; add cases, or correct those that "
            f"'bench check {survey.root}' lists"
        )
    _check_labelled(survey, seen)
    spacing, why = _spacing(seen)
    sizes = [_size(f, spacing) for f in seen]
    middle = [median_low(along) for along in zip(*sizes, strict=True)]  # as `bench plan` has it
    if middle[2] < 2:
        raise BenchError(
            f"{survey.root}: the scans have a single slice; for a data set of pictures begin with 'bench new dataset'"
        )
    split = splits.GIVEN if splits.gives(cases) else _split(len(patients))
    folds = splits.folds(survey.dataset, survey.name, cases, split)
    n, judges, parts = _parts(folds)
    recipe, no_window = _recipe(survey.dataset, seen, spacing)
    built = typed.build(Recipe, recipe, ".".join)
    steps = min(max(round(40 * n, -3), 2000), 10000)
    return First(
        excluded=excluded,
        spacing=spacing,
        recipe=recipe,
        why=why + ("; no window, which not all values fit" if no_window else ""),
        net=_chosen(network, middle),
        split=split,
        unlabelled=_unlabelled(cases, folds),
        folds=len(folds),
        parts=parts,
        fractions=_fractions(n),
        judges=judges,
        pretrain=3 * steps,
        finetune=steps,
        doubts=(*no_window, *doubts(built, seen, survey.dataset.modality)),
    )


def _unlabelled(cases: Sequence[Case], folds: Sequence[splits.Fold]) -> int:
    """Return how many scans without a label pretraining may read; of many folds, at least."""
    without = [case for case in cases if case.label is None]
    return min(sum(c.patient not in {*fold.val, *fold.test} for c in without) for fold in folds)


def _complete(survey: Survey) -> None:
    gone = [f for f in survey.findings if f.kind == "missing"]
    if gone:
        stated = "dataset" in read_listing(survey.root)
        way = (
            "take their cases out of 'dataset' in dataset.json"
            if stated
            else "remove the other files of their cases"
        )
        raise BenchError(
            f"{gone[0].file}: {gone[0].detail} (case {gone[0].case or '?'}); {len(gone)} file(s) are missing: add "
            f"them, or {way}"
        )


def _check_labelled(survey: Survey, seen: Sequence[Facts]) -> None:
    """Refuse label maps of which none has a labelled voxel."""
    counts = [f.counts for f in seen if f.counts is not None]
    background = {0, survey.dataset.ignore}
    if counts and all(voxels.keys() <= background for voxels in counts):
        raise BenchError(
            f"{survey.root}: all {len(counts)} label maps are empty, so there is nothing to train or test on; "
            "correct the label maps"
        )


def _size(facts: Facts, spacing: tuple[float, ...] | None) -> list[float]:
    """Return a scan's voxels along each axis on the recipe's grid."""
    target = facts.spacing if spacing is None else spacing
    return [n * old / new for n, old, new in zip(facts.shape, facts.spacing, target, strict=True)]


def _spacing(seen: Sequence[Facts]) -> tuple[tuple[float, ...] | None, str]:
    """Return the median spacing, its finest axes coarsened until a median scan is small enough, and why."""
    spacings = [[f.spacing[i] for f in seen] for i in range(3)]
    middle = [median(along) for along in spacings]
    extent = [median(f.shape[i] * f.spacing[i] for f in seen) for i in range(3)]
    least, coarse = 0.0, middle
    while math.prod(e / s for e, s in zip(extent, coarse, strict=True)) > VOXELS:
        least = max(least, min(middle)) * 1.05
        coarse = [max(least, s) for s in middle]
    rounded = tuple(
        float(f"{s:.4g}" if s == side else f"{s:.2g}")
        for s, side in zip(coarse, middle, strict=True)
    )
    if coarse != middle:
        return rounded, "mm; coarser than the scans, so that a crop sees enough; finer takes longer"
    if all(max(along) - min(along) <= SAME * min(along) for along in spacings):
        return None, "the scans' own voxels: all are of one size"
    return rounded, "mm; the median of the scans"


def _crop(sizes: Sequence[float], most: int) -> Triple:
    """Return multiples of ``STEP`` within a median scan; the longest sides are cut until it is small."""
    sides = [max(STEP, int(n) // STEP * STEP) for n in sizes]
    while math.prod(sides) > most:
        sides[sides.index(max(sides))] -= STEP
    x, y, z = sides if max(sides) > STEP else (2 * STEP, STEP, STEP)
    return (x, y, z)


def networks() -> list[str]:
    """Return the networks that a first protocol can be about: of three dimensions, for label maps."""
    return [e.name for e in CATALOG.values() if e.dims == 3 and "segmentation" in e.tasks]


def _chosen(network: str, middle: Sequence[float]) -> Chosen:
    """Return a network with crops of a median scan that it can be trained on at every scale."""
    presets = CATALOG[network].presets
    tiny = next(n for n in (FOUR_STAGES.get(network), *TINY, *presets) if n in presets)
    base = BASE if BASE in presets else [*presets][-1]

    def fitting(preset: str, crop: Triple) -> Triple:
        fits = nearest(network, preset, crop)
        if fits is None:
            raise BenchError(
                f"--network {network}: cannot read crop {crop} or one near it; use another network"
            )
        return fits

    large, pilot = (fitting(preset, _crop(middle, CROP)) for preset in (base, tiny))
    if network in FOUR_STAGES and any(side > n for side, n in zip(large, middle, strict=True)):
        base, large = tiny, pilot  # six stages read more than such scans have
    crops = large, pilot, fitting(tiny, _crop(middle, SMALL))
    views = [
        fitting(preset, view(crop)) for preset, crop in zip((base, tiny, tiny), crops, strict=True)
    ]
    pairs = chain.from_iterable(zip(crops, views, strict=True))
    return Chosen(network, base, tiny, *pairs)


def view(crop: Triple) -> Triple:
    """Return the size of a contrast's views: smaller than a crop, or all of a small scan would be alike."""
    x, y, z = (max(STEP, side * 3 // 4 // STEP * STEP) for side in crop)
    return (x, y, z)


def _recipe(
    dataset: Dataset, seen: Sequence[Facts], spacing: tuple[float, ...] | None
) -> tuple[dict[str, object], list[str]]:
    """Return a recipe, and why CT gets no window."""
    recipe: dict[str, object] = {} if spacing is None else {"spacing": [*spacing]}
    channels = dataset.channels
    is_ct = [dataset.modality == "CT" or name.upper() == "CT" for name in channels]
    if all(is_ct):
        fault = window_fault(typed.build(Recipe, CT, ".".join), seen, "CT")
    else:
        fault = f"one window would be for all channels, and {channels[is_ct.index(False)]} is no CT"
    if not fault:
        return recipe | CT, []
    # half of it is 0: air was removed
    stripped = all(grey[0] == 0 == grey[2] for f in seen for grey in f.grey)
    foreground = {"nonzero": True, "foreground": "nonzero"} if stripped else {}
    wrong = "; if the values are wrong, correct them and begin again" if all(is_ct) else ""
    why = f"{fault}: z-scores in its place{wrong}"
    return recipe | {"scale": "zscore"} | foreground, [why] if any(is_ct) else []


def _split(patients: int) -> str:
    if patients >= TESTED:
        return splits.EVEN
    return splits.CV5 if patients >= FOLDED else splits.LEAVE_ONE_OUT


def _parts(folds: Sequence[splits.Fold]) -> tuple[int, int, str]:
    """Return how many patients train and validate at least, and the division in words."""
    train, val, test = min((len(f.train), len(f.val), len(f.test)) for f in folds)
    if len(folds) == 1:
        validate = "1 validates" if val == 1 else f"{val} validate"
        tested = "1 is tested" if test == 1 else f"{test} are tested"
        return train, val, f"{_trained(train)}, {validate}, {tested}"
    return (
        train,
        val,
        f"{len(folds)} folds, in each about {_trained(train)}; every patient is tested once",
    )


def _trained(patients: int) -> str:
    return "1 patient trains" if patients == 1 else f"{patients} patients train"


def _fractions(train: int) -> tuple[int, ...]:
    """Return a small percentage and 100; 100 alone where one patient trains."""
    if train < 2:
        return (100,)
    small = next((p for p in (5, 10, 20, 25, 50) if int(p * train / 100 + 0.5) >= FEW), 50)
    return (small, 100)


def seen_in_words(survey: Survey) -> str:
    """Return what was seen, in a line."""
    seen = survey.facts
    size, spacing = (
        " x ".join(
            number(median_low(round(side, 3) for side in along))
            for along in zip(*what, strict=True)
        )
        for what in ([f.shape for f in seen], [f.spacing for f in seen])
    )
    return f"{len(survey.cases)} cases, {size} voxels of {spacing} mm (medians)"
