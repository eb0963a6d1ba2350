"""My method keeps the contract of every method, and mirrors what it says."""

from pathlib import Path

import torch

from bench import registry
from bench.conformance.test_methods import *
from bench.conformance.test_processes import *

HERE = Path(__file__).parent
# where it is slow: params={...} at which it is small; crop=(x, y, z)
CONFORMANCE = Trial(HERE / "my_method.py")


def test_a_crop_is_mirrored_along_the_axes_that_its_class_names():
    params = registry.load("method", CONFORMANCE.name).Params(noise=0.0)
    crop = torch.arange(8.0).reshape(1, 1, 2, 2, 2)
    made = params.views(
        {"crop": crop.repeat(64, 1, 1, 1, 1)}, (2, 2, 2), torch.Generator().manual_seed(0)
    )
    ways = dict(zip(made["way"].tolist(), made["mirrored"], strict=True))
    assert ways[0].flatten().tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    assert ways[4].flatten().tolist() == [4, 5, 6, 7, 0, 1, 2, 3]  # x, the first axis, backwards
    assert ways[7].flatten().tolist() == [7, 6, 5, 4, 3, 2, 1, 0]
