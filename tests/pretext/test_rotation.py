"""Quarter turns: which way, about which axis, and which sample gets which."""

import numpy as np
import pytest
import torch

from bench.augment import rot90
from bench.pretext import rotation

X = torch.arange(2 * 3 * 4 * 4 * 4.0).view(2, 3, 4, 4, 4)


@pytest.mark.parametrize("k", range(4))
def test_class_k_of_a_slice_is_k_quarters_as_numpy_counts_them(k):
    x = X[..., :1]
    expected = np.rot90(x.numpy(), k, axes=(2, 3))
    assert torch.equal(rotation.all_turns(x, rotation.FLAT)[:, k], torch.from_numpy(expected.copy()))
    assert torch.equal(rotation.turn(x, 2, k), rot90(x, torch.tensor([k, k])))


@pytest.mark.parametrize("axis", range(3))
def test_a_turn_leaves_its_axis_and_four_of_them_everything(axis):
    once = rotation.turn(X, axis, 1)
    assert torch.equal(once.sum([d for d in (2, 3, 4) if d != axis + 2]),
                       X.sum([d for d in (2, 3, 4) if d != axis + 2]))  # fmt: skip
    assert torch.equal(rotation.turn(once, axis, 3), X)
    assert torch.equal(rotation.turn(once, axis, 1), rotation.turn(X, axis, 2))
    assert not torch.equal(once, X)


def test_axes_follow_each_other_cyclically():
    moved = X.permute(0, 1, 4, 2, 3)  # what lay along x, y, z lies along y, z, x
    for axis in range(3):
        there = rotation.turn(moved, (axis + 1) % 3, 1)
        assert torch.equal(there, rotation.turn(X, axis, 1).permute(0, 1, 4, 2, 3))


def test_every_sample_gets_its_own_turn():
    which = torch.tensor([3, 1])
    found = rotation.turned(X, rotation.FLAT, which)
    every = rotation.all_turns(X, rotation.FLAT)
    assert torch.equal(found, every[torch.arange(2), which])
    assert every.shape == (2, 4, *X.shape[1:])
