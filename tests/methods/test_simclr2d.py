"""SimCLR on slices: values of the loss by hand, both reductions, what has a gradient, a lifted figure."""

import math

import pytest
import torch
from volumes import Gives, raw_of, scans, shown, textured, trained

OFF = {"area": [1.0, 1.0], "aspect": [1.0, 1.0], "blur": 0.0, "noise": 0.0}


def value(build, rows, **params):
    """Return the terms for embeddings (N, 2, C) of both views of N slices."""
    method = build("simclr2d", params)
    method.projector = Gives(rows.flatten(0, 1).double())
    return method.loss({"views": torch.zeros(len(rows), 2, 1, 32, 32, 1)})


def test_a_read_is_one_slice_of_a_volume(build):
    method = build("simclr2d")
    crop = raw_of(method)["crop"]
    assert crop.shape == (4, 1, 32, 32, 1)
    whole = torch.from_numpy(scans()[0].whole())[0]
    windows = whole.unfold(0, 32, 1).unfold(1, 32, 1)  # (33, 33, z, 32, 32)
    assert (windows - crop[0, 0, ..., 0]).abs().amax((-2, -1)).min() == 0


ALIKE, IDEAL = torch.ones(128, 2, 4), torch.eye(128)[:, None].expand(-1, 2, -1)  # equal, and orthogonal


@pytest.mark.parametrize(
    ("rows", "count", "temperature", "expected"),
    [
        (ALIKE, 2, 0.1, 1.0986),  # equal embeddings cost the logarithm of the others
        (ALIKE, 128, 0.5, 5.5413),
        (IDEAL, 2, 1.0, 0.5514),  # perfect views cost what the orthogonal others leave
        (IDEAL, 30, 0.5, 2.1804),
        (IDEAL, 128, 0.1, 0.0114656),
    ],
)
def test_loss_of_known_embeddings(build, rows, count, temperature, expected):
    terms = value(build, rows[:count], temperature=temperature)
    assert terms["total"].item() == pytest.approx(expected, abs=1e-4 if expected > 0.1 else 1e-7)
    assert terms["chance"].item() == pytest.approx(1 / (2 * count - 1))
    if rows is ALIKE:
        assert terms["total"].item() == pytest.approx(math.log(2 * count - 1), abs=1e-6)
        assert terms["std"].item() == pytest.approx(0, abs=1e-6)
    else:
        assert terms["retrieval"].item() == 1


def test_wrong_partners_cost_the_temperature(build):
    rows = torch.stack([torch.eye(4), torch.eye(4).roll(1, 0)], dim=1)
    terms = value(build, rows, temperature=0.1)
    assert terms["total"].item() == pytest.approx(math.log(math.exp(10) + 6), abs=1e-6)  # 10.000272
    assert terms["retrieval"].item() == 0


def test_the_sum_over_pairs_is_twice_the_mean_over_views(build):
    torch.manual_seed(0)
    rows = torch.randn(6, 2, 8)
    mean = value(build, rows)["total"].item()
    assert value(build, rows, reduction="sum_pairs")["total"].item() == pytest.approx(2 * mean)


def test_negatives_carry_gradient_and_none_of_it_is_radial(build):
    method = build("simclr2d")
    torch.manual_seed(0)
    rows = torch.randn(8, 5, dtype=torch.float64, requires_grad=True)
    method.projector = Gives(rows)
    method.loss({"views": torch.zeros(4, 2, 1, 32, 32, 1)})["total"].backward()
    assert (rows.grad.abs().sum(1) > 1e-3).all()
    assert (rows.grad * rows).sum(1).abs().max() < 1e-9


@pytest.mark.slow
def test_learns_to_tell_slices_of_unseen_scans_apart(build):
    look = {"shape": (48, 48, 8), "grains": (0.8, 5), "contrast": (0.5, 1.5), "shift": 1}
    scans, held_out = textured(32, 1, **look), textured(16, 500, **look)
    method = build("simclr2d", {"area": [0.5, 1.0]})
    before = shown(method, held_out)
    trained(method, scans, 150, 2e-3)
    after = shown(method, held_out)
    assert after["retrieval"] > 3 / 31
    assert after["retrieval"] > 1.2 * before["retrieval"]
    assert after["total"] < 0.9 * math.log(31)  # collapse: ln 31
    assert after["std"] > 0.3 / 32**0.5
