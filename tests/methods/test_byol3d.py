"""BYOL's target: what it starts from, and by which statistics it normalises. The rest: test_slow_copies."""

import pytest
import torch
from small_methods import batch_of, build

from bench import registry
from bench.errors import BenchError


def slow_of(method):
    return {k: v for k, v in method.state_dict().items() if k.startswith("slow.")}


def online_of(method):
    return {k: method.state_dict()[k.removeprefix("slow.")] for k in slow_of(method)}


def test_the_target_starts_as_a_copy_or_from_numbers_of_its_own():
    copied, random = build("byol3d"), build("byol3d", {"init_target": "random"})
    assert all(torch.equal(v, online_of(copied)[k]) for k, v in slow_of(copied).items())
    online = online_of(random)
    assert all(
        torch.equal(v, online[k]) for k, v in online_of(copied).items()
    )  # the online side is the same
    drawn = {k: v for k, v in slow_of(random).items() if v.is_floating_point() and v.std() > 0}
    assert {k.split(".")[1] for k in drawn} == {"encoder", "projector"}
    for key, value in drawn.items():
        assert not torch.equal(value, online[key]), key
    wide = [k for k, v in drawn.items() if v.numel() > 500]
    for key in wide:  # drawn in the same way
        assert drawn[key].std().item() == pytest.approx(online[key].std().item(), rel=0.2), key
    assert wide and not any(p.requires_grad for p in random.slow.parameters())


def test_a_random_target_follows_its_seed_and_ends_at_the_online_side():
    one, same, other = (
        build("byol3d", {"init_target": "random", "tau": 0.0}, s) for s in (0, 0, 1)
    )
    assert all(torch.equal(v, slow_of(same)[k]) for k, v in slow_of(one).items())
    assert not all(torch.equal(v, slow_of(other)[k]) for k, v in slow_of(one).items())
    one.after_step(0.0)  # tau = 0: all of the online side
    slow = dict(one.slow.named_parameters())
    assert all(torch.equal(p, one.get_parameter(k)) for k, p in slow.items())


@pytest.mark.parametrize(("buffers", "mean"), [("own", 0.0), ("average", 0.004), ("copy", 1.0)])
def test_running_statistics_of_the_target_by_hand(buffers, mean):
    method = build("byol3d", {"ema_buffers": buffers})
    online, slow = method.projector[1], method.slow.projector[1]
    online.running_mean.fill_(1), online.num_batches_tracked.fill_(3)
    method.after_step(0.0)
    assert slow.running_mean.mean().item() == pytest.approx(mean, abs=1e-6)
    assert slow.num_batches_tracked.item() == (3 if buffers == "copy" else 0)


@pytest.mark.parametrize("buffers", ["average", "copy"])
def test_the_target_normalises_by_the_statistics_that_it_is_given(buffers):
    own, given = build("byol3d"), build("byol3d", {"ema_buffers": buffers, "tau": 0.0})
    batch = batch_of(own)
    for method in (own, given):
        before = method.slow.projector[1].running_mean.clone()
        method.loss(batch)
        assert torch.equal(method.slow.projector[1].running_mean, before) is (method is given)
    assert own.loss(batch)["total"] != given.loss(batch)["total"]
    given.after_step(0.0)  # tau = 0: the target is the online side, its running statistics included
    x = batch["views"][:, 0]
    expected = given.eval().projector(given.encoder.embed(x))
    given.train().loss(batch)
    assert torch.equal(given.slow.projector(given.slow.encoder.embed(x)), expected)


def test_refuses_another_target():
    params = registry.load("method", "byol3d").make_params
    for key in ("init_target", "ema_buffers"):
        with pytest.raises(BenchError, match=key):
            params({key: "zero"})
