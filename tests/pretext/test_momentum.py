"""Slow copies follow at the stated pace."""

import pytest
import torch
from torch import nn

from bench.pretext.momentum import SlowCopy, cosine_tau, follow


def copied(module):
    return SlowCopy(module=module).module


@pytest.mark.parametrize(
    ("tau", "steps", "reached"),
    [
        *(
            ((lambda k, n: 0.996), n, v)
            for n, v in ((1, 0.004), (10, 0.0392876), (1000, 0.9818307))
        ),  # BYOL
        *(
            ((lambda k, n: 0.999), n, v)
            for n, v in ((1, 0.001), (100, 0.0952079), (1000, 0.6323046))
        ),  # MoCo
        (lambda k, n: 0.99, 100, 1 - 0.366032),
        (lambda k, n: 0.9, 10, 1 - 0.348678),  # VoCo
        *(
            ((lambda k, n: cosine_tau(0.996, k / n)), n, v)
            for n, v in ((4, 0.0099660), (10, 0.0217931), (100, 0.1831540))
        ),
    ],
)
def test_a_copy_of_zero_follows_one_by_the_known_steps(tau, steps, reached):
    fast = nn.BatchNorm1d(1).double()
    slow = copied(fast)
    nn.init.zeros_(slow.weight)
    fast.running_mean.fill_(7)
    for k in range(steps):
        follow(slow, fast, tau(k, steps))
    assert slow.weight.item() == pytest.approx(reached, abs=1e-6)
    assert slow.running_mean.eq(0).all()  # buffers stay the copy's own


@pytest.mark.parametrize(
    ("buffers", "mean", "seen"), [("own", 0.0, 0), ("average", 1.75, 0), ("copy", 7.0, 5)]
)
def test_buffers_stay_follow_or_are_copied(buffers, mean, seen):
    fast = nn.BatchNorm1d(1)
    slow = copied(fast)
    fast.running_mean.fill_(7), fast.num_batches_tracked.fill_(5), nn.init.constant_(fast.weight, 5)
    follow(slow, fast, 0.75, buffers)
    assert slow.weight.item() == 2  # parameters follow in any case
    assert (slow.running_mean.item(), slow.num_batches_tracked.item()) == (mean, seen)
    fast.running_mean.fill_(0)
    assert torch.equal(slow.running_mean, torch.tensor([mean]))  # a copy, not the same tensor
