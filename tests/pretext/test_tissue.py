"""Classes of intensity: thresholds where the valleys are, background where one value stands for it."""

import numpy as np
import pytest

from bench.data.reader import Volume
from bench.pretext import tissue

MEANS = (0.0, 2.0, 5.0, 9.0)


def volume(shape=(24, 20, 12), background=None, seed=0):
    """Return a volume of four classes of intensity by columns along y, and its classes."""
    rng = np.random.default_rng(seed)
    classes = np.broadcast_to((np.arange(shape[1]) % 4)[None, :, None], shape)
    image = np.asarray(MEANS)[classes] + 0.2 * rng.normal(size=shape)
    if background is not None:
        image = np.where(classes == 0, background, image)
    return Volume(image[None].astype(np.float32)), classes


def least(values, classes):
    """Return the least variance within classes by trying every division of the sorted values."""
    values = np.sort(values)
    best = {(0, 0): 0.0}
    for k in range(1, classes + 1):
        for end in range(len(values) + 1):
            tried = [best[k - 1, i] + ((values[i:end] - values[i:end].mean()) ** 2).sum() if i < end else
                     best[k - 1, i] for i in range(end + 1) if (k - 1, i) in best]  # fmt: skip
            if tried:
                best[k, end] = min(tried)
    return best[classes, len(values)]


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_thresholds_leave_the_least_variance_within_classes(classes):
    values = np.concatenate([m + 0.3 * np.random.default_rng(1).normal(size=15) for m in (0, 1, 4, 6)])
    thresholds = tissue.otsu(values, classes)
    found = np.searchsorted(thresholds, values, side="right")
    within = sum(((values[found == k] - values[found == k].mean()) ** 2).sum() for k in np.unique(found))
    assert len(thresholds) == classes - 1 and np.all(np.diff(thresholds) >= 0)
    assert within == pytest.approx(least(values, classes), rel=0.02)  # bins are a 128th of the range


@pytest.mark.parametrize("values", [np.zeros(0), np.ones(50), np.array([0.0, 1.0] * 20)])
def test_few_distinct_values_are_no_error(values):
    thresholds = tissue.otsu(values, 4)
    assert thresholds.shape == (3,) and np.isfinite(thresholds).all()
    apart = np.searchsorted(thresholds, [0.0, 1.0], side="right")
    assert len(np.unique(values)) < 2 or apart[0] < apart[1]


@pytest.mark.parametrize("background", [None, -3.0, 0.0, 5.0])
def test_classes_are_those_that_the_volume_was_made_of(background):
    scan, classes = volume(background=background)
    rule = tissue.tissue_rule(scan, 0.1)
    found = tissue.labelled(scan, scan.whole()[0], (0, 0, 0), rule)
    assert rule.background == background
    assert (found == classes).mean() > 0.995
    assert set(np.unique(found)) == {0, 1, 2, 3}


def test_a_value_that_few_voxels_have_is_no_background():
    scan, _ = volume(background=-3.0)  # a quarter of the voxels
    assert tissue.tissue_rule(scan, 0.2).background == -3.0
    assert tissue.tissue_rule(scan, 0.3).background is None


def test_what_lies_outside_the_volume_is_background():
    scan, _ = volume(background=5.0)  # padding reads as the lowest value, which is another class
    rule = tissue.tissue_rule(scan, 0.1)
    start, size = (-4, -2, 6), (10, 30, 16)
    found = tissue.labelled(scan, scan.crop(start, size)[0], start, rule)
    whole = tissue.labelled(scan, scan.whole()[0], (0, 0, 0), rule)
    assert np.array_equal(found[4:, 2:22, :6], whole[:6, :, 6:])
    found[4:, 2:22, :6] = 0
    assert not found.any()


def test_large_volumes_are_thinned_and_few_slices_read():
    class Watched:
        shape, read = (1, 600, 500, 40), []

        def __getitem__(self, key):
            self.read.append(key)
            box = [len(range(*s.indices(n))) for s, n in zip(key, self.shape, strict=True)]
            return np.zeros(box, np.float32)

    image = Watched()
    values = tissue.probe(Volume(image))
    assert len(image.read) == tissue.SLICES and values.size <= tissue.SLICES * tissue.VOXELS
    assert sorted(key[3].start for key in image.read) == [4, 12, 20, 28, 36]


def test_a_named_volume_is_looked_at_once_and_an_unnamed_one_every_time(monkeypatch):
    looked = []
    monkeypatch.setattr(tissue, "probe", lambda volume: looked.append(1) or np.arange(64.0))
    image = np.zeros((1, 4, 4, 4), np.float32)
    for name, looks in (("a", 1), ("a", 1), ("b", 2), ("", 3), ("", 4)):
        one = Volume(image)
        one.name = name
        tissue.tissue_rule(one, 0.123)
        assert len(looked) == looks
