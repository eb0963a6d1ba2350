"""The four deformations: what they leave, how often they draw what, and the batch as its parts."""

from itertools import permutations

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from seeded import generator

from bench.pretext import deform

WINDOWS = 10_000


def rows(count, value=True):
    return torch.full((count,), value)


def numbered(shape):
    """Return one row whose voxels hold their own index."""
    return torch.arange(np.prod(shape), dtype=torch.float64).view(1, 1, *shape)


def shell(mask, margin=3):
    """Return the voxels of (B, 1, X, Y, Z) within ``margin`` of the border."""
    outside = torch.ones(mask.shape[2:], dtype=torch.bool)
    outside[margin:-margin, margin:-margin, margin:-margin] = False
    return mask[:, :, outside]


# scales


def test_a_rows_channel_is_taken_to_the_unit_range_and_a_constant_one_to_zero():
    x = torch.rand(3, 2, 4, 5, 6, generator=generator()) * 9 - 4
    x[1, 1] = 7.0
    low, span = deform.reach(x)
    assert low.shape == span.shape == (3, 2, 1, 1, 1)
    unit = ((x - low) / span).flatten(2)
    assert unit.amin(2).eq(0).all()
    assert torch.allclose(unit.amax(2), torch.tensor([[1.0, 1.0], [1.0, 0.0], [1.0, 1.0]]))


# local shuffling


def test_every_voxel_comes_from_the_last_window_that_covers_it():
    shape, count = (12, 11, 7), 60
    draw = np.random.default_rng(0)
    size = draw.integers(1, 5, (count, 3))
    start = draw.integers(0, np.subtract(shape, size) + 1)
    owner = np.full(shape, -1)
    for w, (a, s) in enumerate(zip(start, size, strict=True)):
        owner[tuple(slice(i, i + n) for i, n in zip(a, s, strict=True))] = w
    one = torch.zeros(count, dtype=torch.long)
    seeds = torch.from_numpy(draw.integers(0, 2**62, count))
    found = deform.shuffled(
        torch.from_numpy(start), torch.from_numpy(size), one, seeds, 1, shape
    ).numpy()
    flat, at = owner.ravel(), np.stack(np.unravel_index(found, shape), axis=1)
    assert (found[flat < 0] == np.flatnonzero(flat < 0)).all()
    for w in np.unique(flat[flat >= 0]):
        mine = flat == w
        assert ((at[mine] >= start[w]) & (at[mine] < start[w] + size[w])).all()
        assert len(np.unique(found[mine])) == mine.sum()
    assert (found[flat >= 0] != np.flatnonzero(flat >= 0)).mean() > 0.8


def test_one_window_has_every_permutation_equally_often():
    count = 12_000
    start, size = (
        torch.zeros(count, 3, dtype=torch.long),
        torch.tensor([[3, 1, 1]]).expand(count, 3),
    )
    seeds = torch.randint(0, 2**62, (count,), generator=generator())
    each = torch.arange(count)
    found = deform.shuffled(start, size, each, seeds, count, (3, 1, 1)).view(count, 3) % 3
    shares = [
        (found == torch.tensor(p)).all(1).double().mean().item() for p in permutations(range(3))
    ]
    assert shares == pytest.approx([1 / 6] * 6, abs=0.013)


def test_seeds_that_follow_each_other_give_unrelated_permutations():
    count = 4_000
    size = torch.tensor([[4, 1, 1]]).expand(count, 3)
    seeds = 4 * torch.arange(count)
    found = deform.shuffled(
        torch.zeros_like(size), size, torch.arange(count), seeds, count, (4, 1, 1)
    )
    first = found.view(count, 4)[:, 0] % 4
    shares = torch.bincount(first, minlength=4) / count
    assert shares.tolist() == pytest.approx([0.25] * 4, abs=0.03)
    assert (first[1:] == first[:-1]).double().mean().item() == pytest.approx(0.25, abs=0.03)


def test_a_shuffled_crop_has_the_published_windows():
    shape = (64, 64, 32)
    x = numbered(shape)
    y = deform.local_shuffle(x, rows(1), WINDOWS, generator())[0, 0].long().flatten().numpy()
    moved = np.stack(np.unravel_index(y, shape)) - np.indices(shape).reshape(3, -1)
    assert (y == np.arange(y.size)).mean() == pytest.approx(
        0.213, abs=0.01
    )  # the code run: .211 to .217
    assert np.abs(moved).max(axis=1).tolist() == [5, 5, 2]
    assert np.abs(moved).mean(axis=1) == pytest.approx([1.10, 1.10, 0.50], abs=0.03)  # the code run


def test_a_constant_crop_and_one_not_chosen_stay():
    constant = torch.full((2, 1, 32, 32, 16), 0.7)
    assert torch.equal(deform.local_shuffle(constant, rows(2), WINDOWS, generator()), constant)
    x = torch.rand(3, 1, 32, 32, 16, generator=generator())
    chosen = torch.tensor([True, False, True])
    y = deform.local_shuffle(x, chosen, 500, generator())
    assert [torch.equal(a, b) for a, b in zip(x, y, strict=True)] == [False, True, False]
    assert deform.local_shuffle(x, ~rows(3), 500, generator()) is x


@pytest.mark.parametrize("shape", [(96, 96, 16), (9, 8, 7), (20, 5, 1)])
def test_short_axes_have_windows_of_one_voxel(shape):
    y = deform.local_shuffle(numbered(shape), rows(1), WINDOWS, generator())[0, 0].long().flatten()
    moved = np.stack(np.unravel_index(y.numpy(), shape)) - np.indices(shape).reshape(3, -1)
    assert np.abs(moved).max(axis=1).tolist() == [max(1, n // 10) - 1 for n in shape]


def test_channels_are_shuffled_alike():
    x = torch.rand(2, 1, 32, 32, 16, generator=generator())
    y = deform.local_shuffle(torch.cat([x, 2 * x], dim=1), rows(2), 500, generator())
    assert torch.equal(2 * y[:, 0], y[:, 1])


# flips


def test_flips_are_as_often_none_one_two_three_as_in_the_code():
    flipped = deform.flips(40_000, 0.4, 3, (0, 1, 2), generator())
    shares = torch.bincount(flipped.sum(1), minlength=4) / len(flipped)
    one, two, three = 0.24, 0.096, 0.064  # rounds; an axis drawn twice is as it was
    expected = [0.6 + two / 3, one + three * 21 / 27, two * 2 / 3, three * 6 / 27]
    assert shares.tolist() == pytest.approx(expected, abs=0.01)
    each = flipped.double().mean(0)
    assert each.tolist() == pytest.approx([each.mean().item()] * 3, abs=0.01)


# intensities


def test_the_map_is_the_cubic_curve():
    control = torch.tensor([[[0.1, 0.8], [0.9, 0.3]]], dtype=torch.float64)
    t = torch.linspace(0, 1, 301, dtype=torch.float64)
    x, y = (3 * a * t * (1 - t) ** 2 + 3 * b * t**2 * (1 - t) + t**3 for a, b in control[0].T)
    row = x.view(1, 1, 7, 43, 1)
    for up, expected in ((True, y), (False, y.flip(0))):
        found = deform.mapped(row, control, torch.tensor([up]), 100_000).flatten()
        assert torch.allclose(found, expected, atol=1e-8)


@pytest.mark.parametrize("up", [True, False])
def test_every_map_is_monotone_with_fixed_ends(up):
    control = torch.rand(200, 2, 2, generator=generator())
    control[:2] = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]]])
    row = torch.linspace(0, 1, 500).view(1, 1, 500, 1, 1).expand(200, 1, 500, 1, 1)
    found = deform.mapped(row, control, torch.full((200,), up), 1000).view(200, 500)
    assert found[:, 0].eq(float(not up)).all() and found[:, -1].eq(float(up)).all()
    assert found.min() >= 0 and found.max() <= 1
    steps = found.diff(dim=1) if up else -found.diff(dim=1)
    assert steps.min() > -1e-6


def test_ranks_stay_or_turn_around_half_of_the_time():
    x = torch.rand(400, 1, 4, 4, 4, generator=generator())
    y = deform.bezier(x, rows(400), 1000, generator(1))
    ranks = np.array([spearmanr(a, b)[0] for a, b in zip(x.flatten(1), y.flatten(1), strict=True)])
    assert np.abs(ranks) == pytest.approx(np.ones(400))
    assert (ranks > 0).mean() == pytest.approx(0.5, abs=0.08)


def test_maps_differ_between_rows_and_leave_those_not_chosen():
    x = torch.rand(1, 1, 4, 4, 4, generator=generator()).expand(3, 1, 4, 4, 4)
    y = deform.bezier(x, torch.tensor([True, False, True]), 1000, generator())
    assert torch.equal(y[1], x[1]) and not torch.equal(y[0], y[2])
    assert deform.mapped(
        torch.tensor([[[[[-5.0, 7.0]]]]]), torch.rand(1, 2, 2), rows(1), 9
    ).tolist() == [[[[[0.0, 1.0]]]]]


# painting


@pytest.fixture(scope="module")
def painted():
    """Return rows painted inside and rows painted around, and where."""
    x = torch.full((200, 1, 64, 64, 32), 2.0)
    inner = deform.paint(x, rows(200), ~rows(200), deform.Boxes(), generator())
    outer = deform.paint(x, ~rows(200), rows(200), deform.Boxes(), generator())
    assert x.eq(2).all()
    return inner, outer


def test_inner_boxes_paint_little_and_not_the_border(painted):
    changed = painted[0] != 2
    share = changed.flatten(1).double().mean(1)
    assert share.mean().item() == pytest.approx(0.057, abs=0.005) and share.max() < 0.115
    assert not shell(changed).any()


def test_outer_boxes_keep_a_third_and_not_the_border(painted):
    kept = painted[1] == 2
    share = kept.flatten(1).double().mean(1)
    assert share.mean().item() == pytest.approx(0.32, abs=0.015) and share.min() > 0.08
    assert share.max() < 0.5
    assert not shell(kept).any()


def test_noise_is_uniform(painted):
    noise = painted[1][painted[1] != 2]
    noise = noise[::7]
    assert noise.min() >= 0 and noise.max() < 1
    assert (noise.mean().item(), noise.var().item()) == pytest.approx((0.5, 1 / 12), abs=1e-3)


@pytest.mark.parametrize(
    ("side", "low", "high"),
    [("inner", (10, 10, 5), (21, 21, 10)), ("outer", (28, 28, 14), (37, 37, 19))],
)
def test_sides_of_one_box(side, low, high):
    found = (deform.inner_sides if side == "inner" else deform.outer_sides)((64, 64, 32))
    assert found == list(zip(low, high, strict=True))
    one = deform.boxed(300, (64, 64, 32), found, deform.Boxes(1), 1, generator())[:, 0]
    for axis, (a, b) in enumerate(found):
        others = tuple(i for i in (1, 2, 3) if i != axis + 1)
        sizes = one.any(others[1]).any(others[0]).sum(1)
        assert set(sizes.tolist()) == set(range(a, b + 1))


def test_the_number_of_boxes_stops_at_the_first_failure():
    def count(most, follows, sure):
        sides = [(1, 1)] * 3
        made = deform.boxed(
            4_000, (40, 40, 1), sides, deform.Boxes(most, follows, 0), sure, generator()
        )
        return torch.bincount(made.flatten(1).sum(1), minlength=6)[:6] / 4_000

    # boxes of one voxel hardly ever share it
    assert count(5, 0.5, 0).tolist() == pytest.approx(
        [0.5, 0.25, 0.125, 1 / 16, 1 / 32, 1 / 32], abs=0.025
    )
    assert count(5, 0.5, 1).tolist() == pytest.approx(
        [0, 0.5, 0.25, 0.125, 1 / 16, 1 / 16], abs=0.025
    )
    assert count(5, 0.0, 0)[0] == 1 and count(5, 0.0, 1)[1] == 1


def test_a_box_has_one_noise_for_all_channels_and_its_surroundings_one_each():
    x = torch.full((20, 2, 24, 24, 24), 2.0)
    inner = deform.paint(x, rows(20), ~rows(20), deform.Boxes(), generator())
    outer = deform.paint(x, ~rows(20), rows(20), deform.Boxes(), generator())
    assert torch.equal(inner[:, 0], inner[:, 1]) and (inner != 2).any()
    assert torch.equal(outer[:, 0] == 2, outer[:, 1] == 2) and not torch.equal(
        outer[:, 0], outer[:, 1]
    )


@pytest.mark.parametrize("shape", [(96, 96, 16), (12, 12, 12), (5, 4, 3), (8, 2, 1)])
def test_short_axes_have_room_for_a_box(shape):
    x = torch.full((50, 1, *shape), 2.0)
    inner = deform.paint(x, rows(50), ~rows(50), deform.Boxes(follows=1.0), generator())
    outer = deform.paint(x, ~rows(50), rows(50), deform.Boxes(), generator())
    assert (inner != 2).flatten(1).any(1).all() and (outer == 2).flatten(1).any(1).all()
    if shape == (96, 96, 16):
        assert not shell(inner != 2).any() and not shell(outer == 2).any()


def test_rows_not_chosen_stay():
    x = torch.rand(3, 1, 16, 16, 16, generator=generator())
    inner, outer = torch.tensor([True, False, False]), torch.tensor([False, True, False])
    y = deform.paint(x, inner, outer, deform.Boxes(follows=1.0), generator())
    assert torch.equal(y[2], x[2])
    assert 0 < (y[0] != x[0]).double().mean() < 0.2 < (y[1] != x[1]).double().mean()
