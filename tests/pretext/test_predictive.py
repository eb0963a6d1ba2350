"""The losses of predictive coding, by hand."""

from math import log, log1p

import pytest
import torch

from bench.pretext.predictive import picked, told_apart

OWN = torch.arange(4).expand(2, 4)
ALL = torch.ones(4, 4, dtype=torch.bool)
HALF = torch.arange(4)[:, None] % 2 == torch.arange(4) % 2


@pytest.mark.parametrize(
    ("scores", "allowed", "cost", "right"),
    [
        (torch.zeros(2, 4, 4), ALL, log(4), 0.25),  # nothing is known
        (torch.zeros(2, 4, 4), HALF, log(2), 0.5),  # two candidates are left
        (3 * torch.eye(4).expand(2, 4, 4), ALL, log1p(3 * 2.718281828**-3), 1.0),
        (3 * torch.eye(4).expand(2, 4, 4), HALF, log1p(2.718281828**-3), 1.0),
        (
            3 * (~HALF).float().expand(2, 4, 4),
            HALF,
            log(2),
            0.5,
        ),  # what does not count misleads nobody
        (-3 * torch.eye(4).expand(2, 4, 4), ALL, log1p(3 * 2.718281828**3), 0.0),
    ],
)
def test_info_nce_of_candidates(scores, allowed, cost, right):
    loss, found = picked(scores, OWN, allowed)
    assert loss.item() == pytest.approx(cost, rel=1e-5) and found == right


@pytest.mark.parametrize("s", [0.0, 0.7, -2.0])
def test_the_binary_loss_of_scores_that_are_right_or_wrong_by_s(s):
    scores = s * (2 * torch.eye(4) - 1).expand(2, 4, 4)
    loss, right = told_apart(scores, OWN, torch.rand(2, 4))
    assert loss.item() == pytest.approx(log1p(2.718281828**-s), rel=1e-5)
    assert right == (0.5 if s == 0 else float(s > 0))


def test_the_other_column_is_any_but_the_own():
    other = torch.tensor([[0.0, 0.0, 0.4, 0.99], [0.34, 0.99, 0.0, 0.0]])
    expected = [[1, 0, 1, 2], [2, 3, 0, 0]]
    for row, column in [(i, j) for i in range(2) for j in range(4)]:
        scores = torch.zeros(2, 4, 4)
        scores[row, column, expected[row][column]] = -100.0
        free, _ = told_apart(scores, OWN, other)
        assert free.item() == pytest.approx(log(2) * 15 / 16, rel=1e-5)
