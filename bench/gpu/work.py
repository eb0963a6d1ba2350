"""What a step does, small enough to keep: its operations by kind, size and how much they compute a byte."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import log2
from typing import Literal

# half: products and convolutions in 16 bits; convolution, product: in fp32; memory: all others
Kind = Literal["half", "convolution", "product", "memory"]
Row = tuple[
    str, int, float, float
]  # kind, how many, their operations, the bytes that they read and write


@dataclass
class Work:
    """Operations that are alike are one row: within a factor of 1.4 in size and in operations a byte."""

    _rows: dict[tuple[str, int, int], list[float]] = field(default_factory=dict)

    def add(self, kind: str, flops: float, bytes_: float, count: int = 1) -> None:
        """Count an operation."""
        at = (kind, _half_octave(bytes_), _half_octave(flops / bytes_) if flops and bytes_ else 0)
        row = self._rows.setdefault(at, [0, 0.0, 0.0])
        for i, value in enumerate((count, flops, bytes_)):
            row[i] += value

    def times(self, factor: float) -> Work:
        """Return so many times as much."""
        return Work({at: [factor * value for value in row] for at, row in self._rows.items()})

    def rows(self) -> list[Row]:
        """Return the rows, the largest first."""
        rows = [(at[0], int(n), flops, size) for at, (n, flops, size) in self._rows.items()]
        return sorted(rows, key=lambda row: -row[3])


def _half_octave(x: float) -> int:
    return round(2 * log2(x)) if x > 0 else 0


@dataclass(frozen=True)
class Step:
    """What one step takes, or one batch of windows."""

    most: int  # bytes on the card at any time
    fixed: int  # of them, what does not depend on the batch: weights, gradients, moments
    samples: int  # of a micro-batch, or windows at once: what the others depend on
    weights: int  # bytes of what a job leaves
    work: tuple[Row, ...]  # of the whole step

    @property
    def flops(self) -> float:
        """Return its floating point operations."""
        return sum(flops for _, _, flops, _ in self.work)
