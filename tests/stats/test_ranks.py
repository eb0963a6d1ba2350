"""Ranks and what a bootstrap over patients and runs says of them, against hand-computed cases."""

import time

import numpy as np
import pytest
from scipy.stats import kendalltau, rankdata

from bench.random import numpy_rng
from bench.stats.ranks import kendall, ranked, ranks

NAN = np.nan
DRAWS = 20_000
CLOSE = 5 * np.sqrt(0.25 / DRAWS)  # five standard errors of a share


def flat(values):
    """Return scores of one patient and one run for each method."""
    return np.asarray(values, dtype=float)[:, None, None]


def drawn_scores(methods=6, patients=12, runs=3):
    rng = numpy_rng(0, "scores")
    patient = rng.normal(0, 2, (1, patients, 1))
    run = rng.normal(0, 1, (methods, 1, runs))
    return (
        80
        + np.arange(methods)[:, None, None]
        + patient
        + run
        + rng.normal(0, 2, (methods, patients, runs))
    )


@pytest.mark.parametrize(
    ("values", "higher", "expected"),
    [
        ([0.7, 0.9, 0.8], True, [3, 1, 2]),
        ([0.7, 0.9, 0.8], False, [1, 3, 2]),
        ([0.9, 0.7, 0.9, 0.9], True, [2, 4, 2, 2]),  # places 1 to 3 shared
        ([0.3, 0.1 + 0.2], True, [1.5, 1.5]),  # equal but for rounding
        ([0.7, NAN, 0.8], True, [2, NAN, 1]),  # takes no place
        ([0.5], True, [1]),
        ([NAN, NAN], True, [NAN, NAN]),
        ([], True, []),
    ],
)
def test_ranks_of_means(values, higher, expected):
    result = ranks(flat(values), higher=higher, draws=10)
    np.testing.assert_array_equal(result.rank, expected)
    np.testing.assert_array_equal(result.mean, values)
    np.testing.assert_array_equal(result.low, expected)  # one patient and one run: no draw differs
    np.testing.assert_array_equal(result.high, expected)


# Two patients and two runs: n - 1 = 1 of each is drawn, so that a draw is one of four cells.
HALF = [[0.5, 0.5], [0.5, 0.5]]
CELLS = [
    ([[[1, 1], [1, 0]], HALF], [0.75, 0.25]),
    ([[[1, 1], [0.5, 0]], HALF], [0.625, 0.375]),  # a tie is shared
    ([[[1, 1], [1, NAN]], HALF], [0.75, 0.25]),  # a cell that is missing: no mean in that draw
    ([HALF, HALF, [[NAN, NAN], [NAN, NAN]]], [0.5, 0.5, NAN]),
    (
        [[[1, NAN], [0, NAN]], [[NAN, 0.5], [NAN, 0.5]]],
        [0.5, 0.5],
    ),  # a method's only run is in every draw
]


@pytest.mark.parametrize(("scores", "best"), CELLS)
def test_share_of_draws_in_which_a_method_is_best(scores, best):
    np.testing.assert_allclose(ranks(scores, draws=DRAWS).best, best, atol=CLOSE)


def test_runs_that_methods_share_are_drawn_for_both():
    seeds = np.array([0.0, 0.1, 0.2])
    first = np.tile(seeds + 0.01, (4, 1))
    paired = ranks([first, np.tile(seeds, (4, 1))], draws=500)
    assert paired.best.tolist() == [1, 0] and paired.high.tolist() == [1, 2]
    pad = np.full((4, 3), NAN)
    two = np.tile([*seeds, 0.1], (4, 1))  # one more seed: drawn by itself
    padded = ranks([np.hstack([first, pad]), np.hstack([two, pad[:, :2]])], draws=500)
    assert 0 < padded.best[1] < padded.best[0] and padded.high.tolist() == [2, 2]


@pytest.mark.parametrize(
    ("runs", "clusters", "best"),
    [
        (
            [1, 1, 0, 0],
            None,
            1 / 8,
        ),  # 3 of 4 runs: better than 0.7 where all three are of the good ones
        ([1, 1, 0, 0], [5, 5, 9, 9], 1 / 2),  # 1 of 2 pretraining seeds
        ([1, 0, 1, 0], ["a", "b", "a", "b"], 1 / 2),
        ([1, 1, 0, 0], [7, 7, 7, 7], 1 / 8),  # one pretraining seed: its runs
    ],
)
def test_runs_of_one_pretraining_are_drawn_together(runs, clusters, best):
    result = ranks([[runs], [[0.7] * 4]], draws=DRAWS, clusters=clusters)
    np.testing.assert_allclose(result.best, [best, 1 - best], atol=CLOSE)


def test_interval_is_of_ranks_that_were_drawn():
    """One of 40 patients turns the order; of 39 draws with replacement none is it in 37 %."""
    first = np.zeros((40, 1))
    first[0] = 2.0
    result = ranks([first, np.full((40, 1), 0.01)], draws=DRAWS)
    assert result.rank.tolist() == [1, 2]
    assert (result.low.tolist(), result.high.tolist()) == ([1, 1], [2, 2])
    np.testing.assert_allclose(result.best[1], (1 - 1 / 40) ** 39, atol=CLOSE)


def test_order_of_methods_scale_and_direction_change_nothing():
    scores = drawn_scores()
    scores[0, :4, 1] = scores[3, :, 2] = NAN
    result = ranks(scores)
    order = np.array([4, 0, 5, 2, 1, 3])
    for other, back in [
        (ranks(scores[order]), np.argsort(order)),
        (ranks(scores * 8 - 600), slice(None)),
        (ranks(-scores, higher=False), slice(None)),
        (ranks(np.concatenate([scores, np.full((6, 2, 3), NAN)], axis=1)), slice(None)),
    ]:
        for name in ("rank", "low", "high", "best"):
            np.testing.assert_array_equal(getattr(other, name)[back], getattr(result, name))
    assert result.best.sum() == pytest.approx(1) and (result.low <= result.high).all()
    assert not np.array_equal(ranks(scores, seed=1).best, result.best)


def test_order_of_patients_and_runs_is_no_more_than_another_draw():
    scores = drawn_scores()
    result, turned = ranks(scores, draws=DRAWS), ranks(scores[:, ::-1, ::-1], draws=DRAWS)
    np.testing.assert_array_equal(turned.rank, result.rank)
    np.testing.assert_allclose(turned.best, result.best, atol=2 * CLOSE)


def test_mean_is_over_the_cells_that_are_there():
    result = ranks([[[1, NAN], [4, 7]], [[3, 3], [3, 3]]], draws=1)
    assert result.mean.tolist() == [4, 3] and result.rank.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("scores", "clusters", "message"),
    [
        ([[1, 2]], None, r"\(methods, patients, runs\).*shape \(1, 2\)"),
        ([[[1, np.inf]]], None, "infinite"),
        ([[[1, 2]]], [0, 0, 1], "each of 2 runs"),
    ],
)
def test_refusals_of_scores(scores, clusters, message):
    with pytest.raises(ValueError, match=message):
        ranks(scores, clusters=clusters)


def test_a_full_table_is_ranked_quickly():
    scores = drawn_scores(methods=35, patients=100, runs=5)
    start = time.process_time()
    result = ranks(scores)
    print(
        f"35 methods x 100 patients x 5 runs x 1000 draws: {time.process_time() - start:.2f} s of one core"
    )
    assert result.best.sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("first", "other", "tau"),
    [
        ([1, 2, 3, 4], [1, 2, 4, 3], 4 / 6),  # five pairs agree, one does not
        ([1, 2, 3, 4], [4, 3, 2, 1], -1),
        ([1, 2, 3], [1, 2.5, 2.5], 2 / np.sqrt(3 * 2)),
        ([1, 2, NAN, 3], [1, 2, 3, NAN], 1),  # of the two that both have
        ([1, 2], [1.5, 1.5], NAN),
        ([1, NAN], [1, 2], NAN),
    ],
)
def test_kendalls_tau(first, other, tau):
    np.testing.assert_allclose([kendall(first, other), kendall(other, first)], tau)


def test_ranks_and_tau_are_scipys():
    drawn = np.random.default_rng(0).integers(0, 5, (300, 2, 6)).astype(float)
    drawn[drawn == 4] = NAN
    np.testing.assert_array_equal(
        ranked(drawn, higher=False), rankdata(drawn, axis=-1, nan_policy="omit")
    )
    for first, other in drawn:
        both = ~np.isnan(first + other)
        expected = kendalltau(first[both], other[both]).statistic if both.sum() > 1 else NAN
        np.testing.assert_allclose(kendall(first, other), expected, atol=1e-12)


def test_kendalls_tau_needs_the_same_methods():
    with pytest.raises(ValueError, match="same methods"):
        kendall([1, 2], [1, 2, 3])
