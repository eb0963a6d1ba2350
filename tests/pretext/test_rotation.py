"""Quarter turns: which way, about which axis, and which sample gets which."""

import numpy as np
import pytest
import torch

from bench.augment import rot90
from bench.pretext import rotation

X = torch.arange(2 * 3 * 4 * 4 * 4.0).view(2, 3, 4, 4, 4)


@pytest.mark.parametrize("k", range(4))
def test_class_k_of_a_slice_is_k_quarters_as_numpy_counts_them(k):
    x = X[..., :1]
    expected = np.rot90(x.numpy(), k, axes=(2, 3))
    assert torch.equal(
        rotation.all_turns(x, rotation.FLAT)[:, k], torch.from_numpy(expected.copy())
    )
    assert torch.equal(rotation.turn(x, 2, k), rot90(x, torch.tensor([k, k])))


@pytest.mark.parametrize("axis", range(3))
def test_a_turn_leaves_its_axis_and_four_of_them_everything(axis):
    once = rotation.turn(X, axis, 1)
    assert torch.equal(
        once.sum([d for d in (2, 3, 4) if d != axis + 2]),
        X.sum([d for d in (2, 3, 4) if d != axis + 2]),
    )
    assert torch.equal(rotation.turn(once, axis, 3), X)
    assert torch.equal(rotation.turn(once, axis, 1), rotation.turn(X, axis, 2))
    assert not torch.equal(once, X)


def test_axes_follow_each_other_cyclically():
    moved = X.permute(0, 1, 4, 2, 3)  # what lay along x, y, z lies along y, z, x
    for axis in range(3):
        there = rotation.turn(moved, (axis + 1) % 3, 1)
        assert torch.equal(there, rotation.turn(X, axis, 1).permute(0, 1, 4, 2, 3))


# of the released code, as turns about an axis: its classes 4 to 9 turn the planes (1, 2) and (0, 2) backwards
RELEASED = ((0, 0), (2, 1), (2, 2), (2, 3), (0, 3), (0, 2), (0, 1), (1, 1), (1, 2), (1, 3))


def released(x, number):
    """Turn (..., X, Y, Z) as class ``number`` of HealthML's ``rotate_batch_3d`` does, in NumPy's terms."""
    planes = (0, 1), (1, 2), (0, 2)
    plane, place = (
        (planes[0], number) if number < 4 else (planes[1 + (number > 6)], (number - 4) % 3 + 1)
    )
    quarters = place if number < 4 else 4 - place
    return torch.from_numpy(np.rot90(x.numpy(), quarters, [a - 3 for a in plane]).copy())


@pytest.mark.parametrize("number", range(10))
def test_the_ten_turns_are_those_of_the_released_code_in_another_order(number):
    assert set(RELEASED) == set(rotation.TEN)
    ours = torch.full((2,), rotation.TEN.index(RELEASED[number]))
    assert torch.equal(rotation.of_cube(X, 10, ours), released(X, number))


@pytest.mark.parametrize(("classes", "closed"), [(10, False), (24, True)])
def test_turns_of_a_cube_differ_never_mirror_and_only_all_of_them_are_a_group(classes, closed):
    # coordinates of voxels
    at = torch.stack(torch.meshgrid(*[torch.arange(3.0) - 1] * 3, indexing="ij"))[None]

    def matrix(x):  # what a turn does to the coordinates, by where it takes the three unit vectors
        return tuple(x[0, :, *p].tolist() for p in ((2, 1, 1), (1, 2, 1), (1, 1, 2)))

    turned = [rotation.of_cube(at, classes, torch.tensor([k])) for k in range(classes)]
    found = {str(matrix(t)) for t in turned}
    assert len(found) == classes
    assert all(round(torch.linalg.det(torch.tensor(matrix(t))).item()) == 1 for t in turned)
    both = [rotation.of_cube(t, classes, torch.tensor([k])) for t in turned for k in range(classes)]
    assert ({str(matrix(t)) for t in both} == found) is closed


@pytest.mark.parametrize("axis", range(3))
def test_of_ten_a_quarter_and_three_quarters_undo_each_other(axis):
    one, two, three = (torch.full((2,), 1 + 3 * axis + k) for k in range(3))
    assert torch.equal(rotation.of_cube(rotation.of_cube(X, 10, one), 10, three), X)
    assert torch.equal(rotation.of_cube(rotation.of_cube(X, 10, two), 10, two), X)


def test_every_sample_gets_its_own_turn():
    which = torch.tensor([3, 1])
    found = rotation.turned(X, rotation.FLAT, which)
    every = rotation.all_turns(X, rotation.FLAT)
    assert torch.equal(found, every[torch.arange(2), which])
    assert every.shape == (2, 4, *X.shape[1:])
