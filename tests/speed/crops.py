"""Random 96^3 crops: the chunked cache against the whole .nii.gz. Prints a markdown table.

    python tests/speed/crops.py [--rounds 5]

One synthetic 512 x 512 x 160 int16 volume (smooth structures, noise of 12 units, constant air). Both
sides read the same voxels in turn, A B A B; medians. ``cold``: the page cache was dropped for the
file (posix_fadvise), and the handle was opened anew.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import nibabel as nib
import numpy as np
from scipy.ndimage import gaussian_filter

from bench.data import cache
from bench.data.cache import Pack, PackWriter

SHAPE, CROP = (512, 512, 160), (96, 96, 96)


def volume(rng: np.random.Generator) -> np.ndarray:
    """Return a body in air: int16, like a CT."""
    coarse = gaussian_filter(rng.normal(size=[n // 4 for n in SHAPE]), 4)
    smooth = np.kron(coarse / coarse.std() * 150, np.ones((4, 4, 4)))
    noisy = smooth + rng.normal(0, 12, SHAPE)
    x, y = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE[:2]), indexing="ij")
    noisy[(x**2 / 0.7 + y**2 / 0.5) > 1] = -1024
    return noisy.astype(np.int16)


def forget(path: Path) -> None:
    """Drop a file from the page cache."""
    handle = os.open(path, os.O_RDONLY)
    os.fsync(handle)
    os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(handle)


def seconds(work: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    """Return the time of one call and what it returned."""
    began = time.perf_counter()
    found = work()
    return time.perf_counter() - began, found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        array = volume(rng)
        nib.save(nib.Nifti1Image(array, np.eye(4)), folder / "x.nii.gz")
        with PackWriter(folder, "image") as pack:
            pack.add("x", array[None])
        times: dict[str, list[float]] = {"gz": [], "gz cold": [], "warm": [], "cold": []}
        pack_file = folder / "image-000.b2"
        handle = Pack(folder, "image")["x"]
        for _ in range(rounds):
            start = rng.integers(0, np.subtract(SHAPE, CROP) + 1)
            box = tuple(slice(a, a + n) for a, n in zip(start, CROP, strict=True))

            def whole(box: tuple[slice, ...] = box) -> np.ndarray:
                return np.asanyarray(nib.load(folder / "x.nii.gz").dataobj)[box].copy()

            def chunked(box: tuple[slice, ...] = box) -> np.ndarray:
                return handle[(slice(None), *box)]

            def reopened(box: tuple[slice, ...] = box) -> np.ndarray:
                cache._open.cache_clear()
                return Pack(folder, "image")["x"][(slice(None), *box)]

            a, wanted = seconds(whole)
            b, found = seconds(chunked)
            assert np.array_equal(found[0], wanted)
            forget(folder / "x.nii.gz")
            c, _ = seconds(whole)
            forget(pack_file)
            d, _ = seconds(reopened)
            for key, value in zip(times, (a, c, b, d), strict=True):
                times[key].append(value)
        sizes = (folder / "x.nii.gz").stat().st_size, pack_file.stat().st_size
    report(times, sizes)


def report(times: dict[str, list[float]], sizes: tuple[int, int]) -> None:
    """Print the table."""
    ms = {k: median(v) * 1000 for k, v in times.items()}
    print("| | whole .nii.gz | chunked cache | ratio |\n|---|--:|--:|--:|")
    print(f"| bytes (MB) | {sizes[0] / 1e6:.1f} | {sizes[1] / 1e6:.1f} | {sizes[1] / sizes[0]:.2f} |")
    for name, a, b in (("warm", "gz", "warm"), ("cold", "gz cold", "cold")):
        print(f"| 96^3 crop, {name} (ms) | {ms[a]:.1f} | {ms[b]:.2f} | {ms[a] / ms[b]:.0f} |")


if __name__ == "__main__":
    main()
