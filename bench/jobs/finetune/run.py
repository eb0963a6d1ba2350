"""Fine-tune: one network on one label fraction of one data set."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench import nets
from bench.augment import read_size
from bench.data import regions
from bench.data.parts import Which
from bench.data.prepared import opened
from bench.data.reader import Volume
from bench.errors import BenchError
from bench.jobs import initial_weights, ordinal, training
from bench.jobs.class_scores import CLASSIFICATION, true_classes
from bench.jobs.context import Context
from bench.jobs.finetune import probe
from bench.jobs.finetune.spec import TRACKED, FinetuneSpec, TuningSpec, settings_text
from bench.jobs.finetune.supervised import Judge, LossConfig, Supervised
from bench.jobs.finetune.tracking import Curve, Predict, ValidationCache
from bench.jobs.initial_weights import Tensors
from bench.jobs.inputs import declaration, labelled
from bench.jobs.predict import mean_accuracy, mean_dice
from bench.jobs.prepare.spec import PrepareSpec
from bench.nets import controls, transfer
from bench.nets.base import triple
from bench.nets.public_weights import Stated
from bench.protocol.sections import JUDGES, Inference, Windows
from bench.random import numpy_rng, torch_seed
from bench.ranges import Triple
from bench.train import adapters, label_losses
from bench.train.loop import Curve as TrainingCurve
from bench.train.phases import Phases
from bench.train.samples import Sample
from bench.typed import narrowed, plain

# a fact: the score on the patients that validate, by which a grid chooses
VALIDATION = "validation"
# facts: the output channels by name, and after how many steps the selected weights were kept
LABELS, SELECTED = "labels", "selected_step"
TAKEN_OVER = ("curve.csv", TRACKED)
PRIOR = 64  # crops whose labels give the frequencies of classes


def run(context: Context[FinetuneSpec]) -> None:
    """Train from the last checkpoint and write ``last.safetensors`` (and the selected weights)."""
    if context.spec.tune:
        recipe = _choose(context)
        if recipe is None:
            return
        chosen = replace(context.spec, finetune=recipe, tune=())
        context = replace(context, job=replace(context.job, spec=chosen))
    spec = context.spec
    tuning, data = spec.finetune, spec.data
    root = context.run.roots.get(data.dataset)
    context.facts[LABELS] = spec.channels(declaration(data.dataset, root))
    network, loaded = (None, ()) if spec.has_features else build(context)
    manifest = _manifest(context, network)
    if spec.probes or network is None:
        tensors = probe.fit(context, network)
        transfer.save(context.folder / "last.safetensors", tensors, manifest)
        training.keep_curve(context, TrainingCurve())
        return
    if not tuning.is_trained:
        transfer.save(context.folder / "last.safetensors", dict(network.state_dict()), manifest)
        training.keep_curve(context, TrainingCurve())
        return
    cases = labelled(opened(context.input(0)), data, "train", root, spec.seed)
    judge, tracked, validate = _validation(context, root)
    read = (_ClassReader if data.task == CLASSIFICATION else _MapReader)(context, cases)
    if tuning.prior and tuning.output == "new":
        _start_at_frequencies(
            network, [read(n % len(cases), 0, n)["label"] for n in range(PRIOR)], spec
        )
    loaded = adapters.attach(network, loaded, tuning.lora)
    phases = Phases(network, loaded, tuning)
    objective = Supervised(network, loss_config(spec), judge, phases, tracked, tuning.ema)
    context.log(f"{len(cases)} labelled cases, {tuning.steps} steps of {tuning.batch}")
    each = tuning.batch // (tuning.scans or tuning.batch)
    curve = training.fit(context, objective, tuning, read, len(cases), each)
    weights = adapters.merged(objective.scored)
    transfer.save(context.folder / "last.safetensors", weights, manifest)
    if judge is not None and tuning.select != "last":
        transfer.save(context.folder / f"{tuning.select}.safetensors", judge.weights, manifest)
        context.facts[SELECTED] = judge.best_at
    training.keep_curve(context, curve)
    if tracked is not None:
        tracked.save(context.folder)
    if validate is not None:
        if judge is not None and tuning.select == "best_val":
            context.facts[VALIDATION] = judge.best
        else:
            context.facts[VALIDATION] = validate.mean(tuning.steps or 0, objective.scored)


def _choose(context: Context[FinetuneSpec]) -> TuningSpec | None:
    """Take over the fine-tuning of the recipe with the highest score; under inner folds return its recipe.

    Of a recipe with several judges the mean decides; of equal scores the first recipe of the grid.
    """
    candidates, needs = context.spec.tune, context.job.needs
    manifests = {
        index: context.store.manifest(needs[index]) for c in candidates for index in c.runs
    }
    scores = [
        float(np.mean([manifests[index][VALIDATION] for index in c.judges])) for c in candidates
    ]
    best = int(np.argmax(scores))  # the first of equal ones
    index, inner, own = candidates[best].runs[0], candidates[best].inner, context.spec.finetune
    judges, recipe = JUDGES["folds" if inner else "val"], context.done(index, FinetuneSpec).finetune
    if inner:  # a half of the patients may have had another budget
        budget: dict[str, Any] = {k: getattr(own, k) for k in ("steps", "track", "inference")}
        recipe = replace(recipe, validated=False, **budget)
    for candidate, score in zip(candidates, scores, strict=True):
        context.log(f"{score:.4f} on {judges}: {settings_text(candidate.settings)}")
    context.log(f"chosen settings: {settings_text(candidates[best].settings)}")
    context.facts["choice"] = {
        "best": best,
        "scores": scores,
        "settings": [settings_text(c.settings) for c in candidates],
        "on": judges,
        "recipe": plain(recipe),
    }
    if inner:
        return recipe
    for file in context.input(index).iterdir():
        if file.name in TAKEN_OVER or file.suffix == ".safetensors":
            shutil.copyfile(file, context.folder / file.name)
    inherited = ("method", "receipt", "steps", "samples", "voxels", "waited", LABELS, SELECTED)
    context.facts |= {key: manifests[index][key] for key in inherited if key in manifests[index]}
    return None


def _start_at_frequencies(
    network: nets.Model, labels: Sequence[np.ndarray], spec: FinetuneSpec
) -> None:
    """Set the last layer's bias so that an image without features gets each class as often as it occurs.

    A softmax gets log frequencies, the sigmoids of regions and grades log odds; classes that do not occur
    count as half a voxel or case. Else a label may be predicted where every feature is low, by its bias alone
    (docs/finetuning.md).

    Args:
        network: keeps its weights.
        labels: maps (X, Y, Z) of crops as training reads them, or classes.
        spec: of the head.
    """
    values = np.concatenate([np.ravel(label) for label in labels]).astype(np.int64)
    count = np.bincount(values, minlength=network.out_channels).astype(np.float64)
    if spec.data.regions:
        count = np.array([count[list(region)].sum() for region in spec.data.regions])
    elif spec.finetune.head == ordinal.ORDINAL:
        count = count[::-1].cumsum()[::-1]
    share = (count + 0.5) / (len(values) + 1.0)
    log = np.log(share) if spec.finetune.head == "softmax" else np.log(share / (1 - share))
    for name, bias in network.named_parameters():
        if name.startswith(network.output) and name.endswith("bias") and bias.shape == log.shape:
            with torch.no_grad():
                bias.copy_(torch.from_numpy(log))


def loss_config(spec: FinetuneSpec) -> LossConfig:
    """Return how a fine-tuning's crops become its loss."""
    tuning, data = spec.finetune, spec.data
    name = tuning.loss or ""
    if data.task == CLASSIFICATION:
        loss: label_losses.Loss = (
            ordinal.loss if tuning.head == ordinal.ORDINAL else label_losses.cross_entropy
        )
    elif tuning.head == "regions":
        table = torch.from_numpy(regions.one_hot(data.regions))
        loss = label_losses.of_regions(
            name, table, batch=tuning.batch_dice, ce_weight=tuning.ce_weight, ignore=data.ignore
        )
    else:
        loss = label_losses.of_maps(
            name,
            background=tuning.background,
            batch=tuning.batch_dice,
            ce_weight=tuning.ce_weight,
            ignore=data.ignore,
        )
    return LossConfig(loss, tuning.augment, spec.network.crop, tuning.deep_supervision)


def _manifest(context: Context[FinetuneSpec], network: nets.Model | None) -> transfer.Manifest:
    net = context.spec.network
    classes = net.out_channels or 0
    return transfer.Manifest(
        network=net.network,
        preset=net.preset,
        in_channels=net.in_channels,
        out_channels=classes if network is None else network.out_channels,
        crop=net.crop,
        key=context.id,
        recipe=plain(context.done(0, PrepareSpec).recipe),
        method=context.facts.get("method", ""),
    )


def build(context: Context[FinetuneSpec]) -> tuple[nets.Model, Collection[str]]:
    """Return the network of the task with its initial weights, and the names of those that were loaded.

    The load receipt goes to log and manifest. The initial weights of decoder or head depend on the seed
    alone, so all rows of a seed share them.
    """
    spec = context.spec
    pretrained = context.input(1) if spec.init.startswith("job:") else None
    receiver = partial(initial_weights.network_of, spec.network, spec.data.task)
    weights = initial_weights.weights_of(context, pretrained, receiver, spec.loads_output)
    initial_weights.seeded(spec.seed)
    network = initial_weights.network_of(spec.network, spec.data.task, _classes(spec, weights))
    receipt = initial_weights.start(
        context, network, weights, partial(_controlled, spec, network), spec.loads_output
    )
    if receipt is not None and spec.finetune.evaluation == "as_loaded":
        _refuse_partial(receipt)
    return network, receipt.matched if receipt else ()


def _classes(spec: FinetuneSpec, weights: initial_weights.Weights | None) -> int:
    """Return how many classes the file's own output layer has, 0 where the task says it."""
    return weights.manifest.out_channels if weights is not None and spec.given.own_head else 0


def _controlled(spec: FinetuneSpec, network: nets.Model, tensors: Tensors) -> Tensors:
    """Return the tensors as a control row starts from them: shuffled, or nearer to the fresh weights."""
    if spec.control == "shuffled":
        tensors = controls.shuffled(tensors, torch_seed(spec.seed, "shuffled"))
    return tensors if spec.dose == 1 else controls.diluted(tensors, network.state_dict(), spec.dose)


def _refuse_partial(receipt: transfer.Receipt) -> None:
    """Refuse to score a network of which a part did not come."""
    lacking = (*receipt.missing, *receipt.left_random)
    if lacking:
        raise BenchError(
            f"evaluation: as_loaded: {len(lacking)} tensors of the network are not in the weights, the first "
            f"is {lacking[0]!r}; fine-tune the row, or use weights of the whole network"
        )


def rehearse(spec: FinetuneSpec, path: Path | None, stated: Sequence[Stated] = ()) -> str:
    """Load a file of weights into the network, and refuse a batch that may not be cut.

    Returns:
        A line on what the file leaves open, else nothing.

    Raises:
        BenchError: the weights do not fit, or a layer looks at the whole batch.
    """
    given, output, left_open, weights = spec.given, spec.loads_output, "", None
    if path is not None:
        receiver = partial(initial_weights.network_of, spec.network, spec.data.task)
        weights = initial_weights.Weights.of_file(path, given, receiver, output)
    network = initial_weights.network_of(spec.network, spec.data.task, _classes(spec, weights))
    if weights is not None and path is not None:
        left_open = initial_weights.rehearse(network, weights, path, given.lacks, output, stated)
    frozen = network.encoder if spec.finetune.evaluation == "linear" else None
    training.check_micro_batches(network, spec.finetune, spec.kind, frozen)
    return left_open


def _validation(
    context: Context[FinetuneSpec], root: str | None
) -> tuple[Judge | None, Curve | None, ValidationCache | None]:
    """Return who chooses weights, who keeps the learning curve, who scores the patients that validate.

    They share looks at the same cases.
    """
    tuning, judge, curve = context.spec.finetune, None, None
    tracked, caches = tuning.track, dict[Which, ValidationCache]()
    if tuning.validated:
        caches["val"] = _validation_cache(context, "val", root, "tune")
    if tuning.judged:
        which: Which = "test" if tuning.select == "best_test" else "val"
        if which not in caches:
            caches[which] = _validation_cache(context, which, root, f"select: {tuning.select}")
        word = "accuracy" if context.spec.data.task == CLASSIFICATION else "Dice"
        judge = Judge(
            tuning, caches[which].mean, partial(_tell, context, word, caches[which].cases)
        )
    if tracked is not None:
        if tracked.part not in caches:
            caches[tracked.part] = _validation_cache(context, tracked.part, root, "track")
        curve = Curve(tracked, tuning.steps or 0, caches[tracked.part])
    return judge, curve, caches["val"] if tuning.validated else None


def _tell(context: Context[FinetuneSpec], word: str, cases: int, step: int, score: float) -> None:
    context.log(f"step {step}: {word} {score:.4f} on {cases} held-out cases")


def _validation_cache(
    context: Context[FinetuneSpec], which: Which, root: str | None, why: str
) -> ValidationCache:
    tuning, data, net = context.spec.finetune, context.spec.data, context.spec.network
    prepared = opened(context.input(0))
    cases = labelled(prepared, data, which, root, context.spec.seed, full=tuning.val == "full")
    if not cases:
        raise BenchError(
            f"{data.dataset}: {why} needs {which} patients and split {data.split!r} has none; use 'select: "
            "last' and no 'track', or set 'holdout'"
        )
    windows = narrowed(Windows, tuning.inference or Inference(), crop=net.crop)
    given: dict[str, Any] = {"prepared": prepared, "cases": cases, "windows": windows}
    if data.task == CLASSIFICATION:
        predict: Predict = partial(mean_accuracy, **given, head=tuning.head)
    else:
        predict = partial(
            mean_dice, **given, regions=data.regions, paint=data.paint, ignore=data.ignore
        )
    tracked = tuning.track if tuning.track and tuning.track.part == which else None
    return ValidationCache(predict, prepared, len(cases), tracked, tuning.head, data.ignore)


class _Reader:
    """Reads one crop; travels to loader workers."""

    def __init__(self, context: Context[FinetuneSpec], cases: list[str]) -> None:
        spec = context.spec
        self._folder, self._cases = context.input(0), cases
        self._crop, self._seed = spec.network.crop, spec.seed
        self._wide = read_size(self._crop, spec.finetune.augment)

    def _read_corner(self, start: Triple) -> Triple:
        """Return the corner of what is read, the network's crop in its middle."""
        return triple(
            [a - (w - n) // 2 for a, w, n in zip(start, self._wide, self._crop, strict=True)]
        )

    def __call__(self, case: int, step: int, sample: int) -> Sample:
        raise NotImplementedError


class _MapReader(_Reader):
    """An image (C, X, Y, Z) and its label map (X, Y, Z)."""

    def __init__(self, context: Context[FinetuneSpec], cases: list[str]) -> None:
        super().__init__(context, cases)
        tuning = context.spec.finetune
        self._foreground, self._balanced = tuning.foreground, tuning.balanced
        self._avoid, self._ignore = tuning.negatives == "background", context.spec.data.ignore
        self._last = round(tuning.batch * (1 - (self._foreground or 0))) if tuning.exact else None

    def __call__(self, case: int, step: int, sample: int) -> Sample:
        volume = opened(self._folder).volume(self._cases[case])
        rng = numpy_rng(self._seed, "crop", step, sample)
        start = volume.random_start(self._crop, rng)
        voxels = None
        if self._foreground is not None and self._positive(sample, rng):
            voxels = _one_class(volume.classes, rng) if self._balanced else volume.foreground
        elif self._avoid:
            voxels = _unlabelled(volume, rng)
        elif self._ignore is not None:
            voxels = _judged(volume, self._ignore, rng)
        corner = self._read_corner(_centred(voxels, start, self._crop, volume.shape, rng))
        return {
            "image": volume.crop(corner, self._wide),
            "label": volume.crop_label(corner, self._wide),
        }

    def _positive(self, sample: int, rng: np.random.Generator) -> bool:
        """Tell whether a crop is to be centred on a labelled voxel: by chance, or the last of a batch."""
        drawn = rng.random() < (self._foreground or 0)
        return bool(drawn) if self._last is None else sample >= self._last


class _ClassReader(_Reader):
    """An image (C, X, Y, Z) and the case's class."""

    def __init__(self, context: Context[FinetuneSpec], cases: list[str]) -> None:
        super().__init__(context, cases)
        classes = context.spec.network.out_channels or 0
        self._classes = true_classes(opened(self._folder), cases, classes)

    def __call__(self, case: int, step: int, sample: int) -> Sample:
        volume = opened(self._folder).volume(self._cases[case])
        start = volume.random_start(self._crop, numpy_rng(self._seed, "crop", step, sample))
        image = volume.crop(self._read_corner(start), self._wide)
        return {"image": image, "label": np.array(self._classes[case])}


def _one_class(voxels: np.ndarray | None, rng: np.random.Generator) -> np.ndarray | None:
    """Return the remembered voxels of a class drawn among those that the case has."""
    if voxels is None or not len(voxels):
        return None
    return voxels[voxels[:, 3] == rng.choice(np.unique(voxels[:, 3])), :3]


def _unlabelled(volume: Volume, rng: np.random.Generator) -> np.ndarray | None:
    """Return a voxel (1, 3) of the background that is not air, None where twenty draws meet none.

    As MONAI's ``RandCropByPosNegLabel`` with ``image_threshold=0`` of an image that is clipped to 0..1: air
    is what has the volume's lowest value.
    """
    for _ in range(20):
        voxel = rng.integers(volume.shape)
        at = triple(voxel.tolist())
        if (
            not volume.crop_label(at, (1, 1, 1)).any()
            and volume.crop(at, (1, 1, 1)).max() > volume.lowest
        ):
            return voxel[None]
    return None


def _judged(volume: Volume, ignore: int, rng: np.random.Generator) -> np.ndarray | None:
    """Return a voxel (1, 3) that somebody labelled, as background or more; None where forty draws meet none.

    As nnU-Net centres crops that no class is drawn for where a data set has a label to ignore.
    """
    for _ in range(40):
        voxel = rng.integers(volume.shape)
        if volume.crop_label(triple(voxel.tolist()), (1, 1, 1)).item() != ignore:
            return voxel[None]
    return None


def _centred(
    voxels: np.ndarray | None, start: Triple, crop: Triple, shape: Triple, rng: np.random.Generator
) -> Triple:
    """Return a corner that centres a labelled voxel as far as the volume's border allows."""
    if voxels is None or not len(voxels):
        return start
    centre = voxels[rng.integers(len(voxels))]
    room = np.maximum(np.subtract(shape, crop), 0)
    wanted = np.clip(centre - np.array(crop) // 2, 0, room)
    fits = np.subtract(shape, crop) >= 0
    return triple(np.where(fits, wanted, start).tolist())
