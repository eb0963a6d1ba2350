"""One slice of a case with its label over it, small enough to lie in a page by the hundred."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from typing import Literal

import numpy as np
from PIL import Image, ImageColor

from bench.data.facts import Facts
from bench.dataset import Dataset
from bench.show.predictions import BRIGHT, DARK, turned
from bench.volumes.files import is_picture
from bench.volumes.picture import is_slices
from bench.volumes.reading import LabelVolume, Volume3D

SIDE = 256  # pixels of the longer side, at most
QUALITY = 80  # of a JPEG
TINT = 90  # opacity of a label's inside, of 255; its outline is opaque


@dataclass(frozen=True)
class Thumbnail:
    """A slice as addresses that hold the picture itself. ``mask`` is empty where nothing is labelled."""

    image: str
    mask: str
    ratio: float  # width over height, in mm


def thumbnail(
    facts: Facts, image: Volume3D, label: LabelVolume | None, dataset: Dataset
) -> Thumbnail:
    """Return the slice ``facts.level`` of a case, anterior up, the patient's right on the left.

    Pictures lie as any program displays them.

    Args:
        facts: of the case.
        image: three channels of uint8 are a photograph; of others the first is drawn.
        label: its label map as stored.
        dataset: of CT, the window of its default recipe is drawn, else percentiles of the slice.
    """
    recipe = dataset.recipes.get("default") if dataset.modality == "CT" else None
    window = recipe.window if recipe else None
    turn = np.transpose if is_picture(image.path) or is_slices(image.path) else turned
    photograph = image.array.shape[0] == 3 and image.array.dtype == np.uint8
    channels = image.array[..., facts.level] if photograph else image.array[:1, ..., facts.level]
    planes = [turn(channel if photograph else _grey(channel, window)) for channel in channels]
    tall, wide = planes[0].shape
    ratio = wide * facts.spacing[0] / (tall * facts.spacing[1])
    size = (SIDE, max(1, round(SIDE / ratio))) if ratio > 1 else (max(1, round(SIDE * ratio)), SIDE)
    drawn = Image.fromarray(np.stack(planes, -1) if photograph else planes[0])
    if wide > size[0] or tall > size[1]:
        drawn = drawn.resize(
            size, Image.Resampling.BOX if wide > 2 * size[0] else Image.Resampling.BILINEAR
        )
    mask = ""
    plane = None if label is None else label.array[..., facts.level]
    if plane is not None and dataset.ignore is not None:
        plane = np.where(plane == dataset.ignore, 0, plane)
    if plane is not None and plane.any():
        mask = _mask(_declared(turn(plane), dataset.raw_labels), size)
    return Thumbnail(_jpeg(drawn), mask, ratio)


def _declared(plane: np.ndarray, raw: Mapping[int, int]) -> np.ndarray:
    """Return the declared labels of raw values; a value that nobody declared stays."""
    values, where = np.unique(plane, return_inverse=True)
    return np.array([raw.get(int(v), int(v)) for v in values], np.int64)[where].reshape(plane.shape)


def _grey(plane: np.ndarray, window: tuple[float, float] | None) -> np.ndarray:
    dark, bright = window or np.percentile(plane.astype(np.float64), (DARK, BRIGHT))
    scaled = (plane.astype(np.float64) - dark) / max(bright - dark, 1e-6) * 255
    return np.clip(scaled, 0, 255).astype(np.uint8)


def _mask(mask: np.ndarray, size: tuple[int, int]) -> str:
    """Return label values (rows, columns) as coloured areas with an outline, transparent elsewhere."""
    n = len(colours())
    index = np.where(mask == 0, 0, 1 + (mask - 1) % n).astype(np.uint8)
    large = np.asarray(Image.fromarray(index).resize(size, Image.Resampling.NEAREST))
    padded = np.pad(large, 1)
    inside = [padded[1:-1, :-2], padded[1:-1, 2:], padded[:-2, 1:-1], padded[2:, 1:-1]]
    edge = (large > 0) & np.any([large != other for other in inside], axis=0)
    picture = Image.fromarray(np.where(edge, large + n, large).astype(np.uint8), "P")
    picture.putpalette([0, 0, 0, *(part for _ in range(2) for rgb in colours() for part in rgb)])
    opacity = bytes([0] + [TINT] * n + [255] * n)
    file = BytesIO()
    picture.save(file, "PNG", optimize=True, transparency=opacity)
    return _address("png", file)


@lru_cache
def colours() -> tuple[tuple[int, ...], ...]:
    """Return the colours of labels, from the first on, as the report's predictions have them."""
    from bench.report.masks import LABELS

    return tuple(ImageColor.getrgb(colour) for colour in LABELS)


def _jpeg(picture: Image.Image) -> str:
    file = BytesIO()
    picture.save(file, "JPEG", quality=QUALITY, optimize=True)
    return _address("jpeg", file)


def _address(kind: Literal["png", "jpeg"], file: BytesIO) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
