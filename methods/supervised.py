"""Supervised pretraining: segment by label maps, or by classes of intensity, and hand over the network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from bench import augment, distributed
from bench.data.reader import Volume
from bench.method import Batch, Figure, Method, MethodParams, Triple
from bench.pretext.losses import full_precision
from bench.pretext.tissue import TISSUES, labelled, tissue_rule
from bench.ranges import Share
from bench.source import Source

SMOOTH = 1e-5  # Taleb et al.'s code, above and below the line


class Supervised(Method):
    """The baseline '3D Supervised' of Taleb et al. 2020: their 3D U-Net learned FAST's brain tissues."""

    title = "Supervised"
    source = Source(
        "Taleb et al., 3D Self-Supervised Methods for Medical Imaging, NeurIPS 2020",
        "https://arxiv.org/abs/2006.03829",
        "https://github.com/HealthML/self-supervised-3d-tasks",
    )
    fidelity = "soft Dice compared with the official code's values; classes of intensity are ours"
    figure = Figure("dice", "mean hard Dice of the foreground classes in the batch", chance="chance")
    any_dims = True
    needs = "decoder"

    @dataclass(frozen=True)
    class Params(MethodParams):
        """Taleb et al. segment what FSL FAST made of each scan; ``intensity`` stands in for it, roughly."""

        labels: Literal["own", "intensity"] = "own"  # assumed: the mixture's label maps
        loss: Literal["dice", "dice_ce", "cross_entropy"] = "dice"  # code: dice; PGL fine-tunes with dice_ce
        flip: Share = 0.0  # code: no augmentation by default; probability per axis
        load: Literal["all", "encoder"] = "all"  # code: every layer that fits
        flat: Share = 0.1  # assumed, of intensity: share of voxels from which one value is background

        @property
        def reads_labels(self) -> bool:
            """Only where they are the task."""
            return self.labels == "own"

        def out_channels(self, in_channels: int, classes: int) -> int:
            """Return the classes to tell apart, background included."""
            return classes if self.reads_labels else TISSUES + 1

        def read(self, volume: Volume, crop: Triple, rng: np.random.Generator) -> dict[str, np.ndarray]:
            """Read a random crop and its label map, or the classes of its first channel's intensities."""
            start = volume.random_start(crop, rng)
            image = volume.crop(start, crop)
            if self.reads_labels:
                return {"crop": image, "label": volume.crop_label(start, crop)}
            rule = tissue_rule(volume, self.flat)
            return {"crop": image, "label": labelled(volume, image[0], start, rule)}

        def views(self, batch: Batch, crop: Triple, generator: torch.Generator) -> Batch:
            """Give every data set classes of its own, background apart; mirror image and label alike."""
            x, label = batch["crop"], batch["label"].long()
            if self.reads_labels:
                first = batch["first"].view(-1, 1, 1, 1)
                label = torch.where(label > 0, label + first, label)
            if self.flip:
                x, flipped = augment.random_flip(x, self.flip, generator)
                label = augment.flip(label[:, None], flipped)[:, 0]
            return {"crop": x, "label": label}

    params: Params

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the loss, ``dice`` of the foreground, and what a class drawn at random per voxel gets."""
        p, label = self.params, batch["label"]
        logits = self.decoder(batch["crop"], self.encoder(batch["crop"]))
        terms: dict[str, Tensor] = {}
        if p.loss != "cross_entropy":
            terms["soft_dice"] = soft_dice(logits, label)
        if p.loss != "dice":
            terms["entropy"] = entropy(logits, label)
        total = terms.get("entropy", torch.zeros((), device=logits.device)) - terms.get("soft_dice", 0.0)
        return {"total": total, **terms, **foreground_dice(logits.detach(), label)}

    def transfer(self) -> dict[str, Tensor]:
        """Return encoder and decoder, or the encoder alone."""
        return self.handed("encoder") if self.params.load == "encoder" else self.handed("encoder", "decoder")


@full_precision
def soft_dice(logits: Tensor, label: Tensor) -> Tensor:
    """Return the mean over classes, background included, of (2 I + s) / (Y + P + s).

    I, Y and P are sums over the voxels of all samples, of all processes, as if they were one volume.

    Args:
        logits: (B, K, X, Y, Z); their softmax is compared.
        label: (B, X, Y, Z) classes.
    """
    found = logits.softmax(1)
    shared, true, said = _sums(found, _one_hot(label, logits.shape[1]).to(found.dtype))
    return ((2 * shared + SMOOTH) / (true + said + SMOOTH)).mean()


@full_precision
def entropy(logits: Tensor, label: Tensor) -> Tensor:
    """Return the mean cross-entropy of logits (B, K, X, Y, Z) and classes (B, X, Y, Z)."""
    return functional.cross_entropy(logits, label)


@full_precision
def foreground_dice(logits: Tensor, label: Tensor) -> dict[str, Tensor]:
    """Return ``dice`` of the likeliest classes, and ``chance``: of classes drawn alike often per voxel.

    Means over the foreground classes that stand in the batch of all processes; 0 where none does.
    """
    k = logits.shape[1]
    true, found = (_one_hot(c, k).to(logits.dtype) for c in (label, logits.argmax(1)))
    shared, true, said = (total[1:] for total in _sums(found, true))
    there = true > 0
    count = there.sum().clamp_min(1)
    voxels = distributed.gather(label.new_tensor([label.numel()])).sum()
    dice = 2 * shared / (true + said).clamp_min(1)
    guess = 2 * (true / k) / (true + voxels / k)
    return {"dice": (dice * there).sum() / count, "chance": (guess * there).sum() / count}


def _sums(found: Tensor, true: Tensor) -> tuple[Tensor, ...]:
    """Return per class the overlap, the label's voxels and the prediction's, over all samples."""
    rows = torch.stack([(found * true).flatten(2).sum(2), true.flatten(2).sum(2), found.flatten(2).sum(2)], 1)
    return distributed.gather(rows).sum(0).unbind()


def _one_hot(label: Tensor, classes: int) -> Tensor:
    return functional.one_hot(label, classes).movedim(-1, 1)
