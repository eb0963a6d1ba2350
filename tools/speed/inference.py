"""Time and weigh sliding-window inference against MONAI's with the whole volume in memory.

    BENCH_DATA=DIR OMP_NUM_THREADS=1 python tools/speed/inference.py --rounds 3
    OMP_NUM_THREADS=1 python tools/speed/inference.py --rounds 1        random voxels of the same shape

Both sides run the same network over the same windows and end with a uint8 label map. MONAI's side is
``sliding_window_inference`` on the whole image, then the highest of all classes at once (``max``, which
is faster than ``argmax``). Sides take turns, A B A B, in processes of their own: ours keeps its pages, as a
job does, MONAI's has the allocator that a script has and, in the second column, ours. The table gives medians
of processor time on one thread, which other work on the machine disturbs least. Memory is the kernel's peak
of resident memory (``VmHWM``, reset before) of a fresh process per side, less what was resident before:
imports, one window's worth of inference and the image, which both sides are given as an array.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from statistics import median

import numpy as np
import torch
from machine import resident
from sides import Side, contest
from torch import nn

from bench.protocol.sections import Windows
from bench.runtime.memory import fitting_pages, keep_pages

SHAPE = (122, 101, 112)  # of the real CT; 61 structures
WIDE = (144, 144, 128)
SCAN = "own_ct_multiorgan/imagesTr/body.nii.gz"


def scan(shape: tuple[int, int, int]) -> np.ndarray:
    """Return a CT (1, X, Y, Z), repeated to a shape, from BENCH_DATA; noise where there is none."""
    path = Path(os.environ.get("BENCH_DATA", "nowhere"), SCAN)
    if not path.exists():
        return np.random.default_rng(0).random((1, *shape), np.float32)
    import nibabel

    voxels = (np.clip(nibabel.load(path).get_fdata(dtype=np.float32), -175, 250) + 175) / 425
    for axis, n in enumerate(shape):
        voxels = np.take(voxels, np.arange(n) % voxels.shape[axis], axis)
    return np.ascontiguousarray(voxels)[None]


def network(name: str, labels: int, crop: tuple[int, int, int]) -> nn.Module:
    """Return a seeded network; ``1x1`` is one pointwise convolution, so that all else weighs more."""
    from bench import nets
    from bench.train.loop import channels_last

    torch.manual_seed(0)
    if name == "1x1":
        return nn.Conv3d(1, labels, 1).eval()
    return channels_last(nets.network(name, "tiny", 1, labels, crop)).eval()


@torch.no_grad()
def monai(net: nn.Module, image: np.ndarray, inference: Windows) -> np.ndarray:
    from monai.inferers import sliding_window_inference

    where = torch.from_numpy(image)[None], inference.crop, inference.batch, net
    how = {"overlap": inference.overlap, "mode": inference.blend}
    scores = sliding_window_inference(*where, **how)[0]
    return scores.max(0).indices.to(torch.uint8).numpy()


def ours(net: nn.Module, image: np.ndarray, inference: Windows) -> np.ndarray:
    from bench.data.reader import Volume
    from bench.data.slabs import restore_slabs, unchanged
    from bench.jobs.predict import slabs

    volume = Volume(image)
    return restore_slabs(slabs(net, volume, inference), unchanged(volume.shape))


RUN: dict[str, Callable[[nn.Module, np.ndarray, Windows], np.ndarray]] = {
    "MONAI": monai,
    "ours": ours,
}
PAGES_KEPT = "MONAI, pages kept"


def ready(
    side: str, name: str, labels: int, shape: tuple[int, int, int], crop: int
) -> Callable[[], np.ndarray]:
    """Return one side's inference, warmed up: the first call pays imports and plans of convolutions."""
    inference, image = Windows(crop=(crop, crop, crop), batch=2), scan(shape)
    net, run = network(name, labels, inference.crop), RUN[side]
    run(net, image[:, :crop, :crop, :crop], inference)
    return lambda: run(net, image, inference)


def line(
    name: str, labels: int, shape: tuple[int, int, int], side: int, rounds: int
) -> tuple[str, float, float]:
    """Return a line of the table, and how many times as fast ours is, and beside pages kept."""
    what = (name, labels, shape, side)
    sides = (
        Side("MONAI", ready, ("MONAI", *what)),
        Side(PAGES_KEPT, ready, ("MONAI", *what), pages=True),
    )
    result = contest([*sides, Side("ours", ready, ("ours", *what), pages=True)], rounds)
    theirs, remaining, mine = (
        median(seconds for seconds, _ in rounds) for rounds in result.values()
    )
    other = int((result["MONAI"][-1][1] != result["ours"][-1][1]).sum())
    seconds = f"{theirs:.2f} | {remaining:.2f} | {mine:.2f} | {theirs / mine:.2f} | {remaining / mine:.2f}"
    line = f"| {name} | {labels} | {shape} | {side}^3 | {seconds} | {other} |"
    return line, theirs / mine, remaining / mine


def weigh(which: str, labels: int, shape: tuple[int, int, int], side: int) -> float:
    """Return the MB that a fresh process takes on top of its imports and its image."""
    command = [sys.executable, __file__, "--weigh", json.dumps([which, labels, shape, side])]
    with fitting_pages() if which == "ours" else nullcontext():  # as a job's process is started
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout)


def weighed(which: str, labels: int, shape: tuple[int, int, int], side: int) -> float:
    """Do it in this process, which must be fresh."""
    torch.set_num_threads(1)
    if which == "ours":  # as a job does
        keep_pages()
    inference, image = Windows(crop=(side, side, side), batch=2), scan(shape)
    net = network("1x1", labels, inference.crop)
    RUN[which](net, image[:, :side, :side, :side], inference)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = resident("VmRSS")
    RUN[which](net, image, inference)
    return resident("VmHWM") - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--weigh", help=argparse.SUPPRESS)
    options = parser.parse_args()
    write = sys.stdout.write
    if options.weigh:
        which, labels, shape, side = json.loads(options.weigh)
        write(f"{weighed(which, labels, tuple(shape), side):.1f}\n")
        return
    torch.set_num_threads(1)
    write(f"Medians of {options.rounds} rounds, overlap 0.5, Gaussian, batches of 2\n\n")
    write(
        "| network | labels | volume | windows | MONAI (s) | MONAI, pages kept (s) | ours (s) | MONAI / ours "
    )
    write("| pages kept / ours | voxels that differ |\n|---|--:|---|---|--:|--:|--:|--:|--:|--:|\n")
    ratios = []
    for name, labels, shape, side in (
        ("unet3d", 61, SHAPE, 64),
        ("1x1", 61, SHAPE, 64),
        ("unet3d", 14, WIDE, 96),
        ("1x1", 14, WIDE, 96),
    ):
        message, *result = line(name, labels, shape, side, options.rounds)
        ratios.append(result)
        write(message + "\n")
    write("\n| labels | volume | windows | MONAI (MB) | ours (MB) |\n|--:|---|---|--:|--:|\n")
    sizes = [(61, (*SHAPE[:2], depth), 64) for depth in (100, 200, 400)]
    sizes += [(61, SHAPE, 96), (14, WIDE, 96)]
    for labels, shape, side in sizes:
        theirs, mine = (weigh(s, labels, shape, side) for s in RUN)
        write(f"| {labels} | {shape} | {side}^3 | {theirs:.0f} | {mine:.0f} |\n")
    script, remaining = zip(*ratios, strict=True)
    alone, alike = (f"{min(ratios):.1f} to {max(ratios):.1f}" for ratios in (script, remaining))
    write(
        f"\nIn short: {alone} times as fast as MONAI's windows; with our memory setting for both {alike}\n"
    )


if __name__ == "__main__":
    main()
