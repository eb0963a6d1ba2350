"""Numbers that make no sense are refused before anything runs, each with its name and what would do."""

from dataclasses import dataclass, fields

import pytest

from bench import ranges, registry
from bench.errors import BenchError
from bench.ranges import Count, Factors, Positive, Share, Shares, Whole


@dataclass(frozen=True)
class Some:
    share: Share = 0.5
    rate: Positive = 1.0
    count: Count = 1
    maybe: Count | None = None
    whole: Whole = 0
    factors: Factors = (0.5, 2.0)
    shares: Shares = (0.2, 1.0)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, []),
        ({"share": 0.0, "whole": 0, "shares": (1.0, 1.0), "maybe": 3}, []),
        ({"share": -0.1}, ["share must be from 0 to 1, got -0.1"]),
        ({"share": float("nan")}, ["share must be from 0 to 1, got nan"]),
        ({"rate": 0.0}, ["rate must be above 0, got 0.0"]),
        ({"count": 0, "whole": -1}, ["count must be 1 or more, got 0", "whole must be 0 or more, got -1"]),
        ({"maybe": 0}, ["maybe must be 1 or more, got 0"]),
        ({"factors": (2.0, 1.0)}, ["factors must not fall, got (2.0, 1.0)"]),
        ({"factors": (0.0, 1.0)}, ["factors must be above 0, got (0.0, 1.0)"]),
        ({"shares": (0.0, 1.0)}, ["shares must be above 0 and at most 1, got (0.0, 1.0)"]),
    ],
)
def test_bounds_by_hand(given, said):
    assert ranges.problems(Some(**given)) == said


METHODS = [n for n in registry.names("method") if registry.load("method", n).pretrains]
WRONG = {
    "flip": -0.1, "blur": 2.0, "noise": 1.5, "gamma": -1.0, "area": (2.0, 3.0), "aspect": (0.0, 0.0),
    "crop_scale": (0.0, 0.0), "overlap": 1.5, "brightness_factor": (-1.0, 0.0), "momentum": 2.0, "tau": 2.0,
    "temperature": 0.0, "hidden": 0, "out": -1, "queue": 0, "tasks": -1, "foreground": 2.0, "windows": -5,
    "boxes": -1, "local_rate": -0.5, "resolution": 0.0, "density": 2.0, "alpha": 3.0, "mask_ratio": 2.0,
}  # fmt: skip


@pytest.mark.parametrize("name", METHODS)
def test_every_method_refuses_what_makes_no_sense(name):
    cls = registry.load("method", name)
    mine = {f.name for f in fields(cls.Params)} & WRONG.keys()
    assert mine
    for key in mine:
        with pytest.raises(BenchError, match=f"method '{name}': {key} (must|mirrors)"):
            cls.make_params({key: WRONG[key]})
    assert ranges.problems(cls.Params()) == []
