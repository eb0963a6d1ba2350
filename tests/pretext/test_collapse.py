"""Spread and effective rank of embeddings, by hand."""

import math

import pytest
import torch

from bench.pretext.collapse import FALLEN, collapsed, directions, effective_rank, leading, most


def corners(c):
    return torch.cat([torch.eye(c), -torch.eye(c)])


def test_rank_is_the_exponential_of_the_entropy():
    z = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.6, 0.8], [0.6, -0.8], [-0.6, 0.8], [-0.6, -0.8]])
    # columns are orthogonal: these are the singular values
    wide, thin = (2 + 4 * 0.36) ** 0.5, (4 * 0.64) ** 0.5
    p = torch.tensor([wide, thin]) / (wide + thin)
    assert effective_rank(z).item() == pytest.approx(math.exp(-(p * p.log()).sum()))


def test_neither_scale_nor_order_nor_a_common_mean_counts():
    z = torch.randn(20, 6, generator=torch.Generator().manual_seed(0))
    lengths = torch.rand(20, 1, generator=torch.Generator().manual_seed(1)) + 0.1
    assert effective_rank(z * lengths).item() == pytest.approx(effective_rank(z).item(), rel=1e-4)
    assert effective_rank(z.flip(0)).item() == pytest.approx(effective_rank(z).item(), rel=1e-4)
    shifted = torch.nn.functional.normalize(z, dim=1) * 1e-3 + torch.tensor([1.0, 0, 0, 0, 0, 0])
    assert effective_rank(shifted).item() > 3  # with the mean left in it would be about 1


@pytest.mark.parametrize(
    ("z", "rank", "spread"),
    [
        (torch.ones(8, 4), 1, 0),
        (torch.tensor([[1.0, 0, 0], [-1.0, 0, 0]]), 1, None),
        (corners(5), 5, None),  # five directions, used alike
        (
            torch.randn(4000, 16, generator=torch.Generator().manual_seed(0)),
            None,
            1,
        ),  # the whole sphere
        (torch.tensor([[1.0, float("nan")], [0.0, 1.0]]), float("nan"), None),
    ],
)
def test_rank_and_spread_by_hand(z, rank, spread):
    assert rank is None or effective_rank(z).item() == pytest.approx(rank, nan_ok=True)
    assert spread is None or directions(z).item() == pytest.approx(spread, abs=0.02)


def test_the_leading_share_is_of_variances_by_hand():
    z = torch.tensor([[3.0, 0.0], [-3.0, 0.0], [0.6, 0.8], [0.6, -0.8], [-0.6, 0.8], [-0.6, -0.8]])
    assert leading(z).item() == pytest.approx((2 + 4 * 0.36) / 6)  # of unit vectors
    assert leading(corners(5)).item() == pytest.approx(1 / 5)
    assert leading(torch.ones(8, 4)).item() == 1
    assert math.isnan(leading(torch.tensor([[1.0, float("nan")], [0.0, 1.0]])))


def made(kind, n=32, c=32, seed=0):
    """Return embeddings of a kind: what separates the samples, a mean that all share, a little noise."""
    g = torch.Generator().manual_seed(seed)
    noise = torch.randn(n, c, generator=g)
    classes = torch.eye(c)[torch.arange(n) % 4]
    mean = 6 * torch.nn.functional.normalize(torch.ones(c), dim=0)
    return {
        "fresh": mean + 0.8 * noise / c**0.5,
        "healthy": noise,
        "point": mean + 1e-5 * noise,
        "noisy point": mean + 0.01 * noise / c**0.5 * 6,
        "two data sets": mean + torch.eye(c)[torch.arange(n) % 2] * 2 + 0.04 * noise,
        "one number": mean + torch.linspace(-1, 1, n)[:, None] * torch.eye(c)[0] + 0.01 * noise,
        "four classes": mean + classes + 0.02 * noise,
        "classes under a mean": 40 * mean + classes + 0.02 * noise,
    }[kind]


@pytest.mark.parametrize(
    ("kind", "fell"),
    [
        ("fresh", ""),
        ("healthy", ""),
        ("point", "point"),
        ("noisy point", "point"),
        ("two data sets", "line"),
        ("one number", "line"),
        ("four classes", ""),
        ("classes under a mean", ""),  # its spread fell as a point's does
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_made_embeddings_of_each_kind(kind, fell, seed):
    first = directions(made("fresh")).item()
    z = made(kind, seed=seed)
    std, rank = directions(z).item(), effective_rank(z).item()
    assert collapsed((first, std), rank, most(z), leading(z).item()) == fell
    if kind == "classes under a mean":
        assert std < FALLEN * first
    if kind == "two data sets":
        assert rank > 1.5 and std > 0.5 * first  # what used to be asked


@pytest.mark.parametrize(
    ("std", "rank", "of", "share", "fell"),
    [
        ((0.137, 0.00491), 9.09, 31, 0.75, ""),  # supervised, Dice .83
        ((0.137, 0.00491), 20, 31, 0.3, "point"),
        ((1.0, 0.05), 20, 31, 0.2, "point"),
        ((1.0, 0.05), 10, 31, 0.2, ""),
        ((0.1, 0.019), 20, 31, 0.2, "point"),
        ((0.03, 0.019), 20, 31, 0.2, ""),
        ((1.0, 0.0009), 5, 31, 0.5, "point"),
        ((1.0, 1.0), 3.3, 31, 0.95, "line"),
        ((1.0, 1.0), 3.3, 31, 0.85, ""),
        ((1.0, float("nan")), float("nan"), 31, float("nan"), ""),  # diverged: its loss says so
    ],
)
def test_collapse_is_a_point_or_a_line(std, rank, of, share, fell):
    assert collapsed(std, rank, of, share) == fell
