"""Sliding-window prediction: a pointwise network is the same voxel by voxel."""

import numpy as np
import pytest
import torch
from torch import nn

from bench.data.reader import Volume
from bench.jobs.predict import logits, mean_dice


class Pointwise(nn.Module):
    """Class 1 where the image is above zero; remembers the windows that it saw."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.seen = []

    def forward(self, x):
        self.seen.append(tuple(x.shape))
        return torch.cat([-x * self.weight, x * self.weight], 1)


def inference(**given):
    return {"crop": [8, 8, 8], "overlap": 0.5, "batch": 2, "blend": "gaussian", **given}


@pytest.mark.parametrize("blend", ["gaussian", "constant"])
@pytest.mark.parametrize("shape", [(20, 9, 8), (8, 8, 8), (5, 30, 3)])
def test_windows_add_up_to_the_whole_in_any_size(shape, blend):
    image = np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32)
    net = Pointwise()
    found = logits(net, image, inference(blend=blend))
    assert found.shape == (2, *shape) and found.dtype == torch.float32
    np.testing.assert_allclose(found[1].numpy(), image[0], atol=1e-5)
    assert all(s[2:] == (8, 8, 8) and s[0] <= 2 for s in net.seen)
    assert not found.requires_grad


class Cases:
    """Two prepared cases: one predicted exactly, one of which nothing is found."""

    def __init__(self):
        image = np.full((1, 8, 8, 8), -1.0, np.float32)
        image[0, 2:5] = 1
        self._label = {"good": (image[0] > 0).astype(np.uint8), "bad": (image[0] < 0).astype(np.uint8)}
        self._image = image

    def volume(self, case):
        return Volume(self._image, self._label[case])

    def label(self, case):
        return self._label[case]


def test_the_mean_dice_is_over_cases_and_the_mode_is_kept():
    net = Pointwise().train()
    assert mean_dice(net, Cases(), ["good"], inference()) == 1.0
    assert mean_dice(net, Cases(), ["good", "bad"], inference()) == 0.5
    assert mean_dice(net, Cases(), [], inference()) == 0.0
    assert net.training and not mean_dice(net.eval(), Cases(), ["bad"], inference())
    assert not net.training
