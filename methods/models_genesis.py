"""Models Genesis: deform a crop by a random mixture of four transformations, and restore it."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from bench import augment
from bench.augment.draw import chance
from bench.data.reader import Volume
from bench.method import Arrays, Batch, Figure, Method, Recipe, Restores, Triple
from bench.pretext import deform
from bench.pretext.losses import full_precision, squared_error
from bench.ranges import Amount, Count, Share, Whole
from bench.source import Source
from bench.typed import sparse

TISSUE = -150  # code: from so many HU on a voxel is no lung
FLIPS = {"xyz": (0, 1, 2), "code": (-1, 0, 1)}  # the code takes the channel for an axis: no z


class ModelsGenesis(Method):
    """Zhou et al. 2019: encoder and decoder learn to undo what was done to a crop's voxels."""

    title = "Models Genesis"
    needs = "decoder"
    source = Source(
        "Z. Zhou et al., Models Genesis: Generic Autodidactic Models, MICCAI 2019",
        "https://arxiv.org/abs/1908.06912",
        "https://github.com/MrGiovanni/ModelsGenesis",
    )
    fidelity = (
        "official code compared: the deformations' formulas and distributions; our network and data"
    )
    figure = Figure("total", "restoration error", "chance", rises=False)
    terms: ClassVar = {"copied": "error of the input itself"}
    across_batch = False

    @dataclass(frozen=True)
    class Params(Restores):
        """Defaults are those of the code (config.py, utils.py); the paper prints few numbers."""

        local_rate: Share = 0.5  # code, probability of local shuffling
        windows: Count = 10_000  # code, per crop, whatever its size
        nonlinear_rate: Share = 0.9  # code
        bezier_points: Count = 100_000  # code
        rises: Share = 0.5  # code, probability that the curve keeps dark dark
        paint_rate: Share = 0.9  # code, of cutting out
        inpaint_rate: Share = 0.2  # code, of it inner; the others are outer
        boxes: Count = 5  # code, at most
        box_rate: Share = 0.95  # code, that another box follows
        margin: Whole = 3  # code, voxels at the border without a box
        flip_rate: Share = 0.4  # code, that another flip follows
        flip_rounds: Whole = 3  # code
        # code: x, y or none, as it counts the channel as an axis
        flip_axes: Literal["xyz", "code"] = "xyz"
        scale_unit: Literal["crop", "deform", "none"] = "crop"  # code: all data lie in [0, 1]
        sigmoid: bool = True  # code
        mask_only: bool = False  # code: all voxels count, not only those that were changed
        # paper: all to segment, the encoder to classify
        transfer: Literal["all", "encoder"] = "all"
        least_std: Amount = 0.01  # assumed: a flatter crop (prepared intensities) is drawn again
        tries: Count = 10  # assumed; code: 50 for each cube of a scan, with lung_filter
        # code (lung_max): .15; a crop of more tissue is drawn again. None: off, as it is for chest CT alone
        lung_filter: Share | None = sparse(None)
        # code (HU_thred): what becomes of -150 HU in a window of -1000 to 1000
        tissue: Share = sparse(0.425)

        def __post_init__(self) -> None:
            if self.sigmoid and self.scale_unit == "deform":
                raise self.refusal(
                    "a sigmoid gives values from 0 to 1, but with scale_unit 'deform' the crop to restore "
                    "has other values; set sigmoid: false, or scale_unit: crop"
                )
            if self.bezier_points < 2:
                raise self.refusal("bezier_points must be 2 or more")

        def check(self, crop: Triple, recipe: Recipe) -> None:
            """Refuse to look for lung where ``tissue`` is not what the recipe makes of -150 HU."""
            if self.lung_filter is None:
                return
            low, high = recipe.window or (0.0, 0.0)
            if recipe.scale != "window" or not low < TISSUE < high:
                raise self.refusal(
                    f"lung_filter looks for voxels of {TISSUE} HU; use a recipe of CT with scale: window and "
                    "a window that contains this value, or set lung_filter: null"
                )
            if abs((TISSUE - low) / (high - low) - self.tissue) > 1e-3:
                raise self.refusal(
                    f"the window {low:g} to {high:g} turns {TISSUE} HU into "
                    f"{(TISSUE - low) / (high - low):.4f}; set tissue to this value"
                )

        def read(self, volume: Volume, crop: Triple, rng: np.random.Generator) -> Arrays:
            """Read one crop; one that is nearly constant, or no lung, is drawn again.

            Of ``tries`` in all the last counts whatever it is.
            """
            x, y, z = crop
            for _ in range(self.tries):
                seen = volume.crop(
                    volume.random_start(crop, rng), (x, y, z + (self.lung_filter is not None))
                )
                found = seen[..., :z]
                if found.std() >= self.least_std and self.passes(seen):
                    break
            return {"crop": found}

        def passes(self, seen: np.ndarray) -> bool:
            """Tell whether little enough of a crop is tissue.

            Args:
                seen: (C, X, Y, Z + 1), of which the first channel counts; a slice more than the crop, as one
                    that is tissue there counts half.
            """
            if self.lung_filter is None:
                return True
            tissue = seen[0] >= self.tissue
            here, after = tissue[..., :-1], tissue[..., 1:]
            return bool(here.sum() + (after & ~here).sum() / 2 <= self.lung_filter * here.size)

        def views(self, batch: Batch, crop: Triple, generator: torch.Generator) -> Batch:
            """Flip every crop to its target ``y`` and deform it to the input ``x``, (B, C, X, Y, Z) both."""
            y, axes = batch["crop"], FLIPS[self.flip_axes]
            y = augment.flip(
                y, deform.flips(len(y), self.flip_rate, self.flip_rounds, axes, generator)
            )
            if self.scale_unit == "none":
                return {"x": self.deformed(y, generator), "y": y}
            low, span = deform.reach(y)
            unit = (y - low) / span
            x = self.deformed(unit, generator)
            return (
                {"x": x * span + low, "y": y}
                if self.scale_unit == "deform"
                else {"x": x, "y": unit}
            )

        def deformed(self, x: Tensor, generator: torch.Generator) -> Tensor:
            """Return crops (B, C, X, Y, Z) shuffled within, mapped by a curve, and painted in or around."""
            rows = len(x)
            shuffled = chance(rows, self.local_rate, generator)
            x = deform.local_shuffle(x, shuffled, self.windows, generator)
            mapped = chance(rows, self.nonlinear_rate, generator)
            x = deform.bezier(x, mapped, self.bezier_points, generator, self.rises)
            painted = chance(rows, self.paint_rate, generator)
            inner = chance(rows, self.inpaint_rate, generator)
            boxes = deform.Boxes(self.boxes, self.box_rate, self.margin)
            return deform.paint(x, painted & inner, painted & ~inner, boxes, generator)

    params: Params

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the restoration error, and what doing without learning gets.

        ``copied`` is the error of the deformed crop itself, ``flat`` that of each crop's own mean. ``chance``
        is that of a half everywhere, as an untrained sigmoid says; of ``flat`` where data know no [0, 1].
        """
        x, y = batch["x"], batch["y"]
        made = self.decoder(x, self.encoder(x))
        made = in_unit(made) if self.params.sigmoid else made
        counts = (x != y) if self.params.mask_only else torch.ones_like(y, dtype=torch.bool)
        mean = y.mean(dim=(2, 3, 4), keepdim=True)
        said = {"total": made, "copied": x, "flat": mean, "chance": torch.full_like(y, 0.5)}
        if self.params.scale_unit == "deform":
            said["chance"] = mean
        return {
            name: squared_error(image, y, counts, counts).mean() for name, image in said.items()
        }


@full_precision
def in_unit(logits: Tensor) -> Tensor:
    """Return the sigmoid: 16 bits could not tell its values apart near 1."""
    return logits.sigmoid()
