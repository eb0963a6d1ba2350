"""What ``bench compare`` found, as JSON and as text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from bench.errors import printable
from bench.report.numbers import number
from bench.show.compare import SOME, Compared
from bench.show.moved import CellKey, Moved
from bench.stats.comparison import UNCLEAR, WEIGHTS

SHOWN = 30  # cells in the text; --json has all
NUMBERS = {"%", "A", "B", "B - A", "interval", "p"}  # columns that end alike


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
            {k: None if v != v else v for k, v in (m.cell._asdict() | asdict(m)).items() if k != "cell"}
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
        differs = [{"differs": d.what, "from A": d.a or "-", "to B": d.b or "-"} for d in found.differs]
        lines += [_grid(differs), ""]
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
    lines = [_line(m) for m in moved[:SHOWN]]
    if len({m.cell.section for m in moved}) == 1:  # it need not be said of each
        lines = [{k: v for k, v in line.items() if k != "section"} for line in lines]
    said = [
        "shares in percent" + (", others in their own unit" if len({m.unit for m in moved}) > 1 else "")
        + "; B - A is paired by patient and run, in 95 % intervals; p after Holm over all cells"
    ]  # fmt: skip
    if len(moved) > SHOWN:
        said.insert(0, f"and {len(moved) - SHOWN} more; --json lists all")
    if any(m.verdict == WEIGHTS for m in moved):
        said.append(f"{WEIGHTS}: of one run or one pretraining; what another seed would give is not known")
    return "\n".join([_grid(lines), *said])


def _line(moved: Moved) -> dict[str, str]:
    place, unit = moved.cell, moved.unit
    ends = [_signed(end, unit) for end in (moved.low, moved.high)]
    return {
        "row": place.row, "section": place.section, "%": str(place.fraction), "target": place.target,
        "metric": place.metric, "A": _number(moved.a, unit), "B": _number(moved.b, unit),
        "B - A": _signed(moved.difference, unit), "interval": f"[{', '.join(ends)}]" if all(ends) else "",
        "p": "" if moved.p != moved.p else f"{moved.p:.3f}" if moved.p >= 0.001 else "< 0.001",
        "verdict": _verdict(moved),
    }  # fmt: skip


def _verdict(moved: Moved) -> str:
    if not moved.verdict:
        return moved.why
    if moved.verdict == UNCLEAR and moved.why:
        return f"{moved.verdict} ({moved.why})"
    beyond = " (beyond noise)" if moved.beyond and moved.verdict == WEIGHTS else ""
    return moved.verdict + beyond


def _number(value: float, unit: str) -> str:
    return number(value, unit) if value == value else ""


def _signed(value: float, unit: str) -> str:
    text = _number(value, unit)
    return f"+{text}" if value > 0 else text


def _grid(lines: Sequence[dict[str, str]]) -> str:
    from tabulate import tabulate

    align = ["right" if name in NUMBERS else "left" for name in lines[0]]
    return tabulate(lines, headers="keys", disable_numparse=True, colalign=align, maxcolwidths=60)


def _places(places: Sequence[CellKey]) -> str:
    some = "; ".join(" ".join(map(str, place)) for place in places[:SOME])
    return some + (" ..." if len(places) > SOME else "")
