"""What a probe reads of labelled cases: features and classes, window by window."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from bench.data.prepared import Prepared
from bench.jobs import window
from bench.jobs.class_scores import true_classes
from bench.jobs.kind import MAPS
from bench.jobs.predict import check_finite
from bench.probes.model import Probed
from bench.probes.ridge import products
from bench.ranges import Triple

BATCH = 4  # windows at once; changes no number


@dataclass(frozen=True)
class Samples:
    """Labelled samples of one batch of windows."""

    features: Tensor  # (n, d)
    classes: Tensor  # (n,), on the same device


class Labels(Protocol):
    """What a job's spec says of the labels of its data set."""

    @property
    def task(self) -> str:
        """Return whether a label is a map or a class."""

    @property
    def ignore(self) -> int | None:
        """Return the value of voxels that nobody labelled."""


class LabelledCases:
    """Features and classes of a data set's labelled cases.

    Args:
        probed: gives the features; it is used as it is, so put it in evaluation mode.
        prepared: the data set.
        crop: of a window, in voxels; windows lie side by side.
        labels: of the data set.
    """

    def __init__(self, probed: Probed, prepared: Prepared, crop: Triple, labels: Labels) -> None:
        self._probed, self._prepared, self._crop, self._labels = probed, prepared, crop, labels

    def counts(self, cases: Sequence[str]) -> np.ndarray:
        """Return how many voxels, or cases, of each class there are, (K,); without what nobody labelled."""
        classes = self._probed.classes
        if self._labels.task != MAPS:
            return np.bincount(true_classes(self._prepared, cases, classes), minlength=classes)
        total = np.zeros(classes, np.int64)
        for case in cases:
            label = np.asarray(self._prepared.label(case))
            total += np.bincount(label[self._labelled(label)], minlength=classes)
        return total

    def products(self, case: str) -> np.ndarray:
        """Return a case's sums of features with features for each class, (K, d + 1, d + 1)."""
        parts = [
            products(batch.features.T, batch.classes, self._probed.classes)
            for batch in self.samples(case)
        ]
        total: np.ndarray = sum(parts[1:], parts[0])
        return total

    def samples(self, case: str, features: bool = True) -> Iterator[Samples]:
        """Yield the samples of one case; each voxel comes once, from the first window that has it.

        ``features``: are they computed? Else they are empty, and classes alone come.
        """
        grid = window.Grid.over(self._prepared.volume(case).shape, self._crop, 0.0)
        batches = [grid.starts[n : n + BATCH] for n in range(0, len(grid.starts), BATCH)]
        if self._labels.task == MAPS:
            yield from self._of_maps(case, grid, batches, features)
            return
        truth = int(true_classes(self._prepared, [case], self._probed.classes)[0])
        for starts in batches:
            classes = torch.full((len(starts),), truth, device=self._device)
            windows = self._features(case, starts, grid) if features else torch.empty(0)
            yield Samples(windows, classes)

    @property
    def _device(self) -> torch.device:
        return next(self._probed.parameters()).device

    def _labelled(self, label: np.ndarray) -> np.ndarray:
        ignore = self._labels.ignore
        return np.ones(label.shape, bool) if ignore is None else label != ignore

    def _of_maps(
        self, case: str, grid: window.Grid, batches: Sequence[Sequence[Triple]], features: bool
    ) -> Iterator[Samples]:
        label = np.asarray(self._prepared.label(case))
        fresh = self._labelled(label)
        for starts in batches:
            values = self._features(case, starts, grid) if features else None
            rows, labels = list[Tensor](), list[Tensor]()
            for number, start in enumerate(starts):
                box = tuple(slice(a, a + n) for a, n in zip(start, grid.size, strict=True))
                index = torch.from_numpy(np.flatnonzero(fresh[box])).to(self._device)
                labels.append(torch.from_numpy(label[box][fresh[box]].astype(np.int64)))
                fresh[box] = False
                if values is not None:
                    rows.append(values[number][:, *grid.inside].flatten(1)[:, index])
            yield Samples(
                torch.cat(rows, 1).T if rows else torch.empty(0), torch.cat(labels).to(self._device)
            )

    def _features(self, case: str, starts: Sequence[Triple], grid: window.Grid) -> Tensor:
        volume = self._prepared.volume(case)
        boxes = [torch.from_numpy(volume.crop(start, grid.size)) for start in starts]
        images = torch.stack([pad(box, grid.padding, value=volume.lowest) for box in boxes])
        values = self._probed.features(images.to(self._device))
        check_finite(values, f"features of {volume.name or case}")
        return values
