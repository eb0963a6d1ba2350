"""One row of one protocol on one fold: what the planner expands."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from bench.data import split as splits
from bench.data.parts import Labelled
from bench.errors import Misstated
from bench.jobs.kind import MAPS
from bench.jobs.pretrain.spec import MethodSpec
from bench.plan import specs
from bench.plan.cohorts import Target
from bench.protocol import (
    Control,
    Finetune,
    Net,
    Pretrain,
    Protocol,
    Row,
    labelled,
    pretrain_of,
    pretrained_net,
    tuned_net,
)
from bench.protocol.model import once


@dataclass(frozen=True)
class Arm:
    """A row, its network, how it is fine-tuned, on which data, by which fold.

    ``control`` says which of a row's controls it is, if one.
    """

    protocol: Protocol
    name: str
    row: Row
    tuned: Finetune
    target: Target
    fold: splits.Fold
    index: int  # of the fine-tuning section
    control: Control | Literal[""] = ""

    @cached_property
    def section(self) -> str:
        """Return what the records call the fine-tuning section."""
        return self.protocol.sections[self.index]

    @cached_property
    def method(self) -> MethodSpec:
        """Return the row's method with its parameters.

        Raises:
            BenchError: as ``Method.make_params``.
        """
        row = self.row
        return once(self.protocol, "method", 0, row, lambda: MethodSpec.of(row.method, row.params))

    @cached_property
    def before(self) -> Pretrain:
        """Return the pretraining behind it.

        Raises:
            BenchError: the protocol has none.
        """
        return pretrain_of(self.protocol, self.row, self.index)

    @cached_property
    def pretrained(self) -> Net:
        """Return the network that is pretrained, with the crop that it reads then."""
        return pretrained_net(self.protocol, self.row, self.index)

    @cached_property
    def net(self) -> Net:
        """Return the network that is fine-tuned."""
        return tuned_net(self.protocol, self.row, self.tuned)

    @property
    def label(self) -> str:
        """Return what the records call the row."""
        return labelled(self.name, self.control)


@dataclass(frozen=True)
class Labels:
    """The patients of one fine-tuning: those of a label fraction, drawn once by ``bench.data.split.drawn``.

    No patient is listed where the data is not here and no registered list names them.
    """

    seed: int
    data: Labelled  # as the job's spec says it
    train: tuple[str, ...] = ()
    val: tuple[str, ...] = ()
    test: tuple[str, ...] = ()

    @classmethod
    def of(cls, arm: Arm, percent: int, seed: int, inner: tuple[int, int] | None = None) -> Labels:
        """Draw the patients of an arm's label fraction; of an ``inner`` fold those that train and validate in it.

        Raises:
            BenchError: as ``bench.data.split.drawn``; a head that the data set has no labels for; more
                neighbours than labelled cases.
        """
        target, tuned = arm.target, arm.tuned
        head = specs.head(target, tuned)
        data = Labelled(
            **vars(target.division(arm.fold)),
            task=target.task,
            fraction=percent,
            holdout=tuned.holdout,
            n_train=None,
            inner=inner,
            regions=head.regions,
            paint=head.paint,
            ignore=target.dataset.void,
        )
        if not target.present and not arm.fold.train:
            return cls(seed, data)
        full = tuned.val == "full"
        sides = {s: tuple(splits.drawn(arm.fold, data, s, seed, full=full)) for s in splits.SIDES}
        labels = cls(seed, data, **sides)
        _check_neighbours(target, tuned, labels)
        return (
            replace(labels, data=replace(data, n_train=labels.labelled))
            if target.present
            else labels
        )

    @property
    def labelled(self) -> int:
        """Return how many training patients have labels, with those of them that validate."""
        own = self.data.holdout or self.data.inner
        return len(self.train) + (len(self.val) if own else 0)

    @property
    def counts(self) -> tuple[int, ...]:
        """Return how many patients train, validate and are tested."""
        return len(self.train), len(self.val), len(self.test)


def _check_neighbours(target: Target, tuned: Finetune, labels: Labels) -> None:
    """Refuse nearest neighbours that are all labelled cases: every prediction would be the same."""
    probes_cases = tuned.evaluation == "probe" and target.task != MAPS and target.present
    if not probes_cases or tuned.probe.kind != "knn":
        return
    cases, k = target.count(labels.train), tuned.probe.k
    if k >= cases:
        raise Misstated(
            "probe.k",
            f"all {cases} labelled cases at {labels.data.fraction} % of the labels would be among the {k} nearest, "
            f"so every prediction would be the same; use less than {cases}",
        )
