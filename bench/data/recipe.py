"""From a volume to the array that networks read; the way back is in ``bench.volumes.resampling``."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median_low
from typing import TYPE_CHECKING

import numpy as np

from bench.dataset import VOID, Dataset, Recipe
from bench.errors import BenchError, unknown
from bench.metrics.grid import at_right_angles
from bench.ranges import Triple
from bench.volumes.header import MAX_BYTES, VolumeError
from bench.volumes.resampling import Geometry, linear, nearest, restore, smooth

if TYPE_CHECKING:
    from bench.volumes.reading import LabelVolume, Volume3D

__all__ = ["Geometry", "Prepared", "consistent", "contiguous", "prepare", "restore"]

PERCENTILES = (0.5, 99.5)  # bench.dataset.Recipe
LONGEST, COARSEST = 4096, 1000  # voxels along an axis, mm of a voxel: more is a slip
LARGEST = 1 << 16  # raw label values are looked up in a table of this length


@dataclass(frozen=True, eq=False)
class Prepared:
    """One case on the recipe's grid; labels are contiguous classes.

    ``step`` is what one unit of the source became in ``image``, where the source holds whole
    numbers only (HU): storing multiples of it loses nothing that the file had.
    """

    image: np.ndarray  # float32 (C, x, y, z)
    label: np.ndarray | None  # uint8 (x, y, z)
    native_label: np.ndarray | None  # uint8 (X, Y, Z), before any crop or resampling
    geometry: Geometry
    step: float | None


def prepare(
    volume: Volume3D, label: LabelVolume | None, recipe: Recipe, dataset: Dataset
) -> Prepared:
    """Apply a recipe: clip, scale, crop to foreground or centre, resample (labels by nearest voxel).

    Intensities are scaled on the native voxels. Linear interpolation commutes with the scaling,
    so only the statistics could tell, and those of the native voxels depend on no resampling.

    Args:
        volume: the image in RAS+.
        label: its raw label map on the same grid.
        recipe: geometry and intensities.
        dataset: says what the values of the label mean.

    Raises:
        BenchError: contradictory recipe, NaN voxels, an unknown label value, another grid.
    """
    consistent(recipe)
    from bench.volumes.reading import check_finite  # a plan asks for recipes and reads no file

    check_finite(volume)
    if recipe.channels is not None:
        there, picked = len(volume.array), list(recipe.channels)
        if not all(0 <= c < there for c in picked):
            raise BenchError(
                f"recipe: channels {picked}: {volume.path} has only {there}, counted from 0; use numbers below {there}"
            )
        volume = replace(volume, array=volume.array[picked])
    resample = smooth if recipe.smooth else linear
    channels = [_scaled(channel, recipe) for channel in volume.array]
    image = np.stack([values for values, _ in channels])
    steps = [1 / width for _, width in channels if width > 0]
    whole_numbers = volume.array.dtype.kind in "iu" or (volume.array == np.rint(volume.array)).all()
    native = _triple(image.shape[1:])
    classes = None
    if label is not None:
        if label.array.shape != native:
            raise VolumeError(label.path, "shape", f"{label.array.shape}, its image: {native}")
        classes = contiguous(label, dataset)
    box = (
        _foreground(volume.array, image, recipe.foreground)
        if recipe.centre is None
        else _centre(native, recipe.centre)
    )
    edges = None if at_right_angles(volume.affine) else volume.affine[:3, :3].T.tolist()
    whole = Geometry(native, volume.spacing, box, native, edges)
    geometry = replace(whole, shape=_target(whole, recipe))
    if 4 * math.prod(geometry.shape) > MAX_BYTES:
        raise BenchError(
            f"{volume.path}: {native} voxels of {volume.spacing} mm become {geometry.shape}, more "
            f"than {MAX_BYTES >> 30} GiB; use a coarser spacing in the recipe"
        )
    return Prepared(
        image=np.stack([resample(channel[geometry.inside], geometry.shape) for channel in image]),
        label=None if classes is None else nearest(classes[geometry.inside], geometry.shape),
        native_label=classes,
        geometry=geometry,
        step=min(steps) if steps and whole_numbers else None,
    )


def contiguous(label: LabelVolume, dataset: Dataset) -> np.ndarray:
    """Return a label map's contiguous classes, uint8 (X, Y, Z); ``VOID`` where nobody labelled.

    Raises:
        VolumeError: ``label_value``, with every value that the data set does not declare.
    """
    # raw -> class
    known = {0: 0, **(dataset.raw_labels or {value: value for value in dataset.labels})}
    if dataset.ignore is not None:
        known[dataset.ignore] = VOID
    table = np.full(LARGEST, -1, np.int16)
    table[list(known)] = list(known.values())
    array = label.array
    if array.min() < 0 or array.max() >= LARGEST:
        strange = np.unique(array[(array < 0) | (array >= LARGEST)])
    else:
        classes = table[array]
        if classes.min() >= 0:
            return classes.astype(np.uint8)
        strange = np.unique(array[classes < 0])
    listed = ", ".join(str(v) for v in strange[:5]) + (" ..." if strange.size > 5 else "")
    declared = ", ".join(str(value) for value in sorted(known))
    raise VolumeError(label.path, "label_value", f"values {listed} are not declared ({declared})")


def consistent(recipe: Recipe) -> None:
    """Refuse a recipe that contradicts itself.

    Raises:
        BenchError: names the entries.
    """
    if recipe.channels is not None and not 0 < len(set(recipe.channels)) == len(recipe.channels):
        raise BenchError(f"recipe: channels {list(recipe.channels)}: name one or more, each once")
    if recipe.spacing is not None and recipe.resize is not None:
        raise BenchError("recipe: set either 'spacing' or 'resize', not both")
    if recipe.scale not in SCALES:
        raise BenchError(f"recipe: {unknown('scale', recipe.scale, SCALES)}")
    if recipe.scale == "window" and recipe.window is None:
        raise BenchError("recipe: scale 'window' needs 'window: [low, high]', or another scale")
    _check_standard(recipe)
    if recipe.window is not None and not recipe.window[0] < recipe.window[1]:
        raise BenchError(f"recipe: window {list(recipe.window)} must rise from low to high")
    if recipe.window is not None and not all(map(math.isfinite, recipe.window)):
        raise BenchError(f"recipe: window {list(recipe.window)} must be of finite numbers")
    _check_sizes(recipe)


def _check_sizes(recipe: Recipe) -> None:
    if recipe.spacing is not None and not all(0 < s <= COARSEST for s in recipe.spacing):
        raise BenchError(
            f"recipe: spacing {list(recipe.spacing)} must be above 0, at most {COARSEST} mm"
        )
    if isinstance(recipe.foreground, float) and not math.isfinite(recipe.foreground):
        raise BenchError(f"recipe: foreground {recipe.foreground} must be a finite number")
    if recipe.centre is not None and recipe.foreground is not None:
        raise BenchError("recipe: set either 'foreground' or 'centre', not both")
    for key, sides in (("resize", recipe.resize), ("centre", recipe.centre)):
        if sides is not None and not (min(sides) >= 0 < max(sides) <= LONGEST):
            raise BenchError(
                f"recipe: {key} {list(sides)} must be above 0, at most {LONGEST}, or 0 to keep an axis"
            )


def _check_standard(recipe: Recipe) -> None:
    if (recipe.scale == "fixed") != (recipe.standard is not None):
        raise BenchError(
            "recipe: scale 'fixed' and 'standard: [mean, spread]' go together; set both"
        )
    if recipe.standard is not None and not (
        all(map(math.isfinite, recipe.standard)) and recipe.standard[1] > 0
    ):
        raise BenchError(
            f"recipe: standard {list(recipe.standard)} must be finite, the second above 0"
        )


def _scaled(channel: np.ndarray, recipe: Recipe) -> tuple[np.ndarray, float]:
    """Return one channel, clipped and scaled, float32, and the width that became 1."""
    values = channel.astype(np.float32)
    if recipe.window is not None:
        np.clip(values, *recipe.window, out=values)
    # "non-zero" is asked of the file's voxels: a window may move the background.
    counted = values[channel != 0] if recipe.nonzero else values.ravel()
    shift, width = SCALES[recipe.scale](counted if counted.size else values.ravel(), recipe)
    if recipe.scale == "percentile":
        np.clip(values, shift, shift + width, out=values)
    values -= np.float32(shift)
    if width > 0:  # a constant volume becomes 0, not NaN
        values /= np.float32(width)
    if recipe.nonzero:
        values[channel == 0] = 0
    return values, width


def _zscore(values: np.ndarray) -> tuple[float, float]:
    # float64: a float32 sum over 1e8 voxels is off by more than the noise it measures
    spread = float(values.std(dtype=np.float64))
    mean = float(values.mean(dtype=np.float64))
    return mean, spread if spread > 1e-6 * abs(mean) else 0.0


def _between(low: float, high: float) -> tuple[float, float]:
    return float(low), float(high) - float(low)


SCALES: dict[
    str, Callable[[np.ndarray, Recipe], tuple[float, float]]
] = {  # shift, and what becomes 1
    "window": lambda _, recipe: _between(*(recipe.window or (0.0, 1.0))),
    "zscore": lambda values, _: _zscore(values),
    "percentile": lambda values, _: _between(*np.percentile(values, PERCENTILES)),
    "minmax": lambda values, _: _between(values.min(), values.max()),
    "fixed": lambda _, recipe: recipe.standard or (0.0, 1.0),
}


def _foreground(
    native: np.ndarray, image: np.ndarray, above: float | str | None
) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """Return the box of voxels above the threshold in any channel; everything if none is."""
    x, y, z = ((0, n) for n in image.shape[1:])
    if above is None:
        return (x, y, z)
    mask = np.any(native != 0 if isinstance(above, str) else image > above, axis=0)
    if mask.any():
        hits = (np.flatnonzero(mask.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1)))
        x, y, z = ((int(hit[0]), int(hit[-1]) + 1) for hit in hits)
    return (x, y, z)


def _centre(
    native: Triple, size: Triple
) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """Return the box in the middle; of an odd rest the larger half is cut at the end."""
    kept = [min(m or n, n) for n, m in zip(native, size, strict=True)]
    x, y, z = (((n - k) // 2, (n - k) // 2 + k) for n, k in zip(native, kept, strict=True))
    return (x, y, z)


def _target(geometry: Geometry, recipe: Recipe) -> Triple:
    if recipe.resize is not None:
        return _triple([m or n for n, m in zip(geometry.cropped, recipe.resize, strict=True)])
    if recipe.spacing is None:
        return geometry.cropped
    sides = zip(geometry.cropped, geometry.native_spacing, recipe.spacing, strict=True)
    return _triple([max(1, int(n * old / new + 0.5)) for n, old, new in sides])


def largest(native: Triple, spacing: tuple[float, float, float], recipe: Recipe) -> Triple:
    """Return the size of a prepared volume; where its foreground is cut out, the most that it can be."""
    x, y, z = native
    box = _centre(native, recipe.centre) if recipe.centre else ((0, x), (0, y), (0, z))
    return _target(Geometry(native, spacing, box, native), recipe)


def median_size(
    grids: Mapping[tuple[Triple, tuple[float, float, float]], int], recipe: Recipe
) -> Triple | None:
    """Return the median of prepared volumes along each axis, as ``largest`` has them; None of none.

    ``grids``: how many volumes have each native size and spacing.
    """
    sizes = [size for grid, count in grids.items() for size in [largest(*grid, recipe)] * count]
    return _triple([median_low(along) for along in zip(*sizes, strict=True)]) if sizes else None


def _triple(sizes: Sequence[int]) -> Triple:
    x, y, z = (int(n) for n in sizes)
    return (x, y, z)
