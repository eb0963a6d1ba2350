"""What a teacher hands to a student: distributions, their centre, what they tell."""

from itertools import product
from math import log

import pytest
import torch

from bench.pretext import distil


def test_equal_logits_cost_the_entropy_of_a_flat_distribution():
    flat = distil.sharpened(torch.full((2, 3, 512), 7.0), 0.04)
    assert distil.handed_on(flat, torch.full((2, 8, 512), -1.0), 0.1).item() == pytest.approx(
        6.238325, abs=1e-5
    )


def test_one_prototype_for_both_costs_nothing():
    one = torch.nn.functional.one_hot(torch.tensor([[2, 2]]), 5) * 100.0
    assert distil.handed_on(distil.sharpened(one, 1.0), one, 1.0).item() == pytest.approx(
        0, abs=1e-6
    )


def test_the_mean_is_over_all_pairs_of_views():
    g = torch.Generator().manual_seed(0)
    taught, told = torch.randn((2, 2, 6), generator=g), torch.randn((2, 8, 6), generator=g)
    a = distil.sharpened(taught, 0.5)
    pairs = [
        -(a[:, i] * (told[:, j] / 0.1).log_softmax(1)).sum(1)
        for i, j in product(range(2), range(8))
    ]
    assert distil.handed_on(a, told, 0.1).item() == pytest.approx(
        torch.stack(pairs).mean().item(), rel=1e-5
    )


def test_the_teacher_gets_no_gradient():
    taught, told = (torch.randn(2, 2, 4, requires_grad=True) for _ in range(2))
    distil.handed_on(distil.sharpened(taught, 1.0), told, 1.0).backward()
    assert taught.grad is None and told.grad.abs().sum() > 0


def test_the_centre_is_a_running_mean_that_moves_after_the_step_alone():
    centre = distil.Centre(2, 0.9)
    centre.see(torch.tensor([[[1.0, 0.0], [3.0, 0.0]], [[0.0, 4.0], [0.0, 4.0]]]))
    assert centre.mean.tolist() == [0, 0]
    for _ in range(2):  # the second step saw nothing
        centre.move()
    assert centre.mean.tolist() == pytest.approx([0.1, 0.2])
    assert distil.sharpened(torch.tensor([[0.1, 0.2]]), 0.1, centre.mean).tolist()[
        0
    ] == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize(
    ("rows", "tells"),
    [
        ([[1.0, 0, 0, 0]] * 4, 0),  # one prototype for all
        ([[0.25] * 4] * 4, 0),  # no prototype
        (torch.eye(4).tolist(), log(4)),  # one each
        ([[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]], log(2)),
    ],
)
def test_information_is_what_the_distribution_tells_of_the_view(rows, tells):
    assert distil.information(torch.tensor(rows)).item() == pytest.approx(tells, abs=1e-6)
