"""Slow copies follow at the stated pace."""

import pytest
import torch
from torch import nn

from bench.pretext.momentum import SlowCopy, cosine_tau, follow


def copied(module):
    return SlowCopy(module=module).module


def pair(fast=1.0, slow=0.0):
    fast_net = nn.Linear(1, 1, bias=False, dtype=torch.float64)
    nn.init.constant_(fast_net.weight, fast)
    slow_net = copied(fast_net)
    nn.init.constant_(slow_net.weight, slow)
    return slow_net, fast_net


def test_ten_updates_at_nine_tenths_leave_the_known_residual():
    slow, fast = pair()
    for _ in range(10):
        follow(slow, fast, 0.9)
    assert 1 - slow.weight.item() == pytest.approx(0.348678, abs=1e-6)


@pytest.mark.parametrize(("k", "value"), [(1, 0.004), (10, 0.0392876), (1000, 0.9818307)])
def test_constant_momentum_of_byol(k, value):
    slow, fast = pair()
    for _ in range(k):
        follow(slow, fast, 0.996)
    assert slow.weight.item() == pytest.approx(value, abs=1e-7)


@pytest.mark.parametrize(("k", "value"), [(1, 0.001), (10, 0.0099551), (100, 0.0952079), (1000, 0.6323046)])
def test_constant_momentum_of_moco(k, value):
    slow, fast = pair()
    for _ in range(k):
        follow(slow, fast, 0.999)
    assert slow.weight.item() == pytest.approx(value, abs=1e-7)


def test_a_hundred_updates_at_mocos_lower_momentum_leave_a_third():
    slow, fast = pair()
    for _ in range(100):
        follow(slow, fast, 0.99)
    assert 1 - slow.weight.item() == pytest.approx(0.366032, abs=1e-6)


def test_cosine_momentum_begins_at_its_base_and_ends_at_one():
    assert [cosine_tau(0.99, e) for e in (0, 0.5, 1)] == pytest.approx([0.99, 0.995, 1], abs=1e-12)


def test_cosine_momentum_takes_the_tabulated_values():
    expected = [
        0.996, 0.9960979, 0.996382, 0.9968244, 0.997382, 0.998,
        0.998618, 0.9991756, 0.999618, 0.9999021, 1.0,
    ]  # fmt: skip
    assert [cosine_tau(0.996, k / 10) for k in range(11)] == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize(("steps", "value"), [(4, 0.0099660), (10, 0.0217931), (100, 0.1831540)])
def test_cosine_momentum_over_a_run(steps, value):
    slow, fast = pair()
    for k in range(steps):
        follow(slow, fast, cosine_tau(0.996, k / steps))
    assert slow.weight.item() == pytest.approx(value, abs=1e-6)


def test_buffers_stay_the_copys_own():
    fast = nn.BatchNorm1d(2)
    slow = copied(fast)
    fast.running_mean.fill_(7)
    follow(slow, fast, 0.5)
    assert slow.running_mean.eq(0).all()


def test_a_frozen_copy_shares_nothing_and_asks_for_no_gradient():
    fast = nn.Linear(2, 2)
    slow = copied(fast)
    assert all(torch.equal(a, b) for a, b in zip(slow.parameters(), fast.parameters(), strict=True))
    assert not any(p.requires_grad for p in slow.parameters())
    nn.init.zeros_(fast.weight)
    assert slow.weight.abs().sum() > 0


def test_every_copy_follows_the_module_of_its_name():
    method = nn.Module()
    method.encoder, method.projector = nn.Linear(2, 2), nn.Linear(3, 3)
    slow = SlowCopy(encoder=method.encoder, projector=method.projector)
    nn.init.zeros_(method.encoder.weight)
    nn.init.zeros_(method.projector.weight)
    before = {k: v.clone() for k, v in slow.state_dict().items()}
    slow.follow(method, 0.5)
    for name in ("encoder", "projector"):
        assert torch.equal(slow.state_dict()[f"{name}.weight"], before[f"{name}.weight"] / 2)
        assert torch.equal(slow.state_dict()[f"{name}.bias"], before[f"{name}.bias"])
