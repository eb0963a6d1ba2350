"""Contrastive predictive coding of a grid of patches in two or three dimensions (van den Oord et al. 2018).

An encoder turns each patch into a code; a recurrent network reads the codes around the current patch, and
linear layers predict from its last state the codes of the patches below, each of which is to be found among
others. Methods inherit both classes and say what their paper does.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from bench import distributed
from bench.constants import constant
from bench.data.reader import Volume
from bench.errors import BenchError
from bench.method import Arrays, Batch, EncoderMaps, Figure, Method, MethodParams, Recipe
from bench.nets import Network
from bench.pretext import nuisance
from bench.pretext.context import Boundary, pyramid
from bench.pretext.losses import NOTHING, full_precision, info_nce, spread
from bench.random import rand
from bench.ranges import Count, Part, Positive, Share, Triple
from bench.source import Source


@dataclass(frozen=True)
class PredictsPatches(MethodParams):
    """What such a method's ``Params`` hold, which say values and sources. The crop is one patch.

    Args:
        patches_per_side: n, along each axis.
        overlap: of neighbouring patches, as a share of their side.
        crop_frac: share of each side of the window that is kept at a random place, zeros around it.
        patch_crop_frac: the same of each patch.
        patch_flip: probability that a patch is mirrored along x.
        skip_row: is the row below the current patch not predicted?
        boundary: of what the context would have outside the grid (``context.pyramid``).
        code_size: of a patch's code.
        gru: width of the recurrent state.
        loss: InfoNCE over all candidates, or the binary loss of the code on one negative column.
        negatives: patches to predict of the same window, or of the whole batch.
        other_rows: are those of other rows candidates of InfoNCE, beside those of the target's own?
        temperature: by which scores of InfoNCE are divided.
    """

    dims: ClassVar[int]  # axes of the grid

    patches_per_side: Count
    overlap: Part
    crop_frac: Share
    patch_crop_frac: Share
    patch_flip: Share
    skip_row: bool
    boundary: Boundary
    code_size: Count = 1024  # code
    gru: Count = 256  # code
    loss: Literal["infonce", "bce_code"] = "infonce"  # paper, Eq. 1; code bce_code
    # paper; code: a batch, of one volume in 3D
    negatives: Literal["same_volume", "batch"] = "same_volume"
    # paper: "other locations"; how many are taken is not said: all; code: no
    other_rows: bool = True
    temperature: Positive = 1.0  # paper, Eq. 1 has none

    def __post_init__(self) -> None:
        n = self.patches_per_side
        if n < 2 or n // 2 + self.skip_row >= n:
            raise BenchError(
                f"patches_per_side: of {n} rows none is left to predict; use {n + 1} or more"
            )
        if n < 4 and self.boundary == "reflect":
            raise BenchError(
                f"patches_per_side: with {n}, no row above the current patch can be reflected; use 4 or more, "
                "or boundary: zero"
            )

    @property
    def grid(self) -> Triple:
        """Patches along x, y, z."""
        n = self.patches_per_side
        return n, n, n if self.dims == 3 else 1

    @property
    def indices(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Patches that are looked at (U,); which of these are known, which are predicted (``pyramid``)."""
        known, wanted = pyramid(self.patches_per_side, self.dims, self.skip_row, self.boundary)
        used = np.union1d(known[known >= 0], wanted)
        return (
            used,
            np.where(known < 0, known, np.searchsorted(used, known)),
            np.searchsorted(used, wanted),
        )

    @property
    def crops_per_sample(self) -> float:
        """Patches that are looked at, and the one of zeros."""
        used, known, _ = self.indices
        return len(used) + bool((known < 0).any())

    @property
    def across_batch(self) -> bool:
        """Only negatives of the whole batch are compared."""
        return self.negatives == "batch"

    def head_flops(self, crop: Triple, maps: EncoderMaps) -> float:
        """Those of the recurrent network, the predictions and the scores."""
        _, known, wanted = self.indices
        steps = 3 * self.gru * (self.code_size + self.gru) * known.size
        return 2.0 * (
            steps + self.gru * self.code_size * wanted.size + self.code_size * wanted.size**2
        )

    def window(self, crop: Triple) -> Triple:
        """Return the size of what all patches of a sample are cut from."""
        return window_of(crop, self.grid, self.overlap)

    def check(self, crop: Triple, recipe: Recipe) -> None:
        """Refuse a grid that does not fit into volumes of a known size."""
        whole = self.window(crop)
        if recipe.resize and any(0 < r < w for r, w in zip(recipe.resize, whole, strict=True)):
            name = type(self).__module__.rpartition(".")[2]  # of the method's file
            raise BenchError(
                f"method {name!r}: {self.grid} patches of {tuple(crop)} voxels (overlap {self.overlap:g}) need "
                f"{whole} voxels and do not fit into volumes of {tuple(recipe.resize)}; use a smaller crop (the "
                "size of a patch) or fewer patches_per_side"
            )

    def read(self, volume: Volume, crop: Triple, rng: np.random.Generator) -> Arrays:
        """Read the window that the grid covers, (C, *window)."""
        return {"window": volume.random_crop(self.window(crop), rng)}

    def views(self, batch: Batch, crop: Triple, generator: torch.Generator) -> Batch:
        """Cut the patches that are looked at, each changed on its own.

        Returns:
            ``patches`` (B, U, C, *crop), and behind them one of zeros where the context has such; for
            ``bce_code`` also ``other`` (B, columns) in [0, 1): which other column is the negative.
        """
        x = batch["window"]
        used, known, _ = self.indices
        cells = np.array(list(product(*map(range, self.grid))))[used]
        corner = constant(cells * stride_of(crop, self.overlap), x.device)
        shares = (self.crop_frac, self.patch_crop_frac)
        patches = cut_patches(x, corner, crop, shares, self.patch_flip, generator)
        if (known < 0).any():
            patches = torch.cat([patches, torch.zeros_like(patches[:, :1])], dim=1)
        other = {"other": rand((len(x), len(known)), generator)} if self.loss == "bce_code" else {}
        return {"patches": patches, **other}


class PredictiveCoding(Method):
    """Encoder, code, recurrent context and one linear prediction for each row below."""

    paper = "taleb"
    source = Source(
        "A. Taleb et al., 3D Self-Supervised Methods for Medical Imaging, NeurIPS 2020",
        "https://arxiv.org/abs/2006.03829",
        "https://github.com/HealthML/self-supervised-3d-tasks",
    )
    fidelity = "official code compared: patches, context, targets, binary loss; InfoNCE: paper only"
    figure = Figure("found", "patches found among the candidates by what was predicted", "chance")
    across_batch = False  # with negatives of the batch ``Params`` says otherwise

    params: PredictsPatches

    def __init__(self, network: Network, params: PredictsPatches) -> None:
        super().__init__(network, params)
        _, _, wanted = params.indices
        self.code = nn.Linear(network.encoder.widths[-1], params.code_size)
        self.context = nn.GRU(params.code_size, params.gru, batch_first=True)
        self.predict = nn.Linear(params.gru, wanted.shape[1] * params.code_size)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the loss, how often the own patch is found, and how often by intensities alone.

        ``chance`` takes the candidate whose intensities are nearest to the current patch's. With ``bce_code``
        ``told`` is how often a column was rightly taken for the own or for another.
        """
        p, x = self.params, batch["patches"]
        known, wanted = (constant(table, x.device) for table in p.indices[1:])
        z = self.code(self.encoder.embed(x.flatten(0, 1))).unflatten(0, x.shape[:2])
        _, state = self.context(z[:, known].flatten(0, 1))
        made = self.predict(state[0]).view(len(x), *wanted.shape, -1)
        true = z[:, wanted]  # (B, columns, L, code_size), as ``made``
        scores = products(made.flatten(1, 2), self.shared(true.flatten(1, 2)))
        allowed = self.allowed(scores, wanted.shape[1])
        total, found = picked(scores / p.temperature, self.own(scores), allowed)
        beside = {
            "found": found,
            "chance": self.guessed(
                batch, known[:, -1].repeat_interleave(wanted.shape[1]), wanted, allowed
            ),
            "std": spread(true.detach().flatten(1, 2)),
        }
        if p.loss == "bce_code":
            scores = products(made.flatten(2), self.shared(true.flatten(2))) / made[0, 0].numel()
            total, beside["told"] = told_apart(scores, self.own(scores), batch["other"])
        return {"total": total, **beside}

    def shared(self, x: Tensor) -> Tensor:
        """Return the candidates of rows (B, M, D): those, or with negatives of the batch all, (1, N M, D)."""
        return distributed.gather(x).flatten(0, 1)[None] if self.params.negatives == "batch" else x

    def own(self, scores: Tensor) -> Tensor:
        """Return which candidate each one's own is, (B, M), of scores (B, M, K)."""
        rows, many, _ = scores.shape
        at = torch.arange(many, device=scores.device).expand(rows, many)
        if self.params.negatives == "same_volume":
            return at
        sample = distributed.rank() * rows + torch.arange(rows, device=scores.device)
        return at + many * sample[:, None]

    def allowed(self, scores: Tensor, below: int) -> Tensor:
        """Return which candidates count, (M, K): all, or those in the own one of so many rows ``below``."""
        mine, theirs = (torch.arange(n, device=scores.device) % below for n in scores.shape[1:])
        return (mine[:, None] == theirs) | self.params.other_rows

    @torch.no_grad()
    def guessed(self, batch: Batch, now: Tensor, wanted: Tensor, allowed: Tensor) -> Tensor:
        """Return how often a patch (M,) is nearest to the current one of its column (M,) in intensities.

        Candidates are those of its origin: data sets are told apart without seeing anything in them.
        """
        x = batch["patches"]
        here, there = (
            nuisance.intensities(x[:, i].flatten(0, 1)).unflatten(0, (len(x), -1))
            for i in (now, wanted.flatten())
        )
        distance = torch.cdist(here, self.shared(there), compute_mode=nuisance.EXACT)
        origin = batch.get("origin", x.new_zeros(len(x)))[:, None, None].expand(-1, len(now), 1)
        same = origin == self.shared(origin).mT
        return nuisance.nearest(distance, self.own(distance), allowed & same).mean()


@full_precision
def products(a: Tensor, b: Tensor) -> Tensor:
    """Return the products of all rows, (B, M, D) and (B or 1, K, D) give (B, M, K)."""
    return a @ b.mT


def picked(scores: Tensor, own: Tensor, allowed: Tensor) -> tuple[Tensor, Tensor]:
    """Return InfoNCE, and how often the own candidate has the highest score.

    Mean of -log(exp(own) / (exp(own) + sum over the others of exp(other))): Taleb et al., Eq. 1, whose print
    has the sum within the exponential.

    Args:
        scores: (B, M, K).
        own: (B, M) which candidate is the own one.
        allowed: (M, K) which count.
    """
    scores, at = scores.masked_fill(~allowed, NOTHING), own[..., None]
    right = (scores.detach().argmax(dim=2) == own).to(scores.dtype).mean()
    mine, others = scores.gather(2, at)[..., 0], scores.scatter(2, at, NOTHING)
    return info_nce(mine.flatten(), others.flatten(0, 1)), right


def told_apart(scores: Tensor, own: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Return the binary cross-entropy of the own column and of another, and how often both are told.

    Args:
        scores: (B, M, K) logits.
        own: (B, M) which candidate is the own one.
        other: (B, M) in [0, 1), which of those left is the other one.
    """
    away = (other * (scores.shape[2] - 1)).long()
    away = away + (away >= own)
    mine, its = (scores.gather(2, i[..., None]) for i in (own, away))
    right = torch.cat([mine > 0, its <= 0]).to(scores.dtype).mean()
    return (functional.softplus(-mine) + functional.softplus(its)).mean() / 2, right


def stride_of(patch: Triple, overlap: float) -> Triple:
    """Return by how many voxels patches that share ``overlap`` of their side lie apart."""
    x, y, z = (max(1, round(n * (1 - overlap))) for n in patch)
    return x, y, z


def window_of(patch: Triple, grid: Triple, overlap: float) -> Triple:
    """Return the size of the window that a grid of patches covers."""
    sides = zip(patch, grid, stride_of(patch, overlap), strict=True)
    x, y, z = (p + (n - 1) * s for p, n, s in sides)
    return x, y, z


def cut_patches(
    window: Tensor,
    corner: Tensor,
    patch: Triple,
    shares: tuple[float, float],
    flip: float,
    generator: torch.Generator,
) -> Tensor:
    """Cut patches out of windows, each changed on its own.

    First a part of the window is taken at a random place and padded with zeros to its size again; then each
    patch is mirrored or not, and a part of it is taken and padded likewise. The second keeps a network from
    following edges from patch to patch.

    Args:
        window: (B, C, X, Y, Z).
        corner: (N, 3) of the patches in it, in voxels.
        patch: their size.
        shares: of each side of the window, and of a patch, that are kept.
        flip: probability of a mirror image along x, of each patch.
        generator: the only randomness.

    Returns:
        (B, N, C, *patch).
    """
    rows, number = len(window), len(corner)
    place = rand((rows, 3), generator)[:, None]
    drawn = rand((rows, number, 4), generator)
    mirrored = drawn[..., 3] < flip
    at, seen = [], []
    for axis, (side, whole) in enumerate(zip(patch, window.shape[2:], strict=True)):
        voxel = torch.arange(side, device=window.device).expand(rows, number, side)
        voxel, inside = _moved(voxel, side, shares[1], drawn[..., axis])
        if axis == 0:
            voxel = torch.where(mirrored[..., None], side - 1 - voxel, voxel)
        voxel, within = _moved(corner[:, axis, None] + voxel, whole, shares[0], place[..., axis])
        shape = [rows, number, *(side if a == axis else 1 for a in range(3))]
        at.append(voxel.clamp(0, whole - 1).view(shape))
        seen.append((inside & within).view(shape))
    sample = torch.arange(rows, device=window.device).view(-1, 1, 1, 1, 1)
    voxels = window.movedim(1, -1)[sample, at[0], at[1], at[2]]
    voxels = voxels.masked_fill(~(seen[0] & seen[1] & seen[2])[..., None], 0)
    return voxels.movedim(-1, 2)


def _moved(voxel: Tensor, length: int, share: float, place: Tensor) -> tuple[Tensor, Tensor]:
    """Return which voxels of a line are read, once a part of it was taken and padded to its length again.

    Args:
        voxel: (B, N, p) of the padded line.
        length: of the line.
        share: of it that is taken.
        place: (B, N or 1) in [0, 1), where.

    Returns:
        Voxels of the line (B, N, p), and whether they are such: padding is not.
    """
    kept = max(1, int(length * share))
    start = (place * (length - kept + 1)).long()
    off = voxel - (length - kept) // 2
    return start[..., None] + off, (off >= 0) & (off < kept)
