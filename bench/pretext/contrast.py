"""Contrast of queries with the keys of a slow copy: negatives from a queue, or from the batch alone."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from bench.pretext.losses import cosines, full_precision

TIE = 1e-6  # of a cosine: rounding must not make the own key the nearest where all are alike


@full_precision
def queue_contrast(
    query: Tensor, key: Tensor, queue: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Return InfoNCE against a queue of negatives, and the share of queries nearest to their own key.

    Mean of -log(exp(q.k / t) / (exp(q.k / t) + sum over the queue of exp(q.n / t))), unit vectors.
    He et al., CVPR 2020, Eq. 1. A tie is not near: a collapsed batch finds nothing.

    Args:
        query: (N, C).
        key: (N, C), row i belongs with row i of ``query``.
        queue: (K, C) unit vectors.
        temperature: t.
    """
    q, k = functional.normalize(query, dim=1), functional.normalize(key, dim=1)
    own, other = (q * k).sum(dim=1), q @ queue.t()
    scores = torch.cat([own[:, None], other], dim=1) / temperature
    first = torch.zeros(len(q), dtype=torch.long, device=q.device)
    nearest = (own > other.amax(dim=1) + TIE).to(q.dtype).mean()
    return functional.cross_entropy(scores, first), nearest


@full_precision
def batch_contrast(query: Tensor, key: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Return 2 t times InfoNCE with the batch's other keys as negatives, and how often the own is nearest.

    Chen, Xie & He, ICCV 2021, Algorithm 1. Ties go to the first, so a collapsed batch finds one in N.

    Args:
        query: (N, C).
        key: (N, C), row i belongs with row i of ``query``.
        temperature: t.
    """
    scores = cosines(query, key) / temperature
    own = torch.arange(len(query), device=query.device)
    nearest = (scores.argmax(dim=1) == own).to(scores.dtype).mean()
    return 2 * temperature * functional.cross_entropy(scores, own), nearest
