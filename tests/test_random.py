"""Randomness is a function of (seed, purpose, step, sample) and of nothing else."""

import hashlib
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.random import numpy_rng, order, rand, randint, randn, torch_generator, torch_seed

purposes, numbers = st.sampled_from(["crop", "read", "order"]), st.integers(0, 5)
keys = st.tuples(numbers, purposes, numbers, numbers)


def drawn(key):
    return numpy_rng(*key).integers(0, 2**63, 4).tolist()


@given(keys, keys)
@settings(max_examples=60, deadline=None)
def test_equal_keys_draw_the_same_and_different_keys_do_not(one, other):
    assert (drawn(one) == drawn(other)) == (one == other)
    assert (torch_seed(*one) == torch_seed(*other)) == (one == other)


def test_the_global_state_neither_matters_nor_moves():
    found = []
    for seed in (1, 2):
        np.random.seed(seed)  # noqa: NPY002 - the global state is the subject
        torch.manual_seed(seed)
        before = np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002
        views = torch.rand(2, generator=torch_generator("cpu", 0, "views", 3))
        found.append((drawn((0, "crop", 3, 1)), views.tolist()))
        assert before == (np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())  # noqa: NPY002
    assert found[0] == found[1]


def test_it_is_philox_keyed_by_sha256_of_the_tuple():
    digest = hashlib.sha256(b"7:crop:3:1").digest()
    key = np.frombuffer(digest[:16], np.uint64)
    expected = np.random.Generator(np.random.Philox(key=key)).random(3)
    assert numpy_rng(7, "crop", 3, 1).random(3).tolist() == expected.tolist()
    assert torch_seed(7, "crop", 3, 1) == int.from_bytes(digest[:8], "little") // 2


def test_an_epoch_visits_every_case_once_in_an_order_of_its_own():
    orders = {tuple(order(seed, epoch, 30).tolist()) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9 and all(sorted(one) == list(range(30)) for one in orders)


DRAWS = {
    "rand": rand,
    "randn": randn,
    "randn in double": partial(randn, dtype=torch.float64),
    "randint": lambda shape, generator: randint(1, 4, shape, generator),
}


@pytest.mark.parametrize("rest", [(), (3,), (2, 5)])
@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_what_the_parts_of_a_batch_draw_is_what_the_whole_draws(draw, rest):
    def drawn(rows, *part):
        generator = torch_generator("cpu", 0, "views", 3, *part)
        return [draw((rows, *rest), generator) for _ in range(2)]  # the second draw counts, too

    whole, parts = drawn(12), [drawn(4, (p, 3)) for p in range(3)]
    for k in range(2):
        assert torch.equal(torch.cat([part[k] for part in parts]), whole[k])
    assert draw(4, torch_generator("cpu", 0, "views", 3, (1, 3))).shape == (4,)


def test_in_one_part_the_draws_are_torchs_own():
    seed = torch_seed(0, "views", 3)
    plain, ours = torch.Generator().manual_seed(seed), torch_generator("cpu", 0, "views", 3)
    assert isinstance(ours, torch.Generator)
    assert torch.equal(rand((2, 3), ours), torch.rand(2, 3, generator=plain))
    assert torch.equal(randn((2, 3), ours), torch.randn(2, 3, generator=plain))
    assert torch.equal(randint(1, 4, 5, plain), torch.randint(1, 4, (5,), generator=ours))
