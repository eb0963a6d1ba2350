"""Kendall's tau between two ways of scoring, and what its interval holds."""

import numpy as np
import pytest

from bench.stats.agreement import LEAST, Rankings, agreement


def ranking(order, n=20, noise=0.0, runs=6, group=""):
    """Return methods whose true scores are in a known order in both ways."""
    rng = np.random.default_rng(0)
    true = np.arange(n) / n
    other = {1: true, -1: -true, 0: rng.permutation(true)}[order]
    first, other = (
        (side[:, None] + noise * rng.normal(size=(n, runs))).mean(axis=1) for side in (true, other)
    )
    return Rankings(tuple(f"m{i}" for i in range(n)), first, other, group)


@pytest.mark.parametrize("order", [1, -1])
def test_known_order_has_known_tau(order):
    (result,), pooled = agreement([ranking(order)])
    assert (result.tau, result.low, result.high) == pytest.approx((order, order, order))
    assert pooled == result


def test_no_order_is_not_called_one():
    (result,), _ = agreement([ranking(0, n=30, noise=0.01)])
    assert abs(result.tau) < 0.3
    assert result.low < 0 < result.high


def test_interval_is_wider_with_fewer_methods_and_with_noisier_runs():
    def width(**how):
        (result,), _ = agreement([ranking(1, **how)])
        return result.high - result.low

    assert width(n=6, noise=0.2) > width(n=40, noise=0.2)
    assert width(noise=0.5, runs=2) > width(noise=0.01, runs=2)


def test_pooled_is_the_mean_and_leaves_out_what_is_too_small():
    small = ranking(-1, n=LEAST - 1, group="small")
    each, pooled = agreement([ranking(1), ranking(-1), small])
    assert pooled.tau == pytest.approx(0)
    assert np.isnan(each[2].tau)
    assert np.isnan(agreement([small])[1].tau)


def test_a_method_without_a_score_is_left_out():
    rankings = ranking(1)
    rankings.first[3] = rankings.second[5] = np.nan
    (result,), _ = agreement([rankings])
    assert (result.tau, result.low, result.high) == pytest.approx((1, 1, 1))


def test_an_interval_excludes_no_agreement_about_as_often_as_it_says():
    """Unrelated scores of ten methods: within what 5 % of 100 studies may be by chance."""
    rng = np.random.default_rng(3)
    names = tuple(map(str, range(10)))
    studies = [agreement([Rankings(names, *rng.normal(size=(2, 10)))], 200)[1] for _ in range(100)]
    assert sum(not s.low <= 0 <= s.high for s in studies) <= 10
