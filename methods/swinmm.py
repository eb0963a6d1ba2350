"""SwinMM: masked crops in several orientations, whose restorations must agree."""

from dataclasses import dataclass
from math import prod
from typing import Literal

import torch
from torch import Tensor

from bench import distributed
from bench.method import Batch, EncoderMaps, Figure, Method, MethodParams, Recipe, Triple
from bench.nets import Network, catalog
from bench.pretext import rotation
from bench.pretext.losses import classified, full_precision, nt_xent, spread
from bench.pretext.mask import marked, random_split
from bench.pretext.three_heads import Pool, ThreeHeads, Up, upsampling_flops
from bench.random import randint
from bench.ranges import Amount, Count, Positive, Share
from bench.source import Source

SWAPS = {"xy": (2, 3), "xz": (2, 4)}  # code: view_transforms' codes 1 and 2, which undo themselves


class SwinMM(Method):
    """Wang et al. 2023: the three heads of Tang et al. on masked crops, and mutual learning."""

    title = "SwinMM"
    source = Source(
        "Y. Wang et al., SwinMM: Masked Multi-view with Swin Transformers for 3D Medical Image Segmentation, "
        "MICCAI 2023",
        "https://arxiv.org/abs/2307.12591",
        "https://github.com/UCSC-VLAA/SwinMM",
    )
    figure = Figure("turned", "copies whose rotation was predicted correctly", "chance")
    fidelity = (
        "official code compared: heads and losses; its masks' polarity mended, see docs/methods"
    )
    min_batch = 2  # one crop has no negatives

    @dataclass(frozen=True)
    class Params(MethodParams):
        """Defaults are the released code's, of crops of 64^3."""

        mask_ratio: Share = 0.5  # code
        unit: Count = 16  # code, voxels a side that are hidden together
        # the code hides 1 - ratio, over ratio: alike at .5
        polarity: Literal["mended", "code"] = "mended"
        shared: bool = True  # code: one mask for all crops of a batch
        swaps: tuple[str, ...] = ("xy", "xz")  # code: axes that are exchanged in the further views
        temperature: Positive = 0.5  # code
        out: Count = 512  # code
        turn_weight: Amount = 1.0  # code alpha1
        contrast_weight: Amount = 1.0  # code alpha2
        image_weight: Amount = 1.0  # code alpha3, of both views
        mutual_weight: Amount = 1.0  # code: the first copy's two views
        # code --mutual_learning_on_more_view: the second copy's too, turned alike
        more_weight: Amount = 0.0
        norm_image: bool = False  # code --norm_pix_loss: of the whole crop, not of a patch
        axis: Literal[0, 1, 2] = 0  # code: about x
        pool: Pool = "token"  # code
        up: Up = "vae"  # code

        def __post_init__(self) -> None:
            unknown = set(self.swaps) - SWAPS.keys()
            if unknown or not self.swaps:
                raise self.refusal(
                    f"swaps must be one or both of xy and xz, not {list(self.swaps)}"
                )

        crops_per_sample = 4  # two copies in two views

        def head_flops(self, crop: Triple, maps: EncoderMaps) -> float:
            """Return those of the way back to the image."""
            return self.crops_per_sample * prod(crop) * upsampling_flops(maps, self.up)

        @property
        def hidden(self) -> float:
            """Share of the units that are hidden."""
            return self.mask_ratio if self.polarity == "mended" else 1 - self.mask_ratio

        def check(self, crop: Triple, recipe: Recipe) -> None:
            """Refuse crops that a turn or an exchange of axes would change in shape, or units do not fill."""
            if any(n % self.unit for n in crop):
                raise self.refusal(
                    f"crops of {tuple(crop)} cannot be divided into units of {self.unit} voxels"
                )
            planes = {"".join("xyz"[i] for i in range(3) if i != self.axis), *self.swaps}
            for plane in sorted(planes):
                if len({crop["xyz".index(axis)] for axis in plane}) > 1:
                    raise self.refusal(
                        f"crops of {tuple(crop)} are not square in {plane}; set axis or swaps, or use a crop "
                        "that is square there"
                    )

        def views(self, batch: Batch, crop: Triple, generator: torch.Generator) -> Batch:
            """Turn two copies of each crop, and draw what of them is hidden and which axes are exchanged.

            Returns:
                ``y`` (B, 2, C, X, Y, Z) turned, ``label`` (B, 2) the turns, ``hidden`` (B, 2, 1, X, Y, Z),
                ``swap`` (B, 2) which of ``swaps``, the same in all rows.
            """
            x = batch["crop"].repeat_interleave(2, dim=0)
            label = randint(0, 4, len(x), generator)
            y = rotation.turned(x, [(self.axis, k) for k in range(4)], label)
            units = tuple(n // self.unit for n in crop)
            if self.shared:  # not from bench.random, which gives each part of a batch its own
                order = torch.rand((2, prod(units)), generator=generator, device=x.device).argsort(
                    1
                )
                index = order[:, : round(prod(units) * self.hidden)].repeat(len(batch["crop"]), 1)
            else:
                index, _ = random_split(len(x), prod(units), self.hidden, generator)
            hidden = marked(index, prod(units)).unflatten(1, units)[:, None]
            for axis in (2, 3, 4):
                hidden = hidden.repeat_interleave(self.unit, dim=axis)
            swap = torch.randint(len(self.swaps), (2,), generator=generator, device=x.device)
            made = {
                "y": y,
                "label": label,
                "hidden": hidden,
                "swap": swap.repeat(len(batch["crop"])),
            }
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
        """Return the terms of the code; ``flat`` is the error of each crop's mean on what is hidden."""
        p, y, hidden = self.params, batch["y"].flatten(0, 1), batch["hidden"].flatten(0, 1)
        x, swap = y.masked_fill(hidden, 0), batch["swap"].flatten()
        maps = self.encoder(torch.cat([x, self.swapped(x, swap)]))[-1]  # all four views at once
        logits, z, image = self.heads(maps)
        turn, right = classified(logits[: len(x)], batch["label"].flatten())
        one, two = (
            distributed.gather(half) for half in z[: len(x)].unflatten(0, (-1, 2)).unbind(1)
        )
        contrast, nearest = nt_xent(one, two, p.temperature)
        plain, other = image[: len(x)], self.swapped(image[len(x) :], swap)
        target = normed(y) if p.norm_image else y
        restored = squared(plain, target, hidden, p.mask_ratio) + squared(
            other, target, hidden, p.mask_ratio
        )
        mutual = squared(plain[::2], other[::2], hidden[::2], p.mask_ratio)
        total = p.turn_weight * turn + p.contrast_weight * contrast + p.image_weight * restored
        total = total + p.mutual_weight * mutual
        terms = {"turn": turn, "contrast": contrast, "image": restored, "mutual": mutual}
        if p.more_weight:
            terms["more"] = self._more(batch, plain, other)
            total = total + p.more_weight * terms["more"]
        flat = squared(y.mean(dim=(2, 3, 4), keepdim=True).expand_as(y), y, hidden, p.mask_ratio)
        shown = {
            "turned": right,
            "chance": right.new_full((), 0.25),
            "retrieval": nearest,
            "flat": flat,
        }
        return {"total": total, **terms, **shown, "std": spread(torch.cat([one, two]).detach())}

    def _more(self, batch: Batch, plain: Tensor, other: Tensor) -> Tensor:
        """Return how far the second copy's other view, turned alike, is from the first copy's plain one."""
        turns = [(self.params.axis, k) for k in range(4)]
        by = (batch["label"][:, 0] - batch["label"][:, 1]) % 4
        image, hidden = (
            rotation.turned(v, turns, by) for v in (other[1::2], batch["hidden"][:, 1])
        )
        both = hidden & batch["hidden"][:, 0]
        error = (image - plain[::2]).square() * both
        channels = image.shape[1]
        return error.sum() / (channels * distributed.mean(both.sum(dtype=error.dtype))).clamp_min(1)

    def swapped(self, x: Tensor, swap: Tensor) -> Tensor:
        """Return (N, C, X, Y, Z) with each row's axes exchanged; the same again undoes it."""
        made = x
        for number, name in enumerate(self.params.swaps):
            made = torch.where(
                (swap == number).view(-1, 1, 1, 1, 1), x.transpose(*SWAPS[name]), made
            )
        return made


@full_precision
def squared(image: Tensor, target: Tensor, hidden: Tensor, ratio: float) -> Tensor:
    """Return the mean over all voxels of the hidden ones' squared error, over ``ratio``."""
    return ((image - target).square() * hidden).mean() / ratio


@full_precision
def normed(y: Tensor) -> Tensor:
    """Return each crop's channels without their mean, over their standard deviation (unbiased, 1e-6)."""
    variance, mean = torch.var_mean(y, dim=(2, 3, 4), keepdim=True)
    return (y - mean) / (variance + 1e-6).sqrt()
