"""Time how the leak guard compares scans with others, also against another checkout.

    OMP_NUM_THREADS=1 python tools/speed/guard.py --data DIR                   all but the first 42 with these
    OMP_NUM_THREADS=1 python tools/speed/guard.py --data DIR --scans 16 --against ../bench-before
    OMP_NUM_THREADS=1 python tools/speed/guard.py --data DIR --large 22000 285 --channels 4

Every round runs the trees in turn, a process each, on fingerprints made once. Prints the processor
time of a pair, the ratio of each round, and whether both found the same. A checkout without
``search`` compares all pairs.

``--large`` draws synthetic fingerprints: those of the images under DIR, warped and with grain of their own,
of as many channels as asked for (an image's own in turn). It times the steps on ``--part`` scans beside
``--tests`` others and says what all would take, in proportion.
"""

import argparse
import json
import pickle
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
from machine import ROOT
from scipy import ndimage
from sides import as_a_job

MANY_SCANS = 96  # scans beside which each one's boxes are moved
TIMED = """
import json, pickle, sys, time
try:
    from bench.leaks.search import matches
except ImportError:
    from bench.leaks.duplicates import matches
first, second = pickle.load(open(sys.argv[1], "rb"))
matches(first[:1], second[:1])  # what is computed once per process is not a pair's
began = time.process_time()
found = matches(first, second)
print(json.dumps([time.process_time() - began, [(m.a, m.b, round(m.score, 2)) for m in found]]))
"""


def prints(folder: Path, number: int) -> list:
    """Return the fingerprints of the first images under a folder, labels left out."""
    from bench.leaks.fingerprint import fingerprint
    from bench.volumes.files import is_volume, within
    from bench.volumes.reading import read_volume

    files = sorted(
        p for p in within(folder, 3) if is_volume(p) and "label" not in str(p.parent.name)
    )
    files = [p for p in files if "_gt" not in p.name and not p.name.startswith("laendo")]
    return [fingerprint(read_volume(p).array) for p in files[:number]]


def warped(scan: np.ndarray, channels: int, rng: np.random.Generator) -> np.ndarray:
    """Return another patient: shifts of 2.5 of 48 voxels that vary over 6, and new grain."""
    sides = scan.shape[1:]
    coarse = [rng.standard_normal([4 + n // 12 for n in sides]) for _ in sides]
    shifts = []
    for n, c in zip(sides, coarse, strict=True):
        factors = [side / m for side, m in zip(sides, c.shape, strict=True)]
        shifts.append(n / 48 * 2.5 * ndimage.zoom(c, factors, order=1))
    places = [grid + shift for grid, shift in zip(np.indices(sides), shifts, strict=True)]
    result = []
    for channel in range(channels):
        image = ndimage.map_coordinates(
            scan[channel % len(scan)].astype(np.float32), places, order=1, mode="nearest"
        )
        image += 8 * rng.standard_normal(sides)
        result.append(np.rint(255 * (image - image.min()) / max(np.ptp(image), 1)).astype(np.uint8))
    return np.stack(result)


def large(scans: list, read: int, tests: int, channels: int, part: int, chosen: int) -> None:
    """Time every step on synthetic fingerprints and print what ``read`` x ``tests`` would take."""
    from bench.jobs.guard.spec import GROUP
    from bench.leaks import refine, screen, search

    rng = np.random.default_rng(0)
    drawn = [
        warped(scans[int(rng.integers(len(scans)))], channels, rng) for _ in range(part + chosen)
    ]
    search.matches(drawn[:1], drawn[1:2])
    level, steps = screen.level(read, tests), {}

    def clock(name, times, function):
        began = time.process_time()
        done = function()
        steps[name] = (time.process_time() - began) * times
        return done

    first = clock(
        "prepared, twice", 2 * (read + tests) / part, lambda: search.Scans.of(drawn[:part], level)
    )
    second = search.Scans.of(drawn[part:], level)
    screened = clock(
        "screened", read / part * tests / chosen, lambda: search.screened(first, second)
    )
    passing = search.passing(read)
    every = [v for scan in [*first.views, *second.views] for v in scan]
    wholes = channels * (read + tests * -(-read // GROUP))
    began = time.process_time()
    for single, basis in ((v, basis) for v in every for basis in {*level.sweeps[v.volume.ndim]}):
        refine.boxes(single, basis)
    boxes = time.process_time() - began
    steps["boxes"] = boxes * wholes / len(every)
    seen = search.looked_at(first, second, search.likeliest(screened))
    # A channel's boxes serve all others that pass beside it, so that a step on few would be mostly calls.
    many = search.Scans.of(drawn[part:] * (MANY_SCANS // chosen), level)
    rows = search.likeliest(search.screened(first, many))
    seen_by = len(
        {(a, i) for a, _, i, _ in rows.tolist()} | {(-1 - b, j) for _, b, _, j in rows.tolist()}
    )
    assert first.turned and many.turned  # made before the clock starts
    clock("moved", 1, lambda: search.looked_at(first, many, rows))
    steps["moved"] = (steps["moved"] - boxes * seen_by / len(every)) * passing * tests / len(rows)
    confirm = partial(search.confirmed, seen, first.views.__getitem__, second.views)
    result = clock("confirmed", tests / chosen, confirm)
    every = [*steps.items(), ("in all", sum(steps.values()))]
    print(
        f"| {read} x {tests} scans, channels: {channels} | {' | '.join(name for name, _ in every)} |"
    )
    print(f"|---|{'--:|' * len(every)}")
    times = [f"{t:.0f} s" if t < 120 else f"{t / 60:.1f} min" for _, t in every]
    print(f"| in proportion from {part} x {chosen} | {' | '.join(times)} |")
    print(f"\nOf each test scan {passing} scans pass the screen; {len(result)} copies were found.")
    print(f"\nIn short: {read:,} x {tests} scans, channels: {channels}, {times[-1]}")


def timed(tree: Path, scans: Path) -> tuple[float, list]:
    command = [sys.executable, "-c", TIMED, str(scans)]
    done = subprocess.run(command, cwd=tree, check=True, capture_output=True, text=True)
    seconds, result = json.loads(done.stdout)
    return seconds, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of volumes")
    parser.add_argument("--scans", type=int, default=139)
    parser.add_argument("--others", type=int, default=42)
    parser.add_argument("--against", type=Path, help="another checkout")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--large", type=int, nargs=2, metavar=("SCANS", "OTHERS"))
    parser.add_argument("--channels", type=int, default=1)
    parser.add_argument("--part", type=int, default=64)
    parser.add_argument("--tests", type=int, default=8)
    options = parser.parse_args()
    if options.large:
        as_a_job()
    every = prints(options.data, options.scans + options.others)
    if options.large:
        large(every, *options.large, options.channels, options.part, options.tests)
        return
    second, first = every[: options.others], every[options.others :]
    trees = [ROOT] + ([options.against.resolve()] if options.against else [])
    with tempfile.TemporaryDirectory() as folder:
        scans = Path(folder) / "prints"
        scans.write_bytes(pickle.dumps((first, second)))
        rounds = [[timed(tree, scans) for tree in trees] for _ in range(options.rounds)]
    pairs = len(first) * len(second)
    print(f"{len(first)} x {len(second)} scans of {options.data.name}, rounds: {options.rounds}")
    print("\n| tree | ms a pair | least to most | found |\n|---|--:|--:|--:|")
    for number in range(len(trees)):
        each = [1e3 * round_[number][0] / pairs for round_ in rounds]
        result = len(rounds[0][number][1])
        name = "before" if number else "this"
        print(f"| {name} | {median(each):.2f} | {min(each):.2f} to {max(each):.2f} | {result} |")
    if options.against:
        ratios = sorted(present[0] / local[0] for local, present in rounds)
        same = all(local[1] == present[1] for local, present in rounds)
        print(
            f"\nratio {median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}), same matches: {same}"
        )


if __name__ == "__main__":
    main()
