"""Friedman's test and Nemenyi's critical difference, against Demsar's worked example."""

import numpy as np
import pytest
from scipy.stats import chi2

from bench.stats.critical import critical_difference

# Demsar 2006, table 6: ranks of C4.5 and three of its variants on 14 data sets.
DEMSAR = np.array(
    [
        [4, 3, 2, 1],
        [1, 2, 3, 4],
        [4, 1, 2, 3],
        [4, 1, 3, 2],
        [4, 2, 3, 1],
        [1, 2.5, 4, 2.5],
        [3, 2, 4, 1],
        [2.5, 2.5, 4, 1],
        [4, 3, 2, 1],
        [2.5, 2.5, 2.5, 2.5],
        [4, 2.5, 1, 2.5],
        [3, 2, 4, 1],
        [4, 1, 2, 3],
        [3, 1, 4, 2],
    ]
).T


def test_demsars_example():
    result = critical_difference(DEMSAR, alpha=0.1, higher=False)
    np.testing.assert_allclose(result.rank, [3.143, 2.000, 2.893, 1.964], atol=5e-4)  # his averages
    assert result.difference == pytest.approx(1.12, abs=5e-3)  # his
    ties = 1 - (3 * 6 + 60) / (14 * 60)  # three of two, one of four: (t^3 - t) over n (k^3 - k)
    assert result.p == pytest.approx(chi2.sf(9.28 / ties, 3), abs=1e-4)  # his 9.28 is without
    assert critical_difference(DEMSAR, higher=False).difference == pytest.approx(
        2.569 * np.sqrt(20 / 84), abs=1e-3
    )


@pytest.mark.parametrize(
    ("methods", "q"), [(3, 2.343), (4, 2.569), (5, 2.728), (6, 2.850), (8, 3.031), (10, 3.164)]
)
def test_critical_values_are_those_of_demsars_table_5(methods, q):
    means = np.random.default_rng(0).random((methods, 12))
    result = critical_difference(means).difference / np.sqrt(methods * (methods + 1) / (6 * 12))
    assert result == pytest.approx(q, abs=1e-3)


def test_how_many_data_sets_can_say_anything():
    same = np.array([[3.0, 30.0], [2.0, 20.0], [1.0, 10.0]])
    two = critical_difference(same)
    assert two.p == pytest.approx(np.exp(-2)) and two.needed == 3  # chi-square of 4 on 2
    three = critical_difference(np.hstack([same, same[:, :1]]))
    assert three.p == pytest.approx(np.exp(-3)) and three.p < 0.05 < two.p


def test_invariances():
    means = np.random.default_rng(1).random((5, 9)) + np.arange(5)[:, None] / 4
    result = critical_difference(means)
    for other, back in [
        (critical_difference(means[::-1]), slice(None, None, -1)),
        (critical_difference(means[:, ::-1]), slice(None)),
        (
            critical_difference(np.exp(means) * np.arange(1, 10)),
            slice(None),
        ),  # each data set by itself
        (critical_difference(-means, higher=False), slice(None)),
    ]:
        np.testing.assert_allclose(other.rank[back], result.rank)
        assert (other.p, other.difference) == (pytest.approx(result.p), result.difference)


def test_methods_that_are_all_alike():
    result = critical_difference(np.ones((4, 6)))
    assert result.rank.tolist() == [2.5] * 4 and result.p == 1


@pytest.mark.parametrize(
    ("means", "alpha", "message"),
    [
        (np.ones((2, 9)), 0.05, "at least 3 methods"),
        (np.ones((5, 1)), 0.05, "at least 2 data sets"),
        (np.ones(5), 0.05, "shape"),
        ([[1, 2], [1, np.nan], [1, 2]], 0.05, "method 1 has no value on data set 1"),
        (np.ones((3, 3)), 0, "alpha"),
    ],
)
def test_refusals_of_means(means, alpha, message):
    with pytest.raises(ValueError, match=message):
        critical_difference(means, alpha)
