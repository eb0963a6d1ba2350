"""What a protocol's sections say, as the specs of jobs have it: pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

from bench.data import regions as regional
from bench.data import split as splits
from bench.errors import BenchError, Misstated
from bench.jobs.finetune.spec import FinetuneSpec, Tracked, TuningSpec
from bench.jobs.scoring import Scoring, targets_of
from bench.metrics.request import fitting
from bench.plan.cohorts import Target
from bench.protocol import Protocol
from bench.protocol.comparable import LOSSES
from bench.protocol.sections import Finetune, Group, Pretrain
from bench.typed import narrowed


def scoring(protocol: Protocol, target: Target) -> Scoring:
    """Return how a data set's predictions are scored."""
    dataset = target.dataset
    return Scoring(
        target.task,
        fitting(protocol.metrics, target.task),
        protocol.convention,
        protocol.empty or dataset.empty,
        {str(k): v for k, v in dataset.labels.items()},
        dict(target.regions),
        dataset.void,
        target.value,
    )


@dataclass(frozen=True)
class Head:
    """What a network gives: a channel for each class, or for each region, and how these are painted."""

    channels: int
    regions: tuple[tuple[int, ...], ...] = ()
    paint: tuple[tuple[int, int], ...] = ()


def head(target: Target, tuned: Finetune) -> Head:
    """Return the output that a section asks for.

    Raises:
        BenchError: a region head for a data set without regions, or with some that no label tells apart.
    """
    if target.value is not None:
        return Head(1)
    if tuned.head != "regions":
        return Head(max(target.dataset.labels) + 1)
    if not target.regions:
        raise Misstated(
            "head", f"data set {target.name!r} declares no regions; write 'regions', or use softmax"
        )
    painted = regional.paint(target.regions, target.name)
    return Head(len(target.regions), tuple(map(tuple, target.regions.values())), tuple(painted))


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


def longer(section: TuningSpec, samples: int | None) -> TuningSpec:
    """Return a fine-tuning with a budget for so many samples more; None where nobody knows the steps."""
    if section.steps is None or samples is None:
        return replace(section, steps=None)
    return replace(section, steps=section.steps + ceil(samples / section.batch))


def epoch(cases: int, crops: int, batch: int) -> float | None:
    """Return the optimiser steps of one epoch over so many labelled cases; None where nobody knows them."""
    return cases * crops / batch if cases else None


def tuned(
    section: Finetune, scoring: Scoring, steps: int | None, epoch: float | None
) -> TuningSpec:
    """Return how a section trains: its budget in steps, its loss that of the task where it states none.

    Args:
        section: of a protocol, with a row's overrides.
        scoring: of its data set: a learning curve has the same targets.
        steps: the budget.
        epoch: the steps of one, where known.
    """
    loss: Any = section.loss or LOSSES[scoring.task][0]
    track = None
    if section.evaluation == "probe":  # nothing else concerns it
        return TuningSpec(
            evaluation="probe", probe=section.probe, precision=section.precision, loss=loss
        )
    if section.track is not None:
        every, epochs = section.track.every, section.track.every_epochs
        if epochs is not None and epoch is not None:
            every_steps: float | None = epochs * epoch
        else:
            every_steps = None if every is None else float(every)
        targets = tuple(targets_of(scoring).values())
        track = Tracked(
            section.track.part, every_steps, targets, scoring.empty if targets else "default"
        )
    return narrowed(
        TuningSpec,
        section,
        steps=steps,
        loss=loss,
        evaluation="linear" if section.evaluation == "decoder" else section.evaluation,
        inference=None,
        track=track,
        validated=False,
    )


def in_turn(seeds: Sequence[int], seed: int, runs: int) -> list[int]:
    """Return so many of a section's seeds, from one of them on; after the last comes the first."""
    first = seeds.index(seed)
    return [seeds[(first + k) % len(seeds)] for k in range(runs)]


def from_scratch(section: TuningSpec) -> TuningSpec:
    """Return a fine-tuning without what concerns loaded weights: from scratch it changes no number."""
    new = replace(section.new, frozen=0.0, restart=False)
    return replace(section, new=new, loaded=Group(), norm="batch", output="new")


def without_seed(spec: FinetuneSpec) -> bool:
    """Tell whether a probe is the same under every seed: of all patients, of given weights or of none."""
    given = not spec.control and (spec.init != "random" or spec.finetune.probe.levels == ())
    return spec.probes and given and spec.data.fraction == 100 and not spec.data.holdout


def has_judges(spec: FinetuneSpec, fold: splits.Fold) -> None:
    """Refuse to look at patients that validate where nobody does.

    Raises:
        BenchError: says of which data set and split.
    """
    tuning, unseen = spec.finetune, not fold.train  # the data is not here
    tracked = tuning.track is not None and tuning.track.part == "val"
    chosen = tuning.validates and tuning.select != "best_test"
    if not (chosen or tracked) or unseen or fold.val or spec.data.holdout or spec.data.inner:
        return
    what, instead = ("best_val, patience and tune need", "use 'select: last' and no grid")
    if not chosen:
        what, instead = "'track: {part: val}' needs", "track another part"
    raise BenchError(
        f"{spec.data.dataset}: {what} validation patients, and split {fold.name!r} has none in fold "
        f"{fold.index}; set 'holdout', or {instead}"
    )
