"""Sliding-window prediction of prepared volumes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from monai.inferers import sliding_window_inference
from torch import Tensor, nn

from bench.data.prepared import Prepared


@torch.no_grad()
def logits(network: nn.Module, image: np.ndarray, inference: dict[str, Any]) -> Tensor:
    """Return logits (K, X, Y, Z) of one prepared image (C, X, Y, Z), on the CPU.

    MONAI's sliding window: a volume smaller than the window is padded and cropped again.
    """
    device = next(network.parameters()).device
    found = sliding_window_inference(
        torch.from_numpy(image)[None].to(device), tuple(inference["crop"]), inference["batch"],
        network, overlap=inference["overlap"], mode=inference["blend"],
    )  # fmt: skip
    assert isinstance(found, Tensor)
    return found[0].float().cpu()


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
