"""Dice after so many minutes of one core: bench, a plain MONAI script and nnU-Net. Prints a markdown table.

    BENCH_DATA=DIR OMP_NUM_THREADS=1 python tools/speed/learning.py --minutes 1 2 5 10 [--side bench|MONAI]
    ... --side nnU-Net --nnunet PYTHON      an interpreter that has nnunetv2

bench and MONAI train the same network from the same first weights on the hippocampi of the split ``rule``,
with the same crops, batch, optimiser, schedule and gradient norm, and score the same test patients. A
budget holds all that the command does: imports, reading and preparing, training, prediction, scores. Two
short runs tell what a step costs and what everything else does; the schedule then ends with the budget.
nnU-Net's side (``nnunet_side.py``) is its own trainer and plan on the same patients, crops and batch, as it
is and with its first stage as narrow as the others' network. Two sides run at one time, each on a core of its
own where there are two; run nothing beside them. To install nnU-Net without CUDA: torch's CPU build, `pip install
--no-deps nnunetv2 dynamic-network-architectures batchgenerators batchgeneratorsv2 acvl-utils`, then scikit-image
scikit-learn connected-components-3d fill-voids seaborn tqdm einops imagecodecs.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import yaml

DATASET, SPLIT = "msd04_hippocampus", "rule"
NETWORK, CROP, BATCH, CENTRED = "genesis_unet3d", (32, 48, 32), 2, 0.7
LR, DECAY, CLIP, WARMUP = 2e-3, 1e-5, 1.0, 0.05
WIDTHS = {"nnU-Net": 0, "nnU-Net, narrow": 8}  # channels of its first stage; 0: its own plan's
SIDES = ("bench", "MONAI", *WIDTHS)
SHORT, LONG = 20, 120  # steps of the two runs that tell what a step costs


def protocol(steps: int) -> dict[str, object]:
    """Return the protocol that bench runs: scratch, one seed, all labels."""
    return {
        "title": "Learning",
        "name": "learning",
        "scale": "pilot",
        "baseline": "none",
        "scales": {"pilot": {}},
        "networks": {"net": {"network": NETWORK, "preset": "tiny", "crop": list(CROP)}},
        "rows": {"scratch": {"method": "scratch", "network": "net"}},
        "finetune": [
            {
                "dataset": DATASET,
                "split": SPLIT,
                "steps": steps,
                "batch": BATCH,
                "clip": CLIP,
                "foreground": CENTRED,
                "optimiser": {"name": "adamw", "lr": LR, "weight_decay": DECAY},
                "schedule": {"name": "cosine", "warmup": WARMUP},
            }
        ],
        "metrics": ["dice"],
    }


def ours(steps: int) -> float:
    """Return the mean Dice of ``bench run`` in an output folder of its own."""
    from bench.cli import main as bench
    from bench.record import COLUMNS, read_rows

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "learning.yaml")
        file.write_text(yaml.safe_dump(protocol(steps)))
        places = ["--data", os.environ["BENCH_DATA"], "--out", folder]
        code = bench(["run", str(file), *places, "--workers", "1"])
        if code:
            raise SystemExit(f"bench run ended with {code}")
        rows = read_rows(Path(folder, "records", "learning.parquet"), COLUMNS)
        return float(rows.groupby("case")["value"].mean().mean())


def theirs(steps: int) -> float:
    """Return the mean Dice of a plain script: cached dictionary transforms, a loader, a loop."""
    import torch
    from monai.data import CacheDataset, DataLoader
    from monai.inferers import sliding_window_inference
    from monai.losses import DiceCELoss
    from monai.metrics import DiceMetric
    from monai.networks.utils import one_hot
    from monai.transforms import (
        Compose,
        EnsureChannelFirstd,
        EnsureTyped,
        LoadImaged,
        NormalizeIntensityd,
        Orientationd,
        RandCropByPosNegLabeld,
        SpatialPadd,
    )

    import bench
    from bench.protocol.sections import Schedule
    from bench.random import torch_seed
    from bench.train.optimise import rate

    both = ["image", "label"]
    files = {
        part: [dict(zip(both, pair, strict=True)) for pair in pairs]
        for part, pairs in cases().items()
    }
    read = [
        LoadImaged(both),
        EnsureChannelFirstd(both),
        Orientationd(both, "RAS"),
        NormalizeIntensityd("image"),
    ]
    cut = [
        SpatialPadd(both, CROP),
        RandCropByPosNegLabeld(both, "label", CROP, pos=CENTRED, neg=1 - CENTRED),
        EnsureTyped(both),
    ]
    cached = CacheDataset(files["train"], Compose(read + cut), progress=False)
    # by place: num_workers
    loader = DataLoader(cached, batch_size=BATCH, shuffle=True, drop_last=True)
    torch.manual_seed(torch_seed(0, "network"))
    network = bench.network(NETWORK, "tiny", 1, 3, CROP)
    optimiser = torch.optim.AdamW(network.parameters(), LR, weight_decay=DECAY)
    loss, step = DiceCELoss(to_onehot_y=True, softmax=True), 0
    schedule = Schedule(name="cosine", warmup=WARMUP)
    while step < steps:
        for batch in loader:
            for group in optimiser.param_groups:
                group["lr"] = rate(step, steps, LR, schedule)
            optimiser.zero_grad()
            loss(network(batch["image"]), batch["label"]).backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP)
            optimiser.step()
            step += 1
            if step == steps:
                break
    network.eval()
    dice = DiceMetric(include_background=False)
    with torch.no_grad():
        for case in CacheDataset(files["test"], Compose(read), progress=False):
            scores = sliding_window_inference(
                case["image"][None], CROP, 4, network, overlap=0.5, mode="gaussian"
            )
            dice(one_hot(scores.argmax(1, keepdim=True), 3), one_hot(case["label"][None], 3))
    return float(np.nanmean(np.asarray(dice.aggregate("none"))))


def cases() -> dict[str, list[list[str]]]:
    """Return image and label of every case of the split's training and test part."""
    import bench
    from bench.data import split

    dataset, root = bench.dataset(DATASET), Path(os.environ["BENCH_DATA"], DATASET)
    result = dataset.cases(root)
    fold = split.folds(dataset, DATASET, result, SPLIT, set())[0]
    return {
        part: [[str(c.images[0]), str(c.label)] for c in result if c.patient in patients]
        for part, patients in (("train", set(fold.train)), ("test", set(fold.test)))
    }


def nnunet(folder: str, side: str, steps: int) -> str:
    """Write what nnU-Net's side is to do; return the file."""
    patch = CROP[::-1]  # it reads z, y, x
    about = {"patch": patch, "batch": BATCH, "width": WIDTHS[side]}
    about |= {"steps": steps, "folder": folder}
    file = Path(folder, "job.json")
    file.write_text(json.dumps(cases() | about))
    return str(file)


def measured(side: str, steps: int, core: int, python: str = "") -> tuple[float, float]:
    """Return processor seconds of a fresh process on a core, and its Dice."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--one", side, "--steps", str(steps)]
        if side in WIDTHS:
            script = str(Path(__file__).with_name("nnunet_side.py"))
            command = [python, script, nnunet(folder, side, steps)]
        return timed(["taskset", "-c", str(core), *command])


def timed(command: list[str]) -> tuple[float, float]:
    with tempfile.TemporaryFile() as message:
        process = subprocess.Popen(command, stdout=message)
        # of this process alone: another side's may end meanwhile
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command)
        message.seek(0)
        return used.ru_utime + used.ru_stime, json.loads(message.read().splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, nargs="+", default=[1, 2, 5, 10])
    parser.add_argument("--side", choices=SIDES)
    parser.add_argument("--nnunet", metavar="PYTHON", help="an interpreter that has nnunetv2")
    parser.add_argument("--one", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--steps", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        import torch

        torch.set_num_threads(1)
        print(json.dumps((ours if given.one == "bench" else theirs)(given.steps)))
        return
    sides = (
        [given.side] if given.side else [s for s in SIDES if (s in WIDTHS) == bool(given.nnunet)]
    )
    cores, short = sorted(os.sched_getaffinity(0)), []
    with ThreadPoolExecutor(min(len(cores), len(sides))) as pool:
        result = [pool.submit(curve, side, given.minutes, given.nnunet, cores) for side in sides]
    print("| side | minutes asked | CPU minutes | steps | Dice (%) |\n|---|--:|--:|--:|--:|")
    for side, points in zip(sides, (curve.result() for curve in result), strict=True):
        for requested, spent, steps, dice in points:
            print(f"| {side} | {requested:g} | {spent / 60:.2f} | {steps} | {100 * dice:.2f} |")
        ends = dict.fromkeys((points[0], points[-1]))  # the smallest and the largest budget
        shown = ", ".join(f"{100 * dice:.0f} after {spent / 60:.1f}" for _, spent, _, dice in ends)
        short.append(f"\nIn short: {side}: Dice {shown} CPU-minutes")
    print("\n".join(short))


def curve(
    side: str, budgets: list[float], python: str, cores: list[int]
) -> list[tuple[float, float, int, float]]:
    """Return the minutes asked for, the seconds spent, the steps and the Dice of each budget."""
    core = cores[SIDES.index(side) % len(cores)]
    (short, _), (long, _) = (measured(side, n, core, python) for n in (SHORT, LONG))
    step, points = (long - short) / (LONG - SHORT), []
    for minutes in budgets:
        steps = max(1, round((60 * minutes - short) / step) + SHORT)
        spent, dice = measured(side, steps, core, python)
        points.append((minutes, spent, steps, dice))
    return points


if __name__ == "__main__":
    main()
