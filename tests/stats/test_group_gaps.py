"""Gaps between groups of patients: by hand, against SciPy, and how often one is claimed where there is none."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t, ttest_ind

from bench.stats.unpaired import gaps, gaps_of


def column(*values):
    return np.array(values, float)[:, None]


def test_a_gap_by_hand():
    # Means 0.8 and 0.5. Sums of squares 0.04 and 0.16, each over 3 degrees of freedom and 4 patients: the
    # variances of the means are 1/300 and 4/300, together 5/300. With 3 degrees of freedom t of 0.975 is 3.1824.
    first, second = column(0.7, 0.7, 0.9, 0.9), column(0.3, 0.3, 0.7, 0.7)
    (gap,) = gaps([second, first])
    assert gap.groups == (1, 0) and gap.change.means == pytest.approx((0.5, 0.8))
    assert gap.change.mean == pytest.approx(0.3)
    half = 3.1824 * (5 / 300) ** 0.5
    assert (gap.change.low, gap.change.high) == pytest.approx((0.3 - half, 0.3 + half), abs=1e-5)
    assert gap.p == gap.change.p and (gap.low, gap.high) == (gap.change.low, gap.change.high)
    assert gap.change.smallest_p == 2 / 70


def test_pairs_have_the_smaller_groups_degrees_of_freedom_and_the_widest_allows_for_its_being_picked():
    rng = np.random.default_rng(0)
    groups = [rng.normal(mean, sd, (n, 1)) for mean, sd, n in ((0, 1, 9), (1, 2, 12), (3, 1, 7))]
    every = gaps(groups)
    means = [float(group.mean()) for group in groups]
    assert [gap.change.mean for gap in every] == sorted(
        (g.change.mean for g in every), reverse=True
    )
    assert every[0].groups == (int(np.argmax(means)), int(np.argmin(means)))
    for gap in every:
        a, b = (groups[i][:, 0] for i in gap.groups)
        distance = ttest_ind(a, b, equal_var=False).statistic
        df = min(len(a), len(b)) - 1
        assert gap.change.p == pytest.approx(2 * t.sf(abs(distance), df))
        for alpha, ends in (
            (0.05, (gap.change.low, gap.change.high)),
            (0.05 / 3, (gap.low, gap.high)),
        ):
            half = t.ppf(1 - alpha / 2, df) * gap.change.mean / distance
            assert ends == pytest.approx((gap.change.mean - half, gap.change.mean + half))
    p = sorted(gap.change.p for gap in every)
    holm = [3 * p[0], max(3 * p[0], 2 * p[1]), max(3 * p[0], 2 * p[1], p[2])]
    assert sorted(gap.p for gap in every) == pytest.approx([min(1, value) for value in holm])


@pytest.mark.parametrize(
    ("sizes", "pairs", "too_few"),
    [
        ((3, 3), 1, True),
        ((3, 4), 1, False),
        ((4, 4), 1, False),
        ((4, 4, 4), 3, True),
        ((5, 5, 5), 3, False),
    ],
)
def test_what_no_exact_test_could_show_is_not_shown(sizes, pairs, too_few):
    rng = np.random.default_rng(1)
    every = gaps([rng.normal(size=(n, 2)) for n in sizes])
    assert len(every) == pairs and {gap.too_few for gap in every} == {too_few}


def test_a_gap_beyond_a_baselines_is_that_of_paired_differences():
    rng = np.random.default_rng(2)
    base = [rng.normal(0.7, 0.2, (n, 3)) for n in (8, 11)]
    ours = [
        scores + gain + rng.normal(0, 0.01, scores.shape)
        for scores, gain in zip(base, (0.1, 0), strict=True)
    ]
    differences = [a - b for a, b in zip(ours, base, strict=True)]
    (gap,) = gaps_of([(0, 1)], differences)
    (of_ours,), (of_base,) = gaps_of([(0, 1)], ours), gaps_of([(0, 1)], base)
    assert gap.change.mean == pytest.approx(of_ours.change.mean - of_base.change.mean)
    assert gap.change.low > 0.08 and gap.change.high < 0.12  # patients' own spread is gone
    assert of_ours.change.low < 0 < of_ours.change.high


@pytest.mark.parametrize(("sizes", "runs"), [((2, 40), 1), ((6, 20, 30), 3), ((5, 5, 5, 5), 3)])
def test_no_gap_is_claimed_in_one_study_of_twenty(sizes, runs):
    """400 studies without a gap; patients of the first group vary twice as much, and runs shift each group."""
    rng, claimed, outside, studies = np.random.default_rng(3), 0, 0, 400
    for _ in range(studies):
        run = rng.normal(0, 2, (1, runs))
        groups = [
            rng.normal(0, 20 if n == 0 else 10, (size, 1))
            + run
            + rng.normal(0, 1, (1, runs)) * (runs > 1)
            + rng.normal(0, 2, (size, runs))
            for n, size in enumerate(sizes)
        ]
        every = gaps(groups)
        claimed += any(gap.p < 0.05 and not gap.too_few for gap in every)
        outside += every[0].low > 0
    # three standard errors above 5 %
    assert claimed / studies <= 0.083 and outside / studies <= 0.083
