"""Keys of past batches, kept as negatives for later ones."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn import functional


class Queue(nn.Module):
    """A ring of unit vectors, random at first, in which the oldest are replaced first.

    It is part of ``state_dict``, so that a run that resumes goes on with the same negatives.

    Args:
        size: how many vectors.
        width: of each.
        noted: how many numbers are kept beside each, in ``notes`` (size, noted); -1 beside random vectors.
    """

    keys: Tensor
    notes: Tensor
    at: Tensor

    def __init__(self, size: int, width: int, noted: int = 0) -> None:
        super().__init__()
        self.register_buffer("keys", functional.normalize(torch.randn(size, width), dim=1))
        self.register_buffer("notes", torch.full((size, noted), -1.0))
        self.register_buffer("at", torch.zeros((), dtype=torch.long))  # the slot of the next key

    @torch.no_grad()
    def push(self, keys: Tensor, notes: Tensor | None = None) -> None:
        """Put the directions of ``keys`` (n, width) in place of the n oldest: key i in slot (at + i) % size.

        ``notes`` (n, noted) go with them.

        Of more keys than slots the last stay. Processes stay alike if all are given all rows, in one order.
        """
        size, n = len(self.keys), len(keys)
        newest = functional.normalize(keys[-size:].to(self.keys.dtype), dim=1)
        slots = (self.at + torch.arange(n - len(newest), n, device=self.at.device)) % size
        self.keys[slots] = newest
        if notes is not None:
            self.notes[slots] = notes[-size:].to(self.notes.dtype)
        self.at.copy_((self.at + n) % size)

    def after(self, keys: Tensor) -> Tensor:
        """Return the vectors (size, width) that a ``push`` would leave, without one."""
        later = deepcopy(self)
        later.push(keys)
        return later.keys
