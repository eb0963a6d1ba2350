"""Which patients train, validate and test: registered lists, or a rule that no new case disturbs.

Never Python's ``hash``: everything here is SHA-256 of text, so it is the same everywhere.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from operator import itemgetter
from pathlib import Path
from typing import Any

from bench import typed
from bench.data.parts import Labelled, Which
from bench.dataset import Case, Dataset, natural
from bench.errors import BenchError, Misstated, unknown

RULE = "rule"
EVEN = "even"  # 70 / 10 / 20 to the patient, in the order of a hash: 7:1:2 where no list is known
FIVE = "rule_5fold"  # five folds by the same kind of rule: every patient is tested once
# five folds that differ by one patient at most: cross-validation over all labelled cases
CV5 = "cv5"
LEAVE_ONE_OUT = "leave_one_out"
RULES = (RULE, EVEN, FIVE, CV5, LEAVE_ONE_OUT)  # known to every data set
BY_SCAN = {  # the same rules, but cases that are cut from one scan lie on one side (Dataset.scan)
    "by_scan": RULE,
    "by_scan_5fold": FIVE,
}
LISTED = ("source", "note", "cases", "folds", "train", "val", "test")  # keys of a file of lists
GIVEN = "given"  # known to those that come with labelled cases to test on: the parts that these say they are of
EXTERNAL = "external"  # of a data set that is only tested: all its patients with labels
STATED: dict[str, Which] = {
    "training": "train",
    "validation": "val",
    "testing": "test",
    "test": "test",
}
# where there are more than one, and as many whoever is there
FOLDS = {FIVE: 5, "by_scan_5fold": 5, CV5: 5}
SIDES: tuple[Which, ...] = ("train", "val", "test")
PARTS: dict[str, tuple[Which, ...]] = {  # that nobody may lack
    RULE: SIDES,
    "by_scan": SIDES,
    EVEN: SIDES,
    EXTERNAL: ("test",),
}
# test patients of ``rule``: it draws each by himself, so of few patients it may test one
FEWEST = 5


def offered(dataset: Dataset) -> list[str]:
    """Return the splits that a data set is listed with: by scan only where it has several cases of a scan."""
    crops = type(dataset).scan is not Dataset.scan
    return [*dataset.splits, *RULES, *(BY_SCAN if crops else ())]


@dataclass(frozen=True)
class Fold:
    """Patients of one division; ``name`` is the split's, ``index`` counts folds from 0."""

    name: str
    index: int
    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]

    @cached_property
    def digest(self) -> str:
        """Return 16 hex digits of the division: equal lists, equal digest."""
        text = json.dumps([sorted(self.train), sorted(self.val), sorted(self.test)])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def unit(rule: str, dataset: str, patient: str) -> float:
    """Return the patient's fixed place u in [0, 1): train below 0.7, validation below 0.8."""
    text = f"{rule}:{dataset}:{patient}"
    return int(hashlib.sha256(text.encode()).hexdigest()[:13], 16) / 16**13


def folds(
    dataset: Dataset, name: str, cases: Sequence[Case], split: str, without: Collection[str] = ()
) -> list[Fold]:
    """Divide the labelled patients of a data set.

    Args:
        dataset: its declaration (knows its registered splits).
        name: its id, part of the rule's hash.
        cases: what is on disk.
        split: ``rule``, ``even``, ``rule_5fold``, ``cv5``, ``leave_one_out``, ``by_scan``, ``by_scan_5fold``,
            ``given``, ``external`` or a registered name.
        without: patients that are left out of every part, though a registered list names them.

    Raises:
        BenchError: unknown split, listed patients that are not there, an empty part, or fewer than
            ``FEWEST`` test patients by ``rule``.
    """
    patients = sorted({c.patient for c in cases if c.label is not None}, key=natural)
    if split in (RULE, FIVE, *BY_SCAN):
        scan = _scans(dataset, name, cases, split)
        parts = _hashed(split, name, {p: scan[p] for p in patients})
    elif split == EXTERNAL:
        parts = [_fold(split, 0, dict.fromkeys(patients, "test"))]
    elif split == EVEN:
        parts = [_evenly(name, patients)]
    elif split == CV5:  # dealt in turn: even, but a new patient moves others
        turn = {p: i % 5 for i, p in enumerate(sorted(patients, key=lambda p: unit(CV5, name, p)))}
        parts = [_fold(split, k, {p: _tested(turn[p] == k) for p in patients}) for k in range(5)]
    elif split == LEAVE_ONE_OUT:
        parts = [
            _fold(split, i, {p: _tested(p == patient) for p in patients})
            for i, patient in enumerate(patients)
        ]
    elif split in dataset.splits:
        parts = [
            _without(fold, without)
            for fold in _registered(dataset, split, name, [*patients, *without])
        ]
    elif split == GIVEN:
        parts = [_given(name, cases)]
    else:
        names = [*dataset.splits, *RULES, *BY_SCAN, GIVEN]
        raise Misstated("split", unknown(f"split of data set {name!r}", split, names))
    if not patients:
        raise BenchError(
            f"{name}: none of its {len(cases)} cases has a label; training and testing need some"
        )
    for fold in parts:
        _full(name, fold, len(patients))
    return parts


def _scans(dataset: Dataset, name: str, cases: Sequence[Case], split: str) -> dict[str, str]:
    """Return the scan of each patient that a split keeps on one side: by default a patient's own."""
    if split not in BY_SCAN:
        return {case.patient: case.patient for case in cases}
    if split not in offered(dataset):
        raise Misstated(
            "split",
            f"split {split!r}: data set {name!r} does not say which cases come from one scan; "
            f"use '{RULE}', '{EVEN}' or a list of your own",
        )
    return {case.patient: dataset.scan(case) for case in cases}


def _full(name: str, fold: Fold, patients: int) -> None:
    """Refuse a fold with an empty part, or one that tests too few by chance."""
    for part in PARTS.get(fold.name, ("train", "test")):
        if not getattr(fold, part):
            other = "" if fold.name == LEAVE_ONE_OUT else f", or use 'split: {LEAVE_ONE_OUT}'"
            raise Misstated(
                "split",
                f"{name}: split {fold.name!r} leaves no {part} patient among {patients}; add cases{other}",
            )
    if BY_SCAN.get(fold.name, fold.name) == RULE and len(fold.test) < FEWEST:
        use = f"'split: {EVEN}' or '{CV5}'" if fold.name == RULE else "'split: by_scan_5fold'"
        raise Misstated(
            "split",
            f"{name}: split {fold.name!r} draws each patient independently, which leaves {len(fold.train)} to "
            f"train, {len(fold.val)} to validate and {len(fold.test)} to test; at least {FEWEST} to test are "
            f"needed: use {use}",
        )


def _tested(yes: bool) -> str:
    return "test" if yes else "train"


def _hashed(split: str, name: str, scans: Mapping[str, str]) -> list[Fold]:
    """Return the folds of a rule that places each scan by its own hash, given by patient."""
    if BY_SCAN.get(split, split) == RULE:
        return [_fold(split, 0, {p: _by_rule(split, name, scan) for p, scan in scans.items()})]
    return [
        _fold(split, k, {p: _by_fifth(split, name, scan, k) for p, scan in scans.items()})
        for k in range(5)
    ]


def _by_rule(rule: str, name: str, patient: str) -> str:
    u = unit(rule, name, patient)
    return "train" if u < 0.7 else "val" if u < 0.8 else "test"


def _evenly(name: str, patients: Sequence[str]) -> Fold:
    """Return a fifth to test, a tenth to validate, the rest to train, each rounded to the next patient."""
    order, n = sorted(patients, key=lambda p: unit(EVEN, name, p)), len(patients)
    tested = max(1, (2 * n + 5) // 10)
    held = tested + (n + 5) // 10
    parts = (order[held:], order[tested:held], order[:tested])
    return Fold(EVEN, 0, *(tuple(sorted(part, key=natural)) for part in parts))


def gives(cases: Iterable[Case]) -> bool:
    """Tell whether a data set comes with labelled cases to test on."""
    return any(c.label is not None and STATED.get(c.meta.get("part", "")) == "test" for c in cases)


def _given(name: str, cases: Sequence[Case]) -> Fold:
    """Return the parts that labelled cases say they are of."""
    parts: dict[str, Which] = {}
    for case in (c for c in cases if c.label is not None):
        stated = case.meta.get("part", "")
        part = STATED.get(stated)
        if part is None or parts.setdefault(case.patient, part) != part:
            why = (
                f"is of part {stated!r}"
                if part is None
                else f"shows patient {case.patient} of another part"
            )
            raise Misstated(
                "split", f"{name}: split {GIVEN!r}: case {case.id} {why}; use 'split: {EVEN}'"
            )
    if "val" not in parts.values():
        train = sorted(
            (p for p, part in parts.items() if part == "train"), key=lambda p: unit(GIVEN, name, p)
        )
        parts |= dict.fromkeys(train[: (len(train) + 5) // 10], "val")
    return _fold(GIVEN, 0, {p: parts[p] for p in sorted(parts, key=natural)})


def _by_fifth(rule: str, name: str, patient: str, fold: int) -> str:
    """Return the part in a fold: a fifth of the unit interval tests, an eighth of the rest validates."""
    if int(5 * unit(rule, name, patient)) == fold:
        return "test"
    return "val" if unit(f"{rule}:val", name, patient) < 1 / 8 else "train"


def _fold(split: str, index: int, parts: Mapping[str, str]) -> Fold:
    """Return a fold of patients, each in the part that is said of it."""
    members = (
        tuple(p for p, part in parts.items() if part == name) for name in ("train", "val", "test")
    )
    return Fold(split, index, *members)


def _registered(dataset: Dataset, split: str, name: str, patients: Sequence[str]) -> list[Fold]:
    parts = listed(dataset, split)
    wanted = {p for fold in parts for p in (*fold.train, *fold.val, *fold.test)}
    lacking = sorted(wanted - set(patients), key=natural)
    if lacking:
        raise Misstated(
            "split",
            f"{name}: split {split!r} lists {len(wanted)} patients, but {len(lacking)} of them are not in "
            f"the folder ({', '.join(lacking[:5])}{' ...' if len(lacking) > 5 else ''}); complete the "
            "folder, or use 'split: even', which divides what is there",
        )
    return parts


def _without(fold: Fold, gone: Collection[str]) -> Fold:
    train, val, test = (
        tuple(p for p in part if p not in gone) for part in (fold.train, fold.val, fold.test)
    )
    return replace(fold, train=train, val=val, test=test)


def listed(dataset: Dataset, split: str) -> list[Fold]:
    """Return a registered division as its file, in ``splits/`` beside the data set's own, lists it.

    Raises:
        BenchError: the file is not there, or no such list; a patient stands in it twice.
    """
    file = dataset.splits[split]
    read = read_list(dataset, file)

    def where(keys: tuple[str, ...]) -> str:
        return f"split {split!r}: {file}: {'.'.join(keys)}"

    entries = typed.build(tuple[dict[str, Any], ...], read.get("folds", [read]), where, ("folds",))
    for keys, table in [((), read), *((("folds", str(i)), of) for i, of in enumerate(entries))]:
        for key in {*table} - {*LISTED}:
            raise BenchError(f"{where((*keys, key))}: {unknown('key', key, LISTED)}")
    folds = [
        Fold(
            split, i, *(typed.build(tuple[str, ...], table.get(p, ()), where, (p,)) for p in SIDES)
        )
        for i, table in enumerate(entries)
    ]
    for fold in folds:
        every = [*fold.train, *fold.val, *fold.test]
        if len({*every}) < len(every):
            twice = next(patient for patient in every if every.count(patient) > 1)
            raise BenchError(
                f"split {split!r}: {file} lists patient {twice!r} twice in fold {fold.index}; keep one entry"
            )
    return folds


def read_list(dataset: Dataset, file: str) -> dict[str, Any]:
    """Return what a file of case lists holds; it lies in ``splits/`` beside the data set's own file.

    Raises:
        BenchError: it is not there, or no JSON object.
    """
    path = Path(str(sys.modules[type(dataset).__module__].__file__)).parent / "splits" / file
    try:
        return _read_list(path, path.stat().st_mtime_ns)
    except OSError as error:
        raise BenchError(
            f"{path}: cannot be read ({error.strerror}); put the list of cases at this path"
        ) from None
    except ValueError as error:
        raise BenchError(f"{path}: is not a list of cases ({error}); correct the file") from None


@lru_cache(maxsize=64)
def _read_list(path: Path, changed: int) -> dict[str, Any]:
    """Return what a file holds as it was ``changed`` last; a plan asks for it in every row."""
    return typed.read(dict[str, Any], path.read_bytes())


def ranked(patients: Iterable[str], split: str, seed: int) -> list[str]:
    """Order training patients; label fractions are prefixes of this one ranking."""
    return list(_ranked(tuple(patients), split, seed))


@lru_cache(maxsize=1024)
def _ranked(patients: tuple[str, ...], split: str, seed: int) -> tuple[str, ...]:
    """Return the ranking; a plan asks for the same few in every cell."""
    keys = (hashlib.sha256(f"{split}:{seed}:{p}".encode()).hexdigest() for p in patients)
    return tuple(p for _, p in sorted(zip(keys, patients, strict=True), key=itemgetter(0)))


def leading(ranking: Sequence[str], percent: int) -> list[str]:
    """Return the first ``max(1, floor(p*n/100 + 0.5))`` of a ranking, p percent of patients."""
    return list(ranking[: max(1, int(percent * len(ranking) / 100 + 0.5))])


def fraction(patients: Sequence[str], percent: int, split: str, seed: int, what: str) -> list[str]:
    """Return the leading ``percent`` of the seed's ranking of patients.

    Raises:
        BenchError: ``percent`` of ``patients`` is less than half a patient.
    """
    n = len(patients)
    if percent * n / 100 < 0.5:
        raise Misstated(
            "fractions",
            f"{what}: {percent} % of {n} training patients is less than half a patient; "
            f"use at least {-(-50 // n)} %",
        )
    return leading(ranked(patients, split, seed), percent)


def parted(patients: Sequence[str], share: float, what: str = "") -> tuple[list[str], list[str]]:
    """Divide ranked patients into those that train and, at the end, the share that validates.

    Args:
        patients: ranked.
        share: 0 for none; else at least one validates.
        what: begins the message.

    Raises:
        BenchError: nobody would be left to train.
    """
    if not share:
        return list(patients), []
    back = max(1, int(share * len(patients) + 0.5))
    if back >= len(patients):
        raise Misstated(
            "holdout",
            f"{what}holdout {share:g} of {len(patients)} training patient(s) leaves none to train; use a "
            "larger fraction, or 'holdout: 0'",
        )
    return list(patients[:-back]), list(patients[-back:])


def drawn(fold: Fold, data: Labelled, which: Which, seed: int, *, full: bool = False) -> list[str]:
    """Return the patients that train, validate or are tested at a fine-tuning's label fraction.

    Args:
        fold: of its split.
        data: ``fraction`` thins by the ranking of ``seed``, and a ``holdout`` or an ``inner`` fold parts what is
            left of the training patients into those that train and those that validate.
        which: train, val or test, of which the last is never thinned.
        seed: of the fine-tuning.
        full: do all validate that the split has, whatever the fraction?

    Raises:
        BenchError: less than half a patient would train, or with a ``holdout`` nobody.
    """
    patients = list(getattr(fold, which))
    if which != "test" and (data.holdout or data.inner):
        thinned = fraction(fold.train, data.fraction, fold.name, seed, data.dataset)
        if data.inner:
            k, n = data.inner
            return [p for i, p in enumerate(thinned) if (i % n == k) == (which == "val")]
        return parted(thinned, data.holdout, f"{data.dataset}: ")[which == "val"]
    if which == "train":
        return fraction(patients, data.fraction, fold.name, seed, data.dataset)
    if which == "val" and patients and not full:
        # those who validate may be less than half a patient, and are one then
        return leading(ranked(patients, fold.name, seed), data.fraction)
    return patients
