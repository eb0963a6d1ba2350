"""Which weights are kept as the best, and the losses of the two tasks."""

import math

import pytest
import torch
from torch import nn

from bench.jobs.finetune.supervised import Judge
from bench.protocol.sections import Tuning
from bench.train.label_losses import cross_entropy


def judged(scores, steps=8, every=0.25):
    """Let a judge see as many steps, the network's weight being the step; return judge and what it told."""
    network, told, given = nn.Linear(1, 1, bias=False), [], iter(scores)
    tuning = Tuning(val_every=every, steps=steps)
    judge = Judge(tuning, lambda *_: next(given), lambda *said: told.append(said))
    for step in range(1, steps + 1):
        network.weight.data.fill_(step)
        judge.at(step, network)
    return judge, told


def test_the_last_step_is_looked_at_too_the_best_weights_are_kept_and_ties_keep_the_earlier():
    judge, told = judged([0.2, 0.8, 0.8, 0.5])
    assert told == [(2, 0.2), (4, 0.8), (6, 0.8), (8, 0.5)]
    assert judge.best == 0.8 and judge.weights["weight"].item() == 4
    assert [step for step, _ in judged([0.0, 0.0, 0.0], steps=7, every=0.4)[1]] == [3, 6, 7]


def test_cross_entropy_by_hand():
    logits = torch.tensor([[0.0, 0.0, math.log(2)], [math.log(3), 0.0, 0.0]])
    expected = (math.log(2) + math.log(5)) / 2
    assert cross_entropy(logits, torch.tensor([2, 1])).item() == pytest.approx(expected)
