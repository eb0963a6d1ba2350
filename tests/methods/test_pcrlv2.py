"""PCRLv2: views, what is restored, and what must agree at which scale."""

import sys

import numpy as np
import pytest
import torch
from small_methods import raw_of, tried

from bench import registry
from bench.data.reader import Volume
from bench.pretext.boxes import overlapping

CODE = registry.load("method", "pcrlv2")
MODULE = sys.modules[CODE.__module__]
PLAIN = {"flip": 0.0, "degrees": 0.0, "zoom": 0.0}


def test_small_boxes_begin_in_the_box_of_both_or_three_voxels_outside():
    ramp = np.stack(np.meshgrid(*[np.arange(n) for n in (96, 96, 64)], indexing="ij")).astype(
        np.float32
    )
    small = {"local_sizes": ((8, 8, 8),), "local_crop": (8, 8, 8)}
    params = CODE.make_params({"sizes": ((32, 32, 32),), **small})
    for seed in range(20):
        rng = np.random.default_rng(seed)
        start, size = overlapping(
            (96, 96, 64), params.sizes, params.iou, np.random.default_rng(seed)
        )
        corners = params.read(Volume(ramp), (32, 32, 32), rng)["locals"][:, :, 0, 0, 0]
        assert (corners >= start.min(0) - 3).all() and (corners < (start + size).max(0) + 3).all()


def test_the_target_is_clean_and_what_is_restored_from_is_spoilt_and_z_scored():
    method, batch = tried("pcrlv2", PLAIN)
    raw = raw_of(method)["pair"]
    low, high = raw.amin((1, 2, 3, 4, 5), keepdim=True), raw.amax((1, 2, 3, 4, 5), keepdim=True)
    assert torch.allclose(batch["target"], ((raw - low) / (high - low))[:, 0], atol=1e-5)
    for name in ("pair", "locals"):
        rows = batch[name].flatten(2)
        assert rows.mean(2).abs().max() < 1e-5 and (rows.std(2) - 1).abs().max() < 1e-4
    untouched = {
        **PLAIN,
        "blur_sigma": (0.0, 0.0),
        "noise_std": (0.0, 0.0),
        "log_gamma": 0.0,
        "swaps": 0,
    }
    _, clean = tried("pcrlv2", untouched)
    assert torch.allclose(clean["pair"][:, 0], MODULE.znormed(clean["target"]), atol=1e-4)
    assert not torch.allclose(batch["pair"][:, 0], MODULE.znormed(batch["target"]), atol=0.1)


def test_swaps_move_boxes_and_keep_all_voxels():
    x = torch.arange(2 * 512.0).view(2, 1, 8, 8, 8)
    once = MODULE.swapped(x, (4, 2, 2), 1, torch.Generator().manual_seed(3))
    assert torch.equal(once.flatten(1).sort().values, x.flatten(1))
    assert [int((a != b).sum()) for a, b in zip(once, x, strict=True)] in (
        [32, 32],
        [32, 0],
        [0, 32],
    )
    many = MODULE.swapped(x, (4, 2, 2), 50, torch.Generator().manual_seed(3))
    assert torch.equal(many.flatten(1).sort().values, x.flatten(1))
    assert (many != x).float().mean() > 0.5
    # no room for two boxes
    assert torch.equal(MODULE.swapped(x, (9, 9, 9), 5, torch.Generator()), x)


@pytest.mark.parametrize(
    ("two", "value"), [((1.0, 0.0), -1.0), ((0.0, 1.0), 0.0), ((-1.0, 0.0), 1.0)]
)
def test_agreement_is_minus_the_cosine(two, value):
    one, two = torch.tensor([[1.0, 0.0]]), torch.tensor([two])
    assert MODULE.disagreement(one, one, two, two).item() == pytest.approx(value)


def test_features_get_no_gradient_from_the_other_views_prediction():
    z1, q1, z2, q2 = (torch.randn(3, 4, requires_grad=True) for _ in range(4))
    MODULE.disagreement(z1, q1, z2, q2).backward()
    assert (
        z1.grad is None and z2.grad is None and q1.grad.abs().sum() > 0 and q2.grad.abs().sum() > 0
    )


def test_scales_are_drawn_for_each_comparison_and_are_those_of_all_rows():
    method, batch = tried("pcrlv2")
    assert batch["scale"].shape == (4, 5) and (batch["scale"] == batch["scale"][0]).all()
    asked = []
    method.agreement = lambda one, two, at: asked.append(at) or one[at][0].sum() * 0
    method.loss({**batch, "scale": torch.tensor([[0.0, 0.3, 0.5, 0.8, 0.99]]).expand(4, -1)})
    assert asked == [0, 1, 2, 3, 3]  # four doublings


def test_small_views_are_compared_sample_by_sample():
    method, batch = tried("pcrlv2")
    seen = []
    method.agreement = lambda one, two, at: seen.append(two) or one[0][0].sum() * 0
    method.loss(batch)
    _, small, _ = method.seen(batch["locals"].flatten(0, 1))
    for k in range(2):
        assert torch.allclose(
            seen[1 + 2 * k][0][0], small[0][0].unflatten(0, (4, 2))[:, k], atol=1e-5
        )


@pytest.mark.parametrize(
    ("progress", "share"), [(0.0, 1.0), (0.25, 0.853553), (0.5, 0.5), (1.0, 0.0)]
)
def test_the_middle_pictures_fade(progress, share):
    off = {"restore_weight": 0.0, "global_weight": 0.0, "local_weight": 0.0}
    method, batch = tried("pcrlv2", off)
    method.after_step(progress)
    terms = method.loss(batch)
    assert terms["total"].item() == pytest.approx(share * terms["middle"].item(), abs=1e-6)


def test_all_scales_may_count():
    method, batch = tried("pcrlv2", {"scale": "all", "locals": 0})
    terms = method.loss(batch)
    (_, first, maps), (_, second, _) = (method.seen(batch["pair"][:, i]) for i in range(2))
    each = [MODULE.disagreement(*a, *b) for a, b in zip(first, second, strict=True)]
    assert terms["agree"].item() == pytest.approx(torch.stack(each).mean().item(), abs=1e-5)
    assert "local" not in terms and len(maps) == 4


@pytest.mark.parametrize(("scale", "drawn"), [("random", [2]), ("all", [0, 1, 2, 3])])
def test_pictures_that_are_not_drawn_have_no_gradient(scale, drawn):
    method, batch = tried("pcrlv2", {"scale": scale, "locals": 0})
    method.loss({**batch, "scale": torch.full((4, 1), 0.6)})["total"].backward()
    told = [i for i, stage in enumerate(method.stages) if stage.picture[0].weight.grad is not None]
    assert told == drawn
