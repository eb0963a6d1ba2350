"""Kill a whole run, its controller or one of its workers at random moments; compare the records.

    python tools/reliability.py --kills 12 [--seed 0] [--short]

Prints a Markdown table; exits 1 where a run that was killed and started again ends differently.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SMOKE = """\
title: smoke
scale: smoke
phantoms: {msd04_hippocampus: {cases: 9, seed: 0}}
networks:
  unet3d: {network: unet3d, preset: tiny, crop: [16, 16, 16]}
rows:
  scratch: {method: scratch, network: unet3d}
  simclr3d: {method: simclr3d, network: unet3d}
pretrain:
  datasets: [{dataset: msd04_hippocampus}]
  recipe: &few {resize: [32, 32, 16], scale: zscore}  # four windows of a scan
  steps: 40
  batch: 2
  precision: fp32
finetune:
  - dataset: msd04_hippocampus
    split: even
    recipe: *few
    fractions: [50, 100]
    steps: 40
    batch: 2
    precision: fp32
    inference: {overlap: 0.0, batch: 8}
metrics: [dice, hd95]
layout: {columns: fractions}
scales:
  smoke: {}
"""
SHORT = {"steps: 40": "steps: 4"}
WHOM = ("group", "controller", "worker")
LIMIT = 300  # seconds in which a smoke run ends, whatever else the machine does


def protocol(folder: Path, text: str = SMOKE, name: str = "smoke.yaml", **changes: str) -> Path:
    """Write the smoke protocol, with texts replaced, and return its path."""
    for old, new in changes.items():
        text = text.replace(old, new)
    path = folder / name
    path.write_text(text)
    return path


def start(path: Path, out: Path, *flags: str, every: float = 0.0) -> subprocess.Popen[str]:
    """Start ``bench run`` as a terminal would: in a process group of its own."""
    command = [sys.executable, "-m", "bench.cli", "run", str(path), "--out", str(out), *flags]
    environment = {**os.environ, "BENCH_CHECKPOINT": str(every), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command,
        env=environment,
        text=True,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for the end and return exit code and output; a hang is an error."""
    try:
        text, _ = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    return process.returncode, text


def workers(process: subprocess.Popen[str]) -> list[int]:
    """Return the worker processes of a controller."""
    result = []
    for item in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = item.read_text().rpartition(")")[2].split()
            command = (item.parent / "cmdline").read_text()
        except OSError:
            continue
        if int(fields[1]) == process.pid and "spawn_main" in command:
            result.append(int(item.parent.name))
    return sorted(result)


def kill(process: subprocess.Popen[str], whom: str, rng: random.Random) -> bool:
    """SIGKILL the group, the controller alone or one worker; False where there is none."""
    present = workers(process) if whom == "worker" else [process.pid]
    if process.poll() is not None or not present:
        return False
    try:
        (os.killpg if whom == "group" else os.kill)(rng.choice(present), signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def records(out: Path, name: str = "smoke") -> bytes:
    """Return the records as bytes that are equal exactly where all values are."""
    import pandas as pd

    table = pd.read_parquet(out / "records" / f"{name}.parquet")
    order = ["row", "fraction", "seed", "case", "target", "metric"]
    return table.sort_values(order).to_csv(index=False, float_format="%r").encode()


def half_written(out: Path) -> list[str]:
    """Return what is half-written among the results; nothing, if all is well."""
    bad = [str(p) for p in (out / "jobs").rglob("*") if p.name.startswith(".")]
    return bad + [str(p) for p in (out / "jobs").glob("*") if not (p / "manifest.json").is_file()]


def trial(path: Path, out: Path, whom: str, rng: random.Random, within: float) -> dict[str, object]:
    """Start, kill, start again; return what happened."""
    hit = False
    while not hit:  # one that ended before its moment came is begun anew
        shutil.rmtree(out, ignore_errors=True)
        process = start(path, out, "--workers", "2")
        began, wait = time.monotonic(), rng.uniform(0.5, within)
        while process.poll() is None and not hit:
            hit = time.monotonic() - began > wait and kill(process, whom, rng)
            time.sleep(0.02)
        wait = time.monotonic() - began
    done = len(list((out / "jobs").glob("*/manifest.json")))
    first = finish(process)[0] if whom == "worker" else process.wait()
    half = half_written(out)
    began = time.monotonic()
    code, text = finish(start(path, out, "--workers", "2"))
    if process.stdout and not process.stdout.closed:
        process.communicate()
    return {
        "killed": whom,
        "after s": f"{wait:.1f}",
        "jobs done": done,
        "killed run's exit": first if whom == "worker" else "",
        "exit": code,
        "again s": f"{time.monotonic() - began:.0f}",
        "half-written": len(half) + len(half_written(out)),
        "text": text,
    }


def main() -> int:
    """Run the trials and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--short", action="store_true", help="4 training steps instead of 40")
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = protocol(folder, **(SHORT if arguments.short else {}))
        began = time.monotonic()
        code, text = finish(start(path, folder / "undisturbed", "--workers", "2"))
        seconds = time.monotonic() - began
        assert code == 0, text
        expected = records(folder / "undisturbed")
        print(f"undisturbed: {seconds:.0f} s, {len(expected.splitlines()) - 1} rows\n", flush=True)
        columns = [
            "#",
            "killed",
            "after s",
            "jobs done",
            "killed run's exit",
            "exit",
            "again s",
            "half-written",
            "same records",
        ]
        print("| " + " | ".join(columns) + " |\n|" + "---|" * len(columns), flush=True)
        bad = 0
        for number in range(arguments.kills):
            out = folder / f"trial-{number}"
            result = trial(path, out, WHOM[number % 3], rng, 0.9 * seconds)
            same = result["exit"] == 0 and records(out) == expected and not result["half-written"]
            result |= {"#": number + 1, "same records": "yes" if same else "NO"}
            print("| " + " | ".join(str(result[c]) for c in columns) + " |", flush=True)
            bad += not same
            print("" if same else result["text"], end="")
    print(f"\n{arguments.kills - bad} of {arguments.kills} ended as the undisturbed run did")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
