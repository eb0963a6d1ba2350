"""What each row took: time, memory, steps, samples."""

from __future__ import annotations

from bench.report.context import ReportContext
from bench.report.sections import FILES, Section
from bench.report.supplement import Cost
from bench.report.tabular import grid

HEAD = ("Row", "Stage", "Wall time", "Peak memory", "Steps", "Samples", "Voxels")
NOTE = (
    "Each number is the sum over the jobs of a stage; peak memory is that of the largest job. Times depend on "
    "what else ran on the machines. Rows that share jobs each show them, so lines must not be added up."
)
COPIED = (
    " If some cells of a row were copied from other results, only the others are counted. If all were copied, the "
    "row shows what they took before, where that is known."
)
FORWARD = " One crop forward: the time of one crop of the row's own size; do not compare rows with other crops."


def sections(report: ReportContext) -> list[Section]:
    """Return the cost table in the protocol's order, units spelled out."""
    order = {row: i for i, row in enumerate(report.rows)}
    costs = sorted(
        (cost for cost in report.extras.costs if not _of_dose_0(report, cost)),
        key=lambda c: order.get(c.row, len(order)),
    )
    lines = [
        (
            report.named(c.row),
            c.stage or "all",
            "" if c.seconds is None else duration(c.seconds),
            "; ".join(
                f"{mb:,.0f} MB{where}"
                for mb, where in ((c.memory_mb, ""), (c.device_mb, " on the GPU"))
                if mb is not None
            ),
            *("" if v is None else f"{v:,}" for v in (c.steps, c.samples)),
            "" if c.voxels is None else f"{c.voxels:.3g}".replace("e+", "e"),
        )
        for c in costs
    ]
    note = NOTE + COPIED * bool(report.extras.taken)
    note += FORWARD * any(c.stage == "one crop forward" for c in costs)
    table, title = grid(HEAD, lines, "", note, words=(1,)), "Cost, as measured"
    return [Section(title, (table,), "cost", "Cost", folded=True, forms=FILES)] if lines else []


def _of_dose_0(report: ReportContext, cost: Cost) -> bool:
    """Tell whether a pretraining is only planned before a row, which takes nothing from it: dose 0 of a ceiling."""
    row = report.protocol.rows.get(cost.row)
    return row is not None and row.dose == 0 and cost.stage.startswith("pretrain")


def duration(seconds: float) -> str:
    """Return ``2 h 05 min``, ``3 min 20 s`` or ``4.2 s``."""
    if seconds < 1:
        return f"{1000 * seconds:.3g} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60):02d} min"
