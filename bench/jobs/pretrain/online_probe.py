"""A probe as an online figure: what the encoder tells of labels while a method trains it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import numpy as np
import torch
from torch import nn

from bench.data.prepared import Prepared
from bench.errors import BenchError
from bench.jobs.class_scores import true_classes
from bench.jobs.kind import MAPS
from bench.jobs.pretrain.spec import FILE, Probing
from bench.jobs.probing import Encoded, Labels, case_scores, mean_dice
from bench.jobs.watch import still
from bench.nets.base import Encoder
from bench.probes.model import Probed
from bench.probes.ridge import Sums, balanced, fitted
from bench.protocol.sections import Probe
from bench.ranges import Triple

TITLES = {"dice": "Dice", "accuracy": "accuracy"}


@dataclass(frozen=True)
class Patients:
    """Prepared cases of the patients that an online probe reads."""

    prepared: Prepared
    fitted: Sequence[Sequence[str]]  # cases of each patient
    scored: Sequence[str]


class OnlineProbe:
    """Fits a ridge probe to some patients now and then, and keeps its score on others.

    Args:
        probing: what is read, and how often.
        patients: whom; they are looked up before the first look.
        encoder: as it is trained; looking changes nothing of it.
        crop: of the windows, side by side.
        steps: of the pretraining.
        log: takes a line for each look.
    """

    def __init__(
        self,
        probing: Probing,
        patients: Callable[[], Patients],
        encoder: Encoder,
        crop: Triple,
        steps: int,
        log: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._probing, self._find, self._encoder = probing, patients, encoder
        self._classes = probing.classes
        self._crop, self._steps, self._log = crop, steps, log
        self._patients: Patients | None = None
        self.rows: list[dict[str, float]] = []

    @property
    def metric(self) -> str:
        """Return what the score is: ``dice`` of label maps, ``accuracy`` of classes."""
        return "dice" if self._probing.task == MAPS else "accuracy"

    def at(self, step: int) -> None:
        """Look, where it is time to, before the first step (0) or after ``step`` of them.

        Raises:
            BenchError: a feature is not finite, or the patients that fit have one class alone.
        """
        if not self._probing.due(step, self._steps):
            return
        if self._patients is None:
            self._patients = self._find()
        with untouched(self._encoder), torch.no_grad():
            score = self._score(self._patients)
        self.rows.append({"step": step, self.metric: score})
        self._log(f"step {step}: online probe: {TITLES[self.metric]} {score:.4f}")

    def _score(self, patients: Patients) -> float:
        probing, prepared, scored = self._probing, patients.prepared, patients.scored
        probe = Probe(levels=probing.levels, intensity=probing.intensity)
        voxels, classes = probing.task == MAPS, self._classes
        features = Encoded(self._encoder, probe, voxels, prepared, self._crop)
        device = next(self._encoder.parameters()).device
        probed = Probed(features.size, classes, probe).to(device)
        labels = Labels(prepared, features, classes, probing.ignore)
        every = [case for cases in patients.fitted for case in cases]
        if voxels:
            counts = labels.counts(every)
        else:
            counts = np.bincount(true_classes(prepared, every, classes), minlength=classes)
        weights = balanced(counts)
        if np.count_nonzero(weights) < 2:
            raise BenchError(
                f"pretrain.probe: the {len(patients.fitted)} patients of {probing.dataset} on "
                "which the probe is fitted all have the same class; use more patients"
            )
        if voxels:
            each = [reduce(np.add, map(labels.products, cases)) for cases in patients.fitted]
            probed.read_by(fitted([Sums.of_classes(part, weights) for part in each]).linear)
            return mean_dice(features, probed, prepared, scored, probing.ignore)
        sums = []
        for cases in patients.fitted:
            x = np.stack([features.vector(case).double().cpu().numpy() for case in cases])
            true = np.array(true_classes(prepared, cases, classes))
            sums.append(Sums.of(x, np.eye(classes)[true], weights[true]))
        probed.read_by(fitted(sums).linear)
        predicted = [int(case_scores(features, probed, case, True).argmax()) for case in scored]
        return float(np.mean(np.array(predicted) == true_classes(prepared, scored, classes)))

    def save(self, folder: Path) -> None:
        """Write every look."""
        import pandas as pd

        pd.DataFrame(self.rows).to_csv(folder / FILE, index=False, float_format="%.6g")

    def verdict(self) -> str:
        """Return one line on how the run went, "" where nobody looked."""
        if not self.rows:
            return ""
        first, last = (row[self.metric] for row in (self.rows[0], self.rows[-1]))
        return (
            f"online probe: {TITLES[self.metric]} {first:.4f} -> {last:.4f}; the probe selected nothing and "
            "changed no weight"
        )


@contextmanager
def untouched(module: nn.Module) -> Iterator[None]:
    """Switch to evaluation; afterwards modes, buffers and torch's random state are what they were."""
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    buffers = [(buffer, buffer.detach().clone()) for buffer in module.buffers()]
    with torch.random.fork_rng(devices=devices), still(module):
        try:
            yield
        finally:
            with torch.no_grad():
                for buffer, value in buffers:
                    buffer.copy_(value)
