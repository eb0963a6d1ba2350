"""Random crops and slices: the prepared cache against other ways to keep a volume. Prints a markdown table.

    python tools/speed/crops.py [--rounds 20]

One synthetic 512 x 512 x 160 int16 volume (smooth structures, noise of 12 units, constant air), one
thread. All sides read the same voxels in turn, A B A B; medians. Warm: crops per second of processor
time, so per core, whatever else runs. Cold: per second of wall time, the file dropped from the page
cache (posix_fadvise; nobody may have it mapped then) and opened anew.
"""

import gc
import math
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median

import blosc2
import nibabel as nib
import numpy as np
import torch
from options import options
from scipy.ndimage import gaussian_filter

from bench.data import cache, index
from bench.data.cache import compress
from bench.data.prepared import Prepared
from bench.data.shards import Gathered, Made, Writer, join
from bench.dataset import Case
from bench.volumes.resampling import Geometry

SHAPE, CROP, SLICE = (512, 512, 160), (128, 128, 128), (192, 192, 1)
CASE, CONTENT = Case("x", "x", ()), "00" * 16
Box = tuple[slice, ...]
Read = Callable[[Box], np.ndarray]


def volume(rng: np.random.Generator) -> np.ndarray:
    coarse = gaussian_filter(rng.normal(size=[n // 4 for n in SHAPE]), 4)
    smooth = np.kron(coarse / coarse.std() * 150, np.ones((4, 4, 4)))
    noisy = smooth + rng.normal(0, 12, SHAPE)
    x, y = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE[:2]), indexing="ij")
    noisy[(x**2 / 0.7 + y**2 / 0.5) > 1] = -1024
    return noisy.astype(np.int16)


def forget(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            handle = os.open(path, os.O_RDONLY)
            os.fsync(handle)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(handle)


def ours(folder: Path, array: np.ndarray) -> Callable[[], Read]:
    """Write a prepared data set; read what is stored."""
    grid = Geometry(SHAPE, (1.0, 1.0, 1.0), tuple((0, n) for n in SHAPE), SHAPE)  # type: ignore[arg-type]
    scratch = folder.with_name("shards")
    with Writer(scratch) as writer:
        writer.add(Made("x", CONTENT, grid, 1.0, -1024.0, {"image": compress(array[None])}))
    join(Gathered(scratch, {"x": CONTENT}), folder, [CASE])
    shutil.rmtree(scratch)

    def opened() -> Read:
        packed = index.Index(folder).packed("x", "image")
        return lambda box: packed[(0, *box)]

    return opened


def ours_scaled(folder: Path, array: np.ndarray) -> Callable[[], Read]:
    """Read the same as methods do: float32, scaled."""
    ours(folder, array + 1024)

    def opened() -> Read:
        result = Prepared(folder).volume("x")
        return lambda box: result.crop([s.start for s in box], [s.stop - s.start for s in box])[0]

    return opened


def gzipped(folder: Path, array: np.ndarray) -> Callable[[], Read]:
    nib.save(nib.Nifti1Image(array, np.eye(4)), folder / "x.nii.gz")
    return lambda: lambda box: np.asanyarray(nib.load(folder / "x.nii.gz").dataobj)[box].copy()


def mapped(folder: Path, array: np.ndarray) -> Callable[[], Read]:
    np.save(folder / "x.npy", array)

    def opened() -> Read:
        result = np.load(folder / "x.npy", mmap_mode="r")
        return lambda box: np.array(result[box])

    return opened


def persistent(folder: Path, array: np.ndarray) -> Callable[[], Read]:
    """Have MONAI's PersistentDataset keep the loaded tensor (float32, its default)."""
    from monai.data import PersistentDataset
    from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged

    source = folder.with_name("source")
    source.mkdir()
    nib.save(nib.Nifti1Image(array, np.eye(4)), source / "x.nii")
    steps = Compose([LoadImaged("image"), EnsureChannelFirstd("image")])
    built = PersistentDataset([{"image": str(source / "x.nii")}], steps, folder)
    built[0]
    return lambda: lambda box: built[0]["image"][(0, *box)].clone().numpy()


def halved(sides: list[int], most: float) -> list[int]:
    """Halve the longest side until the box has at most ``most`` elements."""
    while math.prod(sides) > most:
        sides[int(np.argmax(sides))] //= 2
    return sides


def one_file_each(folder: Path, array: np.ndarray) -> Callable[[], Read]:
    """Write as nnU-Net v2 does: normalised float32, zstd level 8, a .b2nd file per case.

    Its rule for a patch of 128^3: blocks are halved from the patch until they fit 80 % of a level-1
    cache of 32 KiB (16^3), chunks are as many blocks as fit 80 % of 1.375 MiB (64^3).
    """
    blocks = halved(list(CROP), 0.8 * 32 * 1024 / 4)
    chunks = halved(list(CROP), 0.8 * 1.375 * 1024**2 / 4)
    scaled = ((array - array.mean()) / array.std()).astype(np.float32)
    blosc2.asarray(
        scaled,
        urlpath=str(folder / "x.b2nd"),
        chunks=chunks,
        blocks=blocks,
        cparams={"codec": blosc2.Codec.ZSTD, "clevel": 8},
    )

    def opened() -> Read:
        result = blosc2.open(
            str(folder / "x.b2nd"), mode="r", dparams={"nthreads": 1}, mmap_mode="r"
        )
        return lambda box: result[box]

    return opened


SIDES: dict[str, Callable[[Path, np.ndarray], Callable[[], Read]]] = {
    "bench, as stored (int16)": ours,
    "bench, `Volume.crop` (float32)": ours_scaled,
    "nnU-Net style .b2nd (float32)": one_file_each,
    ".npy, memory map (int16)": mapped,
    "MONAI PersistentDataset (float32)": persistent,
    "whole .nii.gz (int16)": gzipped,
}


def rate(read: Read, box: Box, clock: Callable[[], float]) -> float:
    began = clock()
    read(box)
    return 1 / max(clock() - began, 1e-9)


def boxes(size: tuple[int, ...], count: int) -> list[Box]:
    rng = np.random.default_rng(1)
    starts = rng.integers(0, np.subtract(SHAPE, size) + 1, (count, 3))
    return [tuple(slice(int(a), int(a) + n) for a, n in zip(s, size, strict=True)) for s in starts]


def main() -> None:
    rounds = options(__doc__, rounds=20).rounds
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    blosc2.set_nthreads(1)
    array = volume(np.random.default_rng(0))
    with tempfile.TemporaryDirectory() as name:
        folders, opened = {}, {}
        for number, (side, write) in enumerate(SIDES.items()):
            folders[side] = Path(name) / str(number) / "made"
            folders[side].mkdir(parents=True)
            opened[side] = write(folders[side], array)
        handles = {side: opened[side]() for side in SIDES}
        sides = ("bench, as stored (int16)", ".npy, memory map (int16)", "whole .nii.gz (int16)")
        for side in sides:
            box = boxes(CROP, 1)[0]
            assert np.array_equal(handles[side](box), array[box])
        result: dict[str, dict[str, list[float]]] = {
            s: {"warm": [], "cold": [], "slice": []} for s in SIDES
        }
        crops = boxes(CROP, rounds)
        for crop, plane in zip(crops, boxes(SLICE, rounds), strict=True):
            for side, read in handles.items():
                result[side]["warm"].append(rate(read, crop, time.process_time))
                result[side]["slice"].append(rate(read, plane, time.process_time))
        del read
        handles.clear()
        for crop in crops:
            for side in SIDES:
                cache._frame.cache_clear()
                cache._mapped.cache_clear()
                gc.collect()
                forget(folders[side])
                result[side]["cold"].append(
                    rate(lambda box, s=side: opened[s]()(box), crop, time.perf_counter)
                )  # type: ignore[misc]
        sizes = {
            s: sum(p.stat().st_size for p in f.rglob("*") if p.is_file())
            for s, f in folders.items()
        }
    report(result, sizes)


def report(rates_by_side: dict[str, dict[str, list[float]]], sizes: dict[str, int]) -> None:
    complete = sizes["whole .nii.gz (int16)"]
    print("| | MB | of .nii.gz | 128^3 crops/s, warm | cold | 192 x 192 x 1 slices/s, warm |")
    print("|---|--:|--:|--:|--:|--:|")
    for side, rates in rates_by_side.items():
        warm, cold, plane = (median(rates[k]) for k in ("warm", "cold", "slice"))
        size = f"{sizes[side] / 1e6:.1f} | {sizes[side] / complete:.2f}"
        print(f"| {side} | {size} | {warm:.1f} | {cold:.1f} | {plane:.1f} |")
    # as in SIDES
    _, mine, nnunet, _, monai, _ = (median(rates["warm"]) for rates in rates_by_side.values())
    times = f"{mine / nnunet:.1f} and {mine / monai:.0f} times as fast"
    print(f"\nIn short: {times} as from nnU-Net's files and MONAI's cache on disk")


if __name__ == "__main__":
    main()
