"""One row of one protocol on one fold: what the planner expands."""

from __future__ import annotations

from dataclasses import dataclass

from bench.data import split as splits
from bench.plan.here import Target
from bench.protocol import Finetune, Net, Protocol, Row


@dataclass(frozen=True)
class Line:
    """A row, its network, how it is fine-tuned, on which data, by which fold."""

    protocol: Protocol
    name: str
    row: Row
    net: Net
    tuned: Finetune
    target: Target
    fold: splits.Fold
