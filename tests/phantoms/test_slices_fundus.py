"""Synthetic pictures: findings in the lungs of their class, and signs that grow with their grade."""

import itertools

import numpy as np
import pytest

from bench.phantoms.fundus import fundus
from bench.phantoms.slices import pneumonia


def test_findings_are_seen_in_the_lungs_of_their_class():
    shape, spacing = (88, 72, 16), (4.0, 4.4, 18.0)
    for index in range(3):
        none, faint, dense = (
            pneumonia(shape, spacing, 0, index, f).astype(int)
            for f in ("none", "ground glass", "consolidation")
        )
        assert (none.shape, none.min() >= 0) == ((16, 72, 88), True)
        more = faint - none > 30
        assert 0.002 < more.mean() < 0.1
        assert 80 < faint[more].mean() < 160  # neither air nor soft tissue
        assert dense[dense - none > 80].mean() > 170
        # As radiologists look at it: head first, the liver on the left of the screen, the spine below.
        row, column = np.argwhere((none > 100).any(0)).mean(0).round().astype(int)
        assert (none[-4:, :, :column] > 180).sum() > (none[-4:, :, column:] > 180).sum()
        middle = none[4:12, :, column - 6 : column + 6] > 225
        assert middle[:, row:].sum() > 5 * middle[:, :row].sum()


def test_every_grade_is_drawn_and_its_signs_grow_in_number():
    for index in range(4):
        shown = [fundus((128, 96), 0, index, grade=g) for g in range(5)]
        areas = [made.signs.sum() for made in shown]
        assert areas[0] == 0
        assert all(a < b for a, b in itertools.pairwise(areas))
        assert (shown[4].image[:4, :4] < 10).all()  # outside of the field
        same = ~shown[3].signs & ~shown[0].signs
        apart = np.abs(shown[3].image.astype(int) - shown[0].image)[same]
        assert np.median(apart) < 10  # the same person in every grade
    with pytest.raises(ValueError, match="grade must be 0 to 4"):
        fundus((16, 16), 0, 0, grade=5)
