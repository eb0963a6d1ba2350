"""Small scans for tests, what methods read of them, parts that stand in for others, and short trainings."""

import sys
from functools import lru_cache

import numpy as np
import torch
from seeded import generator
from torch import nn

from bench import registry
from bench.conformance.scans import SHAPE as SHAPE
from bench.conformance.scans import labelled as labelled
from bench.conformance.scans import read, smooth, view, volumes
from bench.conformance.scans import sample as sample
from bench.data.reader import Volume


@lru_cache(1)
def scans():
    """Return eight volumes of which tests of one method take the first ones."""
    return volumes(8)


def textured(count, first, shape=(40, 40, 24), grains=(0.6, 4), contrast=(0.6, 1.4), shift=0.7):
    """Scans that differ in grain, contrast and brightness, which augmentation leaves apart."""
    rng, made = np.random.default_rng(first), []
    for i in range(count):
        grain = np.exp(rng.uniform(*np.log(grains)))
        field = smooth(shape, grain, first + i) * rng.uniform(*contrast)
        made.append(Volume((field + rng.uniform(-shift, shift))[None].astype(np.float32)))
    return made


def raw_of(method, count=4, seed=0):
    return read(method, scans()[:count], seed)


def batch_of(method, count=4, seed=0):
    return view(method, raw_of(method, count, seed), seed)


def functions_of(name):
    """Return the module of a method, whose functions a test may call."""
    return sys.modules[registry.load("method", name).__module__]


class Gives(nn.Module):
    """Stands in for a part of a method: gives what it holds, or what its function makes of the input."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, *given):
        return self.value(*given) if callable(self.value) else self.value


def says(value):
    """Stand in for a decoder."""
    return Gives(lambda x, features: value + torch.zeros_like(x))


def always(*vector):
    """Give every sample, or every cell of every map, the same vector."""
    vector = torch.tensor(vector)
    return Gives(lambda x: vector.view(-1, *[1] * (x.ndim - 2)).expand(len(x), -1, *x.shape[2:]))


def trained(
    method, scans, steps, lr, count=12, loss=lambda method, batch: method.loss(batch)["total"]
):
    """Train a method on ``count`` random scans a step."""
    moved = torch.optim.Adam([p for p in method.parameters() if p.requires_grad], lr)
    for k in range(steps):
        rows = torch.randperm(len(scans), generator=generator(k))[:count].tolist()
        moved.zero_grad()
        loss(method, view(method, read(method, [scans[i] for i in rows], k), k)).backward()
        moved.step()
        method.after_step(k / steps)


@torch.no_grad()
def shown(method, scans, seeds=range(901, 907)):
    """Return the mean terms of several views of scans."""
    terms = [method.loss(view(method, read(method, scans, s), s)) for s in seeds]
    return {k: np.mean([t[k].item() for t in terms]) for k in terms[0]}
