"""Tiny networks and small heads, so that every method trains in a second or two."""

import dataclasses

import pytest

from bench import registry
from bench.conformance.trial import Trial, tiny

# whichever of these a method has; its other parameters stay the paper's
SMALL = {"hidden": 64, "out": 32, "grid": (2, 2, 1)}
SMALL |= {"decoder_dim": 32, "decoder_depth": 1, "decoder_heads": 2}
OWN = {  # of one method alone
    "rotation2d": {"hidden": (64, 32)},
    "rotation3d": {"hidden": (64, 32)},
    "rubik": {"grid": (2, 2, 2), "jitter": (4, 4, 0)},
    "cpc3d": {"patches_per_side": 2, "boundary": "zero", "code_size": 32, "gru": 16},
    "cpc2d": {"patches_per_side": 4, "code_size": 32, "gru": 16},
    "exemplar2d": {"emb": 32, "margin": 10.0},  # large enough that every triplet counts
    "exemplar3d": {"emb": 32, "margin": 10.0},
    "gvsl": {"windows": 200, "window": 5},
    "pcrlv1": {"sizes": ((16, 16, 16), (24, 24, 16)), "queue": 64, "windows": 200},
    "jssl": {
        "still": 0,
        "queue": 8,
        "queue_start": 0.0,
        "prototypes": 6,
        "slice_prototypes": 6,
        "heads": 2,
    },
    "rpl3d": {"hidden": (32, 16)},
    "rpl2d": {"hidden": (32, 16), "jitter": 4},
    "jigsaw3d": {"hidden": (32, 16), "n": 2, "jitter": 8, "permutations": 20},
    "jigsaw2d": {"hidden": (32, 16), "n": 2, "jitter": 8, "permutations": 20},
    "pcrlv2": {
        "sizes": ((16, 16, 16), (24, 24, 16)),
        "local_sizes": ((16, 16, 16), (8, 8, 8)),
        "locals": 2,
    },
}
# of those whose loss reads several cells of the last map, or whose encoder reads parts of a crop
CROPS = {"position_label": (32, 32, 32), "jigsaw_clustering": (32, 32, 16)}
CROPS |= {
    "rpl3d": (64, 64, 64),
    "rpl2d": (64, 64, 1),
    "jigsaw3d": (48, 48, 48),
    "jigsaw2d": (48, 48, 1),
}


def trial_of(name):
    """Return a method as it is tried, small."""
    known = {f.name for f in dataclasses.fields(registry.load("method", name).Params)}
    small = {k: v for k, v in SMALL.items() if k in known}
    return Trial(name, {**small, **OWN.get(name, {})}, CROPS.get(name))


def fitting(name, params=None, channels=1, seed=0, dims=None):
    """Return the smallest network that a method can train, with the outputs that it asks for."""
    return trial_of(name).network(params, channels, seed, dims)


def make(name, params=None, seed=0, network=None):
    """Return a method around a tiny network, with ``crop_size`` as a note for the tests."""
    return trial_of(name).build(params, seed, network)


@pytest.fixture
def small_trial():
    return trial_of


@pytest.fixture
def build():
    return make


@pytest.fixture
def tiny_network():
    return tiny


@pytest.fixture
def fitting_network():
    return fitting
