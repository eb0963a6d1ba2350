"""A small picture of a scan that survives resampling and monotone changes of its grey values.

Grey values become ranks and the grid becomes coarse: what a crop, a flip or a turn of the axes does
to a scan stays visible, what a window, a spacing or a storage type does hardly is.
"""

from __future__ import annotations

import numpy as np

SIDE = 48  # voxels a side of a volume: 108 kB per channel
FLAT_SIDE = 192  # pixels a side of a picture: 36 kB
SAMPLE = 200_000  # voxels that the ranks are counted on
LEVELS = 4096  # grey values told apart between the ends below
ENDS = (0.0005, 0.9995)  # quantiles; a few voxels of metal must not eat the levels
CROWD = 0.02  # largest share of one level: air and padding must not take the ranks of the body
SLAB = 1 << 22  # voxels converted at a time


def fingerprint(image: np.ndarray) -> np.ndarray:
    """Return an image's fingerprint, uint8 (C, X, Y, Z), 48 voxels a side at most, or 192 for a picture.

    Args:
        image: (C, X, Y, Z) of any real type without NaN; Z = 1 means a picture. A picture of
            three unsigned bytes is colour and becomes its one luminance.

    An axis that is shorter keeps its length, which says how much can be seen along it. A channel
    without content is zero everywhere.
    """
    flat = image.shape[3] == 1
    if flat and image.shape[0] == 3 and image.dtype == np.uint8:
        image = np.tensordot(np.array([0.299, 0.587, 0.114], np.float32), image, axes=1)[None]
    side = FLAT_SIDE if flat else SIDE
    sides = tuple(min(n, side) for n in image.shape[1:])
    return np.stack([_channel(channel, sides) for channel in image])


def sampling(
    size: int,
    count: int,
    start: float | np.ndarray = 0.0,
    extent: float | np.ndarray = 1.0,
    blur: float = 1.0,
) -> np.ndarray:
    """Return matrices that read ``count`` places of a line of ``size`` voxels, float32.

    Args:
        size: voxels of the line, which reaches from 0 to 1.
        count: places, the centres of equal parts of the interval.
        start: of the intervals, any shape (...); outside the line, its last voxel counts.
        extent: of the intervals, (...).
        blur: half the width of the hats below, in distances of two places.

    Returns:
        (..., count, size): hat-shaped weights, at least a voxel to either side, that sum to 1.
    """
    starts, extents = np.asarray(start)[..., None, None], np.asarray(extent)[..., None, None]
    part = (np.arange(count)[:, None] + 0.5) / count
    centre = np.clip((starts + extents * part) * size - 0.5, 0, size - 1).astype(np.float32)
    width = np.maximum(blur * extents * size / count, 1)
    apart = np.abs(centre - np.arange(size, dtype=np.float32))
    weights = np.maximum(1 - apart / width.astype(np.float32), 0)
    return weights / weights.sum(-1, keepdims=True)


def read(volume: np.ndarray, matrices: list[np.ndarray]) -> np.ndarray:
    """Return volumes (..., X, Y) or (..., X, Y, Z) with one matrix (..., m, n) applied along each axis."""
    first, *middle, last = matrices
    d = len(matrices)
    lead, sides = volume.shape[:-d], volume.shape[-d:]
    out = first @ volume.reshape(*lead, sides[0], -1)
    out = out.reshape(*out.shape[:-1], *sides[1:])
    for matrix in middle:
        out = matrix[..., None, :, :] @ out
    flat = out.reshape(*lead, -1, sides[-1]) @ last.swapaxes(-1, -2)
    return flat.reshape(*out.shape[:-1], last.shape[-2])


def _channel(channel: np.ndarray, sides: tuple[int, ...]) -> np.ndarray:
    """Return one channel's cube, stretched to 0..255."""
    low, scale, ranks = _ranks(channel)
    if scale == 0:
        return np.zeros(sides, np.uint8)
    x, y, z = (sampling(n, side) for n, side in zip(channel.shape, sides, strict=True))
    step = max(1, SLAB // max(channel[0].size, 1))
    small = np.zeros(sides, np.float32)
    for first in range(0, channel.shape[0], step):
        slab = channel[first : first + step].astype(np.float32)
        slab -= low
        slab *= scale
        np.clip(slab, 0, LEVELS - 1, out=slab)
        slab = y @ (ranks[slab.astype(np.int16)] @ z.T)
        small += np.tensordot(x[:, first : first + step], slab, axes=1)
    low, high = float(small.min()), float(small.max())
    if high - low < 1e-6:
        return np.zeros(sides, np.uint8)
    return np.rint((small - low) * (255 / (high - low))).astype(np.uint8)


def _ranks(channel: np.ndarray) -> tuple[float, float, np.ndarray]:
    """Return offset and factor from grey value to level, and every level's rank from 0 to 1."""
    step = max(1, round((channel.size / SAMPLE) ** (1 / max(1, sum(n > 1 for n in channel.shape)))))
    sample = channel[tuple(slice(None, None, min(step, max(1, n // 8))) for n in channel.shape)]
    sample = sample.astype(np.float64).ravel()
    low, high = np.quantile(sample, ENDS)
    if high <= low:
        low, high = sample.min(), sample.max()
    if high <= low:
        return 0.0, 0.0, np.zeros(LEVELS, np.float32)
    scale = (LEVELS - 1) / (high - low)
    level = np.clip((sample - low) * scale + 0.5, 0, LEVELS - 1).astype(np.int64)
    share = np.minimum(np.bincount(level, minlength=LEVELS) / sample.size, CROWD)
    share /= share.sum()
    return low - 0.5 / scale, scale, (np.cumsum(share) - share / 2).astype(np.float32)
