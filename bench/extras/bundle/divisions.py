"""The patients behind the digests of splits: listed by their data set, or divided as they lie here."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import typed
from bench.data import case_filter, split
from bench.data.roots import Roots, adapter
from bench.data.split import Fold
from bench.digest import short
from bench.errors import BenchError
from bench.extras.bundle.manifest import Division
from bench.protocol import Finetune, Protocol

if TYPE_CHECKING:
    import pandas as pd

HASHED = ["section", "dataset", "split", "fold", "split_hash"]  # columns of records


@dataclass(frozen=True)
class Patients:
    """One fold as a bundle lists it."""

    fold: int
    hash: str
    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]

    @property
    def digest(self) -> str:
        """Return what the lists themselves have as digest."""
        return Fold("", self.fold, self.train, self.val, self.test).digest


@dataclass(frozen=True)
class Lists:
    """One file of ``splits/``."""

    dataset: str
    split: str
    folds: tuple[Patients, ...]


def divided(
    protocols: Mapping[str, tuple[Protocol, pd.DataFrame]], places: Sequence[Roots]
) -> dict[Division, Fold | None]:
    """Return every fold that records were scored on, with its patients where they are known here.

    A list is taken only where it has the digest that the records have; ``places``: where data may lie.
    """
    folds: dict[Division, Fold | None] = {}
    for protocol, table in protocols.values():
        for section, *key in table[[*HASHED]].drop_duplicates().itertuples(index=False, name=None):
            division = Division(*key)
            if folds.get(division) is None and section in protocol.sections:
                tuned = protocol.finetune[protocol.sections.index(section)]
                candidates = (fold for roots in places for fold in _folds(tuned, division, roots))
                wanted = division.fold, division.hash
                same = (fold for fold in candidates if (fold.index, fold.digest) == wanted)
                folds[division] = next(same, None)
    return dict(
        sorted(folds.items(), key=lambda pair: (pair[0].dataset, pair[0].split, pair[0].fold))
    )


def members(
    folds_by_division: Mapping[Division, Fold | None],
) -> tuple[dict[str, bytes], tuple[Division, ...]]:
    """Return the files of ``splits/``, and every fold with the one that lists it."""
    lists: dict[tuple[str, str], list[Patients]] = {}
    named = list[Division]()
    for division, fold in folds_by_division.items():
        if fold is not None:
            patients = Patients(division.fold, division.hash, fold.train, fold.val, fold.test)
            lists.setdefault((division.dataset, division.split), []).append(patients)
        file = _file(division.dataset, division.split) if fold is not None else ""
        named.append(Division(division.dataset, division.split, division.fold, division.hash, file))
    files = {
        _file(*key): json.dumps(typed.plain(Lists(*key, tuple(folds))), indent=1).encode()
        for key, folds in lists.items()
    }
    return files, tuple(named)


def _file(dataset: str, name: str) -> str:
    plain = f"{dataset}.{name}"
    return (
        f"splits/{plain if plain.replace('.', '').isidentifier() else short(plain.encode())}.json"
    )


def _folds(tuned: Finetune, division: Division, roots: Roots) -> Iterator[Fold]:
    """Yield the folds of a section's split: as they are listed, then as the patients in a place divide."""
    root = roots.find(division.dataset)
    if root is None and roots.phantoms:
        return
    # a folder in MSD layout that is not here, or other patients lie there now
    with suppress(BenchError):
        dataset = adapter(division.dataset, roots)
        if division.split in dataset.splits:
            yield from split.listed(dataset, division.split)
        if root is not None:
            cases = dataset.listed(root)
            without = case_filter.excluded(dataset, division.dataset, tuned.exclude, cases)
            included = case_filter.matching(cases, tuned.where, without)
            gone = {case.patient for case in cases} - {case.patient for case in included}
            yield from split.folds(dataset, division.dataset, included, division.split, gone)
