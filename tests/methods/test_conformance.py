"""Every method under ``methods/`` keeps the contract: the suite of ``bench.conformance``.

Adding a file adds it to these tests; its small sizes stand in ``SIZES`` and ``CROPS`` of ``small_methods.py``.
"""

import pytest
from small_methods import build, trial_of

from bench import registry
from bench.conformance.test_methods import *  # noqa: F403
from bench.conformance.test_methods import Trial
from bench.errors import BenchError

CONFORMANCE = [Trial(name) for name in registry.names("method")]


@pytest.fixture
def trial(request):
    return trial_of(request.param.name)


def test_scratch_refuses_to_be_pretrained():
    with pytest.raises(BenchError, match="no pretext"):
        build("scratch").loss({})
