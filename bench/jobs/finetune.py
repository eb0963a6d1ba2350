"""Fine-tune: one network on one label fraction of one data set."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.losses import DiceCELoss
from torch import Tensor, nn

from bench import nets
from bench.augment import finetune_views
from bench.data.prepared import opened
from bench.errors import BenchError
from bench.jobs.context import Context
from bench.jobs.curve import keep_curve
from bench.jobs.inputs import part, training_batches
from bench.jobs.predict import mean_dice
from bench.nets import transfer
from bench.nets.network import Triple, triple
from bench.protocol.sections import Augment
from bench.random import numpy_rng, torch_seed
from bench.train.loop import EVERY, Batch, Objective, Run, fit
from bench.train.samples import Sample


class Supervised(Objective):
    """A segmentation network under Dice + cross-entropy."""

    def __init__(self, network: nn.Module, recipe: dict[str, Any], judge: _Judge | None) -> None:
        super().__init__()
        self.network, self._judge = network, judge
        self._augment = Augment(**recipe["augment"])
        self._loss = DiceCELoss(include_background=recipe["background"], to_onehot_y=True, softmax=True)

    def forward(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the loss of augmented crops."""
        image, label = finetune_views(batch["image"], batch["label"], self._augment, generator)
        logits = self.network(image)
        return {"total": self._loss(logits.float(), label)}

    def at(self, step: int) -> None:
        """Score the validation cases where a selection asks for it."""
        if self._judge is not None:
            self._judge.at(step, self.network)

    def extra_state(self) -> dict[str, Any]:
        """Return the best weights so far."""
        return self._judge.state() if self._judge is not None else {}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Restore the best weights so far."""
        if self._judge is not None:
            self._judge.load(state)


class _Judge:
    """Keeps the weights that score best on held-out cases (``best_val``, ``best_test``)."""

    def __init__(self, context: Context, cases: list[str], inference: dict[str, Any]) -> None:
        recipe = context.spec["finetune"]
        self._prepared, self._cases = opened(context.input(0)), cases
        self._inference, self._log = inference, context.log
        self._every = max(1, round(recipe["val_every"] * recipe["steps"]))
        self._last = recipe["steps"]
        self.best, self.weights = -1.0, dict[str, Tensor]()

    def at(self, step: int, network: nn.Module) -> None:
        """Validate every so often; ties keep the earlier weights."""
        if step % self._every and step != self._last:
            return
        score = mean_dice(network, self._prepared, self._cases, self._inference)
        self._log(f"step {step}: Dice {score:.4f} on {len(self._cases)} held-out cases")
        if score > self.best:
            self.best = score
            self.weights = {k: v.detach().clone() for k, v in network.state_dict().items()}

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"best": self.best, "weights": self.weights}

    def load(self, state: dict[str, Any]) -> None:
        """Restore what ``state`` gave."""
        self.best, self.weights = state["best"], state["weights"]


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
    objective = Supervised(network, recipe, judge)
    read = _Reader(context.input(0), cases, triple(net["crop"]), recipe["foreground"], spec["seed"])
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


def build(context: Context) -> nets.Network:
    """Return the network with its initial weights; the load receipt goes to log and manifest.

    The decoder's initial weights depend on the seed alone, so all rows of a seed share them.
    """
    spec = context.spec
    net = spec["network"]
    torch.manual_seed(torch_seed(spec["seed"], "network"))
    network = nets.network(
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


def _judge(context: Context, root: str | None) -> _Judge | None:
    recipe, data = context.spec["finetune"], context.spec["data"]
    if recipe["select"] == "last":
        return None
    which = "test" if recipe["select"] == "best_test" else "val"
    asked = {**data, "part": which}
    if which == "test" or recipe["val"] == "full":
        asked.pop("fraction")
    cases = part(opened(context.input(0)), asked, root, context.spec["seed"])
    if not cases:
        raise BenchError(
            f"{data['dataset']}: select: {recipe['select']} needs {which} patients and split "
            f"{data['split']!r} has none; take 'select: last'"
        )
    inference = {"overlap": 0.5, "batch": 4, "blend": "gaussian", "crop": context.spec["network"]["crop"]}
    return _Judge(context, cases, inference)


class _Reader:
    """Reads one crop of image and label; travels to loader workers."""

    def __init__(
        self, folder: Path, cases: list[str], crop: Triple, foreground: float | None, seed: int
    ) -> None:
        self._folder, self._cases, self._crop = folder, cases, crop
        self._foreground, self._seed = foreground, seed

    def __call__(self, case: int, step: int, sample: int) -> Sample:
        volume = opened(self._folder).volume(self._cases[case])
        rng = numpy_rng(self._seed, "crop", step, sample)
        start = volume.random_start(self._crop, rng)
        if self._foreground is not None and rng.random() < self._foreground:
            start = _around(volume.foreground, start, self._crop, volume.shape, rng)
        label = volume.crop_label(start, self._crop)[None]
        return {"image": volume.crop(start, self._crop), "label": label}


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
