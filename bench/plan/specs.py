"""What goes into a job's spec and its records: pure functions of a protocol's sections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from bench import registry
from bench.data import regions as regional
from bench.data import split as splits
from bench.errors import BenchError
from bench.job import canonical, listed
from bench.metrics.request import fitting
from bench.nets import catalog
from bench.plan.here import Target
from bench.protocol import Protocol, Row
from bench.protocol.comparable import LOSSES
from bench.protocol.sections import Finetune, Net, Pretrain

NOT_IN_SPEC = {  # of a section: it picks jobs, names things or is resolved to steps
    "datasets", "dataset", "name", "recipe", "split", "fractions", "seeds", "folds", "seed",
    "steps", "epochs", "crops", "hold", "inference", "mixture", "take", "absent", "leaks", "where", "exclude",
    "network", "crop", "settings", "holdout", "regions", "anchor",
}  # fmt: skip


def network(net: Net, channels: int) -> dict[str, Any]:
    """Return one network at one size, as a spec says it."""
    catalog.check_crop(net.network, net.preset, net.crop)
    return {
        "network": net.network, "preset": net.preset, "crop": list(net.crop),
        "in_channels": channels, "version": catalog.entry(net.network).version,
    }  # fmt: skip


def scoring(protocol: Protocol, target: Target) -> dict[str, Any]:
    """Return how a data set's predictions are scored; no part of a job's identity."""
    return {
        "task": target.dataset.task, "metrics": list(fitting(protocol.metrics, target.dataset.task)),
        "convention": protocol.convention,
        "empty": protocol.empty or target.dataset.empty,
        "labels": {str(k): v for k, v in target.dataset.labels.items()},
        "regions": {k: list(v) for k, v in target.regions.items()},
    }  # fmt: skip


def head(target: Target, tuned: Finetune) -> dict[str, Any]:
    """Return what a spec says of the output: its ``channels``, and of ``data`` what is not by default.

    Raises:
        BenchError: a region head for a data set without regions, or with some that no label tells apart.
    """
    found: dict[str, Any] = {"holdout": tuned.holdout} if tuned.holdout else {}
    if tuned.head == "softmax":
        return {**found, "channels": max(target.dataset.labels) + 1}
    if not target.regions:
        raise BenchError(
            f"finetune.head: data set {target.name!r} declares no regions; state 'regions', or take softmax"
        )
    regions = [list(values) for values in target.regions.values()]
    painted = regional.paint(target.regions, target.name)
    return {**found, "channels": len(regions), "regions": regions, "paint": listed(painted)}


def trained(patients: Sequence[str], tuned: Finetune) -> Sequence[str]:
    """Return those labelled patients that train where a share of them validates."""
    return splits.parted(patients, tuned.holdout, f"{tuned.dataset}: ")[0] if patients else patients


def steps(section: Pretrain | Finetune, cases: int) -> int | None:
    """Return a budget in optimiser steps; None where epochs are of unknown length."""
    if section.epochs is None:
        return section.steps
    if not cases:
        return None
    return max(1, round(section.epochs * cases * section.crops / section.batch))


def held(section: Finetune, full: int, used: int, percent: int) -> int | None:
    """Return the steps on ``used`` of ``full`` labelled cases, holding what the section holds."""
    if section.held == "steps":
        return steps(section, full)
    if section.steps is None:
        return steps(section, used)
    return max(1, round(section.steps * (used / full if full else percent / 100)))


def resolved(section: Pretrain | Finetune, steps: int | None) -> dict[str, Any]:
    """Return a section as a spec says it: defaults filled in, its budget in steps."""
    kept = {k: v for k, v in asdict(section).items() if k not in NOT_IN_SPEC}
    return listed({**kept, "steps": steps})


def tuned(section: Finetune, task: str, steps: int | None) -> dict[str, Any]:
    """Return a fine-tuning section as a spec says it, its loss that of the task where it states none."""
    return {**resolved(section, steps), "loss": section.loss or LOSSES[task][0]}


def judged(recipe: dict[str, Any]) -> bool:
    """Tell whether a fine-tuning predicts held-out cases as it goes, and so depends on how that is done."""
    return recipe["select"] != "last" or recipe["patience"] is not None


def has_judges(spec: dict[str, Any], fold: splits.Fold) -> None:
    """Refuse to choose weights by validation where nobody validates.

    Raises:
        BenchError: says of which data set and split.
    """
    unseen = not fold.train  # the data is not here
    if spec["finetune"]["select"] != "best_test" and not (unseen or fold.val or spec["data"].get("holdout")):
        raise BenchError(
            f"{spec['data']['dataset']}: best_val and patience need patients that validate, and split "
            f"{fold.name!r} has none in fold {fold.index}; set 'holdout', or take 'select: last'"
        )


def differing(row: Row, before: dict[str, Any] | None) -> str:
    """Return canonical JSON of the parameters that are not the method's defaults."""
    method = registry.load("method", row.method)
    default = listed(asdict(method.Params()))
    params = before["method"]["params"] if before else listed(asdict(method.make_params(row.params)))
    return canonical({k: v for k, v in params.items() if v != default[k]})
