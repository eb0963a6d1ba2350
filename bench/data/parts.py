"""What a job reads of a data set, as its spec says it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.typed import sparse

Which = Literal["all", "train", "val", "test"]


@dataclass(frozen=True, kw_only=True)
class Narrowed:
    """Which cases take part: those with these entries in their meta, without those named."""

    where: dict[str, str] = sparse({})
    exclude: tuple[str, ...] = sparse(())


@dataclass(frozen=True, kw_only=True)
class Value:
    """What a regression predicts of a case: exactly one of these."""

    volume: tuple[int, ...] = sparse(())  # of these label values together, in ml
    ejection_fraction: tuple[int, ...] = sparse(())  # of theirs, over a patient's cases
    meta: str = sparse("")  # a number that the data set states of a case, by this name
    unit: str = sparse("")  # of that number

    @property
    def labels(self) -> tuple[int, ...]:
        """Return the label values whose volume is measured."""
        return self.volume or self.ejection_fraction

    @property
    def measured_in(self) -> str:
        """Return the unit of the value, and of its mean absolute error."""
        return "ml" if self.volume else "1" if self.ejection_fraction else self.unit


@dataclass(frozen=True, kw_only=True)
class Division(Narrowed):
    """One fold of a split of a data set; ``split_hash``: the digest of its patients where they are known."""

    dataset: str
    split: str = sparse("")  # none: nothing is divided
    fold: int | None = sparse()
    split_hash: str | None = sparse()
    value: Value | None = sparse()  # of a regression


@dataclass(frozen=True, kw_only=True)
class Part(Division):
    """One part of it."""

    part: Which


@dataclass(frozen=True, kw_only=True)
class Tested(Part):
    """A part that is predicted."""

    task: str
    paint: tuple[tuple[int, int], ...] = sparse(())  # region, label: how regions become a label map
    ignore: int | None = sparse()  # value of the references' voxels that nobody labelled
    # predicted label, label here: of weights that were trained on another data set; what is not named is 0
    relabel: tuple[tuple[int, int], ...] = sparse(())


@dataclass(frozen=True, kw_only=True)
class Labelled(Division):
    """What a fine-tuning reads: some of the training patients, and those who validate."""

    task: str
    fraction: int  # percent of the training patients
    n_train: int | None  # as many
    holdout: float = sparse(0.0)  # share of them that validates, in place of the split's
    # (k, n): fold k of n inner ones; every n-th of the labelled patients validates, the others train
    inner: tuple[int, int] | None = sparse()
    regions: tuple[tuple[int, ...], ...] = sparse(())  # label values of each, of a region head
    paint: tuple[tuple[int, int], ...] = sparse(())
    # value of voxels that nobody labelled, which give no loss and no score
    ignore: int | None = sparse()


@dataclass(frozen=True, kw_only=True)
class Entry(Part):
    """One data set of a pretraining mixture."""

    list: str = sparse("")  # a pretraining list of the data set: only what it names
    list_hash: str = sparse("")
    only: Narrowed = sparse(Narrowed())
    take: str = sparse("")  # "40 cases" or "20 %"
    task: int | None = sparse()  # class labels of all its cases
    group: int | None = sparse()
    # also scans without a label, of nobody who validates or is tested
    unlabelled: bool = sparse(False)
    labelled: bool = sparse(False)  # are label maps read?
    classes: int = sparse(0)  # of these, background left out


@dataclass(frozen=True)
class Take:
    """Which share of a whole mixture is read, by one ranking of its patients; empty: all."""

    amount: str = sparse("")
    ranking: str = sparse("")
