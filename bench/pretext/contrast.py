"""Contrast of views with each other, or with the keys of a slow copy in a queue or in the batch alone.

Cosines are taken in double precision: divided by a temperature of 0.07, the last digit of a float32 cosine is
1e-6 of the loss, and in a loss of thousandths, taken as the difference of two numbers near 14, a thousandth.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from bench import distributed
from bench.pretext import nuisance
from bench.pretext.losses import NOTHING, cosines, full_precision, info_nce, nt_xent

TIE = 1e-6  # of a cosine: rounding must not make the own key the nearest where all are alike
EPS = 1e-5  # of PCRL's NCE


def view_contrast(
    z: Tensor, batch: dict[str, Tensor], temperature: float, group: Tensor | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return NT-Xent of the views of all processes, and the terms that show whether it is learned.

    Args:
        z: (2 B, C) embeddings, both of a sample one after the other.
        batch: its ``views`` and ``origin``.
        temperature: of the softmax.
        group: (B,) whole numbers; samples of one group are no negatives of each other.
    """
    a, b = (distributed.gather(half) for half in z.unflatten(0, (-1, 2)).unbind(1))
    group = None if group is None else distributed.gather(group)
    total, nearest = nt_xent(a, b, temperature, group)
    return total, nuisance.beside(nearest, torch.cat([a, b]), batch, all_views=True, group=group)


@full_precision
def queue_contrast(
    query: Tensor, key: Tensor, queue: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """Return InfoNCE against a queue of negatives, and the share of queries nearest to their own key.

    Mean of -log(exp(q.k / t) / (exp(q.k / t) + sum over the queue of exp(q.n / t))), unit vectors.
    He et al., CVPR 2020, Eq. 1. A tie is not near: a collapsed batch finds nothing.

    Args:
        query: (N, C).
        key: (N, C), row i belongs with row i of ``query``.
        queue: (K, C) unit vectors.
        temperature: t.
    """
    own, other = queue_cosines(query, key, queue)
    return info_nce(own / temperature, other / temperature).to(query.dtype), won(own, other).to(
        query.dtype
    )


@full_precision
def queue_cosines(query: Tensor, key: Tensor, queue: Tensor) -> tuple[Tensor, Tensor]:
    """Return the cosines of queries (N, C) to their own keys, (N,), and to unit vectors (K, C), (N, K)."""
    q, k = (functional.normalize(x.double(), dim=1) for x in (query, key))
    return (q * k).sum(dim=1), q @ queue.t().double()


def won(own: Tensor, other: Tensor) -> Tensor:
    """Return the share of rows whose own cosine (N,) is above all others (N, K); a tie is not."""
    return (own > other.amax(dim=1) + TIE).to(own.dtype).mean()


@torch.no_grad()
def typical(own: Tensor, other: Tensor) -> Tensor:
    """Return the mean of exp(score) over own (N,) and other (N, K) keys, of all processes."""
    return distributed.mean(torch.cat([own[:, None], other], dim=1).exp().mean())


def nce(own: Tensor, other: Tensor, scale: Tensor, samples: int) -> Tensor:
    """Return noise-contrastive estimation against a queue, as in the code of PCRL (ICCV 2021).

    With p = exp(score) / ``scale`` and c = K / samples, 1e-5 in each denominator: mean over rows of
    -log(p_own / (p_own + c)) - sum over the queue of log(c / (p + c)).

    Args:
        own: (N,) cosines over the temperature.
        other: (N, K), those to the queue.
        scale: makes their exponentials probabilities.
        samples: of the data.
    """
    noise = other.shape[1] / samples
    mine, theirs = own.exp() / scale, other.exp() / scale
    found, missed = (mine / (mine + noise + EPS)).log(), (noise / (theirs + noise + EPS)).log()
    return -(found + missed.sum(dim=1)).mean()


@full_precision
def batch_contrast(query: Tensor, key: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Return 2 t times InfoNCE with the batch's other keys as negatives, and how often the own is nearest.

    Chen, Xie & He, ICCV 2021, Algorithm 1. Ties go to the first, so a collapsed batch finds one in N.

    Args:
        query: (N, C).
        key: (N, C), row i belongs with row i of ``query``.
        temperature: t.
    """
    scores = cosines(query.double(), key.double()) / temperature
    own = torch.arange(len(query), device=query.device)
    nearest = (scores.argmax(dim=1) == own).to(query.dtype).mean()
    itself = torch.eye(len(query), dtype=torch.bool, device=query.device)
    loss = info_nce(scores.diagonal(), scores.masked_fill(itself, NOTHING))
    return (2 * temperature * loss).to(query.dtype), nearest
