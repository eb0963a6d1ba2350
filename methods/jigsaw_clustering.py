"""Jigsaw clustering: montages of patches of several scans; tell whose each patch is, and where it lay."""

from dataclasses import dataclass
from itertools import product
from math import prod

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from bench import augment, distributed
from bench.augment.draw import uniform
from bench.constants import constant
from bench.data.reader import Volume
from bench.method import Arrays, Batch, Figure, Method, MethodParams, Triple
from bench.nets import Network, catalog
from bench.pretext import nuisance
from bench.pretext.heads import mlp
from bench.pretext.losses import classified, grouped_contrast, spread
from bench.random import rand
from bench.ranges import Amount, Count, Factors, Positive, Share
from bench.source import Source


class JigsawClustering(Method):
    """Chen et al. 2021 in three dimensions; VoCo's "Jigsaw" cites this one."""

    title = "Jigsaw clustering"
    source = Source(
        "P. Chen et al., Jigsaw Clustering for Unsupervised Visual Representation Learning, CVPR 2021",
        "https://arxiv.org/abs/2104.00323",
        "https://github.com/dvlab-research/JigsawClustering",
    )
    figure = Figure("placed", "patches whose position was predicted correctly", "chance")
    fidelity = (
        "official code compared: boxes, montages, labels, losses in 2D; the third dimension is ours"
    )
    min_batch = 2  # one scan's patches have nobody to be told from

    @dataclass(frozen=True)
    class Params(MethodParams):
        """Defaults are the code's, in three dimensions. The crop is a montage."""

        grid: Triple = (2, 2, 2)  # code 2 x 2
        # code cross_ratio: a patch covers half of a side and this share of the whole
        overlap: Share = 0.3
        # voxels of a scan that are cut up; by default 1.5 times the crop
        source: Triple | None = None
        # code: share of a patch, of its area there and of its volume here
        scale: Factors = (0.2, 1.0)
        flip: Share = 0.5  # code, along one axis; here along each
        strong: Share = 0.8  # code, probability of colour jitter
        brightness: Factors = (0.6, 1.4)  # code .4
        contrast: Factors = (0.6, 1.4)  # code .4
        blur: Share = 0.5  # code
        blur_sigma: Factors = (0.1, 2.0)  # code, in pixels
        temperature: Positive = 0.07  # code; its further factor t / .07 is 1 at every t here
        out: Count = 128  # code
        cluster_weight: Amount = 1.0  # code
        place_weight: Amount = 1.0  # code

        def __post_init__(self) -> None:
            if prod(self.grid) < 2 or self.overlap > 0.5:
                raise self.refusal("use two or more patches, and an overlap of at most .5")

        def check_batch(self, network: str, crop: Triple, rows: int, processes: int) -> None:
            """Refuse montages whose last map cannot be divided into patches."""
            cells = catalog.cells(network, crop)[-1]
            if any(c % g or n % g for c, g, n in zip(cells, self.grid, crop, strict=True)):
                raise self.refusal(
                    f"crops of {tuple(crop)} give {network!r} a last map of {cells} cells, which cannot be "
                    f"divided into {self.grid} patches; use another crop"
                )

        def read(self, volume: Volume, crop: Triple, rng: np.random.Generator) -> Arrays:
            """Read the place that is cut up, (C, *source)."""
            return {
                "source": volume.random_crop(self.source or [round(1.5 * n) for n in crop], rng)
            }

        def views(self, batch: Batch, crop: Triple, generator: torch.Generator) -> Batch:
            """Cut each place into overlapping patches and change each on its own.

            Returns:
                ``patches`` (B, m, C, *crop / grid) in raster order of their places; ``order`` (B, m) in
                [0, 1), by whose ranks the patches of the whole batch are put into montages.
            """
            x, m = batch["source"], prod(self.grid)
            sides = constant(x.shape[2:], x.device)
            cells = constant(list(product(*map(range, self.grid))), x.device)
            whole = constant(self.grid, x.device)
            size = sides * torch.where(whole > 1, 1 / whole + self.overlap, 1.0)
            start = cells * (sides - size) / (whole - 1).clamp_min(1)
            rows = len(x) * m
            share = uniform(rows, self.scale, generator)[:, None] ** (1 / 3)
            box = share * size
            at = start.repeat(len(x), 1) + rand((rows, 3), generator) * (size - box)
            px, py, pz = (n // g for n, g in zip(crop, self.grid, strict=True))
            cut = augment.resize_box(x.repeat_interleave(m, dim=0), at, box, (px, py, pz))
            cut, _ = augment.random_flip(cut, self.flip, generator)
            cut = augment.brightness(cut, self.strong, self.brightness, generator)
            cut = augment.contrast(cut, self.strong, self.contrast, generator)
            cut = augment.gaussian_blur(cut, self.blur, self.blur_sigma, generator)
            return {"patches": cut.unflatten(0, (-1, m)), "order": rand((len(x), m), generator)}

    params: Params

    def __init__(self, network: Network, params: Params) -> None:
        super().__init__(network, params)
        width = network.encoder.widths[-1]
        self.cluster = mlp([width, width, params.out], "none")
        self.place = nn.Linear(width, prod(params.grid))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return both losses over the patches of all processes."""
        p, m = self.params, prod(self.params.grid)
        patches = distributed.gather(batch["patches"])  # (N, m, ...)
        n = len(patches)
        # patches are counted place by place
        order = distributed.gather(batch["order"]).T.flatten().argsort()
        shuffled = patches.transpose(0, 1).flatten(0, 1)[order].unflatten(0, (m, n))
        rows = len(batch["patches"])
        first = distributed.rank() * rows % n
        maps = self.encoder(montage(shuffled[:, first : first + rows], p.grid))[-1]
        cells = functional.adaptive_avg_pool3d(maps, p.grid).flatten(2).mT
        # cell by cell, as the patches
        seen = distributed.gather(cells).transpose(0, 1).flatten(0, 1)
        z = self.cluster(seen)
        cluster, found = grouped_contrast(z, order % n, p.temperature)
        place, right = classified(self.place(seen), order // n)
        return {
            "total": p.cluster_weight * cluster + p.place_weight * place,
            "cluster": cluster,
            "place": place,
            "placed": right,
            "chance": right.new_full((), 1 / m),
            "retrieval": found,
            "guessed": guess(shuffled, order % n),
            "std": spread(z.detach()),
        }


def montage(patches: Tensor, grid: Triple) -> Tensor:
    """Return montages (N, C, X, Y, Z) of patches (m, N, C, x, y, z) at a grid's cells, in raster order."""
    x = patches.unflatten(0, grid).permute(3, 4, 0, 5, 1, 6, 2, 7)
    return x.flatten(2, 3).flatten(3, 4).flatten(4, 5)


@torch.no_grad()
def guess(patches: Tensor, scan: Tensor) -> Tensor:
    """Return how often the patch of the nearest intensities is of the same scan: a rival of ``retrieval``."""
    seen = nuisance.intensities(patches.flatten(0, 1))
    distance = torch.cdist(seen, seen, compute_mode=nuisance.EXACT)
    distance.fill_diagonal_(torch.inf)
    return (scan[distance.argmin(dim=1)] == scan).to(seen.dtype).mean()
