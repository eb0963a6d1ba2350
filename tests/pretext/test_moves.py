"""Views are mirrored along x, turned and zoomed within bounds, and scaled with the other one."""

import pytest
import torch
from seeded import generator

from bench.pretext.moves import Moves, reach

STILL = Moves(0.0, 0.0, 0.0)


def ramp(rows=1, side=17):
    """Return rows whose three channels are the places along x, y and z, from the centre."""
    at = torch.arange(side) - (side - 1) / 2
    return torch.stack(torch.meshgrid(at, at, at, indexing="ij")).repeat(rows, 1, 1, 1, 1)


@pytest.mark.parametrize(("moves", "expected"), [(STILL, ()), (Moves(1.0, 0.0, 0.0), (2,))])
def test_a_view_stays_or_is_mirrored_along_x(moves, expected):
    x = torch.rand(3, 1, 6, 5, 4, generator=generator(0))
    assert torch.allclose(moves.applied(x, generator(1)), x.flip(expected), atol=1e-5)


@pytest.mark.parametrize(
    ("moves", "least", "most"),
    [(Moves(0.0, 0.0, 0.1), 0.9, 1.1), (Moves(0.0, 10.0, 0.0), 0.95, 1.0)],
)
def test_what_is_read_lies_within_the_bounds(moves, least, most):
    found = moves.applied(ramp(64), generator(0))
    one = torch.stack([found[:, 0, 10, 8, 8], found[:, 1, 8, 10, 8], found[:, 2, 8, 8, 10]]) / 2
    assert (one > least / 1.01).all() and (one < most * 1.02).all()
    assert one.std() > 0.001  # of every row and axis its own


def test_what_comes_in_from_outside_is_zero():
    found = Moves(0.0, 10.0, 0.0).applied(torch.ones(8, 1, 16, 16, 16), generator(0))
    assert found.amin() == 0 and found[..., 8, 8, 8].amin() == pytest.approx(1)


def test_both_views_share_a_channels_range_and_a_constant_one_is_not_divided_by_zero():
    pair = torch.tensor([[[0.0, 2.0], [5.0, 5.0]], [[1.0, 4.0], [5.0, 5.0]]]).view(1, 2, 2, 2, 1, 1)
    low, span = reach(pair)
    assert low.flatten().tolist() == [0, 5] and span.flatten()[0] == 4 and span.flatten()[1] > 0
    assert torch.isfinite((pair - low) / span).all()
