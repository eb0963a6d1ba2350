"""Classes in an order (grades): one sigmoid for each, "is it at least this grade?".

Frank and Hall 2001 (ECML, "A Simple Approach to Ordinal Classification") ask K - 1 such questions of K
grades. Taleb et al. ask K, as the first, "at least the lowest?", is always answered yes: targets 11000 for
grade 1 of 5, binary cross-entropy over all five, and the grade is how many sigmoids exceed one half, less
one (HealthML/self-supervised-3d-tasks @ecc86ef: data/kaggle_retina_data.py, utils/metrics.py). That is what
is done here; the first question counts the others (K - 1) / K and adds a term that falls to 0.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

ORDINAL = "ordinal"  # the head's name in a recipe


def loss(logits: Tensor, label: Tensor) -> Tensor:
    """Return the mean binary cross-entropy of logits (B, K) and grades (B,), 0 to K - 1."""
    grades = torch.arange(logits.shape[1], device=logits.device)
    targets = (label[:, None] >= grades).to(logits.dtype)
    return functional.binary_cross_entropy_with_logits(logits, targets)


def probabilities(at_least: np.ndarray) -> np.ndarray:
    """Return the probability of each grade, float64 (K,), from those of being at least that grade, (K,).

    Nothing keeps K sigmoids from rising with the grade. Sorted, they fall, and as many exceed one half
    as before; the largest stands for the question that is always answered yes.
    """
    falling = np.sort(np.asarray(at_least, np.float64))[::-1]
    tail = np.concatenate([[1.0], falling[1:], [0.0]])
    return tail[:-1] - tail[1:]


def graded(scores: np.ndarray) -> np.ndarray:
    """Return the grade of each case, (N,), from the probabilities of all, (N, K): the median.

    The number of sigmoids above one half, less one; 0 where none is. The likeliest grade may be another:
    of 0.4, 0.3, 0.3 it is 0, the median 1.
    """
    at_least = np.cumsum(scores[:, ::-1], axis=1)[:, ::-1]
    return (at_least[:, 1:] > 0.5).sum(1)
