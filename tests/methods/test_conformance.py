"""Every method under ``methods/`` keeps the contract: the suite of ``bench.conformance``.

Adding a file adds it to these tests; its small sizes stand in ``OWN`` and ``CROPS`` of ``conftest.py``.
"""

import pytest

from bench import registry
from bench.conformance.test_methods import *  # noqa: F403
from bench.conformance.test_methods import Trial
from bench.errors import BenchError

CONFORMANCE = [Trial(name) for name in registry.names("method")]


@pytest.fixture
def trial(request, small_trial):
    return small_trial(request.param.name)


def test_scratch_refuses_to_be_pretrained(build):
    with pytest.raises(BenchError, match="no pretext"):
        build("scratch").loss({})
