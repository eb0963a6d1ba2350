"""My network keeps the contract of every network, and its maps are as deep as its size says."""

from pathlib import Path

import torch

from bench.conformance.test_networks import *

CONFORMANCE = Path(__file__).with_name("my_network.py")


def test_the_last_map_has_the_last_width(facts):
    maps = made(facts).encoder(torch.zeros(1, 1, 8, 8, 8))
    assert [m.shape[1] for m in maps] == [8, 16, 32] and maps[-1].shape[2:] == (2, 2, 2)
