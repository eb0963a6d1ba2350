import numpy as np
import pytest
from scipy import ndimage

from bench.leaks.fingerprint import FLAT_SIDE, SIDE, fingerprint, sampling
from bench.phantoms.organs import organs


@pytest.fixture(scope="module")
def scan():
    return organs((60, 52, 40), (5, 5, 7), 13, 3, 0)[0][None]


def differ(a, b):
    return np.abs(a.astype(int) - b.astype(int)).max()


@pytest.mark.parametrize("dtype", ["int16", "int32", "float32", "float64"])
def test_neither_type_nor_offset_nor_scale_of_the_voxels_matters(scan, dtype):
    assert differ(fingerprint(scan.astype(dtype)), fingerprint(scan)) <= 1
    assert differ(fingerprint(scan * 3.5 + 7000), fingerprint(scan)) <= 1
    assert np.array_equal(fingerprint(scan), fingerprint(scan.copy()))


def test_a_monotone_change_hardly_matters():
    image = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal((1, 60, 50, 40)), 2)
    bent = np.exp(15 * image)
    assert np.corrcoef(bent.ravel(), image.ravel())[0, 1] < 0.8
    assert np.corrcoef(fingerprint(bent).ravel(), fingerprint(image).ravel())[0, 1] > 0.98


def test_a_constant_channel_is_zero_and_the_others_are_not(scan):
    both = fingerprint(np.concatenate([np.full_like(scan, 7), scan]))
    assert not both[0].any() and np.array_equal(both[1:], fingerprint(scan))


@pytest.mark.parametrize("shape", [(1, 200, 250, 5), (1, 3, 2, 2), (2, 600, 20, 2)])
def test_axes_of_any_length(shape):
    image = np.random.default_rng(0).integers(0, 900, shape)
    print_ = fingerprint(image)
    assert print_.shape == (shape[0], *(min(n, SIDE) for n in shape[1:]))
    assert print_.dtype == np.uint8 and (print_.min(), print_.max()) == (0, 255)


def test_a_picture_in_colour_becomes_its_luminance():
    image = np.random.default_rng(0).integers(0, 255, (3, 300, 100, 1)).astype(np.uint8)
    print_ = fingerprint(image)
    assert print_.shape == (1, FLAT_SIDE, 100, 1)
    grey = np.tensordot([0.299, 0.587, 0.114], image, axes=1)[None].astype(np.float32)
    assert differ(print_, fingerprint(grey)) <= 1


def test_three_channels_that_are_no_bytes_are_kept():
    image = np.random.default_rng(0).normal(size=(3, 30, 30, 1)).astype(np.float32)
    assert fingerprint(image).shape == (3, 30, 30, 1)


def test_one_outlier_does_not_take_the_grey_values(scan):
    spoilt = scan.astype(np.float64)
    spoilt[0, 0, 0, 0] = 1e9
    assert np.corrcoef(fingerprint(spoilt).ravel(), fingerprint(scan).ravel())[0, 1] > 0.999


def test_sampling_reads_a_ramp_where_it_says():
    ramp = np.arange(20) + 0.5
    read = sampling(20, 4, 0.25, 0.5) @ ramp
    assert read == pytest.approx([6.25, 8.75, 11.25, 13.75], abs=0.1)
    assert sampling(7, 20, -0.2, 1.4).sum(1) == pytest.approx(np.ones(20), abs=1e-5)
    assert np.array_equal(sampling(9, 9), np.eye(9, dtype=np.float32))
