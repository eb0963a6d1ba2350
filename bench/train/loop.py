"""The one training loop, for pretraining and fine-tuning alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any, TypeVar

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment
from torch import Tensor, nn

from bench import distributed
from bench.errors import BenchError, Stopped
from bench.protocol.sections import Training, Tuning
from bench.random import torch_generator, torch_seed
from bench.train import checkpoint
from bench.train.optimise import ParameterGroup, optimiser, rate
from bench.train.parallel import keeping_gradients, together

Batch = dict[str, Tensor]
M = TypeVar("M", bound=nn.Module)
EVERY = 60.0  # seconds between checkpoints
# Fabric's names
PRECISION: dict[str, Any] = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}
NOT_ON_CPU = {
    "bf16": "torch 2.13 reads uninitialised memory in bf16 gradients of small 3D convolutions",
    "fp16": "fp16 is slower than fp32",
}
CHANNELS_LAST = torch.channels_last_3d  # 1.2 to 1.5 times faster 3D convolutions, see docs/speed.md
LAYOUTS = {4: torch.channels_last, 5: CHANNELS_LAST}  # by axes of a weight


class Objective(nn.Module):
    """What is trained: ``forward`` turns a batch into named loss terms, one of them ``total``."""

    def begin(self, step: int) -> bool:
        """Get ready for a step, counted from 0: a checkpoint restores no mode and no frozen weight.

        Returns:
            Whether the optimiser is to forget its moments before this step.
        """
        return False

    def groups(self, training: Training) -> list[ParameterGroup]:
        """Return what the optimiser moves, by learning rate: here all parameters, as the recipe says."""
        settings = training.optimiser
        at = partial(rate, steps=training.steps or 0, peak=settings.lr, schedule=training.schedule)
        return [ParameterGroup(tuple(self.parameters()), at, settings.weight_decay)]

    def forward(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Return scalar terms; ``generator`` lives on the batch's device."""
        raise NotImplementedError

    def check_gradients(self) -> None:
        """Refuse gradients of the first step that train nothing."""

    def after_step(self, progress: float) -> None:
        """Update slow state after a step; ``progress`` is steps before it / all steps, so 0 first."""

    def at(self, step: int) -> None:
        """Look at the state after ``step`` steps (snapshots, validation)."""

    def finished(self) -> bool:
        """Tell, after ``at``, whether the run may end before its last step; every process the same."""
        return False

    def extra_state(self) -> dict[str, Any]:
        """Return what a checkpoint needs besides weights (plain values and tensors)."""
        return {}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what ``extra_state`` gave."""


def fabric(precision: str) -> Fabric:
    """Return the device side: this process's one device, the precision a recipe names."""
    gpu = torch.cuda.is_available()
    if precision in NOT_ON_CPU and not gpu:
        raise BenchError(
            f"precision {precision} needs a GPU (on a CPU {NOT_ON_CPU[precision]}); "
            "add --set pretrain.precision=fp32 --set finetune.precision=fp32"
        )
    # Processes are joined by `bench.distributed`: without this, Fabric would read SLURM's variables as ranks.
    alone = LightningEnvironment()
    devices = [distributed.local_device()] if gpu else 1
    return Fabric(
        accelerator="auto", devices=devices, precision=PRECISION[precision], plugins=[alone]
    )


@dataclass(frozen=True)
class Run:
    """Settings of one training run."""

    training: Training
    seed: int
    folder: Path  # for checkpoints
    every: float = EVERY  # seconds between checkpoints
    on_step: Callable[[int, int, dict[str, float]], None] = lambda step, steps, terms: None
    stopping: Callable[[], bool] = lambda: False
    # before a checkpoint; raises where another attempt goes on
    check: Callable[[], None] = lambda: None
    device: Callable[[str], Fabric] = fabric  # by its precision

    @property
    def steps(self) -> int:
        """Return how many steps there are: a plan has resolved them, whatever the budget is stated in."""
        return self.training.steps or 0


@dataclass
class Curve:
    """What a run leaves besides weights."""

    rows: list[dict[str, float]] = field(default_factory=list)
    samples: int = 0
    voxels: int = 0
    waited: float = 0.0  # seconds spent waiting for data


def channels_last(module: M) -> M:
    """Lay 2D and 3D weights out with channels last, in place; what has other dimensions stays."""
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.ndim in LAYOUTS:  # Module.to(memory_format=...) takes one format for all
            tensor.data = tensor.data.contiguous(memory_format=LAYOUTS[tensor.ndim])
    return module


def fit(objective: Objective, data: Callable[[int], Iterator[Batch]], run: Run) -> Curve:
    """Train for as many steps as ``run`` says, from the last checkpoint where there is one.

    Every process of ``bench.distributed`` calls it alike; number 0 alone saves, looks (``at``) and tells.

    Args:
        objective: weights and loss.
        data: step -> iterator over this process's micro-batches from that step on.
        run: settings, seed, checkpoint folder, callbacks.

    Raises:
        Stopped: asked to stop, in any process; the state is saved.
        BenchError: the loss is not finite, or as ``check_gradients``.
    """
    training, steps = run.training, run.steps
    device = run.device(training.precision)
    channels_last(objective)
    called = together(objective.to(device.device))
    groups = objective.groups(training)
    trained, optim = device.setup(called, optimiser(groups, training.optimiser))
    state = _State(objective, optim, device.strategy.precision)
    start, curve = _restore(run, state)
    source, saved, first = data(start), time.monotonic(), distributed.rank() == 0
    for step in range(start, steps):
        if objective.begin(step):
            optim.state.clear()
        rates = [group.rate(step) for group in groups]
        terms = _gradients(trained, partial(_next, source, device, curve), run, device, step)
        if step == start:
            objective.check_gradients()
        _move(trained, optim, rates, run, device)
        objective.after_step(step / steps)
        if first:
            objective.at(step + 1)
        over = objective.finished()
        _observe(run, curve, step + 1, max(rates), terms, over or step + 1 == steps)
        if over:
            break
        stopping = distributed.agree(run.stopping())
        if first and step + 1 < steps and (stopping or time.monotonic() - saved > run.every):
            _save(run, step + 1, state, curve)
            saved = time.monotonic()
        if stopping and step + 1 < steps:
            raise Stopped(f"stopped after step {step + 1} of {steps}")
    return curve


def _next(source: Iterator[Batch], device: Fabric, curve: Curve) -> Batch:
    began = time.perf_counter()
    batch = next(source)
    curve.waited += time.perf_counter() - began
    first = next(iter(batch.values()))
    curve.samples += first.shape[0] * distributed.size()
    curve.voxels += sum(v.numel() for v in batch.values() if v.ndim >= 5) * distributed.size()
    return {k: v.to(device.device, non_blocking=True) for k, v in batch.items()}


def _gradients(
    trained: Any, fetch: Callable[[], Batch], run: Run, device: Fabric, step: int
) -> dict[str, Tensor]:
    """Add up the gradients of a step's micro-batches; return the means of their terms."""
    parts, losses = distributed.parts(run.training.accumulate), []
    for part in parts:
        generator = torch_generator(device.device, run.seed, "views", step, part)
        # Dropout is the one draw that depends on how a batch is cut: torch gives it no generator.
        torch.manual_seed(torch_seed(run.seed, "dropout", step, part[0]))
        with keeping_gradients(trained.module, part != parts[-1]):
            terms = trained(fetch(), generator)
            device.backward(terms["total"] / len(parts))
        losses.append({k: v.detach() for k, v in terms.items()})
    return {k: torch.stack([terms[k] for terms in losses]).mean() for k in losses[0]}


def _move(trained: Any, optim: Any, rates: list[float], run: Run, device: Fabric) -> None:
    for group, lr in zip(optim.param_groups, rates, strict=True):
        group["lr"] = lr
    clip = run.training.clip
    if clip is not None and isinstance(run.training, Tuning) and run.training.clip_each:
        device.strategy.precision.unscale_gradients(optim.optimizer)  # fp16's loss scale is in them
        for part in trained.parameters():
            nn.utils.clip_grad_norm_(part, clip)
    elif clip is not None:
        device.clip_gradients(trained, optim, max_norm=clip, error_if_nonfinite=False)
    optim.step()
    optim.zero_grad(set_to_none=True)


def _observe(
    run: Run, curve: Curve, step: int, lr: float, terms: dict[str, Tensor], last: bool
) -> None:
    steps = run.steps
    every = max(1, steps // 200)  # reading a loss waits for the device: 400 times a run at most
    if step % every and not last and step != 1:
        return
    values = {k: float(distributed.mean(v)) for k, v in terms.items()}
    if not all(map(isfinite, values.values())):
        shown = ", ".join(f"{k} {v:.4g}" for k, v in values.items())
        why = "lower the learning rate"
        if step == 1:  # no weight has moved yet
            why = (
                "no weight has changed yet: check the loss, and check the scans with 'bench check'"
            )
        raise BenchError(f"loss is not finite at step {step} ({shown}); {why}")
    curve.rows.append({"step": step, "lr": lr, **values})
    if distributed.rank() == 0:
        run.on_step(step, steps, values)


@dataclass(frozen=True)
class _State:
    """What a checkpoint holds besides the curve; in its keys nothing depends on the number of processes."""

    objective: Objective
    optimiser: Any
    precision: Any  # the loss scale of fp16


def _save(run: Run, step: int, state: _State, curve: Curve) -> None:
    content = {
        "objective": state.objective.state_dict(),
        "extra": state.objective.extra_state(),
        "optimiser": state.optimiser.state_dict(),
        "precision": state.precision.state_dict(),
        "curve": {
            "rows": curve.rows,
            "samples": curve.samples,
            "voxels": curve.voxels,
            "waited": curve.waited,
        },
    }
    run.check()
    checkpoint.save(run.folder, step, content)


def _restore(run: Run, state: _State) -> tuple[int, Curve]:
    data = distributed.share_bytes(
        checkpoint.latest(run.folder) if distributed.rank() == 0 else None
    )
    if not data:
        return 0, Curve()
    content = checkpoint.read(data)
    state.objective.load_state_dict(content["objective"])
    state.objective.load_extra_state(content["extra"])
    state.optimiser.load_state_dict(content["optimiser"])
    state.precision.load_state_dict(content["precision"])
    return content["step"], Curve(**content["curve"])
