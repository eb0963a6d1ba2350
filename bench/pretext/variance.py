"""Variance, invariance and covariance of embeddings, and cells of two maps matched for them.

Bardes, Ponce & LeCun: VICReg, ICLR 2022, Eqs. 1 to 5, and VICRegL, NeurIPS 2022. Statistics are over the
samples of all processes (axis 0), those of a map apart for each place (the axes between first and last).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from bench import distributed
from bench.pretext.losses import full_precision

EPS = 1e-4  # under the root: its gradient stays finite where all samples are alike


class Terms(NamedTuple):
    """The three parts of the criterion, without their weights."""

    invariance: Tensor
    variance: Tensor
    covariance: Tensor

    def total(self, weights: tuple[float, float, float]) -> Tensor:
        """Return the weighted sum; ``weights`` in the order of the fields."""
        i, v, c = weights
        return i * self.invariance + v * self.variance + c * self.covariance


@full_precision
def variance(z: Tensor) -> Tensor:
    """Return the mean over places and channels of max(0, 1 - sqrt(var + EPS)), unbiased variance.

    Args:
        z: (N, ..., C) embeddings of N samples, 2 or more.
    """
    return functional.relu(1 - (z.var(dim=0) + EPS).sqrt()).mean()


@full_precision
def covariance(z: Tensor) -> Tensor:
    """Return the mean over places of the sum of squared covariances of different channels, over C.

    With fewer samples than channels by way of the N x N products, which hold the same sum of squares:
    the C x C matrix of a wide embedding is never made.

    Args:
        z: (N, ..., C) embeddings of N samples, 2 or more.
    """
    n, c = len(z), z.shape[-1]
    centred = (z - z.mean(dim=0)).reshape(n, -1, c).transpose(0, 1)  # places, samples, channels
    if n < c:
        products, own = centred @ centred.mT, centred.square().sum(1)
    else:
        products = centred.mT @ centred
        own = products.diagonal(dim1=1, dim2=2)
    off = products.square().sum((1, 2)) - own.square().sum(1)
    return off.mean() / ((n - 1) ** 2 * c)


@full_precision
def criterion(a: Tensor, b: Tensor) -> Terms:
    """Compare embeddings (N, ..., C) of two views: MSE, and the mean of both sides' other terms.

    The mean squared error is this process's own; means of it over processes are the whole batch's.
    """
    one, two = distributed.gather(a), distributed.gather(b)
    spread = (variance(one) + variance(two)) / 2
    return Terms(functional.mse_loss(a, b), spread, (covariance(one) + covariance(two)) / 2)


@torch.no_grad()
@full_precision
def nearest(source: Tensor, candidates: Tensor, keep: int | None = None) -> tuple[Tensor, Tensor]:
    """Find the nearest candidate of every source cell, and keep the closest of these pairs.

    Euclidean distance; several cells may share a candidate, and ties go to the lower index.

    Args:
        source: (B, n, D) coordinates or features of n cells.
        candidates: (B, m, D).
        keep: pairs per sample, all if None or more than n.

    Returns:
        Indices (B, k) of the source cells, ascending, and of their candidates.
    """
    exact = "donot_use_mm_for_euclid_dist"  # a matrix product would round equal distances apart
    distance, candidate = torch.cdist(source, candidates, compute_mode=exact).min(dim=2)
    order = distance.argsort(dim=1, stable=True)
    kept = order[:, :keep].sort(dim=1).values
    return kept, candidate.gather(1, kept)


def matched(
    one: Tensor,
    two: Tensor,
    places: tuple[Tensor, Tensor] | None,
    keep: int | None = None,
    pool: bool = False,
) -> Terms:
    """Compare the cells of a map with those of another view's that are nearest to them.

    Args:
        one: (B, n, C) embedded cells; each looks for its match.
        two: (B, m, C) those of the other view.
        places: (B, n, D) and (B, m, D) where the cells lie: nearest in space; by features if None.
        keep: closest pairs per sample that count. Rank among the kept, in the map's order, is the place
            whose statistics are taken, as in the authors' code.
        pool: take one statistic over all pairs of all samples instead.
    """
    source, candidates = (one, two) if places is None else places
    i, j = nearest(source, candidates, keep)
    a, b = _take(one, i), _take(two, j)
    return criterion(a.flatten(0, 1), b.flatten(0, 1)) if pool else criterion(a, b)


def local(
    one: Tensor,
    two: Tensor,
    places: tuple[Tensor, Tensor],
    keep: tuple[int, int],
    all_features: bool = False,
    pool: bool = False,
) -> Terms:
    """Return the local criterion: matches in space plus matches in features, both ways and in both orders.

    Args:
        one: (B, n, C) embedded cells of the first view.
        two: (B, m, C) of the second.
        places: where they lie, (B, n, D) and (B, m, D).
        keep: pairs that count from the first view of an ordered pair to the second, and back.
        all_features: do all matches by features count?
        pool: as for ``matched``.
    """
    here, there = places
    sides = ((one, two, (here, there)), (two, one, (there, here)))
    found = []
    for a, b, at in sides:  # each direction is the first of one ordered pair and the second of the other
        for count in keep:
            by_features = None if all_features else count
            found += [matched(a, b, at, count, pool), matched(a, b, None, by_features, pool)]
    return Terms(*(torch.stack(terms).sum() / 4 for terms in zip(*found, strict=True)))


def _take(cells: Tensor, index: Tensor) -> Tensor:
    return cells.gather(1, index[:, :, None].expand(-1, -1, cells.shape[2]))
