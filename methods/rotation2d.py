"""Rotation on slices: tell by which quarter turn a slice was turned (Gidaris et al. 2018)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from bench import augment
from bench.augment.draw import chance
from bench.errors import BenchError
from bench.method import Batch, Figure, Method, Recipe, Triple
from bench.nets import Network
from bench.pretext import rotation
from bench.pretext.slice_views import SliceViews, slice_views
from bench.random import randint
from bench.ranges import Share
from bench.source import Source


class Rotation2D(Method):
    """Gidaris et al.'s task, a baseline of HSSL: a Linear on the pooled last map names the turn."""

    title = "Rotation"
    version = 2  # 2: noise in units of the views
    source = Source(
        "Gidaris, Singh & Komodakis, Unsupervised Representation Learning by Predicting Image Rotations, "
        "ICLR 2018",
        "https://arxiv.org/abs/1803.07728",
        "https://github.com/gidariss/FeatureLearningRotNet",
    )
    fidelity = "turns and labels compared with the official code; views are HSSL's text, parameters assumed"
    figure = Figure("accuracy", "slices whose rotation was predicted correctly", "chance")
    dims = 2
    across_batch = False

    @dataclass(frozen=True)
    class Params(SliceViews, rotation.Named):
        """Views come before the turn. ``flip`` stays 0: a slice flipped along y is one turned by 180.

        Taleb et al.'s 2D rotation is ``head: mlp``, one rotation per image and no ``augment``.
        """

        rotations_per_image: int = 4  # code: all four of every image in a batch; 1 = one at random
        # code: crops and mirrors before the turn; HSSL: as for its other baselines
        augment: bool = True
        mirror: Share = 0.0  # code: .5, left to right; here off, as bodies have a left and a right

        def __post_init__(self) -> None:
            if self.rotations_per_image not in (1, len(rotation.FLAT)):
                raise self.refusal(f"rotations_per_image = {self.rotations_per_image}; use 4 or 1")
            if self.flip:
                raise self.refusal(
                    "flip mirrors along x and y, and a slice mirrored along both equals a slice turned by "
                    "180 degrees; use mirror, which mirrors along x only"
                )

        @property
        def crops_per_sample(self) -> float:
            """All turns of a slice, or one."""
            return self.rotations_per_image

        def check(self, crop: Triple, recipe: Recipe) -> None:
            """Refuse crops that are not square: the shape would tell the turn."""
            if crop[0] != crop[1]:
                raise BenchError(
                    f"method 'rotation2d' turns square slices, but the crop is {tuple(crop)}"
                )

        def views(self, batch: Batch, crop: Triple, generator: torch.Generator) -> Batch:
            """Augment each slice, then turn it: (B, T, C, X, Y, 1), and which turns they are, (B, T)."""
            x = batch["crop"]
            if self.augment:
                x, _, _ = slice_views(x, crop, self, generator, batch.get("zscored"))
            if self.mirror:
                along_x = chance(len(x), self.mirror, generator)[:, None]
                x = augment.flip(x, functional.pad(along_x, (0, 2)))
            if self.rotations_per_image == len(rotation.FLAT):
                label = torch.arange(len(rotation.FLAT), device=x.device).expand(len(x), -1)
                made = {"views": rotation.all_turns(x, rotation.FLAT), "label": label}
                return self.with_dropout(made, generator)
            label = randint(0, len(rotation.FLAT), len(x), generator)
            made = {
                "views": rotation.turned(x, rotation.FLAT, label)[:, None],
                "label": label[:, None],
            }
            return self.with_dropout(made, generator)

    params: Params

    def __init__(self, network: Network, params: Params) -> None:
        super().__init__(network, params)
        self.head = params.made_head(network, len(rotation.FLAT))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy of the turns, mean over all turned slices, and their accuracy."""
        return self.params.named(self.encoder, self.head, batch)
