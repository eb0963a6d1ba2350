"""Supervised pretraining: segment by label maps, or by classes of intensity, and hand over the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from bench import augment, distributed
from bench.data.reader import Volume
from bench.method import Arrays, Batch, Figure, Method, MethodParams, Triple
from bench.pretext.losses import full_precision
from bench.ranges import Share, Whole
from bench.source import Source
from bench.typed import sparse

SMOOTH = 1e-5  # Taleb et al.'s code, above and below the line
TISSUES = 3  # FAST's: cerebrospinal fluid, grey and white matter
SLICES = 5  # of a volume, evenly spread, whose voxels decide
VOXELS = 1 << 15  # about as many of each slice
BINS = 128
TAILS = (0.5, 99.5)  # percentiles between which the bins lie
ROUNDS = 200  # of expectation and maximisation
HALF = 0.5
KNOWN = 4096  # rules of prepared cases that a worker remembers: one takes longer than a crop


class Supervised(Method):
    """The baseline '3D Supervised' of Taleb et al. 2020: their 3D U-Net learned FAST's brain tissues.

    FAST's own label maps are ``own`` labels of a data set that has them; ``fast_like`` ones are made here.
    """

    title = "Supervised"
    source = Source(
        "Taleb et al., 3D Self-Supervised Methods for Medical Imaging, NeurIPS 2020",
        "https://arxiv.org/abs/2006.03829",
        "https://github.com/HealthML/self-supervised-3d-tasks",
    )
    fidelity = "soft Dice compared with the official code's values; classes of intensity are ours"
    figure = Figure("dice", "mean hard Dice of the foreground classes in the batch", "chance")
    any_dims = True
    needs = "decoder"
    ceiling: ClassVar = {  # parameters as a positive control, which hands over what the rows beside it do
        "encoder": {"labels": "own", "loss": "dice_ce", "load": "encoder"},
        "decoder": {"labels": "own", "loss": "dice_ce", "load": "all"},
    }

    @dataclass(frozen=True)
    class Params(MethodParams):
        """Taleb et al. segment what FSL FAST made of each scan; ``fast_like`` stands in where that is not."""

        # assumed: the mixture's label maps; fast_like = three tissues of a brain, intensity = of anything
        labels: Literal["own", "intensity", "fast_like"] = "own"
        # code: dice; PGL fine-tunes with dice_ce
        loss: Literal["dice", "dice_ce", "cross_entropy"] = "dice"
        flip: Share = 0.0  # code: no augmentation by default; probability per axis
        load: Literal["all", "encoder"] = "all"  # code: every layer that fits
        # assumed: share of voxels from which one value is background, of what is made here
        flat: Share = 0.1
        channel: Whole = sparse(0)  # whose intensities are divided; FAST's is T1

        @property
        def reads_labels(self) -> bool:
            """Only where they are the task."""
            return self.labels == "own"

        def out_channels(self, in_channels: int, classes: int) -> int:
            """Return the classes to tell apart, background included."""
            return classes if self.reads_labels else TISSUES + 1

        def read(self, volume: Volume, crop: Triple, rng: np.random.Generator) -> Arrays:
            """Read a random crop and its label map, or the classes of a channel's intensities."""
            start = volume.random_start(crop, rng)
            image = volume.crop(start, crop)
            if self.reads_labels:
                return {"crop": image, "label": volume.crop_label(start, crop)}
            if self.channel >= volume.channels:
                raise self.refusal(
                    f"channel = {self.channel}, but the images have {volume.channels} channels, counted from "
                    "0"
                )
            rule = tissue_rule(volume, self.flat, self.labels == "fast_like", self.channel)
            return {"crop": image, "label": labelled(volume, image[self.channel], start, rule)}

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
            terms["entropy"] = full_precision(functional.cross_entropy)(logits, label)
        total = terms.get("entropy", torch.zeros((), device=logits.device)) - terms.get(
            "soft_dice", 0.0
        )
        return {"total": total, **terms, **foreground_dice(logits.detach(), label)}

    def transfer(self) -> dict[str, Tensor]:
        """Return encoder and decoder, or the encoder alone."""
        return (
            self.handed("encoder")
            if self.params.load == "encoder"
            else self.handed("encoder", "decoder")
        )


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
def foreground_dice(logits: Tensor, label: Tensor) -> dict[str, Tensor]:
    """Return ``dice`` of the likeliest classes, and ``chance``: of classes drawn alike often per voxel.

    Means over the foreground classes that stand in the batch of all processes; 0 where none does.
    """
    k = logits.shape[1]
    true, found = (_one_hot(c, k).to(logits.dtype) for c in (label, logits.argmax(1)))
    shared, true, said = (total[1:] for total in _sums(found, true))
    there = true > 0
    count = there.sum().clamp_min(1)
    voxels = distributed.gather(label.new_full((1,), label.numel())).sum()
    dice = 2 * shared / (true + said).clamp_min(1)
    guess = 2 * (true / k) / (true + voxels / k)
    return {"dice": (dice * there).sum() / count, "chance": (guess * there).sum() / count}


def _sums(found: Tensor, true: Tensor) -> tuple[Tensor, ...]:
    """Return per class the overlap, the label's voxels and the prediction's, over all samples."""
    rows = torch.stack(
        [(found * true).flatten(2).sum(2), true.flatten(2).sum(2), found.flatten(2).sum(2)], 1
    )
    return distributed.gather(rows).sum(0).unbind()


def _one_hot(label: Tensor, classes: int) -> Tensor:
    return functional.one_hot(label, classes).movedim(-1, 1)


class Rule(NamedTuple):
    """How a value becomes a class: the brightest is class 3, and so on down."""

    background: float | None  # the one value that is class 0; without it every value has a class
    thresholds: np.ndarray


_known: dict[tuple[str, float, bool, int], Rule] = {}


def tissue_rule(volume: Volume, flat: float, brain: bool = False, channel: int = 0) -> Rule:
    """Return what divides a channel of a volume into background and three classes.

    It depends on the volume alone, of which a few slices are read: a voxel has one class in all crops.

    Args:
        volume: one case.
        flat: a value that as large a share of the voxels has is background: clipped air, what lies around
            a volume or beyond a mask. Where none has, the darkest of four classes is.
        brain: is it a brain, extracted? Then the rest is divided by ``mixture``, and where no value is
            background, nothing is: the volume lies within the brain.
        channel: of the image.
    """
    key = volume.name, flat, brain, channel
    if not volume.name or key not in _known:
        if len(_known) >= KNOWN:
            _known.clear()
        _known[key] = _rule(probe(volume, channel), flat, brain)
    return _known[key]


def _rule(values: np.ndarray, flat: float, brain: bool) -> Rule:
    distinct, counts = np.unique(values, return_counts=True)
    if counts.max() < flat * values.size:
        return Rule(None, mixture(values, TISSUES) if brain else otsu(values, TISSUES + 1))
    background = float(distinct[counts.argmax()])
    inside = values[values != background]
    return Rule(background, (mixture if brain else otsu)(inside, TISSUES))


def probe(volume: Volume, channel: int = 0) -> np.ndarray:
    """Return voxels of evenly spread slices of a volume's channel, thinned alike along x and y."""
    x, y, z = volume.shape
    step = max(1, int(np.ceil((x * y / VOXELS) ** 0.5)))
    places = np.unique(((np.arange(SLICES) + HALF) * z / SLICES).astype(int)).tolist()
    slices = [
        volume.crop((0, 0, place), (x, y, 1))[channel, ::step, ::step].ravel() for place in places
    ]
    return np.concatenate(slices)


def labelled(volume: Volume, image: np.ndarray, start: Sequence[int], rule: Rule) -> np.ndarray:
    """Return the classes (X, Y, Z), uint8, of a crop at ``start``; 0 outside the volume."""
    found = np.searchsorted(rule.thresholds, image, side="right") + TISSUES - len(rule.thresholds)
    if rule.background is not None:
        found[image == rule.background] = 0
    label = np.zeros(image.shape, np.uint8)
    inside = tuple(
        slice(max(-a, 0), max(n - a, 0)) for a, n in zip(start, volume.shape, strict=True)
    )
    label[inside] = found[inside]
    return label


def otsu(values: np.ndarray, classes: int) -> np.ndarray:
    """Return the thresholds (classes - 1,) that leave the least variance within classes.

    Exact on a histogram; a value at or above a threshold belongs above it.
    """
    if not values.size:
        return np.zeros(classes - 1)
    low, high = np.percentile(values, TAILS)
    if high <= low:
        return np.full(classes - 1, high)
    counts, edges = np.histogram(values.clip(low, high), BINS, (low, high))
    weight = np.concatenate([[0], counts.cumsum()]).astype(float)
    moment = np.concatenate([[0], (counts * (edges[:-1] + edges[1:]) / 2).cumsum()])
    mass = weight - weight[:, None]
    # of bins i to j - 1; empty: 0
    gain = (moment - moment[:, None]) ** 2 / np.where(mass > 0, mass, 1)
    gain[np.tril_indices(BINS + 1, -1)] = -np.inf
    best, cuts = gain[0], []
    for _ in range(classes - 1):  # best[j]: the largest sum of gains that divides the first j bins
        through = best[:, None] + gain
        cuts.append(through.argmax(0))
        best = through.max(0)
    found, end = [], BINS
    for cut in reversed(cuts):
        end = int(cut[end])
        found.append(edges[end])
    return np.asarray(found[::-1])


def mixture(values: np.ndarray, classes: int) -> np.ndarray:
    """Return the thresholds (classes - 1,) at which the likelier of two neighbouring Gaussians changes.

    Their shares, means and deviations are found by expectation and maximisation on a histogram, from Otsu's
    division on: FAST's model of intensities (Zhang, Brady & Smith 2001), without its field and neighbours.
    """
    start = otsu(values, classes)
    if not values.size or start[-1] <= start[0]:
        return start
    low, high = np.percentile(values, TAILS)
    counts, edges = np.histogram(values, BINS, (low, high))
    at = (edges[:-1] + edges[1:]) / 2
    least = (edges[1] - edges[0]) ** 2 / 12  # the variance within a bin
    belongs = np.searchsorted(start, at, side="right") == np.arange(classes)[:, None]
    for _ in range(ROUNDS):
        weight = counts * belongs
        share = np.maximum(weight.sum(1, keepdims=True), 1e-9)
        mean = (weight @ at)[:, None] / share
        variance = (weight * (at - mean) ** 2).sum(1, keepdims=True) / share + least
        likely = np.log(share) - 0.5 * np.log(variance) - (at - mean) ** 2 / (2 * variance)
        belongs = np.exp(likely - np.logaddexp.reduce(likely))
    order = mean[:, 0].argsort()
    mean, likely = mean[order, 0], likely[order]
    found = []
    for k in range(classes - 1):
        next_one = (at >= mean[k]) & (likely[k + 1] > likely[k])
        found.append(edges[next_one.argmax()] if next_one.any() else mean[k + 1])
    return np.maximum.accumulate(found)
