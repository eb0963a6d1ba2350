"""Two large views of a scan and several small ones (multi-crop: Caron et al., NeurIPS 2020)."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from math import ceil, prod
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from bench import augment
from bench.augment.draw import chance
from bench.data.reader import Volume
from bench.errors import BenchError
from bench.method import Arrays, Batch, MethodParams, Triple
from bench.nets import Encoder, Network, TokenEncoder
from bench.nets.catalog import check_crop, check_view, network_facts
from bench.pretext.boxes import read_box
from bench.ranges import Share, Whole

View = Literal["first", "second", "small"]


@dataclass(frozen=True)
class MultiCrop(MethodParams):
    """How views are cut. A method's ``Params`` inherits this, with defaults and intensities of its own."""

    locals: Whole = 8  # 3DINO: small views of a scan
    local_crop: Triple | None = None  # 3DINO: 48 where large views are 96; None = half of each side
    flip: Share = 0.3  # 3DINO, per axis

    @property
    def crops_per_sample(self) -> int:
        """Two views, and small ones of about an eighth of their voxels."""
        return 2 + ceil(self.locals / 8)

    def voxels_per_sample(self, crop: Triple) -> float:
        """Return the voxels of both large views and of all small ones."""
        return 2 * prod(crop) + self.locals * prod(self.small(crop))

    def small(self, crop: Triple) -> Triple:
        """Return the size of small views where large ones are ``crop``: multiples of 16."""
        x, y, z = (max(16, round(n / 32) * 16) for n in crop)
        return self.local_crop or (x, y, z)

    @abstractmethod
    def box(self, small: bool, rng: np.random.Generator) -> np.ndarray:
        """Draw which share of each axis of the scan a view covers, (3,)."""

    @abstractmethod
    def changed(
        self, x: Tensor, view: View, zscored: Tensor | None, generator: torch.Generator
    ) -> Tensor:
        """Change the intensities of views (N, C, X, Y, Z); ``zscored`` (N,) as in a batch."""

    def placed(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Mirror views (N, C, X, Y, Z)."""
        return augment.flip(x, chance((len(x), 3), self.flip, generator))

    def read(self, volume: Volume, crop: Triple, rng: np.random.Generator) -> Arrays:
        """Read boxes from anywhere in the scan, resized: ``large`` (2, C, *crop), ``small`` (K, C, *small)."""

        def boxes(count: int, small: bool, out: Triple) -> np.ndarray:
            drawn = (self.box(small, rng) for _ in range(count))
            return np.stack([read_box(volume, share, out, rng) for share in drawn])

        read = {"large": boxes(2, False, crop)}
        return read | ({"small": boxes(self.locals, True, self.small(crop))} if self.locals else {})

    def views(self, batch: Batch, crop: Triple, generator: torch.Generator) -> Batch:
        """Mirror and change every view: ``views`` (B, 2, C, *crop) and ``small`` (B, K, C, *small)."""
        zscored, g = batch.get("zscored"), generator
        kinds: tuple[View, View] = ("first", "second")
        large = [
            self.changed(self.placed(batch["large"][:, i], g), kind, zscored, g)
            for i, kind in enumerate(kinds)
        ]
        views = {"views": torch.stack(large, dim=1)}
        if self.locals:
            each = None if zscored is None else zscored.repeat_interleave(self.locals)
            x = self.placed(batch["small"].flatten(0, 1), g)
            views["small"] = self.changed(x, "small", each, g).unflatten(0, (-1, self.locals))
        return views


def check_small(network: Network, params: MultiCrop) -> None:
    """Refuse small views that a network cannot read beside its crop.

    Raises:
        BenchError: says what to take.
    """
    if not params.locals:
        return
    small = params.small(network.crop)
    try:
        if network_facts(network.name).tokens:
            check_crop(network.name, network.preset, small)
        else:
            check_view(network.full_name, small, "small views (local_crop)")
    except BenchError as error:
        raise params.refusal(f"{error}; set local_crop, or locals: 0") from None


def embedded(encoder: Encoder, x: Tensor) -> Tensor:
    """Return one vector per view (B, C, X, Y, Z) of any size that the encoder reads, (B, widths[-1])."""
    if isinstance(encoder, TokenEncoder):
        return encoder.run(encoder.tokens(x, rescale=True)).mean(dim=1)
    return encoder.embed(x)
