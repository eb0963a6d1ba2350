"""GVSL: register one scan to another and restore a spoilt copy, so that like places look alike."""

from dataclasses import dataclass
from math import pi, prod

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench import distributed
from bench.augment.draw import chance, uniform
from bench.augment.values import smooth
from bench.constants import constant
from bench.method import Batch, EncoderMaps, Figure, Method, MethodParams, Triple
from bench.nets import Network
from bench.pretext import deform
from bench.pretext.losses import full_precision
from bench.random import rand
from bench.ranges import Amount, Amounts, Count, Share
from bench.source import Source


class GVSL(Method):
    """He et al. 2023: an affine and a dense registration on one network's features, beside restoration."""

    title = "GVSL"
    needs = "decoder"
    source = Source(
        "Y. He et al., Geometric Visual Similarity Learning in 3D Medical Image Self-supervised "
        "Pre-training, CVPR 2023",
        "https://arxiv.org/abs/2303.00874",
        "https://github.com/YutingHe-list/GVSL",
    )
    version = 2  # 2: boxes of noise, rising curves, small windows, shifts in half sides, as the code has them
    figure = Figure("alike", "local correlation of the registered scans", "before")
    fidelity = "official code compared: correlation, smoothness, affine matrix; two defects mended"
    min_batch = 2  # a scan is registered to the next one of the batch

    @dataclass(frozen=True)
    class Params(MethodParams):
        """Defaults are the code's (models/gvsl.py, Train_GVSL.py, Transform_self.py)."""

        affine: bool = True  # code; off = the dense part alone
        dense: bool = True  # code; off = the affine part alone
        restore_weight: Amount = 1.0  # code
        alike_weight: Amount = 1.0  # code
        smooth_weight: Amount = 1.0  # code
        # the code cuts the affine head's gradient by mistake: true does so, too
        affine_detach: bool = False
        window: Count = 9  # code, voxels a side of the local correlation
        features: Count = 32  # code, channels of the decoder that both heads read
        # VoxelMorph's habit: the flow starts near 0; code: as torch draws it
        small_flow: bool = False
        # code, radians about each axis; bounds of views and of the head alike
        rotate: Amount = pi / 9
        zoom: Share = 0.25  # code
        shift: Share = 0.1  # code, of half a side; of views alone
        shear: Amount = pi / 18  # code, radians
        elastic: Amounts = (0.0, 512.0)  # code, height of a smoothed uniform field, in voxels
        elastic_sigma: Amounts = (10.0, 13.0)  # code, voxels
        local_rate: Share = 0.8  # code, of local shuffling
        windows: Count = 5000  # code, of a twentieth of each side
        nonlinear_rate: Share = 0.9  # code
        bezier_points: Count = 100_000  # code
        boxes: Count = 30  # code, at most: painted over one after another; each follows with .95

        def __post_init__(self) -> None:
            if not (self.affine or self.dense):
                raise self.refusal(
                    "affine and dense are both off; set one of them, or use 'models_genesis'"
                )
            if self.window % 2 == 0:
                raise self.refusal(f"window {self.window} has no middle voxel; use an odd number")

        crops_per_sample = 2  # the spoilt scan and the one that is registered to it

        def head_flops(self, crop: Triple, maps: EncoderMaps) -> float:
            """Return those of what joins both last maps, of the flow and of the restored image."""
            f, w, narrow = self.features, maps.width, max(8, maps.width // 2)
            join = 27 * (2 * w * narrow + narrow**2) / prod(maps.stride)
            flow = 27 * (2 * f * 16 + 16 * 16 + 16 * 3) * self.dense
            return 2.0 * prod(crop) * (join + flow + 27 * f * 16 + 16)

        def out_channels(self, in_channels: int, classes: int) -> int:
            """Return the features that the decoder gives."""
            return self.features

        def views(self, batch: Batch, crop: Triple, generator: torch.Generator) -> Batch:
            """Scale crops to [0, 1], spoil a copy, and draw where both and the other scan are read.

            Returns:
                ``unit`` (B, C, X, Y, Z) before, ``y`` and ``x`` the crop and its spoilt copy after
                the transform; ``at`` (B, X, Y, Z, 3), in voxels, where it reads.
            """
            raw, g, rows = batch["crop"], generator, len(batch["crop"])
            low, high = (f(raw, dim=(2, 3, 4), keepdim=True) for f in (torch.amin, torch.amax))
            unit = (raw - low) / torch.where(high > low, high - low, 1)
            even = [(max(1, n // 20),) * 2 for n in crop]
            x = deform.local_shuffle(unit, chance(rows, self.local_rate, g), self.windows, g, even)
            chosen = chance(rows, self.nonlinear_rate, g)
            x = deform.bezier(x, chosen, self.bezier_points, g, rises=1.0)
            sides = [(max(1, n // 10), max(1, n // 5 - 1)) for n in crop]
            x = deform.paint_boxes(x, sides, deform.Boxes(self.boxes), g)
            bounds = constant(
                [self.rotate] * 3 + [self.zoom] * 3 + [self.shift] * 3 + [self.shear] * 6,
                raw.device,
            )
            drawn = uniform((rows, 15), (-1.0, 1.0), g) * bounds
            at = placed(drawn, crop)
            field = 2 * rand((rows, 3, *crop), g) - 1
            height = uniform(rows, self.elastic, g)
            field = smooth(field, uniform(rows, self.elastic_sigma, g), self.elastic_sigma[1])
            at = at + (field * height.view(-1, 1, 1, 1, 1)).movedim(1, -1)
            return {"unit": unit, "y": sampled(unit, at), "x": sampled(x, at), "at": at}

    params: Params

    def __init__(self, network: Network, params: Params) -> None:
        super().__init__(network, params)
        p, width = params, network.encoder.widths[-1]
        self.join = nn.Sequential(*double(2 * width, max(8, width // 2)))
        # rotation, scale, translation, shear: the code has a layer for each
        self.affine = nn.Linear(max(8, width // 2), 15) if p.affine else None
        last = nn.Conv3d(16, 3, 3, padding=1)
        self.flow = nn.Sequential(*double(2 * p.features, 16), last) if p.dense else None
        if p.small_flow and last.bias is not None:
            nn.init.normal_(last.weight, std=1e-5)
            nn.init.zeros_(last.bias)
        self.image = nn.Sequential(
            nn.Conv3d(p.features, 16, 3, padding=1),
            nn.GroupNorm(4, 16),
            nn.LeakyReLU(0.2),
            nn.Conv3d(16, network.in_channels, 1),
        )

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the terms; ``before`` is the correlation of the two scans as they were."""
        p, x, y = self.params, batch["x"], batch["y"]
        whole = distributed.gather(batch["unit"])
        rows = torch.arange(len(x), device=x.device) + distributed.rank() * len(x)
        other = sampled(whole[(rows + 1) % len(whole)], batch["at"])
        maps = self.encoder(torch.cat([x, other]))
        features = self.decoder(torch.cat([x, other]), maps)
        mine, theirs = features.chunk(2)
        moved, seen, flow = other, theirs, None
        if self.affine is not None:
            fixed, moving = maps[-1].chunk(2)
            told = self.affine(self.join(torch.cat([moving, fixed], dim=1)).mean(dim=(2, 3, 4)))
            bounded = self.bounded(told.detach() if p.affine_detach else told, x.shape[2:])
            at = placed(bounded, x.shape[2:])
            moved, seen = sampled(moved, at), sampled(seen, at)
        if self.flow is not None:
            flow = self.flow(torch.cat([seen, mine], dim=1))
            moved = sampled(moved, identity(x.shape[2:], x) + flow.movedim(1, -1))
        alike, before = correlation(moved, y, p.window), correlation(other, y, p.window)
        restored = (self.image(mine) - y).square().mean()
        total = p.alike_weight * (1 - alike) + p.restore_weight * restored
        terms = {"alike": alike, "before": before, "restored": restored}
        if flow is not None:
            terms["rough"] = roughness(flow)
            total = total + p.smooth_weight * terms["rough"]
        return {"total": total, **terms}

    def bounded(self, told: Tensor, shape: torch.Size | Triple) -> Tensor:
        """Return rotation, scale, translation and shear (B, 15) within their bounds; translation has none.

        As in the code, the head's translation is divided by the sides: a 1 moves half a voxel.
        """
        p = self.params
        turn, zoom, shift, shear = told.split([3, 3, 3, 6], dim=1)
        turn, zoom, shear = (v.clamp(-1, 1) for v in (turn, zoom, shear))
        shift = shift / constant(tuple(shape), told.device, told.dtype)
        return torch.cat([turn * p.rotate, zoom * p.zoom, shift, shear * p.shear], dim=1)


def double(width: int, out: int) -> list[nn.Module]:
    """Return two convolutions with group norm and leaky rectifiers."""
    made: list[nn.Module] = []
    for a in (width, out):
        made += [
            nn.Conv3d(a, out, 3, padding=1),
            nn.GroupNorm(max(1, out // 8), out),
            nn.LeakyReLU(0.2),
        ]
    return made


@full_precision
def matrices(told: Tensor) -> Tensor:
    """Return shear * scale * Rz * Ry * Rx, (B, 3, 3), of (B, 15); gradients flow, unlike in the code.

    Args:
        told: rotations (radians), scales less 1, translations (not used), shears xy, xz, yx, yz, zx, zy.
    """
    turn, zoom, _, shear = told.split([3, 3, 3, 6], dim=1)
    total = torch.eye(3, device=told.device, dtype=told.dtype).expand(len(told), 3, 3)
    cos, sin, zero, one = (
        turn.cos(),
        turn.sin(),
        torch.zeros_like(turn[:, 0]),
        torch.ones_like(turn[:, 0]),
    )
    for axis in range(3):
        a, b = (axis + 1) % 3, (axis + 2) % 3
        entries = {(axis, axis): one, (a, a): cos[:, axis], (b, b): cos[:, axis]}
        entries |= {(a, b): -sin[:, axis], (b, a): sin[:, axis]}
        rows = [entries.get((i, j), zero) for i in range(3) for j in range(3)]
        total = torch.stack(rows, dim=1).view(-1, 3, 3) @ total
    t = shear.tan()
    rows = [one, t[:, 0], t[:, 1], t[:, 2], one, t[:, 3], t[:, 4], t[:, 5], one]
    return torch.stack(rows, dim=1).view(-1, 3, 3) @ ((1 + zoom)[:, :, None] * total)


def identity(shape: torch.Size | Triple, like: Tensor) -> Tensor:
    """Return the voxels themselves, (X, Y, Z, 3)."""
    lines = [torch.arange(n, device=like.device, dtype=like.dtype) for n in shape]
    return torch.stack(torch.meshgrid(*lines, indexing="ij"), dim=-1)


@full_precision
def placed(told: Tensor, shape: torch.Size | Triple) -> Tensor:
    """Return where an affine map about the centre reads, (B, X, Y, Z, 3) in voxels; shifts in half sides."""
    size = constant(tuple(shape), told.device, told.dtype)
    middle = (size - 1) / 2
    offsets = identity(shape, told) - middle
    turned = torch.einsum("bij,xyzj->bxyzi", matrices(told), offsets)
    return turned + (middle + told[:, 6:9] * size / 2)[:, None, None, None]


@full_precision
def sampled(x: Tensor, at: Tensor) -> Tensor:
    """Read (B, C, X, Y, Z) at places (B, X, Y, Z, 3) in voxels, linearly; 0 outside.

    Places count voxels' centres in both steps, so that the identity changes nothing; the code takes one
    convention for places and another for reading.
    """
    size = constant(x.shape[2:], x.device, at.dtype)
    grid = (2 * at / (size - 1).clamp_min(1) - 1).flip(-1).expand(len(x), *at.shape[-4:])
    return functional.grid_sample(
        x, grid, mode="bilinear", padding_mode="zeros", align_corners=True
    )


@full_precision
def correlation(one: Tensor, two: Tensor, window: int) -> Tensor:
    """Return the mean squared correlation of windows, zero padded; 1 where images agree up to a factor."""
    n = window**3

    def summed(v: Tensor) -> Tensor:
        for axis in range(3):  # a box is three lines, at 3 w additions a voxel in place of w^3
            line, pad = [1, 1, 1], [0, 0, 0]
            line[axis], pad[axis] = window, window // 2
            v = functional.avg_pool3d(v, line, stride=1, padding=pad)
        return v * n

    i, j = one.flatten(0, 1)[:, None], two.flatten(0, 1)[:, None]
    si, sj = summed(i), summed(j)
    cross = summed(i * j) - si * sj / n
    vi, vj = summed(i * i) - si * si / n, summed(j * j) - sj * sj / n
    return (cross.square() / (vi * vj + 1e-5)).mean()


@full_precision
def roughness(flow: Tensor) -> Tensor:
    """Return the mean over axes of the mean squared difference of neighbours of a flow (B, 3, X, Y, Z)."""
    return torch.stack([flow.diff(dim=axis).square().mean() for axis in (2, 3, 4)]).mean()
