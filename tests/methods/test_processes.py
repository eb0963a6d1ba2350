"""Every method here is trained alike by two processes and by one: the suite of ``bench.conformance``."""

from types import SimpleNamespace

import pytest
import torch
from small_methods import build, trial_of

from bench import registry
from bench.conformance.test_processes import *  # noqa: F403
from bench.conformance.test_processes import Trial, assert_alike, trained

CONFORMANCE = [Trial(name) for name in registry.names("method")]
# whose losses gather in another way
OTHERS = [("voco", {"variant": "v2"}), ("voco", {"variant": "nnssl"})]


@pytest.fixture
def trial(request):
    return trial_of(request.param.name)


def test_parts_that_train_otherwise_are_told_with_what_to_do():
    curve = SimpleNamespace(samples=1, voxels=1, rows=[{"total": 1.0}])
    weights = {"w": torch.zeros(2)}
    for other, shifted in (([{"total": 2.0}], 0), (curve.rows, 1)):
        twin = SimpleNamespace(samples=1, voxels=1, rows=other), {"w": torch.zeros(2) + shifted}
        with pytest.raises(
            AssertionError, match=r"draw with rand, .* bench\.random, .* take means"
        ):
            assert_alike((curve, weights), twin)


@pytest.mark.parametrize("across", [True, False])
def test_a_wrong_across_batch_is_told_with_what_to_set(across):
    trial = SimpleNamespace(cls=SimpleNamespace(across_batch=across))
    whole, part = {"w": torch.zeros(2)}, {"w": torch.zeros(2) + (not across)}
    with pytest.raises(
        AssertionError, match=f"set across_batch = {not across}, or correct the loss"
    ):
        test_it_says_whether_its_loss_looks_across_the_batch(  # noqa: F405
            trial, lambda trial, parts=1: (None, part if parts > 1 else whole)
        )


@pytest.mark.parametrize(("name", "params"), OTHERS)
def test_two_processes_equal_one_in_other_variants(name, params, scans, bench_pair):
    whole = trained(build(name, params), scans)
    for part in bench_pair(trained, build(name, params), scans):
        assert_alike(part, whole)
