"""UniMiSS on volumes: where views lie, and who is told what by whom."""

import numpy as np
import torch
from small_methods import agree, build, raw_of, tried

from bench import nets, registry
from bench.data.reader import Volume
from bench.pretext.distil import handed_on, sharpened

CODE = registry.load("method", "unimiss")
RAMP = np.stack(np.meshgrid(*[np.arange(n) + 0.5 for n in (96, 96, 40)], indexing="ij")).astype(
    np.float32
)


def test_both_views_lie_in_one_place_in_plane_and_anywhere_along_z():
    params, apart = CODE.make_params({}), []
    for seed in range(40):
        pair = params.read(Volume(RAMP), (32, 32, 16), np.random.default_rng(seed))["pair"]
        span = pair[:, :, -1, -1, -1] - pair[:, :, 0, 0, 0]
        sides = span * np.array([32, 32, 16]) / np.array([31, 31, 15])
        assert (
            (sides[:, :2] > 24).all() and (sides[:, :2] < 39).all() and np.allclose(sides[:, 2], 16)
        )
        middle = pair.mean((2, 3, 4))
        apart.append(np.abs(middle[0] - middle[1]))
    assert np.max(apart, 0)[:2].max() <= 1.8 * 32 - 25 and np.max(apart, 0)[2] > 16


def test_a_scan_smaller_than_its_place_is_padded():
    small, rng = Volume(RAMP[:, :20, :20, :8]), np.random.default_rng(0)
    pair = CODE.make_params({}).read(small, (32, 32, 16), rng)["pair"]
    assert pair.shape == (2, 3, 32, 32, 16)


def test_views_have_their_own_probabilities():
    quiet = {
        "flip": 0.0,
        "noise": (0.0, 0.0),
        "contrast_factor": (1.0, 1.0),
        "brightness": (0.0, 0.0),
    }
    quiet |= {"blur": (0.0, 0.0), "gamma": (0.0, 0.0)}
    method, batch = tried("unimiss", {**quiet, "shift": (0.0, 1.0)})
    raw = raw_of(method)["pair"]
    assert torch.allclose(batch["views"][:, 0], raw[:, 0], atol=1e-5)
    moved = (batch["views"] - raw)[:, 1].flatten(1)
    assert (moved.std(1) < 1e-4).all() and moved.mean(1).abs().min() > 1e-3


def test_each_view_is_told_from_the_other_ones_teacher():
    method, batch = tried("unimiss")
    x, p = batch["views"], method.params
    student = method.projector(method.encoder.embed(x.flatten(0, 1))).unflatten(0, (-1, 2))
    told = [student[:, [i]] for i in (0, 1)]
    slow = method.slow.projector(method.slow.encoder.embed(x.flatten(0, 1))).unflatten(0, (-1, 2))
    target = sharpened(slow, 0.04, method.centre.mean)
    expected = [handed_on(target[:, [i]], told[1 - i], p.temperature) for i in (0, 1)]
    agree(method.loss(batch), total=torch.stack(expected).mean())


def test_prototypes_wait_at_first_and_the_slow_copy_gets_no_gradient():
    for progress, still in ((0.0, True), (0.5, False)):
        method, batch = tried("unimiss")
        method.progress.fill_(progress)
        method.loss(batch)["total"].backward()
        moved = method.projector.weight.grad
        assert (moved is None or not moved.any()) is still
        assert any(p.grad.any() for p in method.encoder.parameters())
        assert all(p.grad is None for p in method.slow.parameters())


def test_slow_copy_and_centre_move_after_the_step():
    method, batch = tried("unimiss")
    method.loss(batch)
    before = method.slow.projector.weight.clone()
    method.projector.weight.data += 1
    method.after_step(0.0)
    assert torch.allclose(method.slow.projector.weight, before + 0.004, atol=1e-6)
    assert method.centre.mean.abs().max() > 0 and method.progress == 0


def test_the_head_is_invariant_to_lengths_and_has_the_codes_size():
    with torch.device("meta"):
        network = nets.network("unetr", "base", 1, 2, (32, 32, 32))
        method = CODE(network, CODE.make_params({}))
    width = 768
    layers = (width * 2048 + 2048) + (2048 * 2048 + 2048) + (2048 * 256 + 256)
    assert sum(p.numel() for p in method.projector.parameters()) == layers + 65536 * 256
    method = build("unimiss")
    head, x = method.projector, torch.randn(3, method.encoder.widths[-1])
    before = head(x)
    head.weight.data *= 7
    assert torch.allclose(head(x), before, atol=1e-6) and before.abs().max() <= 1 + 1e-6
