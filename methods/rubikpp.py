"""Rubik's cube++: turn random slabs of a crop as a Rubik's cube is turned, and restore the crop."""

from dataclasses import dataclass
from math import prod
from typing import ClassVar, Literal

import torch
from torch import Tensor

from bench.method import Batch, EncoderMaps, Figure, Method, Recipe, Restores, Triple
from bench.nets import Network
from bench.pretext import rotation
from bench.pretext.adversary import Adversary, judging_flops
from bench.pretext.losses import reconstruction
from bench.random import randint
from bench.ranges import Amount, Count
from bench.source import Source


class RubikPP(Method):
    """Tao et al. 2020: an encoder-decoder against an adversary. No code was released."""

    title = "Rubik's cube++"
    needs = "decoder"
    source = Source(
        "X. Tao et al., Revisiting Rubik's Cube: Self-supervised Learning with Volume-Wise Transformation "
        "for 3D Medical Image Segmentation, MICCAI 2020",
        "https://arxiv.org/abs/2007.08826",
    )
    figure = Figure("restored", "restoration error", "chance", rises=False)
    terms: ClassVar = {"copied": "error of the input itself"}
    across_batch = False
    fidelity = "assumed parts: the abstract's idea; moves, weights and adversary are ours, no code to compare"

    @dataclass(frozen=True)
    class Params(Restores):
        """The paper's text was not at hand: what is assumed says so."""

        cubes: Count = 4  # assumed: a side, 24 voxels each of 96
        # assumed; only half turns where a plane is not square
        angles: Literal["quarter", "half"] = "quarter"
        loss: Literal["mse", "l1"] = "mse"  # assumed
        adversary: Amount = 0.01  # assumed; 0 switches it off
        widths: tuple[Count, ...] = (32, 64, 128, 256)  # assumed: four strided convolutions
        transfer: Literal["all", "encoder"] = "all"  # paper: encoder and decoder

        def head_flops(self, crop: Triple, maps: EncoderMaps) -> float:
            """Return the adversary's."""
            return judging_flops(self.widths, prod(crop)) if self.adversary else 0.0

        def check(self, crop: Triple, recipe: Recipe) -> None:
            """Refuse crops that the cubes do not fill."""
            if any(n % self.cubes for n in crop):
                raise self.refusal(
                    f"crops of {tuple(crop)} cannot be divided into {self.cubes} cubes along each side; set "
                    "cubes"
                )

        def views(self, batch: Batch, crop: Triple, generator: torch.Generator) -> Batch:
            """Turn each slab across x, then y, then z by a random angle: ``x`` the input, ``y`` the crop."""
            y = batch["crop"]
            turns = randint(0, 4, (len(y), 3, self.cubes), generator)
            return {"x": self.moved(y, turns), "y": y}

        def moved(self, x: Tensor, turns: Tensor) -> Tensor:
            """Return crops whose slabs were turned; ``turns`` (B, 3, cubes) quarters, even where need be."""
            for axis in range(3):
                sides = [n for i, n in enumerate(x.shape[2:]) if i != axis]
                half = self.angles == "half" or sides[0] != sides[1]
                quarters = (0, 2) if half else (0, 1, 2, 3)
                turn = [(axis, k) for k in quarters]
                which = (turns[:, axis] % len(turn)).unbind(1)
                slabs = x.chunk(self.cubes, dim=2 + axis)
                moved = [
                    rotation.turned(slab, turn, k) for slab, k in zip(slabs, which, strict=True)
                ]
                x = torch.cat(moved, dim=2 + axis)
            return x

    params: Params

    def __init__(self, network: Network, params: Params) -> None:
        super().__init__(network, params)
        wanted = params.adversary and params.widths
        self.judge = Adversary(network.in_channels, list(params.widths)) if wanted else None

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the restoration error, what deceiving the adversary costs, and what judging costs.

        ``chance`` is the lower of the errors of doing nothing and of each crop's mean.
        """
        p, x, y = self.params, batch["x"], batch["y"]
        made = self.decoder(x, self.encoder(x))
        mean = y.mean(dim=(2, 3, 4), keepdim=True).expand_as(y)
        restored, copied, flat = (reconstruction(guess, y, p.loss) for guess in (made, x, mean))
        terms = {
            "restored": restored,
            "copied": copied,
            "flat": flat,
            "chance": torch.minimum(copied, flat),
        }
        total = restored
        if self.judge is not None:
            terms["deceived"], terms["judged"] = self.judge(made, y)
            total = total + p.adversary * terms["deceived"] + terms["judged"]
        return {"total": total, **terms}
