"""What a fine-tuning is tested on: its own data set's test patients, and other data sets."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bench.data import split as splits
from bench.errors import Misstated
from bench.jobs.kind import MAPS
from bench.jobs.scoring import Scoring
from bench.plan.arm import Arm
from bench.plan.cohorts import Cohorts, Target, recipe_of
from bench.plan.initialisation import check_embeddings
from bench.plan.pretrainings import Pretrainings
from bench.protocol import Protocol
from bench.protocol.external import relabelled
from bench.protocol.sections import External, Initial


@dataclass(frozen=True)
class Test:
    """Patients that a fine-tuning's weights predict."""

    section: str  # of the records
    target: Target
    fold: splits.Fold  # whose test patients
    prepare: str  # job
    relabel: tuple[tuple[int, int], ...] = ()  # predicted label, label of the target
    guard: str | None = None  # job without which nothing is predicted


def tests_of(arm: Arm, pretrainings: Pretrainings, cohorts: Cohorts) -> list[Test]:
    """Return the tests of an arm's fine-tunings, that of its own data set first.

    Raises:
        BenchError: another data set that these weights cannot be tested on.
    """
    protocol = arm.protocol
    prepare = pretrainings.prepare(protocol, arm.target.name, arm.tuned.recipe)
    tests = [Test(arm.section, arm.target, arm.fold, prepare)]
    for index in covered(protocol, arm.index)[1:]:
        section = protocol.finetune[index]
        assert section.external is not None
        with protocol.at(stated(protocol, index)):
            target = cohorts.target(section)
            _check_alike(arm, target)
            if arm.row.init:
                start = Initial.of(arm.row.init)
                check_embeddings(start, protocol.folder, target, target.folds[0])
            recipe = recipe_of(section, arm.tuned, cohorts)
            job = pretrainings.prepare(protocol, target.name, recipe)
            pretrainings.check_channels(prepare, job)
            labels, fold = _labels(target, arm.target, section.external), target.folds[0]
            guard = pretrainings.guard_external(
                arm, prepare, job, target.part(fold, "test"), target.count(fold.test)
            )
            tests.append(Test(protocol.sections[index], target, fold, job, labels, guard))
    return tests


def _check_alike(arm: Arm, target: Target) -> None:
    """Refuse a data set of another task, or weights of several folds."""
    section = arm.protocol.finetune[arm.index]
    if target.task != arm.target.task:
        raise Misstated(
            "dataset",
            f"data set {target.name!r} is a {target.task} and {arm.target.name!r} a {arm.target.task}; "
            "use a data set of the same task",
        )
    if target.task == "classification" and target.dataset.labels != arm.target.dataset.labels:
        raise Misstated(
            "dataset",
            f"data sets {target.name!r} and {arm.target.name!r} have different classes; use one with the same",
        )
    trained = {*arm.fold.train, *arm.fold.val}
    shared = sorted(trained & {p for fold in target.folds for p in fold.test})
    if target.name == arm.target.name and shared:
        raise Misstated(
            "dataset",
            f"{len(shared)} test patients of {target.name!r} also train or validate, the first is {shared[0]}; leave "
            "them out by 'where' or 'exclude', or use another data set",
        )
    once = "test_on scores each patient once, and split {!r} of data set {!r} has several folds"
    if len(target.folds) > 1:
        raise Misstated(
            "split",
            f"{once.format(target.folds[0].name, target.name)}; leave 'split' out to test all of its "
            "patients, or use a split of one fold",
        )
    if len(arm.target.folds_of(section)) > 1:
        with arm.protocol.at(("finetune", str(arm.index))):
            raise Misstated(
                "split",
                f"{once.format(section.split, section.dataset)}; add 'folds: [0]' to this section, "
                "or use a split of one fold",
            )


def _labels(target: Target, trained: Target, external: External) -> tuple[tuple[int, int], ...]:
    if target.task != MAPS:
        if external.labels:
            raise Misstated("labels", f"a {target.task} has no label maps; leave it out")
        return ()
    labels = relabelled(target.dataset, trained.dataset, external.labels)
    return tuple(sorted((predicted, tested) for tested, predicted in labels.items()))


def scored(scoring: Scoring, external: External, target: Target, trained: Target) -> Scoring:
    """Return a scoring of another data set that judges what the weights predict, and nothing else."""
    if target.task != MAPS:
        return scoring
    values = set(relabelled(target.dataset, trained.dataset, external.labels))
    return replace(
        scoring,
        labels={v: name for v, name in scoring.labels.items() if int(v) in values},
        regions={name: r for name, r in scoring.regions.items() if {*r} <= values},
    )


def stated(protocol: Protocol, index: int) -> tuple[str, ...]:
    """Return the keys under which a protocol states a section."""
    trained = protocol.trained_in(index)
    if trained == index:
        return "finetune", str(index)
    number = covered(protocol, trained).index(index) - 1
    return "finetune", str(trained), "test_on", str(number)


def covered(protocol: Protocol, index: int) -> list[int]:
    """Return a section and those that test its fine-tunings on other data sets."""
    return [i for i in range(len(protocol.finetune)) if protocol.trained_in(i) == index]
