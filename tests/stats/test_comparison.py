"""Paired comparisons: the mean squares by hand, what must not change them, and every verdict."""

import numpy as np
import pytest
from scipy.stats import permutation_test, t
from statsmodels.stats.multitest import multipletests
from studies import Design, tuned_each

import bench
from bench import stats
from bench.stats.comparison import FEW, ONE_PRETRAINING, ONE_RUN, ONE_SEED
from bench.stats.effects import effects, filled, layout
from bench.stats.equivalence import ENOUGH, halves
from bench.stats.holm import holm

# patients x runs; rows 2 4 6, columns 3 5, mean 4
HAND = np.array([[1.0, 3.0], [2.0, 6.0], [6.0, 6.0]])


def drawn(
    patients: int = 12, runs: int = 4, mean: float = 0.0, run: float = 1.0, seed: int = 0
) -> np.ndarray:
    rng = np.random.default_rng(seed)
    built = (
        rng.normal(0, 2, (patients, 1))
        + rng.normal(0, run, (1, runs))
        + rng.normal(0, 2, (patients, runs))
    )
    return built - built.mean() + mean


def test_mean_squares_by_hand():
    # MS patients 2*(4+0+4)/2 = 8, MS runs 3*(1+1)/1 = 6, residuals (0 0, -1 1, 1 -1) -> 4/2 = 2
    result = effects(HAND, layout(2, None, None))
    assert result.mean == 4
    assert result.variance == pytest.approx((8 + 6 - 2) / 6)
    assert result.df == pytest.approx(12**2 / (8**2 / 2 + 6**2 / 1 + 2**2 / 2))
    assert (result.patient, result.run, result.residual) == pytest.approx(
        (3**0.5, (4 / 3) ** 0.5, 2**0.5)
    )
    first = stats.compared(HAND, rope=None)
    # the runs alone: var(3, 5) / 2 = 1
    wide = max(t.ppf(0.975, result.df) * 2**0.5, t.ppf(0.975, 1))
    assert (first.low, first.high) == pytest.approx((4 - wide, 4 + wide))
    assert first.p == pytest.approx(max(2 * t.sf(4 / 2**0.5, result.df), 2 * t.sf(4, 1)))


@pytest.mark.parametrize(
    ("patients", "runs", "clusters", "seeds", "known"),
    [
        (12, 3, [0, 1, 2], [0, 1, 2], True),
        (5, 3, [0, 1, 2], [0, 1, 2], False),  # too few patients: nothing can be shown
        (12, 3, [0, 0, 0], [0, 1, 2], False),
        (12, 3, [0, 1, 2], [0, 0, 0], False),
        (12, 1, None, None, False),
    ],
)
def test_what_can_be_detected_is_said_only_where_something_can_be_shown(
    patients, runs, clusters, seeds, known
):
    """Of differences as large as one likes, none of the others is ever called better."""
    values = drawn(patients, runs, mean=1000.0)
    found = stats.compared(values, clusters, seeds=seeds)
    assert (found.detectable == found.detectable) == known == (found.verdict == "better")


def test_of_one_run_no_width_is_known_and_a_missing_run_is_not_counted():
    lone = stats.compared(drawn(runs=1), None)
    assert np.isnan(lone.width()) and lone.needed("units") is lone.needed("patients") is None
    values = drawn(runs=9)
    values[:, 4] = np.nan
    found = stats.compared(values, [0, 0, 0, 1, 1, 1, 2, 2, 2], seeds=[0, 1, 2] * 3)
    assert (found.pretrainings, found.runs) == (3, 8)


def test_fine_tunings_of_one_pretraining_are_averaged():
    values, clusters = drawn(runs=6), [7, 7, 8, 8, 9, 9]
    means = values.reshape(12, 3, 2).mean(axis=2)
    first, other = stats.compared(values, clusters), stats.compared(means)
    assert (first.low, first.high, first.p) == pytest.approx((other.low, other.high, other.p))
    assert (first.pretrainings, first.seeds, first.units) == (3, 2, 3)


def test_fine_tunings_of_the_only_pretraining_are_runs():
    values = drawn(runs=3)
    first, other = stats.compared(values, [4, 4, 4]), stats.compared(values)
    assert (first.low, first.p, first.pretrainings, first.seeds) == (other.low, other.p, 1, 3)
    assert (first.verdict, first.of_weights) == ("these weights only", other.verdict)


def test_fine_tuning_seeds_that_pretrainings_share_are_a_factor_of_their_own():
    rng = np.random.default_rng(3)
    runs = rng.normal(size=(2, 3))  # no patient differs: P x F means alone
    values = np.tile(runs.reshape(1, 6), (5, 1))
    result = effects(values, layout(6, [0, 0, 0, 1, 1, 1], [0, 1, 2, 0, 1, 2]))
    rows, columns = runs.mean(axis=1), runs.mean(axis=0)
    rest = runs - rows[:, None] - columns + runs.mean()
    by_hand = rows.var(ddof=1) / 2 + columns.var(ddof=1) / 3 - (rest**2).sum() / 2 / 6
    assert result.variance == pytest.approx(max(by_hand, (rest**2).sum() / 2 / 6))
    within = stats.compared(values, [0, 0, 0, 1, 1, 1], seeds=[0, 1, 2, 3, 4, 5])
    assert within.p == stats.compared(values, [0, 0, 0, 1, 1, 1]).p  # none is shared


def test_a_pretraining_and_a_fine_tuning_for_each_run_are_runs():
    values = drawn(runs=4)
    first, other = stats.compared(values, [0, 1, 2, 3], seeds=[5, 6, 7, 8]), stats.compared(values)
    assert (first.low, first.p, first.units, first.verdict) == (
        other.low,
        other.p,
        4,
        other.verdict,
    )


def test_a_crossing_with_a_hole_is_filled_by_the_additive_model():
    table = layout(3, [0, 0, 1], [0, 1, 0])
    assert table.laid(np.array([1.0, 2.0, 5.0])) == pytest.approx(np.array([[1, 2], [5, 6]]))


def test_missing_cells_are_filled_by_least_squares():
    complete = np.array([[0.0], [2], [5], [7]]) + np.array([0.0, 1, 3])
    holed = complete.copy()
    holed[0, 0] = holed[2, 1] = holed[3, 2] = np.nan
    result, df = filled(holed)
    assert result == pytest.approx(complete)
    assert df == 9 - 4 - 3 + 1
    rng = np.random.default_rng(0)
    noisy = np.where(np.isnan(holed), np.nan, holed + rng.normal(size=holed.shape))
    x = [[*np.eye(4)[i], *np.eye(3)[j]] for i, j in zip(*np.nonzero(~np.isnan(noisy)), strict=True)]
    b = np.linalg.lstsq(np.array(x), noisy[~np.isnan(noisy)], rcond=None)[0]
    i, j = np.nonzero(np.isnan(noisy))
    assert filled(noisy)[0][i, j] == pytest.approx(b[i] + b[4 + j])


def test_what_changes_nothing():
    values, clusters = drawn(runs=6), [0, 0, 1, 1, 2, 2]
    first = stats.compared(values, clusters)
    rng = np.random.default_rng(1)
    turned = stats.compared(-values[rng.permutation(12)], clusters)
    assert (turned.low, turned.high, turned.p) == pytest.approx((-first.high, -first.low, first.p))
    order = [4, 5, 0, 1, 3, 2]
    shifted = stats.compared(values[:, order], [clusters[i] for i in order])
    assert (shifted.low, shifted.p, shifted.df) == pytest.approx((first.low, first.p, first.df))
    ours = rng.normal(size=values.shape)
    both = stats.paired(ours + values, ours, clusters)
    assert (both.low, both.p) == pytest.approx((first.low, first.p))
    empty = np.full((12, 1), np.nan)
    more = stats.compared(
        np.vstack([np.hstack([values, empty]), np.full((2, 7), np.nan)]), [*clusters, 9]
    )
    assert (more.low, more.patients, more.pretrainings) == pytest.approx((first.low, 12, 3))
    assert stats.bootstrap(values, clusters) == stats.bootstrap(values, clusters)


CASES = {  # values in Dice points, region of equivalence 1
    "better": (drawn(mean=5, run=0.1), None, None, "better", ""),
    "worse": (drawn(mean=-5, run=0.1), None, None, "worse", ""),
    "small but sure": (drawn(60, mean=0.4, run=0.01) / 8 + 0.35, None, None, "equivalent", ""),
    "none at all": (np.zeros((8, 3)), None, None, "equivalent", ""),
    "unclear": (drawn(mean=1, run=2), None, None, "not separable", ""),
    "one run": (drawn(runs=1, mean=9), None, None, "these weights only", ONE_RUN),
    "one pretraining": (
        drawn(mean=9, run=0.1),
        [5] * 4,
        None,
        "these weights only",
        ONE_PRETRAINING,
    ),
    "one fine-tuning seed": (
        drawn(mean=9, run=0.1),
        [0, 1, 2, 3],
        [5] * 4,
        "these weights only",
        ONE_SEED,
    ),
    "five patients": (drawn(5, mean=90), None, None, "not separable", FEW.format(n=5, p=0.0625)),
    "two of each": (drawn(mean=9, run=0.1), [0, 0, 1, 1], [0, 1, 0, 1], "better", ""),
}


@pytest.mark.parametrize("case", CASES)
def test_verdicts(case):
    values, clusters, seeds, verdict, why = CASES[case]
    first = stats.compared(values, clusters, 1.0, seeds=seeds)
    assert (first.verdict, first.why) == (verdict, why)
    assert first.verdict in stats.VERDICTS
    if verdict == "equivalent":
        assert -1 < first.low <= first.high < 1
        assert stats.compared(values, clusters, None, seeds=seeds).verdict != "equivalent"
    if verdict in ("better", "worse"):
        assert first.low * first.high > 0


def test_a_lone_run_is_judged_by_all_flips_of_signs():
    values = np.array([[3.0], [1.0], [2.0]])
    first = stats.compared(values)
    assert first.p == stats.sign_flip(values) == 0.25  # +++ and --- of eight
    assert stats.smallest_p(3) == 0.25
    half = t.ppf(0.975, 2) / 3**0.5
    assert (first.low, first.high) == pytest.approx((2 - half, 2 + half))
    assert stats.sign_flip(np.zeros((4, 1))) == 1


@pytest.mark.parametrize("patients", [2, 5, 12, 30])
def test_the_sign_flip_is_scipys(patients):
    """Exact where few; else what 9,999 draws leave of either."""
    for values in np.random.default_rng(0).normal(0.2, 1, (3, patients, 1)).round(1):
        theirs = permutation_test(
            (values[:, 0],), np.mean, permutation_type="samples", n_resamples=9999, rng=0
        ).pvalue
        apart = 1e-12 if patients <= 13 else 4 * np.sqrt(2 * theirs * (1 - theirs) / 9999)
        assert abs(stats.sign_flip(np.hstack([values, values])) - theirs) <= apart
    gone = np.vstack([values, [[np.nan]]])
    assert stats.sign_flip(gone) == stats.sign_flip(values)  # who has no score flips nothing


def test_holm_is_statsmodels(monkeypatch):
    """Which is not imported by what it takes a second to report."""
    # each of its calls would collect all that pytest holds
    monkeypatch.setattr("gc.collect", lambda: 0)
    for values in np.round(np.random.default_rng(0).beta(0.3, 2, (200, 7)), 2):
        np.testing.assert_allclose(holm(values), multipletests(values, method="holm")[1])


def test_comparisons_that_have_not_run_can_only_lower_a_printed_p():
    rng = np.random.default_rng(0)
    for _ in range(200):
        known, later = rng.uniform(0, 0.2, 3).tolist(), rng.uniform(0, 1, 4).tolist()
        before, after = holm([*known, *[1.0] * len(later)])[:3], holm([*known, *later])[:3]
        assert all(b >= a for b, a in zip(before, after, strict=True))
    values = np.random.default_rng(1).normal(0.02, 0.02, (20, 3))
    sure = stats.compared(values, None, 0.01, seeds=[0, 1, 2])
    (alone,), (one_of_six,) = stats.judged([sure]), stats.judged([sure], 5)
    assert one_of_six.p == pytest.approx(6 * alone.p)
    assert one_of_six.p_equivalent == pytest.approx(min(1, 6 * alone.p_equivalent))


def test_holm_and_what_a_family_changes():
    assert holm([0.01, 0.04, np.nan, 0.03]) == pytest.approx(
        [0.03, 0.06, np.nan, 0.06], nan_ok=True
    )
    sure = stats.compared(drawn(40, mean=3, run=0.1), rope=1)
    narrow = stats.compared(drawn(40, mean=0.9, run=0.1, seed=2), rope=1)
    assert narrow.verdict == "better" and 0.004 < narrow.p < 0.05
    lone = stats.compared(drawn(runs=1))
    result = stats.judged([sure, *[narrow] * 12, lone])
    assert [first.verdict for first in result] == [
        "better",
        *["not separable"] * 12,
        "these weights only",
    ]
    assert result[1].p == pytest.approx(min(1, 12 * narrow.p))
    assert np.isnan(result[-1].p)
    few = stats.compared(drawn(6, mean=30, run=0.1), rope=1)
    assert few.verdict == "better"
    both = stats.judged([few, few])  # 2 * 2^-5 > 0.05
    assert both[0].verdict == "not separable" and both[0].why.startswith(
        "too few patients: with 6 patients"
    )


def test_what_would_settle_it_is_seeds_and_not_patients():
    first = stats.compared(drawn(42, 3, mean=1.0, run=1.0, seed=5), rope=1)
    assert first.width() == pytest.approx((first.high - first.low) / 2, rel=0.2)
    assert first.width(patients=10**6) > first.width(units=6)
    runs = first.needed("units")
    assert (
        first.width(units=runs)
        <= max(abs(first.difference), 1 - abs(first.difference))
        < first.width(units=runs - 1)
    )
    assert first.needed("patients") is None


def test_the_bootstrap_draws_patients_and_runs():
    values = drawn(200, 8, run=0.0) / 10
    low, high = stats.bootstrap(values)
    first = stats.compared(values)
    assert high - low == pytest.approx(first.high - first.low, rel=0.2)
    spread = np.tile(np.array([[-1.0, 1.0]]), (50, 1))
    assert stats.bootstrap(spread) == (-1, 1)  # nothing but runs


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: stats.paired(np.ones((3, 2)), np.ones((3, 1))), "not patients x runs alike"),
        (
            lambda: stats.paired(np.ones((3, 2)), np.ones((3, 2)), [1]),
            "clusters has 1 entries for 2 runs",
        ),
        (lambda: stats.paired(np.full((3, 2), np.nan), np.ones((3, 2))), "share no patient"),
        (lambda: stats.paired(np.ones((3, 2)), np.ones((3, 2)), alpha=5), "not between 0 and 1"),
    ],
)
def test_bad_input(call, says):
    with pytest.raises(ValueError, match=says):
        call()


def test_it_is_reached_as_documented():
    built = bench.stats.paired(
        np.ones((8, 3)), np.zeros((8, 3)), clusters=None, rope=0.01, alpha=0.05
    )
    assert (built.difference, built.low, built.high, built.p, built.verdict) == (
        1,
        1,
        1,
        0,
        "better",
    )


@pytest.mark.parametrize("recipes", [1, 3, 12])
def test_rows_that_each_choose_their_recipe_differ_by_luck_in_5_percent(recipes):
    claimed = tuned_each(recipes, Design(seeds=5), 400)
    assert 0.05 - 3 * 0.011 < claimed < 0.05 + 3 * 0.011
    if recipes > 1:  # a row that chooses beside one that does not
        assert tuned_each(recipes, Design(seeds=5), 400, scratch=False) > 0.1
        alone = dict(scratch=False, merit=0.0)  # and all recipes are equally good
        lucky, crossed = (
            tuned_each(recipes, Design(seeds=8), 400, **alone, crossed=c) for c in (False, True)
        )
        assert crossed < 0.05 + 4 * 0.011 < lucky


def test_scratch_against_itself_over_all_ways_to_halve_its_seeds():
    # halves of 0 0 0 0 1 1 1 1 differ by 1 in one way of 35, by a half in 16, by 0 in 18
    assert halves([0.0] * 4 + [1.0] * 4) == 0.5
    assert halves([0.0] * 7 + [1.0]) == 0.25  # each way has the 1 in one half
    # means of 4 and 5: beyond are 4 of 126 ways, by hand
    assert halves(range(9)) == pytest.approx(3.6)
    assert (
        stats.region([0.5] * (ENOUGH - 1)).rope == 0.01 and stats.region([0.5] * ENOUGH).rope == 0.0
    )
    many = np.random.default_rng(0).normal(0.8, 0.004, 40)
    assert halves(many) == pytest.approx(1.96 * many.std() * (4 / 39) ** 0.5, rel=0.05)
    assert halves(many) == halves(many) and stats.region(many).rope == halves(many) < 0.01
    assert stats.region(10 * many).rope == 0.01 < stats.region(10 * many).itself
