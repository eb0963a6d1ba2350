"""How time, memory and files of each stage grow: docs/growth.json, docs/growth_*.svg; prints the walls.

    OMP_NUM_THREADS=1 BENCH_DATA=DIR python tools/speed/growth.py [--axes cases voxels ...] [--draw]

One axis grows at a time. Every measurement has a process of its own, forked from one that has imported
everything: its processor time, with that of the processes that it starts, and the most that the largest of
them held beyond those imports. ``--axes`` measures some axes again and keeps the others; ``--draw`` measures
none. Without BENCH_DATA what needs real scans is left out.
"""

import json
import os
import resource
import sys
import tempfile
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from itertools import chain
from pathlib import Path
from pkgutil import iter_modules
from time import perf_counter
from typing import Any

import growth_figures
import growth_walls
from growth_stages import STAGES, Size
from machine import ROOT, machine, quiet, resident
from options import options
from sides import as_a_job

FILE = ROOT / "docs" / "growth.json"
EARLY = ("torch", "monai.losses", "pandas", "pyarrow.parquet", "matplotlib.pyplot", "scipy.ndimage")
ROOMS = (
    "jobs",
    "data",
    "train",
    "nets",
    "metrics",
    "stats",
    "report",
    "show",
    "leaks",
    "plan",
    "runtime",
)


@dataclass(frozen=True)
class Axis:
    """One thing that grows.

    Args:
        name: in the figure.
        key: the ``Size`` that grows.
        sizes: its values.
        stages: in order; those in capitals leave what the others need, and are not told.
        base: other sizes.
        power: of the value that is drawn; 3 makes sides voxels.
    """

    name: str
    key: str
    sizes: tuple[int, ...]
    stages: str
    base: dict[str, int] = field(default_factory=dict)
    power: int = 1


SCORED = "PLAN, prepare, finetune, evaluate, score"
DRAWN = "plan, submit, INVENT, gather, status, tables, report"
AXES = (
    Axis("scans", "cases", (8, 32, 128), f"SCANS, {SCORED}, GATHER, tables"),
    Axis(
        "scans, real",
        "cases",
        (20, 40, 80),
        "HIPPOCAMPI, PLAN, PREPARE, guard, pretrain",
        {"methods": 1, "crop": 16},
    ),
    Axis("pairs screened", "cases", (500, 1000, 2000, 4000), "likeliest", {}, 2),
    Axis("scans planned", "cases", (125, 500, 1000), "LINKS, plan, plan again"),
    Axis("voxels of a scan", "side", (32, 64, 96), f"SCANS, {SCORED}", {}, 3),
    Axis(
        "voxels of a crop",
        "crop",
        (16, 32, 48),
        "SCANS, PLAN, PREPARE, GUARD, pretrain, finetune",
        {"side": 48, "methods": 1, "steps": 4},
        3,
    ),
    Axis("labels", "classes", (2, 8, 32), f"SCANS, {SCORED}, GATHER, tables", {"side": 48}),
    Axis("methods", "methods", (2, 8, 32, 128), f"SCANS, {DRAWN}", {"seeds": 2}),
    Axis("seeds", "seeds", (4, 16, 64, 256), f"SCANS, {DRAWN}", {"methods": 4}),
    Axis("processes", "workers", (1, 2, 4), "SCANS, PLAN, prepare", {"cases": 32, "side": 64}),
)


def early() -> None:
    """Import what stages would import, so that none is charged for it."""
    for name in EARLY:
        import_module(name)
    for room in ROOMS:
        for module in iter_modules(import_module(f"bench.{room}").__path__, f"bench.{room}."):
            import_module(module.name)


def measured(axis: Axis) -> Iterator[dict[str, Any]]:
    """Yield a row for every size and stage of an axis."""
    for value in axis.sizes:
        size = Size(**{**axis.base, axis.key: value})
        with tempfile.TemporaryDirectory() as name:
            for stage in axis.stages.split(", "):
                printed = apart(stage.lower(), Path(name), size)
                if stage.islower():
                    yield {"axis": axis.name, "value": value**axis.power, "stage": stage, **printed}


def apart(stage: str, folder: Path, size: Size) -> dict[str, float]:
    """Return what one stage took, in a process of its own."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with os.fdopen(theirs, "w") as pipe:
                json.dump(measure_stage(stage, folder, size), pipe)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    os.close(theirs)
    with os.fdopen(ours) as pipe:
        text = pipe.read()
    if os.waitpid(child, 0)[1]:
        raise SystemExit(f"{stage} at {size} failed, see above")
    printed: dict[str, float] = json.loads(text)
    return printed


def measure_stage(stage: str, folder: Path, size: Size) -> dict[str, float]:
    """Do one stage; return seconds, MB, bytes and files."""
    act, before = STAGES[stage](folder, size), left(folder)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    held, began, clock = resident("VmRSS"), spent(), perf_counter()
    act()
    seconds, wall, after = spent() - began, perf_counter() - clock, left(folder)
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    printed = {"cpu_s": seconds, "wall_s": wall, "mb": max(resident("VmHWM"), children) - held}
    return {k: round(v, 3) for k, v in printed.items()} | {
        "bytes": after[0] - before[0],
        "files": after[1] - before[1],
    }


def spent() -> float:
    """Return the processor seconds of this process and of those that it started and that ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(first.ru_utime + first.ru_stime for first in used)


def left(folder: Path) -> tuple[int, int]:
    """Return how many bytes and files lie in the output folder and in the report's."""
    every = chain((folder / "out").rglob("*"), (folder / "drawn").rglob("*"))
    sizes = [path.stat().st_size for path in every if path.is_file()]
    return sum(sizes), len(sizes)


def save(measurements: dict[str, Any]) -> None:
    """Write one row a line."""
    head = json.dumps(measurements["machines"], indent=1)
    rows = ",\n".join(json.dumps(row) for row in measurements["rows"])
    FILE.write_text(f'{{"machines": {head},\n"rows": [\n{rows}\n]}}\n')


def main() -> None:
    given = options(__doc__, axes=[axis.name for axis in AXES], draw=False)
    result = json.loads(FILE.read_text()) if FILE.exists() else {"machines": {}, "rows": []}
    if not given.draw:
        as_a_job()
        early()
        for axis in (axis for axis in AXES if axis.name in given.axes):
            if "HIPPOCAMPI" in axis.stages and "BENCH_DATA" not in os.environ:
                print(f"{axis.name}: left out, BENCH_DATA names no data", file=sys.stderr)
                continue
            result["machines"][axis.name] = machine() | {"load": quiet()}
            rows = []
            for row in measured(axis):
                print(json.dumps(row), file=sys.stderr, flush=True)
                rows.append(row)
            result["rows"] = [r for r in result["rows"] if r["axis"] != axis.name] + rows
            save(result)
    growth_figures.draw(result["rows"], ROOT / "docs")
    print(growth_walls.table(result["rows"]))


if __name__ == "__main__":
    main()
