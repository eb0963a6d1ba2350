"""Has an encoder collapsed? How far its embeddings spread, and over how many directions."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from bench.pretext.losses import full_precision, spread

FALLEN = 0.1  # of the first spread
LEAST_STD = 0.02  # noise of a few percent around one point; of use only beside a first spread that was wider
LEAST_RANK = 1.5


@full_precision
def effective_rank(z: Tensor) -> Tensor:
    """Return the effective rank of embeddings (N, C), from 1 (one direction) to min(N - 1, C).

    The exponential of the entropy of the singular values, scaled to sum 1, of unit vectors with their mean
    removed: Roy & Vetterli, The effective rank, EUSIPCO 2007, Eq. 3. Garrido et al. (RankMe, ICML 2023) leave
    the mean in; here activations are mostly positive, so that it alone would decide. 1 where all are alike.
    """
    if not z.isfinite().all():  # a run that diverged: its loss says so
        return z.new_tensor(float("nan"))
    units = functional.normalize(z, dim=1)
    found = (units - units.mean(dim=0)).svd().S
    share = found / found.sum().clamp_min(1e-12)
    return (-(share * share.clamp_min(1e-12).log()).sum()).exp()


def directions(z: Tensor) -> Tensor:
    """Return how far the directions of embeddings (N, C) spread: 1 over the whole sphere, 0 at a point."""
    return spread(z) * z.shape[1] ** 0.5


def collapsed(std: tuple[float, float], rank: float) -> bool:
    """Tell whether embeddings have collapsed.

    Args:
        std: the spread before training and now.
        rank: the effective rank now.
    """
    fallen = std[1] < FALLEN * std[0] or (std[1] < LEAST_STD and std[1] < std[0] / 2)
    return fallen or rank < LEAST_RANK  # noise fills every direction, so the rank alone shows little
