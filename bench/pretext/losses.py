"""Pretext losses on tensors. All are computed in full precision, also under autocast."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from bench import distributed

T = TypeVar("T", bound=Callable[..., Any])
GUARD = 1e-6  # of VoCo's codes, in the denominators of means that may be over nothing
# the score of what is no negative: its exponential is 0, and unlike -inf it has a gradient
NOTHING = -1e30


def full_precision(function: T) -> T:
    """Run ``function`` with autocast off and half-precision arguments widened to float32."""

    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        device = next(a.device.type for a in args if isinstance(a, Tensor))
        with torch.autocast(device, enabled=False):
            return function(*map(_widen, args), **{k: _widen(v) for k, v in kwargs.items()})

    return wrapped  # type: ignore[return-value]


def _widen(value: Any) -> Any:
    half = isinstance(value, Tensor) and value.dtype in (torch.float16, torch.bfloat16)
    return value.float() if half else value


@full_precision
def cosines(a: Tensor, b: Tensor) -> Tensor:
    """Return the cosine of every pair: (..., n, C) and (..., m, C) give (..., n, m)."""
    return functional.normalize(a, dim=-1, eps=1e-8) @ functional.normalize(
        b, dim=-1, eps=1e-8
    ).transpose(-1, -2)


def info_nce(own: Tensor, other: Tensor) -> Tensor:
    """Return the mean of -log(exp(own) / (exp(own) + sum of exp(other))).

    As softplus(log sum exp(other) - own): where an anchor is far nearer to its own than to the others, the
    cross entropy of all scores is a small difference of large numbers, and this is not.

    Args:
        own: (N,) scores of the anchors' partners, temperature divided out.
        other: (N, M) scores of their negatives, partners not among them; ``NOTHING`` where there is none.
    """
    return functional.softplus(other.logsumexp(dim=1) - own, threshold=40.0).mean()


@full_precision
def nt_xent(
    a: Tensor, b: Tensor, temperature: float, group: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return the normalised temperature-scaled cross entropy and how often the pair is nearest.

    Mean over the 2N anchors of -log(exp(s_ip / t) / sum over j != i of exp(s_ij / t)).
    Chen et al., ICML 2020, Eq. 1.

    Args:
        a: (N, C) embeddings of one view; row i belongs with row i of ``b``.
        b: (N, C) embeddings of the other.
        temperature: t.
        group: (N,) whole numbers; rows of one group are left out of each other's sum and candidates.
    """
    z = torch.cat([a, b])
    scores = cosines(z, z) / temperature
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    partners = itself.roll(len(a), dims=1)
    scores = scores.masked_fill(itself, NOTHING)
    if group is not None:
        scores = scores.masked_fill((group[:, None] == group).repeat(2, 2) & ~partners, NOTHING)
    partner = torch.arange(len(z), device=z.device).roll(len(a))
    nearest = (scores.argmax(dim=1) == partner).to(scores.dtype).mean()
    own = scores.gather(1, partner[:, None])
    return info_nce(own[:, 0], scores.masked_fill(partners, NOTHING)), nearest


@full_precision
def unit_distance(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean of ||a/|a| - b/|b| ||^2 = 2 - 2 cos over all but the channels (axis 1).

    Grill et al., NeurIPS 2020, Eq. 2; in [0, 4].
    """
    a, b = functional.normalize(a, dim=1, eps=1e-6), functional.normalize(b, dim=1, eps=1e-6)
    return (a - b).square().sum(dim=1).mean()


@full_precision
def matched(a: Tensor, b: Tensor) -> Tensor:
    """Return the share of rows of ``a`` (..., N, C) whose nearest row of ``b`` is their own.

    Nearest by cosine; ties go to the first, so a collapsed batch finds one in N.
    """
    best = cosines(a, b).argmax(-1)
    own = torch.arange(best.shape[-1], device=best.device)
    return (best == own).to(a.dtype).mean()


@full_precision
def grouped_contrast(z: Tensor, group: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Return the contrast of rows, those of a group attracting, and how often the nearest is one of them.

    Mean over rows, then over the others of a row's group, of -log(exp(s_ip / t) / sum over j != i of
    exp(s_ij / t)).
    Khosla et al., NeurIPS 2020, Eq. 2. It is never 0 where a group has three rows or more.

    Args:
        z: (N, C) embeddings.
        group: (N,) whole numbers; each group has two rows at least.
        temperature: t.
    """
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    scores = (cosines(z, z) / temperature).masked_fill(itself, NOTHING)
    own = (group[:, None] == group) & ~itself
    told = scores.log_softmax(dim=1).masked_fill(~own, 0.0)
    nearest = own.gather(1, scores.argmax(dim=1, keepdim=True)).to(scores.dtype).mean()
    return -(told.sum(dim=1) / own.sum(dim=1)).mean(), nearest


@full_precision
def spread(z: Tensor) -> Tensor:
    """Return the std over samples of unit vectors (..., N, C), averaged over channels and sets of samples.

    About 1/sqrt(C) where directions differ, 0 where they have collapsed.
    """
    return functional.normalize(z, dim=-1).std(dim=-2).mean()


@full_precision
def overlap_entropy(logits: Tensor, target: Tensor, eps: float) -> Tensor:
    """Return the mean of -log(1 - |y - l| + eps) over all pairs of a random crop and a base.

    Wu et al., CVPR 2024, Eq. 3, all pairs alike.

    Args:
        logits: (B, m, n) similarities of m crops to n bases.
        target: (B, m, n) shares of each crop that lie in each base.
        eps: keeps the logarithm finite where |y - l| = 1.
    """
    return _distance_entropy(logits, target, eps).mean()


@full_precision
def overlap_split(
    logits: Tensor,
    target: Tensor,
    eps: float,
    weighted: bool,
    apart: Literal["square", "log"] = "square",
) -> tuple[Tensor, Tensor]:
    """Return the two terms of Wu et al.'s released codes: overlapping pairs, and the others.

    Overlapping pairs: mean of -log(1 - |y - l| + eps), ``weighted`` by y or not. The others: mean
    of l^2, or by ``log`` of -log(1 - |l| + eps). Means are over the pairs of one volume, then over volumes;
    arguments as above.
    """
    distance = _distance_entropy(logits, target, eps)
    weight = target if weighted else (target > 0).to(target.dtype)
    other = (target == 0).to(target.dtype)
    positive = (weight * distance).sum((1, 2))
    negative = (other * (logits.square() if apart == "square" else distance)).sum((1, 2))
    positive = positive / (weight.sum((1, 2)) + GUARD)
    return positive.mean(), (negative / (other.sum((1, 2)) + GUARD)).mean()


@full_precision
def overlap_pooled(logits: Tensor, target: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Return ``overlap_split``, weighted and squared, with means over all pairs of the batch at once.

    MIC-DKFZ/nnssl, ``VoCoLoss.prediction_loss``: a volume with more pairs apart counts more.
    """
    other = (target == 0).to(target.dtype)
    positive = (target * _distance_entropy(logits, target, eps)).sum()
    negative = (other * logits.square()).sum()
    pairs = (other + GUARD).sum()  # as there: once for every pair
    return positive / distributed.mean(target.sum()), negative / distributed.mean(pairs)


def _distance_entropy(logits: Tensor, target: Tensor, eps: float) -> Tensor:
    return -torch.log((1 - (target - logits).abs()).clamp_min(0) + eps)


@full_precision
def redundancy(
    bases: Tensor, power: int, rectify: Literal["abs", "relu"], detach: bool = False
) -> Tensor:
    """Return the mean similarity of different bases of a volume, over unordered pairs.

    Wu et al., CVPR 2024, Eq. 5, is ``abs`` to the power 1; their code ``relu`` to the power 2.

    Args:
        bases: (B, n, C), n at least 2.
        power: of each similarity.
        rectify: what becomes of negative ones.
        detach: no gradient to the later base of each pair.
    """
    i, j = torch.triu_indices(bases.shape[1], bases.shape[1], offset=1, device=bases.device)
    similarity = cosines(bases, bases.detach() if detach else bases)[:, i, j]
    similarity = similarity.abs() if rectify == "abs" else similarity.relu()
    return (similarity**power).mean()


@full_precision
def reconstructed(
    prediction: Tensor, target: Tensor, kind: Literal["l1", "mse"]
) -> dict[str, Tensor]:
    """Return ``total``, the error of a prediction, and ``flat``, that of each patch's mean."""
    flat = target.mean(dim=-1, keepdim=True).expand_as(target)
    pairs = {"total": prediction, "flat": flat}
    return {term: reconstruction(guess, target, kind) for term, guess in pairs.items()}


def reconstruction(prediction: Tensor, target: Tensor, kind: Literal["l1", "mse"]) -> Tensor:
    """Return the mean absolute or squared error per voxel.

    Args:
        prediction: (B, N, P) voxels of N patches.
        target: the same shape.
        kind: absolute or squared.
    """
    error = prediction - target
    return (error.abs() if kind == "l1" else error.square()).mean(dim=-1).mean()


@full_precision
def mean_squared(image: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared error over all voxels."""
    return (image - target).square().mean()


@full_precision
def squared_error(image: Tensor, target: Tensor, weight: Tensor, region: Tensor) -> Tensor:
    """Return each row's weighted squared error over how many voxels are in its region, (B,); 0 where none is.

    The weights are not in the denominator: they change the gradient, as in Pathak et al.'s code.

    Args:
        image: as ``target``, or one value for many of its voxels.
        target: (B, C, X, Y, Z).
        weight: of each voxel's error, 0 outside ``region``; one for all channels where it has one.
        region: booleans; one for all channels where it has one.
    """
    error = (image - target).square() * weight
    return error.flatten(1).sum(1) / region.expand_as(target).flatten(1).sum(1).clamp_min(1)


@full_precision
def classified(logits: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean cross-entropy and the accuracy of logits (..., N) for classes (...) from 0."""
    logits, label = logits.flatten(0, -2), label.flatten()
    right = (logits.detach().argmax(1) == label).to(logits.dtype).mean()
    return functional.cross_entropy(logits, label), right


@full_precision
def standardise(patches: Tensor, eps: float = 1e-6) -> Tensor:
    """Return each patch (last axis) with its mean removed, over its standard deviation.

    Unbiased variance and ``eps`` under the root, as in He et al.'s code for masked autoencoders.
    """
    variance, mean = torch.var_mean(patches, dim=-1, keepdim=True)
    return (patches - mean) / (variance + eps).sqrt()
