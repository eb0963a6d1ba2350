"""Has an encoder collapsed? How far its embeddings spread, over how many directions, how much on one.

Three kinds of embeddings are to be told apart:

- A point. All samples embed alike, and what is left between them is noise. Noise has no direction of its
  own: it fills all there are. So a fallen spread tells little by itself (a trained encoder may put a large
  common mean under directions that are used well: supervised pretraining that reached a Dice of .83 fell to
  1/28 of its first spread), and a high rank tells little by itself; together they are collapse.
- A line. Samples differ along one direction and hardly along others. An encoder that tells two data sets
  apart and nothing else looks like this, with a spread as wide as ever. Its effective rank may still be 3 to
  7, because singular values count there, and small ones add up; so the variance is asked, their square.
- Several directions, few or many: what an encoder that has learned a handful of classes gives.
"""

from __future__ import annotations

from math import inf

import torch
from torch import Tensor
from torch.nn import functional

from bench.pretext.losses import full_precision, spread

FALLEN = 0.1  # of the first spread
LEAST_STD = 0.02  # noise of a few percent around one point; of use only beside a first spread that was wider
# of the highest rank: random vectors have .9, fresh encoders .7, supervised ones .3
NOISE_RANK = 0.5
POINT = 1e-3  # a spread at which cosines differ in the sixth digit: nothing that single precision can tell
LINE = 0.9  # of the variance on one direction; measured: BYOL telling two data sets apart .94, supervised .75


@full_precision
def effective_rank(z: Tensor) -> Tensor:
    """Return the effective rank of embeddings (N, C), from 1 (one direction) to min(N - 1, C).

    The exponential of the entropy of the singular values, scaled to sum 1, of unit vectors with their mean
    removed: Roy & Vetterli, The effective rank, EUSIPCO 2007, Eq. 3. Garrido et al. (RankMe, ICML 2023) leave
    the mean in; here activations are mostly positive, so that it alone would decide. 1 where all are alike.
    """
    spectrum = _spectrum(z)
    share = spectrum / spectrum.sum().clamp_min(1e-12)
    return (-(share * share.clamp_min(1e-12).log()).sum()).exp()


def directions(z: Tensor) -> Tensor:
    """Return how far the directions of embeddings (N, C) spread: 1 over the whole sphere, 0 at a point."""
    return spread(z) * z.shape[1] ** 0.5


@full_precision
def leading(z: Tensor) -> Tensor:
    """Return the share of the variance of embeddings (N, C) that lies on their first principal direction.

    Of unit vectors with their mean removed, as for ``effective_rank``; 1 where all are alike.
    """
    variances = _spectrum(z).square()
    total = variances.sum()
    return torch.where(total == 0, 1.0, variances[0] / total)


def _spectrum(z: Tensor) -> Tensor:
    """Return the singular values of embeddings (N, C) as unit vectors without their mean."""
    if not z.isfinite().all():  # a run that diverged: its loss says so
        return z.new_full((1,), float("nan"))
    units = functional.normalize(z, dim=1)
    return (units - units.mean(dim=0)).svd().S


def most(z: Tensor) -> int:
    """Return the highest rank that embeddings (N, C) without their mean can have."""
    return max(1, min(len(z) - 1, z.shape[1]))


def collapsed(
    std: tuple[float, float], rank: float, most: float = inf, leading: float = 0.0
) -> str:
    """Return to what embeddings have collapsed: ``point``, ``line`` or "".

    Args:
        std: the spread (``directions``) before training and now.
        rank: the effective rank now.
        most: the highest rank there can be; where it is not known, only a vanished spread is a point.
        leading: the share of the variance on one direction now.
    """
    fallen = std[1] < FALLEN * std[0] or (std[1] < LEAST_STD and std[1] < std[0] / 2)
    if std[1] < POINT or (fallen and rank > NOISE_RANK * most):
        return "point"
    return "line" if leading > LINE else ""
