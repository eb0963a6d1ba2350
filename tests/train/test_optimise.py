"""Learning rates by hand; optimisers by name."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.protocol.sections import Optimiser, Schedule
from bench.train.optimise import ParameterGroup, optimiser, rate

ZERO, LINE = {"warmup_from": "zero"}, {"name": "poly", "power": 1.0}


def cosine(steps):
    return [1 + math.cos(math.pi * k / steps) for k in range(steps)]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"name": "constant"}, [2, 2, 2, 2, 2, 2, 2, 2, 2, 2]),
        ({"name": "constant", "warmup": 0.4}, [0.5, 1, 1.5, 2, 2, 2, 2, 2, 2, 2]),
        ({"name": "constant", "warmup": 0.4, **ZERO}, [0, 0.5, 1, 1.5, 2, 2, 2, 2, 2, 2]),
        # MoCo v3's code: lr e / w, then lr (1 + cos(pi (e - w) / (E - w))) / 2
        ({"warmup": 0.2, **ZERO}, [0, 1, *cosine(8)]),
        (LINE, [2, 1.8, 1.6, 1.4, 1.2, 1, 0.8, 0.6, 0.4, 0.2]),
        ({"name": "poly", "power": 0.9}, [2 * (1 - k / 10) ** 0.9 for k in range(10)]),
        ({**LINE, "end": 0.5, "warmup": 0.5}, [0.4, 0.8, 1.2, 1.6, 2, 2, 1.8, 1.6, 1.4, 1.2]),
        ({}, cosine(10)),
        ({"warmup": 0.2, "end": 0.1}, [1, 2, *[2 * (0.1 + 0.45 * r) for r in cosine(8)]]),
    ],
)
def test_rates_by_hand(given, expected):
    assert [rate(k, 10, 2.0, Schedule(**given)) for k in range(10)] == pytest.approx(expected)


@given(
    st.integers(1, 500),
    st.sampled_from(["constant", "cosine", "poly"]),
    st.floats(0, 0.99),
    st.floats(0, 1),
)
def test_rates_rise_to_the_peak_and_never_rise_again(steps, name, warmup, end):
    rates = [rate(k, steps, 1.0, Schedule(name=name, warmup=warmup, end=end)) for k in range(steps)]
    warm = round(warmup * steps)
    assert all(0 < r <= 1 + 1e-12 for r in rates) and max(rates) == pytest.approx(1)
    assert rates[:warm] == sorted(rates[:warm])
    assert all(a >= b - 1e-12 for a, b in zip(rates[warm:], rates[warm + 1 :], strict=False))
    assert min(rates[warm:], default=1) >= end - 1e-12


ADAM = {"betas": (0.8, 0.9), "amsgrad": True, "eps": 1e-3}
SGD = {"momentum": 0.7, "nesterov": True}
SETTINGS = Optimiser(lr=0.1, weight_decay=0.2, trust=0.01, **ADAM, **SGD)


def grouped(*parameters):
    return ParameterGroup(parameters, lambda step: 0.1, SETTINGS.weight_decay)


@pytest.mark.parametrize(
    ("name", "kind", "own"),
    [
        ("adamw", torch.optim.AdamW, ADAM),
        ("adam", torch.optim.Adam, ADAM),
        ("sgd", torch.optim.SGD, SGD),
    ],
)
def test_an_optimiser_takes_its_settings_and_leaves_frozen_weights_out(name, kind, own):
    frozen, free = (torch.nn.Parameter(torch.ones(1), requires_grad=grad) for grad in (False, True))
    own_decay = ParameterGroup((frozen, free), lambda step: 0.1, 0.3)
    made = optimiser([own_decay], replace(SETTINGS, name=name))
    (group,) = made.param_groups
    assert type(made) is kind and group["params"] == [free]
    assert {"lr": 0.1, "weight_decay": 0.3, **own}.items() <= group.items()


def lars(*weights):
    # rate .1, decay .2, momentum .7, trust .01
    return optimiser([grouped(*weights)], replace(SETTINGS, name="lars"))


def test_two_steps_of_lars_by_hand():
    weight = torch.nn.Parameter(torch.tensor([[3.0, 4.0]]))
    made = lars(weight)
    weight.grad = torch.tensor([[2.4, -0.8]])  # + .2 w = (3, 0), of length 3; |w| = 5
    made.step()  # scaled to .01 * 5 = (.05, 0)
    assert weight.tolist()[0] == pytest.approx([3 - 0.1 * 0.05, 4.0])
    weight.data = torch.tensor([[0.0, 2.0]])
    weight.grad = torch.tensor([[0.0, 3.6]])  # + .2 w = (0, 4); scaled to .01 * 2 = (0, .02)
    made.step()  # momentum: .7 (.05, 0) + (0, .02)
    assert weight.tolist()[0] == pytest.approx([-0.1 * 0.035, 2 - 0.1 * 0.02])


def test_lars_leaves_biases_and_norms_to_plain_momentum():
    bias = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    made = lars(bias)
    for _ in range(2):
        bias.grad = torch.tensor([1.0, 3.0])
        made.step()  # neither decay nor scale: 1 then .7 + 1
    assert bias.tolist() == pytest.approx([1 - 0.1 * 2.7, -2 - 0.1 * 3 * 2.7])


@pytest.mark.parametrize("gradient", [[[1.0, 2.0]], [[0.0, 0.0]]])
def test_lars_moves_a_layer_of_zeros_by_its_plain_gradient(gradient):
    weight = torch.nn.Parameter(torch.zeros(1, 2))
    weight.grad = torch.tensor(gradient)
    lars(weight).step()
    assert weight.tolist()[0] == pytest.approx([-0.1 * g for g in gradient[0]])
