"""Batched geometry equals the plain operation per sample, and reports what it did."""

import pytest
import torch
from seeded import generator

from bench import augment


def batch(shape=(6, 2, 5, 5, 4)):
    return torch.randn(shape, generator=generator(9))


def test_flip_mirrors_exactly_the_marked_axes_and_undoes_itself():
    x = batch()
    y, flipped = augment.random_flip(x, 0.5, generator())
    for a, b, marks in zip(x, y, flipped, strict=True):
        assert torch.equal(b, a.flip([i + 1 for i in range(3) if marks[i]]))
    assert torch.equal(augment.flip(y, flipped), x)
    assert 0 < flipped.sum() < flipped.numel()


@pytest.mark.parametrize("p", [0.0, 0.2, 1.0])
def test_flip_probability_is_per_axis(p):
    _, flipped = augment.random_flip(torch.zeros(6000, 1, 1, 1, 1), p, generator())
    assert flipped.float().mean(0).tolist() == pytest.approx([p] * 3, abs=0.02 if 0 < p < 1 else 0)


def test_quarter_turns_equal_rot90_of_the_plane():
    x, turns = batch((4, 1, 5, 5, 3)), torch.arange(4)
    y = augment.rot90(x, turns)
    for k in range(4):
        assert torch.equal(y[k], torch.rot90(x[k], k, (1, 2)))


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize(("shape", "turns"), [((5, 5, 4), range(4)), ((4, 6, 3), (0, 2))])
def test_a_flip_and_a_turn_at_once_are_a_flip_then_a_turn(shape, turns, inplace):
    flipped, turns = torch.cartesian_prod(torch.arange(8), torch.tensor(list(turns))).unbind(1)
    flipped = (flipped[:, None] >> torch.arange(3)) % 2 == 1
    x = batch((len(turns), 2, *shape))
    expected = augment.rot90(augment.flip(x, flipped), turns)
    for row, old, marks, k in zip(expected, x, flipped, turns.tolist(), strict=True):
        assert torch.equal(row, old.flip([i + 1 for i in range(3) if marks[i]]).rot90(k, (1, 2)))
    assert torch.equal(augment.flip_rot90(x.clone(), flipped, turns, inplace), expected)
    # the way of a GPU
    with_gradient = augment.flip_rot90(x.clone().requires_grad_(), flipped, turns)
    assert torch.equal(with_gradient, expected)


def test_drawn_at_once_they_are_what_is_drawn_one_after_the_other():
    x, g = batch((40, 1, 4, 4, 3)), generator()
    y, flipped = augment.random_flip(x, 0.3, g)
    y, turns = augment.random_rot90(y, 0.4, g)
    found = augment.random_flip_rot90(x, 0.3, 0.4, generator())
    assert all(torch.equal(a, b) for a, b in zip(found, (y, flipped, turns), strict=True))


def test_turns_are_drawn_alike_from_one_to_three():
    _, turns = augment.random_rot90(torch.zeros(9000, 1, 2, 2, 1), 0.6, generator())
    share = torch.bincount(turns, minlength=4) / 9000
    assert share.tolist() == pytest.approx([0.4, 0.2, 0.2, 0.2], abs=0.02)


def test_a_plane_that_is_not_square_takes_half_turns_only():
    x = batch((50, 1, 4, 6, 3))
    y, turns = augment.random_rot90(x, 0.5, generator())
    assert set(turns.tolist()) == {0, 2}
    assert torch.equal(y, torch.where((turns == 2).view(-1, 1, 1, 1, 1), x.flip(2, 3), x))


def test_axes_are_not_confused_by_resizing():
    axes = torch.meshgrid(torch.arange(8.0), torch.arange(12.0), torch.arange(10.0), indexing="ij")
    x = torch.stack(axes)[None]
    start, size = torch.tensor([[1, 2, 3]]), torch.tensor([[4, 8, 6]])
    y = augment.resize_box(x, start, size, (2, 2, 2))[0]
    for axis in range(3):
        line = y[axis].movedim(axis, 0)[:, 0, 0]
        expected = start[0, axis] + (torch.arange(2) + 0.5) * size[0, axis] / 2 - 0.5
        assert torch.allclose(line, expected, atol=1e-4)


def test_autocast_does_not_round_where_a_box_lies():
    x, start, size = batch((2, 1, 40, 8, 8)), torch.full((2, 3), 0.3), torch.full((2, 3), 5.7)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = augment.resize_box(x, start, size, (6, 6, 6))
    assert torch.equal(cast, augment.resize_box(x, start, size, (6, 6, 6)))
