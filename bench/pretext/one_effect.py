"""Two views of a crop, each changed by one of torchio's random transforms, batched on the device.

Defaults are torchio 0.19's own. Its amounts are meant for intensities in [0, 1]: z-scores are counted from
the crop's minimum in units of its range.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from bench import augment
from bench.augment.affine import places, rotation, sampled
from bench.augment.draw import chance, fields, per_sample, seeds, uniform
from bench.augment.rows import change
from bench.augment.values import TINY, blur, coarsen
from bench.errors import BenchError
from bench.method import Batch, MethodParams, Triple
from bench.pretext.losses import full_precision
from bench.pretext.units import twice, unit_of
from bench.random import randint
from bench.ranges import Amount, Amounts, Factors, Share, Whole

Effect = Literal["flip", "affine", "anisotropy", "noise", "blur", "bias", "gamma"]
EFFECTS: tuple[Effect, ...] = ("flip", "affine", "anisotropy", "noise", "blur", "bias", "gamma")
# rows (N, C, X, Y, Z), which of the batch they are (N,) -> rows
Act = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class OneEffect(MethodParams):
    """The parameters of both views; a method's ``Params`` inherit them. Amounts are torchio's defaults."""

    effects: tuple[Effect, ...] = EFFECTS  # a view gets one, its partner another
    flip: Share = 0.5  # along z, the slices
    degrees: Amount = 10.0  # affine, about each axis
    zoom: Share = 0.1  # affine, each axis on its own
    thinned: Factors = (1.5, 5.0)  # anisotropy: voxels along one axis over those left
    noise_std: Amounts = (0.0, 0.25)
    blur_sigma: Amounts = (0.0, 2.0)  # in voxels, each axis on its own
    bias: Amount = 0.5  # coefficients up to it
    bias_order: Whole = 3  # of the polynomial
    log_gamma: Amount = 0.3

    def __post_init__(self) -> None:
        if len(set(self.effects)) < max(2, len(self.effects)):
            raise BenchError(
                f"effects: the two views get different effects; name two or more, each once, got {list(self.effects)}"
            )

    @property
    def crops_per_sample(self) -> float:
        """Two views."""
        return 2

    def views(self, batch: Batch, crop: Triple, generator: torch.Generator) -> Batch:
        """Return both views (B, 2, C, *crop), and which are mirrored along z, ``flipped`` (B, 2)."""
        rows, count = len(batch["crop"]), len(self.effects)
        first = randint(0, count, rows, generator)
        kind = torch.stack(
            [first, (first + randint(1, count, rows, generator)) % count], dim=1
        ).flatten()
        x, zscored = batch["crop"].repeat_interleave(2, dim=0), twice(batch.get("zscored"))
        changed, flipped = self.changed(x, kind, zscored, generator)
        return {"views": changed.unflatten(0, (-1, 2)), "flipped": flipped.unflatten(0, (-1, 2))}

    def changed(
        self, x: Tensor, kind: Tensor, zscored: Tensor | None, g: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return rows (N, C, X, Y, Z), each after its one of ``effects``, and which of them are mirrored.

        What is drawn does not depend on ``kind`` (N,), nor does a row's noise on the other rows.
        """
        n = len(x)
        low, one = scale(x, zscored)
        mirrored = chance(n, self.flip, g)
        angles = torch.deg2rad(uniform((n, 3), (-self.degrees, self.degrees), g))
        extent = 1 / uniform((n, 3), (1 - self.zoom, 1 + self.zoom), g)
        matrix = rotation(angles) * extent[:, None]
        axis, share = randint(0, 3, n, g), 1 / uniform(n, self.thinned, g)
        shares = torch.where(axis[:, None] == torch.arange(3, device=x.device), share[:, None], 1.0)
        std, seed = uniform(n, self.noise_std, g) * one, seeds(n, g)
        sigma = uniform((n, 3), self.blur_sigma, g).clamp_min(1e-3)
        radius = int(4 * self.blur_sigma[1] + 0.5)
        terms = uniform((n, *[self.bias_order + 1] * 3), (-self.bias, self.bias), g)
        power = uniform(n, (-self.log_gamma, self.log_gamma), g).exp()
        acts: dict[Effect, Act] = {
            "flip": lambda rows, at: augment.flip(rows, functional.pad(mirrored[at, None], (2, 0))),
            "affine": lambda rows, at: turned(rows, matrix[at]),
            "anisotropy": lambda rows, at: thinned(rows, shares[at]),
            "noise": lambda rows, at: rows + per_sample(std[at]) * fields(rows, seed[at]),
            "blur": lambda rows, at: blur(rows, sigma[at], radius),
            "bias": lambda rows, at: scaled(rows, bias_field(terms[at], rows.shape[2:]), low[at]),
            "gamma": lambda rows, at: raised(rows, power[at], low[at], one[at]),
        }
        for number, name in enumerate(self.effects):
            x = change(x, kind == number, into(acts[name]), inplace=False)
        flips = self.effects.index("flip") if "flip" in self.effects else -1
        return x, mirrored & (kind == flips)


def into(act: Act) -> Act:
    """Return what writes its result into the rows that it is given."""
    return lambda rows, at: rows.copy_(act(rows, at))


def scale(x: Tensor, zscored: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return what 0 and 1 are in each row's intensities, (N,) each: of z-scores minimum and range."""
    one = unit_of(x, "unit", zscored)
    if zscored is None or one is None:
        return x.new_zeros(len(x)), x.new_ones(len(x))
    return torch.where(zscored, x.flatten(1).amin(dim=1), 0.0), one


def turned(x: Tensor, matrix: Tensor) -> Tensor:
    """Return rows read where ``matrix`` (N, 3, 3) says, about the centre; outside is the row's minimum."""
    least, (x1, y1, z1) = per_sample(x.flatten(1).amin(dim=1)), x.shape[2:]
    return sampled(x - least, places(matrix.to(x), x.shape[2:], (x1, y1, z1)), "linear") + least


def thinned(x: Tensor, share: Tensor) -> Tensor:
    """Return rows of which a share (N, 3) of the voxels of each axis is left, read back linearly."""
    for axis in range(3):
        x = coarsen(x, share[:, axis], (axis,))
    return x


def scaled(x: Tensor, by: Tensor, low: Tensor) -> Tensor:
    """Return rows times a field, counted from ``low`` (N,)."""
    return (x - per_sample(low)) * by + per_sample(low)


def raised(x: Tensor, power: Tensor, low: Tensor, one: Tensor) -> Tensor:
    """Return rows to a power (N,), counted from ``low`` in units of ``one``, either side of it alike."""
    unit = (x - per_sample(low)) / per_sample(one).clamp_min(TINY)
    return unit.sign() * unit.abs() ** per_sample(power) * per_sample(one) + per_sample(low)


@full_precision
def bias_field(terms: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return exp of polynomials as fields (N, 1, X, Y, Z), coordinates from -1 to 1 along each axis.

    Van Leemput et al., IEEE TMI 1999, as torchio has it.

    Args:
        terms: (N, k, k, k) coefficients of x^a y^b z^c; those of a + b + c >= k are left out.
        shape: voxels X, Y, Z.
    """
    k = terms.shape[1]
    power = torch.arange(k, device=terms.device)
    low = power.view(-1, 1, 1) + power.view(-1, 1) + power < k
    at = [
        torch.linspace(-1, 1, n, device=terms.device, dtype=terms.dtype) ** power[:, None]
        for n in shape
    ]
    return torch.einsum("nabc,ax,by,cz->nxyz", terms * low, *at).exp()[:, None]
