"""Fine-tune: one network on one label fraction of one data set."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

from bench import nets
from bench.data.prepared import opened
from bench.errors import BenchError
from bench.jobs.classes import is_classification, true_classes
from bench.jobs.context import Context
from bench.jobs.curve import keep_curve
from bench.jobs.inputs import part, training_batches
from bench.jobs.predict import mean_accuracy, mean_dice
from bench.jobs.supervised import Judge, Supervised, cross_entropy, dice_ce
from bench.nets import transfer
from bench.nets.network import Triple, triple
from bench.protocol.sections import Augment
from bench.random import numpy_rng, torch_seed
from bench.train.loop import EVERY, Run, fit
from bench.train.samples import Sample


def run(context: Context) -> None:
    """Train from the last checkpoint and write ``last.safetensors`` (and the selected weights)."""
    spec = context.spec
    recipe, net, data = spec["finetune"], spec["network"], spec["data"]
    network = build(context)
    if recipe["evaluation"] == "linear":
        network.encoder.requires_grad_(False)
    root = context.run["roots"].get(data["dataset"])
    prepared = opened(context.input(0))
    cases = part(prepared, {**data, "part": "train"}, root, spec["seed"])
    judge = _judge(context, root)
    classes = is_classification(data)
    loss = cross_entropy if classes else dice_ce(recipe["background"])
    read = (_ClassReader if classes else _MapReader)(context, cases)
    objective = Supervised(network, Augment(**recipe["augment"]), loss, judge)
    context.log(f"{len(cases)} labelled cases, {recipe['steps']} steps of {recipe['batch']}")
    settings = Run(recipe, spec["seed"], context.scratch, context.run.get("every", EVERY),
                   on_step=context.progress, stopping=context.stopping)  # fmt: skip
    curve = fit(objective, partial(training_batches, context, read, len(cases)), settings)
    manifest = transfer.Manifest(
        network=net["network"], preset=net["preset"], in_channels=net["in_channels"],
        out_channels=net["out_channels"], crop=triple(net["crop"]), key=context.id,
        recipe=context.store.manifest(context.needs[0])["spec"]["recipe"],
        method=context.facts.get("method", ""),
    )  # fmt: skip
    transfer.save(context.made / "last.safetensors", dict(network.state_dict()), manifest)
    if judge is not None:
        transfer.save(context.made / f"{recipe['select']}.safetensors", judge.weights, manifest)
    keep_curve(context, curve)


def build(context: Context) -> nets.Model:
    """Return the network of the task with its initial weights; the load receipt goes to log and manifest.

    The initial weights of decoder or head depend on the seed alone, so all rows of a seed share them.
    """
    spec = context.spec
    net = spec["network"]
    torch.manual_seed(torch_seed(spec["seed"], "network"))
    make = nets.classifier if is_classification(spec["data"]) else nets.network
    network = make(
        net["network"], net["preset"], net["in_channels"], net["out_channels"], triple(net["crop"])
    )
    if spec["init"] == "random":
        return network
    step = spec["init"].partition("@")[2]
    weights = context.input(1) / (f"weights-{step}.safetensors" if step else "weights.safetensors")
    tensors, manifest = transfer.read(weights)
    receipt = transfer.load(network, tensors, manifest)
    context.log(receipt.line())
    context.facts.update(method=manifest.method, receipt=receipt.facts())
    return network


def _judge(context: Context, root: str | None) -> Judge | None:
    recipe, data = context.spec["finetune"], context.spec["data"]
    if recipe["select"] == "last":
        return None
    which = "test" if recipe["select"] == "best_test" else "val"
    asked = {**data, "part": which}
    if which == "test" or recipe["val"] == "full":
        asked.pop("fraction")
    prepared = opened(context.input(0))
    cases = part(prepared, asked, root, context.spec["seed"])
    if not cases:
        raise BenchError(
            f"{data['dataset']}: select: {recipe['select']} needs {which} patients and split "
            f"{data['split']!r} has none; take 'select: last'"
        )
    inference = {"overlap": 0.5, "batch": 4, "blend": "gaussian", "crop": context.spec["network"]["crop"]}
    word, mean = ("accuracy", mean_accuracy) if is_classification(data) else ("Dice", mean_dice)

    def tell(step: int, score: float) -> None:
        context.log(f"step {step}: {word} {score:.4f} on {len(cases)} held-out cases")

    return Judge(recipe, lambda network: mean(network, prepared, cases, inference), tell)


class _Reader:
    """Reads one crop; travels to loader workers."""

    def __init__(self, context: Context, cases: list[str]) -> None:
        spec = context.spec
        self._folder, self._cases = context.input(0), cases
        self._crop, self._seed = triple(spec["network"]["crop"]), spec["seed"]

    def __call__(self, case: int, step: int, sample: int) -> Sample:
        raise NotImplementedError


class _MapReader(_Reader):
    """An image (C, X, Y, Z) and its label map (X, Y, Z)."""

    def __init__(self, context: Context, cases: list[str]) -> None:
        super().__init__(context, cases)
        self._foreground: float | None = context.spec["finetune"]["foreground"]

    def __call__(self, case: int, step: int, sample: int) -> Sample:
        volume = opened(self._folder).volume(self._cases[case])
        rng = numpy_rng(self._seed, "crop", step, sample)
        start = volume.random_start(self._crop, rng)
        if self._foreground is not None and rng.random() < self._foreground:
            start = _around(volume.foreground, start, self._crop, volume.shape, rng)
        return {"image": volume.crop(start, self._crop), "label": volume.crop_label(start, self._crop)}


class _ClassReader(_Reader):
    """An image (C, X, Y, Z) and the case's class."""

    def __init__(self, context: Context, cases: list[str]) -> None:
        super().__init__(context, cases)
        self._classes = true_classes(opened(self._folder), cases, context.spec["network"]["out_channels"])

    def __call__(self, case: int, step: int, sample: int) -> Sample:
        volume = opened(self._folder).volume(self._cases[case])
        image = volume.random_crop(self._crop, numpy_rng(self._seed, "crop", step, sample))
        return {"image": image, "label": np.array(self._classes[case])}


def _around(
    voxels: np.ndarray | None, start: Triple, crop: Triple,
    shape: Triple, rng: np.random.Generator,
) -> Triple:  # fmt: skip
    """Return a corner that centres a labelled voxel as far as the volume's border allows."""
    if voxels is None or not len(voxels):
        return start
    centre = voxels[rng.integers(len(voxels))]
    room = np.maximum(np.subtract(shape, crop), 0)
    wanted = np.clip(centre - np.array(crop) // 2, 0, room)
    fits = np.subtract(shape, crop) >= 0
    return triple(np.where(fits, wanted, start).tolist())
