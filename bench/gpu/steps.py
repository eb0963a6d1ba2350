"""One step of a training, or of its sliding window, as a card would take it: the real loop, nothing computed."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.accelerators import CPUAccelerator
from lightning_fabric.plugins import MixedPrecision, Precision
from lightning_fabric.strategies import SingleDeviceStrategy
from torch import Tensor, nn
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from bench.augment import read_size
from bench.data.reader import Volume
from bench.gpu.counting import REAL, Counted, counting
from bench.gpu.device import SecondTensor, device
from bench.gpu.work import Step
from bench.jobs import initial_weights, window
from bench.jobs.class_scores import CLASSIFICATION
from bench.jobs.finetune.run import loss_config
from bench.jobs.finetune.spec import FinetuneSpec
from bench.jobs.finetune.supervised import Supervised
from bench.jobs.kind import MAPS
from bench.jobs.predict import mirrored
from bench.jobs.pretrain.run import Pretext, built, labels_of
from bench.jobs.pretrain.spec import PretrainSpec
from bench.jobs.watch import Watch
from bench.protocol.sections import Training, Windows
from bench.random import numpy_rng
from bench.ranges import Triple
from bench.train import adapters
from bench.train.loop import PRECISION, Batch, Objective, Run, channels_last, fit
from bench.train.phases import Phases
from bench.train.samples import Sample, stack

READ = 2  # samples that are read; the batch repeats them
SIDE = 160  # voxels of a scan along x, y, z, at least
STRIPES = 8  # voxels of a label side by side


@dataclass(frozen=True)
class Trained:
    """What the loop of a job is given."""

    objective: Objective
    training: Training
    read: Callable[[int], Sample]  # a sample by its number, of a scan of noise
    weights: int  # bytes of what the job leaves


def pretraining(spec: PretrainSpec, shape: Triple | None = None, processes: int = 1) -> Step:
    """Count a step of a pretraining; arguments as of ``pretrained``, ``processes`` share it."""
    return _counted(pretrained(spec, shape), processes)


def finetuning(spec: FinetuneSpec) -> Step:
    """Count a step of a fine-tuning, one in which all trains that ever does."""
    return _counted(finetuned(spec))


def pretrained(spec: PretrainSpec, shape: Triple | None = None) -> Trained:
    """Return what the loop of a pretraining is given.

    Args:
        spec: of the job.
        shape: of its scans, where their recipe says it; else larger than all that is read of them.
    """
    _, method = built(spec)
    net, crop, (before, classes) = spec.network, spec.network.crop, spec.classes
    unwatched = _Unwatched(method.encoder, torch.empty, 0)
    objective = Pretext(method, {}, None, unwatched)  # type: ignore[arg-type]

    def read(number: int) -> Sample:
        rng = numpy_rng(0, "read", 0, number)
        item = spec.data[number % len(spec.data)]
        labels = {k: np.asarray(v) for k, v in labels_of(item, before).items()}
        given = {"origin": np.array(number), "zscored": np.array(False), "case": np.array(number)}
        scan = _scan(net.in_channels, crop, max(1, classes), shape)
        scan.others = lambda rng: _scan(net.in_channels, crop, 1, shape)
        return {**method.params.read(scan, crop, rng), **labels, **given}

    handed = sum(x.numel() * x.itemsize for x in method.transfer().values())
    return Trained(objective, spec.pretrain, read, handed)


def finetuned(spec: FinetuneSpec) -> Trained:
    """Return what the loop of a fine-tuning is given."""
    tuning, net = spec.finetune, spec.network
    network = initial_weights.network_of(net, spec.data.task)
    loaded = [name for name, _ in network.named_parameters() if name.startswith("encoder.")]
    loaded = list(adapters.attach(network, loaded if spec.init != "random" else [], tuning.lora))
    phases: Any = _Last(Phases(network, loaded, replace(tuning, steps=1)))
    objective = Supervised(network, loss_config(spec), None, phases, ema=tuning.ema)
    wide = read_size(net.crop, tuning.augment)
    classes = max([net.out_channels or 2, *(1 + n for part in spec.data.regions for n in part)])

    def read(number: int) -> Sample:
        scan = _scan(net.in_channels, wide, classes - 1)
        label = scan.crop_label((0, 0, 0), wide)
        if spec.data.task == CLASSIFICATION:
            label = np.array(number % classes)
        return {"image": scan.crop((0, 0, 0), wide), "label": label}

    return Trained(objective, tuning, read, _bytes(network))


def inference(spec: FinetuneSpec, windows: Windows) -> Step:
    """Count one batch of a sliding window."""
    net = spec.network
    network = initial_weights.network_of(net, spec.data.task)
    with _card(spec.finetune.precision) as (counted, fabric), fabric.autocast(), torch.no_grad():
        ready = channels_last(network).to(fabric.device).eval()
        fixed = counted.memory.held
        forward = mirrored(ready, windows)
        if spec.data.task == MAPS:
            x, y, z = windows.crop
            count = windows.batch
            scan = _scan(net.in_channels, (x, y, z), 1, (x + (count - 1) * x // 2, y, z))
            overlap = replace(windows, overlap=0.5)
            for _ in window.slabs(forward, scan, overlap, fabric.device):
                pass
        else:
            forward(_on_device((windows.batch, net.in_channels, *windows.crop), torch.float32))
        most, rows = counted.memory.most, tuple(counted.work.rows())
        return Step(most, fixed, windows.batch, 0, rows)


class _Unwatched(Watch):
    """Looks at nothing: it is counted by itself, if at all."""

    def at(self, step: int) -> None:
        """Do not look."""


class _Last:
    """Phases as of the last step, in which nothing waits any more."""

    def __init__(self, phases: Phases) -> None:
        self._phases, self.groups = phases, phases.groups

    def begin(self, step: int) -> bool:
        """Let go of what waits."""
        self._phases.begin(1)
        return False


def _counted(trained: Trained, processes: int = 1) -> Step:
    """Take a step of the loop, with no more than two micro-batches: the others are as the second."""
    training, marks = trained.training, list[tuple[int, int]]()
    samples = training.batch // (training.accumulate * processes)
    parts = min(training.accumulate, 2)
    short = replace(training, steps=1, batch=samples * parts, accumulate=parts)
    with _card(training.precision) as (counted, fabric), ExitStack() as hooks:
        memory = counted.memory

        def mark(*given: Any) -> None:
            marks.append((memory.held, memory.most))

        for register in (register_optimizer_step_pre_hook, register_optimizer_step_post_hook):
            hooks.callback(register(mark).remove)
        batch = _batch([trained.read(n) for n in range(min(READ, samples))], samples)
        run = Run(short, 0, Path(), device=lambda precision: fabric)
        fit(trained.objective, lambda start: repeat(batch), run)
        (before, most), (after, _) = marks[0], marks[-1]
        work = counted.work.times(training.accumulate / parts)
    moments = after - before  # the first step has none yet, all later ones do
    learning = [p for p in trained.objective.parameters() if p.requires_grad]
    gradients = sum(p.numel() * p.itemsize for p in learning)
    # several processes send theirs in buckets of as many bytes
    most = max(most + moments, memory.most) + gradients * (processes > 1)
    fixed = _bytes(trained.objective) + moments + gradients * (1 + (processes > 1))
    return Step(most, min(fixed, most), samples, trained.weights, tuple(work.rows()))


def _bytes(module: nn.Module) -> int:
    return sum(x.numel() * x.itemsize for x in (*module.parameters(), *module.buffers()))


@contextmanager
def _card(precision: str) -> Iterator[tuple[Counted, Fabric]]:
    """Count inside what a card would do; yields the counts and the device side of training."""
    with counting() as counted, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        name: Any = PRECISION[precision]
        mixed = None if precision == "fp32" else MixedPrecision(name, device().type)
        strategy = SingleDeviceStrategy(device(), _Accelerator(), precision=mixed or Precision())
        yield counted, Fabric(strategy=strategy)
        gc.collect()


class _Accelerator(CPUAccelerator):
    def setup_device(self, device: torch.device) -> None:
        """Take the device as it is: the CPU behind it needs nothing."""


def _scan(channels: int, crop: Triple, classes: int, shape: Triple | None = None) -> Volume:
    """Return a scan of noise, made where it is read, with stripes of labels."""
    flat = crop[2] == 1
    x, y, z = shape or [max(SIDE, 4 * side) for side in crop]
    sides = (x, y, SIDE // 4 if flat and shape is None else z)
    every = np.indices((4, 4, 4)).reshape(3, -1).T + 8
    voxels = np.concatenate([every, np.ones((len(every), 1), int)], axis=1)
    return Volume(
        _Noise((channels, *sides)),
        _Stripes(sides, classes),
        step=1 / 256,
        foreground=every,
        classes=voxels,
    )


@dataclass(frozen=True)
class _Noise:
    """An image that is drawn where it is read."""

    shape: tuple[int, ...]

    def __getitem__(self, key: Any) -> np.ndarray:
        size = [len(range(*part.indices(n))) for part, n in zip(key, self.shape, strict=True)]
        return np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)


@dataclass(frozen=True)
class _Stripes:
    """A label map in which every class is."""

    shape: tuple[int, ...]
    classes: int

    def __getitem__(self, key: Any) -> np.ndarray:
        sides = [np.arange(*part.indices(n)) for part, n in zip(key, self.shape, strict=True)]
        x, y, z = np.ix_(*(side // STRIPES for side in sides))
        return ((x + y + z) % (self.classes + 1)).astype(np.uint8)


def _batch(samples: list[Sample], count: int) -> Batch:
    """Return a batch on the device that repeats the samples; a large one is a shape alone."""
    stacked = stack(list(samples))
    assert isinstance(stacked, dict)
    return {key: _repeated(value, count) for key, value in stacked.items()}


def _repeated(value: Tensor, count: int) -> Tensor:
    shape = (count, *value.shape[1:])
    if count * value[0].numel() > REAL:
        return _on_device(shape, value.dtype)
    return value.repeat(-(-count // len(value)), *[1] * (value.ndim - 1))[:count].to(device())


def _on_device(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return SecondTensor(torch.empty(shape, dtype=dtype, device="meta"))
