"""What retrieval gets from data set, modality and intensities alone: the chance beside a contrastive figure.

An embedding that only tells data sets apart, or bright views from dark ones, finds partners more often than a
guess among all views does. So the guess that a figure is held against knows where each view comes from (its
``origin``: data set and modality, both in one number) and the distribution of its intensities, and nothing of
what is seen in it. It is made for every batch, of the very views that the network gets.
"""

from __future__ import annotations

from math import ceil, gcd, inf

import torch
from torch import Tensor
from torch.nn import functional

from bench import distributed
from bench.pretext.losses import full_precision, spread

LEVELS = 16  # quantiles of a view's intensities, per channel
VOXELS = 4096  # of a view that are ranked, at most
TIE = 1e-4  # of an anchor's largest distance: nearer than that is equally near, and rounding decides nothing
EXACT = "donot_use_mm_for_euclid_dist"  # a matrix product would round equal distances apart


@torch.no_grad()
@full_precision
def intensities(views: Tensor) -> Tensor:
    """Return quantiles of each channel's intensities, (N, C * LEVELS) of views (N, C, ...).

    The distance of two such rows is that of Wasserstein between the histograms, times a constant: mean,
    standard deviation and shape count together, in units of the prepared intensities.
    """
    flat = views.flatten(2)
    step = ceil(flat.shape[2] / VOXELS)
    # else one slice, or every second column, might be all that is seen
    while gcd(step, flat.shape[2]) > 1:
        step += 1
    ranked = flat[:, :, ::step].sort(dim=2).values
    at = (torch.arange(LEVELS, device=views.device) + 0.5) * ranked.shape[2] / LEVELS
    return ranked[:, :, at.long()].flatten(1)


@torch.no_grad()
def guessed(distance: Tensor, own: Tensor, allowed: Tensor | None = None) -> Tensor:
    """Return how often the own candidate is found by origin alone, or by origin and distance: the larger.

    By origin alone it is one of those allowed; by distance as well the nearest of these. Ties are averaged,
    and so are the anchors of all processes.

    Args:
        distance: (..., n, m) of n anchors' intensities to those of m candidates.
        own: (..., n) which candidate is the anchor's.
        allowed: (..., n, m) candidates of the anchor's origin, its own among them; all by default.
    """
    allowed = torch.ones_like(distance, dtype=torch.bool) if allowed is None else allowed
    found, known = nearest(distance, own, allowed), 1 / allowed.sum(dim=-1)
    return torch.maximum(
        *(distributed.mean(hits.to(distance.dtype).mean()) for hits in (known, found))
    )


def nearest(distance: Tensor, own: Tensor, allowed: Tensor) -> Tensor:
    """Return how likely each anchor's own candidate is taken for the nearest one, (..., n): ties share it.

    Arguments as above.
    """
    near = distance.masked_fill(~allowed, inf)
    tied = allowed & (
        near <= near.amin(dim=-1, keepdim=True) + TIE * distance.amax(dim=-1, keepdim=True)
    )
    return tied.gather(-1, own[..., None])[..., 0] / tied.sum(dim=-1)


@torch.no_grad()
def among_pairs(
    views: Tensor, origin: Tensor | None, all_views: bool = False, group: Tensor | None = None
) -> Tensor:
    """Return what guessing gets where a view looks for the other one of its sample, over all processes.

    Args:
        views: (B, 2, C, ...) this process's.
        origin: (B,) whole numbers, alike where data set and modality are; None where all are.
        all_views: are the candidates all other views (2 N - 1), and not the N second ones?
        group: (N,) of all processes; of ``all_views`` those of the anchor's group are then left out.
    """
    one, two = distributed.gather(intensities(views.flatten(0, 1)).unflatten(0, (-1, 2))).unbind(1)
    n = len(one)
    origin = one.new_zeros(n) if origin is None else distributed.gather(origin)
    same = origin[:, None] == origin
    itself = torch.arange(n, device=one.device)
    if not all_views:  # in both directions, which are alike: half the scatter
        distance = torch.cdist(one, two, compute_mode=EXACT)
        return guessed(torch.cat([distance, distance.mT]), itself.repeat(2), same.repeat(2, 1))
    both = torch.cat([one, two])
    others = ~torch.eye(2 * n, dtype=torch.bool, device=one.device)
    partner = torch.cat([itself + n, itself])
    if group is not None:
        apart = group[:, None] != group
        others = apart.repeat(2, 2).scatter(1, partner[:, None], True)
    return guessed(torch.cdist(both, both, compute_mode=EXACT), partner, same.repeat(2, 2) & others)


def beside(
    found: Tensor,
    z: Tensor,
    batch: dict[str, Tensor],
    all_views: bool = False,
    group: Tensor | None = None,
) -> dict[str, Tensor]:
    """Return the terms that show whether a method of two views learns, beside its loss.

    Args:
        found: how often a view finds its partner, ``retrieval``.
        z: (N, C) embeddings of all processes, whose spread is ``std``.
        batch: its ``views`` and ``origin``, from which ``chance`` is taken (see ``among_pairs``).
        all_views: are all other views candidates?
        group: (N,) of all processes; those of one group are none of each other's (see ``among_pairs``).
    """
    chance = among_pairs(batch["views"], batch.get("origin"), all_views, group)
    return {"retrieval": found, "chance": chance, "std": spread(z.detach())}


@torch.no_grad()
def notes(views: Tensor, origin: Tensor | None) -> Tensor:
    """Return what a queue keeps of views (B, C, ...): origin and intensities, (B, 1 + C * LEVELS)."""
    seen = intensities(views)
    origin = seen.new_zeros(len(seen)) if origin is None else origin.to(seen.dtype)
    return torch.cat([origin[:, None], seen], dim=1)


@torch.no_grad()
def among_queue(query: Tensor, key: Tensor, queue: Tensor) -> Tensor:
    """Return what guessing gets where a query looks for its own key among those of a queue.

    Args:
        query: (N, 1 + Q) ``notes`` of the queries' views.
        key: (N, 1 + Q) of their own keys' views.
        queue: (K, 1 + Q) of the keys in the queue; -1 for random vectors, which come from no data set.
    """
    own = (query - key)[:, 1:].square().sum(dim=1, keepdim=True).sqrt()
    distance = torch.cat([own, torch.cdist(query[:, 1:], queue[:, 1:], compute_mode=EXACT)], dim=1)
    same = query[:, :1] == queue[:, 0]
    allowed = torch.cat([torch.ones_like(same[:, :1]), same], dim=1)
    return guessed(distance, allowed.new_zeros(len(query), dtype=torch.long), allowed)


@torch.no_grad()
@full_precision
def moments(views: Tensor, cells: tuple[int, int, int]) -> Tensor:
    """Return mean and standard deviation of each cell of views (B, C, X, Y, Z) as maps (B, 2 C, *cells)."""
    mean = functional.adaptive_avg_pool3d(views, cells)
    square = functional.adaptive_avg_pool3d(views.square(), cells)
    return torch.cat([mean, (square - mean.square()).clamp_min(0).sqrt()], dim=1)
