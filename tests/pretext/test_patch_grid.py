"""Patches of a grid: each voxel is read where it should be, and only padding is zero."""

from itertools import product

import pytest
import torch
from seeded import generator

from bench.pretext.predictive import cut_patches, stride_of, window_of

CORNERS = torch.tensor(list(product((0, 4, 8), (0, 3), (0,))))
PATCH, WINDOW = (8, 6, 2), (16, 9, 2)


def ramp(rows=1, start=1):
    """Windows of which no two voxels are alike, and none is zero."""
    return (torch.arange(rows * 2 * 16 * 9 * 2) + start).float().view(rows, 2, *WINDOW)


@pytest.mark.parametrize(
    ("patch", "n", "overlap", "stride", "window"),
    [  # as the released code cuts 224, 128 and 384 pixels with overlap, and 128 voxels without
        ((74, 74, 1), (5, 5, 1), 0.5, (37, 37, 1), (222, 222, 1)),
        ((42, 42, 1), (5, 5, 1), 0.5, (21, 21, 1), (126, 126, 1)),
        ((96, 96, 1), (7, 7, 1), 0.5, (48, 48, 1), (384, 384, 1)),
        ((32, 32, 32), (4, 4, 4), 0.0, (32, 32, 32), (128, 128, 128)),
        ((16, 24, 16), (4, 4, 4), 0.5, (8, 12, 8), (40, 60, 40)),
    ],
)
def test_windows_of_grids(patch, n, overlap, stride, window):
    assert (stride_of(patch, overlap), window_of(patch, n, overlap)) == (stride, window)


def test_unchanged_patches_are_what_lies_there():
    x = ramp(2)
    made = cut_patches(x, CORNERS, PATCH, (1.0, 1.0), 0.0, generator(0))
    assert made.shape == (2, 6, 2, *PATCH)
    for number, (a, b, c) in enumerate(CORNERS.tolist()):
        assert torch.equal(made[:, number], x[:, :, a : a + 8, b : b + 6, c : c + 2])


def test_every_patch_is_mirrored_along_x_where_that_is_sure():
    plain, mirrored = (
        cut_patches(ramp(), CORNERS, PATCH, (1.0, 1.0), p, generator(0)) for p in (0.0, 1.0)
    )
    assert torch.equal(mirrored, plain.flip(3))


def test_parts_of_patches_come_from_anywhere_in_them_and_are_padded_in_the_middle():
    """Of 8 x 6 x 2 voxels 6 x 4 x 1 stay: they lie at 1, 1, 0 and were read up to 2, 2, 1 further."""
    x = ramp(40)
    made = cut_patches(x, CORNERS, PATCH, (1.0, 0.75), 0.0, generator(0))
    inner = made[:, :, :, 1:7, 1:5, :1]
    assert (made == 0).sum() == made.numel() - inner.numel() and (inner != 0).all()
    whole = cut_patches(x, CORNERS, PATCH, (1.0, 1.0), 0.0, generator(0))
    found = []
    for a, b, c in product(range(3), range(3), range(2)):
        found.append((inner == whole[:, :, :, a : a + 6, b : b + 4, c : c + 1]).flatten(2).all(2))
    shares = torch.stack(found).float().mean((1, 2))
    assert shares.sum() == pytest.approx(1) and shares.tolist() == pytest.approx(
        [1 / 18] * 18, abs=0.05
    )


def test_a_mirrored_patch_is_mirrored_before_a_part_of_it_is_taken():
    made = cut_patches(ramp(), CORNERS, PATCH, (1.0, 0.75), 1.0, generator(0))
    assert (made[:, :, :, 1:6, 1:5, :1] > made[:, :, :, 2:7, 1:5, :1]).all() and (
        made[:, :, :, 0] == 0
    ).all()


def test_a_part_of_the_window_moves_with_all_its_patches():
    """Of 16 x 9 x 2 voxels 8 x 4 x 1 stay, at 4, 2, 0."""
    x = ramp(3)
    made = cut_patches(x, torch.zeros(1, 3).long(), WINDOW, (0.5, 1.0), 0.0, generator(0))[:, 0]
    inner = made[:, :, 4:12, 2:6, :1]
    assert (made == 0).sum() == made.numel() - inner.numel()
    for row, whole in zip(inner, x, strict=True):
        a, b, c = (int(i) for i in (whole[0] == row[0, 0, 0, 0]).nonzero()[0])
        assert torch.equal(row, whole[:, a : a + 8, b : b + 4, c : c + 1])
