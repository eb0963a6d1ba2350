"""Shuffled weights: the same values in another order, which the seed decides."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import nets
from bench.nets import transfer
from bench.nets.controls import shuffled


def weights(seed=0):
    torch.manual_seed(seed)
    return nets.network("unet3d", "tiny", 1, 2, (16, 16, 16))


def same(one, two):
    assert one.keys() == two.keys()
    return [torch.equal(one[name], two[name]) for name in one]


def test_every_tensor_keeps_its_values_shape_and_type():
    given_ = weights().state_dict()
    found = shuffled(given_, 7)
    assert sorted(given_) == sorted(found)
    for name, value in given_.items():
        other = found[name]
        assert (other.shape, other.dtype) == (value.shape, value.dtype)
        assert torch.equal(other.flatten().sort().values, value.flatten().sort().values)
        if value.numel() > 50 and len(value.unique()) > 1:
            assert not torch.equal(other, value)


def test_it_takes_nothing_from_what_it_is_given():
    given_ = weights().state_dict()
    before = {k: v.clone() for k, v in given_.items()}
    found = shuffled(given_, 7)
    for value in found.values():
        value.add_(1)
    assert all(same(given_, before))


def test_the_order_depends_on_the_seed_and_the_names_alone():
    given_ = weights().state_dict()
    torch.manual_seed(99)
    again = shuffled(dict(reversed(given_.items())), 7)
    assert all(same(shuffled(given_, 7), again))
    assert not all(same(shuffled(given_, 8), again))
    floats = {k: v for k, v in given_.items() if v.is_floating_point()}
    mixed = shuffled({k: torch.arange(v.numel()).double().reshape(v.shape) for k, v in floats.items()}, 7)
    assert all(torch.equal(v.flatten()[mixed[k].long()], again[k]) for k, v in floats.items())


def test_tables_of_the_architecture_stay_as_they_are():
    state = nets.network("swin_unetr", "tiny", 1, 2, (32, 32, 32)).state_dict()
    tables = [k for k, v in state.items() if not v.is_floating_point()]
    found = shuffled(state, 7)
    assert tables and all(torch.equal(found[k], state[k]) for k in tables)


def test_it_draws_from_no_state_of_others():
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    shuffled({"a": torch.ones(20)}, 1)
    assert torch.equal(torch.rand(3), expected)


@settings(max_examples=25)
@given(st.lists(st.integers(0, 4), max_size=4), st.integers(0, 2**40))
def test_any_shape_will_do(shape, seed):
    value = torch.randn(shape)
    (found,) = shuffled({"x": value}, seed).values()
    assert found.shape == value.shape and torch.equal(found.flatten().sort()[0], value.flatten().sort()[0])


def test_a_network_takes_them_as_it_takes_any():
    network, other = weights(0), weights(1)
    tensors = {k: v for k, v in network.state_dict().items() if k.startswith("encoder.")}
    assert transfer.load(other, shuffled(tensors, 0)).share == 1.0
    image = torch.randn(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.isfinite(other.eval()(image)).all()
