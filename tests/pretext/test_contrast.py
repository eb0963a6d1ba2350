"""Contrast with a queue and within a batch equals the closed forms, ideal and collapsed."""

import math

import numpy as np
import pytest
import torch

from bench.pretext.contrast import batch_contrast, nce, queue_contrast, typical, won


def test_loss_against_a_queue_is_its_formula_on_random_vectors():
    rng = np.random.default_rng(0)
    q, k, n = (rng.normal(size=(rows, 6)) for rows in (5, 5, 9))
    q, k, n = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (q, k, n))
    own, other = np.exp((q * k).sum(1) / 0.3), np.exp(q @ n.T / 0.3).sum(1)
    found = queue_contrast(*(torch.from_numpy(x) for x in (7 * q, 2 * k, n)), 0.3)
    assert found[0].item() == pytest.approx(-np.log(own / (own + other)).mean(), abs=1e-12)
    assert found[1].item() == ((q * k).sum(1) > (q @ n.T).max(1)).mean()


def test_loss_within_a_batch_is_its_formula_on_random_vectors():
    rng = np.random.default_rng(1)
    q, k = rng.normal(size=(2, 5, 6))
    cos = (q @ k.T) / np.linalg.norm(q, axis=1)[:, None] / np.linalg.norm(k, axis=1)
    e = np.exp(cos / 0.3)
    found = batch_contrast(torch.from_numpy(q), torch.from_numpy(k), 0.3)
    assert found[0].item() == pytest.approx(
        2 * 0.3 * -np.log(np.diag(e) / e.sum(1)).mean(), abs=1e-12
    )
    assert found[1].item() == (cos.argmax(1) == np.arange(5)).mean()


def test_halves_are_widened_before_they_are_compared():
    q, k, n = (
        torch.randn(r, 8, generator=torch.Generator().manual_seed(r)).bfloat16() for r in (3, 4, 9)
    )
    exact = queue_contrast(q.float(), k[:3].float(), n.float(), 0.07)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(queue_contrast(q, k[:3], n, 0.07)[0], exact)
        assert batch_contrast(q, k[:3], 0.07)[0].dtype is torch.float32


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.3])
def test_single_precision_is_double_to_a_millionth_where_the_loss_is_small(noise):
    """Relative, with gradients, at MoCo's temperature: the cross entropy of all scores was .3 % off."""
    g = torch.Generator().manual_seed(0)
    query, other = torch.randn(30, 128, generator=g), torch.randn(3840, 128, generator=g)
    key = query + noise * torch.randn(30, 128, generator=g)
    queue = torch.nn.functional.normalize(other, dim=1)
    for loss in (
        lambda q, k: queue_contrast(q, k, queue, 0.07),
        lambda q, k: batch_contrast(q, k, 0.07),
    ):
        found = []
        for kind in (torch.float32, torch.float64):
            q = query.detach().clone().to(kind).requires_grad_()
            value, _ = loss(q, key.to(kind))
            value.backward()
            found.append((value.item(), q.grad.double()))
        (value, gradient), (exact, expected) = found
        assert value == pytest.approx(exact, rel=1e-6)
        assert (gradient - expected).abs().max() <= 1e-6 * expected.abs().max()


@pytest.mark.parametrize("scale", [1.0, 40.0])
def test_noise_contrast_is_its_formula_by_hand(scale):
    own, other = (
        torch.tensor([0.5, 1.0]).double(),
        torch.tensor([[0.0, 2.0, -1.0], [0.3, 0.1, 0.2]]).double(),
    )
    noise, expected = 3 / 50, 0.0
    for s, rest in zip(own.tolist(), other.tolist(), strict=True):
        p = math.exp(s) / scale
        expected -= math.log(p / (p + noise + 1e-5))
        for r in rest:
            expected -= math.log(noise / (math.exp(r) / scale + noise + 1e-5))
    assert nce(own, other, torch.tensor(scale), 50).item() == pytest.approx(expected / 2, rel=1e-9)


def test_the_typical_score_is_over_all_keys_and_a_tie_is_not_won():
    own, other = torch.tensor([0.0, 1.0]), torch.tensor([[0.0, 0.0], [0.5, -1.0]])
    assert typical(own, other).item() == pytest.approx(
        (4 + math.e - 1 + math.exp(0.5) + math.exp(-1)) / 6
    )
    assert won(own, other).item() == 0.5
