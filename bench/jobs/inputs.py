"""What later jobs read of a prepared data set: volumes, patients, parts of a split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.data import case_filter, values
from bench.data import split as splits
from bench.data.parts import Division, Entry, Labelled, Part, Take, Which
from bench.data.prepared import Prepared
from bench.data.roots import Roots, adapter
from bench.dataset import Case, Dataset
from bench.errors import BenchError


def part(prepared: Prepared, data: Part, root: str | None) -> list[str]:
    """Return the case ids of one part of a data set.

    Raises:
        BenchError: the division is not the one the plan saw, or a case selected could not be read.
    """
    cases = case_filter.matching(_cases(prepared, data), data.where, data.exclude)
    if data.part == "all":
        ids = [c.id for c in cases]
    else:
        ids = _of(cases, getattr(fold_of(prepared, data, root), data.part))
    case_filter.check_usable(data.dataset, ids, prepared.faults)
    return ids


def labelled(
    prepared: Prepared,
    data: Labelled,
    which: Which,
    root: str | None,
    seed: int,
    *,
    full: bool = False,
) -> list[str]:
    """Return the case ids that train or validate at a spec's label fraction.

    Args:
        prepared: the data set.
        data: whose patients, drawn as ``splits.drawn`` does.
        which: train, val or test.
        root: the data set's folder.
        seed: of the fine-tuning.
        full: do all validate that the split has, whatever the fraction?

    Raises:
        BenchError: as ``part``.
    """
    fold = fold_of(prepared, data, root)
    patients = splits.drawn(fold, data, which, seed, full=full)
    ids = _of(case_filter.matching(_cases(prepared, data), data.where, data.exclude), patients)
    case_filter.check_usable(data.dataset, ids, prepared.faults)
    return ids


def _of(cases: Sequence[Case], patients: Sequence[str]) -> list[str]:
    chosen = set(patients)
    return [c.id for c in cases if c.patient in chosen and c.label is not None]


def _cases(prepared: Prepared, data: Division) -> list[Case]:
    return values.labelled(prepared.cases(), data.value)


def mixed(
    prepared: Sequence[Prepared],
    data: Sequence[Entry],
    take: Take,
    seed: int,
    roots: dict[str, str],
) -> list[tuple[int, Case]]:
    """Return the cases that a pretraining reads, each with the index of its data set.

    ``prepared`` has one per entry of ``data``; ``seed`` is of the ranking by which shares are taken.

    Raises:
        BenchError: a case selected could not be read.
    """
    selected: list[tuple[int, Case]] = []
    for index, (opened, item) in enumerate(zip(prepared, data, strict=True)):
        root = roots.get(item.dataset)
        fold = fold_of(opened, item, root) if item.part in ("train", "val") else None
        if fold is not None and item.part == "val":
            fold = replace(fold, train=fold.val, val=fold.train)
        dataset = declaration(item.dataset, root)
        cases = case_filter.selected(opened.cases(), item, dataset, fold, seed)
        selected += [(index, case) for case in cases]
    named = [(data[index].dataset, case) for index, case in selected]
    remaining = {(name, case.id) for name, case in case_filter.shared(named, take, seed)}
    read = [(n, case) for n, case in selected if (data[n].dataset, case.id) in remaining]
    for number, (opened, item) in enumerate(zip(prepared, data, strict=True)):
        ids = [case.id for n, case in read if n == number]
        case_filter.check_usable(item.dataset, ids, opened.faults)
    return read


def probed(
    prepared: Prepared, data: Sequence[Entry], patients: int, root: str | None
) -> tuple[list[list[str]], list[str]]:
    """Return the cases of each patient whom an online probe is fitted to, and those that it is scored on.

    Args:
        prepared: the data set.
        data: of each fold in which the patients must train; of the same data set.
        patients: how many take part.
        root: the data set's folder.

    Raises:
        BenchError: there are fewer patients; a case selected could not be read.
    """
    name, cases = data[0].dataset, prepared.cases()
    dataset = declaration(name, root)
    selections = []
    for item in data:
        fold = fold_of(prepared, item, root) if item.part == "train" else None
        selections.append(case_filter.selected(cases, item, dataset, fold, 0))
    of_patient: dict[str, list[str]] = {}
    usable = case_filter.in_all(selections)
    for case in usable:
        of_patient.setdefault(case.patient, []).append(case.id)
    fitted, scored = case_filter.halves(usable, name, patients)
    read = [case for patient in (*fitted, *scored) for case in of_patient[patient]]
    case_filter.check_usable(name, read, prepared.faults)
    groups = [of_patient[patient] for patient in fitted]
    return groups, [case for patient in scored for case in of_patient[patient]]


def declaration(name: str, root: str | None) -> Dataset:
    """Return a data set's declaration."""
    return adapter(name, Roots(None, {name: Path(root)} if root else {}))


def fold_of(prepared: Prepared, data: Division, root: str | None) -> splits.Fold:
    """Return the fold a spec names, checked against the digest it carries."""
    cases = _cases(prepared, data)
    remaining = case_filter.matching(cases, data.where, data.exclude)
    gone = {c.patient for c in cases} - {c.patient for c in remaining}
    dataset = declaration(data.dataset, root)
    folds = splits.folds(dataset, data.dataset, remaining, data.split, gone)
    fold = folds[data.fold or 0]
    if data.split_hash not in (None, fold.digest):
        why = (
            f"has changed since the run was planned ({fold.digest} now, {data.split_hash} then); "
            "run the protocol again"
        )
        raise BenchError(f"{data.dataset}: split {data.split!r} {why}")
    return fold
