"""Holes: their areas, the spline between coarse noise, and one mask for a whole batch."""

import pytest
import torch

from bench.pretext.inpainting import bicubic, blobs, centre_hole
from bench.random import torch_generator

CPU = torch.device("cpu")
CODE = (0.25, 0.06, (0.2, 0.3))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_the_centre_hole_is_a_quarter_of_the_pixels():
    hole = centre_hole((192, 192), 0.5, 0, CPU)
    assert hole.sum() == 96**2 and hole[48:144, 48:144].all()
    assert centre_hole((64, 32), 0.5, 0, CPU).sum() == 32 * 16


def test_a_ring_makes_the_hole_smaller_all_around():
    hole = centre_hole((128, 128), 0.5, 4, CPU)
    assert hole.sum() == 56**2 and hole[36:92, 36:92].all()


def test_the_centre_hole_lies_in_the_centre_of_odd_slices_too():
    hole = centre_hole((33, 17), 0.5, 0, CPU)
    assert torch.equal(hole, hole.flip(0)) and torch.equal(hole, hole.flip(1))
    assert hole.double().mean().item() == pytest.approx(0.25, abs=0.04)


@pytest.mark.parametrize("shape", [(192, 192), (128, 128), (64, 48)])
def test_irregular_holes_cover_a_fifth_to_three_tenths(shape):
    shares = [blobs(shape, *CODE, generator(i)).double().mean().item() for i in range(40)]
    assert min(shares) > 0.2 and max(shares) < 0.3
    assert len(set(shares)) > 35


def test_irregular_holes_are_large_and_touch_everything_at_some_time():
    holes = torch.stack([blobs((64, 64), *CODE, generator(i)) for i in range(300)]).double()
    border = holes.diff(dim=1).abs().mean() + holes.diff(dim=2).abs().mean()
    assert border < 0.12  # pixels thrown in alone: 2 * 2 * .25 * .75 = .75
    assert holes.mean(0).min() > 0.1 and holes.mean(0).max() < 0.4


def test_where_no_pattern_fits_the_nearest_is_taken():
    hole = blobs((64, 64), 0.25, 0.06, (0.999, 1.0), generator())
    assert 0.2 < hole.double().mean() < 1


def test_parts_of_a_batch_share_the_hole_and_go_on_alike():
    parts = [torch_generator("cpu", 0, "views", 3, (p, 4)) for p in range(4)]
    holes = [blobs((64, 64), *CODE, g) for g in parts]
    assert all(torch.equal(h, holes[0]) for h in holes)
    assert all(torch.equal(g.get_state(), parts[0].get_state()) for g in parts)


def spline(p, t):
    """Return Catmull and Rom's spline between the second and the third of four numbers."""
    a, b, c, d = p
    slope, square, cube = (c - a) / 2, a - 2.5 * b + 2 * c - d / 2, (d - a) / 2 + 1.5 * (b - c)
    return b + t * (slope + t * (square + t * cube))


def test_pixels_between_cells_are_on_the_spline():
    cells = torch.rand(9, generator=generator(), dtype=torch.float64)
    weights = bicubic(20, 9, 0.25, torch.tensor([0.0, 0.6], dtype=torch.float64))
    for row, phase in zip(weights, (0.0, 0.6), strict=True):
        assert torch.allclose(row.sum(1), torch.ones(20, dtype=torch.float64))
        for i, value in enumerate(row @ cells):
            at = 1 + phase + 0.25 * i
            k = int(at)
            assert value.item() == pytest.approx(spline(cells[k - 1 : k + 3].tolist(), at - k), abs=1e-12)
