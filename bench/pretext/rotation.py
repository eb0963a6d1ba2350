"""Quarter turns of whole batches (B, C, X, Y, Z) as classes to be told apart, on slices and on volumes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from bench.augment.draw import per_sample
from bench.data.reader import Volume
from bench.errors import BenchError
from bench.method import Arrays, Batch, MethodParams, Triple
from bench.nets import Encoder, Network
from bench.pretext.heads import Classifier, Pool, kept, vectors, width_of
from bench.pretext.losses import classified
from bench.ranges import Count, Part, Share
from bench.typed import sparse

TRIES = 8  # crops looked at before the fullest of them is taken

Turn = tuple[int, int]  # axis (0, 1, 2 for x, y, z) and how many quarters

# of a slice; class k is np.rot90(slice, k)
FLAT: tuple[Turn, ...] = ((2, 0), (2, 1), (2, 2), (2, 3))
# Taleb et al. 2020, Section 3.4: nothing; then 90, 180 and 270 degrees about x, about y, about z
TEN: tuple[Turn, ...] = ((0, 0), *((axis, k) for axis in range(3) for k in (1, 2, 3)))
# each side of a cube comes to lie above; then turned about z, these are all 24 turns of a cube
SIDES: tuple[Turn, ...] = ((0, 0), (0, 1), (0, 2), (0, 3), (1, 1), (1, 3))


@dataclass(frozen=True)
class Named(MethodParams):
    """Which crops are read, and which head predicts their rotation. A method's ``Params`` inherit these."""

    foreground: Share = 0.01  # assumed: least share of voxels above the scan's lowest value
    # linear = on the last map's mean; mlp = of the whole map, flattened (Taleb et al.'s code)
    head: Literal["linear", "mlp"] = sparse("linear")
    hidden: tuple[Count, ...] = sparse((2048, 1024))  # Taleb et al.'s code, of mlp
    dropout: Part = sparse(0.5)  # Taleb et al.'s code, of mlp

    def read(self, volume: Volume, crop: Triple, rng: np.random.Generator) -> Arrays:
        """Read a crop, drawn again (8 times at most) while it is nearly empty; then the fullest."""
        fullest = volume.random_crop(crop, rng)
        for _ in range(TRIES - 1):
            most = _share(fullest, volume.lowest)
            if most >= self.foreground:
                break
            other = volume.random_crop(crop, rng)
            fullest = other if _share(other, volume.lowest) > most else fullest
        return {"crop": fullest}

    def with_dropout(self, made: Batch, generator: torch.Generator) -> Batch:
        """Add what the head's dropout keeps to ``views`` and ``label`` (B, T): ``kept`` (B, T, ...)."""
        if self.head == "linear" or not self.dropout:
            return made
        rows, turns = made["label"].shape
        drawn = kept(rows * turns, self.hidden, self.dropout, generator)
        return {**made, "kept": drawn.unflatten(0, (rows, turns))}

    @property
    def across_batch(self) -> bool:
        """The batch norm of ``mlp`` takes its statistics over the batch."""
        return self.head == "mlp"

    def check_batch(self, network: str, crop: Triple, rows: int, processes: int) -> None:
        """Refuse a single crop where the head has batch norm."""
        if self.head == "mlp" and rows * self.crops_per_sample < 2:
            raise BenchError(
                "head: mlp has batch norm, for which one crop is too few; use a batch of 2"
            )

    @property
    def pool(self) -> Pool:
        """What the head reads of the last map."""
        return "mean" if self.head == "linear" else "flatten"

    def made_head(self, network: Network, classes: int) -> nn.Module:
        """Return the head around a network's encoder."""
        width = width_of(network, self.pool)
        return (
            nn.Linear(width, classes)
            if self.head == "linear"
            else Classifier(width, self.hidden, classes)
        )

    def named(self, encoder: Encoder, head: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy of the turns, mean over all turned crops, and their accuracy.

        Args:
            encoder: of the network.
            head: from ``made_head``.
            batch: ``views`` (B, T, C, X, Y, Z), ``label`` (B, T) and, where the head has dropout, ``kept``.
        """
        seen = vectors(encoder, batch["views"].flatten(0, 1), self.pool)
        logits = head(seen, batch["kept"].flatten(0, 1)) if "kept" in batch else head(seen)
        total, accuracy = classified(logits, batch["label"].flatten())
        return {
            "total": total,
            "accuracy": accuracy,
            "chance": accuracy.new_full((), 1 / logits.shape[1]),
        }


def turn(x: Tensor, axis: int, quarters: int) -> Tensor:
    """Turn a batch about an axis; voxels are moved, none is interpolated.

    About z as ``torch.rot90(..., quarters, (x, y))``; x and y follow by cyclic exchange.
    """
    return torch.rot90(x, quarters, (2 + (axis + 1) % 3, 2 + (axis + 2) % 3))


def all_turns(x: Tensor, turns: Sequence[Turn]) -> Tensor:
    """Return every turn of every sample, (B, len(turns), C, X, Y, Z)."""
    return torch.stack([turn(x, *t) for t in turns], dim=1)


def turned(x: Tensor, turns: Sequence[Turn], which: Tensor) -> Tensor:
    """Return each sample under its own one of ``turns``: indices ``which``, (B,)."""
    result = x
    for number, t in enumerate(turns):
        result = torch.where(per_sample(which == number), turn(x, *t), result)
    return result


def of_cube(x: Tensor, classes: Literal[10, 24], which: Tensor) -> Tensor:
    """Return each cube under its own turn: one of ``TEN``, or of all 24.

    Args:
        x: (B, C, n, n, n).
        classes: 10, or 24, of which number 4 s + k is ``SIDES[s]``, then ``FLAT[k]``.
        which: (B,).
    """
    if classes == len(TEN):
        return turned(x, TEN, which)
    spins = len(FLAT)
    return turned(turned(x, SIDES, which // spins), FLAT, which % spins)


def _share(image: np.ndarray, lowest: float) -> float:
    return float((image > lowest).mean())
