"""My method: tell along which axes a slice was mirrored."""

from dataclasses import dataclass

import torch
from torch import nn

from bench import augment
from bench.constants import constant
from bench.method import Figure, Method, MethodParams
from bench.pretext.losses import classified
from bench.random import randint
from bench.source import Source

WAYS = 4  # every choice of x and y


class MyMethod(Method):
    """A Linear on the pooled last map predicts the axes."""

    title = "My method"
    source = Source("Who, What, Where and When", "https://example.org")
    fidelity = "our own"
    figure = Figure("accuracy", "slices whose axes are predicted correctly", chance="chance")
    dims = 2  # slices: crops are (B, C, X, Y, 1)
    across_batch = False  # the loss of a sample does not depend on the others

    @dataclass(frozen=True)
    class Params(MethodParams):
        noise: float = 0.01  # our choice: the largest variance of the noise that is added

        def views(self, batch, crop, generator):
            way = randint(0, WAYS, len(batch["crop"]), generator)
            axes = torch.stack([way // 2, way % 2, torch.zeros_like(way)], dim=1).bool()
            mirrored = augment.flip(batch["crop"], axes)
            noisy = augment.gaussian_noise(mirrored, 1.0, (0.0, self.noise), generator)
            return {"mirrored": noisy, "way": way}

    def __init__(self, network, params):
        super().__init__(network, params)
        self.head = nn.Linear(network.encoder.widths[-1], WAYS)

    def loss(self, batch):
        total, accuracy = classified(self.head(self.encoder.embed(batch["mirrored"])), batch["way"])
        return {"total": total, "accuracy": accuracy, "chance": constant(1 / WAYS, accuracy.device)}
