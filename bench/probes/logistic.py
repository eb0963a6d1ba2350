"""Multinomial logistic regression by L-BFGS: convex, from zero, in double precision; so without a seed."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize
from scipy.special import logsumexp, softmax

from bench.probes.ridge import Array, Linear

STEPS = 1000  # of L-BFGS at most
TOLERANCE = 1e-8  # of the largest component of the gradient


def fitted(features: Array, classes: Array, weights: Array, count: int, strength: float) -> Linear:
    """Return the map to logits that minimises cross entropy with a penalty.

    Features are standardised by their weighted mean and deviation; the bias is not penalised. It minimises
    ``sum w CE / sum w + strength / 2 * |b|^2``.

    Args:
        features: (n, d).
        classes: (n,) integers from 0 on.
        weights: (n,), 0 or more.
        count: classes.
        strength: of the penalty, above 0.
    """
    share = weights / weights.sum()
    mean = share @ features
    deviation = np.sqrt(share @ (features - mean) ** 2)
    scale = np.where(deviation > 1e-12, deviation, np.inf)
    x, truth = (features - mean) / scale, np.eye(count)[classes]

    def loss(flat: Array) -> tuple[float, Array]:
        weight, bias = flat[:-count].reshape(-1, count), flat[-count:]
        logits = x @ weight + bias
        entropy = logsumexp(logits, axis=1) - (logits * truth).sum(1)
        off = (softmax(logits, axis=1) - truth) * share[:, None]
        gradient = np.concatenate([(x.T @ off + strength * weight).ravel(), off.sum(0)])
        return float(share @ entropy + strength / 2 * (weight**2).sum()), gradient

    start = np.zeros((x.shape[1] + 1) * count)
    options = {"maxiter": STEPS, "gtol": TOLERANCE, "ftol": 0.0}
    flat = minimize(loss, start, jac=True, method="L-BFGS-B", options=options).x
    weight = flat[:-count].reshape(-1, count) / scale[:, None]
    return Linear(weight, flat[-count:] - mean @ weight)
