"""Turning and zooming about the centre: what is read, on crops of every shape, with a label beside."""

import math
from dataclasses import replace

import pytest
import torch
from seeded import generator

from bench.augment import read_size
from bench.augment.affine import centred, draw_affine, in_plane, places, rotation, sampled
from bench.protocol import Augment

QUARTER = math.pi / 2
PLANES = {0: (3, 4), 1: (4, 2), 2: (2, 3)}  # of a batch: what a turn about x, y or z turns


def batch(shape):
    return torch.randn(shape, generator=generator(9))


def affine(x, matrix, out, mode="linear"):
    return sampled(x, places(matrix, x.shape[2:], out), mode)


def turn(axis, angle, count=1):
    angles = torch.zeros(count, 3)
    angles[:, axis] = angle
    return rotation(angles)


def ramp(shape, axis):
    """Voxel index along one axis, counted from the centre."""
    line = torch.arange(shape[axis]).float() - (shape[axis] - 1) / 2
    return (
        line.view([-1 if i == axis else 1 for i in range(3)]).expand(shape)[None, None].contiguous()
    )


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("side", [6, 7])
def test_a_quarter_turn_is_rot90_of_image_and_label(axis, turns, side):
    image = batch((2, 2, side, side, side))
    label = torch.randint(0, 200, image.shape, generator=generator(), dtype=torch.uint8)
    matrix = turn(axis, turns * QUARTER, 2)
    out = (side,) * 3
    expected = torch.rot90(image, turns, PLANES[axis])
    assert torch.allclose(affine(image, matrix, out), expected, atol=1e-5)
    assert torch.equal(
        affine(label, matrix, out, "nearest"), torch.rot90(label, turns, PLANES[axis])
    )


def test_turns_about_x_come_before_those_about_y_and_z():
    angles = torch.tensor([[0.3, -0.7, 1.1]])
    one_by_one = turn(2, 1.1) @ turn(1, -0.7) @ turn(0, 0.3)
    assert torch.allclose(rotation(angles), one_by_one, atol=1e-6)
    assert torch.allclose(rotation(angles) @ rotation(angles).mT, torch.eye(3), atol=1e-6)


@pytest.mark.parametrize("axis", range(3))
def test_twice_the_extent_reads_a_ramp_twice_as_steep_and_zeros_beyond(axis):
    shape = (8, 12, 10)
    steps = ramp(shape, axis)
    read = affine(steps, 2 * torch.eye(3)[None], shape)
    inside = (..., *(slice(n // 4 + 1, n - n // 4 - 1) for n in shape))
    assert torch.allclose(read[inside], 2 * steps[inside], atol=1e-5)
    assert read[..., 0].eq(0).all() and read[..., 0, :].eq(0).all() and read[:, :, 0].eq(0).all()


def test_a_turn_keeps_lengths_in_crops_that_are_no_cubes():
    shape, angle = (40, 20, 6), 0.4
    read = affine(ramp(shape, 0), turn(2, angle), shape)
    inside = read[0, 0, 14:26, 6:14]
    slope = inside.diff(dim=0).mean(), inside.diff(dim=1).mean()
    assert torch.allclose(
        torch.stack(slope), torch.tensor([math.cos(angle), math.sin(angle)]), atol=1e-4
    )


def test_a_label_and_its_float_copy_stay_aligned_within_half_a_voxel():
    shape = (25, 21, 17)  # odd, so that the ramps are whole numbers
    settings = Augment(rotate=1.0, zoom=1.0, angle=60, zoom_range=(0.7, 1.4), zoom_axes="apart")
    matrix, moved = draw_affine(8, False, settings, generator())
    assert moved.all()
    # nothing of outside is mixed in
    inside = affine(torch.ones(8, 1, *shape), matrix, shape) > 1 - 1e-5
    assert inside.float().mean() > 0.3
    for axis in range(3):
        image = (ramp(shape, axis) + 100).expand(8, -1, -1, -1, -1)
        label = affine(image.to(torch.uint8), matrix, shape, "nearest")
        apart = (affine(image, matrix, shape) - label).abs()[inside]
        assert 0.4 < apart.max() <= 0.5 + 1e-3


def test_draws_keep_to_their_bounds_and_the_unchosen_to_the_identity():
    settings = Augment(rotate=0.5, zoom=0.5, angle=20)
    matrix, moved = draw_affine(4000, False, settings, generator())
    extent = torch.linalg.det(matrix).abs() ** (1 / 3)
    assert torch.equal(matrix[~moved], torch.eye(3).expand_as(matrix[~moved]))
    assert moved.float().mean() == pytest.approx(0.75, abs=0.03)
    assert 0.7 <= extent.min() < 0.71 and 1.39 < extent.max() <= 1.4 + 1e-5
    zoomed = (extent - 1).abs() > 1e-5
    assert zoomed.float().mean() == pytest.approx(0.5, abs=0.03)
    turned = matrix / extent[:, None, None]
    most = torch.rad2deg(torch.asin(turned[:, 1, 2].clamp(-1, 1)))
    assert most.abs().max() <= 20 * 3


def test_in_the_plane_z_stays_and_angles_are_about_z():
    settings = Augment(rotate=1.0, zoom=1.0, angle=180, zoom_axes="apart")
    matrix, _ = draw_affine(50, True, settings, generator())
    z = torch.tensor([0.0, 0.0, 1.0]).expand(50, 3)
    assert torch.equal(matrix[:, 2], z) and torch.equal(matrix[:, :, 2], z)
    assert (matrix[:, 0, 1].abs() > 0.01).float().mean() > 0.9


@pytest.mark.parametrize(
    ("shape", "plane", "expected"),
    [
        ((96, 96, 32), None, False),
        ((96, 96, 31), None, True),
        ((96, 96, 16), False, False),
        ((96, 96, 96), True, True),
        ((64, 64, 1), False, True),
        ((2, 2, 1), None, True),
    ],
)
def test_flat_crops_and_slices_are_moved_in_the_plane(shape, plane, expected):
    assert in_plane(shape, Augment(plane=plane)) is expected


def test_the_margin_is_even_and_only_where_something_moves():
    assert read_size((96, 96, 96), Augment()) == (96, 96, 96)
    assert read_size((96, 95, 64), Augment(margin=1.4)) == (136, 133, 90)
    assert read_size((160, 160, 48), Augment(margin=1.5)) == (240, 240, 48)
    assert read_size((160, 160, 48), Augment(margin=1.5, plane=False)) == (240, 240, 72)
    assert read_size((64, 64, 1), Augment(margin=2.0, plane=False)) == (128, 128, 1)


def test_the_result_lies_at_the_centre_of_what_was_read():
    wide = batch((1, 2, 12, 10, 8))
    small = (6, 4, 8)
    assert torch.equal(centred(wide, small), wide[:, :, 3:9, 3:7])
    assert torch.allclose(affine(wide, torch.eye(3)[None], small), centred(wide, small), atol=1e-6)
    steps = ramp((12, 12, 12), 0)
    read = affine(steps, 1.5 * torch.eye(3)[None], (8, 8, 8))
    assert torch.allclose(read, 1.5 * centred(steps, (8, 8, 8)), atol=1e-5)  # nothing is padded


def test_autocast_does_not_round_the_places():
    image = ramp((96, 8, 8), 0)
    matrix = rotation(torch.tensor([[0.1, 0.2, 0.3]]))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        read = affine(image, matrix, (96, 8, 8))
        assert torch.equal(rotation(torch.tensor([[0.1, 0.2, 0.3]])), matrix)
    assert torch.equal(read, affine(image, matrix, (96, 8, 8)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"rotate": 1.1},
        {"zoom": -0.1},
        {"noise": float("nan")},
        {"zoom_range": (1.4, 0.7)},
        {"zoom_range": (0.0, 1.0)},
        {"blur_sigma": (0.0, 1.0)},
        {"noise_range": (-0.1, 0.1)},
        {"lowres_range": (0.5, 1.1)},
        {"gamma_range": (0.7, float("inf"))},
        {"angle": 181},
        {"margin": 0.9},
        {"flip": 2},
        {"channel": -1},
    ],
)
def test_settings_out_of_range_are_refused_by_name(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        replace(Augment(), **wrong)
