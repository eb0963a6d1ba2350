"""SimCLR on slices: two augmented views of one slice attract, those of other slices repel."""

from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from bench.data.reader import Volume
from bench.method import Arrays, Batch, Figure, Method, Recipe, Triple
from bench.nets import Network
from bench.pretext.contrast import view_contrast
from bench.pretext.heads import mlp
from bench.pretext.pyramid import PyramidVector
from bench.pretext.slice_views import SliceViews
from bench.ranges import Count, Positive, Whole
from bench.source import Source
from bench.typed import sparse


class SimCLR2D(Method):
    """Chen et al.'s objective on HSSL's views; HSSL's Fig. 4 on one data set and on eight."""

    title = "SimCLR"
    version = 2  # 2: hidden as wide as the encoder, noise in units of the views, chance by data set
    dims = 2
    source = Source(
        "T. Chen et al., A Simple Framework for Contrastive Learning, ICML 2020",
        "https://arxiv.org/abs/2002.05709",
        "https://github.com/google-research/simclr",
    )
    fidelity = (
        "loss compared with the authors' code; views as HSSL lists them, their amounts assumed"
    )
    figure = Figure("retrieval", "views whose nearest view is their positive", "chance")
    min_batch = 2  # one slice has no negatives: the loss is 0

    @dataclass(frozen=True)
    class Params(SliceViews):
        """The head and the loss; the views' are inherited."""

        temperature: Positive = 0.1  # code (flag's default); HSSL: not stated
        proj_layers: Count = 2  # paper, Section 4.2; code: 3
        # paper, Section 4.2: the width of what the head reads, the encoder's
        hidden: Count | None = None
        out: Count = 128  # paper, Section 4.2
        batch_norm: bool = True  # code, on hidden layers; the paper's formula of g omits it
        # paper, Algorithm 1; code, HSSL: sum_pairs
        reduction: Literal["mean2N", "sum_pairs"] = "mean2N"
        # assumed: HSSL's text does not say that Fig. 4's CL has its pyramid
        multi_scale_head: bool = False
        # assumed: all, the coarsest n otherwise; of multi_scale_head
        pyramid_levels: int | None = None
        compress: Whole = 128  # assumed: channels of each level; of multi_scale_head
        # HSSL, Section 3: of each stack; how many a batch has of one is not said
        slices: Count = sparse(1)
        # HSSL, Section 2.2: all other images are negatives; leave_out: but those of the slice's own stack
        same_stack: Literal["repel", "leave_out"] = sparse("repel")

        @property
        def crops_per_sample(self) -> float:
            """Two views of each slice."""
            return 2 * self.slices

        def check(self, crop: Triple, recipe: Recipe) -> None:
            """Refuse more slices than the volumes have."""
            depth = recipe.resize[2] if recipe.resize else 0
            if 0 < depth < self.slices:
                raise self.refusal(
                    f"volumes of {depth} slices do not have {self.slices} slices; use fewer slices"
                )

        def read(self, volume: Volume, crop: Triple, rng: np.random.Generator) -> Arrays:
            """Read ``crop``, one slice or several, (n, C, X, Y, 1); ``stack`` where stacks are told apart."""
            if self.slices == 1:
                made = super().read(volume, crop, rng)
            else:
                made = {"crop": slices_of(volume, self.slices, crop, rng)}
            if self.same_stack == "leave_out":
                made["stack"] = np.array(number_of(volume, rng), np.int64)
            return made

        def views(self, batch: Batch, crop: Triple, generator: torch.Generator) -> Batch:
            """Make two views of each slice, those of a stack one after the other: (B n, 2, C, X, Y, 1)."""
            if self.slices > 1:
                kept = ("zscored", "stack")
                each = {k: batch[k].repeat_interleave(self.slices) for k in kept if k in batch}
                batch = {"crop": batch["crop"].flatten(0, 1), **each}
            stack = {"stack": batch["stack"]} if "stack" in batch else {}
            return {**super().views(batch, crop, generator), **stack}

    params: Params

    def __init__(self, network: Network, params: Params) -> None:
        super().__init__(network, params)
        p, widths = params, network.encoder.widths
        scales = (p.pyramid_levels, p.compress) if p.multi_scale_head else (1, 0)
        self.pyramid = PyramidVector(widths, *scales)
        head = [self.pyramid.width, *[p.hidden or self.pyramid.width] * (p.proj_layers - 1), p.out]
        self.projector = mlp(head, "batch" if p.batch_norm else "none")

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return NT-Xent and the share of views whose nearest neighbour is their partner."""
        p, z = self.params, self.projector(self.pyramid(self.encoder(batch["views"].flatten(0, 1))))
        if "origin" in batch:  # of each sample, and so of all its slices
            batch = {**batch, "origin": batch["origin"].repeat_interleave(p.slices)}
        total, shown = view_contrast(z, batch, p.temperature, batch.get("stack"))
        return {"total": 2 * total if p.reduction == "sum_pairs" else total, **shown}


def slices_of(volume: Volume, count: int, crop: Triple, rng: np.random.Generator) -> np.ndarray:
    """Read slices (count, C, X, Y, 1), each at its own place, at as many depths as there are."""
    depth = volume.shape[2]
    depths = rng.choice(depth, count, replace=depth < count)
    places = [(*volume.random_start(crop, rng)[:2], int(z)) for z in depths]
    return np.stack([volume.crop(place, crop) for place in places])


def number_of(volume: Volume, rng: np.random.Generator) -> int:
    """Return a number that only slices of this stack have; where it has no name, only those read now."""
    if not volume.name:
        return int(rng.integers(2**63 - 1))
    return int.from_bytes(sha256(volume.name.encode()).digest()[:8], "big") >> 1
