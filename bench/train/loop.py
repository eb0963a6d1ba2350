"""The one training loop, for pretraining and fine-tuning alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment
from torch import Tensor, nn

from bench.errors import BenchError, Stopped
from bench.random import torch_generator, torch_seed
from bench.train import checkpoint
from bench.train.optimise import optimiser, rate

Batch = dict[str, Tensor]
M = TypeVar("M", bound=nn.Module)
EVERY = 60.0  # seconds between checkpoints
NO_BF16 = (
    "precision bf16 needs a GPU (on a CPU torch 2.13 reads uninitialised memory in bf16 gradients of "
    "small 3D convolutions); add --set pretrain.precision=fp32 --set finetune.precision=fp32"
)
CHANNELS_LAST = torch.channels_last_3d  # 1.2 to 1.5 times faster 3D convolutions, see docs/speed.md


class Objective(nn.Module):
    """What is trained: ``forward`` turns a batch into named loss terms, one of them ``total``."""

    def forward(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Return scalar terms; ``generator`` lives on the batch's device."""
        raise NotImplementedError

    def after_step(self, progress: float) -> None:
        """Update slow state after a step; ``progress`` is steps before it / all steps, so 0 first."""

    def at(self, step: int) -> None:
        """Look at the state after ``step`` steps (snapshots, validation)."""

    def extra_state(self) -> dict[str, Any]:
        """Return what a checkpoint needs besides weights (plain values and tensors)."""
        return {}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what ``extra_state`` gave."""


@dataclass(frozen=True)
class Run:
    """Settings of one training run; ``recipe`` is a job spec's section."""

    recipe: dict[str, Any]
    seed: int
    folder: Path  # for checkpoints
    every: float = EVERY  # seconds between checkpoints
    on_step: Callable[[int, int, dict[str, float]], None] = lambda step, steps, terms: None
    stopping: Callable[[], bool] = lambda: False


@dataclass
class Curve:
    """What a run leaves besides weights."""

    rows: list[dict[str, float]] = field(default_factory=list)
    samples: int = 0
    voxels: int = 0
    waited: float = 0.0  # seconds spent waiting for data

    def note(self, step: int, lr: float, terms: dict[str, float]) -> None:
        """Append one line."""
        self.rows.append({"step": step, "lr": lr, **terms})


def fabric(precision: str) -> Fabric:
    """Return the device side: one device, the precision a recipe names."""
    if precision == "bf16" and not torch.cuda.is_available():
        raise BenchError(NO_BF16)
    names = {"fp32": "32-true", "bf16": "bf16-mixed"}
    # One process is one job here: without this, Fabric would read SLURM's variables as ranks.
    alone = LightningEnvironment()
    return Fabric(accelerator="auto", devices=1, precision=names[precision], plugins=[alone])  # type: ignore[arg-type]


def channels_last(module: M) -> M:
    """Lay 3D weights out with channels last, in place; what has other dimensions stays."""
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.ndim == 5:  # Module.to(memory_format=...) fails at the first 4-D weight
            tensor.data = tensor.data.contiguous(memory_format=CHANNELS_LAST)
    return module


def fit(objective: Objective, data: Callable[[int], Iterator[Batch]], run: Run) -> Curve:
    """Train for ``recipe["steps"]`` steps, from the last checkpoint where there is one.

    Args:
        objective: weights and loss.
        data: step -> iterator over the batches from that step on.
        run: recipe, seed, checkpoint folder, callbacks.

    Raises:
        Stopped: asked to stop; the state is saved.
        BenchError: the loss is not finite.
    """
    recipe, steps = run.recipe, run.recipe["steps"]
    device = fabric(recipe["precision"])
    channels_last(objective)
    trained, optim = device.setup(objective, optimiser(objective.parameters(), recipe["optimiser"]))
    start, curve = _restore(run, objective, optim, device.device)
    source, saved = data(start), time.monotonic()
    for step in range(start, steps):
        lr = rate(step, steps, recipe["optimiser"]["lr"], recipe["schedule"])
        batch = _next(source, device, curve)
        terms = _step(trained, optim, batch, lr, (run, device, step))
        objective.after_step(step / steps)
        _observe(run, curve, step + 1, lr, terms)
        objective.at(step + 1)
        stopping = run.stopping()
        if step + 1 < steps and (stopping or time.monotonic() - saved > run.every):
            _save(run, step + 1, objective, optim, curve)
            saved = time.monotonic()
        if stopping and step + 1 < steps:
            raise Stopped(f"stopped after step {step + 1} of {steps}")
    return curve


def _next(source: Iterator[Batch], device: Fabric, curve: Curve) -> Batch:
    began = time.perf_counter()
    batch = next(source)
    curve.waited += time.perf_counter() - began
    first = next(iter(batch.values()))
    curve.samples += first.shape[0]
    curve.voxels += sum(v.numel() for v in batch.values() if v.ndim >= 5)
    return {k: v.to(device.device, non_blocking=True) for k, v in batch.items()}


def _step(
    trained: Any, optim: Any, batch: Batch, lr: float, at: tuple[Run, Fabric, int]
) -> dict[str, Tensor]:
    run, device, step = at
    for group in optim.param_groups:
        group["lr"] = lr
    torch.manual_seed(torch_seed(run.seed, "dropout", step))
    terms = trained(batch, torch_generator(device.device, run.seed, "views", step))
    device.backward(terms["total"])
    if run.recipe["clip"] is not None:
        torch.nn.utils.clip_grad_norm_(trained.parameters(), run.recipe["clip"])
    optim.step()
    optim.zero_grad(set_to_none=True)
    return terms


def _observe(run: Run, curve: Curve, step: int, lr: float, terms: dict[str, Tensor]) -> None:
    steps = run.recipe["steps"]
    every = max(1, steps // 200)  # reading a loss waits for the device: at most 200 times a run
    if step % every and step != steps and step != 1:
        return
    values = {k: float(v.detach()) for k, v in terms.items()}
    if not all(map(_finite, values.values())):
        shown = ", ".join(f"{k} {v:.4g}" for k, v in values.items())
        raise BenchError(f"loss is not finite at step {step} ({shown}); lower the learning rate")
    curve.note(step, lr, values)
    run.on_step(step, steps, values)


def _finite(value: float) -> bool:
    return value == value and abs(value) != float("inf")


def _save(run: Run, step: int, objective: Objective, optim: Any, curve: Curve) -> None:
    state = {
        "objective": objective.state_dict(),
        "extra": objective.extra_state(),
        "optimiser": optim.state_dict(),
        "curve": {"rows": curve.rows, "samples": curve.samples, "voxels": curve.voxels,
                  "waited": curve.waited},
    }  # fmt: skip
    checkpoint.save(run.folder, step, state)


def _restore(run: Run, objective: Objective, optim: Any, device: torch.device) -> tuple[int, Curve]:
    found = checkpoint.latest(run.folder)
    if found is None:
        return 0, Curve()
    step, state = found
    objective.load_state_dict(state["objective"])
    objective.load_extra_state(state["extra"])
    optim.load_state_dict(state["optimiser"])
    return step, Curve(**state["curve"])
