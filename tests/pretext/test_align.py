"""Aligned maps of two views name the same voxels of their volume, whatever was cut, resized and mirrored."""

import numpy as np
import pytest
import torch

from bench.augment import flip
from bench.pretext.align import centres, chosen_map, overlap, roi_align
from bench.pretext.pair import Pairing, draw_pair

VIEW, CELLS = (96, 96, 64), (12, 12, 8)
COUNT = 40


@pytest.fixture(scope="module")
def drawn():
    """Return starts and sizes (B, 2, 3) of random pairs of boxes, and along which axes they are mirrored."""
    rule = Pairing((1.1, 1.4), overlap=0.1)
    pairs = [draw_pair((300, 300, 200), VIEW, rule, np.random.default_rng(i)) for i in range(COUNT)]
    start, size = (torch.tensor(np.stack(part)).double() for part in zip(*pairs, strict=True))
    return start, size, torch.rand(COUNT, 2, 3, generator=torch.Generator().manual_seed(0)) < 0.5


def coordinate_map(start, size, flipped, cells=CELLS):
    """Return the map (B, 3, *cells) of a network that gives every cell its place in the volume."""
    return centres(start, size, flipped, cells).movedim(-1, 1)


def aligned(drawn):
    """Return both views' aligned coordinate maps and which of their places neither view's border cut off."""
    start, size, flipped = drawn
    found, inside = [], torch.ones(COUNT, *CELLS, dtype=torch.bool)
    for i in (0, 1):
        maps = coordinate_map(start[:, i], size[:, i], flipped[:, i])
        maps = flip(maps, flipped[:, i])
        box = overlap(*((start[:, k], size[:, k]) for k in (i, 1 - i)), CELLS, VIEW)
        found.append(roi_align(maps, *box))
        at = centres(*box, torch.zeros(COUNT, 3), CELLS)  # in cells
        inside &= ((at >= 0) & (at <= torch.tensor(CELLS) - 1)).all(-1)
    return *found, inside


def test_where_a_border_cuts_off_they_are_half_a_cell_apart_at_most(drawn):
    one, two, _ = aligned(drawn)
    cell = drawn[1].amax(1) / torch.tensor(CELLS)
    assert (
        (one - two).abs().amax((2, 3, 4)) <= 0.5 * cell * 1.5
    ).all()  # cells of the two views differ


def test_aligned_places_of_both_views_are_those_of_the_shared_box(drawn):
    start, size, _ = drawn
    low, high = start.amax(1), (start + size).amin(1)
    expected = coordinate_map(low, high - low, torch.zeros(COUNT, 3))
    *views, inside = aligned(drawn)
    assert inside.float().mean() > 0.2
    assert all((view - expected).abs().amax(1)[inside].max() < 1e-9 for view in views)


def test_boxes_of_a_pair_worked_out_by_hand():
    one = (torch.zeros(1, 3), torch.full((1, 3), 120.0))
    two = (torch.full((1, 3), 60.0), torch.full((1, 3), 120.0))
    for box, other, scaled, literal in (
        (one, two, (3, 6), (3.75, 6)),
        (two, one, (0, 3), (0, 3.75)),
    ):
        for coordinates, (low, high) in (("scaled", scaled), ("literal", literal)):
            at, size = overlap(box, other, (6, 6, 6), (96, 96, 96), coordinates)
            assert torch.equal(at, torch.full((1, 3), float(low)))
            assert torch.equal(at + size, torch.full((1, 3), float(high)))


def test_boxes_that_share_nothing_give_an_empty_box():
    one, two = ((torch.tensor([[a, 0, 0]]), torch.full((1, 3), 10)) for a in (0, 25))
    at, size = overlap(one, two, (5, 5, 5), (10, 10, 10))
    assert (
        size.tolist() == [[0, 5, 5]]
        and torch.isfinite(roi_align(torch.rand(1, 2, 5, 5, 5), at, size)).all()
    )


def test_roi_align_interpolates_at_the_centres_of_equal_parts():
    maps = torch.rand(1, 1, 6, 1, 1, dtype=torch.double)
    start, size = torch.tensor([[1.3, 0, 0]]).double(), torch.tensor([[2.5, 1, 1]]).double()
    at = 1.3 + (np.arange(6) + 0.5) * 2.5 / 6 - 0.5
    expected = np.interp(at, np.arange(6), maps.flatten().numpy())
    assert np.allclose(roi_align(maps, start, size).flatten(), expected, atol=1e-12)


def test_roi_align_keeps_the_boxes_exact_in_half_precision_and_passes_gradient():
    maps = torch.arange(64.0).view(1, 1, 64, 1, 1).requires_grad_()
    start, size = torch.tensor([[20.3, 0.0, 0.0]]), torch.tensor([[7.7, 1.0, 1.0]])
    exact = roi_align(maps, start, size)
    half = roi_align(maps.bfloat16(), start, size)
    assert half.dtype == torch.float32 and torch.allclose(half, exact)
    exact.sum().backward()
    assert maps.grad[0, 0, 21:27].abs().min() > 0 and maps.grad[0, 0, 40:].abs().max() == 0


@pytest.mark.parametrize("mirrored", [False, True])
def test_centres_worked_out_by_hand(mirrored):
    start, size = torch.tensor([[10, 0, 0]]), torch.tensor([[12, 1, 4]])
    at = centres(start, size, torch.tensor([[mirrored, mirrored, False]]), (3, 1, 2))
    along_x = [11.5, 15.5, 19.5]
    assert at.shape == (1, 3, 1, 2, 3)
    assert at[0, :, 0, 0, 0].tolist() == (along_x[::-1] if mirrored else along_x)
    assert at[0, 0, 0, :, 2].tolist() == [0.5, 2.5]
    assert at[..., 1].unique().tolist() == [0]  # a slice lies on its own voxel


@pytest.mark.parametrize(
    ("sides", "wanted", "least", "expected"),
    [
        ((16, 8, 4, 2, 1), None, 20, 2),  # the deepest with enough cells
        ((16, 8, 4, 2, 1), None, 8, 3),
        ((16, 8, 4, 2, 1), None, 65, 1),
        ((16, 8, 4, 2, 1), -1, 20, 4),
        ((2, 2, 2, 2), None, 20, 3),  # a ViT: all maps alike
        ((96, 3), None, 20, 1),
    ],
)
def test_the_map_that_is_used(sides, wanted, least, expected):
    assert chosen_map([(n, n, n) for n in sides], wanted, least) == expected
