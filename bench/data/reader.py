"""A volume as methods and fine-tuning see it: lazily read, cropped, float32."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from bench.errors import BenchError


class Lazy(Protocol):
    """Anything chunked that reads a box when it is sliced: blosc2, zarr, a NumPy array."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of all axes."""

    def __getitem__(self, key: slice | tuple[slice, ...]) -> np.ndarray: ...


class Volume:
    """One prepared case: an image (C, X, Y, Z) and, where there is one, its label (X, Y, Z).

    Nothing is decoded until a box is asked for, and then only the chunks it touches.
    Image voxels are stored as integers q and read as ``q * step + offset`` (float32).
    """

    name = ""  # which case of which prepared data set, where it is one
    origin = 0  # alike where data set and modality are, of volumes that are read together
    others: Callable[[np.random.Generator], Volume] | None = None  # draws another of those

    def __init__(
        self,
        image: Lazy,
        label: Lazy | None = None,
        *,
        step: float = 1.0,
        offset: float = 0.0,
        foreground: Lazy | None = None,
        classes: Lazy | None = None,
    ) -> None:
        self._image, self._label = image, label
        self._step, self._offset = np.float32(step), np.float32(offset)
        self._foreground, self._classes = foreground, classes

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along x, y, z."""
        x, y, z = self._image.shape[1:]
        return (x, y, z)

    @property
    def channels(self) -> int:
        """Number of image channels."""
        return int(self._image.shape[0])

    @property
    def lowest(self) -> float:
        """Lowest value of the image, which is also what lies around it."""
        return float(self._offset)

    @property
    def foreground(self) -> np.ndarray | None:
        """Some labelled voxels, (N, 3), drawn once when the case was prepared; for sampling."""
        return None if self._foreground is None else np.asarray(self._foreground[:])

    @property
    def classes(self) -> np.ndarray | None:
        """Some voxels of every class, (N, 4): x, y, z and the class; as ``foreground``, but not by size."""
        return None if self._classes is None else np.asarray(self._classes[:])

    def crop(self, start: Sequence[int], size: Sequence[int]) -> np.ndarray:
        """Return float32 (C, *size) from ``start``; outside the volume reads as its minimum.

        A slice is a crop of one voxel along z: it decodes the blocks that it touches and no more.
        Reading beyond the border is allowed in every direction, so that a crop larger than the
        volume is centred padding and not an error.
        """
        box, pad = _clip(start, size, self.shape)
        raw = np.asarray(self._image[(slice(None), *box)])
        values = raw.astype(np.float32)
        values *= self._step
        values += self._offset
        if not any(lo or hi for lo, hi in pad):
            return values
        return np.pad(values, ((0, 0), *pad), constant_values=float(self._offset))

    def crop_label(self, start: Sequence[int], size: Sequence[int]) -> np.ndarray:
        """Return uint8 ``size`` of the label; 0 outside the volume."""
        if self._label is None:
            raise ValueError("this volume has no label")
        box, pad = _clip(start, size, self.shape)
        raw = np.asarray(self._label[box])
        return np.pad(raw, pad) if any(lo or hi for lo, hi in pad) else raw

    def whole(self) -> np.ndarray:
        """Return the whole image, float32 (C, X, Y, Z)."""
        return self.crop((0, 0, 0), self.shape)

    def another(self, rng: np.random.Generator) -> Volume:
        """Return another one of the volumes that are read together, drawn uniformly.

        Raises:
            BenchError: there is none.
        """
        if self.others is None:
            raise BenchError(
                "the method needs a second case, and there is only one; use more cases"
            )
        return self.others(rng)

    def random_start(self, size: Sequence[int], rng: np.random.Generator) -> tuple[int, int, int]:
        """Draw a uniform corner such that ``size`` fits; centred along axes where it cannot."""
        x, y, z = (_draw(n, s, rng) for n, s in zip(self.shape, size, strict=True))
        return (x, y, z)

    def random_crop(self, size: Sequence[int], rng: np.random.Generator) -> np.ndarray:
        """Return a uniformly placed crop, float32 (C, *size)."""
        return self.crop(self.random_start(size, rng), size)


def _draw(length: int, size: int, rng: np.random.Generator) -> int:
    room = length - size
    return int(rng.integers(room + 1)) if room > 0 else room // 2


def _clip(
    start: Sequence[int], size: Sequence[int], shape: Sequence[int]
) -> tuple[tuple[slice, ...], tuple[tuple[int, int], ...]]:
    """Split a box into the part inside ``shape`` and the padding around it."""
    inside, padding = [], []
    for a, n, length in zip(start, size, shape, strict=True):
        lo, hi = min(max(a, 0), length), max(min(a + n, length), 0)
        hi = max(hi, lo)
        before = min(max(0, -a), n)
        inside.append(slice(lo, hi))
        padding.append((before, n - before - (hi - lo)))
    return tuple(inside), tuple(padding)
