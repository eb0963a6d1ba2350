"""Recipes: hand-computed scales, resampling against torch, and no shift on the way back."""

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.data.recipe import prepare
from bench.data.slabs import restore_slabs
from bench.dataset import Recipe
from bench.errors import BenchError
from bench.volumes.header import Stored
from bench.volumes.reading import LabelVolume, Volume3D
from bench.volumes.resampling import Geometry, linear, nearest, restore, smooth


class Two:
    labels: ClassVar[dict[int, str]] = {1: "a", 2: "b"}
    raw_labels: ClassVar[dict[int, int]] = {}
    ignore: ClassVar[int | None] = None


def volume(array, spacing=(1.0, 1.0, 1.0)) -> Volume3D:
    array = np.asarray(array)
    array = array if array.ndim == 4 else array[np.newaxis]
    affine = np.diag([*spacing, 1.0])
    path = Path("scan.nii.gz")
    stored = Stored(path, array.shape[1:], array.dtype, 352, True, affine, spacing)
    return Volume3D(path, array, affine, spacing, "RAS", stored)


def label_map(array, spacing=(1.0, 1.0, 1.0)) -> LabelVolume:
    array, affine, path = np.asarray(array), np.diag([*spacing, 1.0]), Path("label.nii.gz")
    stored = Stored(path, array.shape, array.dtype, 352, True, affine, spacing)
    return LabelVolume(path, array, affine, spacing, "RAS", stored)


def line(*values) -> np.ndarray:
    return np.array(values, np.float32).reshape(-1, 1, 1)


@pytest.mark.parametrize(
    ("recipe", "values", "expected"),
    [
        (Recipe(window=(-100, 300)), (-500, -100, 100, 300, 900), (0, 0, 0.5, 1, 1)),
        (Recipe(scale="minmax"), (2, 4, 10), (0, 0.25, 1)),
        # nnU-Net's of CT: clipped, then a mean and a spread that are the same for all scans
        (Recipe(scale="fixed", window=(0, 8), standard=(2, 4)), (-9, 2, 70), (-0.5, 0, 1.5)),
        # mean 3, standard deviation sqrt(((2)^2 + 0 + (2)^2) / 3) = 1.63299
        (Recipe(scale="zscore"), (1, 3, 5), (-1.2247449, 0, 1.2247449)),
        # statistics of (1, 3) alone: mean 2, deviation 1; the zero stays 0
        (Recipe(scale="zscore", nonzero=True), (0, 1, 3), (0, -1, 1)),
        (Recipe(scale="zscore", window=(0, 2)), (-9, 0, 2, 70), (-1, -1, 1, 1)),
        (Recipe(scale="zscore", nonzero=True), (0, 0, 0), (0, 0, 0)),
    ],
)
def test_scales_by_hand(recipe, values, expected):
    made = prepare(volume(line(*values)), None, recipe, Two())
    np.testing.assert_allclose(made.image[0, :, 0, 0], expected, atol=1e-6)


def test_percentiles_are_clipped_to_0_and_1():
    values = np.arange(1001, dtype=np.float32).reshape(7, 11, 13)
    image = prepare(volume(values), None, Recipe(scale="percentile"), Two()).image
    # 0.5 % of 0..1000 is 5, 99.5 % is 995
    found = image.ravel()[[0, 5, 6, 500, 994, 995, 1000]]
    np.testing.assert_allclose(found, [0, 0, 1 / 990, 0.5, 989 / 990, 1, 1], atol=1e-6)


@pytest.mark.parametrize("scale", ["zscore", "percentile", "minmax"])
@pytest.mark.parametrize("value", [0, 7, 1.7e6])
def test_a_constant_volume_becomes_zero(scale, value):
    made = prepare(volume(np.full((3, 3, 3), value, np.float32)), None, Recipe(scale=scale), Two())
    np.testing.assert_array_equal(made.image, 0)


def test_a_large_offset_keeps_its_contrast():
    values = (np.arange(4096, dtype=np.float32) % 8 + 1.7e6).reshape(16, 16, 16)
    image = prepare(volume(values), None, Recipe(scale="zscore"), Two()).image
    assert (image.mean(), image.std()) == pytest.approx((0, 1), abs=1e-3)


def test_the_foreground_is_a_box_above_a_scaled_value():
    array = np.full((8, 9, 10), -1000, np.int16)
    array[2:5, 3:7, 4] = 100
    label = np.zeros_like(array)
    label[2, 3, 4] = 2
    recipe = Recipe(window=(-175, 250), foreground=0.3)
    made = prepare(volume(array), label_map(label), recipe, Two())
    assert made.geometry.box == ((2, 5), (3, 7), (4, 5))
    assert made.image.shape == (1, 3, 4, 1)
    assert made.label is not None
    np.testing.assert_array_equal(np.argwhere(made.label), [[0, 0, 0]])
    np.testing.assert_array_equal(restore(made.label, made.geometry), label)
    np.testing.assert_array_equal(made.native_label, label)


@pytest.mark.parametrize(
    ("sides", "centre", "box"),
    [
        ((8, 9, 10), (4, 4, 0), ((2, 6), (2, 6), (0, 10))),  # of 9 one voxel more is cut at the end
        ((8, 9, 10), (4, 12, 1), ((2, 6), (0, 9), (4, 5))),
        ((256, 256, 3), (100, 100, 0), ((78, 178), (78, 178), (0, 3))),
    ],
)
def test_the_centre_is_a_box_in_the_middle_and_the_way_back_is_to_the_whole(sides, centre, box):
    label = np.random.default_rng(0).integers(0, 3, sides).astype(np.uint8)
    array = np.arange(label.size, dtype=np.float32).reshape(sides)
    made = prepare(volume(array), label_map(label), Recipe(scale="zscore", centre=centre), Two())
    assert made.geometry.box == box and made.label is not None
    inside = tuple(slice(*side) for side in box)
    whole = (array - array.mean(dtype=np.float64)) / array.std(dtype=np.float64)
    np.testing.assert_allclose(made.image[0], whole[inside], atol=1e-5)  # statistics of all voxels
    expected = np.zeros_like(label)
    expected[inside] = label[inside]
    np.testing.assert_array_equal(restore(made.label, made.geometry), expected)


def test_a_grid_that_leans_keeps_the_vectors_of_its_voxels():
    upright = volume(np.ones((4, 5, 6), np.int16), (1.0, 2.0, 3.0))
    assert prepare(upright, None, Recipe(scale="minmax"), Two()).geometry.native_edges is None
    affine = upright.affine.copy()
    affine[1, 2] = 0.5
    made = prepare(replace(upright, affine=affine), None, Recipe(scale="minmax"), Two())
    assert made.geometry.native_edges == ((1, 0, 0), (0, 2, 0), (0, 0.5, 3))


def test_the_foreground_may_be_what_is_not_zero_in_the_file():
    array = np.zeros((6, 5, 4), np.int16)
    array[2:5, 1:3, 0:2] = [[[-3]], [[4]], [[9]]]
    made = prepare(
        volume(array), None, Recipe(scale="zscore", nonzero=True, foreground="nonzero"), Two()
    )
    assert made.geometry.box == ((2, 5), (1, 3), (0, 2))
    above = prepare(
        volume(array), None, Recipe(scale="zscore", nonzero=True, foreground=0.0), Two()
    )
    assert above.geometry.cropped != made.geometry.cropped  # -3 is darker than the mean
    none = prepare(volume(array), None, Recipe(window=(0, 99), foreground=0.5), Two())
    assert none.image.shape == (1, 6, 5, 4)


def test_an_axis_may_keep_its_length():
    made = prepare(
        volume(np.ones((6, 5, 4))), None, Recipe(resize=(12, 3, 0), scale="minmax"), Two()
    )
    assert made.image.shape == (1, 12, 3, 4)


@pytest.mark.parametrize("shape", [(5, 4, 3), (24, 4, 9), (11, 40, 6)])
def test_smoothing_is_torchs_antialiasing(shape):
    array = np.random.default_rng(0).random((24, 20, 9), dtype=np.float32)
    found = smooth(array, shape)
    if shape[2] == 9:  # torch smooths in two dimensions only
        wanted = torch.nn.functional.interpolate(
            torch.from_numpy(array).permute(2, 0, 1)[None],
            shape[:2],
            mode="bilinear",
            antialias=True,
        )[0].permute(1, 2, 0)
        np.testing.assert_allclose(found, wanted.numpy(), atol=1e-5)
    assert found.shape == shape and found.dtype == np.float32
    assert abs(found.mean() - array.mean()) < 0.05
    np.testing.assert_allclose(smooth(np.full((24, 20, 9), 7, np.int16), shape), 7, rtol=1e-6)


def test_a_recipe_smooths_where_it_says_so():
    array = np.zeros((12, 12, 12), np.float32)
    array[::2] = 1  # picked in every third plane, it would be all or nothing
    recipe = Recipe(resize=(4, 12, 12), window=(0, 1))
    rough, fine = (
        prepare(volume(array), None, replace(recipe, smooth=s), Two()).image for s in (False, True)
    )
    assert rough.std() > 0.4 and fine.std() < 0.1 and abs(fine.mean() - 0.5) < 0.05


def test_channels_are_picked_in_the_order_asked_for_and_scaled_apart():
    array = np.arange(3.0)[:, None, None, None] + np.zeros((3, 2, 2, 2))
    array[:, 0, 0, 0] = 10
    made = prepare(volume(array), None, Recipe(channels=(2, 0), window=(0, 10)), Two())
    np.testing.assert_allclose(made.image[:, 1, 1, 1], [0.2, 0.0])
    apart = prepare(
        volume(np.stack([line(0, 1), line(0, 9)])), None, Recipe(scale="minmax"), Two()
    ).image
    np.testing.assert_array_equal(apart[0], apart[1])


def test_the_grid_follows_the_field_of_view():
    made = prepare(
        volume(np.zeros((10, 20, 7), np.int16), (1.0, 0.75, 5.0)),
        None,
        Recipe(spacing=(1.5, 1.5, 2.0), window=(0, 1)),
        Two(),
    )
    assert made.geometry.shape == (7, 10, 18)  # 10 / 1.5 = 6.67; 15 / 1.5; 35 / 2 = 17.5
    extent = np.multiply(made.geometry.native_spacing, made.geometry.cropped)
    assert extent / made.geometry.shape == pytest.approx((10 / 7, 1.5, 35 / 18))


def test_whole_numbers_state_the_step_of_one_unit():
    recipe = Recipe(window=(-175, 250))
    assert prepare(volume(line(1, 2)), None, recipe, Two()).step == pytest.approx(1 / 425)
    assert prepare(volume(line(1, 2.5)), None, recipe, Two()).step is None


INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        (Recipe(), "needs 'window"),
        (Recipe(window=(3, 3)), "must rise"),
        (Recipe(window=(0, INF)), "must be of finite numbers"),
        (Recipe(scale="fixed"), "go together; set both"),
        (Recipe(scale="zscore", standard=(0, 1)), "go together; set both"),
        (Recipe(scale="fixed", standard=(0, 0)), "the second above 0"),
        (Recipe(scale="fixed", standard=(INF, 1)), "must be finite"),
        (Recipe(scale="zscor"), "did you mean 'zscore'"),
        (Recipe(scale="zscore", spacing=(1, 1, 1), resize=(4, 4, 4)), "not both"),
        (Recipe(scale="zscore", spacing=(1, 0, 1)), "above 0"),
        (Recipe(scale="zscore", spacing=(1, 2000, 1)), "at most 1000 mm"),
        (Recipe(scale="zscore", spacing=(0.01, 0.01, 0.01)), "coarser spacing"),
        (Recipe(scale="zscore", resize=(4, -4, 4)), "above 0"),
        (Recipe(scale="zscore", resize=(4, 5000, 4)), "at most 4096"),
        (Recipe(scale="minmax", resize=(0, 0, 0)), "0 to keep an axis"),
        (Recipe(scale="minmax", foreground=NAN), "foreground nan must be a finite number"),
        (Recipe(scale="minmax", centre=(0, 0, 0)), "0 to keep an axis"),
        (Recipe(scale="minmax", centre=(4, -1, 4)), "must be above 0"),
        (Recipe(scale="minmax", centre=(4, 4, 4), foreground=0.0), "not both"),
        (Recipe(scale="minmax", channels=(3,)), "has only 1, counted from 0"),
        (Recipe(scale="minmax", channels=()), "each once"),
        (Recipe(scale="minmax", channels=(0, 0)), "each once"),
    ],
)
def test_a_recipe_that_contradicts_itself_or_the_volume_is_refused(recipe, words):
    with pytest.raises(BenchError, match=words):
        prepare(volume(np.zeros((50, 50, 50), np.int16)), None, recipe, Two())


# --- resampling ------------------------------------------------------------------------------

SIDES = st.tuples(*[st.integers(1, 9)] * 3)


@given(SIDES, SIDES, st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_resampling_is_torchs_without_aligned_corners(before, after, seed):
    rng = np.random.default_rng(seed)
    image, label = (
        rng.normal(size=before).astype(np.float32),
        rng.integers(0, 9, before).astype(np.uint8),
    )
    for array, found, how in (
        (image, linear(image, after), {"mode": "trilinear", "align_corners": False}),
        (label, nearest(label, after), {"mode": "nearest-exact"}),
    ):
        expected = torch.nn.functional.interpolate(
            torch.from_numpy(array)[None, None].double(), after, **how
        )
        np.testing.assert_allclose(
            found, expected[0, 0].numpy(), atol=2e-6 * (found.dtype.kind == "f")
        )


def test_a_geometry_read_from_json_is_the_same_and_restores_no_other_grid():
    made = Geometry((2, 2, 2), (1.0, 1.0, 1.0), ((0, 2),) * 3, (2, 2, 2))
    assert Geometry([2, 2, 2], [1.0, 1.0, 1.0], [[0, 2]] * 3, [2, 2, 2]) == made
    with pytest.raises(ValueError, match="prepared grid"):
        restore(np.zeros((2, 2, 3), np.uint8), made)


# --- there and back --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(spacing=(1.5, 1.5, 1.5), window=(-175, 250), foreground=0.0),
        Recipe(spacing=(2.9, 2.9, 2.9), window=(-175, 250)),
        Recipe(resize=(96, 96, 48), window=(-175, 250), foreground=0.3),
        Recipe(resize=(61, 53, 37), window=(-1024, 325), scale="zscore"),
    ],
)
@pytest.mark.parametrize("by_scores", [False, True])
def test_a_label_comes_back_without_a_shift(recipe, by_scores):
    spacing = (2.0, 2.0, 2.5)
    x, y, z = np.ogrid[:90, :84, :70]
    label = np.zeros((90, 84, 70), np.uint8)
    label[(x - 27.3) ** 2 + (y - 40.1) ** 2 + (z - 35.4) ** 2 < 22**2] = 1
    label[(x - 66.8) ** 2 + (y - 37.7) ** 2 + (z - 30.2) ** 2 < 16**2] = 2
    image = np.where((x > 2) & (y < 80) & (z > 1), 100.0 * label, -1000.0)
    made = prepare(volume(image, spacing), label_map(label, spacing), recipe, Two())
    assert made.label is not None
    assert made.image.dtype == np.float32
    if by_scores:
        back = restore_slabs([np.stack([made.label == k for k in range(3)])], made.geometry)
    else:
        back = restore(made.label, made.geometry)
    for k in (1, 2):
        truth, found = label == k, back == k
        assert 2 * (truth & found).sum() / (truth.sum() + found.sum()) > 0.95
        shift = np.argwhere(truth).mean(0) - np.argwhere(found).mean(0)
        assert np.abs(shift).max() < 0.25
