"""Prediction of prepared volumes: label maps by a sliding window, classes by the mean over windows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import torch
from monai.inferers import sliding_window_inference
from torch import Tensor, nn

from bench.data.prepared import Prepared
from bench.data.reader import Volume
from bench.jobs.classes import true_classes
from bench.nets.network import Triple, triple


@torch.no_grad()
def logits(network: nn.Module, image: np.ndarray, inference: dict[str, Any]) -> Tensor:
    """Return logits (K, X, Y, Z) of one prepared image (C, X, Y, Z), on the CPU.

    MONAI's sliding window: a volume smaller than the window is padded and cropped again. A network of
    two dimensions has windows of one slice, whose predictions make up the volume.
    """
    device = next(network.parameters()).device
    found = sliding_window_inference(
        torch.from_numpy(image)[None].to(device), tuple(inference["crop"]), inference["batch"],
        network, overlap=inference["overlap"], mode=inference["blend"],
    )  # fmt: skip
    assert isinstance(found, Tensor)
    return found[0].float().cpu()


@torch.no_grad()
def class_scores(network: nn.Module, volume: Volume, inference: dict[str, Any]) -> np.ndarray:
    """Return the probability of each class, float64 (K,): the mean of softmax over all windows.

    Windows are read by box, so a volume is never held whole; outside it they read as in training.
    """
    device, crop, batch = next(network.parameters()).device, triple(inference["crop"]), inference["batch"]
    starts = windows(volume.shape, crop, inference["overlap"])
    total = torch.zeros(1, dtype=torch.float64, device=device)
    for first in range(0, len(starts), batch):
        images = np.stack([volume.crop(start, crop) for start in starts[first : first + batch]])
        found: Tensor = network(torch.from_numpy(images).to(device))
        total = total + found.double().softmax(1).sum(0)
    return (total / len(starts)).cpu().numpy()


def windows(shape: Triple, crop: Triple, overlap: float) -> list[Triple]:
    """Return the corners of a grid of windows that covers a volume; the last ones end at its border.

    Along an axis where the window is no shorter than the volume there is one, centred.

    Args:
        shape: of the volume.
        crop: of a window.
        overlap: share of a window that the next one covers again.
    """
    x, y, z = (_starts(n, size, overlap) for n, size in zip(shape, crop, strict=True))
    return list(product(x, y, z))


def _starts(length: int, size: int, overlap: float) -> list[int]:
    room = length - size
    if room <= 0:
        return [room // 2]
    return [*range(0, room, max(1, int(size * (1 - overlap)))), room]


def mean_dice(
    network: nn.Module, prepared: Prepared, cases: Sequence[str], inference: dict[str, Any]
) -> float:
    """Return the mean Dice over cases and their labels on the prepared grid; for selection only."""
    from bench.metrics import score

    training = network.training
    network.eval()
    values = []
    for case in cases:
        image = prepared.volume(case).whole()
        predicted = logits(network, image, inference).max(0).indices.to(torch.uint8).numpy()
        found = score(predicted, prepared.label(case), (1.0, 1.0, 1.0), ("dice",))
        values += [s.value for s in found if s.value is not None]
    network.train(training)
    return float(np.mean(values)) if values else 0.0


def mean_accuracy(
    network: nn.Module, prepared: Prepared, cases: Sequence[str], inference: dict[str, Any]
) -> float:
    """Return the share of cases whose class is found; for selection only."""
    training = network.training
    network.eval()
    scores = [class_scores(network, prepared.volume(case), inference) for case in cases]
    network.train(training)
    true = true_classes(prepared, cases, len(scores[0])) if scores else []
    return float(np.mean([s.argmax() == t for s, t in zip(scores, true, strict=True)])) if scores else 0.0
