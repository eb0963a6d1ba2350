"""What ``bench compare`` found, as JSON and as text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from bench.errors import printable
from bench.report.entries import number
from bench.show.compare import SOME, Compared
from bench.show.moved import Moved, Place

SHOWN = 30  # cells in the text; --json has all


def as_json(found: Compared) -> dict[str, Any]:
    """Return all of it as JSON has it; what is not a number is null."""
    every = found.cells
    return {
        "protocol": found.a.name,
        "a": str(found.a.path),
        "b": str(found.b.path),
        "differs": [asdict(one) for one in found.differs],
        "alike": list(found.alike),
        "equal": every.equal,
        "moved": len(every.moved),
        "beyond_noise": found.beyond,
        "cells": [
            {k: None if v != v else v for k, v in (m.place._asdict() | asdict(m)).items() if k != "place"}
            for m in every.moved
        ],
        "lacking": every.lacking,
        **{name: [p._asdict() for p in getattr(every, name)] for name in ("only_a", "only_b", "apart")},
    }


def as_text(found: Compared) -> str:
    """Return what differs about the two, how many cells moved, and those that did, in a table."""
    every = found.cells
    lines = [f"A  {found.a.path}", f"B  {found.b.path}", ""]
    if found.differs:
        differs = [(d.what, d.a or "-", d.b or "-") for d in found.differs]
        lines += [_grid([("differs", "A", "B"), *differs], "lll"), ""]
    same = sum(m.same_jobs for m in every.moved)
    lines += [
        f"alike: {', '.join(found.alike)}",
        f"{every.equal + len(every.moved)} cells compared: {every.equal} equal to the bit, "
        f"{len(every.moved)} moved, {found.beyond} of them beyond noise",
    ]
    if every.moved:
        lines += [_origin(same, len(every.moved)), "", _table(every.moved)]
    if every.lacking:
        lines.append(f"{every.lacking} compared cells lack values on a side; they are compared by the others")
    for what, places in (
        ("only in A", every.only_a), ("only in B", every.only_b),
        ("no patient and run in common", every.apart),
    ):  # fmt: skip
        lines += [f"{what}: {len(places)} cells: {_places(places)}"] if places else []
    return "\n".join(printable(part) for line in lines for part in line.split("\n"))


def _origin(same: int, moved: int) -> str:
    """Say whether it was asked for that cells moved: equal jobs have equal specifications."""
    if same == moved:
        return "those that moved are of the same jobs on both sides: machine, versions or source differ"
    return (
        f"of those that moved {moved - same} are of other jobs (what was asked differs), {same} of the same"
    )


def _table(moved: Sequence[Moved]) -> str:
    several = len({m.unit for m in moved}) > 1
    head = ("row", "section", "%", "target", "metric", "A", "B", "B - A", "interval", "p", "verdict")
    rows = [
        (
            *map(str, m.place), _number(m.a, m.unit), _number(m.b, m.unit), _signed(m.difference, m.unit),
            f"[{_signed(m.low, m.unit)}, {_signed(m.high, m.unit)}]" if m.low == m.low else "",
            "" if m.p != m.p else f"{m.p:.3f}" if m.p >= 0.001 else "< 0.001", _verdict(m),
        )
        for m in moved[:SHOWN]
    ]  # fmt: skip
    more = [f"and {len(moved) - SHOWN} more; --json lists all"] if len(moved) > SHOWN else []
    units = "shares in percent" + (", others in their own unit" if several else "")
    seeds = [] if all(m.verdict != "these weights only" for m in moved) else [
        "these weights only: of one run or one pretraining; what another seed would give is not known"
    ]  # fmt: skip
    said = f"{units}; B - A is paired by patient and run, in 95 % intervals; p after Holm over all cells"
    return "\n".join([_grid([head, *rows], "llrllrrrrrl"), *more, said, *seeds])


def _verdict(moved: Moved) -> str:
    if not moved.verdict:
        return moved.why
    beyond = " (beyond noise)" if moved.beyond and moved.verdict == "these weights only" else ""
    return moved.verdict + beyond


def _number(value: float, unit: str) -> str:
    return number(value, unit) if value == value else ""


def _signed(value: float, unit: str) -> str:
    text = _number(value, unit)
    return f"+{text}" if value > 0 else text


def _grid(rows: Sequence[Sequence[str]], sides: str) -> str:
    """Return rows, the first one the head, with a column to the l(eft) or r(ight) for each of ``sides``."""
    from tabulate import tabulate

    align = [{"l": "left", "r": "right"}[side] for side in sides]
    return tabulate(rows[1:], headers=rows[0], disable_numparse=True, colalign=align, maxcolwidths=60)


def _places(places: Sequence[Place]) -> str:
    some = "; ".join(" ".join(map(str, place)) for place in places[:SOME])
    return some + (" ..." if len(places) > SOME else "")
