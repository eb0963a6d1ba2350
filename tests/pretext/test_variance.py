"""Variance, invariance and covariance by hand, matches by construction, and the whole against plain loops."""

import numpy as np
import pytest
import torch

from bench.pretext import variance


@pytest.fixture
def random():
    generator = torch.Generator().manual_seed(0)
    return lambda *shape: torch.randn(shape, generator=generator, dtype=torch.float64)


def grid(*cells):
    """Return the cells' indices, (1, n, 3)."""
    axes = torch.meshgrid(*(torch.arange(float(n)) for n in cells), indexing="ij")
    return torch.stack(axes, dim=-1).flatten(0, -2)[None]


def whitened(n, c):
    """Return n samples of c uncorrelated channels of mean 0 and unbiased variance 1."""
    hadamard = torch.tensor([[1.0]], dtype=torch.float64)
    while len(hadamard) < n:
        hadamard = torch.cat([torch.cat([hadamard, hadamard], 1), torch.cat([hadamard, -hadamard], 1)])
    return hadamard[:, 1 : c + 1] * ((n - 1) / n) ** 0.5


def test_embeddings_that_are_all_alike_cost_their_variance_alone():
    found = variance.criterion(torch.ones(6, 4), torch.ones(6, 4))
    assert found.invariance == 0 and found.covariance == 0
    assert found.variance.item() == pytest.approx(0.99, abs=1e-6)
    assert found.total((25.0, 25.0, 1.0)).item() == pytest.approx(24.75, abs=1e-4)


def test_whitened_embeddings_of_equal_views_cost_nothing():
    z = whitened(8, 5)
    found = variance.criterion(z, z)
    assert [t.item() for t in found] == pytest.approx([0, 0, 0], abs=1e-12)


def test_a_shift_costs_its_square(random):
    z = random(5, 7)
    found = variance.criterion(z, z + 3)
    assert found.invariance.item() == pytest.approx(9)
    assert found.variance.item() == pytest.approx(variance.variance(z).item())


def test_two_fully_correlated_channels_of_unit_variance_cost_one():
    z = whitened(4, 1).expand(-1, 2)
    assert variance.covariance(z).item() == pytest.approx(1)
    assert variance.covariance(whitened(2, 1).expand(-1, 3)).item() == pytest.approx(
        2
    )  # fewer samples: 6 / 3


@pytest.mark.parametrize("shape", [(9, 5), (4, 12), (9, 3, 5), (4, 3, 12)])
def test_covariance_is_that_of_the_matrix(random, shape):
    z = random(*shape)
    places = z.numpy().reshape(shape[0], -1, shape[-1])
    off = []
    for k in range(places.shape[1]):
        matrix = np.cov(places[:, k], rowvar=False)
        off.append((matrix**2).sum() - (np.diag(matrix) ** 2).sum())
    assert variance.covariance(z).item() == pytest.approx(np.mean(off) / shape[-1], rel=1e-12)


def test_statistics_of_every_place_are_apart(random):
    z, offset = random(6, 4, 3), 100 * random(1, 4, 3)
    assert variance.variance(z).item() == pytest.approx(variance.variance(z + offset).item())
    assert variance.covariance(z).item() == pytest.approx(variance.covariance(z + offset).item())


def test_equal_grids_match_cell_by_cell_and_a_shift_moves_the_match():
    here = grid(3, 3, 3)
    source, candidate = variance.nearest(here, here)
    assert torch.equal(source, torch.arange(27)[None]) and torch.equal(candidate, source)
    _, candidate = variance.nearest(here, here - torch.tensor([0.0, 0.0, 1.0]))
    by_place = candidate.view(3, 3, 3)
    assert torch.equal(by_place[..., 0], torch.arange(27).view(3, 3, 3)[..., 1])
    assert torch.equal(by_place[..., 1], by_place[..., 2])  # the last cell has none of its own: it shares


def test_the_closest_pairs_are_kept_in_the_maps_order():
    source = torch.tensor([[[0.0], [10.0], [20.0], [30.0]]])
    candidates = torch.tensor([[[5.0], [10.5], [21.0], [30.0]]])
    i, j = variance.nearest(source, candidates, 3)  # distances 5, .5, 1, 0
    assert i.tolist() == [[1, 2, 3]] and j.tolist() == [[1, 2, 3]]
    i, j = variance.nearest(source, candidates, 2)
    assert i.tolist() == [[1, 3]] and j.tolist() == [[1, 3]]
    assert variance.nearest(source, candidates, 9)[0].shape == (1, 4)


def test_equal_distances_go_to_the_lower_index():
    i, j = variance.nearest(torch.zeros(1, 3, 1), torch.tensor([[[1.0], [-1.0]]]), 2)
    assert i.tolist() == [[0, 1]] and j.tolist() == [[0, 0]]


def slowly(one, two, at, keep, all_features, weights):
    """Do the same sample by sample and cell by cell in NumPy."""

    def pairs(source, candidates, count):
        found = []
        for s, c in zip(source, candidates, strict=True):
            distance = np.linalg.norm(s[:, None] - c, axis=-1)
            kept = sorted(sorted(range(len(s)), key=lambda i: distance[i].min())[:count])
            found.append([(i, int(distance[i].argmin())) for i in kept])
        return found

    def cost(a, b):
        total = weights[0] * ((a - b) ** 2).mean()
        for z in (a, b):
            for k in range(z.shape[1]):
                matrix = np.cov(z[:, k], rowvar=False)
                short = np.maximum(0, 1 - np.sqrt(np.diag(matrix) + 1e-4)).mean()
                off = ((matrix**2).sum() - (np.diag(matrix) ** 2).sum()) / len(matrix)
                total += (weights[1] * short + weights[2] * off) / 2 / z.shape[1]
        return total

    def one_way(a, b, source, candidates, count):
        chosen = pairs(source, candidates, count)
        rows = [(np.array([a[n][i] for i, _ in p]), np.array([b[n][j] for _, j in p]))
                for n, p in enumerate(chosen)]  # fmt: skip
        return cost(np.stack([r[0] for r in rows]), np.stack([r[1] for r in rows]))

    total = 0.0
    for a, b, x, y in ((one, two, *at), (two, one, *at[::-1])):  # ordered pairs of views
        there, back = (len(a[0]), len(b[0])) if all_features else keep
        total += (one_way(a, b, a, b, there) + one_way(b, a, b, a, back)) / 2
        total += (one_way(a, b, x, y, keep[0]) + one_way(b, a, y, x, keep[1])) / 2
    return total / 2


@pytest.mark.parametrize("all_features", [False, True])
def test_local_criterion_is_what_plain_loops_give(random, all_features):
    one, two = random(5, 12, 4), random(5, 12, 4)
    at = (10 * random(5, 12, 3), 10 * random(5, 12, 3))
    weights = (25.0, 25.0, 1.0)
    found = variance.local(one, two, at, (7, 3), all_features).total(weights).item()
    plain = slowly(*(t.numpy() for t in (one, two)), [t.numpy() for t in at], (7, 3), all_features, weights)
    assert found == pytest.approx(plain, rel=1e-10)


def test_pooled_statistics_are_over_pairs_and_samples(random):
    one, two, at = random(4, 6, 3), random(4, 6, 3), grid(6, 1, 1).double().expand(4, -1, -1)
    found = variance.matched(one, two, (at, at), pool=True)
    whole = variance.criterion(one.flatten(0, 1), two.flatten(0, 1))
    assert [t.item() for t in found] == pytest.approx([t.item() for t in whole])


def test_gradient_flows_to_both_sides_and_not_to_the_places(random):
    one, two = random(4, 6, 3).requires_grad_(), random(4, 6, 3).requires_grad_()
    at = random(4, 6, 3).requires_grad_()
    variance.local(one, two, (at, at), (5, 2)).total((1.0, 1.0, 1.0)).backward()
    assert one.grad.abs().sum() > 0 and two.grad.abs().sum() > 0 and at.grad is None


def test_half_precision_is_widened(random):
    z = (100 * random(8, 64)).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = variance.criterion(z, z)
    exact = variance.criterion(z.double(), z.double())
    assert found.covariance.dtype == torch.float32
    assert found.covariance.item() == pytest.approx(exact.covariance.item(), rel=1e-5)
