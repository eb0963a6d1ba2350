"""Prediction of prepared volumes: scores by a sliding window, classes by the mean over windows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations, product

import numpy as np
import torch
from torch import Tensor, nn

from bench.data.prepared import Prepared
from bench.data.reader import Volume
from bench.data.slabs import Paint, restore_slabs, unchanged
from bench.errors import BenchError
from bench.jobs import ordinal, window
from bench.jobs.class_scores import true_classes
from bench.protocol.sections import Windows
from bench.ranges import Triple

AXES = "xyz"
Seen = Callable[[str, np.ndarray], None]  # a case, and what is predicted of it


def slabs(network: nn.Module, volume: Volume, windows: Windows) -> Iterator[np.ndarray]:
    """Yield the logits of one prepared volume in order of z, (K, X, Y, dz), on the CPU; copy to keep.

    A network of two dimensions has windows of one slice, whose predictions make up the volume.

    Args:
        network: gives logits of label maps.
        volume: read by box.
        windows: their size and overlap, how they are blended and flipped.

    Raises:
        BenchError: scores are not finite.
    """
    device = next(network.parameters()).device
    for scores in window.slabs(mirrored(network, windows), volume, windows, device):
        check_finite(scores, f"the network's scores of {volume.name or 'a volume'}")
        yield scores.cpu().numpy()


def check_finite(values: Tensor, what: str) -> None:
    """Refuse what a network computed where a value is not finite: read as classes it would be background.

    Args:
        values: of any shape, not empty.
        what: they are, for the error.

    Raises:
        BenchError: there is an infinite value, or one that is no number.
    """
    if not all(map(math.isfinite, torch.stack(torch.aminmax(values)).tolist())):
        why = "the training diverged, or half precision was not enough"
        raise BenchError(
            f"{what} are not finite: {why}; check the loss, or lower the learning rate"
        )


def mirrored(network: nn.Module, windows: Windows) -> Callable[[Tensor], Tensor]:
    """Return the network with test-time flips: the mean of its logits over all flips of ``mirror``'s axes.

    With n axes it runs 2^n times on (B, C, x, y, z). As in nnU-Net logits are averaged, not probabilities,
    window by window and before windows are blended; flips of label maps are undone.
    """
    dims = sorted({AXES.index(axis) + 2 for axis in windows.mirror})
    flips = [flip for n in range(1, len(dims) + 1) for flip in combinations(dims, n)]

    def forward(windows: Tensor) -> Tensor:
        total: Tensor = network(windows).float()  # sums of half floats would lose digits
        for flip in flips:
            logits = network(windows.flip(flip))
            total = total + (logits.flip(flip) if logits.ndim == windows.ndim else logits)
        return total / (len(flips) + 1) if flips else total

    return forward


@torch.no_grad()
def class_scores(
    network: nn.Module, volume: Volume, windows: Windows, head: str = "softmax"
) -> np.ndarray:
    """Return the probability of each class, float64 (K,): from the mean over all windows.

    Windows are read by box, so a volume is never held whole; outside it they read as in training.

    Args:
        network: gives logits (B, K).
        volume: read by box.
        windows: their size and overlap, how they are flipped.
        head: ``softmax``, or ``ordinal``: sigmoids of being at least each class.

    Raises:
        BenchError: scores are not finite.
    """
    ordered = head == ordinal.ORDINAL
    device, crop, batch = next(network.parameters()).device, windows.crop, windows.batch
    starts = corners(volume.shape, crop, windows.overlap)
    forward = mirrored(network, windows)
    total = torch.zeros(1, dtype=torch.float64, device=device)
    for first in range(0, len(starts), batch):
        images = np.stack([volume.crop(start, crop) for start in starts[first : first + batch]])
        logits = forward(torch.from_numpy(images).to(device))
        check_finite(logits, f"the network's scores of {volume.name or 'a volume'}")
        scores = logits.double().sigmoid() if ordered else logits.double().softmax(1)
        total = total + scores.sum(0)
    mean = (total / len(starts)).cpu().numpy()
    return ordinal.probabilities(mean) if ordered else mean


def decided(scores: np.ndarray, head: str = "softmax") -> np.ndarray:
    """Return the class of each case, (N,), from the probabilities of all, (N, K)."""
    return ordinal.graded(scores) if head == ordinal.ORDINAL else scores.argmax(1)


def corners(shape: Triple, crop: Triple, overlap: float) -> list[Triple]:
    """Return the corners of a grid of windows ``crop`` that covers a volume; the last end at its border.

    Along an axis where the window is no shorter than the volume there is one, centred. ``overlap`` is the share
    of a window that the next one covers again.
    """
    x, y, z = (_starts(n, size, overlap) for n, size in zip(shape, crop, strict=True))
    return list(product(x, y, z))


def _starts(length: int, size: int, overlap: float) -> list[int]:
    room = length - size
    if room <= 0:
        return [room // 2]
    return [*range(0, room, max(1, int(size * (1 - overlap)))), room]


def mean_dice(
    network: nn.Module,
    prepared: Prepared,
    cases: Sequence[str],
    windows: Windows,
    regions: Sequence[tuple[int, ...]] = (),
    paint: Paint = (),
    seen: Seen | None = None,
    ignore: int | None = None,
) -> float:
    """Return the mean Dice over cases and their labels on the prepared grid; for selection only.

    Under a region head, with ``regions`` and how they are painted, Dice is of these. ``seen`` is shown each
    case and its label map. Voxels whose reference is ``ignore`` count nowhere.
    """
    from bench.metrics import score

    named = {str(n): values for n, values in enumerate(regions)} or None
    training = network.training
    network.eval()
    values = []
    for case in cases:
        volume = prepared.volume(case)
        logits = slabs(network, volume, windows)
        predicted = restore_slabs(logits, unchanged(volume.shape), paint or None)
        label = prepared.label(case)
        dice = score(predicted, label, (1.0, 1.0, 1.0), ("dice",), regions=named, ignore=ignore)
        values += [s.value for s in dice if s.value is not None]
        if seen is not None:
            seen(case, predicted)
    network.train(training)
    return float(np.mean(values)) if values else 0.0


def mean_accuracy(
    network: nn.Module,
    prepared: Prepared,
    cases: Sequence[str],
    windows: Windows,
    head: str = "softmax",
    seen: Seen | None = None,
) -> float:
    """Return the share of cases whose class is found, for selection only; ``seen`` gets the scores."""
    training = network.training
    network.eval()
    scores = [class_scores(network, prepared.volume(case), windows, head) for case in cases]
    network.train(training)
    if seen is not None:
        for case, probabilities in zip(cases, scores, strict=True):
            seen(case, probabilities)
    if not scores:
        return 0.0
    true = true_classes(prepared, cases, len(scores[0]))
    return float(np.mean(decided(np.stack(scores), head) == np.array(true)))
