"""A frozen encoder: it stands still, dropout stays on, then it trains with an optimiser that starts anew."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from bench.errors import Stopped
from bench.jobs.supervised import Supervised, Task
from bench.nets.base import Decoder, Encoder, Network
from bench.protocol.sections import Augment, Optimiser, Schedule, Training
from bench.random import torch_seed
from bench.train.frozen import Frozen
from bench.train.label_losses import of_maps
from bench.train.loop import Run, channels_last, fit
from bench.train.optimise import optimiser
from bench.train.samples import Samples, batches

STEPS, BOUNDARY, BATCH, SIZE = 7, 3, 2, (4, 4, 2)
OPTIMISERS = {
    "sgd": Optimiser(name="sgd", lr=0.1, nesterov=True, weight_decay=0.1),
    "adam": Optimiser(name="adam", lr=0.02, weight_decay=0.1, amsgrad=True),
    "adamw": Optimiser(lr=0.02, weight_decay=0.1),
    "lars": Optimiser(name="lars", lr=0.1, trust=0.1, weight_decay=0.1),
}


class Reads(Encoder):
    """A convolution, batch norm and dropout, which notes how much it left out."""

    widths = (4,)

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv3d(1, 4, 3, padding=1, bias=False), nn.BatchNorm3d(4), nn.Dropout(0.5)
        )
        self.gone = []

    def forward(self, x):
        found = self.body(x)
        self.gone.append(float((found == 0).float().mean()))
        return [found]


class Writes(Decoder):
    """Two convolutions with a norm of its own."""

    def __init__(self):
        super().__init__()
        mixed = nn.Conv3d(4, 4, 1, bias=False)
        self.body = nn.Sequential(mixed, nn.BatchNorm3d(4), nn.ReLU(), nn.Conv3d(4, 2, 1))

    def forward(self, x, features):
        return self.body(features[-1])


def made(steps):
    """Return the objective, from the same weights each time; ``steps`` as ``Frozen`` takes them."""
    torch.manual_seed(0)
    net = Network("toy", "tiny", SIZE, (1, 2), Reads(), Writes())
    net.encoder.body[1].running_mean.fill_(0.3)  # what pretraining left there
    task = Task(of_maps("dice_ce"), Augment(), SIZE)
    return Supervised(channels_last(net), task, None, Frozen(net.encoder, steps) if steps != 0 else None)


def read(case, step, sample):
    rng = np.random.default_rng([case, step, sample])
    label = rng.integers(0, 2, SIZE, dtype=np.uint8)
    return {"image": (label + rng.normal(0, 0.3, SIZE)).astype(np.float32)[None], "label": label}


def data(start):
    return batches(Samples(3, BATCH, 0, read), BATCH, start, STEPS)


def run_of(folder, name="adamw", stop=None):
    told = []
    training = Training(steps=STEPS, optimiser=OPTIMISERS[name], schedule=Schedule(name="constant"))
    folder.mkdir(exist_ok=True)
    return Run(training, 0, folder, on_step=lambda step, steps, terms: told.append(step),
               stopping=lambda: stop is not None and told[-1] == stop)  # fmt: skip


def state(objective):
    return copy.deepcopy(dict(objective.network.state_dict()))


def moved(before, after):
    return {k for k, v in after.items() if not torch.equal(v, before[k])}


def traced(objective, folder, name="adamw", stop=None):
    """Train and return the state before the first step and after each."""
    states = [state(objective)]
    objective.at = lambda step: states.append(state(objective))
    try:
        fit(objective, data, run_of(folder, name, stop))
    except Stopped:
        assert stop is not None
    return states


@pytest.mark.parametrize(
    ("name", "steps"), [*((name, BOUNDARY) for name in OPTIMISERS), ("adamw", 0), ("adamw", None)]
)
def test_weights_and_statistics_stand_still_until_the_step_it_is_let_go(name, steps, tmp_path):
    states = traced(made(steps), tmp_path, name)
    whole = set(states[0])
    decoder = {k for k in whole if not k.startswith("encoder.")}
    assert any("running_mean" in k for k in whole - decoder)
    for step in range(STEPS):
        expected = decoder if steps is None or step < steps else whole
        assert moved(states[step], states[step + 1]) == expected, step


def test_dropout_stays_on_and_the_norm_uses_what_it_came_with():
    objective = made(BOUNDARY)
    encoder = objective.network.encoder
    objective.train()
    x = 5 + torch.randn(1, 1, 16, 16, 16)
    for step in range(STEPS):
        objective.begin(step)
        assert encoder.body[2].training
        encoder.gone.clear()
        found = encoder(x)[0]
        assert 0.4 < encoder.gone[0] < 0.6
        conv, norm = encoder.body[0](x), encoder.body[1]
        own = step < BOUNDARY
        assert norm.training != own
        if own:
            shape = (1, 4, 1, 1, 1)
            kept = (conv - norm.running_mean.view(shape)) / (norm.running_var.view(shape) + norm.eps).sqrt()
            left = found != 0
            torch.testing.assert_close(found[left], 2 * kept[left], rtol=1e-4, atol=1e-4)
        else:
            assert found.mean().abs() < 0.1  # of the batch
    assert objective.network.decoder.body[1].training


def test_evaluation_in_between_does_not_thaw_it(tmp_path):
    plain, looked = made(BOUNDARY), made(BOUNDARY)
    expected = traced(plain, tmp_path / "a")[-1]

    def look(step):  # as mean_dice does
        looked.network.eval()
        looked.network.train()

    looked.at = look
    fit(looked, data, run_of(tmp_path / "b"))
    assert not moved(expected, state(looked))


def by_hand(objective, start, end, optim):
    """Train without the loop, as it does: the same batches, the same dropout."""
    for step, batch in zip(range(start, end), data(start), strict=False):
        torch.manual_seed(torch_seed(0, "dropout", step, 0))
        objective(batch, torch.Generator())["total"].backward()
        optim.step()
        optim.zero_grad(set_to_none=True)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_when_it_is_let_go_the_optimiser_is_as_if_newly_made(name, tmp_path):
    expected = traced(made(BOUNDARY), tmp_path, name)
    found = {}
    for forgets in (True, False):
        objective = made(BOUNDARY)
        objective.begin(0)
        optim = optimiser(objective.network.decoder.parameters(), OPTIMISERS[name])
        by_hand(objective, 0, BOUNDARY, optim)
        assert not moved(expected[BOUNDARY], state(objective))
        objective.begin(BOUNDARY)
        rest = [objective.network] if forgets else [objective.network.encoder]
        new = optimiser([p for part in rest for p in part.parameters()], OPTIMISERS[name])
        if not forgets:
            new.add_param_group({"params": list(objective.network.decoder.parameters())})
            for p, kept in optim.state.items():
                new.state[p] = kept
        by_hand(objective, BOUNDARY, STEPS, new)
        found[forgets] = moved(expected[-1], state(objective))
    assert found[True] == set()
    assert found[False]  # its moments do make a difference


AROUND = [[BOUNDARY - 1], [BOUNDARY], [BOUNDARY + 1], [BOUNDARY - 1, BOUNDARY], [*range(1, STEPS)]]
EACH = [("adam", BOUNDARY, stops) for stops in AROUND] + [
    ("sgd", BOUNDARY, AROUND[-1]),
    ("lars", BOUNDARY, AROUND[-1]),
    ("adam", None, [2, 4]),
]


@pytest.mark.parametrize(("name", "steps", "stops"), EACH)
def test_resumed_around_the_boundary_it_is_the_same_bit_for_bit(name, steps, stops, tmp_path):
    expected = traced(made(steps), tmp_path / "whole", name)
    for stop in stops:
        pieces = traced(made(steps), tmp_path / "pieces", name, stop)
        assert not moved(expected[stop], pieces[-1])
        torch.manual_seed(stop + 17)  # a new process: another global state
    assert not moved(expected[-1], traced(made(steps), tmp_path / "pieces", name)[-1])
