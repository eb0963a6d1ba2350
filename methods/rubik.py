"""Rubik's cube: tell in which order a scan's cubes lie, which are turned, and which are masked."""

from dataclasses import dataclass
from math import factorial, prod
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from bench import augment
from bench.constants import constant
from bench.data.reader import Volume
from bench.method import Arrays, Batch, Figure, Method, MethodParams, Recipe, Triple
from bench.nets import Network
from bench.pretext.cells import far_orders, read_cells
from bench.pretext.heads import mlp
from bench.pretext.losses import classified, full_precision
from bench.random import rand, randint
from bench.ranges import Amount, Count, Share
from bench.source import Source


class Rubik(Method):
    """Zhuang et al. 2019 and, with ``plus``, Zhu et al. 2020; by Medical-SSL, as neither released code."""

    title = "Rubik's cube"
    source = Source(
        "X. Zhuang et al., Self-supervised Feature Learning for 3D Medical Images by Playing a Rubik's Cube, "
        "MICCAI 2019; J. Zhu et al., Rubik's Cube+, Medical Image Analysis 2020",
        "https://arxiv.org/abs/1910.02241",
        "https://github.com/EndoluminalSurgicalVision-IMR/Medical-SSL",
    )
    figure = Figure("ordered", "scans whose order was predicted correctly", "chance")
    across_batch = True  # batch norm in front of the heads
    fidelity = (
        "a public re-implementation compared (authors released none): cubes, labels, heads, losses"
    )

    @dataclass(frozen=True)
    class Params(MethodParams):
        """Defaults are Medical-SSL's; 'papers' where they say otherwise. The crop is a cube."""

        grid: Triple = (2, 2, 2)  # papers
        # papers: a gap of about 10; code 10, 10, 5 for cubes of 128, 128, 32
        jitter: Triple = (8, 8, 8)
        orders: Count = 100  # code
        turns: bool = True  # papers: by 180 degrees; off = the jigsaw that Medical-SSL trains
        plus: bool = False  # Zhu et al.: cubes are masked, too
        masked: Share = 0.5  # code, of the cubes
        mask_ratio: Share = 0.5  # code, of a masked cube's voxels
        scale: Literal["signed", "keep"] = "signed"  # papers: intensities in [-1, 1]; code [0, 1]
        embedding: Count = 64  # code
        hidden: Count = 1024  # code
        order_weight: Amount | None = None  # code: .5, plus 1
        turn_weight: Amount | None = None  # code: .5, plus 1; of each of the two kinds
        mask_weight: Amount = 1.0  # code of plus

        def __post_init__(self) -> None:
            cubes = prod(self.grid)
            if cubes < 2 or self.orders > factorial(min(cubes, 20)):
                raise self.refusal(
                    f"{cubes} cubes have fewer than {self.orders} orders; set orders or grid"
                )

        @property
        def crops_per_sample(self) -> float:
            """Cubes."""
            return prod(self.grid)

        def check(self, crop: Triple, recipe: Recipe) -> None:
            """Refuse cells that do not fit into volumes of a known size."""
            whole = [g * (c + j) for g, c, j in zip(self.grid, crop, self.jitter, strict=True)]
            if recipe.resize and any(0 < r < w for r, w in zip(recipe.resize, whole, strict=True)):
                raise self.refusal(
                    f"{self.grid} cells of {tuple(crop)} voxels, jitter {self.jitter}, do not fit into "
                    f"volumes of {tuple(recipe.resize)}; use a smaller crop or jitter"
                )

        def read(self, volume: Volume, crop: Triple, rng: np.random.Generator) -> Arrays:
            """Read the cubes of one place, (n, C, *crop)."""
            return {"cubes": read_cells(volume, crop, self.grid, self.jitter, rng)}

        def views(self, batch: Batch, crop: Triple, generator: torch.Generator) -> Batch:
            """Order, turn and mask each scan's cubes.

            Returns:
                ``cubes`` (B, n, C, *crop): at place p the cube ``orders[order][p]``; ``order`` (B,);
                ``turned`` (B, n, 2): by 180 degrees about x, about z, never both; with ``plus`` ``masked``
                (B, n).
            """
            x = batch["cubes"]
            rows, n = x.shape[:2]
            x = signed(x) if self.scale == "signed" else x
            order = randint(0, self.orders, rows, generator)
            at = constant(far_orders(n, self.orders), x.device)[order]
            x = x.gather(1, at.view(rows, n, *[1] * 4).expand_as(x))
            u = rand((rows, n), generator)
            turned = torch.stack([u < 1 / 3, (u >= 1 / 3) & (u < 2 / 3)], dim=2) & self.turns
            about_x, about_z = turned.unbind(2)
            axes = torch.stack([about_z, about_x | about_z, about_x], dim=2)
            x = augment.flip(x.flatten(0, 1), axes.flatten(0, 1)).unflatten(0, (rows, n))
            made = {"order": order, "turned": turned}
            if self.plus:
                made["masked"] = rand((rows, n), generator) < self.masked
                hidden = rand((rows, n, 1, *crop), generator) < self.mask_ratio
                x = x.masked_fill(hidden & made["masked"].view(rows, n, *[1] * 4), 0.0)
            return {"cubes": x, **made}

    params: Params

    def __init__(self, network: Network, params: Params) -> None:
        super().__init__(network, params)
        p, n = params, prod(params.grid)
        self.embed = nn.Sequential(
            nn.Linear(network.encoder.widths[-1], p.embedding),
            nn.ReLU(),
            nn.BatchNorm1d(p.embedding),
        )
        wide = n * p.embedding
        self.order = mlp([wide, p.hidden, p.hidden, p.orders], "none")
        self.turn = nn.ModuleList(mlp([wide, p.hidden, n], "none") for _ in range(2 * p.turns))
        self.mask = mlp([wide, p.hidden, n], "none") if p.plus else None

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropies of order, turns and masks."""
        p, x = self.params, batch["cubes"]
        seen = self.embed(self.encoder.embed(x.flatten(0, 1))).unflatten(0, x.shape[:2]).flatten(1)
        weight = 1.0 if p.plus else 0.5
        order, right = classified(self.order(seen), batch["order"])
        total = (weight if p.order_weight is None else p.order_weight) * order
        terms = {"order": order}
        for i, head in enumerate(self.turn):
            name = ("about_x", "about_z")[i]
            terms[name] = told_apart(head(seen), batch["turned"][:, :, i])
            total = total + (weight if p.turn_weight is None else p.turn_weight) * terms[name]
        if self.mask is not None:
            terms["mask"] = told_apart(self.mask(seen), batch["masked"])
            total = total + p.mask_weight * terms["mask"]
        return {
            "total": total,
            **terms,
            "ordered": right,
            "chance": right.new_full((), 1 / p.orders),
        }


def signed(x: Tensor) -> Tensor:
    """Return each scan's cubes (B, n, C, X, Y, Z) on [-1, 1], by its channels' range over all cubes."""
    low, high = (f(x, dim=(1, 3, 4, 5), keepdim=True) for f in (torch.amin, torch.amax))
    return 2 * (x - low) / torch.where(high > low, high - low, 1) - 1


@full_precision
def told_apart(logits: Tensor, label: Tensor) -> Tensor:
    """Return the mean binary cross-entropy of logits and booleans."""
    return functional.binary_cross_entropy_with_logits(logits, label.to(logits.dtype))
