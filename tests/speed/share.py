"""Where the processor time of a fine-tuning and of its evaluation goes. Prints a markdown table.

    BENCH_DATA=DIR OMP_NUM_THREADS=1 python tests/speed/share.py [--steps 60]

The jobs are those of ``learning.py``, run in this process under torch's profiler. Shares are of processor
seconds of the whole job; what no torch operation accounts for is Python, decoding and files. The
profiler itself slows small operations, so these shares are upper bounds for them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import torch
import yaml
from learning import protocol
from torch.profiler import ProfilerActivity, profile

KINDS = {  # the first whose words are part of an operation's name
    "convolutions": ("conv", "mkldnn"),
    "norms": ("norm",),
    "activations": ("relu", "threshold", "clamp"),
    "pooling, resizing, joining": ("pool", "upsample", "cat", "pad"),
    "loss": ("softmax", "nll", "scatter", "one_hot"),
    "optimiser and clipping": ("Optimizer", "foreach", "lerp", "addcdiv", "addcmul"),
}


def main() -> None:
    """Plan and prepare with the command, then profile the two jobs here."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=60)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "learning.yaml")
        file.write_text(yaml.safe_dump(protocol(1)))
        at = ["--data", os.environ["BENCH_DATA"], "--out", folder]
        bench = [sys.executable, "-m", "bench"]
        subprocess.run(
            [*bench, "run", str(file), *at, "--workers", "1"], check=True, stdout=subprocess.DEVNULL
        )
        file.write_text(yaml.safe_dump(protocol(given.steps)))  # the same preparation, another training
        told = subprocess.run([*bench, "plan", str(file), *at, "--json"], check=True, stdout=subprocess.PIPE)
        jobs = {j["kind"]: j for j in json.loads(told.stdout)["jobs"] if not j["done"]}
        found = {kind: _profiled(folder, jobs[kind]) for kind in ("finetune", "evaluate")}
    names = list(dict.fromkeys(name for shares in found.values() for name in shares))
    print(f"| share of processor time (%) | {' | '.join(found)} |\n|---|{'--:|' * len(found)}")
    for name in names:
        print(f"| {name} | {' | '.join(f'{shares[name]:.1f}' for shares in found.values())} |")


def _profiled(out: str, job: dict[str, object]) -> Counter[str]:
    """Return the share of each kind of operation in one job, in percent."""
    from bench.job import Job
    from bench.jobs.context import RunOptions
    from bench.jobs.execute import execute
    from bench.store import Store

    store = Store(Path(out))
    made = Job(str(job["kind"]), job["spec"], tuple(job["needs"]))  # type: ignore[arg-type]
    store.describe(made)
    began = time.process_time()
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        done = execute(
            out,
            made.id,
            RunOptions(roots={"msd04_hippocampus": os.environ["BENCH_DATA"] + "/msd04_hippocampus"}),
        )
        spent = time.process_time() - began
    if done.state != "done":
        raise SystemExit(f"{made.kind}: {done.reason}")
    shares: Counter[str] = Counter()
    for entry in seen.key_averages():
        kind = next((k for k, words in KINDS.items() if any(w in entry.key for w in words)), "other torch")
        shares[kind] += 100 * entry.self_cpu_time_total / 1e6 / spent
    shares["Python, decoding, files"] = 100 - sum(shares.values())
    return shares


if __name__ == "__main__":
    main()
