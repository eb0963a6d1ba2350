"""Swin UNETR's pretraining: restore what was cut out, tell the turn, and tell crops apart."""

from dataclasses import dataclass
from math import prod
from typing import ClassVar, Literal

import torch
from torch import Tensor

from bench import distributed
from bench.method import Batch, EncoderMaps, Figure, Method, MethodParams, Recipe, Triple
from bench.nets import Network, catalog
from bench.pretext import cutout, rotation
from bench.pretext.losses import classified, full_precision, nt_xent, spread
from bench.pretext.three_heads import Pool, ThreeHeads, Up, upsampling_flops
from bench.random import rand, randint
from bench.ranges import Amount, Count, Positive, Share
from bench.source import Source


class SwinUNETRSSL(Method):
    """Tang et al. 2022: three heads on the last map of an encoder."""

    title = "Swin UNETR SSL"
    source = Source(
        "Y. Tang et al., Self-Supervised Pre-Training of Swin Transformers for 3D Medical Image Analysis, "
        "CVPR 2022",
        "https://arxiv.org/abs/2111.14791",
        "https://github.com/Project-MONAI/research-contributions/tree/21ed8e5/SwinUNETR/Pretrain",
    )
    figure = Figure("turned", "copies whose rotation was predicted correctly", "chance")
    terms: ClassVar = {"copied": "error of the input itself"}
    fidelity = "official code compared: heads, losses, cut boxes' distribution; see docs/methods"
    min_batch = 2  # one crop has no negatives

    @dataclass(frozen=True)
    class Params(MethodParams):
        """Defaults are the released code's; 'paper' where it says otherwise."""

        turn_weight: Amount = 1.0  # code alpha1; paper's lambda_3
        contrast_weight: Amount = 1.0  # code alpha2
        image_weight: Amount = 1.0  # code alpha3
        temperature: Positive = 0.5  # code
        out: Count = 512  # code
        cut: Share = 0.3  # code max_drop, paper's 30 %: at most, of which a uniform part is drawn
        cut_side: Share = 0.25  # code max_block_sz, of each axis
        cut_least: Share = 0.05  # code tolr
        donors: bool = True  # code: boxes of another crop of the batch as well
        # paper: about z; the code's dims (2, 3) of C, x, y, z are about x, 0
        axis: Literal[0, 1, 2] = 2
        pool: Pool = "token"  # code: the corner cell names the turn, the next one is embedded
        up: Up = "vae"  # code
        image_on: Literal["all", "cut"] = "all"  # code: all voxels

        crops_per_sample = 2  # two copies

        def head_flops(self, crop: Triple, maps: EncoderMaps) -> float:
            """Return those of the way back to the image."""
            return self.crops_per_sample * prod(crop) * upsampling_flops(maps, self.up)

        def check(self, crop: Triple, recipe: Recipe) -> None:
            """Refuse crops that a quarter turn would change in shape."""
            sides = [n for i, n in enumerate(crop) if i != self.axis]
            if sides[0] != sides[1]:
                raise self.refusal(
                    f"a quarter turn about {'xyz'[self.axis]} changes the shape of crops of {tuple(crop)}; "
                    "set axis, or use a crop that is square in that plane"
                )

        def views(self, batch: Batch, crop: Triple, generator: torch.Generator) -> Batch:
            """Turn two copies of each crop and cut boxes of noise out of them.

            Returns:
                ``y`` (B, 2, C, X, Y, Z) turned, ``x`` with noise in boxes, ``label`` (B, 2) the turns;
                ``hole`` (B, 2, 1, X, Y, Z) where another crop shows, ``donor`` (B, 2) in [0, 1), which one.
            """
            x = batch["crop"].repeat_interleave(2, dim=0)
            label = randint(0, 4, len(x), generator)
            y = rotation.turned(x, [(self.axis, k) for k in range(4)], label)
            boxes = cutout.Boxes(self.cut, self.cut_least, self.cut_side)
            made = {"y": y, "x": cutout.noisy(y, boxes, generator), "label": label}
            if self.donors:
                made["hole"] = cutout.holes(len(x), crop, boxes, generator)
                made["donor"] = rand(len(x), generator)
            return {k: v.unflatten(0, (-1, 2)) for k, v in made.items()}

    params: Params

    def __init__(self, network: Network, params: Params) -> None:
        super().__init__(network, params)
        stride = catalog.network_facts(network.full_name).pyramid[-1]
        width = network.encoder.widths[-1]
        self.heads = ThreeHeads(
            width, stride, network.in_channels, params.out, params.pool, params.up
        )

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the three terms; ``copied`` is the error of the cut crop, ``flat`` that of each mean."""
        p = self.params
        x = self.cut(batch)
        y = batch["y"].flatten(0, 1)
        logits, z, image = self.heads(self.encoder(x)[-1])
        turn, right = classified(logits, batch["label"].flatten())
        one, two = (distributed.gather(half) for half in z.unflatten(0, (-1, 2)).unbind(1))
        contrast, nearest = nt_xent(one, two, p.temperature)
        where = (x != y) if p.image_on == "cut" else torch.ones_like(y, dtype=torch.bool)
        restored = absolute(image, y, where)
        terms = {"turn": turn, "contrast": contrast, "image": restored}
        total = p.turn_weight * turn + p.contrast_weight * contrast + p.image_weight * restored
        return {
            "total": total,
            **terms,
            "copied": absolute(x, y, where),
            "flat": absolute(y.mean(dim=(2, 3, 4), keepdim=True), y, where),
            "turned": right,
            "chance": right.new_full((), 0.25),
            "retrieval": nearest,
            "std": spread(torch.cat([one, two]).detach()),
        }

    def cut(self, batch: Batch) -> Tensor:
        """Return the cut copies (2 B, C, X, Y, Z): noise, then boxes of another crop."""
        x, y = batch["x"], batch["y"]
        if not self.params.donors:
            return x.flatten(0, 1)
        whole = distributed.gather(y)
        other = (batch["donor"] * len(whole)).long()
        donors = torch.stack([whole[other[:, i], i] for i in range(2)], dim=1)
        return torch.where(batch["hole"], donors, x).flatten(0, 1)


@full_precision
def absolute(image: Tensor, target: Tensor, where: Tensor) -> Tensor:
    """Return the mean absolute error over the voxels that count, of all processes; 0 where none do."""
    error = (image - target).abs() * where
    return error.sum() / distributed.mean(where.sum(dtype=error.dtype)).clamp_min(1)
