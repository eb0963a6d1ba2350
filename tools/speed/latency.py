"""How long each network takes for one crop at its papers' size. Prints a markdown table.

    python tools/speed/latency.py [--repeats 50] [--warm-up 10] [--preset base] [NETWORK ...]

Batch 1, fp32, as a job of kind ``latency`` measures it (``bench.jobs.latency``); the crop is
the preset's own, or ``--crop X Y Z``.
"""

import argparse
from itertools import islice
from math import prod
from statistics import median

import torch

from bench import nets
from bench.jobs.latency.run import passes
from bench.nets.catalog import CATALOG
from bench.train.loop import fabric


def measured(options: argparse.Namespace, name: str) -> tuple[tuple[int, ...], list[float]]:
    facts = CATALOG[name].presets[options.preset]
    crop = tuple(options.crop or facts.crop)
    classes = "segmentation" not in CATALOG[name].tasks
    make = nets.classifier if classes else nets.network
    network = make(
        name, options.preset, facts.in_channels, 5 if classes else facts.out_channels, crop
    )
    result = list(islice(passes(network, fabric("fp32").device), options.warm_up + options.repeats))
    return crop, sorted(result[options.warm_up :])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help="default: all")
    parser.add_argument("--preset", default="base")
    parser.add_argument("--crop", type=int, nargs=3, metavar=("X", "Y", "Z"))
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--warm-up", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(
        "| network | crop | median (ms) | quartiles (ms) | GFLOP | GFLOP/s |\n|---|---|--:|--:|--:|--:|"
    )
    for name in options.networks or CATALOG:
        crop, seconds = measured(options, name)
        facts, middle = CATALOG[name].presets[options.preset], median(seconds)
        work = facts.flops_per_voxel * prod(crop) / 1e9
        low, high = (1000 * seconds[len(seconds) * n // 4] for n in (1, 3))
        times = (
            f"{1000 * middle:,.0f} | {low:,.0f} to {high:,.0f} | {work:,.0f} | {work / middle:.0f}"
        )
        print(f"| `{name}` {options.preset} | {' x '.join(map(str, crop))} | {times} |", flush=True)


if __name__ == "__main__":
    main()
