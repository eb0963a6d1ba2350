"""Tiny networks and small heads, so that every method trains in a second or two."""

import dataclasses

import pytest
import torch

from bench import nets, registry

SMALL = {  # whichever of these a method has; its other parameters stay the paper's
    "hidden": 64,
    "out": 32,
    "decoder_dim": 32,
    "decoder_depth": 1,
    "decoder_heads": 2,
    "grid": (2, 2, 1),
}
NETWORK = {"features": ("unet3d", (16, 16, 16)), "tokens": ("unetr", (32, 32, 32))}


def tiny(needs="features", seed=0, crop=None, channels=1):
    """Return the smallest network of a kind."""
    name, default = NETWORK[needs]
    torch.manual_seed(seed)
    return nets.network(name, "tiny", channels, 2, crop or default)


def make(name, params=None, seed=0, network=None):
    """Return a method around a tiny network, with ``crop_size`` as a note for the tests."""
    cls = registry.load("method", name)
    known = {f.name for f in dataclasses.fields(cls.Params)}
    network = network or tiny(cls.needs)
    small = {k: v for k, v in SMALL.items() if k in known}
    method = cls.build(network, {**small, **(params or {})}, seed)
    method.crop_size, method.network_keys = network.crop, set(network.state_dict())
    return method


@pytest.fixture
def build():
    return make


@pytest.fixture
def tiny_network():
    return tiny
