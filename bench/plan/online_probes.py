"""Whom the online probe of a pretraining reads: labelled patients who train wherever they are divided here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from bench.data import case_filter
from bench.data.parts import Entry
from bench.data.split import Fold
from bench.dataset import Case, Recipe
from bench.errors import BenchError, Misstated
from bench.jobs.class_scores import CLASSIFICATION
from bench.jobs.kind import MAPS
from bench.jobs.pretrain.spec import Probing
from bench.nets import catalog
from bench.plan.arm import Arm
from bench.plan.cohorts import Cohorts
from bench.plan.mixing import Read
from bench.protocol import Pretrain, mixture
from bench.protocol.sections import Finetune, OnlineProbe


@contextmanager
def of_probe(key: str) -> Iterator[None]:
    """Say of what is refused inside that it is stated by a key of the probe."""
    try:
        yield
    except BenchError as error:
        stated = error.key if isinstance(error, Misstated) else key
        named = stated if stated in OnlineProbe.__dataclass_fields__ else key
        raise Misstated(f"probe.{named}", str(error)) from None


def probing(
    cohorts: Cohorts, arm: Arm, probe: OnlineProbe, reads: Sequence[Read], steps: int | None
) -> Probing:
    """Return what a pretraining is told of its probe.

    Args:
        cohorts: the data sets on this machine.
        arm: whose pretraining it is.
        probe: as the protocol states it.
        reads: what it reads.
        steps: its budget, where known.

    Raises:
        Misstated: a data set that is unknown, has no labels or is not divided here, too few patients, fewer
            steps than between two looks, a level that the encoder lacks, intensities of classes.
    """
    if steps is not None and probe.every > steps:
        with of_probe("every"):
            raise BenchError(
                f"is {probe.every} steps, but the pretraining has only {steps}; use at most {steps}"
            )
    with of_probe("levels"):
        catalog.check_levels(arm.pretrained.network, probe.levels or (), "levels")
    with of_probe("dataset"):
        dataset = cohorts.dataset(probe.dataset)
        if not dataset.labels or dataset.task not in (MAPS, CLASSIFICATION):
            raise BenchError(
                f"data set {probe.dataset!r} has no label maps and no classes; use another data set"
            )
        data = _training_parts(cohorts, arm, probe.dataset, reads)
        cases = cohorts.cases(probe.dataset)
    if probe.intensity and dataset.task != MAPS:
        with of_probe("intensity"):
            raise BenchError("works only for segmentation, not for classification; leave it out")
    if cases is not None:
        with of_probe("patients"):
            _check_patients(cohorts, probe, data, cases)
    return Probing(
        data=tuple(item for item, _ in data),
        task=dataset.task,
        classes=max(dataset.labels) + 1,
        patients=probe.patients,
        every=probe.every,
        ignore=dataset.void,
        levels=probe.levels,
        intensity=probe.intensity,
    )


def _check_patients(
    cohorts: Cohorts,
    probe: OnlineProbe,
    data: Sequence[tuple[Entry, Fold | None]],
    cases: Sequence[Case],
) -> None:
    """Refuse too few patients, one class alone among those that fit, and cases that cannot be used."""
    dataset = cohorts.dataset(probe.dataset)
    selections = [case_filter.selected(cases, item, dataset, fold, 0) for item, fold in data]
    usable = case_filter.in_all(selections)
    fitted, scored = case_filter.halves(usable, probe.dataset, probe.patients)
    read = [case for case in usable if case.patient in {*fitted, *scored}]
    cohorts.check_usable(probe.dataset, read)
    classes = {case.label for case in read if case.patient in fitted}
    if dataset.task == CLASSIFICATION and len(classes) < 2:
        raise BenchError(
            f"the {len(fitted)} patients on which the probe is fitted all have the same class; use more patients"
        )


def recipe(section: Pretrain, probe: OnlineProbe) -> str | Recipe:
    """Return how the probe's data set is prepared: as stated, as for the pretraining, or by its default."""
    of_mixture = [m.recipe for m in mixture.parts(section) if m.dataset == probe.dataset]
    return probe.recipe or next(iter(of_mixture), section.recipe) or "default"


def _of_section(cohorts: Cohorts, section: Finetune) -> Iterator[tuple[Entry, Fold | None]]:
    """Yield the training part of each fold that a section runs."""
    target = cohorts.target(section)
    for fold in target.folds:
        if section.folds is None or fold.index in section.folds:
            yield Entry(**vars(target.part(fold, "train")), labelled=True), fold


def _training_parts(
    cohorts: Cohorts, arm: Arm, name: str, reads: Sequence[Read]
) -> list[tuple[Entry, Fold | None]]:
    """Return the training part of every fold by which the protocol divides a data set.

    Of a data set that is pretrained on alone, what its first entry of the mixture may read.
    """
    sections = [section for section in arm.protocol.finetune if section.dataset == name]
    if sections:
        every = [part for section in sections for part in _of_section(cohorts, section)]
        return [part for number, part in enumerate(every) if part not in every[:number]]
    for read in reads:
        if read.data.dataset == name:
            entry = replace(
                read.data,
                labelled=True,
                take="",
                task=None,
                group=None,
                unlabelled=False,
                classes=0,
            )
            return [(entry, read.fold)]
    raise BenchError(
        f"the training patients of data set {name!r} are not known, because this protocol neither fine-tunes "
        "nor pretrains on this data set; use a data set of this protocol"
    )
