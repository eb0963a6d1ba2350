"""Every data set under ``datasets/`` keeps the contract: the suite of ``bench.conformance``."""

import pytest

from bench import registry
from bench.conformance.test_datasets import *  # noqa: F403

CONFORMANCE = registry.names("dataset")
pytestmark = pytest.mark.usefixtures("real_data")


@pytest.fixture
def phantoms_of(trees):
    return trees.sound
