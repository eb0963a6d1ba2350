"""In-painting: hide a part of a slice, and restore it from what surrounds it."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

import torch
from torch import Tensor

from bench.method import Batch, EncoderMaps, Figure, Method, Restores, Triple
from bench.nets import Network
from bench.pretext.adversary import Adversary, judging_flops
from bench.pretext.losses import squared_error
from bench.pretext.slice_views import SliceViews, slice_views
from bench.ranges import Amount, Count, Positive, Share, Shares, Whole
from bench.source import Source
from bench.typed import sparse

TRIES = 128  # patterns of holes drawn at once, of which the first with an allowed area counts


class Inpainting2D(Method):
    """Pathak et al.'s context encoder, its adversary an option, on the network that is fine-tuned."""

    title = "In-painting"
    version = 2  # 2: noise, where there is some, in units of the views
    dims = 2
    needs = "decoder"
    source = Source(
        "Pathak et al., Context Encoders: Feature Learning by Inpainting, CVPR 2016",
        "https://arxiv.org/abs/1604.07379",
        "https://github.com/pathak22/context-encoder",
    )
    fidelity = (
        "official code read, not run (Lua): masks, weights, normalisation; a smaller adversary"
    )
    figure = Figure("hidden", "error on hidden pixels", "flat", rises=False)
    across_batch = False

    @dataclass(frozen=True)
    class Params(Restores, SliceViews):
        """Code is train.lua (centre) and train_random.lua (random)."""

        blur: Share = 0.0  # code: none; it would blur what is to be restored
        noise: Share = 0.0  # code: none; noise cannot be restored
        # paper, Section 3.3: features are learned with random regions; blocks, it says, are as good
        mask: Literal["random", "blocks", "centre"] = "random"
        side: Share = 0.5  # code: of the centre hole, as a share of the slice's
        density: Share = 0.25  # code, random: uniform noise below it is a hole
        resolution: Positive = 0.06  # code, random: cells of noise per pixel
        hole_area: Shares = (0.2, 0.3)  # code, random: bounds, excluded
        ring: Whole = 0  # code, centre: pixels of the hole's border that stay visible; README: 4
        ring_weight: Amount = 10.0  # code, centre: of that border
        loss_region: Literal["masked", "all"] = "masked"  # paper, Eq. 1; code, random: all
        # code, random, with all: of what is visible; 10 with useOverlapPred
        visible_weight: Amount = 1.0
        fill: float = 0.0  # code: the data's mean colour, which a z-score makes 0
        transfer: Literal["all", "encoder"] = "all"  # HSSL's one network; encoder: as Pathak et al.
        blocks: Count = sparse(8)  # assumed; paper, Section 3.3: a number, which may overlap
        block_side: Shares = sparse((1 / 8, 1 / 4))  # assumed: of each, as a share of the slice's
        # paper, Section 3.3: of the slice, what all cover at most
        block_area: Share = sparse(1 / 4)
        # README: .001, and features without; paper, Eq. 3; HSSL: none named
        adversary: Share = sparse(0.0)
        adversary_widths: tuple[Count, ...] = sparse((64, 128, 256, 512))  # code (ndf)

        def __post_init__(self) -> None:
            if self.ring and self.mask != "centre":
                raise self.refusal("ring works only with mask 'centre'; set ring: 0")
            if not 0 < self.side < 1:
                raise self.refusal(f"side must lie between 0 and 1, got {self.side}")
            if not self.adversary_widths:
                raise self.refusal("adversary_widths must have one or more numbers")

        crops_per_sample = 1  # one of each sample

        def head_flops(self, crop: Triple, maps: EncoderMaps) -> float:
            """Return the adversary's."""
            if not self.adversary:
                return 0.0
            seen = prod(crop) * (self.side**2 if self.mask == "centre" else 1)
            return judging_flops(self.adversary_widths, seen, dims=2)

        def views(self, batch: Batch, crop: Triple, generator: torch.Generator) -> Batch:
            """Augment every slice to ``y`` and cut the batch's one hole into it.

            Returns:
                ``x`` and ``y`` (B, C, X, Y, 1); ``hidden`` (B, 1, X, Y, 1), where ``x`` says nothing, and
                ``hole``, the same with the ring that is visible.
            """
            y, _, _ = slice_views(batch["crop"], crop, self, generator, batch.get("zscored"))
            shape = crop[:2]
            if self.mask == "random":
                hidden = hole = blobs(
                    shape, self.density, self.resolution, self.hole_area, generator
                )
            elif self.mask == "blocks":
                hidden = hole = squares(
                    shape, self.blocks, self.block_side, self.block_area, generator
                )
            else:
                hidden, hole = (centre_hole(shape, self.side, r, y.device) for r in (self.ring, 0))
            rows = (len(y), 1, *shape, 1)
            hidden, hole = (
                mask[None, None, ..., None].expand(rows).clone() for mask in (hidden, hole)
            )
            return {"x": torch.where(hidden, self.fill, y), "y": y, "hidden": hidden, "hole": hole}

        def judged(self, images: Tensor) -> Tensor:
            """Return what an adversary sees of images (B, C, X, Y, 1): a centre hole alone, or all."""
            if self.mask != "centre":
                return images
            x, y = centre(images.shape[2:4], self.side, 0)
            return images[:, :, x, y]

    params: Params

    def __init__(self, network: Network, params: Params) -> None:
        super().__init__(network, params)
        hole = centre_hole(self.crop[:2], params.side, params.ring, torch.device("cpu"))
        if not hole.any():
            raise self.refusal(
                f"in a crop of {self.crop} a hole of side {params.side:g} is empty after a ring of "
                f"{params.ring} is taken off"
            )
        self.judge: Adversary | None = None
        if params.adversary:
            whole = torch.empty(1, 1, *self.crop[:2], 1, device="meta")
            sides, factor = params.judged(whole).shape[2:4], 2 ** len(params.adversary_widths)
            if min(sides) < factor:
                raise self.refusal(
                    f"the adversary gets {tuple(sides)} pixels, too few to halve them "
                    f"{len(params.adversary_widths)} times; use fewer adversary_widths, or a larger crop"
                )
            self.judge = Adversary(network.in_channels, list(params.adversary_widths), dims=2)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the weighted error per pixel that counts, and the plain one on hidden pixels.

        ``flat`` is the error of each slice's mean over its hidden pixels: the least that one value can get.
        With an adversary ``total`` weighs the error against what deceiving it costs, and what judging costs
        is added: that moves the adversary alone.
        """
        x, y, hidden, hole = (batch[k] for k in ("x", "y", "hidden", "hole"))
        made, p = self.decoder(x, self.encoder(x)), self.params
        weight = torch.where(hidden, 1.0, p.ring_weight) * hole
        if p.loss_region == "all":
            weight, hole = torch.where(hole, weight, p.visible_weight), torch.ones_like(hole)
        mean = (y * hidden).sum(dim=(2, 3), keepdim=True) / hidden.sum(dim=(2, 3), keepdim=True)
        terms = {
            "total": squared_error(made, y, weight, hole).mean(),
            "hidden": squared_error(made.detach(), y, hidden, hidden).mean(),
            "flat": squared_error(mean, y, hidden, hidden).mean(),
        }
        if self.judge is not None:
            terms["deceived"], terms["judged"] = self.judge(p.judged(made), p.judged(y))
            restored = (1 - p.adversary) * terms["total"]
            terms["total"] = restored + p.adversary * terms["deceived"] + terms["judged"]
        return terms


def centre_hole(shape: tuple[int, int], side: float, ring: int, device: torch.device) -> Tensor:
    """Return a mask of the centre, as ``centre`` has it.

    Args:
        shape: pixels along x and y.
        side: share of each axis; .5 covers a quarter of the pixels.
        ring: pixels all around by which it is smaller than that.
        device: where the mask is made.
    """
    hole = torch.zeros(shape, dtype=torch.bool, device=device)
    hole[centre(shape, side, ring)] = True
    return hole


def centre(shape: Sequence[int], side: float, ring: int) -> tuple[slice, slice]:
    """Return where the centre lies, ``side`` times as long as the slice along each axis, less a ``ring``."""
    edges = [round((1 - side) * n / 2) + ring for n in shape]  # alike on both sides of an axis
    x, y = (slice(edge, max(edge, n - edge)) for n, edge in zip(shape, edges, strict=True))
    return x, y


def squares(
    shape: tuple[int, int],
    count: int,
    side: tuple[float, float],
    area: float,
    generator: torch.Generator,
) -> Tensor:
    """Return a mask of squares at uniform places: of those drawn the first that cover ``area`` at most.

    One counts in any case. A square's side is one uniform share of both axes. The draw is the same in every
    part of a batch, which share the mask.

    Args:
        shape: pixels along x and y.
        count: squares at most.
        side: bounds of a square's share of each axis.
        area: highest share of all pixels.
        generator: the only randomness.
    """
    # not from bench.random, which gives every part of a batch rows of its own
    drawn = torch.rand((count, 3), generator=generator, device=generator.device)
    share, place = side[0] + (side[1] - side[0]) * drawn[:, 0], drawn[:, 1:].unbind(1)
    lines = []
    for n, at in zip(shape, place, strict=True):
        length = (share * n).round().clamp(1, n)
        start = (at * (n - length + 1)).floor()[:, None]
        pixel = torch.arange(n, device=share.device)
        lines.append((pixel >= start) & (pixel < start + length[:, None]))
    # the union of the first ones
    holes = (lines[0][:, :, None] & lines[1][:, None]).long().cumsum(0) > 0
    fits = (holes.float().mean((1, 2)) <= area).sum().clamp_min(1)
    return holes[fits - 1]


def blobs(
    shape: tuple[int, int],
    density: float,
    resolution: float,
    area: tuple[float, float],
    generator: torch.Generator,
) -> Tensor:
    """Return a mask of irregular holes: where coarse uniform noise, made fine bicubically, is low.

    Of many patterns the first counts whose area lies strictly within bounds; should none, the one nearest to
    their middle. The draw is the same in every part of a batch, which share the mask.

    Args:
        shape: pixels along x and y.
        density: noise below it is a hole.
        resolution: cells of noise per pixel; the lower, the larger the holes.
        area: bounds of the masked share of all pixels.
        generator: the only randomness.
    """
    device = generator.device
    cells = [int((n - 1) * resolution) + 5 for n in shape]  # a phase, and a cell more at either end
    # not from bench.random, which gives every part of a batch rows of its own
    noise = torch.rand((TRIES, *cells), generator=generator, device=device)
    phase = torch.rand((TRIES, 2), generator=generator, device=device)
    lines = zip(shape, cells, phase.unbind(1), strict=True)
    x, y = (bicubic(n, c, resolution, p) for n, c, p in lines)
    with torch.autocast(device.type, enabled=False):  # 16 bits would move the edges
        holes = x @ noise @ y.transpose(1, 2) < density
    share = holes.float().mean((1, 2))
    low, high = area
    fits = (share > low) & (share < high)
    off = (share - (low + high) / 2).abs()
    first = torch.where(fits.any(), fits.to(torch.uint8).argmax(), off.argmin())
    return holes[first[None]][0]  # by a number, a GPU would be waited for


def bicubic(pixels: int, cells: int, resolution: float, phase: Tensor) -> Tensor:
    """Return the weights of cells in pixels along a line, (N, pixels, cells), by Catmull and Rom's spline.

    Args:
        pixels: of the fine line; pixel i lies at ``1 + phase + i * resolution`` on the coarse one.
        cells: of the coarse line, enough for the last pixel's four.
        resolution: cells per pixel.
        phase: (N,) in [0, 1).
    """
    at = 1 + phase[:, None] + resolution * torch.arange(pixels, device=phase.device)
    off = (at[..., None] - torch.arange(cells, device=phase.device)).abs()
    near = 1 - 2.5 * off**2 + 1.5 * off**3
    far = 2 - 4 * off + 2.5 * off**2 - 0.5 * off**3
    return torch.where(off < 1, near, torch.where(off < 2, far, 0.0))
