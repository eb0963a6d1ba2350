"""Exemplars by triplets: a transformed image lies nearer to its own original than another image does.

Taleb et al. 2020, Section 3.5, after Dosovitskiy et al. 2014; the same for slices and for volumes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from bench import distributed
from bench.augment.affine import places, rotation, sampled
from bench.augment.draw import chance, per_sample, uniform
from bench.constants import constant
from bench.data.reader import Volume
from bench.errors import BenchError
from bench.method import Arrays, Batch, Figure, Method, MethodParams, Triple
from bench.nets import Network
from bench.pretext import nuisance
from bench.pretext.heads import Pool, vectors, width_of
from bench.pretext.losses import full_precision, nt_xent, spread
from bench.pretext.units import Scale, amounts
from bench.random import rand, randint
from bench.ranges import Amount, Count, Factors, Positive, Share
from bench.source import Source

Distance = Literal["l2", "sq_mean", "sq_sum"]
EPS = 1e-12  # under the root: its gradient at 0 is not finite
SPACE = (2, 3, 4)
BESIDE = ("case", "other", "other_origin")  # what the loss reads besides views


@dataclass(frozen=True)
class Exemplars(MethodParams):
    """Triplets, codes and transformations, whose amounts are those of the code's volumes."""

    # paper, Eq. 3; it names a contrastive loss as another choice
    loss: Literal["triplet", "ntxent"] = "triplet"
    margin: Positive = 1.0  # paper: alpha
    dist: Distance = "l2"  # paper; code: sq_mean, the mean of squared differences
    temperature: Positive = 0.1  # assumed, of ntxent
    # paper: the original is the anchor; code: the transformed one
    roles: Literal["paper", "code"] = "paper"
    # paper: the simple choice; its code's settings: dataset
    neg_source: Literal["batch", "dataset"] = "batch"
    pool: Pool = "flatten"  # code: the whole last map
    emb: Count = 1024  # code
    # paper: none; code: sigmoid; unit = length 1
    out_act: Literal["linear", "unit", "sigmoid"] = "linear"
    # code: one for each role, so that biases alone can win
    heads: Literal["shared", "separate"] = "shared"
    flip: Share = 0.5  # code, per axis
    rotate: Share = 0.5  # code, per plane
    # code: of the rotations, how many are by 0, 90, 180 or 270 degrees, not by any angle
    quarters: Share = 0.5
    colour: Share = 0.5  # code: brightness and contrast together
    brightness: Amount = 0.125  # code: added, either way, on the scale of ``intensity``
    contrast: Factors = (0.5, 1.5)  # code: about the mean
    zoom: Share = 0.15  # code
    zoom_factor: Factors = (0.8, 1.2)  # code, of each axis
    intensity: Scale = "unit"  # code: what the brightness is stated for

    def __post_init__(self) -> None:
        if self.loss == "ntxent" and self.neg_source == "dataset":
            raise BenchError(
                "neg_source = 'dataset' reads one negative for each triplet, and loss = 'ntxent' takes all "
                "others of the batch; set neg_source = 'batch'"
            )

    @property
    def crops_per_sample(self) -> float:
        """The original, the transformed one, and the negative where it is none of the batch."""
        return 2 + (self.neg_source == "dataset")

    def read(self, volume: Volume, crop: Triple, rng: np.random.Generator) -> Arrays:
        """Read a random crop, and for ``dataset`` one of another case, too."""
        crops = {"crop": volume.random_crop(crop, rng)}
        if self.neg_source == "dataset":
            other = volume.another(rng)
            crops["other"] = other.random_crop(crop, rng)
            crops["other_origin"] = np.array(other.origin, np.int64)
        return crops

    def views(self, batch: Batch, crop: Triple, generator: torch.Generator) -> Batch:
        """Transform each crop: ``views`` (B, 2, C, X, Y, Z), the original first.

        ``turn`` (B,), the same number in all rows, says which other row of the batch is each one's negative.
        """
        x = batch["crop"]
        views = torch.stack([x, self.transformed(x, batch.get("zscored"), generator)], dim=1)
        # not of each part its own
        turn = torch.rand(1, generator=generator, device=x.device).expand(len(x))
        batch_views = {"views": views, "turn": turn}
        return {**batch_views, **{key: batch[key] for key in BESIDE if key in batch}}

    def transformed(self, x: Tensor, zscored: Tensor | None, generator: torch.Generator) -> Tensor:
        """Return crops (B, C, X, Y, Z) mirrored, rotated and zoomed, then changed in their intensities."""
        matrix, shift, moving = self.draw(x, generator)
        # what comes in from outside is air, and not a level of its own
        low = x.amin(SPACE, keepdim=True)
        sides = constant(x.shape[2:], x.device)
        at = places(matrix, x.shape[2:], (x.shape[2], x.shape[3], x.shape[4]))
        at = at + (2 * shift / sides).flip(1)[:, None, None, None]
        x = torch.where(per_sample(moving), sampled(x - low, at.to(x.dtype), "linear") + low, x)
        return self.coloured(x, zscored, generator)

    def draw(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Draw how crops are moved.

        Returns:
            Matrices (B, 3, 3) and offsets (B, 3) that take a voxel's place, from the centre in voxels, to the
            place that is read; and which crops (B,) are moved at all.
        """
        rows, sides, g = len(x), list(x.shape[2:]), generator
        wide = constant([n > 1 for n in sides], x.device)
        planes = [(sides[(axis + 1) % 3], sides[(axis + 2) % 3]) for axis in range(3)]
        whole = constant([min(plane) > 1 for plane in planes], x.device)
        square = constant([a == b for a, b in planes], x.device)
        flipped = chance((rows, 3), self.flip, g) & wide
        turned = chance((rows, 3), self.rotate, g) & whole
        quarter = chance((rows, 3), self.quarters, g)
        count = randint(0, 4, (rows, 3), g)
        # a quarter would not fill another shape
        count = torch.where(square, count, 2 * (count // 2))
        angle = (
            torch.where(quarter, count * (math.pi / 2), 2 * math.pi * rand((rows, 3), g)) * turned
        )
        zoomed = chance(rows, self.zoom, g)
        factor = torch.where(zoomed[:, None] & wide, uniform((rows, 3), self.zoom_factor, g), 1.0)
        # a crop of what became larger
        room = (1 - 1 / factor).clamp_min(0) * constant(sides, x.device)
        shift = (rand((rows, 3), g) - 0.5) * room
        mirror = torch.where(flipped, -1.0, 1.0)[:, :, None]
        turn = mirror * rotation(angle)
        read = (turn * shift[:, None]).sum(2)
        return turn / factor[:, None], read, (flipped | turned).any(1) | zoomed

    def coloured(self, x: Tensor, zscored: Tensor | None, generator: torch.Generator) -> Tensor:
        """Return crops of which some are made brighter, or darker, and stretched about their mean."""
        chosen = chance(len(x), self.colour, generator)
        bounds = amounts((-self.brightness, self.brightness), x, self.intensity, zscored)
        shift, factor = (
            uniform(len(x), bounds, generator),
            uniform(len(x), self.contrast, generator),
        )
        mean = x.mean((1, *SPACE), keepdim=True)
        changed = (x - mean) * per_sample(factor) + mean + per_sample(shift)
        return torch.where(per_sample(chosen), changed.to(x.dtype), x)


class Exemplar(Method):
    """The half that learns: a Linear on the last map codes each image, and triplets of codes are compared."""

    version = 2  # 2: chance over the triplets that the accuracy counts
    paper = "taleb"
    source = Source(
        "Taleb et al., 3D Self-Supervised Methods for Medical Imaging, NeurIPS 2020",
        "https://arxiv.org/abs/2006.03829",
        "https://github.com/HealthML/self-supervised-3d-tasks",
    )
    fidelity = "loss and transformations compared with the official code"
    figure = Figure("accuracy", "images nearer to their transform than to another image", "chance")
    min_batch = 2  # one image has no negative
    params: Exemplars

    def __init__(self, network: Network, params: Exemplars) -> None:
        super().__init__(network, params)
        width, count = width_of(network, params.pool), 1 if params.heads == "shared" else 3
        self.heads = nn.ModuleList(nn.Linear(width, params.emb) for _ in range(count))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the loss, how often an anchor is nearer to its positive, and both mean distances.

        ``accuracy`` counts a tie as half. ``chance`` is what data set, modality and intensities tell.
        """
        p, views = self.params, batch["views"]
        images = [*views.unbind(1), *([batch["other"]] if "other" in batch else [])]
        seen = vectors(self.encoder, torch.cat(images), p.pool).chunk(len(images))
        first = 0 if p.roles == "paper" else 1
        roles = (first, 1 - first, 2 if "other" in batch else 0)  # anchor, positive, negative
        a, b, c = (
            distributed.gather(self.code(role, seen[place])) for role, place in enumerate(roles)
        )
        index, there = self.negatives(batch, len(a))
        near, far = distance(a, b, p.dist), distance(a, c[index], p.dist)
        if p.loss == "triplet":
            total = triplet(near, far, there, p.margin)
        else:
            total, _ = nt_xent(a, b, p.temperature, self.cases(batch, len(a)))
        won = ((near < far) + 0.5 * (near == far)).to(near.dtype)
        shown = {"accuracy": won, "near": near.detach(), "far": far.detach()}
        guess = self.chance([images[place] for place in roles], batch, index, there)
        means = {k: over(v, there) for k, v in shown.items()}
        return {"total": total, **means, "chance": guess, "std": spread(a.detach())}

    def code(self, role: int, seen: Tensor) -> Tensor:
        """Return the codes (B, emb) of vectors (B, width), by the head of role 0, 1 or 2."""
        p = self.params
        z: Tensor = self.heads[role % len(self.heads)](seen)
        if p.out_act == "sigmoid":
            return z.sigmoid()
        # cosines are what ntxent compares, so distances are theirs, too
        return functional.normalize(z, dim=1) if p.out_act == "unit" or p.loss == "ntxent" else z

    def cases(self, batch: Batch, rows: int) -> Tensor:
        """Return a number of each row's case, of all processes: by default every row is a case of its own."""
        if "case" in batch:
            return distributed.gather(batch["case"])
        return torch.arange(rows, device=batch["views"].device)

    def negatives(self, batch: Batch, rows: int) -> tuple[Tensor, Tensor]:
        """Return which row of all processes is each one's negative, and which rows have one."""
        if "other" in batch:
            own = torch.arange(rows, device=batch["views"].device)
            return own, torch.ones_like(own, dtype=torch.bool)
        return deranged(self.cases(batch, rows), batch["turn"][0])

    @torch.no_grad()
    def chance(self, images: list[Tensor], batch: Batch, index: Tensor, there: Tensor) -> Tensor:
        """Return what telling origins apart, or intensities, gets of the same triplets.

        Args:
            images: of the roles, (B, C, X, Y, Z) each.
            batch: ``origin``, and ``other_origin`` where negatives are read beside.
            index: (N,) rows of the negatives, of all processes.
            there: (N,) which rows have one: the others are no triplets, and 0 is returned without any.
        """
        a, b, c = (distributed.gather(nuisance.intensities(x)) for x in images)
        apart = torch.stack([a - b, a - c[index]], dim=1).norm(dim=2)
        own = distributed.gather(batch["origin"]) if "origin" in batch else torch.zeros_like(index)
        other = distributed.gather(batch["other_origin"]) if "other_origin" in batch else own
        same = own == other[index]
        allowed = torch.stack([torch.ones_like(same), same], dim=1)
        found = nuisance.nearest(apart, torch.zeros_like(index), allowed)
        return torch.maximum(*(over(hits, there) for hits in (1 / allowed.sum(dim=1), found)))


@full_precision
def distance(a: Tensor, b: Tensor, kind: Distance) -> Tensor:
    """Return the distance of each row of ``a`` (N, C) from that of ``b``, (N,).

    ``l2`` is the root of ``sq_sum``, the sum of squared differences; ``sq_mean`` is their mean.
    """
    squares = (a - b).square()
    if kind == "sq_mean":
        return squares.mean(dim=1)
    return (squares.sum(dim=1) + EPS).sqrt() if kind == "l2" else squares.sum(dim=1)


def triplet(near: Tensor, far: Tensor, there: Tensor, margin: float) -> Tensor:
    """Return the mean of max(0, near - far + margin) over the rows that have a negative.

    Taleb et al. 2020, Eq. 3. Codes that are all alike cost the margin.

    Args:
        near: (N,) distances from anchor to positive.
        far: (N,) to the negative.
        there: (N,) booleans.
        margin: alpha.
    """
    return over((near - far + margin).relu(), there)


def over(values: Tensor, there: Tensor) -> Tensor:
    """Return the mean of values (N,) where ``there``; 0 where nowhere."""
    return (values * there).sum() / there.sum().clamp_min(1)


def deranged(case: Tensor, turn: Tensor) -> tuple[Tensor, Tensor]:
    """Return another row for each row, and whether there is one: never one of the same case.

    Row i takes row i + s, the same s from 1 to N - 1 for all, so that each serves once; where that is of
    its own case, the next one that is not.

    Args:
        case: (N,) whole numbers, alike where rows show one case.
        turn: a number in [0, 1) that draws s.
    """
    rows = len(case)
    if rows < 2:
        return torch.zeros_like(case), torch.zeros_like(case, dtype=torch.bool)
    itself = torch.arange(rows, device=case.device)
    # all of 1 to N - 1, s first
    steps = (itself[1:] - 1 + (turn * (rows - 1)).long()) % (rows - 1) + 1
    ahead = (itself[:, None] + steps) % rows
    other = case[ahead] != case[:, None]
    chosen = other.to(torch.uint8).argmax(dim=1, keepdim=True)
    return ahead.gather(1, chosen)[:, 0], other.any(dim=1)
