"""A published experiment as an example: the network is its author's, and the protocol states its recipe."""

from pathlib import Path

import pytest
import torch

from bench import plugins, registry
from bench.conformance.test_networks import *  # noqa: F403
from bench.conformance.test_networks import build_network, count
from bench.data.split import listed
from bench.protocol import finetune_of, read

ROOT = Path(__file__).resolve().parents[2]
CONFORMANCE = ROOT / "docs" / "examples" / "tran_fcn.py"
FILE = ROOT / "docs" / "examples" / "sunnybrook_fcn.yaml"


@pytest.fixture(autouse=True)
def _its_file(no_plugins):
    plugins.use([CONFORMANCE])


def test_pyramid_logits_and_embedding_have_the_declared_shapes(facts):
    """Its maps are those of a padded image, unlike those of bench's own networks; logits fit the crop."""
    net = build_network(facts).eval()
    sides = {100: [110, 54, 26, 12], 60: [70, 34, 16, 7], 101: [111, 55, 27, 13]}
    for side, expected in sides.items():
        x = torch.zeros(2, 1, side, side, 1)
        with torch.no_grad():
            maps = net.encoder(x)
            logits = net.decoder(x, maps)
        assert [m.shape[2] for m in maps] == expected and logits.shape == (2, 2, side, side, 1)
        assert torch.isfinite(logits).all()


def test_it_has_the_parameters_of_the_authors_code_and_draws_them_as_keras(facts):
    # With these weights the author's builder, in Keras 3.15, gave probabilities that differ by at most 4e-7.
    net = build_network(facts, "base", (1, 1))
    assert count(net) == 10_917_024
    weight, bound = net.encoder.blocks[2][0].weight.abs().max(), (6 / (9 * (128 + 256))) ** 0.5
    assert 0.999 * bound < weight <= bound and not net.encoder.blocks[2][0].bias.any()


def test_each_channel_of_each_picture_is_standardised_and_a_dead_one_has_a_gradient(facts):
    layer = build_network(facts).encoder.standardise
    x = torch.tensor([[[[0.0, 0.0], [0.0, 4.0]], [[3.0, 3.0], [3.0, 3.0]]]], requires_grad=True)
    y = layer(x)
    by_hand = torch.tensor([[-1.0, -1.0], [-1.0, 3.0]]) / 3**0.5  # mean 1, spread the root of 3
    torch.testing.assert_close(y[0], torch.stack([by_hand, torch.zeros(2, 2)]), atol=2e-6, rtol=0)
    y.square().sum().backward()
    assert torch.isfinite(x.grad).all()


def test_odd_rests_are_cut_at_the_end_and_scores_are_averaged(facts):
    # each scale gives its bias alone, and an enlarged pixel keeps one of its nine places
    net = build_network(facts, "tiny", (1, 1)).eval()
    with torch.no_grad():
        for parameter in net.decoder.parameters():
            parameter.zero_()
        for score, bias in zip(net.decoder.scores, (1.0, 3.0, 7.0), strict=True):
            score.bias.fill_(bias)
        for larger in net.decoder.larger:
            larger.weight[..., 0, 0] = 1.0  # places pixel i at 2 i, and nothing between
        net.decoder.predictions.weight.fill_(1.0)
        out = net(torch.zeros(1, 1, 100, 100))[0, 0]
    # of 12, 25 and 51 pixels a side; then of 103, of which the middle 100 are kept
    expected = torch.zeros(103, 103)
    expected[:102:2, :102:2] = (0 + 7) / 2
    expected[:97:4, :97:4] = ((0 + 3) / 2 + 7) / 2
    expected[:89:8, :89:8] = ((1 + 3) / 2 + 7) / 2
    torch.testing.assert_close(out, expected[1:101, 1:101])


def test_the_recipe_is_the_codes():
    section = finetune_of(read(FILE), 0, read(FILE).rows["fcn"])
    assert section.steps == 40 * 234 and section.batch == 1 and section.loss == "dice"
    optimiser, schedule = section.optimiser, section.schedule
    assert (optimiser.name, optimiser.lr, optimiser.momentum) == ("sgd", 0.01, 0.9)
    assert optimiser.nesterov and (schedule.name, schedule.power, schedule.warmup) == (
        "poly",
        0.5,
        0,
    )
    assert (section.augment.flip, section.augment.rotate, section.augment.angle) == (0.5, 1.0, 180)
    assert section.recipe.centre == (100, 100, 0) and section.select == "last"


def test_the_patients_that_we_have_are_divided_as_those_of_the_challenge():
    dataset = registry.load("dataset", "own_sunnybrook")()
    (whole,), (ours,) = (listed(dataset, f"challenge_{n}") for n in ("15_30", "11_24"))
    assert {*ours.train} < {*whole.train} and {*ours.test} < {*whole.test}
    assert len({*whole.train, *whole.test}) == 45
