"""Training from scratch has no pretext."""

import pytest

from bench.errors import BenchError


def test_scratch_refuses_to_be_pretrained_and_hands_over_nothing(build):
    method = build("scratch")
    with pytest.raises(BenchError, match="no pretext"):
        method.loss({})
    assert method.transfer() == {} and not method.pretrains
