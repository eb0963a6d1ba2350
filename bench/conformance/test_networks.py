"""What every network keeps: the facts that it states are those of what it builds, and it trains."""

from math import prod

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parameters_to_vector
from torch.utils.flop_counter import FlopCounterMode

from bench.conformance import devices
from bench.conformance.options import requested
from bench.conformance.trial import concerns, named, only
from bench.errors import BenchError
from bench.nets import classifier, network
from bench.nets.catalog import check_task, network_facts


def pytest_generate_tests(metafunc):
    if "facts" in metafunc.fixturenames:
        listed = [network_facts(named(what)) for what in requested(metafunc, "network")]
        chosen = [facts for facts in listed if concerns(metafunc, facts)]
        metafunc.parametrize("facts", chosen, ids=[facts.name for facts in chosen])


def small(facts):
    """Return one small crop of uneven sides."""
    x, y, z = facts.multiple
    return 2 * x, y, z


def segments(facts):
    return "segmentation" in facts.tasks


def build_network(facts, preset="tiny", channels=(1, 2), crop=None, seed=0, device="cpu"):
    torch.manual_seed(seed)
    with torch.device(device):
        return network(facts.name, preset, *channels, crop=crop)


def without_values(facts, preset, channels):
    """Return a network without memory for its weights, or with it where it asks a tensor for its value."""
    try:
        return build_network(facts, preset, channels, device="meta")
    except RuntimeError:
        return build_network(facts, preset, channels)


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_the_smallest_size_is_called_tiny_and_sizes_grow(facts):
    sizes = [size.parameters for size in facts.presets.values()]
    assert next(iter(facts.presets)) == "tiny" and sizes == sorted(sizes)
    assert {size.crop[2] == 1 for size in facts.presets.values()} == {facts.dims == 2}


def test_declared_parameters_are_those_of_the_built_network(facts):
    for key, size in facts.presets.items():
        net = without_values(facts, key, (size.in_channels, size.out_channels))
        declared = {"parameters": size.parameters, "encoder_parameters": size.encoder_parameters}
        assert {"parameters": count(net), "encoder_parameters": count(net.encoder)} == declared, key
        assert size.widths in ((), tuple(net.encoder.widths)), key


def flops(module, size):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(torch.zeros(1, size.in_channels, *size.crop, device="meta"))
    return counter.get_total_flops() // prod(size.crop)


def test_declared_operations_are_those_that_torch_counts(facts):
    for key, size in facts.presets.items():
        net = without_values(facts, key, (size.in_channels, size.out_channels))
        if next(net.parameters()).device.type != "meta":
            pytest.skip("it asks a tensor for its value while it is built")
        counted = flops(net if segments(facts) else net.encoder, size), flops(net.encoder, size)
        assert counted == (size.flops_per_voxel, size.encoder_flops_per_voxel), key


def test_pyramid_logits_and_embedding_have_the_declared_shapes(facts):
    crop = small(facts)
    net = build_network(facts, crop=crop).eval()  # dropout draws anew each time
    x = torch.randn(2, 1, *crop)
    with torch.no_grad():
        maps, vector = net.encoder(x), net.encoder.embed(x)
        logits = net.decoder.scales(x, maps) if segments(facts) else []
        of_nothing = (net if segments(facts) else net.encoder.embed)(torch.zeros_like(x))
    sizes = [np.floor_divide(crop, strides) for strides in facts.pyramid]
    expected = [(2, w, *size) for w, size in zip(net.encoder.widths, sizes, strict=True)]
    assert [tuple(m.shape) for m in maps] == expected
    assert [tuple(s.shape) for s in logits[:1]] == [(2, 2, *crop)] * segments(facts)
    assert len(logits) == (facts.scales if segments(facts) else 0)
    torch.testing.assert_close(vector, maps[-1].flatten(2).mean(2))
    assert torch.isfinite(of_nothing).all()


@pytest.mark.parametrize("make", [network, classifier])
def test_tiny_trains_on_the_smallest_crop_and_every_parameter_gets_a_gradient(make, facts):
    if make is network and not segments(facts):
        with pytest.raises(BenchError, match="has no decoder"):
            check_task(facts.name, "segmentation")
        return
    torch.manual_seed(0)
    net = make(facts.name, "tiny", 2, 3, facts.multiple).train()
    x = torch.randn(2, 2, *facts.multiple)  # batch norm needs two
    loss = sum(out.square().mean() for out in (net.scales(x) if make is network else [net(x)]))
    loss.backward()
    assert not [k for k, p in net.named_parameters() if p.grad is None]
    assert torch.isfinite(loss)


def stepped(facts, make, device):
    """Return what a network gives, and its gradients, in double precision."""
    torch.manual_seed(0)
    net = make(facts.name, "tiny", 2, 3, facts.multiple).double()
    torch.manual_seed(0)
    x = torch.randn(1, 2, *facts.multiple, dtype=torch.float64)
    net, x = net.to(device).eval(), x.to(device)  # dropout draws from a device's own generator
    outs = net.scales(x) if make is network else [net(x)]
    sum(out.square().mean() for out in outs).backward()
    gradients = {k: p.grad for k, p in net.named_parameters() if p.grad is not None}
    named = {str(i): out for i, out in enumerate(outs)}
    return devices.back({**named, **gradients})


@pytest.mark.parametrize("make", [network, classifier])
def test_a_step_on_another_device_is_that_of_the_cpu(make, facts):
    if reason := devices.unavailable():
        pytest.skip(reason)
    if make is network and not segments(facts):
        pytest.skip("no decoder")
    expected = stepped(facts, make, torch.device("cpu"))
    with devices.second_device():
        other = stepped(facts, make, devices.device())
    assert expected.keys() == other.keys()
    for key, value in expected.items():
        torch.testing.assert_close(other[key], value, rtol=1e-7, atol=1e-9)


def test_a_classifier_has_the_segmenters_encoder_bit_for_bit_and_one_linear_layer(facts):
    name, crop = facts.name, facts.multiple
    net = build_network(facts, "tiny", (1, 4), crop, seed=3)
    torch.manual_seed(3)
    other = classifier(name, "tiny", 1, 4, crop)
    ours, theirs = net.state_dict(), other.state_dict()
    assert {k for k in theirs if not k.startswith("encoder.")} == {"head.weight", "head.bias"}
    encoders = [{k for k in state if k.startswith("encoder.")} for state in (ours, theirs)]
    assert encoders[0] == encoders[1]
    assert all(torch.equal(ours[k], v) for k, v in theirs.items() if k in ours)
    stated = (other.name, other.preset, other.crop, other.version)
    assert stated == (name, "tiny", net.crop, net.version)
    assert (other.in_channels, other.out_channels) == (1, 4)


def test_the_weight_that_reads_the_image_is_named_and_the_output_layer_too(facts):
    net = build_network(facts, channels=(3, 5), crop=small(facts))
    state = net.state_dict()
    assert state[f"encoder.{net.encoder.input_weight}"].shape[1] % 3 == 0
    if segments(facts):
        assert any(k.startswith(net.output) for k in state)


@only(lambda facts: facts.dims == 2)
def test_a_network_of_two_dimensions_takes_pictures_and_slices_alike(facts):
    crop = small(facts)
    net, x = build_network(facts, crop=crop).eval(), torch.randn(2, 1, *crop[:2])
    with torch.no_grad():
        maps = zip(net.encoder(x), net.encoder(x[..., None]), strict=True)
        assert all(torch.equal(a, b[..., 0]) for a, b in maps)
        assert torch.equal(net.encoder.embed(x), net.encoder.embed(x[..., None]))
        if segments(facts):
            picture, piece = net(x), net(x[..., None])
            assert picture.shape == (2, 2, *crop[:2]) and torch.equal(picture, piece[..., 0])
    message = r"was given \(32, 48, 2\) voxels; cut the volume to slices"
    with pytest.raises(BenchError, match=message):
        net.encoder(torch.zeros(1, 1, 32, 48, 2))


def test_a_sample_does_not_depend_on_the_rest_of_its_batch(facts):
    net = build_network(facts, crop=small(facts))
    net.train(not facts.batch_norm)
    for module in net.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):  # it draws by place in the batch
            module.eval()
    net.double()  # in float32 other kernels for another size of batch differ by up to 2e-5
    run = net if segments(facts) else net.encoder.embed
    x = torch.randn(2, 1, *small(facts), dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(run(x)[:1], run(x[:1]), rtol=1e-9, atol=1e-10)


def test_one_seed_gives_one_initialisation_and_another_gives_another(facts):
    nets = (build_network(facts, seed=n) for n in (3, 3, 4))
    first, again, other = (parameters_to_vector(net.parameters()) for net in nets)
    assert torch.equal(first, again) and not torch.equal(first, other)
