"""Plant copies of scans and count how many the leak guard's search finds, and how often it is wrong.

    OMP_NUM_THREADS=1 python tools/leaks.py [--planted 300] [--pairs 5000] [--data DIR] [--half report|tune]
    OMP_NUM_THREADS=1 python tools/leaks.py --search 100 [--data DIR]    the search, not all comparisons

A copy went through a crop, an orientation, a resampling, an intensity window and a storage type:
each alone, all of them, or nothing. Scans are phantoms, synthetic eye-ground photographs, single
slices and, with ``--data``, the real scans that lie there. Half of the patients of every source
are for tuning, the other half for the report. Prints Markdown; exits 1 where a copy was missed or
two patients were taken for one. The room of the early gates is what the worst copy that was found had there.
With ``--search`` copies are looked for among all scans of the half; exits 1 where one is missed that the
comparison with its own scan finds.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from unittest import mock

import numpy as np
from scipy import ndimage

from bench.leaks import duplicates, search
from bench.leaks.fingerprint import fingerprint
from bench.leaks.poses import Pose
from bench.phantoms.brain import brain
from bench.phantoms.chest import chest
from bench.phantoms.heart import cine, whole_heart
from bench.phantoms.knee import knee
from bench.phantoms.lesion import abdomen
from bench.phantoms.organs import generator, organs
from bench.phantoms.prostate import prostate
from bench.volumes.files import is_volume, within
from bench.volumes.reading import read_volume

KINDS = ("none", "crop", "orientation", "resample", "window", "storage", "all")
EACH = 40  # phantoms of a kind
LEAST = dict(duplicates.SAME)  # as it is where ``lowered`` lowers it
LEFT = 0.5  # share of the voxels off the background that a window leaves unclipped, at least


@dataclass(frozen=True, eq=False)
class Scan:
    source: str
    patient: str
    image: np.ndarray  # (C, X, Y, Z)


@dataclass(frozen=True, eq=False)
class Planted:
    source: str
    kind: str
    score: float
    early: dict[str, float]  # what its best pose had at the early gates; empty where it was missed

    @property
    def axes(self) -> int:
        return 2 if self.source.startswith("2D") else 3


def copied(image: np.ndarray, rng: np.random.Generator, kind: str) -> np.ndarray:
    """Return a copy (C, X, Y, Z) that went through one of ``KINDS``."""
    steps = {"crop": cropped, "orientation": turned, "resample": resampled, "window": windowed}
    for name, step in steps.items():
        if kind in (name, "all"):
            image = step(image, rng)
    return stored(image, rng) if kind in ("storage", "all") else image


def cropped(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Keep 60 to 100 % of every axis, in every other copy exactly 60 %."""
    tight = rng.random() < 0.5
    for axis, n in enumerate(image.shape[1:], start=1):
        keep = int(np.ceil(n * (0.6 if tight else rng.uniform(0.6, 1))))
        image = image.take(np.arange(keep) + rng.integers(0, n - keep + 1), axis)
    return image


def turned(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Flip and permute the axes (a picture stays one: Z last)."""
    flat = image.shape[3] == 1
    order = [*rng.permutation(2), 2] if flat else rng.permutation(3)
    signs = tuple(slice(None, None, int(s)) for s in rng.choice([-1, 1], 3))
    return image.transpose(0, *(1 + np.asarray(order)))[(slice(None), *signs)]


def resampled(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Resample every axis by a factor of its own, in every other copy a half or two."""
    ends = rng.random() < 0.5
    factors = rng.choice([0.5, 2.0], 3) if ends else 2 ** rng.uniform(-1, 1, 3)
    shape = [
        max(2, round(n * f)) if n > 1 else 1 for n, f in zip(image.shape[1:], factors, strict=True)
    ]
    exact = [m / n for m, n in zip(shape, image.shape[1:], strict=True)]
    order, edges, blur = rng.choice([1, 3]), rng.random() < 0.5, rng.random() < 0.5
    wide = [0.4 / f if f < 1 and blur else 0 for f in exact]
    smooth = [ndimage.gaussian_filter(channel, wide) for channel in image.astype(np.float32)]
    how = {"order": order, "mode": "nearest", "grid_mode": edges}
    return np.stack([ndimage.zoom(channel, exact, **how) for channel in smooth])


def windowed(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Clip 0 to 30 % of the voxels, in every other copy 30 %, then scale, some with a gamma."""
    gamma = 1.0 if rng.random() < 0.5 else np.exp(rng.uniform(-0.9, 0.9))
    full_window = rng.random() < 0.5
    result = np.empty(image.shape, np.float32)
    for channel, out in zip(image, result, strict=True):
        low, high = _window(channel, rng, full_window)
        out[:] = ((np.clip(channel.astype(np.float32), low, high) - low) / (high - low)) ** gamma
    return result


def _window(
    channel: np.ndarray, rng: np.random.Generator, full_window: bool
) -> tuple[float, float]:
    """Draw the two ends; a window that leaves next to nothing but background is drawn again."""
    values, counts = np.unique(channel, return_counts=True)
    body = channel == channel
    if counts.max() > 0.2 * channel.size:
        body = channel != values[counts.argmax()]
    while True:
        clip = 0.3 if full_window else rng.uniform(0, 0.3)
        share = rng.choice([0.0, 1.0, rng.random()])
        low, high = np.quantile(channel, [clip * share, 1 - clip * (1 - share)])
        remaining = np.count_nonzero((channel >= low) & (channel <= high) & body)
        if high > low and remaining >= LEFT * np.count_nonzero(body):
            return float(low), float(high)
        full_window = False


def stored(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Scale to the range of a type; floats get an arbitrary scale and offset."""
    low, high = float(image.min()), float(image.max())
    unit = (image.astype(np.float32) - low) / max(high - low, 1e-12)
    kind = rng.choice(["uint8", "int16", "float32"])
    if kind == "float32":
        return unit * np.float32(np.exp(rng.uniform(-3, 9))) + np.float32(rng.uniform(-10, 10))
    top = 255 if kind == "uint8" else rng.integers(800, 32000)
    return np.rint(unit * top).astype(kind)


def fundus(seed: int, index: int, side: int = 256) -> np.ndarray:
    """Return an eye-ground photograph, uint8 (3, X, Y, 1): disc, branching vessels, texture."""
    rng = generator(seed, index)
    x, y = np.meshgrid(*[np.linspace(-1, 1, side)] * 2, indexing="ij")
    image = (
        np.ones((side, side))
        + 0.15 * ndimage.gaussian_filter(rng.standard_normal((side, side)), 25) * 40
    )
    disc = np.array([0.45, 0.0]) + 0.05 * rng.standard_normal(2)
    image += 0.8 * np.exp(-(((x - disc[0]) ** 2 + (y - disc[1]) ** 2) / 0.02))
    image -= 0.3 * np.exp(-(((x + 0.1) ** 2 + y**2) / 0.03))
    lines = np.zeros_like(image)
    for start in np.array([0.6, 1.0, -0.6, -1.0, 2.4, -2.4]) * np.pi / 2:
        _vessel(lines, disc, start + 0.15 * rng.standard_normal(), 3.0, rng)
    image -= 0.5 * np.minimum(ndimage.gaussian_filter(lines, 1.0), 1)
    image += 0.06 * ndimage.gaussian_filter(rng.standard_normal(image.shape), 1.5) * 4
    image[np.hypot(x, y) > 0.97] = 0
    colours = np.array([0.9, 0.45, 0.2])[:, None, None] * np.clip(image, 0, 2) / 2
    return np.rint(255 * colours).astype(np.uint8)[..., None]


def _vessel(
    lines: np.ndarray, at: np.ndarray, angle: float, width: float, rng: np.random.Generator
) -> None:
    """Draw one vessel and its branches."""
    at, side = at.copy(), lines.shape[0]
    while width > 0.8:
        at += 0.01 * np.array([np.cos(angle), np.sin(angle)])
        angle += 0.12 * rng.standard_normal()
        width *= 0.993
        if np.abs(at).max() > 0.95:
            return
        i, j = ((at + 1) / 2 * side).astype(int)
        half = int(width / 2)
        lines[i - half : i + half + 1, j - half : j + half + 1] = 1
        if rng.random() < 0.03:
            _vessel(lines, at, angle + rng.choice([-0.6, 0.6]), 0.7 * width, rng)


def phantom_sources() -> dict[str, Callable[[int, int], np.ndarray]]:
    """Return what draws patient ``index`` of a seed, (X, Y, Z) or (X, Y, Z, C), by name."""
    four = (4.0, 4.0, 4.0)
    return {
        "abdomen CT": lambda s, i: organs((64, 56, 44), (5, 5, 5), 13, s, i)[0],
        "lesions CT": lambda s, i: abdomen((64 + 4 * (i % 3), 56, 36), (5, 5, 7), s, i, {6: 1})[0],
        "small crops MR": lambda s, i: organs((35, 50, 35), (1, 1, 1), 2, s, i, modality="MR")[0],
        "atrium MR": lambda s, i: organs((76, 68, 44), (2.5,) * 3, 1, s, i, modality="MR")[0],
        "cine MR": lambda s, i: cine(
            (76 + 4 * (i % 3), 72, 8 + i % 3), (3, 3, 10), s, i, systole=[0]
        )[0],
        "heart CT": lambda s, i: whole_heart((56, 52, 42), four, s, i, modality="CT")[0],
        "heart MR": lambda s, i: whole_heart((56, 52, 42), four, s, i, modality="MR")[0],
        "brain MR": lambda s, i: np.stack(
            list(brain((48, 48, 31), (5, 5, 5), s, i).images.values())[:2], axis=-1
        ),
        "chest CT": lambda s, i: chest((64, 52, 40), (5, 5, 7), s, i).image,
        "knee MR": lambda s, i: knee((36, 48, 46), s, i)[0],
        "prostate MR": lambda s, i: prostate((64, 64, 19), (3, 3, 3.6), s, i)[0],
    }


def phantom_scans(half: int) -> Iterator[Scan]:
    """Yield phantoms, pictures and single slices of one half; the halves differ in their seed."""
    seed = 7001 + half
    for source, draw in phantom_sources().items():
        for i in range(EACH):
            image = draw(seed, i).astype(np.float32)
            if image.ndim == 4 and image.shape[-1] == 1:
                image = image[..., 0]
            image = np.moveaxis(image, -1, 0) if image.ndim == 4 else image[None]
            yield Scan(source, f"{source} {i}", np.ascontiguousarray(image))
    for i in range(EACH):
        yield Scan("2D fundus", f"fundus {i}", fundus(seed, i))
        large = organs((160, 140, 1), (2.5, 2.5, 5), 13, seed, 1000 + i)[0]
        yield Scan("2D slice CT", f"slice {i}", large[None])


def real_scans(root: Path, half: int) -> Iterator[Scan]:
    """Yield the images under a folder; every other patient is of one half."""
    for folder in sorted(p for p in root.iterdir() if p.is_dir()):
        files = [p for p in within(folder, 3) if is_volume(p) and not _is_label(p)]
        patients = sorted({_patient(p) for p in files})
        for path in sorted(files):
            number = patients.index(_patient(path))
            if number % 2 != half and len(patients) > 3:
                continue
            image = read_volume(path).array
            yield Scan(folder.name, f"{folder.name} {_patient(path)}", image)
            if image.shape[3] > 5 and image.shape[1] > 60:
                middle = image.shape[3] // 2
                name = f"{folder.name} {_patient(path)}"
                yield Scan("2D real slices", name, image[..., middle : middle + 1])


def _is_label(path: Path) -> bool:
    return "label" in str(path.parent.name) or "_gt" in path.name or path.name.startswith("laendo")


def _patient(path: Path) -> str:
    return path.parent.name if path.parent.name != "imagesTr" else path.name.split(".")[0]


def planted(scans: list[Scan], number: int, rng: np.random.Generator) -> list[Planted]:
    """Return planted copies, all kinds and sources in turn, each compared with its scan."""
    rows = []
    for scan, kind, copy in plants(scans, number, rng):
        with watched() as early:
            rows.append(Planted(scan.source, kind, lowered(fingerprint(scan.image), copy), early))
    return rows


def plants(
    scans: list[Scan], number: int, rng: np.random.Generator
) -> Iterator[tuple[Scan, str, np.ndarray]]:
    """Yield scans, what a copy of each went through, and the copy's fingerprint."""
    by_source = grouped(scans)
    sources = sorted(by_source)
    for n in range(number):
        # Every second copy went through everything.
        kind = "all" if n % 2 else KINDS[n // 2 % (len(KINDS) - 1)]
        source = sources[n // 2 % len(sources)]
        scan = by_source[source][int(rng.integers(len(by_source[source])))]
        yield scan, kind, fingerprint(copied(scan.image, rng, kind))


def report_search(scans: list[Scan], number: int, rng: np.random.Generator) -> int:
    """Look for copies among all scans; return how many are missed that a comparison with its scan finds."""
    pool = [fingerprint(scan.image) for scan in scans]
    every = list(plants(scans, number, rng))
    ours, others = search.Scans.of(pool), search.Scans.of([copy for _, _, copy in every])
    scores = search.screened(ours, others)
    pairs = search.likeliest(scores)
    sights = search.looked_at(ours, others, pairs)
    missed, rows, strangers = 0, defaultdict(lambda: [0, 0, 0, 0, 0]), 0
    for n, (scan, kind, copy) in enumerate(every):
        individual = next(i for i, s in enumerate(scans) if s is scan)
        mine = [s for s in sights if s.b == n]
        values = np.full(len(pool), -1.0)
        for sight in mine:
            values[sight.a] = sight.value
        ranks = [int((v > v[individual]).sum()) for v in (scores[:, n, 0], values)]
        result = [m.a for m in search.confirmed(mine, ours.views.__getitem__, others.views)]
        full = bool(duplicates.matches([pool[individual]], [copy]))
        strange = [a for a in result if scans[a].patient != scan.patient]
        strangers += len(strange)
        for a in strange:
            print(f"found: {scans[a].patient} beside {scan.patient} ({kind})", flush=True)
        missed += full and individual not in result
        for group in (f"kind: {kind}", f"source: {scan.source}", "all"):
            row = rows[group]
            counts = row[0] + 1, row[1] + full, row[2] + (individual in result)
            row[:] = *counts, *map(max, row[3:], ranks)
        if full and individual not in result:
            print(
                f"missed: {scan.source} ({kind}), {ranks[0]} scored higher, {ranks[1]} once refined",
                flush=True,
            )
    head = ("group", "planted", "full", "search", "worst rank of the screen", "once refined")
    print(
        f"\n{number} copies among {len(pool)} scans\n\n| {' | '.join(head)} |\n|{'---|' * len(head)}"
    )
    for group in sorted(rows):
        print(f"| {group} | {' | '.join(map(str, rows[group]))} |")
    print(f"\n{strangers} scans of other patients were found beside them")
    return missed


def lowered(first: np.ndarray, second: np.ndarray) -> float:
    """Return the score of a pair, whatever it is, -1 where an early stage dropped it."""
    with mock.patch.dict(duplicates.SAME, {2: -2.0, 3: -2.0}):
        result = duplicates.matches([first], [second])
    return result[0].score if result else -1.0


@contextmanager
def watched() -> Iterator[dict[str, float]]:
    """Give what the best pose of those that led to a match had at the early gates, by the gates' names."""
    had: dict[str, float] = {}
    last: dict[str, float] = {}
    roughly, finely = duplicates.roughly, duplicates._finely

    def rough(pose: Pose) -> float:
        last.update(SEEN=pose.fit, ROUGHLY=roughly(pose))
        return last["ROUGHLY"]

    def fine(pose: Pose) -> float:
        score = finely(pose)
        if score >= LEAST[pose.scan.ndim]:
            had.update(
                (threshold, max(value, had.get(threshold, -1.0)))
                for threshold, value in last.items()
            )
        return score

    with mock.patch.multiple(duplicates, roughly=rough, _finely=fine):
        yield had


def grouped(scans: list[Scan]) -> dict[str, list[Scan]]:
    result = defaultdict(list)
    for scan in scans:
        result[scan.source].append(scan)
    return result


def different(scans: list[Scan], number: int, rng: np.random.Generator) -> dict[str, list[float]]:
    """Return the scores of pairs of two patients of one source, by source, about ``number`` in all."""
    by_source = grouped(scans)
    pairs = {}
    for source, mine in by_source.items():
        every = [(a, b) for a, b in combinations(mine, 2) if a.patient != b.patient]
        pairs[source] = [every[i] for i in rng.permutation(len(every))]
    left, result = number, {}
    for rank, source in enumerate(sorted(pairs, key=lambda s: len(pairs[s]))):
        share = min(len(pairs[source]), round(left / (len(pairs) - rank)))
        left -= share
        listed: dict[int, np.ndarray] = {}
        scores = result[source] = []
        for a, b in pairs[source][:share]:
            first, two = (listed.setdefault(id(s), fingerprint(s.image)) for s in (a, b))
            scores.append(lowered(first, two))
    return result


def table(title: str, rows: dict[str, tuple[int, int, float]], head: str) -> None:
    print(f"\n{title}\n\n| {head} |\n|{'---|' * (head.count('|') + 1)}")
    for name, (all_, hits, edge) in rows.items():
        print(f"| {name} | {all_} | {hits} | {edge:.2f} |", flush=True)


def report_planted(rows: list[Planted]) -> int:
    groups = defaultdict(list)
    for row in rows:
        for group in (f"kind: {row.kind}", f"source: {row.source}", "all"):
            groups[group].append((row.score, row.score >= LEAST[row.axes]))
    shown = {
        k: (len(v), sum(h for _, h in v), min(s for s, _ in v)) for k, v in sorted(groups.items())
    }
    table("Planted copies", shown, "group | planted | found | worst score")
    return shown["all"][0] - shown["all"][1]


def report_early(rows: list[Planted]) -> None:
    print(
        "\nRoom of the early gates\n\n| axes | gate | at | worst copies found |\n|---|---|---|---|"
    )
    for d in sorted(LEAST):
        for threshold, at in (("SEEN", duplicates.SEEN), ("ROUGHLY", duplicates.ROUGHLY[d])):
            worst = sorted(row.early[threshold] for row in rows if row.axes == d and row.early)[:3]
            print(
                f"| {d} | {threshold} | {at:.2f} | {', '.join(f'{w:.3f}' for w in worst)} |",
                flush=True,
            )


def report_different(scores_by_source: dict[str, list[float]]) -> int:
    shown = {}
    for source, scores in sorted(scores_by_source.items()):
        limit = duplicates.SAME[2 if source.startswith("2D") else 3]
        shown[source] = (len(scores), sum(s >= limit for s in scores), max(scores, default=-1.0))
    total = sum(s[1] for s in shown.values())
    shown["all"] = (sum(s[0] for s in shown.values()), total, max(s[2] for s in shown.values()))
    table("Two patients", shown, "source | pairs | flagged | best score")
    return total


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--planted", type=int, default=300)
    parser.add_argument("--pairs", type=int, default=5000)
    parser.add_argument("--search", type=int, default=0)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--half", choices=("tune", "report"), default="report")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    half = ("tune", "report").index(arguments.half)
    rng = np.random.default_rng([half, arguments.seed])
    began = time.perf_counter()
    scans = list(phantom_scans(half)) + (
        list(real_scans(arguments.data, half)) if arguments.data else []
    )
    if arguments.search:
        missed = report_search(scans, arguments.search, rng)
        print(f"\n{missed} copies missed; {time.perf_counter() - began:.0f} s")
        return 1 if missed else 0
    copies = planted(scans, arguments.planted, rng)
    missed = report_planted(copies)
    report_early(copies)
    flagged = report_different(different(scans, arguments.pairs, rng))
    print(f"\n{missed} copies missed, {flagged} pairs flagged; {time.perf_counter() - began:.0f} s")
    return 1 if missed or flagged else 0


if __name__ == "__main__":
    sys.exit(main())
