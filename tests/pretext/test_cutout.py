"""Boxes cut out of crops: how much, how large, with what in them."""

import pytest
import torch

from bench.pretext import cutout

SHAPE = (40, 40, 40)


def test_as_much_is_cut_as_by_the_code():
    """300 draws of its loop: mean .131, standard deviation .073, highest .257 (overlaps count twice)."""
    g = torch.Generator().manual_seed(0)
    shares = torch.cat(
        [cutout.holes(50, SHAPE, cutout.Boxes(), g).flatten(1).float().mean(1) for _ in range(6)]
    )
    assert shares.mean().item() == pytest.approx(0.131, abs=0.015)
    assert shares.std().item() == pytest.approx(0.073, abs=0.01) and 0.22 < shares.max() < 0.30


def test_boxes_stop_once_they_cover_what_was_drawn_and_lie_inside():
    start, size, row = cutout.drawn(
        40, (96, 64, 32), cutout.Boxes(), torch.Generator().manual_seed(1)
    )
    assert (start >= 0).all() and (start + size <= torch.tensor([96, 64, 32])).all()
    least, most = torch.tensor([4, 3, 1]), torch.tensor([23, 15, 7])
    inside = start + most < torch.tensor([96, 64, 32])
    assert (size <= most).all() and (size >= torch.where(inside, least, 1)).all()
    covered = torch.zeros(40).index_add_(0, row, size.prod(1).float()) / (96 * 64 * 32)
    last = torch.zeros(40).scatter_(0, row, size.prod(1).float()) / (96 * 64 * 32)
    assert (covered - last < 0.3).all() and covered.max() > 0.25


def test_noise_fills_its_boxes_from_0_to_1_and_nothing_else():
    x = torch.full((4, 2, 40, 40, 40), -7.0)
    y = cutout.noisy(x, cutout.Boxes(least_side=0.2), torch.Generator().manual_seed(2))
    changed = y != x
    assert (
        torch.equal(changed[:, 0], changed[:, 1])
        and (changed.float().mean() > 0)
        and changed.float().mean() < 0.3
    )
    assert y[changed].min() == 0 and y[changed].max() == 1


def test_nothing_is_cut_where_nothing_may_be():
    x = torch.ones(2, 1, 16, 16, 16)
    assert torch.equal(cutout.noisy(x, cutout.Boxes(most=0.0), torch.Generator()), x)
    assert not cutout.holes(2, (16, 16, 16), cutout.Boxes(most=0.0), torch.Generator()).any()
