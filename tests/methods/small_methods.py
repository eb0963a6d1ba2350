"""Methods around tiny networks, the small scans that they read, parts that stand in for others, short runs."""

import dataclasses
import sys
from functools import lru_cache

import numpy as np
import pytest
import torch
from seeded import generator
from torch import nn

from bench import distributed, registry
from bench.conformance.scans import SHAPE as SHAPE
from bench.conformance.scans import labelled as labelled
from bench.conformance.scans import read, smooth, view, volumes
from bench.conformance.trial import Trial
from bench.conformance.trial import tiny as tiny
from bench.data.reader import Volume
from bench.method import EncoderMaps
from bench.train.parallel import together

# whichever of these a method has; its other parameters stay the paper's
SMALL = {"hidden": 64, "out": 32, "grid": (2, 2, 1)}
SMALL |= {"decoder_dim": 32, "decoder_depth": 1, "decoder_heads": 2}
JSSL = {"still": 0, "queue": 8, "queue_start": 0.0, "heads": 2}
PATCHES = {"hidden": (32, 16), "jitter": 8, "n": 2, "permutations": 20}
PREDICTIVE = {"code_size": 32, "gru": 16}
CROP_SIZES = ((16, 16, 16), (24, 24, 16))
SIZES = {  # of one method alone
    "rotation2d": {"hidden": (64, 32)},
    "rotation3d": {"hidden": (64, 32)},
    "rubik": {"grid": (2, 2, 2), "jitter": (4, 4, 0)},
    "cpc3d": {"patches_per_side": 2, "boundary": "zero", **PREDICTIVE},
    "cpc2d": {"patches_per_side": 4, **PREDICTIVE},
    "exemplar2d": {"emb": 32, "margin": 10.0},  # large enough that every triplet counts
    "exemplar3d": {"emb": 32, "margin": 10.0},
    "gvsl": {"windows": 200, "window": 5, "features": 8},
    "pcrlv1": {"sizes": CROP_SIZES, "queue": 64, "windows": 200},
    "jssl": {"prototypes": 6, "slice_prototypes": 6, **JSSL},
    "rpl3d": {"hidden": (32, 16)},
    "rpl2d": {"hidden": (32, 16), "jitter": 4},
    "jigsaw3d": PATCHES,
    "jigsaw2d": PATCHES,
    "amaes": {"block": 8},
    "mae_cnn3d": {"block": 8},
    "spark3d": {"block": 8},
    "vox2vec": {"voxels": 24},
    "pcrlv2": {"sizes": CROP_SIZES, "local_sizes": ((16, 16, 16), (8, 8, 8)), "locals": 2},
}
# of those whose loss reads several cells of the last map, or whose encoder reads parts of a crop
CROPS = {"position_label": (32, 32, 32), "jigsaw_clustering": (32, 32, 16)}
CROPS |= {"rpl3d": (64, 64, 64), "rpl2d": (64, 64, 1)}
CROPS |= {"jigsaw3d": (48, 48, 48), "jigsaw2d": (48, 48, 1)}


MAPS = EncoderMaps((8,), ((16, 16, 16),))  # of an encoder with one map, for what heads cost


def trial_of(name):
    """Return a method as it is tried, small."""
    fields = {f.name for f in dataclasses.fields(registry.load("method", name).Params)}
    small = {k: v for k, v in SMALL.items() if k in fields}
    return Trial(name, {**small, **SIZES.get(name, {})}, CROPS.get(name))


def fitting(name, params=None, **given):
    """Return the smallest network that a method can train, with the outputs that it needs."""
    return trial_of(name).network(params, **given)


def build(name, params=None, seed=0, network=None):
    """Return a method around a tiny network, with ``crop_size`` as a note for the tests."""
    return trial_of(name).build(params, seed, network)


def params_of(name, **given):
    """Return the parameters of a method, published but for those given."""
    return registry.load("method", name).make_params(given)


def functions_of(name):
    """Return the module of a method, whose functions a test may call."""
    return sys.modules[registry.load("method", name).__module__]


@lru_cache(1)
def scans():
    """Return eight volumes of which tests of one method take the first ones."""
    return volumes(8)


def raw_of(method, count=4, seed=0):
    return read(method, scans()[:count], seed)


def batch_of(method, count=4, seed=0):
    return view(method, raw_of(method, count, seed), seed)


def tried(name, params=None, count=4, **given):
    """Return a small method and a batch of its views."""
    method = build(name, params, **given)
    return method, batch_of(method, count)


def textured(count, first, shape=(40, 40, 24), grains=(0.6, 4), contrast=(0.6, 1.4), shift=0.7):
    """Scans that differ in grain, contrast and brightness, which augmentation leaves apart."""
    rng, result = np.random.default_rng(first), []
    for i in range(count):
        grain = np.exp(rng.uniform(*np.log(grains)))
        field = smooth(shape, grain, first + i) * rng.uniform(*contrast)
        result.append(Volume((field + rng.uniform(-shift, shift))[None].astype(np.float32)))
    return result


def ramp(*shape, shift=0.0):
    """Return an array whose three channels are each voxel's own index, plus a shift."""
    axes = np.meshgrid(*map(np.arange, shape), indexing="ij")
    return np.stack(axes).astype(np.float32) + np.float32(shift)


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


@torch.no_grad()
def silence(*modules, bias=0.0):
    """Set all weights to zero and all biases to one value, so that every input gives the same."""
    for module in modules:
        for key, p in module.named_parameters():
            p.fill_(bias if key.endswith("bias") else 0.0)


def reached(method):
    """Return the parts that a gradient reached; of a container of heads, each head by its name."""
    names = set()
    for key, p in method.named_parameters():
        part, head, *_ = [*key.split("."), ""]
        if p.grad is not None and p.grad.any():
            names.add(head if part in ("heads", "classifiers") else part)
    return names


def parts(tensors):
    """Return the first word of each name."""
    return {name.split(".")[0] for name in tensors}


def agree(terms, rel=1e-5, abs=1e-6, **expected):
    """Check terms of a loss against numbers, or against pairs of a number and its own tolerance."""
    for name, value in expected.items():
        value, within = value if isinstance(value, tuple) else (value, abs)
        value = value.item() if isinstance(value, torch.Tensor) else value
        assert terms[name].item() == pytest.approx(value, rel=rel, abs=within), name


def train(
    method, scans, steps, lr, count=12, loss=lambda method, batch: method.loss(batch)["total"]
):
    """Train a method on ``count`` random scans a step."""
    optimiser = torch.optim.Adam([p for p in method.parameters() if p.requires_grad], lr)
    for k in range(steps):
        rows = torch.randperm(len(scans), generator=generator(k))[:count].tolist()
        optimiser.zero_grad()
        loss(method, view(method, read(method, [scans[i] for i in rows], k), k)).backward()
        optimiser.step()
        method.after_step(k / steps)


def stepped(method, batch):
    """Return the loss, the gradient and the buffers of one step of this process's rows."""
    rows = len(batch["order"]) // distributed.size()
    start = distributed.rank() * rows
    together(method)
    total = method.loss({k: v[start : start + rows] for k, v in batch.items()})["total"]
    total.backward()
    method.after_step(0.0)
    gradient = distributed.mean(next(method.encoder.parameters()).grad)
    buffers = [method.queue.keys, *([method.scale] if hasattr(method, "scale") else [])]
    return distributed.mean(total.detach()), gradient, *buffers


@torch.no_grad()
def shown(method, scans, seeds=range(901, 907)):
    """Return the mean terms of several views of scans."""
    terms = [method.loss(view(method, read(method, scans, s), s)) for s in seeds]
    return {k: np.mean([t[k].item() for t in terms]) for k in terms[0]}
