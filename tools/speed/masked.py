"""A masked autoencoder's step against the same step with every token in the encoder. Prints a markdown table.

    OMP_NUM_THREADS=1 python tools/speed/masked.py [--rounds 5] [--preset base] [--crop 96] [--batch 1]

Both sides are MAE3D with the same weights, decoder and optimiser; one hides three quarters of the patches,
so that its encoder computes a quarter of the tokens, the other hides one patch. They take turns, A B A B;
medians of processor time per step (forward, backward, AdamW). ``encoder`` is its forward pass alone.
"""

import time
from collections.abc import Callable
from statistics import median

import torch
from options import options
from sides import as_a_job

from bench import nets, registry
from bench.method import Method

SIDES = {"visible tokens alone": 0.75, "all tokens": 0.0}


def build_method(preset: str, crop: tuple[int, int, int], ratio: float) -> Method:
    torch.manual_seed(0)
    network = nets.network("unetr", preset, 1, 2, crop)
    tokens = crop[0] * crop[1] * crop[2] // 16**3
    # one patch stays hidden: a loss needs something to predict
    return registry.load("method", "mae3d").build(
        network, {"mask_ratio": max(ratio, 1.01 / tokens)}, 0
    )


def step(method: Method, optimiser: torch.optim.Optimizer, crop: torch.Tensor) -> None:
    batch = method.views({"crop": crop}, torch.Generator().manual_seed(0))
    method.loss(batch)["total"].backward()
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)


@torch.no_grad()
def encoded(method: Method, crop: torch.Tensor) -> None:
    batch = method.views({"crop": crop}, torch.Generator().manual_seed(0))
    method.encoder.run(method.encoder.tokens(crop, only=batch["visible"]), norm=False)


def seconds(act: Callable[[], None]) -> float:
    began = time.process_time()
    act()
    return time.process_time() - began


def main() -> None:
    given = options(__doc__, rounds=5, preset="base", crop=96, batch=1)
    torch.set_num_threads(1)
    as_a_job()
    size = (given.crop,) * 3
    crop = torch.rand(given.batch, 1, *size, generator=torch.Generator().manual_seed(1))
    methods = {name: build_method(given.preset, size, ratio) for name, ratio in SIDES.items()}
    optimisers = {name: torch.optim.AdamW(m.parameters(), 1e-4) for name, m in methods.items()}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in SIDES}
    for round in range(-1, given.rounds):  # the first warms up
        for name, method in methods.items():
            took = (
                seconds(lambda m=method, o=optimisers[name]: step(m, o, crop)),
                seconds(lambda m=method: encoded(m, crop)),
            )
            times[name] += [took] if round >= 0 else []
    print(f"UNETR {given.preset}, {given.crop}^3, batch {given.batch}, one thread\n")
    print("| | a step (s) | encoder forward (s) |\n|---|--:|--:|")
    for name, took in times.items():
        print(f"| {name} | {median(a for a, _ in took):.3f} | {median(b for _, b in took):.3f} |")
    fewer, every = (times[name] for name in SIDES)
    complete, alone = (
        median(b[i] / a[i] for a, b in zip(fewer, every, strict=True)) for i in (0, 1)
    )
    print(f"| ratio | {complete:.2f} | {alone:.2f} |")
    times = f"with visible tokens only, a step is {complete:.1f} times and its encoder {alone:.1f} times as fast"
    print(f"\nIn short: {given.preset}: {times}")


if __name__ == "__main__":
    main()
