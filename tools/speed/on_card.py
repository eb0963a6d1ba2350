"""``make speed-gpu``: throughput, memory and data-wait on a real card, held against the forecast of ``--gpu``.

    python tools/speed/on_card.py [--steps 12] [--loaders 8] [--card h100-80gb]

Eight pretrainings of VoCo's Table 1 go through the loop for some steps on scans of noise; a fine-tuning stands
beside a plain PyTorch loop with MONAI's transforms, our sliding window beside MONAI's. Shares of the card's
stated speed are measured by a product, a convolution, a copy and a thousand small operations, then scaled so
that the forecast of the eight is right in the median. They go to ``gpu_calibration.json`` here, which
``bench plan --gpu`` reads. Under ten minutes; without a card nothing is done.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import geometric_mean, median

import numpy as np
import torch
from torch import Tensor, nn

from bench.data.reader import Volume
from bench.gpu import steps
from bench.gpu.cards import CARDS, FILE, Card, Speed, calibrate
from bench.gpu.work import Step
from bench.protocol.sections import Windows
from bench.train import samples
from bench.train.loop import Run, channels_last, fit
from bench.train.samples import Samples

METHODS = [
    "mae3d",
    "simclr3d",
    "simmim3d",
    "mocov3",
    "models_genesis",
    "vicregl",
    "voco",
    "swin_unetr_ssl",
]
PROTOCOL = Path("protocols/voco/table1.yaml")
WARM_UP = 3  # steps that are not timed
SCAN = (192, 192, 160)  # voxels of the sliding window's scan


@dataclass(frozen=True)
class Measured:
    """What steps took, beside what was forecast of them."""

    name: str
    seconds: float  # of a step, the median
    gib: float  # most that torch had at any time; 0 without a card
    waited: float  # share of the time in which the loop waits for data
    step: Step

    def line(self, card: Card) -> str:
        forecast = card.seconds(self.step.work)
        times = f"{self.seconds:.3f}", f"{forecast:.3f}", f"{self.seconds / forecast:.2f}"
        memory = f"{self.gib:.1f}", f"{self.step.most / 2**30:.1f}"
        rate = f"{self.step.samples / self.seconds:.1f}"
        cells = self.name, *times, rate, *memory, f"{self.waited:.0%}"
        return f"| {' | '.join(cells)} |"


def card_named(device: str, gib: float) -> Card | None:
    """Return the card that a driver calls so, by its model and the nearest memory."""
    squeezed = device.lower().replace(" ", "").replace("-", "")
    alike = [card for card in CARDS.values() if card.name.partition("-")[0] in squeezed]
    return min(alike, key=lambda card: abs(card.gib - gib), default=None)


def measure(
    name: str, trained: steps.Trained, step: Step, count: int, loaders: int = 0
) -> Measured:
    """Take some steps of the real loop on the device that is here, on scans of noise."""
    training = replace(trained.training, steps=count + WARM_UP)
    drawn = Samples(64, training.batch, 0, lambda case, step, sample: trained.read(sample))
    how = {"steps": count + WARM_UP, "accumulate": training.accumulate, "workers": loaders}
    read = partial(samples.batches, drawn, training.batch, **how)
    ends = list[float]()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with tempfile.TemporaryDirectory() as folder:
        # to read a loss waits for the device: so every step's end is seen
        run = Run(
            training, 0, Path(folder), on_step=lambda *given: ends.append(time.perf_counter())
        )
        began = time.perf_counter()
        curve = fit(trained.objective, read, run)
    intervals = [after - before for before, after in pairwise(ends)]
    waited = curve.waited / (ends[-1] - began)
    return Measured(name, median(intervals[WARM_UP - 1 :]), peak(), waited, step)


def peak() -> float:
    return torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else 0.0


def timed(act: Callable[[], object], repeats: int = 10) -> float:
    """Return the seconds of one call, the device waited for."""
    wait = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    act(), wait()
    began = time.perf_counter()
    for _ in range(repeats):
        act()
    wait()
    return (time.perf_counter() - began) / repeats


def shares(card: Card, device: torch.device, size: int = 8192) -> Speed:
    """Measure what a product, a convolution, a copy and small operations get of what the maker states."""
    half = {"device": device, "dtype": torch.bfloat16}
    matrix = torch.randn(size, size, **half)
    product = 2 * size**3 / timed(lambda: matrix @ matrix) / (card.half * 1e12)
    side, channels = max(4, size // 128), 64
    image = torch.randn(2, channels, side, side, side, **half)
    image = image.to(memory_format=torch.channels_last_3d)
    weight = torch.randn(channels, channels, 3, 3, 3, **half)
    flops = 2 * 2 * channels**2 * 27 * side**3
    seconds = timed(lambda: nn.functional.conv3d(image, weight, padding=1))
    memory = torch.empty(4 * size * size, device=device)
    copied = 2 * memory.nbytes / timed(memory.clone) / (card.bandwidth * 1e9)
    small = torch.zeros(1, device=device)
    launch = timed(lambda: [small.add_(1) for _ in range(1000)], 3) / 1000
    return Speed(geometric_mean([product, flops / seconds / (card.half * 1e12)]), copied, launch)


def fitted(card: Card, speed: Speed, measured: list[Measured], where: str) -> Speed:
    """Return the shares by which the forecast of what was measured is right in the median."""
    under = replace(card, speed=speed)
    slower = median(m.seconds / under.seconds(m.step.work) for m in measured)
    compute, memory = round(speed.compute / slower, 4), round(speed.memory / slower, 4)
    return Speed(compute, memory, float(f"{speed.launch * slower:.3g}"), where)


def plain(
    network: nn.Module, image: Tensor, label: Tensor, crop: tuple[int, ...], batch: int
) -> Iterator[float]:
    """Yield the seconds of each step of a bare loop with MONAI's transforms and loss, in 16 bits."""
    from monai import transforms as t
    from monai.losses import DiceCELoss

    keys = ["image", "label"]
    change = t.Compose(
        [
            t.RandSpatialCropd(keys, crop, random_size=False),
            *(t.RandFlipd(keys, prob=0.5, spatial_axis=axis) for axis in range(3)),
            t.RandScaleIntensityd(keys="image", factors=0.1, prob=0.5),
            t.RandShiftIntensityd(keys="image", offsets=0.1, prob=0.5),
        ]
    )
    device = next(network.parameters()).device
    loss = DiceCELoss(to_onehot_y=True, softmax=True)
    optimiser = torch.optim.AdamW(network.parameters())
    while True:
        began = time.perf_counter()
        drawn = [change({"image": image, "label": label}) for _ in range(batch)]
        x, y = (torch.stack([torch.as_tensor(d[key]) for d in drawn]).to(device) for key in keys)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            total = loss(network(x), y)
        total.backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        total.item()
        yield time.perf_counter() - began


def windows(
    network: nn.Module, crop: tuple[int, int, int], shape: tuple[int, ...]
) -> tuple[float, float]:
    """Return the seconds of a scan by our sliding window and by MONAI's on the network's device."""
    from monai.inferers import sliding_window_inference

    from bench.data.slabs import restore_slabs, unchanged
    from bench.jobs.predict import slabs

    image, how = np.random.default_rng(0).random((1, *shape), np.float32), Windows(crop=crop)
    device = next(network.parameters()).device

    @torch.no_grad()
    def ours() -> np.ndarray:
        return restore_slabs(slabs(network, Volume(image), how), unchanged(shape))

    @torch.no_grad()
    def theirs() -> np.ndarray:
        x = torch.from_numpy(image)[None].to(device)
        scores = sliding_window_inference(x, crop, how.batch, network, how.overlap, how.blend)
        return scores[0].argmax(0).to(torch.uint8).cpu().numpy()

    return timed(ours, 2), timed(theirs, 2)


def specs() -> tuple[dict[str, tuple], object]:
    """Return the eight pretrainings with the shapes of their scans, and a fine-tuning."""
    from bench.data.roots import Contents, Roots
    from bench.plan import Planner
    from bench.protocol import read

    planner = Planner(Roots(None), Contents(None), need_data=False)
    planner.expand(read(PROTOCOL, "paper"))
    jobs = planner.finish().jobs
    pretrainings = {
        job.spec.method.name: (job.spec, jobs[job.needs[0]].spec.recipe.resize)
        for job in jobs.values()
        if job.kind == "pretrain"
    }
    tuned = next(job.spec for job in jobs.values() if job.kind == "finetune")
    return {name: pretrainings[name] for name in METHODS}, tuned


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--loaders", type=int, default=8)
    parser.add_argument("--card", help="of bench.gpu.cards; default: by the driver's name")
    given = parser.parse_args()
    if not torch.cuda.is_available():
        why = f"torch {torch.__version__} sees no CUDA card here; run it on a machine that has one"
        print(f"speed-gpu: {why}", file=sys.stderr)
        return 2
    device = torch.device("cuda", torch.cuda.current_device())
    name, total = torch.cuda.get_device_name(device), torch.cuda.mem_get_info(device)[1] / 2**30
    card = CARDS.get(given.card) if given.card else card_named(name, total)
    if card is None:
        names = ", ".join(CARDS)
        print(
            f"speed-gpu: {given.card or name} is no card of bench.gpu.cards ({names}); "
            "name the nearest with --card",
            file=sys.stderr,
        )
        return 2
    return on(card, device, name, given.steps, given.loaders)


def on(card: Card, device: torch.device, name: str, count: int, loaders: int) -> int:
    speed, measured, left_out = shares(card, device), list[Measured](), list[str]()
    print("| method | s a step | forecast | ratio | samples a s | GiB | counted | waits for data |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    pretrainings, tuned = specs()
    for method, (spec, shape) in pretrainings.items():
        step = steps.pretraining(spec, shape)
        if step.most > card.room:
            left_out.append(method)
            continue
        measured.append(measure(method, steps.pretrained(spec, shape), step, count, loaders))
        print(measured[-1].line(replace(card, speed=speed)), flush=True)
        torch.cuda.empty_cache()
    if left_out:
        print(f"\nLeft out, they do not fit: {', '.join(left_out)}")
    recipe = replace(tuned.finetune, batch=2, precision="bf16", accumulate=1)
    tuned = replace(tuned, finetune=recipe)
    ours = measure("fine-tuning", steps.finetuned(tuned), steps.finetuning(tuned), count, loaders)
    print(ours.line(replace(card, speed=speed)))
    crop = tuned.network.crop
    network = channels_last(steps.finetuned(tuned).objective.network).to(device)
    image, label = torch.rand(1, *SCAN), torch.randint(0, 3, (1, *SCAN)).float()
    bare = plain(network, image, label, crop, recipe.batch)
    theirs = median([next(bare) for _ in range(count + WARM_UP)][WARM_UP:])
    mine, monai = windows(network.eval(), crop, SCAN)
    where = f"{date.today().isoformat()}, {name}, torch {torch.__version__}"
    calibrate(FILE, card.name, fitted(card, speed, measured, where))
    print(
        f"\nIn short: {theirs / ours.seconds:.2f} times as fast as a plain loop with MONAI's transforms; "
        f"{monai / mine:.2f} times as fast as MONAI's windows; {FILE} written"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
