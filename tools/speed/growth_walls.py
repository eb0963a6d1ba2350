"""What 100 000 volumes and 100 000 cells would cost by the slopes that ``growth.py`` measured; Markdown."""

from collections.abc import Callable
from typing import Any

from growth_figures import Points, beyond, lines

MANY = 100_000
SIDE = 128**3  # voxels of a volume
CELLS = 4  # methods beside which seeds grew
SCANS = "scans"
VOLUMES = {  # stage: axis of cases
    "plan": "scans planned",
    "plan again": "scans planned",
    "prepare": SCANS,
    "evaluate": SCANS,
    "score": SCANS,
    "tables": SCANS,
}
OF_A_CELL = ("finetune", "evaluate", "score")
OF_CELLS = ("plan", "submit", "gather", "status", "tables", "report")
Rows = list[dict[str, Any]]


def volumes(rows: Rows, what: str, stage: str) -> float:
    """Return the cost of a stage for ``MANY`` volumes of ``SIDE`` voxels: a product of two growths.

    A stage that reads voxels holds one volume at a time; pages of mapped files and kept ones move its peak
    more than its scans do. Its memory is the most that was measured.
    """
    axis = lines(rows, VOLUMES[stage], what)[stage]
    by_voxel = lines(rows, "voxels of a scan", what).get(stage)
    if what == "mb":
        return memory(axis, MANY) if by_voxel is None else max(held for _, held in axis + by_voxel)
    cost = beyond(axis, MANY)
    return cost if by_voxel is None else cost * beyond(by_voxel, SIDE) / by_voxel[0][1]


def cells(rows: Rows, what: str, stage: str) -> float:
    """Return the cost of a stage for ``MANY`` cells."""
    points = [(CELLS * seeds, cost) for seeds, cost in lines(rows, "seeds", what)[stage]]
    return memory(points, MANY) if what == "mb" else beyond(points, MANY)


def memory(points: Points, value: float) -> float:
    """Return the memory at a larger value, in proportion to what was added between the ends of an axis."""
    (x, y), *_, (xx, yy) = points
    return yy + max(0.0, yy - y) * (value - xx) / (xx - x)


def work(rows: Rows, what: str, stage: str) -> float:
    """Return the cost of the jobs of ``MANY`` cells as small as these; the memory is of one."""
    every = lines(rows, SCANS, what)
    each = [every[stage][0][1] for stage in OF_A_CELL]
    return max(each) if what == "mb" else MANY * sum(each)


def table(rows: Rows) -> str:
    """Return both tables, a line per stage."""
    head = "| processor time | memory beyond imports | on disk | files |\n|---|--:|--:|--:|--:|"
    kinds = (
        (f"{MANY:,} volumes of 128^3", volumes, VOLUMES),
        (f"{MANY:,} cells", cells, OF_CELLS),
        ("the cells themselves", work, ("fine-tuned, evaluated, scored",)),
    )
    return "\n\n".join(
        "\n".join([f"| {title} {head}", *(_line(rows, cost, stage) for stage in stages)])
        for title, cost, stages in kinds
    )


def _line(rows: Rows, cost: Callable[[Rows, str, str], float], stage: str) -> str:
    seconds, held, size, files = (
        cost(rows, what, stage) for what in ("cpu_s", "mb", "bytes", "files")
    )
    return f"| {stage} | {_time(seconds)} | {_size(held * 1e6)} | {_size(size)} | {files:,.0f} |"


def _time(seconds: float) -> str:
    for unit, name in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds:.2g} s"


def _size(count: float) -> str:
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return "below 1 MB"
