"""Phases of a fine-tuning: what stands still and for how long, with which rate each group moves, resume."""

import numpy as np
import pytest
import torch
from torch import nn

from bench import nets
from bench.errors import Stopped
from bench.jobs.finetune.supervised import LossConfig, Supervised
from bench.nets.base import Decoder, Encoder, Network
from bench.protocol.sections import Augment, Group, Optimiser, Schedule, Tuning
from bench.random import torch_seed
from bench.train.label_losses import of_maps
from bench.train.loop import Run, channels_last, fit
from bench.train.optimise import ParameterGroup, optimiser
from bench.train.phases import Phases, layers_of
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


def recipe(name="adamw", **stated):
    schedule = Schedule(name="constant")
    return Tuning(**{"steps": STEPS, "optimiser": OPTIMISERS[name], "schedule": schedule, **stated})


def toy():
    """Return the network, with the same weights each time."""
    torch.manual_seed(0)
    net = Network("toy", "tiny", SIZE, (1, 2), Reads(), Writes())
    for norm in (net.encoder.body[1], net.decoder.body[1]):
        norm.running_mean.fill_(0.3)  # what pretraining left there
    return net


def under(tuning, loaded=()):
    """Return the objective; ``loaded`` begins the names of what came from a pretraining."""
    net = channels_last(toy())
    names = [name for name in net.state_dict() if name.startswith(tuple(loaded))]
    loss = LossConfig(of_maps("dice_ce"), Augment(), SIZE)
    return Supervised(net, loss, None, Phases(net, names, tuning))


def made(steps, name="adamw"):
    """Return an objective whose encoder stands still for ``steps`` steps; None: for ever."""
    stated = {"evaluation": "linear"} if steps is None else {"frozen": steps / STEPS}
    return under(recipe(name, **stated))


def read(case, step, sample):
    rng = np.random.default_rng([case, step, sample])
    label = rng.integers(0, 2, SIZE, dtype=np.uint8)
    return {"image": (label + rng.normal(0, 0.3, SIZE)).astype(np.float32)[None], "label": label}


def data(start):
    return batches(Samples(3, BATCH, 0, read), BATCH, start, STEPS)


def run_of(folder, training, stop=None):
    steps_done = []
    folder.mkdir(exist_ok=True)
    watch = {"on_step": lambda step, steps, terms: steps_done.append(step)}
    return Run(training, 0, folder, stopping=lambda: steps_done[-1] == stop, **watch)


def state(objective):
    return {name: tensor.cpu().clone() for name, tensor in objective.network.state_dict().items()}


def moved(before, after):
    return {k for k, v in after.items() if not torch.equal(v, before[k])}


def traced(objective, folder, stop=None):
    """Train and return the state before the first step and after each."""
    states = [state(objective)]
    objective.at = lambda step: states.append(state(objective))
    try:
        fit(objective, data, run_of(folder, objective._phases._tuning, stop))
    except Stopped:
        assert stop is not None
    return states


@pytest.mark.parametrize(
    ("name", "steps"), [*((name, BOUNDARY) for name in OPTIMISERS), ("adamw", 0), ("adamw", None)]
)
def test_weights_and_statistics_stand_still_until_the_step_it_is_let_go(name, steps, tmp_path):
    states = traced(made(steps, name), tmp_path)
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
        assert norm.training is (step >= BOUNDARY)
        if step < BOUNDARY:
            mean, variance = norm.running_mean.view(1, 4, 1, 1, 1), norm.running_var
            expected = (conv - mean) / (variance.view(1, 4, 1, 1, 1) + norm.eps).sqrt()
            left = found != 0
            torch.testing.assert_close(found[left], 2 * expected[left], rtol=1e-4, atol=1e-4)
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
    fit(looked, data, run_of(tmp_path / "b", recipe()))
    assert not moved(expected, state(looked))


# what `Lars` notes of a group
LARS_GROUP = {"lars": {"decay": OPTIMISERS["lars"].weight_decay, "weight_decay": 0.0}}


def alone(name, module):
    settings = OPTIMISERS[name]
    group = ParameterGroup(tuple(module.parameters()), lambda step: 0, settings.weight_decay)
    return optimiser([group], settings)


def by_hand(objective, start, end, optim):
    """Train without the loop, as it does: the same batches, the same dropout."""
    for step, batch in zip(range(start, end), data(start), strict=False):
        torch.manual_seed(torch_seed(0, "dropout", step, 0))
        objective(batch, torch.Generator())["total"].backward()
        optim.step()
        optim.zero_grad(set_to_none=True)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_when_it_is_let_go_the_optimiser_is_as_if_newly_made(name, tmp_path):
    expected = traced(made(BOUNDARY, name), tmp_path)
    found = {}
    for forgets in (True, False):
        objective = made(BOUNDARY, name)
        objective.begin(0)
        optim = alone(name, objective.network.decoder)
        by_hand(objective, 0, BOUNDARY, optim)
        assert not moved(expected[BOUNDARY], state(objective))
        objective.begin(BOUNDARY)
        new = alone(name, objective.network if forgets else objective.network.encoder)
        if not forgets:
            decoder = list(objective.network.decoder.parameters())
            new.add_param_group({"params": decoder, **LARS_GROUP.get(name, {})})
            new.state.update(optim.state)
        by_hand(objective, BOUNDARY, STEPS, new)
        found[forgets] = moved(expected[-1], state(objective))
    assert found[True] == set()
    assert found[False]  # its moments do make a difference


BOUNDARIES = [
    [BOUNDARY - 1],
    [BOUNDARY],
    [BOUNDARY + 1],
    [BOUNDARY - 1, BOUNDARY],
    [*range(1, STEPS)],
]
EACH = [("adam", BOUNDARY, stops) for stops in BOUNDARIES] + [("adam", None, [2, 4])]
EACH += [(name, BOUNDARY, BOUNDARIES[-1]) for name in ("sgd", "lars")]


@pytest.mark.parametrize(("name", "steps", "stops"), EACH)
def test_resumed_around_the_boundary_it_is_the_same_bit_for_bit(name, steps, stops, tmp_path):
    resumes(lambda: made(steps, name), stops, tmp_path)


def resumes(objective, stops, folder):
    expected = traced(objective(), folder / "whole")
    for stop in stops:
        pieces = traced(objective(), folder / "pieces", stop)
        assert not moved(expected[stop], pieces[-1])
        torch.manual_seed(stop + 17)  # a new process: another global state
    assert not moved(expected[-1], traced(objective(), folder / "pieces")[-1])


# Groups: what the receipt left at random is new, what it matched is loaded

LOADED = ("encoder.", "decoder.body.0", "decoder.body.1")  # all but the last layer
LAST = {"decoder.body.3.weight", "decoder.body.3.bias"}
TEN = {"steps": 10, "optimiser": Optimiser(lr=1.0)}
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def rates(tuning, loaded=LOADED):
    """Return the rate of each parameter at every step, and its weight decay."""
    objective = under(tuning, loaded)
    names = {id(p): name for name, p in objective.network.named_parameters()}
    return {
        names[id(p)]: ([group.rate(step) for step in range(tuning.steps)], group.decay)
        for group in objective.groups(tuning)
        for p in group.parameters
    }


def test_each_parameter_has_the_rate_and_the_decay_of_its_group():
    tuning = recipe(new=Group(rate=0.5, decay=0.0), loaded=Group(rate=0.25))
    names = set(dict(toy().named_parameters()))
    new, loaded = ([0.5] * STEPS, 0.0), ([0.25] * STEPS, 0.1)
    assert rates(tuning) == {name: new if name in LAST else loaded for name in names}
    assert rates(tuning, ()) == dict.fromkeys(names, new)  # from scratch all is new
    # nothing stated: one recipe
    assert rates(recipe(), LOADED) == dict.fromkeys(names, ([0.02] * STEPS, 0.1))


def test_a_group_warms_up_from_its_own_first_step_and_decays_to_the_last():
    falling = Schedule(name="poly", power=1.0, warmup=0.2)
    tuning = recipe(**TEN, schedule=falling, loaded=Group(frozen=0.4, warmup=0.3))
    found = rates(tuning)
    (of_new, _), (of_loaded, _) = found["decoder.body.3.bias"], found["encoder.body.0.weight"]
    assert of_new == pytest.approx([0.5, 1, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8])
    assert of_loaded == pytest.approx([0, 0, 0, 0, 1 / 3, 2 / 3, 1, 1, 2 / 3, 1 / 3])


def test_a_restart_runs_the_schedule_until_the_other_group_joins_and_once_more_with_it():
    groups = {"new": Group(warmup=0.2, restart=True), "loaded": Group(frozen=0.4, warmup=0.3)}
    tuning = recipe(**TEN, schedule=Schedule(name="poly", power=1.0), **groups)
    again = [1 / 3, 2 / 3, 1, 1, 2 / 3, 1 / 3]  # as nnU-Net's sawtooth: both warm up
    assert rates(tuning)["decoder.body.3.bias"][0] == pytest.approx([0.5, 1, 1, 0.5, *again])
    whole = [0.5, 1, *(1 - k / 8 for k in range(8))]
    assert rates(tuning, ())["decoder.body.3.bias"][0] == pytest.approx(whole)  # nobody joins


def test_layers_of_the_encoder_have_rates_that_fall_towards_the_image():
    tuning = recipe(loaded=Group(rate=0.8, layer_decay=0.5))
    found = {name: rate[0] for name, (rate, _) in rates(tuning).items()}
    expected = dict.fromkeys(found, 0.8) | dict.fromkeys(LAST, 0.02)
    assert found == expected | {"encoder.body.0.weight": 0.4}


@pytest.mark.parametrize(
    ("name", "preset"), [("unetr", "tiny"), ("swin_unetr", "tiny"), ("genesis_unet3d", "tiny")]
)
def test_layers_are_ordered_from_the_image_on_and_hold_each_parameter_once(name, preset):
    encoder = nets.network(name, preset, 1, 2, (32, 32, 32)).encoder
    layers = layers_of(encoder)
    assert sorted(name for names in layers for name in names) == sorted(
        dict(encoder.named_parameters())
    )
    assert encoder.input_weight in layers[0] + layers[1] and len(layers) >= 4


@pytest.mark.parametrize(
    ("frozen", "norm", "loaded"),
    [
        (3, "adapt", LOADED),
        (STEPS, "adapt", LOADED),
        (3, "kept", LOADED),
        (0, "kept", LOADED),
        (3, "kept", ()),
    ],
)
def test_what_was_loaded_is_still_where_it_is_frozen_and_its_norms_where_they_are_kept(
    frozen, norm, loaded, tmp_path
):
    stated = {"loaded": Group(frozen=frozen / STEPS)} if frozen else {}
    stated |= {"norm": norm} if norm == "kept" else {}
    states = traced(under(recipe(**stated), loaded), tmp_path)
    of_norms = {name for name in states[0] if name.endswith(STATISTICS) and norm == "kept"}
    given = {name for name in states[0] if loaded and name.startswith(loaded)}
    for step in range(STEPS):
        still = given if step < frozen else given & of_norms
        assert moved(states[step], states[step + 1]) == set(states[0]) - still, step


def test_kept_statistics_are_what_the_loaded_layer_normalises_by():
    objective = under(recipe(norm="kept"), LOADED).train()
    objective.begin(0)
    norm, x = objective.network.decoder.body[1], 5 + torch.randn(2, 4, 4, 4, 2)
    expected = (x - 0.3) / (1 + norm.eps) ** 0.5
    torch.testing.assert_close(norm(x), expected)
    assert float(norm.running_mean[0]) == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("group", "loaded"), [("new", ()), ("loaded", ("",))], ids=["all new", "all loaded"]
)
def test_nothing_stands_still_where_there_is_no_other_group(group, loaded):
    objective = under(recipe(**{group: Group(frozen=0.5)}), loaded)
    objective.begin(0)
    assert all(p.requires_grad for p in objective.parameters())
    assert [group.rate(0) for group in objective.groups(recipe())] == [0.02]


RESTARTED = Group(warmup=0.2, restart=True)
GROUPED = {
    "frozen first": {"loaded": Group(frozen=3 / STEPS, rate=0.01, warmup=0.3), "norm": "kept"},
    "sawtooth": {"new": RESTARTED, "loaded": Group(frozen=3 / STEPS, warmup=0.2)},
    "never": {"loaded": Group(frozen=1.0)},
    "layers": {"loaded": Group(layer_decay=0.5, decay=0.3)},
    "both kinds": {"frozen": 2 / STEPS, "loaded": Group(frozen=4 / STEPS)},
}


@pytest.mark.parametrize("name", GROUPED)
def test_groups_resume_bit_for_bit_in_every_phase(name, tmp_path):
    resumes(lambda: under(recipe("adam", **GROUPED[name]), LOADED), [*range(1, STEPS)], tmp_path)


@pytest.mark.parametrize(
    ("stated", "names"),
    [
        ({"new": Group(frozen=0.1), "loaded": Group(frozen=0.1)}, "new.frozen and loaded.frozen"),
        ({"new": Group(restart=True)}, "new.restart"),
        ({"loaded": Group(restart=True), "new": Group(warmup=0.1)}, "loaded.restart"),
        ({"new": Group(layer_decay=0.5)}, "layer_decay is for 'loaded' only"),
    ],
)
def test_groups_that_cannot_be_are_refused(stated, names):
    with pytest.raises(ValueError, match=names):
        recipe(**stated)
