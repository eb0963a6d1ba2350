"""The screen's scores: what does not change them, and what they single out."""

import itertools

import numpy as np
import pytest
from scipy import ndimage

from bench.leaks.poses import View, turned
from bench.leaks.screen import DENSE, SPARSE, scores, sketches, turns


def noise(shape, seed=0):
    """Return a smooth image of bytes."""
    image = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 4)
    return np.rint(255 * (image - image.min()) / np.ptp(image)).astype(np.uint8)


def sketched(*volumes, bases=DENSE):
    channels = [(i, View(np.ascontiguousarray(v))) for i, v in enumerate(volumes)]
    return sketches(channels, bases.screen[volumes[0].ndim])


SHAPES = [(48, 40, 44), (120, 150)]


@pytest.mark.parametrize("shape", SHAPES)
def test_no_turn_changes_a_score_and_it_is_named(shape):
    d = len(shape)
    whole, other = sketched(noise(shape)), noise(shape, 1)
    every = range(len(list(itertools.permutations(range(d)))) * 2**d)
    copies = [turned(noise(shape), turn) for turn in every]
    found = scores(whole, sketched(*copies, other))[0]
    assert found[:-1] == pytest.approx(np.full(len(copies), found[0]), abs=1e-3)
    assert found[0] > 0.9 > 0.75 > found[-1]
    backwards = [int(turns(whole.boxes[0], sketched(c).copies)[0][0].argmax()) for c in copies]
    for copy, turn in zip(copies, backwards, strict=True):
        assert np.array_equal(turned(copy, turn), noise(shape))


@pytest.mark.parametrize("bases", [DENSE, SPARSE])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_box_is_found_where_it_lies_whichever_side_it_is_on(shape, bases):
    """The box's ends are on the screen's own grid, so that nothing but the sampling differs."""
    basis = bases.screen[len(shape)]
    number = len(basis.ends) ** len(shape) // 2
    start, extent = basis.box(number)
    ends = zip(shape, start, extent, strict=True)
    part = noise(shape)[tuple(slice(round(n * a), round(n * (a + e))) for n, a, e in ends)]
    whole, copy = sketched(noise(shape), bases=bases), sketched(part, bases=bases)
    value, box = turns(whole.boxes[0], copy.copies)
    assert value[0, 0] == value.max() > 0.98 and box[0, 0] == number
    forth, back = scores(whole, copy)[0, 0], scores(copy, whole)[0, 0]
    assert forth == back == pytest.approx(float(value.max()), abs=1e-5)


def test_scores_in_blocks_are_those_of_single_channels(monkeypatch):
    volumes = [noise((48, 40, 44), seed) for seed in range(5)]
    first, second = sketched(*volumes[:2]), sketched(*volumes)
    whole = scores(first, second)
    monkeypatch.setattr("bench.leaks.screen.ROOM", 1)
    assert scores(first, second) == pytest.approx(whole, abs=1e-6)
    one, other = sketched(volumes[1]), sketched(volumes[3])
    assert whole[1, 3] == pytest.approx(float(scores(one, other)[0, 0]), abs=1e-6)
    # by hand: the best of all turns and boxes, either being the copy
    pair = [turns(a.boxes[0], b.copies)[0].max() for a, b in ((one, other), (other, one))]
    assert whole[1, 3] == pytest.approx(max(pair), abs=1e-6)
