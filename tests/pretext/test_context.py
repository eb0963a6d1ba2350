"""Which patches are known and which are predicted: the released code's tables, and what none may hold."""

import numpy as np
import pytest

from bench.pretext.context import ZERO, pyramid


@pytest.mark.parametrize(
    ("column", "known", "wanted"),
    [  # computed by the released preprocess_grid_3d at n = 4
        (0, [5, 4, 5, 1, 0, 1, 5, 4, 5, 16], [32, 48]),  # (0, 0)
        (6, [1, 2, 3, 5, 6, 7, 9, 10, 11, 22], [38, 54]),  # (1, 2)
    ],
)
def test_columns_of_a_cube_as_the_code_has_them(column, known, wanted):
    found = pyramid(4, 3, False, "reflect")
    assert [table[column].tolist() for table in found] == [known, wanted]


def test_columns_of_a_square_end_in_zeros_and_skip_a_row():
    known, wanted = pyramid(5, 2, True, "zero")
    assert known.tolist() == [
        [ZERO, 0, 1, 5],
        [0, 1, 2, 6],
        [1, 2, 3, 7],
        [2, 3, 4, 8],
        [3, 4, ZERO, 9],
    ]
    assert wanted.tolist() == [[15, 20], [16, 21], [17, 22], [18, 23], [19, 24]]


@pytest.mark.parametrize(
    ("n", "dims", "skip_row", "terms", "below"),
    [
        (4, 3, False, 10, 2),
        (5, 3, False, 10, 3),
        (6, 3, False, 35, 3),
        (4, 2, True, 4, 1),
        (5, 2, True, 4, 2),
        (7, 2, True, 9, 3),
        (3, 2, False, 1, 2),
        (2, 3, False, 1, 1),
    ],
)
def test_pyramids_are_as_large_as_the_code_s_and_hold_no_target(n, dims, skip_row, terms, below):
    for boundary in ("reflect", "zero"):
        known, wanted = pyramid(n, dims, skip_row, boundary)
        assert known.shape == (n ** (dims - 1), terms) and wanted.shape == (n ** (dims - 1), below)
        rows = [np.where(table < 0, 0, table) // n ** (dims - 1) for table in (known, wanted)]
        assert rows[0].max() == n // 2 - 1 and rows[1].min() == n // 2 + skip_row
        assert (
            known[:, -1] % n ** (dims - 1) == np.arange(len(known))
        ).all()  # the current patch is last
