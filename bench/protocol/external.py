"""``test_on``: sections of the tables in which another section's weights are tested on another data set."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bench.data.split import EXTERNAL
from bench.dataset import Dataset
from bench.errors import Misstated, unknown
from bench.protocol.sections import External, Finetune, Named, TestedOn


def sections(stated: tuple[Finetune, ...], names: tuple[str, ...]) -> tuple[Finetune, ...]:
    """Return the stated sections, and after them one for each data set of their ``test_on``."""
    added = []
    for index, section in enumerate(stated):
        for tested in section.test_on:
            external = External(index, tested.labels, tested.recipe)
            name, split = f"{names[index]} on {tested.dataset}", tested.split or EXTERNAL
            added.append(_tested_as(section, tested, external=external, name=name, split=split))
    return (*stated, *added)


def _tested_as(section: Finetune, other: TestedOn | Finetune, **stated: Any) -> Finetune:
    """Return how a section is trained, with what concerns its own data set alone as for another one."""
    return replace(
        section,
        dataset=other.dataset,
        title=other.title,
        where=other.where,
        exclude=other.exclude,
        test_on=(),
        track=None,
        anchor=None,
        tune=None,
        submit={},
        regions={},
        folds=None,
        **stated,
    )


def overridden(tuned: Finetune, section: Finetune) -> Finetune:
    """Return a section of another data set with a row's overrides.

    Args:
        tuned: the section that is trained, with the row's overrides.
        section: the one of the other data set.
    """
    stated = {key: getattr(section, key) for key in ("external", "name", "split")}
    return _tested_as(tuned, section, **stated)


def relabelled(tested: Dataset, trained: Dataset, labels: Named) -> dict[int, int]:
    """Return by label value of the data set that is tested the value that the weights predict for it.

    Args:
        tested: a segmentation.
        trained: likewise.
        labels: as ``test_on`` states them; empty for labels of one name.

    Raises:
        Misstated: a label that a data set has not, two that are predicted as one, or nothing in common.
    """
    stated = labels or {
        name: name for name in tested.labels.values() if name in trained.labels.values()
    }
    if not stated:
        raise Misstated(
            "labels",
            f"no label of data set {tested.title!r} ({_listed(tested)}) has the name of one of "
            f"{trained.title!r} ({_listed(trained)}); write which belong together: "
            "'labels: {LABEL OF THIS ONE: LABEL OF THE OTHER}'",
        )
    values = {value_of(tested, mine): value_of(trained, other) for mine, other in stated.items()}
    if len({*values.values()}) < len(stated) or len(values) < len(stated):
        raise Misstated("labels", "two labels belong to the same label; name each label once")
    return values


def value_of(dataset: Dataset, label: str | int) -> int:
    """Return the value of a label of a data set, by its name or its value.

    Raises:
        Misstated: it has no such label.
    """
    names = {name: value for value, name in dataset.labels.items()}
    text = str(label)
    if text in names:
        return names[text]
    if text.isdecimal() and int(text) in dataset.labels:
        return int(text)
    wanted = [*names, *map(str, dataset.labels)]
    raise Misstated("labels", unknown(f"label of data set {dataset.title!r}", text, wanted))


def _listed(dataset: Dataset) -> str:
    return ", ".join(f"{value} {name}" for value, name in dataset.labels.items())
