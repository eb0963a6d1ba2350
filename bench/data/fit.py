"""Whether a recipe fits scans, judged by what was measured of them."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import numpy as np

from bench.data.facts import Facts
from bench.dataset import Recipe

FEWEST = 8  # voxels along a side, below which a network sees next to nothing
# share of voxels at the window's two ends, from which an image is all but two values
CLIPPED = 0.95
ABOVE = 0.3  # share at its upper end: tissue and bone above a window are less of a scan
AIR = -500.0  # HU; a CT scan has voxels below it
FAT = -50.0  # HU; even a CT scan that was cut to the body has voxels below it


def doubts(
    recipe: Recipe, seen: Sequence[Facts], modality: str, *, flat: bool = False
) -> list[str]:
    """Return in words what of a recipe does not fit a data set's scans; empty where all fits.

    Args:
        recipe: is judged.
        seen: what was measured of the scans.
        modality: the data set's; HU are those of CT.
        flat: are they pictures, of one voxel along z?
    """
    if not seen:
        return []
    fault = window_fault(recipe, seen, modality)
    advice = f"{fault}; use another window, 'scale: zscore' without one, or correct the values"
    return [*_few_voxels(recipe, seen, 2 if flat else 3), *([advice] if fault else [])]


def _few_voxels(recipe: Recipe, seen: Sequence[Facts], axes: int) -> list[str]:
    """Judge the voxels a side after resampling; scans that are as thin themselves are no fault of it."""
    if recipe.spacing is None:
        return []
    for axis, spacing in list(enumerate(recipe.spacing))[:axes]:
        extent = median(f.shape[axis] * f.spacing[axis] for f in seen)
        stored = median(f.shape[axis] for f in seen)
        voxels = extent / spacing
        if voxels < FEWEST and voxels < stored / 1.5:
            return [
                f"voxels of {spacing:g} mm leave {voxels:.1f} along {'xyz'[axis]} of a median scan, which is "
                f"{extent:.0f} mm there; use finer ones"
            ]
    return []


def window_fault(recipe: Recipe, seen: Sequence[Facts], modality: str) -> str:
    """Return where values are not those of the window, by the voxels at its ends, and in HU by those of fat."""
    if recipe.window is None:
        return ""
    low, high = recipe.window
    channels = recipe.channels or range(max(len(f.quantiles) for f in seen))
    for channel in channels:
        scans = [f for f in seen if channel < len(f.grey)]
        if not scans:
            continue
        shares = [_at_ends(f.quantiles[channel], low, high) for f in scans]
        where = f" of channel {channel}" if len(channels) > 1 else ""
        below, above = (median(side) for side in zip(*shares, strict=True))
        if above >= ABOVE or below + above >= CLIPPED:
            airless = modality == "CT" and all(f.grey[channel][0] > AIR for f in scans)
            why = (
                "; no voxel is air in HU, as where CT is stored with an offset (1024)"
                if airless
                else ""
            )
            return (
                f"window [{low:g}, {high:g}]{where} sets {below:.0%} of a median scan's voxels to its lower end and "
                f"{above:.0%} to its upper end{why}"
            )
        grey = [f.grey[channel] for f in scans if f.case.meta.get("modality", "CT") == "CT"]
        if modality == "CT" and low < 0 and grey and median(g[1] for g in grey) > FAT:
            least, most = (median(g[end] for g in grey) for end in (0, -1))
            return (
                f"window [{low:g}, {high:g}] is in HU, and channel {channel} holds {least:.3g} to {most:.3g} "
                "in a median scan"
            )
    return ""


def _at_ends(quantiles: Sequence[float], low: float, high: float) -> tuple[float, float]:
    """Return the shares of voxels at or below the lower and at or above the upper end."""
    values = np.asarray(quantiles)
    return float((values <= low).mean()), float((values >= high).mean())
