"""Time the metrics against MedPy, MONAI and surface-distance on a synthetic abdominal CT.

    OMP_NUM_THREADS=1 python tools/speed/metrics.py --rounds 5
    OMP_NUM_THREADS=1 python tools/speed/metrics.py --labels 2 --rounds 1     quicker, and says so

Each round runs every implementation once, in turn; the table gives medians. MedPy is run in full
(every label, whole volume, as its functions are meant to be called), by default in one round only.
"""

import argparse
import sys
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from statistics import median

import numpy as np

SHAPE, SPACING, ORGANS = (512, 512, 160), (0.8, 0.8, 2.0), 13
BASIC, FULL = ("dice", "iou", "hd", "hd95"), ("dice", "iou", "hd", "hd95", "assd")
Scores = dict[tuple[str, str], float]


def organs(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Return a uint8 map of 13 bumpy ellipsoids; other seeds move and dent the same organs."""
    layout, change = np.random.default_rng(0), np.random.default_rng(seed)
    volume = np.zeros(shape, dtype=np.uint8)
    for label in range(1, ORGANS + 1):
        centre = np.array([layout.uniform(0.2, 0.8) * n for n in shape])
        radius = np.array([layout.uniform(0.05, 0.16) * n for n in shape])
        bumps = layout.uniform(-1, 1, 6)
        centre += change.normal(0, 1.5, 3)
        bumps += change.normal(0, 0.3, 6)
        _stamp(volume, label, centre, radius, bumps)
    return volume


def _stamp(
    volume: np.ndarray, label: int, centre: np.ndarray, radius: np.ndarray, bumps: np.ndarray
) -> None:
    low = np.maximum(centre - 1.3 * radius, 0).astype(int)
    high = np.minimum(centre + 1.3 * radius + 1, volume.shape).astype(int)
    grid = np.ogrid[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    x, y, z = ((g - c) / r for g, c, r in zip(grid, centre, radius, strict=True))
    wave = sum(b * np.sin((k + 2) * (x + y * (k % 3) - z)) for k, b in enumerate(bumps))
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    volume[box][x**2 + y**2 + z**2 < 1 + 0.08 * wave] = label


def ours(
    a: np.ndarray, b: np.ndarray, labels: range, metrics: tuple[str, ...], convention: str
) -> Scores:
    from bench.metrics import score

    result = score(a, b, SPACING, metrics, convention, labels=labels)
    return {(s.target, s.metric): s.value for s in result}


def medpy(a: np.ndarray, b: np.ndarray, labels: range, metrics: tuple[str, ...]) -> Scores:
    """Score with MedPy, label by label on the whole volume."""
    from medpy.metric import binary

    table = {"dice": binary.dc, "iou": binary.jc}
    table |= {
        name: partial(getattr(binary, name), voxelspacing=SPACING)
        for name in ("hd", "hd95", "assd")
    }
    scores = {}
    for label in labels:
        p, r = a == label, b == label
        scores |= {(str(label), m): float(table[m](p, r)) for m in metrics}
    return scores


def monai(a: np.ndarray, b: np.ndarray, labels: range, metrics: tuple[str, ...]) -> Scores:
    """Score with MONAI, label by label, its own crop to the foreground."""
    import torch
    from monai.metrics import (
        compute_average_surface_distance,
        compute_dice,
        compute_hausdorff_distance,
        compute_iou,
    )

    keep = {"include_background": True}
    distance = {**keep, "spacing": SPACING}
    table: dict[str, Callable] = {
        "dice": lambda p, r: compute_dice(p, r, **keep),
        "iou": lambda p, r: compute_iou(p, r, **keep),
        "hd": lambda p, r: compute_hausdorff_distance(p, r, **distance),
        "hd95": lambda p, r: compute_hausdorff_distance(p, r, percentile=95, **distance),
        "assd": lambda p, r: compute_average_surface_distance(p, r, symmetric=True, **distance),
    }
    scores = {}
    for label in labels:
        p, r = (torch.from_numpy(v == label)[None, None] for v in (a, b))
        scores |= {(str(label), m): float(table[m](p, r)) for m in metrics}
    return scores


def deepmind(a: np.ndarray, b: np.ndarray, labels: range, metrics: tuple[str, ...]) -> Scores:
    """Score with surface-distance: its distances once per label, and its Dice (it has no IoU)."""
    import surface_distance as sd

    scores = {}
    for label in labels:
        p, r = a == label, b == label
        result = sd.compute_surface_distances(r, p, SPACING)
        scores[str(label), "dice"] = sd.compute_dice_coefficient(r, p)
        scores[str(label), "hd"] = sd.compute_robust_hausdorff(result, 100)
        scores[str(label), "hd95"] = sd.compute_robust_hausdorff(result, 95)
        if "assd" in metrics:
            scores[str(label), "assd"] = sum(sd.compute_average_surface_distance(result)) / 2
    return scores


def peak_memory(a: np.ndarray, b: np.ndarray, labels: range, convention: str) -> float:
    """Return the MB that scoring all metrics allocates at its peak (NumPy's arrays included)."""
    ours(a[:64, :64], b[:64, :64], labels, FULL, convention)  # imports are not the metrics' memory
    tracemalloc.start()
    ours(a, b, labels, FULL, convention)
    peak = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    return peak


def memory(labels: range) -> list[str]:
    """Return a line per convention: the peak for the organs, and for one label that fills the volume."""
    body = np.zeros(SHAPE, np.uint8)
    body[1:-1, 1:-1, 1:-1] = 1
    pairs = (organs(SHAPE, 1), organs(SHAPE, 2), labels), (body, np.roll(body, 3, 0), range(1, 2))
    masks = 2 * body.nbytes / 1e6
    lines = []
    for convention in ("medpy", "deepmind"):
        peaks = [peak_memory(*pair, convention) for pair in pairs]
        shown = [f"{peak:.0f} MB ({peak / masks:.1f} times)" for peak in peaks]
        lines.append(
            f"- {convention}: {shown[0]} for the organs, {shown[1]} for a label that fills the volume"
        )
    return [f"Peak memory, without the two masks ({masks:.0f} MB):\n", *lines]


def contest(options: argparse.Namespace, metrics: tuple[str, ...]) -> list[str]:
    a, b, labels = organs(SHAPE, 1), organs(SHAPE, 2), range(1, options.labels + 1)
    runs: dict[str, Callable[[], Scores]] = {
        "ours, medpy": lambda: ours(a, b, labels, metrics, "medpy"),
        "MedPy": lambda: medpy(a, b, labels, metrics),
        "ours, monai": lambda: ours(a, b, labels, metrics, "monai"),
        "MONAI": lambda: monai(a, b, labels, metrics),
        "ours, deepmind": lambda: ours(a, b, labels, metrics, "deepmind"),
        "surface-distance": lambda: deepmind(a, b, labels, metrics),
    }
    times: dict[str, list[float]] = {name: [] for name in runs}
    last: dict[str, Scores] = {}
    runs["ours, medpy"]()  # first call pays the imports
    for turn in range(options.rounds):
        for name, run in runs.items():
            if name == "MedPy" and turn >= options.medpy_rounds:
                continue
            start = time.perf_counter()
            last[name] = run()
            times[name].append(time.perf_counter() - start)
    lines, short = [], []
    for mine, theirs in zip(list(runs)[::2], list(runs)[1::2], strict=True):
        if not times[theirs]:
            continue
        fast, slow = median(times[mine]), median(times[theirs])
        first, two = last[mine], last[theirs]
        # of the scores both have
        gap = max(abs(first[key] - two[key]) for key in first.keys() & two.keys())
        lines.append(
            f"| {','.join(metrics)} | {theirs} | {slow:.2f} | {fast:.3f} "
            f"| {slow / fast:.{0 if slow > 10 * fast else 1}f} | {gap:.1e} |"
        )
        short.append(f"{slow / fast:.{0 if slow > 10 * fast else 1}f} times as fast as {theirs}")
    return [*lines, "", f"In short: with {metrics[-1]} {', '.join(short)}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--labels", type=int, default=ORGANS, help="score only the first N labels")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--medpy-rounds", type=int, default=1, help="0 leaves MedPy out")
    parser.add_argument("--metrics", choices=("basic", "full", "both"), default="both")
    options = parser.parse_args()
    wanted = {"basic": [BASIC], "full": [FULL], "both": [BASIC, FULL]}[options.metrics]
    write = sys.stdout.write
    write(
        f"{options.labels} of {ORGANS} labels, {SHAPE} uint8, spacing {SPACING} mm; medians of "
        f"{options.rounds} rounds (MedPy {options.medpy_rounds}), seconds\n\n"
    )
    write("| metrics | against | theirs, s | ours, s | ratio | largest difference |\n")
    write("|---|---|--:|--:|--:|--:|\n")
    for metrics in wanted:
        write("\n".join(contest(options, metrics)) + "\n")
    write("\n" + "\n".join(memory(range(1, options.labels + 1))) + "\n")


if __name__ == "__main__":
    main()
