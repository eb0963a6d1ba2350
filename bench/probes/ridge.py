"""Ridge regression by normal equations: sums over samples, so memory does not grow with their number.

Samples come in groups (patients). Every sum is kept per group, in double precision, so that the strength of
the penalty is chosen by leaving out one group at a time without a second look at the samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt

import numpy as np
import torch
from torch import Tensor

Array = np.ndarray
# Penalties per unit of sample weight, of standardised features: from hardly any to nearly all.
STRENGTHS = tuple(10.0**n for n in range(-6, 3))
CHUNK = 1 << 12  # samples whose products are summed at once: they fit a processor's cache
ROWS = 64  # of a block of the triangle


@dataclass(frozen=True)
class Linear:
    """A linear map from features to targets: ``features @ weight + bias``."""

    weight: Array  # (d, K) float64
    bias: Array  # (K,)

    def __call__(self, features: Array) -> Array:
        """Return the predictions (n, K) of features (n, d)."""
        return features @ self.weight + self.bias


@dataclass(frozen=True)
class Sums:
    """Weighted sums over samples of one group: all that ridge regression needs of them."""

    products: Array  # (d + 1, d + 1): of features with features, the last feature is 1
    targets: Array  # (d + 1, K): of features with targets
    squares: Array  # (K,): of targets with themselves

    @classmethod
    def of(cls, features: Array, targets: Array, weights: Array) -> Sums:
        """Sum over samples that lie in memory.

        Args:
            features: (n, d).
            targets: (n, K).
            weights: (n,), 0 or more; a sample of weight 0 counts for nothing.
        """
        x, y = np.column_stack([features, np.ones(len(features))]), np.asarray(targets, float)
        weighted = x * np.asarray(weights)[:, None]
        return cls(weighted.T @ x, weighted.T @ y, weights @ y**2)

    @classmethod
    def of_classes(cls, products: Array, weights: Array) -> Sums:
        """Return the sums where a target tells of each class whether a sample is of it, 1 or 0.

        Args:
            products: what ``products`` returns, (K, (d + 1)(d + 2) / 2).
            weights: of a sample of each class, (K,).
        """
        size = (isqrt(8 * products.shape[1] + 1) - 1) // 2
        rows, columns = np.triu_indices(size)
        square = np.empty((size, size))
        square[rows, columns] = square[columns, rows] = weights @ products
        targets = products[:, columns == size - 1].T * weights
        return cls(square, targets, targets[-1].copy())

    def __add__(self, other: Sums) -> Sums:
        """Return the sums over the samples of both."""
        return Sums(
            self.products + other.products,
            self.targets + other.targets,
            self.squares + other.squares,
        )

    def __sub__(self, other: Sums) -> Sums:
        """Return the sums without the samples of the other."""
        return Sums(
            self.products - other.products,
            self.targets - other.targets,
            self.squares - other.squares,
        )

    def solve(self, strengths: Sequence[float]) -> list[Linear]:
        """Return the ridge regression for each strength.

        Features are standardised by their weighted mean and deviation, targets are centred; the bias is not
        penalised. With weights ``w`` and standardised ``x`` it minimises
        ``sum w (y - x b)^2 + strength * sum(w) * b^2``.

        Args:
            strengths: penalties, above 0.
        """
        total = self.products[-1, -1]
        mean = self.products[-1, :-1] / total
        target_mean = self.targets[-1] / total
        covariance = self.products[:-1, :-1] / total - np.outer(mean, mean)
        variance = np.clip(np.diag(covariance), 0, None)
        # a feature that never varies gets no weight; rounding may leave it a variance just above 0
        varies = variance > 1e-12 * np.maximum(mean**2, np.finfo(float).tiny)
        scale = np.where(varies, np.sqrt(np.where(varies, variance, 1)), np.inf)
        covariance = covariance / np.outer(scale, scale)
        together = (self.targets[:-1] / total - np.outer(mean, target_mean)) / scale[:, None]
        # by torch, whose threads are those of the job: BLAS of NumPy starts as many as there are cores
        penalties = torch.tensor(strengths, dtype=torch.float64)[:, None, None]
        penalised = torch.from_numpy(covariance) + penalties * torch.eye(len(covariance))
        roots = torch.linalg.cholesky(penalised)
        weights = torch.cholesky_solve(torch.from_numpy(together), roots).numpy()
        weights = weights / scale[:, None]
        return [Linear(weight, target_mean - mean @ weight) for weight in weights]

    def error(self, linear: Linear) -> float:
        """Return the weighted sum of squared errors of a linear map on these samples."""
        both = np.vstack([linear.weight, linear.bias])  # (d + 1, K)
        fitted = np.einsum("dk,de,ek->", both, self.products, both, optimize=True)
        return float(self.squares.sum() - 2 * (both * self.targets).sum() + fitted)


def products(features: Tensor, classes: Tensor, number: int) -> Array:
    """Return the sums over the samples of each class of features with features, (K, (d + 1)(d + 2) / 2).

    The last feature is 1. Of each symmetric matrix the upper triangle is returned, row by row. Summed in
    double precision, on the device where the samples lie.

    Args:
        features: (d, n).
        classes: (n,), below ``number``.
        number: of classes, K.
    """
    size = len(features) + 1
    total = features.new_zeros((number, size, size), dtype=torch.float64)
    for first in range(0, features.shape[1], CHUNK):
        labels = classes[first : first + CHUNK]
        x = torch.ones((size, len(labels)), dtype=torch.float64, device=features.device)
        x[:-1] = features[:, first : first + CHUNK]
        counts = torch.bincount(labels, minlength=number).tolist()
        most = counts.index(max(counts))
        # of all classes, and at last of the one with the most samples, which is never copied
        rest = _squared(x)
        for c in range(number):
            if counts[c] and c != most:
                squared = _squared(x[:, labels == c])
                total[c] += squared
                rest -= squared
        total[most] += rest
    rows, columns = torch.triu_indices(size, size, device=total.device)
    return total[:, rows, columns].cpu().numpy()


def _squared(x: Tensor) -> Tensor:
    """Return the upper triangle of ``x @ x.T``, row block by row block: two thirds of its cost."""
    product = x.new_zeros((len(x), len(x)))
    for first in range(0, len(x), ROWS):
        product[first : first + ROWS, first:] = x[first : first + ROWS] @ x[first:].T
    return product.triu()


@dataclass(frozen=True)
class Choice:
    """A ridge regression and how its strength was chosen."""

    linear: Linear
    strength: float
    errors: tuple[
        float, ...
    ]  # mean squared error per unit of weight for each strength, on held-out groups


def fitted(
    groups: Sequence[Sums], strengths: Sequence[float] = STRENGTHS, validation: Sums | None = None
) -> Choice:
    """Return the ridge regression on all groups with the strength of the least error on held-out samples.

    Args:
        groups: one of each patient.
        strengths: candidates; of equal errors the largest strength is taken.
        validation: of patients that validate; without them each group is left out once. Of one group alone
            nothing can be left out, and the middle strength is taken.
    """
    total = groups[0]
    for group in groups[1:]:
        total = total + group
    if validation is not None:
        held_out = [(total, validation)]
    else:
        held_out = [(total - group, group) for group in groups] if len(groups) > 1 else []
    if not held_out:
        middle = len(strengths) // 2
        return Choice(total.solve([strengths[middle]])[0], strengths[middle], ())
    errors = np.zeros(len(strengths))
    for rest, out in held_out:
        errors += [out.error(linear) for linear in rest.solve(strengths)]
    errors /= sum(out.products[-1, -1] for _, out in held_out)
    best = max(range(len(strengths)), key=lambda n: (-errors[n], strengths[n]))
    return Choice(total.solve([strengths[best]])[0], strengths[best], tuple(map(float, errors)))


def balanced(counts: Array) -> Array:
    """Return the weight of a sample of each class, (K,), with which all classes that occur weigh the same.

    The weights of all samples add up to their number.

    Args:
        counts: samples of each class, (K,).
    """
    occurring = np.count_nonzero(counts)
    return np.where(counts > 0, counts.sum() / np.maximum(counts, 1) / max(occurring, 1), 0.0)
