"""Every network of the table keeps the contract: the suite of ``bench.conformance``."""

from bench.conformance.test_networks import *  # noqa: F403
from bench.nets import network_names

CONFORMANCE = network_names()
