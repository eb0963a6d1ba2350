"""The augmentation of fine-tuning, as a protocol states it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Range = tuple[float, float]


@dataclass(frozen=True)
class Augment:
    """Fine-tuning augmentation: probabilities per sample (per axis for flips), and ranges of uniform draws.

    The ranges are those of nnU-Net (MIC-DKFZ/nnUNet @0e49508, batchgeneratorsv2 @3cb4f07), whose whole set
    is ``flip: 0.5, rotate: 0.2, zoom: 0.2, noise: 0.1, blur: 0.2, brightness: 0.15, contrast: 0.15,
    lowres: 0.25, gamma_inverted: 0.1, gamma: 0.3, channel: 0.5, balanced: true, margin: 1.6``; in flat
    crops and in 2D ``angle: 180, margin: 1.18`` (angle 15 in 2D with one side over 1.5 times the other).
    """

    flip: float = 0.0
    rot90: float = 0.0  # quarter turns in the x-y plane
    scale: float = 0.0  # intensity times 1 +- 0.1
    shift: float = 0.0  # intensity +- 0.1
    rotate: float = 0.0  # about x, y and z, each by up to
    angle: float = 30.0  # degrees
    zoom: float = 0.0
    zoom_range: Range = (0.7, 1.4)  # of the extent that is read, in crops: above 1 all looks smaller
    zoom_axes: Literal["alike", "apart"] = "alike"
    plane: bool | None = None  # turn, zoom and thin in x and y alone; by default in crops flatter than 3 to 1
    margin: float = 1.0  # extent, in crops, that is read around a crop for turns and zooms; zeros beyond
    noise: float = 0.0
    noise_range: Range = (0.0, 0.1)
    noise_unit: Literal["std", "variance"] = "std"
    blur: float = 0.0
    blur_sigma: Range = (0.5, 1.0)  # voxels
    brightness: float = 0.0  # times
    brightness_range: Range = (0.75, 1.25)
    brightness_clip: bool = False  # to the former range
    contrast: float = 0.0  # about the mean, cut off at the former range
    contrast_range: Range = (0.75, 1.25)
    lowres: float = 0.0  # thinned to a share of the voxels, and back
    lowres_range: Range = (0.5, 1.0)
    gamma_inverted: float = 0.0  # of the negative
    gamma: float = 0.0
    gamma_range: Range = (0.7, 1.5)
    gamma_keep: Literal["moments", "range", "unit"] = "moments"  # mean and spread; extremes; 0 to 1
    channel: float = 1.0  # probability per channel of blur and lowres, in a sample that has them
    balanced: bool = False  # factors and exponents below 1 as often as above

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, tuple | list):
                least, most = 0.0 if name == "noise_range" else 1e-3, 1.0 if name == "lowres_range" else 1e3
                if not least <= value[0] <= value[1] <= most:
                    raise ValueError(f"augment.{name} is [low, high] from {least:g} to {most:g}, got {value}")
            elif isinstance(value, float | int) and name not in ("angle", "margin") and not 0 <= value <= 1:
                raise ValueError(f"augment.{name} is a probability from 0 to 1, got {value}")
        if not (0 <= self.angle <= 180 and 1 <= self.margin <= 3):
            raise ValueError(f"augment.angle is 0 to 180, margin 1 to 3, got {self.angle} and {self.margin}")
