"""The training loop against a bare PyTorch loop of the same step. Prints a markdown table.

    python tools/speed/loop.py [--steps 60] [--rounds 5]

Both sides train the same network on the same batches with the same optimiser, in turn, A B A B;
medians of milliseconds per step. What the loop adds: learning-rate schedule, seeding of every step,
finiteness checks, checkpoints, progress.
"""

import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch
from options import options
from torch import Tensor

from bench import nets
from bench.protocol.sections import Optimiser, Schedule, Training
from bench.train.loop import CHANNELS_LAST, Batch, Objective, Run, fit

TRAINING = Training(optimiser=Optimiser(lr=1e-3, weight_decay=1e-2), schedule=Schedule(warmup=0.1))


class Mean(Objective):
    """A network under a loss that costs nothing, so that the loop's own share is largest."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.network = nets.network("unet3d", "tiny", 1, 2, (16, 16, 16))

    def forward(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        return {"total": self.network(batch["image"]).square().mean()}


def batches(steps: int) -> Iterator[Batch]:
    image = torch.randn(2, 1, 16, 16, 16, generator=torch.Generator().manual_seed(1))
    for _ in range(steps):
        yield {"image": image}


def bare(steps: int) -> float:
    objective = Mean().to(memory_format=CHANNELS_LAST)
    optimiser = torch.optim.AdamW(objective.parameters(), 1e-3, weight_decay=1e-2)
    generator = torch.Generator()
    began = time.perf_counter()
    for batch in batches(steps):
        total = objective(batch, generator)["total"]
        total.backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
    return (time.perf_counter() - began) / steps * 1000


def ours(steps: int) -> float:
    """Return milliseconds per step of ``fit``, its set-up included."""
    with tempfile.TemporaryDirectory() as folder:
        run = Run(replace(TRAINING, steps=steps), 0, Path(folder))
        objective = Mean()
        began = time.perf_counter()
        fit(objective, lambda start: batches(steps - start), run)
        return (time.perf_counter() - began) / steps * 1000


def main() -> None:
    given = options(__doc__, steps=60, rounds=5)
    torch.set_num_threads(1)
    bare(5), ours(5)
    pairs = [(bare(given.steps), ours(given.steps)) for _ in range(given.rounds)]
    a, b = median(p[0] for p in pairs), median(p[1] for p in pairs)
    print("| bare loop (ms/step) | bench (ms/step) | added (ms) | ratio |\n|--:|--:|--:|--:|")
    print(f"| {a:.2f} | {b:.2f} | {b - a:.2f} | {median(y / x for x, y in pairs):.3f} |")
    print(f"\nIn short: {b - a:.1f} ms a step more than a bare loop")


if __name__ == "__main__":
    main()
