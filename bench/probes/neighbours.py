"""k nearest neighbours by cosine similarity."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize, one_hot

CHUNK = 1 << 12  # samples that are compared with the bank at once


def shares(features: Tensor, bank: Tensor, classes: Tensor, count: int, k: int) -> Tensor:
    """Return which share of its nearest neighbours is of each class, (n, count).

    Args:
        features: (n, d).
        bank: (m, d) features of labelled samples.
        classes: (m,) theirs, integers from 0 on; where ``count`` is 1, numbers whose mean is returned.
        count: classes.
        k: neighbours, by cosine similarity; of a smaller bank all.
    """
    bank = normalize(bank, dim=1)
    votes = []
    for rows in features.split(CHUNK):
        near = (normalize(rows, dim=1) @ bank.T).topk(min(k, len(bank)), dim=1).indices
        labels = classes[near]
        each = labels[..., None] if count == 1 else one_hot(labels.long(), count)
        votes.append(each.to(features.dtype).mean(1))
    return torch.cat(votes)


def spread(total: int, most: int) -> Tensor:
    """Return the indices of at most so many samples, evenly spread over all: no draw, no seed."""
    return torch.arange(total) if total <= most else torch.arange(most) * total // most
