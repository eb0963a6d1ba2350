"""Shuffled weights: the same values in another order, which the seed decides; and weights in doses."""

import torch
from built import built
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.nets.controls import diluted, shuffled


def weights():
    return built("unet3d", crop=(16, 16, 16)).state_dict()


def same(first, second):
    assert first.keys() == second.keys()
    return [torch.equal(first[name], second[name]) for name in first]


def test_it_takes_nothing_from_what_it_is_given_nor_from_the_draws_of_others():
    tensors = weights()
    before = {k: v.clone() for k, v in tensors.items()}
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    result = shuffled(tensors, 7)
    assert torch.equal(torch.rand(3), expected)
    for value in result.values():
        value.add_(1)
    assert all(same(tensors, before))


def test_the_order_depends_on_the_seed_and_the_names_alone():
    tensors = weights()
    torch.manual_seed(99)
    again = shuffled(dict(reversed(tensors.items())), 7)
    assert all(same(shuffled(tensors, 7), again))
    assert not all(same(shuffled(tensors, 8), again))
    floats = {k: v for k, v in tensors.items() if v.is_floating_point()}
    mixed = shuffled(
        {k: torch.arange(v.numel()).double().reshape(v.shape) for k, v in floats.items()}, 7
    )
    assert all(torch.equal(v.flatten()[mixed[k].long()], again[k]) for k, v in floats.items())


def test_tables_of_the_architecture_stay_as_they_are():
    state = built("swin_unetr", crop=(32, 32, 32)).state_dict()
    tables = [k for k, v in state.items() if not v.is_floating_point()]
    result = shuffled(state, 7)
    assert tables and all(torch.equal(result[k], state[k]) for k in tables)


@settings(max_examples=25)
@given(
    st.lists(st.integers(0, 4), max_size=4),
    st.integers(0, 2**40),
    st.sampled_from([torch.float, torch.half]),
)
def test_a_tensor_of_any_shape_keeps_its_values_shape_and_type_in_another_order(shape, seed, kind):
    value = torch.randn(shape).to(kind)
    (result,) = shuffled({"x": value}, seed).values()
    assert (result.shape, result.dtype) == (value.shape, kind)
    assert torch.equal(result.flatten().sort()[0], value.flatten().sort()[0])
    assert not torch.equal(result, value) or value.numel() < 50


def test_a_dose_lies_between_fresh_and_pretrained_weights():
    trained = {"a": [4.0, 8.0], "other shape": [1.0, 1.0], "table": [3]}
    fresh = {"a": [0.0, 4.0], "other shape": [0.0, 0.0, 0.0], "table": [7]}
    trained, fresh = ({k: torch.tensor(v) for k, v in t.items()} for t in (trained, fresh))
    result = diluted(trained, fresh, 0.25)
    assert result["a"].tolist() == [1.0, 5.0]
    assert result["other shape"].tolist() == [1.0, 1.0] and result["table"].tolist() == [3]
    assert diluted(trained, fresh, 0)["a"].tolist() == [0.0, 4.0]
    assert diluted(trained, fresh, 1.0)["a"].tolist() == [4.0, 8.0]
    assert trained["a"].tolist() == [4.0, 8.0]  # as it was
