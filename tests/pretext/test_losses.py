"""Pretext losses equal hand-computed values, at the ideal, at collapse and at the plateau."""

import math

import numpy as np
import pytest
import torch

from bench.pretext import grid, losses

EPS = 1e-6


def target(centre):
    """Overlaps of a 96^3 crop at an in-plane centre of a 4 x 4 x 1 grid, (1, 1, 16)."""
    start = (centre[0] - 48, centre[1] - 48, 0)
    return torch.from_numpy(grid.overlaps(start, (96, 96, 96), (4, 4, 1)))[None, None].double()


MIDDLE = target((192, 192))  # a quarter of bases 5, 6, 9 and 10
DEAD, COLLAPSED = torch.zeros_like(MIDDLE), torch.ones_like(MIDDLE)


def random_targets():
    starts = np.stack(np.meshgrid(np.arange(288), np.arange(288)), -1).reshape(-1, 2)[::7]
    rows = [grid.overlaps((a, b, 0), (96, 96, 96), (4, 4, 1)) for a, b in starts.tolist()]
    return torch.from_numpy(np.stack(rows))[:, None].double()  # one crop per volume


@pytest.mark.parametrize(
    ("logits", "value", "within"),
    [
        (MIDDLE, 0, 1e-5),  # the label itself
        (DEAD, 0.0719194, 1e-7),
        (COLLAPSED, (12 * -math.log(EPS) + 4 * math.log(4)) / 16, 1e-5),
        (
            -COLLAPSED,
            (12 * -math.log(EPS) + 4 * -math.log(EPS)) / 16,
            1e-2,
        ),  # finite without ReLU, too
    ],
)
def test_printed_overlap_loss_by_hand(logits, value, within):
    assert losses.overlap_entropy(logits, MIDDLE, EPS).item() == pytest.approx(value, abs=within)


@pytest.mark.parametrize("weighted", [True, False])
def test_released_overlap_loss_of_the_dead_state(weighted):
    pos, neg = losses.overlap_split(DEAD, MIDDLE, EPS, weighted)
    assert (pos.item(), neg.item()) == pytest.approx((0.287680, 0.0), abs=1e-6)


def test_released_overlap_loss_averages_volumes_not_pairs():
    y = torch.tensor([[[1.0, 0.0, 0.0]], [[0.5, 0.5, 0.0]]])
    given = torch.tensor([[[1.0, 0.5, 0.5]], [[0.5, 0.5, 1.0]]])
    _, neg = losses.overlap_split(given, y, EPS, weighted=True)
    assert neg.item() == pytest.approx((0.25 + 1.0) / 2, abs=1e-5)  # over pairs: 0.5


def test_overlap_loss_pooled_over_the_batch_averages_pairs_not_volumes():
    y = torch.tensor([[[1.0, 0.0, 0.0]], [[0.5, 0.5, 0.0]]])
    given = torch.tensor([[[0.5, 0.5, 0.5]], [[0.5, 0.5, 1.0]]])
    pos, neg = losses.overlap_pooled(given, y, EPS)
    assert pos.item() == pytest.approx(math.log(2) / 2, abs=1e-5)
    assert neg.item() == pytest.approx(0.5, abs=1e-5)  # over volumes: .625


def test_pairs_apart_can_cost_a_logarithm():
    y, given = torch.tensor([[[1.0, 0.0, 0.0]]]), torch.tensor([[[1.0, 0.5, 0.75]]])
    _, neg = losses.overlap_split(given, y, EPS, True, "log")
    assert neg.item() == pytest.approx((math.log(2) + math.log(4)) / 2, abs=1e-5)


def test_plateau_values_over_random_crops():
    y = random_targets()
    dead = torch.zeros_like(y)
    printed = [
        losses.overlap_entropy(torch.full_like(y, c), y, EPS).item() for c in (0.0, 0.05, 0.2)
    ]
    assert printed[0] == pytest.approx(0.088838, abs=3e-4)
    assert printed[0] < printed[1] < printed[2]  # the dead state is the best constant
    v1, _ = losses.overlap_split(dead, y, EPS, weighted=False)
    ema, _ = losses.overlap_split(dead, y, EPS, weighted=True)
    assert v1.item() == pytest.approx(0.366546, abs=2e-3)
    assert ema.item() == pytest.approx(0.711338, abs=2e-3)


EQUAL, AGAINST, THREE = torch.ones(16, 32), [[1, 0], [-1, 0]], [[1, 0], [1, 0], [0, 1]]


@pytest.mark.parametrize(
    ("bases", "power", "rectify", "value"),
    [
        *((torch.eye(16), power, rectify, 0) for power in (1, 2) for rectify in ("abs", "relu")),
        *((EQUAL, power, rectify, 1) for power in (1, 2) for rectify in ("abs", "relu")),
        (AGAINST, 1, "abs", 1),
        (AGAINST, 1, "relu", 0),
        (THREE, 1, "abs", 1 / 3),  # of unordered pairs
    ],
)
def test_redundancy_by_hand(bases, power, rectify, value):
    found = losses.redundancy(torch.as_tensor(bases)[None].float(), power, rectify)
    assert found.item() == pytest.approx(value, abs=1e-6)


def test_detached_redundancy_spares_the_last_base_alone():
    torch.manual_seed(0)
    bases = torch.rand(1, 16, 8, requires_grad=True)
    losses.redundancy(bases, 2, "relu", detach=True).backward()
    moved = bases.grad[0].abs().sum(dim=1)
    assert moved[15] == 0 and (moved[:15] > 0).all()
    bases.grad = None
    losses.redundancy(bases, 2, "relu", detach=False).backward()
    assert (bases.grad[0].abs().sum(dim=1) > 0).all()


@pytest.mark.parametrize("group", [None, [0, 1, 0, 2, 1]])
def test_nt_xent_equals_its_sums_written_out(group):
    torch.manual_seed(0)
    a, b = torch.randn(5, 7), torch.randn(5, 7)
    z = [v / v.norm() for v in torch.cat([a, b])]
    total, kind = 0.0, group or range(5)
    for i in range(10):
        counts = [j for j in range(10) if kind[j % 5] != kind[i % 5] or j == (i + 5) % 10]
        others = sum(math.exp(float(z[i] @ z[j]) / 0.3) for j in counts)
        total -= math.log(math.exp(float(z[i] @ z[(i + 5) % 10]) / 0.3) / others)
    said = losses.nt_xent(a, b, 0.3, None if group is None else torch.tensor(group))
    assert said[0].item() == pytest.approx(total / 10, abs=1e-5)


def test_standardised_patches_have_unit_unbiased_variance_and_survive_constants():
    torch.manual_seed(0)
    patches = torch.rand(1, 3, 4096)
    done = losses.standardise(patches)
    assert torch.allclose(done.mean(-1), torch.zeros(1, 3), atol=1e-5)
    flat = losses.reconstruction(torch.zeros_like(done), done, "mse")
    assert flat.item() == pytest.approx(0.999744, abs=2e-5)  # (n - 1) / n, and eps
    assert losses.standardise(torch.full((1, 1, 4096), 0.3)).abs().max() < 1e-3


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_losses_are_exact_under_autocast_and_from_half_precision(dtype):
    torch.manual_seed(0)
    a, b = torch.randn(8, 64).to(dtype), torch.randn(8, 64).to(dtype)
    expected = losses.nt_xent(a.float(), b.float(), 0.1)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = losses.nt_xent(a, b, 0.1)[0]
    assert value.dtype == torch.float32 and torch.equal(value, expected)
