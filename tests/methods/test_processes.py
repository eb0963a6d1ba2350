"""Every method here is trained alike by two processes and by one: the suite of ``bench.conformance``."""

import pytest
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


@pytest.mark.parametrize(("name", "params"), OTHERS)
def test_two_processes_equal_one_in_other_variants(name, params, scans, bench_pair):
    whole = trained(build(name, params), scans)
    for part in bench_pair(trained, build(name, params), scans):
        assert_alike(part, whole)
