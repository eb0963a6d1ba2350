"""Low-rank adapters: what they add, what trains, and what is left of them in the weights that are kept."""

import copy

import pytest
import torch
from torch import nn

from bench import nets
from bench.errors import BenchError
from bench.protocol.sections import Group, Lora, Optimiser, Tuning
from bench.train.adapters import ORIGINAL, attach, merged
from bench.train.phases import Phases

LORA = Lora(rank=3, alpha=6.0)


def network(name="unetr", crop=(32, 32, 16)):
    torch.manual_seed(0)
    return nets.network(name, "tiny", 1, 2, crop)


def encoder_of(net):
    return [key for key in net.state_dict() if key.startswith("encoder.")]


def adapted(lora=LORA, name="unetr", crop=(32, 32, 16)):
    net = network(name, crop)
    return net, attach(net, encoder_of(net), lora)


@pytest.mark.parametrize(
    ("name", "crop", "layers", "count"),
    [
        ("unetr", (32, 32, 16), "attention", 2 * 4),  # queries, keys and values; out: of 4 blocks
        ("unetr", (32, 32, 16), "all", 4 * 4 + 1),  # two of the MLP; the embedding of patches
        ("swin_unetr", (32, 32, 32), "attention", 2 * 4),
    ],
)
def test_nothing_changes_at_first_and_what_is_adapted_is_counted(name, crop, layers, count):
    before, x = network(name, crop).eval(), torch.randn(1, 1, *crop)
    net, loaded = adapted(Lora(rank=2, layers=layers), name, crop)
    assert torch.equal(net.eval()(x), before(x))
    assert sum(key.endswith(ORIGINAL) for key in loaded) == count
    assert len(loaded) == len(encoder_of(before)) and set(loaded) <= set(net.state_dict())
    weights = before.state_dict()
    assert all(torch.equal(v, weights[k]) for k, v in merged(net).items())
    assert merged(net).keys() == weights.keys()


def test_an_adapter_adds_its_share_of_the_product_and_is_multiplied_out():
    net, _ = adapted()
    layer = net.encoder.vit.blocks[1].attn.qkv
    low_rank = layer.parametrizations.weight[0]
    with torch.no_grad():
        low_rank.up.normal_()
    expected = network().encoder.vit.blocks[1].attn.qkv.weight + 2 * low_rank.up @ low_rank.down
    assert low_rank.down.shape == (3, 96) and low_rank.up.shape == (288, 3)
    assert torch.allclose(layer.weight, expected)
    plain, x = network().eval(), torch.randn(1, 1, 32, 32, 16)
    plain.load_state_dict(merged(net))
    assert torch.allclose(plain(x), net.eval()(x), atol=1e-6)
    assert torch.equal(
        merged(copy.deepcopy(net))["encoder.vit.blocks.1.attn.qkv.weight"], layer.weight
    )


def test_with_what_was_loaded_frozen_adapters_and_decoder_alone_train():
    net, loaded = adapted()
    tuning = Tuning(steps=4, optimiser=Optimiser(lr=1e-2), loaded=Group(frozen=1.0))
    phases, before = Phases(net, loaded, tuning), copy.deepcopy(net.state_dict())
    groups = phases.groups()
    optimiser = torch.optim.AdamW([{"params": group.parameters} for group in groups])
    for step in range(3):
        phases.begin(step)
        for group, settings in zip(groups, optimiser.param_groups, strict=True):
            settings["lr"] = group.rate(step)
        net(torch.randn(2, 1, 32, 32, 16)).square().mean().backward()
        optimiser.step()
        optimiser.zero_grad()
    changed = {k for k, v in net.state_dict().items() if not torch.equal(v, before[k])}
    parts = {"decoder" if k.startswith("decoder.") else k.rpartition(".")[2] for k in changed}
    assert parts == {"decoder", "up", "down"} and not changed & set(loaded)
    resumed, _ = adapted()
    resumed.load_state_dict(net.state_dict())  # as a checkpoint is read
    assert all(torch.equal(v, merged(resumed)[k]) for k, v in merged(net).items())


def test_from_scratch_and_without_rank_nothing_is_adapted_and_what_cannot_be_is_refused():
    net = network()
    assert attach(net, (), LORA) == () and set(net.state_dict()) == set(network().state_dict())
    assert attach(net, ["encoder.x"], Lora()) == ["encoder.x"]
    with pytest.raises(BenchError, match="no linear layer of the encoder's attention"):
        attach(network(), ["encoder.vit.norm.weight"], LORA)
    assert not any(isinstance(m, nn.ParameterList) for m in net.modules())
