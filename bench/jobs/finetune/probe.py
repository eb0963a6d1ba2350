"""``evaluation: probe``: fit what reads the features of a frozen encoder; convex, so without a seed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.data.parts import Which
from bench.data.prepared import Prepared, opened
from bench.data.values import true_values
from bench.errors import BenchError
from bench.jobs.class_scores import true_classes
from bench.jobs.context import Context
from bench.jobs.finetune.spec import FinetuneSpec
from bench.jobs.inputs import labelled
from bench.jobs.kind import EMBEDDINGS, MAPS
from bench.jobs.probing import CaseCache, Embedded, Encoded, Features, Labels, Samples
from bench.nets.base import Encoder, Model
from bench.probes import logistic, neighbours
from bench.probes.model import Probed, frozen
from bench.probes.ridge import Sums, balanced, fitted
from bench.train.loop import channels_last, fabric
from bench.typed import canonical

GROUPS = 20  # of patients, each left out once; where there are more patients, some share a group
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1)  # of logistic regression
# bytes of products of cases that a worker keeps of the last encoder; of maps as many
ROOM = 1 << 28
ENCODER = "encoder."  # begins the names of its tensors beside those of the probe


@dataclass(frozen=True)
class Source:
    """Features of cases, and what was computed of them: the next probe, on other draws, goes on with it.

    A worker keeps the source of its last probe.
    """

    identity: str  # digest of what the features of a case depend on
    prepared: Prepared
    features: Features
    products: CaseCache[np.ndarray]  # of the labelled cases


_last = list[Source]()


def source_of(
    spec: FinetuneSpec, network: Model | None, prepared: Path, files: dict[str, str]
) -> Source:
    """Return where a probe's features come from.

    Args:
        spec: of the fine-tuning.
        network: whose encoder is read, None where features came from outside.
        prepared: folder of the cases.
        files: folders of features from outside, by digest.
    """
    encoder = {}
    if network is not None and spec.finetune.probe.levels != ():
        encoder = network.encoder.state_dict()
    identity = _identity(spec, encoder)
    cases = opened(prepared)
    if not _last or (_last[0].identity, _last[0].prepared) != (identity, cases):
        features = _features(spec, network, cases, files)
        _last[:] = [Source(identity, cases, features, CaseCache(ROOM))]
    return _last[0]


def _features(
    spec: FinetuneSpec, network: Model | None, prepared: Prepared, files: dict[str, str]
) -> Features:
    device, voxels = fabric(spec.finetune.precision).device, spec.data.task == MAPS
    if network is None:
        folder = Path(files[spec.init.removeprefix(EMBEDDINGS)])
        return Embedded(folder, voxels, prepared, device)
    encoder: Encoder = channels_last(frozen(network.encoder).to(device))
    return Encoded(encoder, spec.finetune.probe, voxels, prepared, spec.network.crop, ROOM)


def fit(context: Context[FinetuneSpec], network: Model | None) -> dict[str, Tensor]:
    """Return the tensors of what reads the features, fitted to the labelled cases, and of the encoder.

    The strength of the penalty, and its error on held-out patients, are noted as facts.

    Args:
        context: of the job.
        network: whose encoder is read, None where features came from outside.

    Raises:
        BenchError: a feature is not finite, a case has none, or there is one class alone.
    """
    spec = context.spec
    assert spec.network.out_channels is not None
    device = fabric(spec.finetune.precision)
    source = source_of(spec, network, context.input(0), context.run.files)
    features = source.features
    probed = Probed(features.size, spec.network.out_channels, spec.finetune.probe).to(device.device)
    encoder = {} if network is None else dict(network.encoder.state_dict())
    training = _Training(context, source, probed)
    groups = training.groups("train")
    context.log(f"{sum(map(len, groups))} labelled cases, {features.size} features")
    with device.autocast(), torch.no_grad():
        (training.fit_voxels if spec.data.task == MAPS else training.fit_cases)(groups)
    return dict(probed.state_dict()) | {ENCODER + name: value for name, value in encoder.items()}


def _left_out(
    x: np.ndarray, y: np.ndarray, group: np.ndarray, classes: int, strength: float
) -> float:
    """Return the balanced cross entropy of samples of groups left out in turn, five times at most."""
    fold, total, parts = group % 5, 0.0, 0
    for number in np.unique(fold):
        rest, out = fold != number, fold == number
        if len(np.unique(y[rest])) < 2:
            continue
        entropy = _entropy((x[rest], y[rest]), (x[out], y[out]), classes, strength)
        total, parts = total + entropy, parts + 1
    return total / max(parts, 1)


def _entropy(
    fit: tuple[np.ndarray, np.ndarray],
    out: tuple[np.ndarray, np.ndarray],
    classes: int,
    strength: float,
) -> float:
    """Return the balanced cross entropy of samples by a regression that is fitted to others."""
    shares = [balanced(np.bincount(y, minlength=classes))[y] for _, y in (fit, out)]
    logits = logistic.fitted(*fit, shares[0], classes, strength)(out[0])
    entropy = np.logaddexp.reduce(logits, axis=1) - logits[np.arange(len(out[1])), out[1]]
    return float(np.average(entropy, weights=shares[1]))


def _in_numpy(samples: Samples) -> tuple[np.ndarray, np.ndarray]:
    return samples[0].double().cpu().numpy(), samples[1].cpu().numpy()


class _Training:
    """Fits a probe to features and labels of a task's labelled cases."""

    def __init__(self, context: Context[FinetuneSpec], source: Source, probed: Probed) -> None:
        spec = context.spec
        self._context, self._spec, self._probed = context, spec, probed
        self._prepared, self._source = source.prepared, source
        self.labels = Labels(source.prepared, source.features, probed.classes, spec.data.ignore)
        self._root = context.run.roots.get(spec.data.dataset)

    def fit_voxels(self, groups: Sequence[Sequence[str]]) -> None:
        """Fit to the labelled voxels of groups of cases."""
        settings, judges = self._spec.finetune.probe, self.judges()
        weights = self._class_weights(self.labels.counts(list(chain(*groups))))
        if settings.kind != "ridge":
            drawn = [self.spread(cases, settings.samples // len(groups)) for cases in groups]
            features, labels = (torch.cat(parts) for parts in zip(*drawn, strict=True))
            group = np.repeat(np.arange(len(drawn)), [len(labels) for _, labels in drawn])
            judged = self.spread(judges, settings.samples) if judges else None
            self._fit_samples((features, labels), group, judged)
            return
        sums = []
        for number, cases in enumerate(groups, 1):
            sums.append(Sums.of_classes(self.products(cases), weights))
            self._context.progress(number, len(groups))
            self._context.check()
        validation = Sums.of_classes(self.products(judges), weights) if judges else None
        self._fit_ridge(sums, validation)

    def fit_cases(self, groups: Sequence[Sequence[str]]) -> None:
        """Fit to one vector of each case, and its class or its number."""
        settings, value = self._spec.finetune.probe, self._spec.data.value
        judges, count = self.judges(), self._probed.classes
        read = [self.cases(cases) for cases in groups]
        group = np.repeat(np.arange(len(read)), [len(true) for _, true in read])
        features, true = (torch.cat(parts) for parts in zip(*read, strict=True))
        weights = np.ones(1)
        if value is None:
            counts = np.bincount(true.cpu().numpy().astype(int), minlength=count)
            weights = self._class_weights(counts)
        if settings.kind != "ridge":
            every = neighbours.spread(len(features), settings.samples)
            judged = self.cases(judges) if judges else None
            self._fit_samples((features[every], true[every]), group[every], judged)
            return

        def sums(x: Tensor, y: Tensor) -> Sums:
            numbers = y.double().cpu().numpy()
            classes = numbers.astype(int) if value is None else np.zeros(len(numbers), int)
            targets = np.eye(count)[classes] if value is None else numbers[:, None]
            return Sums.of(x.double().cpu().numpy(), targets, weights[classes])

        validation = sums(*self.cases(judges)) if judges else None
        self._fit_ridge([sums(*part) for part in read], validation)

    def _class_weights(self, counts: np.ndarray) -> np.ndarray:
        """Return the weight of a sample of each class; refuse one class alone."""
        weights = balanced(counts)
        if np.count_nonzero(weights) < 2:
            raise BenchError(
                f"{self._spec.data.dataset}: a probe needs two classes, and all labelled cases are of one "
                "class; use more labelled cases, or another split"
            )
        return weights

    def _fit_ridge(self, sums: Sequence[Sums], validation: Sums | None) -> None:
        choice = fitted(sums, validation=validation)
        self._probed.read_by(choice.linear)
        self._context.facts["probe"] = {"strength": choice.strength, "errors": list(choice.errors)}

    def _fit_samples(self, samples: Samples, group: np.ndarray, judged: Samples | None) -> None:
        """Let samples vote, or fit a logistic regression.

        Its strength is chosen on ``judged``, else on groups left out.
        """
        features, labels = samples
        probed, classes = self._probed, self._probed.classes
        if probed.probe.kind == "knn":
            probed.remember(features.float(), labels)
            return
        x, y = _in_numpy(samples)
        if judged is None:
            errors = [_left_out(x, y, group, classes, strength) for strength in PENALTIES]
        else:
            out = _in_numpy(judged)
            errors = [_entropy((x, y), out, classes, strength) for strength in PENALTIES]
        at = int(np.argmin(errors)) if any(errors) else len(PENALTIES) // 2  # one group alone
        strength = PENALTIES[at]
        weights = balanced(np.bincount(y, minlength=classes))[y]
        probed.read_by(logistic.fitted(x, y, weights, classes, strength))
        self._context.facts["probe"] = {"strength": strength, "errors": errors}

    def judges(self) -> list[str]:
        """Return the cases of validation patients on which a strength is chosen; none: on groups left out."""
        if self._spec.finetune.probe.strength != "val":
            return []
        return list(chain(*self.groups("val")))

    def groups(self, which: Which) -> list[list[str]]:
        """Return the cases of each patient; of many patients, of several together."""
        spec, patients = self._spec, dict[str, list[str]]()
        ids = labelled(self._prepared, spec.data, which, self._root, spec.seed)
        patient = {case.id: case.patient for case in self._prepared.cases()}
        for case in ids:
            patients.setdefault(patient[case], []).append(case)
        if not patients:
            raise BenchError(
                f"{spec.data.dataset}: 'probe.strength: val' needs validation patients, and split "
                f"{spec.data.split!r} has none; use 'leave_out'"
            )
        cases = list(patients.values())
        return [list(chain(*cases[n::GROUPS])) for n in range(min(GROUPS, len(cases)))]

    def cases(self, cases: Sequence[str]) -> Samples:
        """Return the vector of each case, (n, d), and its class or its number, (n,)."""
        vectors = torch.stack([self._source.features.vector(case) for case in cases])
        if self._spec.data.value is None:
            true = torch.tensor(true_classes(self._prepared, cases, self._probed.classes))
        else:
            true = torch.from_numpy(true_values(self._prepared, cases, self._spec.data.value))
        return vectors, true.to(vectors.device)

    def products(self, cases: Sequence[str]) -> np.ndarray:
        """Return what ``ridge.products`` sums up, over some cases."""
        return reduce(np.add, map(self._of_case, cases))

    def _of_case(self, case: str) -> np.ndarray:
        return self._source.products.get(case, lambda: self.labels.products(case))

    def spread(self, cases: Sequence[str], most: int) -> Samples:
        """Return voxels of some cases, each class's evenly spread over all of it.

        Args:
            cases: at least one.
            most: of all classes together; those that occur have equal shares.
        """
        counts = self.labels.counts(cases)
        share = max(1, most // max(1, int(np.count_nonzero(counts))))
        wanted = [np.isin(np.arange(n), neighbours.spread(int(n), share).numpy()) for n in counts]
        first = np.zeros_like(counts)
        features, chosen_labels = list[Tensor](), list[Tensor]()
        for x, classes_of in chain.from_iterable(map(self.labels.voxels, cases)):
            labels = classes_of.cpu().numpy()
            chosen = np.zeros(len(labels), bool)
            for c in range(len(counts)):
                rows = np.flatnonzero(labels == c)
                chosen[rows] = wanted[c][first[c] : first[c] + len(rows)]
                first[c] += len(rows)
            index = torch.from_numpy(np.flatnonzero(chosen)).to(x.device)
            features.append(x[index])
            chosen_labels.append(classes_of[index])
        return torch.cat(features), torch.cat(chosen_labels)


def _identity(spec: FinetuneSpec, encoder: Mapping[str, Tensor]) -> str:
    """Return what the features of a case depend on, as one digest."""
    hashed = hashlib.sha256()
    start = spec.init if not encoder else ""
    hashed.update(f"{start} {canonical(spec.features)}".encode())
    for name, value in encoder.items():
        hashed.update(name.encode())
        hashed.update(value.cpu().contiguous().numpy().tobytes())
    return hashed.hexdigest()
