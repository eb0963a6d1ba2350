"""Where the processor time of a fine-tuning and of its evaluation goes. Prints a markdown table.

    BENCH_DATA=DIR OMP_NUM_THREADS=1 python tools/speed/share.py [--steps 300]

The jobs are those of ``learning.py``, each in a process of its own under torch's profiler. Shares are
of processor seconds of the whole job; what no torch operation accounts for is Python, decoding and
files. The profiler itself slows small operations, so these shares are upper bounds for them.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch
import yaml
from learning import protocol
from options import options
from torch.profiler import ProfilerActivity, profile

from bench import run
from bench.jobs.context import RunOptions
from bench.runtime.execute import execute
from bench.store import Store

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
    given = options(__doc__, steps=300)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "learning.yaml")
        file.write_text(yaml.safe_dump(protocol(1)))
        at = ["--data", os.environ["BENCH_DATA"], "--out", folder, "--workers", "1"]
        command = [sys.executable, "-m", "bench", "run", str(file), *at]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        # the same preparation, another training
        file.write_text(yaml.safe_dump(protocol(given.steps)))
        result = profiled(file, Path(folder))
    names = list(dict.fromkeys(name for shares in result.values() for name in shares))
    print(f"| share of processor time (%) | {' | '.join(result)} |\n|---|{'--:|' * len(result)}")
    for name in names:
        print(f"| {name} | {' | '.join(f'{shares[name]:.1f}' for shares in result.values())} |")
    print(
        f"\nIn short: {result['finetune']['convolutions']:.0f} % of a fine-tuning are convolutions"
    )


def profiled(file: Path, out: Path) -> dict[str, Counter[str]]:
    """Return the shares of what is left to do of a protocol, by kind of job, in percent."""
    request = run.Request((file,), out, data=Path(os.environ["BENCH_DATA"]))
    plan, store = run.make_plan(request, request.read(), need_data=True), Store.open(out)
    left = run.todo(plan, store)
    run.describe(plan, store, left)
    result = {}
    # each in a process of its own: a profile's million objects slow what comes after
    for job in left:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            result[plan.jobs[job].kind] = pool.submit(
                shares, out, job, run.options(plan, job)
            ).result()
    return result


def shares(out: Path, job: str, options: RunOptions) -> Counter[str]:
    """Do one job under the profiler; return the share of each kind of operation, in percent."""
    torch.set_num_threads(1)
    began = time.process_time()
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        done = execute(str(out), job, options)
        spent = time.process_time() - began
    if done.state != "done":
        raise SystemExit(f"{job}: {done.reason}")
    result: Counter[str] = Counter()
    for item in seen.key_averages():
        kind = next(
            (k for k, words in KINDS.items() if any(w in item.key for w in words)), "other torch"
        )
        result[kind] += 100 * item.self_cpu_time_total / 1e6 / spent
    result["Python, decoding, files"] = 100 - sum(result.values())
    return result


if __name__ == "__main__":
    main()
