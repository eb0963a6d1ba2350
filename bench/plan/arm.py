"""One row of one protocol on one fold: what the planner expands."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from bench.data import split as splits
from bench.jobs.pretrain.spec import MethodSpec
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
        return once(
            self.protocol,
            "method",
            0,
            self.row,
            lambda: MethodSpec.of(self.row.method, self.row.params),
        )

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
    """Whose labels one fine-tuning sees: a share of an arm's training patients, by the ranking of a seed."""

    percent: int
    seed: int
    patients: tuple[str, ...]  # none where nobody knows them
