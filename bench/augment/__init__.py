"""Batched augmentations on the device; each that moves voxels returns how."""

from bench.augment.affine import read_size
from bench.augment.geometry import (
    flip,
    flip_rot90,
    random_flip,
    random_flip_rot90,
    random_rot90,
    resize_box,
    rot90,
)
from bench.augment.intensity import (
    brightness,
    contrast,
    gamma,
    gaussian_blur,
    gaussian_noise,
    scale,
    shift,
)
from bench.augment.views import finetune_views

__all__ = [
    "brightness",
    "contrast",
    "finetune_views",
    "flip",
    "flip_rot90",
    "gamma",
    "gaussian_blur",
    "gaussian_noise",
    "random_flip",
    "random_flip_rot90",
    "random_rot90",
    "read_size",
    "resize_box",
    "rot90",
    "scale",
    "shift",
]
