"""Boxes that move along the axes: they end where trying every box ends, or near it."""

import numpy as np
import pytest
from test_screen import noise

from bench.leaks import refine
from bench.leaks.cosines import Basis
from bench.leaks.poses import View, every_end, turned

ENDS, WAVES = ((0, 0.6), (0.4, 1), (0, 1)), {2: 6, 3: 4}
COARSE = {d: Basis(d, waves, ENDS, power=2, width=5) for d, waves in WAVES.items()}
STEPS = {2: 20, 3: 10}
FINE = {d: Basis(d, WAVES[d], every_end(n), power=2, width=5) for d, n in STEPS.items()}


def looked_at(whole, copies):
    d = whole.volume.ndim
    screened = np.stack([COARSE[d].copies(c.thumbnail) for c in copies], axis=1)
    known = COARSE[d].boxes(whole.thumbnail), screened
    seen = refine.boxes(whole, FINE[d]), np.stack([refine.vectors(c, FINE[d]) for c in copies])
    return seen, refine.refined(known, (COARSE[d], FINE[d]), [seen, seen])


@pytest.mark.parametrize("shape", [(48, 40, 44), (120, 150)])
def test_a_box_between_those_of_the_screen_is_found_in_any_turn(shape):
    whole, d = noise(shape), len(shape)
    part = whole[tuple(slice(round(0.1 * n), round(0.8 * n)) for n in shape)]
    copies = [View(np.ascontiguousarray(turned(part, turn))) for turn in range(2**d)]
    (boxes, vectors), found = looked_at(View(whole), [*copies, View(noise(shape, 1))])
    every = np.einsum("...c,ntc->n...t", boxes, vectors).reshape(len(vectors), -1).max(1)
    assert found[:-1] == pytest.approx(every[:-1], abs=1e-3) and found[:-1].min() > 0.97
    assert found[-1] <= every[-1] + 1e-5 < 0.9


def test_every_turn_is_that_of_the_volume():
    scan, basis = noise((30, 24, 20)), FINE[3]
    found = refine.vectors(View(scan), basis)
    for turn in range(48):
        same = refine.vectors(View(np.ascontiguousarray(turned(scan, turn))), basis)[0]
        assert found[turn] == pytest.approx(same, abs=1e-4)


def test_an_interval_is_followed_by_the_nearest():
    found = refine.nearest(COARSE[3], FINE[3])
    assert [FINE[3].ends[n] for n in found] == [(0, 0.6), (0.4, 1), (0, 1)]
