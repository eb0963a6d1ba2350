"""What the records say of a cell besides its scores."""

from __future__ import annotations

from typing import Any

from bench.jobs.finetune import FinetuneSpec
from bench.jobs.pretrain import PretrainSpec
from bench.plan import specs
from bench.plan.arm import Arm, Labels
from bench.protocol import mixture, pretrain_of


def columns(
    arm: Arm, labels: Labels, spec: FinetuneSpec, before: PretrainSpec | None
) -> dict[str, Any]:  # fmt: skip
    """Return record columns; what --set can change is read from the jobs, not the protocol.

    Args:
        arm: what was expanded.
        labels: whose labels the fine-tuning sees.
        spec: of the fine-tuning.
        before: of the pretraining where there is one.
    """
    protocol, net = arm.protocol, spec.network
    source = "file" if spec.init.startswith("file:") else "none"
    return {
        "protocol": protocol.name, "paper": protocol.paper, "table": protocol.table,
        "scale": protocol.scale, "section": arm.section, "method": arm.row.method,
        "network": f"{net.network}/{net.preset}", "params": specs.differing(arm.row, before),
        "pretrain": mixture.title(pretrain_of(protocol, arm.row)) if before else source,
        "pretrain_seed": before.seed if before else 0, "init": spec.init,
        "evaluation": spec.finetune.evaluation, "dataset": arm.target.name,
        "task": arm.target.dataset.task, "split": arm.fold.name,
        "split_hash": arm.fold.digest if arm.target.present else "",
        "fraction": labels.percent, "n_train": len(labels.patients), "fold": arm.fold.index,
        "seed": spec.seed,
    }  # fmt: skip
