"""How long it takes to hand many cells to SLURM, and how many calls of sbatch.

    python tools/speed/submission.py [--pretrainings 20] [--seeds 50] [--real]

Prints one line per number of cells. ``sbatch`` is a script that answers at once, so what is measured
is what bench and submitit do; with ``--real`` it is the cluster's own (the tasks are cancelled again).
"""

import tempfile
import time
from pathlib import Path
from typing import Any

import yaml
from machine import fake_slurm
from options import options

from bench import run
from bench.executors.slurm import cancel, squeue
from bench.executors.slurm.controller import Controller
from bench.executors.slurm.profile import Profile
from bench.jobs.context import RunOptions
from bench.store import Store


def protocol(folder: Path, rows: dict[str, Any], seeds: int, steps: int) -> Path:
    """Write a protocol of short trainings on phantoms, a cell per row and seed, and return its path."""
    common = {"steps": steps, "batch": 2, "precision": "fp32"}
    tuned = {"dataset": "msd04_hippocampus", "split": "even", "seeds": list(range(seeds)), **common}
    value = {
        "title": "short cells",
        "scale": "smoke",
        "scales": {"smoke": {}},
        "metrics": ["dice"],
        "baseline": "none",
        "rows": {name: {"network": "net", **row} for name, row in rows.items()},
        "phantoms": {"msd04_hippocampus": {"cases": 9, "seed": 0}},
        "networks": {"net": {"network": "unet3d", "preset": "tiny", "crop": [16, 16, 16]}},
        "pretrain": {"datasets": [{"dataset": "msd04_hippocampus"}], **common},
        "finetune": [{**tuned, "inference": {"overlap": 0.0, "batch": 8}}],
    }
    path = folder / "protocol.yaml"
    path.write_text(yaml.safe_dump(value))
    return path


def measure(folder: Path, pretrainings: int, seeds: int, real: bool) -> str:
    rows = {
        f"simclr{n}": {"method": "simclr3d", "params": {"temperature": 0.1 + n / 100}}
        for n in range(pretrainings)
    }
    path, out = protocol(folder, rows, seeds, 4), folder / f"out-{pretrainings}-{seeds}"
    request = run.Request((path,), out)
    store, began = Store.open(out), time.perf_counter()
    plan = run.make_plan(request, request.read(), need_data=True)
    jobs = run.todo(plan, store)
    planned = time.perf_counter() - began
    (folder / "calls").unlink(missing_ok=True)
    began = time.perf_counter()

    def start(job: str) -> RunOptions:
        run.describe(plan, store, [job])
        return run.options(plan, job)

    controller = Controller(plan, store, jobs, Profile(), lambda o: None, start)
    controller.attach()
    controller.step()
    took = time.perf_counter() - began
    began = time.perf_counter()
    controller.step()
    look = time.perf_counter() - began
    calls = sum(1 for _ in controller.submitted)
    if real:
        cancel(store)
    cells = pretrainings * seeds
    return f"| {cells} | {pretrainings} | {len(jobs)} | {planned:.2f} | {took:.2f} | {calls} | {look:.2f} |"


def main() -> None:
    arguments = options(__doc__, pretrainings=20, seeds=50, real=False)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if not arguments.real:
            fake_slurm(folder)
        squeue.require()
        print(
            "| cells | pretrainings | jobs | plan s | describe and submit s | sbatch calls | one status check s |"
        )
        print("|--:|--:|--:|--:|--:|--:|--:|")
        for share in (10, 1):
            message = measure(
                folder, arguments.pretrainings, max(1, arguments.seeds // share), arguments.real
            )
            print(message)
        cells, _, _, _, took, calls, _ = message.strip("| ").split(" | ")
        tool = "a real SLURM" if arguments.real else "an sbatch that answers at once"
        print(f"\nIn short: {cells} cells to {tool} in {took} s and {calls} calls")


if __name__ == "__main__":
    main()
