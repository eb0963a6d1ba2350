"""Exemplars: distances and triplets by hand, whose negative is whose, and what transformations do."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from seeded import generator

from bench import augment
from bench.data.reader import Volume
from bench.errors import BenchError
from bench.pretext import exemplar
from bench.pretext.exemplar import Exemplars

STILL = Exemplars(flip=0.0, rotate=0.0, colour=0.0, zoom=0.0)
X = torch.rand(40, 2, 8, 8, 8, generator=generator(1))
ALL = torch.ones(1, dtype=torch.bool)


@pytest.mark.parametrize(
    ("kind", "near", "far", "loss", "swapped"),
    [("l2", 5, 10, 0, 6), ("sq_sum", 25, 100, 0, 76), ("sq_mean", 12.5, 50, 0, 38.5)],
)
def test_distances_and_the_hinge_are_those_computed_by_hand(kind, near, far, loss, swapped):
    a, p, n = (torch.tensor([v]) for v in ((0.0, 0.0), (3.0, 4.0), (6.0, 8.0)))
    found = exemplar.distance(a, p, kind), exemplar.distance(a, n, kind)
    assert [f.item() for f in found] == pytest.approx([near, far])
    assert exemplar.triplet(*found, ALL, 1.0).item() == pytest.approx(loss)
    assert exemplar.triplet(*found[::-1], ALL, 1.0).item() == pytest.approx(swapped)


@pytest.mark.parametrize("kind", ["l2", "sq_sum", "sq_mean"])
def test_codes_that_are_all_alike_cost_the_margin_and_have_a_finite_gradient(kind):
    z = torch.ones(3, 5, requires_grad=True)
    both = exemplar.distance(z, z.detach(), kind), exemplar.distance(z, z.detach().roll(1, 0), kind)
    total = exemplar.triplet(*both, ALL.expand(3), 0.7)
    total.backward()
    assert total.item() == pytest.approx(0.7) and torch.isfinite(z.grad).all()


@pytest.mark.parametrize("far", [6.0, 5.5])
def test_only_an_active_hinge_has_a_gradient_and_then_to_all_three(far):
    a, p = torch.zeros(1, 1, requires_grad=True), torch.full((1, 1), 5.0, requires_grad=True)
    n = torch.full((1, 1), -far, requires_grad=True)
    near = exemplar.distance(a, p, "l2")
    exemplar.triplet(near, exemplar.distance(a, n, "l2"), ALL, 1.0).backward()
    assert all(bool(x.grad.any()) is (far < 6) for x in (a, p, n))


def test_rows_without_a_negative_do_not_count():
    near, far, there = (
        torch.tensor([3.0, 9.0]),
        torch.tensor([1.0, 0.0]),
        torch.tensor([True, False]),
    )
    assert exemplar.triplet(near, far, there, 1.0) == 3
    assert exemplar.triplet(near, far, ~there & there, 1.0) == 0


def test_each_row_serves_once_as_negative_and_alike_often_for_every_other():
    seen = torch.zeros(4, 4)
    for u in torch.rand(600, generator=generator()):
        index, there = exemplar.deranged(torch.arange(4), u)
        assert sorted(index.tolist()) == [0, 1, 2, 3] and there.all()
        seen[range(4), index] += 1
    assert not seen.diagonal().any() and seen[~torch.eye(4, dtype=torch.bool)].min() > 150


@pytest.mark.parametrize("turn", [0.0, 0.3, 0.999])
def test_a_negative_is_never_of_the_same_case(turn):
    case = torch.tensor([7, 7, 1, 7, 2])
    index, there = exemplar.deranged(case, torch.tensor(turn))
    assert there.all() and (case[index] != case).all()
    assert not exemplar.deranged(torch.tensor([3, 3]), torch.tensor(turn))[1].any()
    assert not exemplar.deranged(torch.tensor([3]), torch.tensor(turn))[1].any()


def test_nothing_switched_on_leaves_the_crops_bit_for_bit():
    assert torch.equal(STILL.transformed(X, None, generator()), X)


def test_mirrors_are_those_of_augment_and_move_no_voxel_elsewhere():
    found = replace(STILL, flip=1.0).transformed(X, None, generator())
    assert torch.allclose(found, augment.flip(X, torch.ones(40, 3, dtype=torch.bool)), atol=1e-5)


@pytest.mark.parametrize("size", [(8, 8, 8), (8, 8, 1), (8, 6, 8)])
def test_quarter_turns_keep_every_value_on_cubes_slices_and_other_boxes(size):
    x = X[..., : size[1], : size[2]]
    found = replace(STILL, rotate=1.0, quarters=1.0, flip=0.5).transformed(x, None, generator())
    assert torch.allclose(found.flatten(2).sort().values, x.flatten(2).sort().values, atol=1e-4)
    assert (found - x).abs().flatten(1).amax(1).gt(1e-3).float().mean() > 0.4


def test_quarter_turns_of_a_slice_are_the_four_alike_often():
    x = X[..., :1]
    found = replace(STILL, rotate=1.0, quarters=1.0).transformed(x, None, generator())
    four = torch.stack([torch.rot90(x, k, (2, 3)) for k in range(4)])
    near = (four - found).abs().flatten(2).amax(2)
    assert (near.amin(0) < 1e-4).all() and near.argmin(0).bincount(minlength=4).min() > 3


def test_free_angles_leave_the_centre_and_fill_what_comes_in_with_the_lowest_value():
    disc = torch.full((30, 1, 33, 33, 1), 3.0)
    at = torch.arange(33.0) - 16
    inside = at[:, None].square() + at.square() < 81
    disc[:, 0, inside] = 5.0
    found = replace(STILL, rotate=1.0, quarters=0.0).transformed(disc, None, generator())
    core = at[:, None].square() + at.square() < 49
    assert torch.allclose(found[:, 0, core], torch.tensor(5.0), atol=1e-3)
    assert found.min() >= 3 - 1e-4 and torch.allclose(
        found[..., 0, 0, 0], torch.tensor(3.0), atol=1e-3
    )


@pytest.mark.parametrize(("factor", "share"), [(0.5, 1 / 8), (1.0, 1.0)])
def test_zooming_out_shrinks_about_the_centre(factor, share):
    ones = torch.cat([torch.ones(3, 1, 8, 8, 8), torch.zeros(3, 1, 8, 8, 8)], 1)
    ones[:, :, 0, 0, 0] = 0  # the lowest
    found = replace(STILL, zoom=1.0, zoom_factor=(factor, factor)).transformed(
        ones, None, generator()
    )
    assert (found[:, 0] > 0.5).float().mean().item() == pytest.approx(share, abs=0.02)


def test_zooming_in_shows_a_random_part_that_lies_within_the_crop():
    ramp = torch.arange(8.0).view(1, 1, 8, 1, 1).expand(60, 1, 8, 8, 8)
    found = replace(STILL, zoom=1.0, zoom_factor=(2.0, 2.0)).transformed(ramp, None, generator())
    along = found[:, 0, :, 4, 4]
    steps = along[:, 2:-1] - along[:, 1:-2]
    assert torch.allclose(steps, torch.full_like(steps, 0.5), atol=1e-4)
    middle = along.mean(1)
    assert 1.5 - 0.3 < middle.min() < 2.5 and 4.5 < middle.max() < 5.5 + 0.3


def test_brightness_is_added_and_contrast_stretches_about_the_mean():
    p = replace(STILL, colour=1.0)
    found = p.transformed(X, None, generator())
    mean, new = (x.mean((1, 2, 3, 4), keepdim=True) for x in (X, found))
    assert (new - mean).abs().max() <= 0.125 and (new - mean).abs().max() > 0.09
    factor = (found - new).flatten(1).norm(dim=1) / (X - mean).flatten(1).norm(dim=1)
    assert torch.allclose(found - new, (X - mean) * factor.view(-1, 1, 1, 1, 1), atol=1e-5)
    assert 0.5 <= factor.min() < 0.7 and 1.3 < factor.max() <= 1.5
    half = replace(STILL, colour=0.5, contrast=(1.0, 1.0)).transformed(X, None, generator())
    changed = (half != X).flatten(1).any(1).float().mean()
    assert 0.25 < changed < 0.75


def test_brightness_stated_for_0_to_1_follows_z_scores():
    p, x = replace(STILL, colour=1.0, contrast=(1.0, 1.0)), 10 * X
    moved = [
        (p.transformed(x, z, generator()) - x).abs().mean()
        for z in (None, torch.ones(40, dtype=torch.bool))
    ]
    assert moved[1] / moved[0] == pytest.approx(10, rel=0.05)


def test_a_negative_from_the_data_set_is_read_of_another_case():
    here, there = (
        Volume(np.zeros((1, 4, 4, 4), np.float32)),
        Volume(np.ones((1, 4, 4, 4), np.float32)),
    )
    p, rng = Exemplars(neg_source="dataset"), np.random.default_rng(0)
    with pytest.raises(BenchError, match="use more cases"):
        p.read(here, (4, 4, 4), rng)
    here.others, there.origin = lambda rng: there, 3
    made = p.read(here, (4, 4, 4), rng)
    assert made["crop"].max() == 0 and made["other"].min() == 1 and made["other_origin"] == 3
    assert p.crops_per_sample == 3 and "other" not in Exemplars().read(here, (4, 4, 4), rng)


def test_contrast_takes_its_negatives_from_the_batch():
    with pytest.raises(BenchError, match="neg_source = 'batch'"):
        Exemplars(loss="ntxent", neg_source="dataset")


def test_a_rotation_by_hand_lands_where_it_should():
    x = torch.zeros(1, 1, 9, 9, 1)
    x[0, 0, 7, 4, 0] = 1  # three voxels along x from the centre
    at = exemplar.places(
        exemplar.rotation(torch.tensor([[0.0, 0.0, math.pi / 2]])), x.shape[2:], (9, 9, 1)
    )
    assert exemplar.sampled(x, at, "linear")[0, 0, 4, 7, 0] == pytest.approx(1, abs=1e-5)
