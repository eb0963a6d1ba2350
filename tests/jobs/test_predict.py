"""Sliding-window prediction: a pointwise network is the same voxel by voxel."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from by_hand import a_job
from torch import nn

from bench.data.cache import unpacked
from bench.data.reader import Volume
from bench.dataset import Case
from bench.errors import BenchError
from bench.jobs.evaluate import run as evaluating
from bench.jobs.predict import class_scores, corners, mean_accuracy, mean_dice, mirrored, slabs
from bench.protocol.sections import Windows
from bench.volumes.resampling import Geometry


class Pointwise(nn.Module):
    """Class 1 where the image is above zero."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x):
        return torch.cat([-x * self.weight, x * self.weight], 1)


def inference(**given):
    return Windows(**{"crop": (8, 8, 8), "batch": 2, **given})


class Cases:
    """Two prepared cases: one predicted exactly, one of which nothing is found."""

    def __init__(self):
        self._image = np.full((1, 8, 8, 8), -1.0, np.float32)
        self._image[0, 2:5] = 1
        good = (self._image[0] > 0).astype(np.uint8)
        self._label = {"good": good, "bad": 1 - good}

    def volume(self, case):
        return Volume(self._image, self._label[case])

    def label(self, case):
        return self._label[case]

    def geometry(self, case):
        return Geometry((12, 9, 24), (2.0, 1.0, 1.0), ((2, 10), (1, 9), (0, 24)), (8, 8, 8))


def test_the_mean_dice_is_over_cases_and_the_mode_is_kept():
    net = Pointwise().train()
    assert mean_dice(net, Cases(), ["good"], inference()) == 1.0
    assert mean_dice(net, Cases(), ["good", "bad"], inference()) == 0.5
    assert mean_dice(net, Cases(), [], inference()) == 0.0
    assert net.training and not mean_dice(net.eval(), Cases(), ["bad"], inference())
    assert not net.training
    cases = Cases()
    cases._label["bad"][:2] = 9
    # of label 1 alone: void is no target
    assert mean_dice(net, cases, ["bad"], inference(), ignore=9) == 0.0
    cases._label["good"][2:5, 0] = 9
    assert mean_dice(net, cases, ["good"], inference(), ignore=9) == 1.0


def worst(value):
    """Return a network whose second score is ``value`` in the windows of the volume's last planes alone."""
    net = Pointwise().eval()
    net.forward = lambda x: torch.cat([x, torch.where(x > 90, value, x)], 1)
    return net


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_no_background_but_an_error(value):
    image = np.zeros((1, 8, 8, 40), np.float32)
    image[..., 37] = 100
    volume = Volume(image)
    message = "scores of a volume are not finite: the training diverged"
    with pytest.raises(BenchError, match=message):
        list(slabs(worst(value), volume, inference()))
    pooled = nn.Linear(1, 1)
    pooled.forward = lambda x: worst(value)(x).amax((2, 3, 4))
    if value != -np.inf:  # of which the largest is not
        with pytest.raises(BenchError, match="scores of a volume are not finite"):
            class_scores(pooled, volume, inference())
    assert len(list(slabs(worst(1e30), volume, inference()))) >= 3


def test_under_a_region_head_the_mean_dice_is_of_the_regions():
    # Channel 0 is above 0 where the image is not: painted as 1, that is what "bad" asks for.
    def found(cases, regions, paint):
        return mean_dice(Pointwise(), Cases(), cases, inference(), regions, paint)

    assert found(["good", "bad"], [[1]], [[0, 1]]) == 0.5
    assert found(["bad"], [[1]], [[0, 1]]) == 1.0
    # 2 lies in region [1, 2], 1 besides: "good" is painted 1 where the image is high and 2 elsewhere.
    dice = 2 * 3 / (3 + 8)  # of [1, 2]: 3 planes of 8 are true, all are painted
    assert found(["good"], [[1, 2], [1]], [[0, 2], [1, 1]]) == pytest.approx((dice + 1) / 2)


def asked(paint=None, seen=False):
    """Return what an evaluation is told."""
    return SimpleNamespace(
        inference=inference(), data=SimpleNamespace(paint=paint, relabel=()), seen=seen
    )


@pytest.mark.parametrize(("paint", "labels"), [(None, (0, 1)), ([[0, 3], [1, 2]], (3, 2))])
def test_a_case_is_predicted_on_its_own_grid_and_where_asked_on_the_prepared_one(paint, labels):
    def predicted(spec):
        slabs_of = partial(evaluating._slabs, Pointwise(), Cases(), spec)
        return evaluating._predicted(slabs_of, Cases(), spec, "good")

    found = predicted(asked(paint))
    native = unpacked(found[evaluating.FRAME].tobytes(), "here")[:]
    expected = np.zeros((12, 9, 24), np.uint8)
    expected[2:10, 1:9] = labels[0]
    expected[4:7, 1:9] = labels[1]
    np.testing.assert_array_equal(native, expected)
    assert list(found) == [evaluating.FRAME]
    both = predicted(asked(paint, seen=True))
    assert both[evaluating.FRAME].tobytes() == found[evaluating.FRAME].tobytes()
    seen = unpacked(both[evaluating.SEEN].tobytes(), "here")[:]
    assert seen.shape == Cases().label("good").shape
    np.testing.assert_array_equal(seen[..., 0], expected[2:10, 1:9, 0])


class Lopsided(nn.Module):
    """Looks one way along each axis; sums up where it is asked for classes."""

    def __init__(self, classes=False):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.classes, self.calls = nn.Conv3d(1, 2, 3, padding=1), classes, 0

    def forward(self, x):
        self.calls += 1
        found = self.conv(x).relu()
        return found[:, :, 0].mean((2, 3)) if self.classes else found


@pytest.mark.parametrize("axes", [(), ("x",), ("z", "x"), ["x", "y", "z"], "xyz"])
def test_flips_are_undone_and_their_logits_averaged(axes):
    net, x = Lopsided(), torch.randn(2, 1, 4, 5, 6)
    dims = [2 + "xyz".index(a) for a in axes]
    ways = 2 ** len(dims)
    flips = ([d for n, d in enumerate(dims) if chosen >> n & 1] for chosen in range(ways))
    total = sum(net(x.flip(flip)).flip(flip) for flip in flips)
    net.calls = 0
    found = mirrored(net, inference(mirror=axes))(x)
    torch.testing.assert_close(found, total / ways)
    assert net.calls == ways and (ways == 1 or not torch.allclose(found, net(x)))


def test_flips_reach_label_maps_and_classes():
    image = np.random.default_rng(0).normal(size=(1, 8, 8, 12)).astype(np.float32)
    looks = [slabs(Lopsided(), Volume(image), inference(mirror=m)) for m in ((), ("y",))]
    plain, flipped = (next(found).copy() for found in looks)
    assert not np.allclose(plain, flipped)
    net = Lopsided(classes=True)
    mirrors = ((), ("x", "y"))
    plain, flipped = (class_scores(net, Volume(image), inference(mirror=m)) for m in mirrors)
    assert not np.allclose(plain, flipped) and net.calls == 1 + 4  # two windows fit a batch
    np.testing.assert_allclose(flipped.sum(), 1)


def test_an_axis_that_cannot_be_flipped_is_refused():
    def refuse(mirror, crop):
        windows = {"crop": crop, "mirror": list(mirror)}
        a_job("evaluate", {"inference": windows}).spec.refuse(None, None)

    refuse("xy", (8, 8, 1))
    with pytest.raises(BenchError, match="one slice cannot be flipped along z"):
        refuse("xyz", (8, 8, 1))
    with pytest.raises(BenchError, match="one of x, y, z"):
        refuse("xu", (8, 8, 8))


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.99])
@pytest.mark.parametrize("shape", [(20, 9, 8), (8, 8, 1), (5, 30, 3), (17, 16, 8)])
def test_a_grid_of_windows_covers_the_volume_and_stays_inside_it(shape, overlap):
    crop = (8, 8, 4)
    covered = np.zeros(shape, int)
    starts = corners(shape, crop, overlap)
    assert len(set(starts)) == len(starts)
    for start in starts:
        inside = [slice(max(a, 0), a + size) for a, size in zip(start, crop, strict=True)]
        covered[tuple(inside)] += 1
        for a, size, length in zip(start, crop, shape, strict=True):
            assert (a >= 0 and a + size <= length) if length >= size else a == (length - size) // 2
    assert covered.min() >= 1 and (overlap or covered.max() <= 8)


def test_where_the_volume_is_no_larger_than_the_crop_there_is_one_window():
    assert corners((8, 8, 8), (8, 8, 8), 0.5) == [(0, 0, 0)]
    assert corners((5, 8, 2), (8, 8, 8), 0.5) == [(-2, 0, -3)]
    assert corners((16, 8, 8), (8, 8, 8), 0.5) == [(0, 0, 0), (4, 0, 0), (8, 0, 0)]
    assert corners((13, 8, 8), (8, 8, 8), 0.0) == [(0, 0, 0), (5, 0, 0)]
    assert corners((2, 2, 3), (2, 2, 1), 0.5) == [(0, 0, 0), (0, 0, 1), (0, 0, 2)]


class Brightness(nn.Module):
    """Logits (-m, m) of the mean m of a window."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.sizes = []

    def forward(self, x):
        self.sizes.append(len(x))
        mean = x.mean((1, 2, 3, 4)) * self.weight
        return torch.stack([-mean, mean], 1)


def test_scores_of_classes_are_the_mean_of_the_windows_probabilities_not_of_their_logits():
    net, windows = Brightness(), inference(overlap=0.0, batch=2)
    image = np.ones((1, 16, 8, 8), np.float32)
    image[:, :8] = 3
    found = class_scores(net, Volume(image), windows)
    expected = np.mean([1 / (1 + np.exp(2 * m)) for m in (3.0, 1.0)])
    np.testing.assert_allclose(found, [expected, 1 - expected])
    assert found.dtype == np.float64 and net.sizes == [2]
    class_scores(net, Volume(image), inference(batch=2))
    assert net.sizes[-2:] == [2, 1]  # three windows, two at a time


class Graded(Cases):
    """Two cases of class 1, one of which looks like class 0."""

    def volume(self, case):
        return Volume(np.full((1, 8, 8, 8), 1.0 if case == "good" else -1.0, np.float32))

    def cases(self):
        return [Case(name, name, (), 1) for name in ("good", "bad")]


def test_the_mean_accuracy_is_over_cases_and_the_mode_is_kept():
    net = Brightness().train()
    assert mean_accuracy(net, Graded(), ["good", "bad"], inference()) == 0.5
    assert mean_accuracy(net, Graded(), ["good"], inference()) == 1.0
    assert mean_accuracy(net, Graded(), [], inference()) == 0.0
    assert net.training and mean_accuracy(net.eval(), Graded(), ["bad"], inference()) == 0.0
    assert not net.training
