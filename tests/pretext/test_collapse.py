"""Spread and effective rank of embeddings, by hand."""

import math

import pytest
import torch

from bench.pretext.collapse import collapsed, directions, effective_rank


def corners(c):
    return torch.cat([torch.eye(c), -torch.eye(c)])


def test_rank_counts_directions_that_are_used_alike():
    assert effective_rank(corners(5)).item() == pytest.approx(5)
    assert effective_rank(torch.tensor([[1.0, 0, 0], [-1.0, 0, 0]])).item() == pytest.approx(1)


def test_rank_is_the_exponential_of_the_entropy():
    z = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.6, 0.8], [0.6, -0.8], [-0.6, 0.8], [-0.6, -0.8]])
    wide, thin = (
        (2 + 4 * 0.36) ** 0.5,
        (4 * 0.64) ** 0.5,
    )  # columns are orthogonal: these are the singular values
    p = torch.tensor([wide, thin]) / (wide + thin)
    assert effective_rank(z).item() == pytest.approx(math.exp(-(p * p.log()).sum()))


def test_neither_scale_nor_order_nor_a_common_mean_counts():
    z = torch.randn(20, 6, generator=torch.Generator().manual_seed(0))
    lengths = torch.rand(20, 1, generator=torch.Generator().manual_seed(1)) + 0.1
    assert effective_rank(z * lengths).item() == pytest.approx(effective_rank(z).item(), rel=1e-4)
    assert effective_rank(z.flip(0)).item() == pytest.approx(effective_rank(z).item(), rel=1e-4)
    shifted = torch.nn.functional.normalize(z, dim=1) * 1e-3 + torch.tensor([1.0, 0, 0, 0, 0, 0])
    assert effective_rank(shifted).item() > 3  # with the mean left in it would be about 1


def test_what_is_not_finite_has_no_rank():
    assert math.isnan(effective_rank(torch.tensor([[1.0, float("nan")], [0.0, 1.0]])))


def test_equal_embeddings_have_rank_one_and_no_spread():
    z = torch.ones(8, 4)
    assert effective_rank(z).item() == pytest.approx(1)
    assert directions(z).item() == pytest.approx(0, abs=1e-6)


def test_spread_is_one_over_the_whole_sphere():
    z = torch.randn(4000, 16, generator=torch.Generator().manual_seed(0))
    assert directions(z).item() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(
    ("std", "rank", "fell"),
    [
        ((1.0, 0.5), 10, False),
        ((1.0, 0.05), 10, True),
        ((0.1, 0.019), 10, True),
        ((0.03, 0.019), 10, False),
        ((0.01, 0.009), 10, False),
        ((1.0, 1.0), 1.2, True),
    ],
)
def test_collapse_is_a_fallen_spread_or_a_single_direction(std, rank, fell):
    assert collapsed(std, rank) is fell
