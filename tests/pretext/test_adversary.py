"""Deceiving moves what makes images, judging the adversary, and neither the other."""

import pytest
import torch

from bench.pretext.adversary import Adversary


def test_one_who_knows_nothing_costs_ln_2():
    judge = Adversary(1, [4, 8])
    torch.nn.init.zeros_(judge.judge[-1].weight), torch.nn.init.zeros_(judge.judge[-1].bias)
    deceived, judged = judge(torch.randn(2, 1, 8, 8, 8), torch.randn(2, 1, 8, 8, 8))
    assert deceived.item() == pytest.approx(0.693147, abs=1e-6) == judged.item()


def test_each_term_moves_its_own_side():
    judge, made = Adversary(1, [4, 8]), torch.randn(2, 1, 8, 8, 8, requires_grad=True)
    deceived, judged = judge(made, torch.randn(2, 1, 8, 8, 8))
    deceived.backward(retain_graph=True)
    assert made.grad.abs().sum() > 0 and all(p.grad is None for p in judge.parameters())
    made.grad = None
    judged.backward()
    assert made.grad is None and all(p.grad.abs().sum() > 0 for p in judge.parameters())


def test_it_learns_to_tell_black_from_white():
    torch.manual_seed(0)
    judge, made, real = (
        Adversary(1, [4], dims=2),
        torch.zeros(2, 1, 8, 8, 1),
        torch.ones(2, 1, 8, 8, 1),
    )
    moved = torch.optim.Adam(judge.parameters(), 0.05)
    for _ in range(60):
        moved.zero_grad()
        judge(made, real)[1].backward()
        moved.step()
    deceived, judged = judge(made, real)
    assert judged < 0.1 and deceived > 2
