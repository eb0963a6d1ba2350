"""What origin and intensities alone find, by hand; and embeddings that know no more find no more."""

import pytest
import torch
from torch.nn import functional

from bench.pretext.contrast import queue_contrast
from bench.pretext.losses import matched, nt_xent
from bench.pretext.nuisance import (
    LEVELS,
    among_pairs,
    among_queue,
    guessed,
    intensities,
    moments,
    notes,
)


def flat(*values):
    """Return one pair of views (n, 2, 1, 4, 4, 4) per value, both of that one intensity."""
    return torch.tensor(values).view(-1, 1, 1, 1, 1, 1).expand(-1, 2, 1, 4, 4, 4).contiguous()


ORIGIN = torch.tensor([0, 0, 0, 1])


@pytest.mark.parametrize(
    ("values", "origin", "all_views", "expected"),
    [
        ((0, 0, 0, 0), None, False, 1 / 4),  # nothing tells them apart
        ((0, 0, 0, 0), None, True, 1 / 7),
        (
            (0, 0, 0, 0),
            ORIGIN,
            False,
            (3 / 3 + 1) / 4,
        ),  # three scans of one data set, one of another
        ((0, 0, 0, 0), ORIGIN, True, (6 / 5 + 2) / 8),
        ((0, 0, 5, 5), None, False, 1 / 2),  # two bright, two dark: ties are averaged
        ((0, 1, 2, 3), None, False, 1.0),  # each has its own brightness
        ((0, 0, 5, 5), ORIGIN, False, (1 / 2 + 1 / 2 + 1 + 1) / 4),  # both together
    ],
)
def test_pairs_by_hand(values, origin, all_views, expected):
    found = among_pairs(flat(*map(float, values)), origin, all_views)
    assert found.item() == pytest.approx(expected)


def test_a_group_is_left_out_but_for_the_partner():
    group = torch.tensor([0, 0, 1, 2])
    found = among_pairs(flat(0.0, 0.0, 0.0, 0.0), None, True, group)
    assert found.item() == pytest.approx(
        (4 / 5 + 4 / 7) / 8
    )  # of the first two, four others and the partner
    found = among_pairs(flat(0.0, 0.0, 1.0, 1.0), None, True, group)
    assert found.item() == pytest.approx((4 * 1 + 4 / 3) / 8)  # nobody else is as dark


def test_a_wrong_nearest_finds_nothing_and_the_origin_still_counts():
    distance = torch.tensor([[1.0, 0.0, 9.0], [0.0, 1.0, 9.0], [9.0, 9.0, 0.0]])
    own, same = torch.arange(3), torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1]]).bool()
    assert guessed(distance, own).item() == pytest.approx(1 / 3)
    assert guessed(distance, own, same).item() == pytest.approx((1 / 2 + 1 / 2 + 1) / 3)


def test_a_queue_by_hand():
    views = flat(1.0, 2.0)[:, 0]
    said = notes(views, torch.tensor([0, 1]))
    empty = torch.full((4, said.shape[1]), -1.0)
    assert among_queue(said, said, empty).item() == 1  # random vectors come from no data set
    queue = empty.clone()
    queue[:3] = said[[0, 0, 1]] + torch.tensor([0.0] + [9.0] * (said.shape[1] - 1))
    assert among_queue(said, said, queue).item() == 1  # intensities tell the own key from those
    queue[:3] = said[[0, 0, 1]]
    assert among_queue(said, said, queue).item() == pytest.approx(
        (1 / 3 + 1 / 2) / 2
    )  # all alike: origin


def test_intensities_are_quantiles_of_the_whole_view_and_know_nothing_of_places():
    view = torch.arange(16 * 16 * 32.0).view(1, 1, 16, 16, 32)
    found = intensities(torch.cat([view, view.flip(2, 4), view + 3], dim=1))
    expected = (torch.arange(LEVELS) + 0.5) / LEVELS * view.numel()
    assert (found.view(3, LEVELS)[0] - expected).abs().max() < 8
    assert (found.view(3, LEVELS)[0] - found.view(3, LEVELS)[1]).abs().max() < 8
    assert torch.equal(found.view(3, LEVELS)[2], found.view(3, LEVELS)[0] + 3)


def test_moments_of_cells_by_hand():
    view = torch.tensor([1.0, 3.0, 5.0, 5.0]).view(1, 1, 4, 1, 1)
    assert moments(view, (2, 1, 1)).flatten().tolist() == pytest.approx([2, 5, 1, 0])


@pytest.mark.parametrize("seed", range(5))
def test_embeddings_that_only_tell_data_sets_apart_are_not_above_chance(seed):
    g = torch.Generator().manual_seed(seed)
    origin = torch.randint(0, 3, (12,), generator=g)
    z = functional.one_hot(origin, 3).float()
    views = torch.randn(12, 2, 1, 6, 6, 6, generator=g)
    assert matched(z, z) <= among_pairs(views, origin) + 1e-6
    assert nt_xent(z, z, 0.1)[1] <= among_pairs(views, origin, all_views=True) + 1e-6
    said = notes(views[:, 0], origin)
    assert queue_contrast(z, z, z, 0.1)[1] <= among_queue(said, said, said)


def test_embeddings_that_only_know_brightness_are_not_above_chance():
    g = torch.Generator().manual_seed(0)
    level = torch.randn(12, 1, generator=g).repeat_interleave(2, 1) + 0.2 * torch.randn(
        12, 2, generator=g
    )
    views = level.view(12, 2, 1, 1, 1, 1).expand(-1, -1, 1, 4, 4, 4).contiguous()
    one, two = (torch.stack([level[:, i].cos(), level[:, i].sin()], 1) for i in (0, 1))
    guess = 1 / 12
    assert matched(one, two) > 3 * guess  # far above what used to be its chance
    assert matched(one, two) <= among_pairs(views, None) + 0.1
