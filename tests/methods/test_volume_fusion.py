"""Volume Fusion: classes of the mixture, where patches lie, terms by hand, what is trained."""

from math import log

import numpy as np
import pytest
import torch
from seeded import generator
from small_methods import batch_of, build, functions_of, params_of, says, volumes

from bench.data.reader import Volume

CROP = (32, 24, 40)
PLAIN = {"flip": 0.0, "contrast": 0.0, "gamma": 0.0, "inverted": 0.0, "scale": (1.0, 1.0)}
PLAIN |= {"partner": "same"}


@pytest.mark.parametrize("layout", ["patches", "grid"])
def test_each_class_is_its_share_of_the_first_crop(layout):
    params = params_of("volume_fusion", layout=layout, **PLAIN)
    pair = torch.stack([torch.full((3, 1, *CROP), 8.0), torch.zeros(3, 1, *CROP)], 1)
    mixed = params.views({"pair": pair}, CROP, generator(0))
    assert params.out_channels(1, 1) == 5
    assert {0, 2, 3, 4} <= set(mixed["label"].unique().tolist()) <= {0, 1, 2, 3, 4}
    assert torch.equal(mixed["crop"][:, 0], 2.0 * mixed["label"])  # 8 k / 4
    assert mixed["label"].shape == (3, *CROP)


def test_patches_have_the_sides_that_the_paper_prints_and_later_ones_lie_on_top():
    params = params_of("volume_fusion", patches=(1, 1), patch_rule="nnssl")
    sides = []
    for label in params.patched(300, CROP, generator(1)):
        at = label.nonzero()
        if len(at):
            low, high = at.amin(0), at.amax(0) + 1
            assert (label[tuple(map(slice, low.tolist(), high.tolist()))] == label.max()).all()
            sides.append((high - low).tolist())
    assert np.min(sides, 0).tolist() == [8, 8, 8]
    assert np.max(sides, 0).tolist() == [20, 15, 25]  # .625 of each side
    assert 0.15 < 1 - len(sides) / 300 < 0.25  # one in five has the coefficient 0
    counts = [
        (label > 0).float().mean()
        for label in params_of("volume_fusion", patch_rule="nnssl").patched(20, CROP, generator(2))
    ]
    assert min(counts) > 0.2


def test_a_patch_of_the_authors_may_lie_across_the_border_and_always_has_a_class():
    crop, rows = (20, 12, 16), 3000
    params = params_of("volume_fusion", patches=(1, 1), smallest=4)
    label = params.patched(rows, crop, generator(0))
    covered, expected = (label > 0).float().mean(0), torch.ones(1, 1, 1)
    for axis, n in enumerate(crop):  # every side and every centre, each alike
        sides = range(4, int(0.625 * n) + 1)
        spans = [(c - side // 2, side) for side in sides for c in range(n)]
        share = [sum(a <= at < a + side for a, side in spans) / len(spans) for at in range(n)]
        expected = expected * torch.tensor(share).view([-1 if i == axis else 1 for i in range(3)])
    assert torch.allclose(covered, expected, atol=4.5 * 0.5 / rows**0.5)
    assert covered[0, 0, 0] > 0.01  # a patch that lies inside starts there next to never
    shown = label.flatten(1).amax(1)
    assert torch.allclose(shown.bincount() / rows, torch.tensor([0, *[0.25] * 4]), atol=0.04)


@pytest.mark.parametrize("rule", ["authors", "nnssl"])
def test_a_short_axis_has_patches_of_its_share(rule):
    label = params_of("volume_fusion", patch_rule=rule).patched(4, (32, 32, 8), generator(0))
    assert set(label.unique().tolist()) == {0, 1, 2, 3, 4}


def test_the_grid_has_equal_blocks_of_which_so_many_are_mixed():
    params = params_of("volume_fusion", layout="grid", smallest=8, largest_block=8)
    label = params.gridded(50, (32, 32, 32), generator(0))
    cells = label[:, ::8, ::8, ::8]
    blocks = cells.repeat_interleave(8, 1).repeat_interleave(8, 2).repeat_interleave(8, 3)
    assert torch.equal(label, blocks)
    assert ((cells > 0).flatten(1).sum(1) == int(0.7 * 64)).all()


def test_both_crops_are_inverted_together_and_keep_their_range():
    params = params_of("volume_fusion", **{**PLAIN, "inverted": 1.0})
    x = torch.randn(4, 2, 8, 8, 8, generator=generator(0))
    turned = params.changed(x, generator(1))
    low, high = x.amin((2, 3, 4), keepdim=True), x.amax((2, 3, 4), keepdim=True)
    assert torch.allclose(turned, low + high - x)


def test_two_percentiles_become_a_tenth_and_nine_tenths_of_the_range():
    stretched = functions_of("volume_fusion").stretched
    x = torch.linspace(0, 100, 101, dtype=torch.float64).square().view(1, 1, 101, 1, 1)
    y = stretched(x, torch.tensor([0.02]), torch.tensor([0.98])).flatten()
    expected = np.interp(x.flatten(), [0, 4, 98**2, 1e4], [0, 1e3, 9e3, 1e4])
    assert np.allclose(y, expected, atol=1e-2)  # percentiles 2 and 98 are 2^2 and 98^2


@pytest.mark.parametrize(("partner", "alike"), [("same", True), ("another", False)])
def test_the_partner_is_of_another_case_or_of_the_same(partner, alike):
    scans = [Volume(np.full((1, *CROP), i, np.float32)) for i in range(2)]
    scans[0].others = lambda rng: scans[1]
    params = params_of("volume_fusion", partner=partner)
    first, second = params.read(scans[0], (16, 16, 16), np.random.default_rng(0))["pair"]
    assert (first == 0).all() and (second == (0 if alike else 1)).all()


def test_who_knows_nothing_gets_the_logarithm_of_the_classes_and_chance():
    method = build("volume_fusion")
    batch = batch_of(method)
    method.decoder = says(0.0)
    method.decoder.value = lambda x, features: torch.zeros(len(x), 5, *x.shape[2:])
    terms = method.loss(batch)
    n = batch["label"][0].numel()
    counts = torch.stack([(batch["label"] == k).flatten(1).sum(1) for k in range(5)], 1).double()
    dice = (2 * counts / 5 + 1e-5) / (counts + n / 5 + 1e-5)
    assert terms["entropy"].item() == pytest.approx(log(5), rel=1e-5)
    assert terms["dice"].item() == pytest.approx(1 - dice.mean().item(), rel=1e-5)
    assert terms["total"].item() == pytest.approx(log(5) + 1 - dice.mean().item(), rel=1e-5)
    shown = [1 / len(label.unique()) for label in batch["label"]]
    assert terms["named"].item() == pytest.approx(np.mean(shown))  # all are called 0
    assert terms["chance"].item() == pytest.approx(np.mean(shown))


def test_the_figure_is_the_mean_over_classes_of_what_was_named():
    label = torch.tensor([[0, 0, 0, 0, 1, 1, 2], [3] * 7]).view(2, 7, 1, 1)
    predicted = torch.tensor([[0, 0, 0, 1, 1, 0, 4], [3] * 7]).view(2, 7, 1, 1)
    logits = torch.nn.functional.one_hot(predicted, 5).movedim(-1, 1).double()
    terms = functions_of("volume_fusion").named(logits, label)
    assert terms["named"].item() == pytest.approx(((3 / 4 + 1 / 2 + 0) / 3 + 1) / 2)
    assert terms["chance"].item() == pytest.approx((1 / 3 + 1) / 2)


def test_reads_scans_smaller_than_the_box():
    scan = volumes(2, (12, 12, 12))[0]
    pair = params_of("volume_fusion").read(scan, (16, 16, 16), np.random.default_rng(0))["pair"]
    assert pair.shape == (2, 1, 16, 16, 16)
