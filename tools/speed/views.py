"""Views batched against MONAI's transforms sample by sample. Prints a markdown table.

    OMP_NUM_THREADS=1 python tools/speed/views.py [--rounds 7] [--only PGL SimCLR VoCo slices]

Both sides make the same views of the same boxes, with the same probabilities and ranges, on one core.
MONAI's side is a loop over samples in three forms: ``tensors`` (array transforms on plain tensors, without
metadata), ``lazy`` (``Compose(lazy=True)``: neighbouring moves in one resampling) and ``dict`` (dictionary
transforms with metadata, as its tutorials have it: ``dict / ours``). The other ratios are to the fastest of
them. Sides take turns in processes of their own; ratios are medians over rounds of one round's two processor
times.

``alone`` is from what each side is handed to its views: a batch that the loader stacked for us, single boxes
for MONAI. ``stacked`` counts from single boxes to a batch of views on both sides. Our process keeps pages,
as a job's does (``bench.runtime.memory``), and a batch's views may be made in its memory; MONAI's have the
allocator that a script has, and in the last ratio ours. The script ends with an error where the views' mean,
spread or roughness (spread of the difference of neighbours) does not agree.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from statistics import median
from typing import Any

import monai.transforms as mt
import numpy as np
import torch
from monai.data import set_track_meta
from sides import Side, contest
from torch import Tensor

from bench import nets, registry
from bench.data.reader import Volume
from bench.method import Owned
from bench.pretext.pair import Pairing, read_pair
from bench.pretext.slice_views import SliceViews, slice_views
from bench.pretext.volume_views import VolumeViews
from bench.train.samples import stack

STATISTICS = ("mean", "spread", "roughness")
TOLERANCE = 0.02  # of MONAI's value, on top of three standard errors
WARM = 3  # rounds before those that count: the heap grows to what both sides need
FORMS = ("tensors", "lazy", "dict")
Sample = dict[str, np.ndarray]
Steps = list[tuple[str, dict[str, Any]]]


class Contrast(mt.RandomizableTransform):
    """nnssl's contrast, which MONAI lacks: about the mean by a factor, within the former range."""

    def __init__(self, prob: float, factor: tuple[float, float]) -> None:
        super().__init__(prob)
        self.factor = factor

    def __call__(self, img: Tensor, randomize: bool = True) -> Tensor:
        self.randomize(None)
        if not self._do_transform:
            return img
        mean, low, high = img.mean(), float(img.min()), float(img.max())
        return ((img - mean) * self.R.uniform(*self.factor) + mean).clamp(low, high)


@dataclass
class Task:
    """One kind of views.

    Args:
        samples: what the reader gave.
        boxes: the single boxes of a sample that MONAI's transforms take.
        steps: those transforms.
        ours: a batch to views, (N, C, X, Y, Z).
    """

    samples: list[Sample]
    boxes: Callable[[Sample], list[Tensor]]
    steps: Steps
    ours: Callable[[dict[str, Tensor], torch.Generator], Tensor]


def texture(shape: tuple[int, int, int], seed: int) -> Volume:
    coarse = np.random.default_rng(seed).random([max(n // 4, 1) for n in shape], np.float32)
    complete = torch.nn.functional.interpolate(
        torch.from_numpy(coarse)[None, None], shape, mode="trilinear"
    )
    return Volume(complete[0].numpy())


def flips(p: float, axes: int = 3) -> Steps:
    return [("RandFlip", {"prob": p, "spatial_axis": axis}) for axis in range(axes)]


def noise(p: float, std: float) -> Steps:
    """Return noise whose standard deviation is uniform from 0."""
    return [("RandGaussianNoise", {"prob": p, "std": std})]


def blur(p: float, sigma: tuple[float, float]) -> Steps:
    """Return a blur; MONAI draws a sigma for each axis."""
    return [("RandGaussianSmooth", {"prob": p, **{f"sigma_{a}": sigma for a in "xyz"}})]


def pgl() -> Task:
    """PGL's views at its size, batch 16."""
    crop = (96, 96, 16)
    views = VolumeViews(noise_unit="std", gamma_keep="range")  # what MONAI can do, too
    rng = np.random.default_rng(0)
    samples = [views.read(texture((192, 192, 48), i), crop, rng) for i in range(16)]

    def boxes(sample: Sample) -> list[Tensor]:
        pairs = zip(sample["pair"], sample["size"].tolist(), strict=True)
        return [torch.from_numpy(box[:, :x, :y, :z]) for box, (x, y, z) in pairs]

    steps: Steps = [("Resize", {"spatial_size": crop, "mode": "trilinear"}), *flips(views.flip)]
    steps += noise(views.noise, 0.1) + blur(views.blur, views.blur_sigma)
    steps += [
        ("RandScaleIntensity", {"factors": 0.25, "prob": views.brightness}),
        ("RandAdjustContrast", {"prob": views.gamma, "gamma": views.gamma_exponent}),
    ]
    return Task(samples, boxes, steps, lambda b, g: views.views(b, crop, g)["views"].flatten(0, 1))


def simclr() -> Task:
    """The views of SimCLR on volumes, after nnssl, 64^3, batch 8."""
    method = built("simclr3d", (64, 64, 64))
    p, rng = method.params, np.random.default_rng(0)
    rule = Pairing(axis_overlap=p.overlap)
    samples = [read_pair(texture((128, 128, 128), i), (64, 64, 64), rule, rng) for i in range(8)]
    steps = noise(p.noise, 0.1) + blur(p.blur, p.blur_sigma)
    steps += [
        ("RandScaleIntensity", {"factors": 0.25, "prob": p.brightness}),
        ("Contrast", {"prob": p.contrast, "factor": p.contrast_factor}),
        ("RandAdjustContrast", {"prob": p.gamma, "gamma": p.gamma_exponent}),
        *flips(p.flip),
        ("RandRotate90", {"prob": p.rot90, "max_k": 3}),
    ]
    return Task(
        samples,
        lambda s: [torch.from_numpy(box) for box in s["pair"]],
        steps,
        lambda b, g: method.views(b, g)["views"].flatten(0, 1),
    )


def voco() -> Task:
    """VoCo's views at 64^3: 16 bases and 2 crops of each of 4 scans."""
    method = built("voco", (64, 64, 64))
    p, rng = method.params, np.random.default_rng(0)
    samples = [p.read(texture((256, 256, 64), i), method.crop, rng) for i in range(4)]
    steps: Steps = [
        *flips(p.flip),
        ("RandRotate90", {"prob": p.rot90, "max_k": 3}),
        ("RandShiftIntensity", {"prob": p.shift, "offsets": p.shift_by}),
    ]

    def ours(batch: dict[str, Tensor], generator: torch.Generator) -> Tensor:
        done = method.views(batch, generator)
        return done["bases"][:, :1].flatten(0, 1)  # nothing is copied for the sake of the table

    return Task(samples, lambda s: [torch.from_numpy(b) for b in s["boxes"]], steps, ours)


def slices() -> Task:
    """HSSL's views of slices, 256 x 256 to 192 x 192, batch 30, two views each."""
    views, crop = SliceViews(), (192, 192, 1)
    samples = [
        {"slice": np.repeat(texture((256, 256, 1), i).crop((0, 0, 0), (256, 256, 1))[None], 2, 0)}
        for i in range(30)
    ]
    steps: Steps = [
        ("Cut", {"area": views.area, "aspect": views.aspect}),
        ("Resize", {"spatial_size": crop[:2], "mode": "bilinear"}),
        *blur(views.blur, views.blur_sigma),
        *noise(views.noise, 0.1),
    ]
    return Task(
        samples,
        lambda s: [torch.from_numpy(x[..., 0]) for x in s["slice"]],
        steps,
        lambda b, g: slice_views(b["slice"].flatten(0, 1), crop, views, g)[0],
    )


class Cut(mt.Randomizable, mt.Transform):
    """torchvision's random box, which MONAI lacks: area uniform, aspect log-uniform, ten tries."""

    def __init__(self, area: tuple[float, float], aspect: tuple[float, float]) -> None:
        self.area, self.aspect = area, np.log(aspect)

    def __call__(self, img: Tensor) -> Tensor:
        x, y = img.shape[1:]
        for _ in range(10):
            pixels, ratio = self.R.uniform(*self.area) * x * y, np.exp(self.R.uniform(*self.aspect))
            w, h = round((pixels * ratio) ** 0.5), round((pixels / ratio) ** 0.5)
            if 0 < w <= x and 0 < h <= y:
                a, b = self.R.randint(0, x - w + 1), self.R.randint(0, y - h + 1)
                return img[:, a : a + w, b : b + h]
        return img


class OnDict(mt.MapTransform):
    def __init__(self, act: Callable[[Tensor], Tensor], keys: str) -> None:
        super().__init__(keys)
        self.act = act

    def __call__(self, data: dict[str, Tensor]) -> dict[str, Tensor]:
        return {k: self.act(v) for k, v in data.items()}


def built(name: str, crop: tuple[int, int, int]) -> Any:
    """Return a method; only its views are used."""
    return registry.load("method", name).build(nets.network("unet3d", "tiny", 1, 2, crop))


def composed(steps: Steps, form: str) -> Callable[[Tensor], Tensor]:
    """Return MONAI's transforms of one box in one of the ``FORMS``."""
    individual: dict[str, Any] = {"Contrast": Contrast, "Cut": Cut}

    def transform(name: str, settings: dict[str, Any]) -> Any:
        if form == "dict" and name not in individual:
            return getattr(mt, f"{name}d")("image", **settings)
        act = (individual.get(name) or getattr(mt, name))(**settings)
        return OnDict(act, "image") if form == "dict" else act

    complete = mt.Compose([transform(*s) for s in steps], lazy=form == "lazy").set_random_state(0)
    if form == "dict":
        return lambda box: complete({"image": box})["image"]
    return complete


def statistics(x: Tensor) -> Tensor:
    """Return mean, spread and roughness of each view, (3, N)."""
    axes = tuple(range(1, x.ndim))
    return torch.stack([x.mean(axes), x.std(axes), x.diff(dim=2).std(axes)])


# milliseconds of the views and of stacking, and what they look like
Round = tuple[float, float, Tensor]


def monais(name: str, form: str) -> Callable[[], Round]:
    """Return one form of MONAI's side: the views of every box, then their batch."""
    task = TASKS[name]()
    boxes = [box for sample in task.samples for box in task.boxes(sample)]
    act = composed(task.steps, form)
    set_track_meta(form != "tensors")

    def run() -> Round:
        first = time.process_time()
        views = [act(box) for box in boxes]
        second = time.process_time()
        batch = torch.stack(views)
        return second - first, time.process_time() - second, statistics(torch.as_tensor(batch))

    return run


def ours(name: str) -> Callable[[], Round]:
    """Return our side: a batch, then its views."""
    task, rounds = TASKS[name](), count()

    @torch.no_grad()
    def run() -> Round:
        generator = torch.Generator().manual_seed(next(rounds))
        first = time.process_time()
        batch = Owned(stack(task.samples))
        second = time.process_time()
        views = task.ours(batch, generator)
        return time.process_time() - second, second - first, statistics(views)

    return run


def line(name: str, rounds: int) -> tuple[str, list[float], list[str]]:
    """Return a line of the table, its ratios and how far ``STATISTICS`` differ, and a line for each that is off."""
    forms = [Side(form, monais, (name, form)) for form in FORMS]
    remaining = [Side(f"{form}, pages kept", monais, (name, form), pages=True) for form in FORMS]
    result = contest([*forms, *remaining, Side("ours", ours, (name,), pages=True)], rounds, WARM)
    views = {side: [v for _, (v, _, _) in each] for side, each in result.items()}
    complete = {side: [v + s for _, (v, s, _) in each] for side, each in result.items()}
    seen = {
        side: torch.cat([t for _, (_, _, t) in result[side]], dim=1) for side in ("tensors", "ours")
    }
    number = seen["tensors"].shape[1] // rounds

    def ratio(times: dict[str, list[float]], after: str = "") -> float:
        best = min((form + after for form in FORMS), key=lambda side: median(views[side]))
        return median(a / b for a, b in zip(times[best], times["ours"], strict=True))

    usual = median(a / b for a, b in zip(views["dict"], views["ours"], strict=True))
    ratios = [usual, ratio(views), ratio(complete), ratio(complete, ", pages kept")]
    cells = " | ".join(f"{1000 * median(views[k]) / number:.3f}" for k in (*FORMS, "ours"))
    theirs, mine = (seen[k].mean(1) for k in ("tensors", "ours"))
    error = sum(s.var(1) / s.shape[1] for s in seen.values()).sqrt()
    apart = (mine - theirs).abs()
    off = apart > TOLERANCE * theirs + 3 * error
    message = f"| {name} | {number} | {cells} | {' | '.join(f'{r:.1f}' for r in ratios)} |"
    wrong = [
        f"{name}: {k} does not agree" for k, o in zip(STATISTICS, off.tolist(), strict=True) if o
    ]
    return message, [*ratios, *apart.tolist()], wrong


TASKS = {"PGL": pgl, "SimCLR": simclr, "VoCo": voco, "slices": slices}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", nargs="+", choices=TASKS, default=list(TASKS))
    given = parser.parse_args()
    wrong: list[str] = []
    ratios: list[list[float]] = []
    print(f"ms per view, one thread, medians of {given.rounds} rounds\n")
    print(
        "| views | number | tensors | lazy | dict | ours | dict / ours | alone | stacked | stacked, pages ",
        end="",
    )
    print("kept |\n|---|" + "--:|" * 9)
    for name in given.only:
        message, result, off = line(name, given.rounds)
        wrong += off
        ratios.append(result)
        print(message, flush=True)
    print(*(f"\n{text}" for text in wrong), sep="", end="")
    least, most = ([end(values) for values in zip(*ratios, strict=True)] for end in (min, max))
    print(
        f"\nLargest difference from MONAI's views: mean {most[4]:.3f}, standard deviation "
        f"{most[5]:.3f}, roughness {most[6]:.4f}\n\nIn short: {least[1]:.1f} to {most[1]:.1f} times as "
        f"fast as MONAI's fastest form, {least[2]:.1f} to {most[2]:.1f} with stacking"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
