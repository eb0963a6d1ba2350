"""What the machine that would run a plan cannot do: refused before anything runs, and told by a plan."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.jobs.finetune.spec import FinetuneSpec
from bench.jobs.pretrain.spec import PretrainSpec
from bench.plan.dag import Plan, row_fault

HALF = ("bf16", "fp16")  # precisions that no CPU here trains in (bench.train.loop says why)


def refuse_half(plan: Plan, jobs: Sequence[str], lacking: str) -> None:
    """Refuse jobs in half precision at once where what would run them has no GPU.

    Args:
        plan: whose jobs they are.
        jobs: those to do; what is done already needs no device.
        lacking: what has no GPU, and which other place may have one, in words; empty where there is one.

    Raises:
        BenchError: names the first such row, its setting, and the ways out.
    """
    for protocol, row, setting, precision in _half(plan, jobs) if lacking else ():
        text = f"{setting} {precision} needs a GPU, and {lacking}; or add --set {setting}=fp32"
        raise row_fault(protocol, row, text)


def told_half(plan: Plan, jobs: Sequence[str], lacking: str) -> list[str]:
    """Return a line for each setting that ``refuse_half`` would refuse: how many rows have it, and why."""
    rows: dict[tuple[str, str], dict[tuple[str, str], None]] = {}
    for protocol, row, *setting_of in _half(plan, jobs) if lacking else ():
        rows.setdefault((setting_of[0], setting_of[1]), {})[protocol, row] = None
    return [
        f"{setting} {precision} of {len(row_names)} row{'s' * (len(row_names) > 1)} ({next(iter(row_names))[0]}"
        f"{' and others' * (len({p for p, _ in row_names}) > 1)}) needs a GPU, and {lacking}"
        for (setting, precision), row_names in rows.items()
    ]


def _half(plan: Plan, jobs: Sequence[str]) -> Iterator[tuple[str, str, str, str]]:
    """Yield protocol, row, setting and precision of every wanted cell with work in half precision."""
    todo = set(jobs)
    for name, cells in plan.cells.items():
        for cell in (c for c in cells if c.wanted):
            if cell.pretrain in todo:
                precision = plan.spec(cell.pretrain, PretrainSpec).pretrain.precision
                if precision in HALF:
                    yield name, cell.row, "pretrain.precision", precision
            if {cell.finetune, cell.evaluate} & todo:  # a prediction takes it over
                precision = plan.spec(cell.finetune, FinetuneSpec).finetune.precision
                if precision in HALF:
                    yield name, cell.row, "finetune.precision", precision
