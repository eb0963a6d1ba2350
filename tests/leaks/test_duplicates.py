"""What the leak guard's search finds; tools/leaks.py measures it on many more scans."""

import numpy as np
import pytest
from scipy import ndimage

from bench.leaks.duplicates import matches
from bench.leaks.fingerprint import fingerprint
from bench.leaks.fits import fitted
from bench.leaks.poses import COARSE, FINE, MIDDLE, Pose, turned
from bench.phantoms.heart import cine
from bench.phantoms.organs import organs


def drawn(index):
    """Return a synthetic abdomen."""
    return organs((56, 48, 40), (6, 6, 8), 13, 11, index)[0]


def small(index):
    """Return a synthetic crop of soft tissue, as small as a hippocampus."""
    return organs((35, 50, 35), (1, 1, 1), 2, 11, index, modality="MR")[0]


def picture(index):
    """Return a textured picture with a structure or two in common with all others."""
    rng = np.random.default_rng(index)
    grain = sum(ndimage.gaussian_filter(rng.standard_normal((150, 130)), s) * s for s in (2, 5, 12))
    x, y = np.meshgrid(np.linspace(-1, 1, 150), np.linspace(-1, 1, 130), indexing="ij")
    return (grain + 2 * np.exp(-((x - 0.4) ** 2 + y**2) / 0.05))[..., None]


def windowed(image):
    low, high = np.quantile(image, [0.12, 0.82])
    return ((np.clip(image, low, high) - low) / (high - low)) ** 0.7


def resampled(image):
    factors = [f if n > 1 else 1 for f, n in zip((0.5, 1.7, 0.7), image.shape, strict=True)]
    return ndimage.zoom(image, factors, order=1, mode="nearest", grid_mode=True)


def cropped(image):
    return image[tuple(slice(n - int(np.ceil(0.6 * n)), None) for n in image.shape)]


def rotated(image):
    return np.flip(image.transpose(1, 0, 2) if image.shape[2] == 1 else image.transpose(2, 0, 1), 1)


def as_bytes(image):
    return np.rint(255 * (image - image.min()) / (image.max() - image.min())).astype(np.uint8)


def everything(image):
    return as_bytes(windowed(resampled(rotated(cropped(image)))))


COPIES = [np.copy, windowed, resampled, cropped, rotated, as_bytes, everything]


def prints(*images):
    return [fingerprint(image[None]) for image in images]


@pytest.mark.parametrize(
    ("scan", "copied"),
    [
        *((small, copied) for copied in COPIES),
        (drawn, cropped),
        *((picture, c) for c in COPIES[1:3]),
    ],
    ids=lambda f: f.__name__,
)
def test_a_copy_is_found_among_others(scan, copied):
    first, second = prints(scan(1), scan(2)), prints(copied(scan(2)))
    assert [(m.a, m.b) for m in matches(first, second)] == [(1, 0)]


@pytest.mark.parametrize("scan", [drawn, picture], ids=lambda f: f.__name__)
def test_the_crop_may_be_on_either_side(scan):
    whole, copy = prints(scan(0), everything(scan(0)))
    assert matches([whole], [copy]) and matches([copy], [whole])


def clipped(image, low, high):
    return np.clip(image, *np.quantile(image, (low, high)))


def nearly_whole(image):
    """Return a copy for which the large structures say neither which end of the body is cut nor how much."""
    return clipped(image[1:61, 1:52, :40].transpose(0, 2, 1)[::-1, :, ::-1], 0.05, 0.75)


def without_lows(image):
    """Return a copy whose clipped values no map of grey values brings back."""
    part = image[11:50, 20:54, 2:29][::-1].transpose(0, 2, 1)
    return clipped(ndimage.zoom(part, (1.64, 1.63, 0.68), order=1), 0.3, 1)


@pytest.mark.parametrize(("copied", "index"), [(nearly_whole, 1), (without_lows, 5)])
def test_a_copy_is_found_where_many_boxes_look_alike(copied, index):
    scan = organs((64, 56, 44), (5, 5, 5), 13, 11, index)[0].astype(np.float32)
    (found,) = matches(prints(scan), prints(copied(scan)))
    assert found.score > 0.75


@pytest.mark.parametrize("scan", [drawn, small, picture], ids=lambda f: f.__name__)
def test_different_patients_are_not_taken_for_one(scan):
    assert matches(prints(scan(10), scan(11)), prints(*map(scan, (12, 13, 14)))) == []


def test_a_scan_is_wholly_like_itself():
    both = prints(small(0), picture(0))
    found = matches(both, both)
    assert [(m.a, m.b) for m in found] == [(0, 0), (1, 1)]
    assert all(0.95 < m.score <= 1.001 for m in found)


def test_every_orientation_of_thick_slices_is_found():
    slices = cine((76, 72, 8), (3, 3, 10), 5, 0, systole=[0])[0][..., 0]
    other = cine((76, 72, 8), (3, 3, 10), 5, 1, systole=[0])[0][..., 0]
    copies = [turned(slices, turn) for turn in range(0, 48, 5)]
    found = matches(prints(slices), prints(*copies, other))
    assert [m.b for m in found] == list(range(len(copies)))


def posed(shape, copy, start, extent):
    """Return a box of noise, claimed to lie where it may not."""
    whole = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal(shape), 1.5)
    volume = whole.astype(np.float32)
    return Pose(volume, volume[copy], np.array(start), np.array(extent))


@pytest.mark.parametrize("detail", [False, True])
def test_boxes_fitted_at_once_come_to_what_each_comes_to_alone(detail):
    near = [
        posed((24, 24, 24), np.s_[:], [0.05 * i, 0, 0], [0.9, 1, 1 - 0.05 * i]) for i in range(3)
    ]
    alone = [fitted([pose], COARSE, detail=detail)[0] for pose in near]
    for pose, other in zip(alone, fitted(near, COARSE, detail=detail), strict=True):
        assert pose.fit == pytest.approx(other.fit, abs=1e-3)
        assert np.allclose([pose.start, pose.extent], [other.start, other.extent], atol=1e-3)
        assert pose.fit > 0.98 and np.allclose([pose.start, pose.extent - 1], 0, atol=0.03)


def test_thick_slices_are_compared_at_more_places():
    thin = posed((48, 48, 40), np.s_[:, :, :30], [0, 0, 0], [1, 1, 0.75])
    thick = posed((48, 48, 10), np.s_[:, :, :6], [0, 0, 0], [1, 1, 0.6])
    assert thin.counts(FINE) == [32, 32, 30] and thick.counts(FINE) == [48, 48, 6]
    assert thick.counts(MIDDLE) == [20, 20, 6]


def test_any_channel_of_one_may_be_any_of_the_other():
    one = np.concatenate(prints(small(0), small(1)))
    two = fingerprint(np.stack([small(2), small(3), small(1)[::-1]]))
    assert [(m.a, m.b) for m in matches([one], [two])] == [(0, 0)]
    assert matches([one], [two[:2]]) == []


def test_pictures_never_match_volumes_and_nothing_matches_what_is_empty():
    volume = small(0)
    flat = fingerprint(volume[None, :, :, 20:21])
    empty = fingerprint(np.full((1, 20, 20, 20), 3))
    assert matches([flat, empty], [fingerprint(volume[None]), empty]) == []
    assert matches([], [flat]) == [] and matches([flat], []) == []
