"""Rotation on volumes: tell by which quarter turns a cube was turned (Taleb et al. 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from bench.errors import BenchError
from bench.method import Batch, Figure, Method, Recipe, Triple
from bench.nets import Network
from bench.pretext import rotation
from bench.random import rand
from bench.ranges import Count, Part
from bench.source import Source


class Rotation3D(Method):
    """Taleb et al.'s 3D-Rot: ten turns, of which one is none, named from the whole last map."""

    title = "Rotation"
    paper = "taleb"
    source = Source(
        "Taleb et al., 3D Self-Supervised Methods for Medical Imaging, NeurIPS 2020",
        "https://arxiv.org/abs/2006.03829",
        "https://github.com/HealthML/self-supervised-3d-tasks",
    )
    fidelity = "turns, head and loss compared with the official code"
    figure = Figure("accuracy", "cubes whose rotation was predicted correctly", "chance")
    min_batch = 2  # batch norm in the head
    across_batch = True

    @dataclass(frozen=True)
    class Params(rotation.Named):
        """The paper says which turns, the code by what they are named."""

        classes: Literal[10, 24] = 10  # paper, Section 3.4; 24 = all turns of a cube
        # code; paper: "multiple rotated versions for each 3D image", without a number
        versions: Count = 1
        head: Literal["linear", "mlp"] = "mlp"  # code; linear = on the last map's mean
        hidden: tuple[Count, ...] = (2048, 1024)  # code
        dropout: Part = 0.5  # code, behind each hidden layer

        def __post_init__(self) -> None:
            if self.versions > self.classes:
                raise self.refusal(
                    f"versions = {self.versions}, but a cube has only {self.classes} different turns; use "
                    "fewer versions"
                )

        @property
        def crops_per_sample(self) -> float:
            """Turned versions of a cube."""
            return self.versions

        def check(self, crop: Triple, recipe: Recipe) -> None:
            """Refuse crops that are no cubes: the shape would tell the turn."""
            if len(set(crop)) > 1:
                raise BenchError(f"method 'rotation3d' turns cubes, but the crop is {tuple(crop)}")

        def views(self, batch: Batch, crop: Triple, generator: torch.Generator) -> Batch:
            """Turn each cube in T different ways: ``views`` (B, T, C, n, n, n), and ``label`` (B, T)."""
            x = batch["crop"]
            label = rand((len(x), self.classes), generator).argsort(dim=1)[:, : self.versions]
            rows = x.repeat_interleave(self.versions, dim=0)
            views = rotation.of_cube(rows, self.classes, label.flatten())
            made = {"views": views.unflatten(0, label.shape), "label": label}
            return self.with_dropout(made, generator)

    params: Params

    def __init__(self, network: Network, params: Params) -> None:
        super().__init__(network, params)
        self.head = params.made_head(network, params.classes)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy of the turns, mean over all turned cubes, and their accuracy."""
        return self.params.named(self.encoder, self.head, batch)
