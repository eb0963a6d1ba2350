"""Ridge by normal equations: equal to scikit-learn's, chosen by leaving patients out, no matter how it is cut."""

import numpy as np
import pytest
import torch

from bench.probes.ridge import CHUNK, STRENGTHS, Sums, balanced, fitted, products


def samples(n=300, d=7, k=3, seed=0):
    """Return features of very unlike scales, targets (one-hot) and weights."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)) * 10.0 ** np.arange(-3, d - 3) + 5
    classes = (x[:, 2] + 0.3 * rng.normal(size=n) * x[:, 2].std() > 5).astype(int) + (x[:, 3] > 6)
    return x, np.eye(k)[classes], rng.uniform(0.1, 2, n)


def sums(x, y, w):
    return Sums.of(x, y, w)


@pytest.mark.parametrize("strength", [1e-6, 1e-2, 10.0])
def test_it_is_scikit_learns_on_standardised_features(strength):
    linear_model = pytest.importorskip("sklearn.linear_model")
    x, y, w = samples()
    mean = np.average(x, axis=0, weights=w)
    z = (x - mean) / np.sqrt(np.average((x - mean) ** 2, axis=0, weights=w))
    theirs = linear_model.Ridge(alpha=strength * w.sum()).fit(z, y, sample_weight=w)
    (ours,) = sums(x, y, w).solve([strength])
    np.testing.assert_allclose(ours(x), theirs.predict(z), atol=1e-8)


def test_the_error_from_sums_is_that_of_the_samples():
    x, y, w = samples()
    (linear,) = sums(x, y, w).solve([0.1])
    by_hand = (w[:, None] * (y - linear(x)) ** 2).sum()
    assert sums(x, y, w).error(linear) == pytest.approx(by_hand, rel=1e-9)


def test_the_strength_is_that_of_refits_without_each_patient():
    x, y, w = samples(90, d=40)
    parts = np.array_split(np.arange(90), 5)
    choice = fitted([sums(x[p], y[p], w[p]) for p in parts])
    errors = np.zeros(len(STRENGTHS))
    for part in parts:
        rest = np.setdiff1d(np.arange(90), part)
        refits = sums(x[rest], y[rest], w[rest]).solve(STRENGTHS)
        errors += [(w[part, None] * (y[part] - refit(x[part])) ** 2).sum() for refit in refits]
    np.testing.assert_allclose(choice.errors, errors / w.sum(), rtol=1e-6)
    assert choice.strength == STRENGTHS[int(np.argmin(errors))]


def test_patients_that_validate_choose_where_there_are():
    x, y, w = samples()
    flipped = sums(x, 1 - y, w)  # the more a map has learned, the worse on these
    assert fitted([sums(x, y, w)], validation=flipped).strength == STRENGTHS[-1]


def test_how_samples_are_cut_and_a_sample_without_weight_do_not_matter():
    x, y, w = samples()
    at_once = fitted([sums(x, y, w)]).linear
    halves = sums(x[:100], y[:100], w[:100]) + sums(x[100:], y[100:], w[100:])
    np.testing.assert_allclose(fitted([halves]).linear(x), at_once(x), atol=1e-9)
    more = sums(np.vstack([x, 1e3 * x[:1]]), np.vstack([y, y[:1]]), np.append(w, 0.0))
    np.testing.assert_allclose(fitted([more]).linear(x), at_once(x), atol=1e-9)


def test_products_of_classes_give_the_same_sums():
    x, y, _ = samples(CHUNK * 2, d=5)
    classes, weights = torch.from_numpy(y.argmax(1)), np.array([0.5, 2.0, 7.0])
    of_classes = Sums.of_classes(products(torch.from_numpy(x.T), classes, 3), weights)
    by_hand = Sums.of(x, y, weights[classes])
    for ours, theirs in zip(vars(of_classes).values(), vars(by_hand).values(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10)


def test_a_feature_that_never_varies_gets_no_weight():
    x, y, w = samples()
    (linear,) = sums(np.hstack([x, np.full((len(x), 1), 7.3)]), y, w).solve([1e-6])
    assert not linear.weight[-1].any()
    (without,) = sums(x, y, w).solve([1e-6])
    np.testing.assert_allclose(linear.weight[:-1], without.weight, rtol=1e-6)


def test_every_class_that_occurs_weighs_the_same():
    weights = balanced(np.array([90, 9, 0, 1]))
    np.testing.assert_allclose(weights * [90, 9, 0, 1], [100 / 3, 100 / 3, 0, 100 / 3])
