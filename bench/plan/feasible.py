"""Refuse, before anything runs, what the machine that would run it cannot do."""

from __future__ import annotations

from collections.abc import Sequence

from bench.errors import BenchError
from bench.jobs.finetune import FinetuneSpec
from bench.jobs.pretrain import PretrainSpec
from bench.plan.dag import Plan

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
    todo = set(jobs) if lacking else set()
    for name, cells in plan.cells.items():
        for cell in (c for c in cells if c.wanted):
            asked = []
            if cell.pretrain in todo:
                asked.append(("pretrain", plan.spec(cell.pretrain, PretrainSpec).pretrain.precision))
            if {cell.finetune, cell.evaluate} & todo:  # a prediction takes it over
                asked.append(("finetune", plan.spec(cell.finetune, FinetuneSpec).finetune.precision))
            for kind, precision in asked:
                if precision in HALF:
                    raise BenchError(
                        f"protocol {name!r}, row {cell.row!r}: {kind}.precision {precision} needs a GPU, and "
                        f"{lacking}; or add --set {kind}.precision=fp32"
                    )
