"""Which weights are kept as the best, and the losses of the two tasks."""

import math

import pytest
import torch
from torch import nn

from bench.jobs.finetune.supervised import Judge, Supervised
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


@pytest.mark.parametrize(
    ("momentum", "expected"),
    [
        # the first weights, then momenta of at most 2/11, 3/12, 4/13
        (0.999, 3 * 2 / 11 + 5 * 9 / 11),
        (0.1, 3 * 0.1 + 5 * 0.9),
    ],
)
def test_the_mean_of_the_weights_is_what_is_scored_and_survives_a_checkpoint(momentum, expected):
    network = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1))
    objective = Supervised(network, None, None, ema=momentum)
    for step, value in enumerate((3.0, 5.0)):
        network[0].weight.data.fill_(value)
        network[1].running_mean.fill_(value)
        objective.after_step(step / 4)
    assert objective.scored[0].weight.item() == pytest.approx(expected)
    assert objective.scored[1].running_mean.item() == 5 and objective.scored is not network
    assert network[0].weight.item() == 5 and network[0].weight.requires_grad
    other = Supervised(
        nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1)), None, None, ema=momentum
    )
    other.load_state_dict(objective.state_dict())
    for each in (objective, other):
        each.network[0].weight.data.fill_(-2.0)
        each.after_step(0.5)
    last = min(momentum, 3 / 12)
    assert other.scored[0].weight.item() == pytest.approx(expected * last - 2 * (1 - last))
    assert torch.equal(other.scored[0].weight, objective.scored[0].weight)
    assert Supervised(network, None, None).scored is network
