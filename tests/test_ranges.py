"""Numbers that make no sense are refused before anything runs, each with its name and what would do."""

from dataclasses import dataclass, fields
from math import inf
from types import UnionType
from typing import Annotated, Literal, Union, get_args, get_origin, get_type_hints

import pytest

from bench import ranges, registry
from bench.errors import BenchError
from bench.method import Method
from bench.ranges import Count, Factors, Positive, Range, Share, Shares, Whole


@dataclass(frozen=True)
class Every:
    """One parameter of each kind that a method may have."""

    share: Share = 0.5
    rate: Positive = 1.0
    count: Count = 1
    maybe: Count | None = None
    whole: Whole = 0
    factors: Factors = (0.5, 2.0)
    shares: Shares = (0.2, 1.0)
    way: Literal["a", "b"] = "a"
    perhaps: Literal["a", "b"] | None = None
    on: bool = True
    weights: tuple[float, float, float] = (1.0, 1.0, 1.0)
    level: int | None = None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, {}),
        ({"share": 0.0, "whole": 0, "shares": (1.0, 1.0), "maybe": 3}, {}),
        ({"share": -0.1}, {"share": "must be from 0 to 1, got -0.1"}),
        ({"share": float("nan")}, {"share": "must be from 0 to 1, got nan"}),
        ({"rate": 0.0}, {"rate": "must be above 0, got 0.0"}),
        ({"whole": -1, "count": 1}, {"whole": "must be 0 or more, got -1"}),
        ({"maybe": 0}, {"maybe": "must be 1 or more, got 0"}),
        ({"factors": (2.0, 1.0)}, {"factors": "must not fall, got (2.0, 1.0)"}),
        ({"factors": (0.0, 1.0)}, {"factors": "must be above 0, got (0.0, 1.0)"}),
        ({"shares": (0.0, 1.0)}, {"shares": "must be above 0 and at most 1, got (0.0, 1.0)"}),
    ],
)
def test_bounds_by_hand(given, said):
    assert ranges.problems(Every, given) == said


MAKE = classmethod(Method.make_params.__func__)
MADE = type(
    "MADE", (), {"Params": Every, "name": classmethod(lambda cls: "MADE"), "make_params": MAKE}
)
METHODS = [m for m in (registry.load("method", n) for n in registry.names("method")) if m.pretrains]


def wrong(hint):
    """Return values that an annotation rules out: of another type, out of range, falling, no choice."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        kind, bounds = arguments[0], next(a for a in arguments[1:] if isinstance(a, Range))
        outside = [bounds.low if bounds.above else bounds.low - 1]
        outside += [bounds.high + 1] if bounds.high < inf else []
        if get_origin(kind) is not tuple:
            number = type(bounds.low) if kind is int else float
            return [*wrong(kind), *map(number, outside)]
        falling = (bounds.low + 1.0, bounds.low + 0.5)
        return [*wrong(kind), *((float(n), float(n)) for n in outside), falling]
    if origin in (Union, UnionType):
        return [v for part in arguments if part is not type(None) for v in wrong(part)]
    if origin is Literal:
        return ["no such choice", 1.5]
    if origin is tuple and arguments[-1] is ...:  # as many as one likes
        return ["text", *((v,) for v in wrong(arguments[0]))]
    if origin is tuple:
        return ["text", (*(1 for _ in arguments), 1)]
    return [object()]


@pytest.mark.parametrize("cls", [*METHODS, MADE], ids=lambda cls: cls.name())
def test_every_method_refuses_what_makes_no_sense(cls):
    """Whatever an annotation rules out is refused by name: a new parameter needs no line here."""
    hints = get_type_hints(cls.Params, include_extras=True)
    assert any(isinstance(a, Range) for f in fields(cls.Params) for a in get_args(hints[f.name]))
    for field in fields(cls.Params):
        assert wrong(hints[field.name])
        for value in wrong(hints[field.name]):
            with pytest.raises(BenchError, match=rf"method '{cls.name()}'.*\b{field.name}\b"):
                cls.make_params({field.name: value})
    assert ranges.problems(cls.Params, vars(cls.Params())) == {}
