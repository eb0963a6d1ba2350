"""Views of slices: their boxes name the source's pixels, and are drawn as the rule says."""

import math
from dataclasses import replace

import pytest
import torch
from seeded import generator

from bench.errors import BenchError
from bench.pretext.slice_views import SliceViews, draw_box, slice_views

PLAIN = SliceViews(blur=0.0, noise=0.0)  # geometry alone
STILL = replace(PLAIN, area=(1.0, 1.0), aspect=(1.0, 1.0))


def coordinates(count, shape):
    """Slices whose two channels hold every pixel's place along x and along y."""
    x, y = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in shape), indexing="ij")
    return torch.stack([x, y])[None, ..., None].expand(count, -1, -1, -1, -1)


@pytest.mark.parametrize("flip", [0.0, 0.5])
def test_a_views_box_names_the_pixels_that_it_shows(flip):
    shape, crop = (40, 56), (32, 24, 1)
    view, start, size = slice_views(
        coordinates(64, shape), crop, replace(PLAIN, flip=flip), generator()
    )
    assert view.shape == (64, 2, *crop)
    for axis in range(2):
        place = (torch.arange(crop[axis]) + 0.5) * size[:, axis, None] / crop[axis] - 0.5
        place = (start[:, axis, None] + place).clamp(0, shape[axis] - 1)
        line = view[:, axis].select(2 - axis, 5)[..., 0]
        torch.testing.assert_close(line, place, atol=2e-4, rtol=0)
    assert bool((size[:, :2] < 0).any()) is bool(flip)
    assert start[:, 2].eq(0).all() and size[:, 2].eq(1).all()


def test_boxes_lie_on_whole_pixels_inside_with_the_area_and_aspect_asked_for():
    start, size = draw_box(4000, (96, 64), (0.2, 1.0), (3 / 4, 4 / 3), generator())
    whole = torch.tensor([96.0, 64.0, 1.0])
    assert torch.equal(start, start.round()) and torch.equal(size, size.round())
    assert (start >= 0).all() and (size >= 1).all() and (start + size <= whole).all()
    area = size[:, 0] * size[:, 1] / (96 * 64)
    aspect = size[:, 0] / size[:, 1]
    assert area.min() > 0.19 and aspect.min() > 0.7 and aspect.max() < 1.4
    assert (start[:, 0] > 0).any() and (start[:, 1] > 0).any()


def test_area_is_uniform_and_aspect_log_uniform_where_every_box_fits():
    _, size = draw_box(20000, (512, 512), (0.1, 0.5), (3 / 4, 4 / 3), generator())
    area = size[:, 0] * size[:, 1] / 512**2
    ratio = (size[:, 0] / size[:, 1]).log()
    assert area.mean().item() == pytest.approx(0.3, abs=0.003)
    assert area.std().item() == pytest.approx(0.4 / math.sqrt(12), abs=0.003)
    assert ratio.mean().item() == pytest.approx(0, abs=0.004)
    assert ratio.std().item() == pytest.approx(2 * math.log(4 / 3) / math.sqrt(12), abs=0.003)


def test_a_box_lies_anywhere_alike():
    start, size = draw_box(6000, (8, 8), (0.25, 0.25), (1.0, 1.0), generator())
    assert size[:, :2].eq(4).all()
    counts = torch.bincount(start[:, 0].long(), minlength=5)
    assert len(counts) == 5 and (counts > 1000).all()  # 0 to 4, about 1200 each


@pytest.mark.parametrize(("shape", "box"), [((100, 10), (13, 10)), ((10, 100), (10, 13))])
def test_where_no_box_fits_the_largest_allowed_one_is_centred(shape, box):
    start, size = draw_box(5, shape, (0.9, 1.0), (3 / 4, 4 / 3), generator())
    assert size[:, :2].tolist() == [[*box]] * 5
    assert start[:, :2].tolist() == [[(a - b) // 2 for a, b in zip(shape, box, strict=True)]] * 5


@pytest.mark.parametrize("effect", ["blur", "noise", "brightness", "contrast"])
def test_each_effect_changes_about_its_share_of_the_views(effect):
    x = torch.rand(200, 1, 16, 16, 1)
    view, start, _ = slice_views(x, (16, 16, 1), replace(STILL, **{effect: 0.5}), generator())
    changed = (view - x).abs().flatten(1).max(1).values > 1e-4
    assert 60 < changed.sum() < 140
    assert start.eq(0).all()
    always, *_ = slice_views(x, (16, 16, 1), replace(STILL, **{effect: 1.0}), generator())
    assert ((always - x).abs().flatten(1).max(1).values > 1e-4).float().mean() > 0.9


def test_several_slices_are_refused():
    with pytest.raises(BenchError, match=r"use \(x, y, 1\)"):
        slice_views(torch.rand(2, 1, 16, 16, 4), (16, 16, 1), SliceViews(), generator())
    with pytest.raises(BenchError, match=r"use \(x, y, 1\)"):
        slice_views(torch.rand(2, 1, 16, 16, 1), (16, 16, 4), SliceViews(), generator())
