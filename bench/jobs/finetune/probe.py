"""``evaluation: probe``: fit what reads a frozen encoder's features; convex, so without a seed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from bench.data.parts import Which
from bench.data.prepared import Prepared, opened
from bench.errors import BenchError
from bench.jobs.context import Context
from bench.jobs.finetune.spec import FinetuneSpec
from bench.jobs.inputs import labelled
from bench.jobs.kind import MAPS
from bench.jobs.labelled_cases import LabelledCases, Samples
from bench.nets.base import Model
from bench.probes import logistic, neighbours
from bench.probes.model import Probed, frozen
from bench.probes.ridge import Sums, balanced, fitted
from bench.train.loop import channels_last, fabric
from bench.typed import canonical

GROUPS = 20  # of patients, each left out once; where there are more patients, some share a group
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1)  # of logistic regression


def fit(context: Context[FinetuneSpec], network: Model) -> Probed:
    """Return a network's encoder with what reads it, fitted to the labelled cases.

    The strength of the penalty, and its error on held-out patients, are noted as facts.

    Raises:
        BenchError: a feature is not finite, or there is one class alone.
    """
    spec = context.spec
    frozen(network.encoder)
    device = fabric(spec.finetune.precision)
    probed = Probed(network, spec.finetune.probe, spec.data.task == MAPS)
    probed = channels_last(probed.to(device.device)).eval()
    source = _Source(context, probed)
    groups = source.groups("train")
    weights = balanced(source.counts(groups))
    if np.count_nonzero(weights) < 2:
        raise BenchError(
            f"{spec.data.dataset}: a probe tells classes apart, and the labelled cases have one alone; "
            "take more of them, or another split"
        )
    context.log(f"{sum(map(len, groups))} labelled cases, {probed.features.size} features")
    with device.autocast(), torch.no_grad():
        if spec.finetune.probe.kind == "ridge":
            _ridge(context, source, groups, weights, probed)
        else:
            _by_samples(context, source, groups, probed)
    return probed


def _ridge(
    context: Context[FinetuneSpec],
    source: _Source,
    groups: Sequence[Sequence[str]],
    weights: np.ndarray,
    probed: Probed,
) -> None:
    sums = []
    for number, cases in enumerate(groups, 1):
        sums.append(source.sums(cases, weights))
        context.progress(number, len(groups))
        context.check()
    validation = None
    if context.spec.finetune.probe.strength == "val":
        validation = source.sums([c for group in source.groups("val") for c in group], weights)
    choice = fitted(sums, validation=validation)
    probed.read_by(choice.linear)
    context.facts["probe"] = {"strength": choice.strength, "errors": list(choice.errors)}


def _by_samples(
    context: Context[FinetuneSpec], source: _Source, groups: Sequence[Sequence[str]], probed: Probed
) -> None:
    """Fit on samples spread evenly over those of each class, as many of each as there are."""
    settings = context.spec.finetune.probe
    drawn = [source.spread(cases, settings.samples // len(groups)) for cases in groups]
    features, classes = (
        torch.cat([s.features for s in drawn]),
        torch.cat([s.classes for s in drawn]),
    )
    if settings.kind == "knn":
        probed.remember(features.float(), classes)
        return
    x, y = features.double().cpu().numpy(), classes.cpu().numpy()
    group = np.repeat(np.arange(len(drawn)), [len(s.classes) for s in drawn])
    errors = [_left_out(x, y, group, probed.classes, strength) for strength in PENALTIES]
    strength = PENALTIES[int(np.argmin(errors))]
    weights = balanced(np.bincount(y, minlength=probed.classes))[y]
    probed.read_by(logistic.fitted(x, y, weights, probed.classes, strength))
    context.facts["probe"] = {"strength": strength, "errors": errors}


def _left_out(
    x: np.ndarray, y: np.ndarray, group: np.ndarray, classes: int, strength: float
) -> float:
    """Return the balanced cross entropy of samples of groups left out in turn, five times at most."""
    fold, total, parts = group % 5, 0.0, 0
    for number in np.unique(fold):
        rest, out = fold != number, fold == number
        if len(np.unique(y[rest])) < 2:
            continue
        weights = balanced(np.bincount(y[rest], minlength=classes))
        linear = logistic.fitted(x[rest], y[rest], weights[y[rest]], classes, strength)
        logits = linear(x[out])
        entropy = np.logaddexp.reduce(logits, axis=1) - logits[np.arange(out.sum()), y[out]]
        share = balanced(np.bincount(y[out], minlength=classes))[y[out]]
        total, parts = total + float(np.average(entropy, weights=share)), parts + 1
    return total / max(parts, 1)


class _Kept:
    """Products of the cases of one encoder: its next probe, on other draws of patients, finds them here."""

    def __init__(self, most: int) -> None:
        self._most, self._what = most, ""  # bytes
        self._cases = dict[str, np.ndarray]()

    def of(self, what: str) -> dict[str, np.ndarray]:
        """Return what is kept of this encoder, data and settings, by case; what was kept of others is dropped."""
        if what != self._what:
            self._what, self._cases = what, {}
        return self._cases

    def put(self, case: str, products: np.ndarray) -> None:
        """Keep a case's products where there is room."""
        if sum(kept.nbytes for kept in self._cases.values()) + products.nbytes <= self._most:
            self._cases[case] = products


_kept = _Kept(1 << 28)


class _Source:
    """Features and classes of a task's labelled cases, window by window."""

    def __init__(self, context: Context[FinetuneSpec], probed: Probed) -> None:
        spec = context.spec
        self._spec, self._probed = spec, probed
        self._prepared: Prepared = opened(context.input(0))
        self._root = context.run.roots.get(spec.data.dataset)
        self._device = next(probed.parameters()).device
        self._cases = LabelledCases(probed, self._prepared, spec.network.crop, spec.data)
        self._kept = _kept.of(_identity(context, probed))

    def groups(self, which: Which) -> list[list[str]]:
        """Return the cases of each patient; of many patients, of several together."""
        spec, patients = self._spec, dict[str, list[str]]()
        ids = labelled(self._prepared, spec.data, which, self._root, spec.seed)
        patient = {case.id: case.patient for case in self._prepared.cases()}
        for case in ids:
            patients.setdefault(patient[case], []).append(case)
        if not patients:
            raise BenchError(
                f"{spec.data.dataset}: 'probe.strength: val' needs patients that validate, and split "
                f"{spec.data.split!r} has none; take 'leave_out'"
            )
        cases = list(patients.values())
        return [list(chain(*cases[n::GROUPS])) for n in range(min(GROUPS, len(cases)))]

    def counts(self, groups: Sequence[Sequence[str]]) -> np.ndarray:
        """Return how many voxels, or cases, of each class there are, (K,); without what nobody labelled."""
        return self._cases.counts([case for cases in groups for case in cases])

    def sums(self, cases: Sequence[str], weights: np.ndarray) -> Sums:
        """Return what ridge regression needs of some cases.

        Args:
            cases: at least one.
            weights: of a sample of each class, (K,).
        """
        return Sums.of_classes(sum(map(self._products, cases)), weights)

    def _products(self, case: str) -> np.ndarray:
        """Return a case's products of features for each class; of the last cases, those that are kept."""
        if (known := self._kept.get(case)) is None:
            known = self._cases.products(case)
            _kept.put(case, known)
        return known

    def spread(self, cases: Sequence[str], most: int) -> Samples:
        """Return samples of some cases, each class's evenly spread over all of it.

        Args:
            cases: at least one.
            most: of all classes together; those that occur have equal shares.
        """
        counts = np.zeros(self._probed.classes, np.int64)
        every = list(self._batches(cases, features=False))
        for batch in every:
            counts += np.bincount(batch.classes.cpu().numpy(), minlength=len(counts))
        share = max(1, most // max(1, int(np.count_nonzero(counts))))
        wanted = [np.isin(np.arange(n), neighbours.spread(int(n), share).numpy()) for n in counts]
        first = np.zeros_like(counts)
        features, classes = list[Tensor](), list[Tensor]()
        for batch in self._batches(cases):
            labels = batch.classes.cpu().numpy()
            chosen = np.zeros(len(labels), bool)
            for c in range(len(counts)):
                rows = np.flatnonzero(labels == c)
                chosen[rows] = wanted[c][first[c] : first[c] + len(rows)]
                first[c] += len(rows)
            index = torch.from_numpy(np.flatnonzero(chosen)).to(self._device)
            features.append(batch.features[index])
            classes.append(batch.classes[index])
        return Samples(torch.cat(features), torch.cat(classes))

    def _batches(self, cases: Sequence[str], features: bool = True) -> Iterator[Samples]:
        for case in cases:
            yield from self._cases.samples(case, features)


def _identity(context: Context[FinetuneSpec], probed: Probed) -> str:
    """Return what the features of a case depend on, as one digest."""
    spec, hashed = context.spec, hashlib.sha256()
    data = replace(spec.data, fraction=0, n_train=None)  # of whatever patients
    settings = [spec.network, data, spec.finetune.probe, spec.finetune.precision]
    hashed.update(f"{context.input(0)} {canonical(settings)} {probed.features}".encode())
    for name, value in probed.features.state_dict().items():
        hashed.update(name.encode())
        hashed.update(value.cpu().contiguous().numpy().tobytes())
    return hashed.hexdigest()
