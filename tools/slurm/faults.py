"""Do to a run on a throw-away cluster what clusters do; compare its records with an undisturbed run's.

    python tools/slurm/faults.py [--only NAME]... [--times N] [--accounting] [--keep DIR]

Prints a Markdown table; exits 1 where a run ends with other records, leaves something half-written,
publishes a job twice, or a task in the queue.
"""

import argparse
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

import pytest
from config import Cluster
from harm import FAULTS, Fault
from sandbox import Sandbox, SandboxError, lacking, stopping_on_sigterm
from smoke import Smoke
from trial import Trial

COLUMNS = (
    "fault",
    "how it was made",
    "times",
    "outcome",
    "records lost",
    "jobs run twice",
    "seconds",
)
STEPS = {"pretrain": 80, "finetune": 12}


def once(cluster: Sandbox, smoke: Smoke, fault: Fault, folder: Path) -> tuple[str, object, object]:
    """Return how one trial ended: in words, records lost, jobs published twice."""
    cluster.recover()
    trial = Trial(cluster, smoke, folder, kind="pretrain")
    try:
        printed = fault.make(trial)
        trial.check()
        return printed, 0, 0
    except pytest.skip.Exception as why:
        return f"not made: {why}", "", ""
    except (AssertionError, SandboxError, OSError) as error:
        traceback.print_exc()
        return f"WRONG: {str(error).splitlines()[0]}", smoke.lost(trial.out), trial.twice()
    finally:
        trial.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", choices=sorted(FAULTS), metavar="NAME")
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument(
        "--accounting", action="store_true", help="with slurmdbd, so that sacct answers"
    )
    parser.add_argument(
        "--keep", type=Path, help="a folder, not there yet, for all that the runs leave"
    )
    given = parser.parse_args()
    why = lacking(given.accounting)
    if why:
        print(f"skipped: {why}")
        return 0
    folder = given.keep or Path(tempfile.mkdtemp(prefix="bench-slurm-"))
    folder.mkdir(exist_ok=True)
    bad = 0
    try:
        with (
            stopping_on_sigterm(),
            Sandbox(folder / "c", Cluster(accounting=given.accounting)) as cluster,
        ):
            smoke = Smoke.make(folder, **STEPS, only=("fraction=100",))
            print("| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|", flush=True)
            for name in given.only or FAULTS:
                bad += row(cluster, smoke, name, folder, given.times)
    finally:
        if not given.keep:
            shutil.rmtree(folder, ignore_errors=True)
    return 1 if bad else 0


def row(cluster: Sandbox, smoke: Smoke, name: str, folder: Path, times: int) -> int:
    began, fault = time.monotonic(), FAULTS[name]
    result = [once(cluster, smoke, fault, folder / f"{name}-{number}") for number in range(times)]
    seconds = (time.monotonic() - began) / times
    printed = " / ".join(dict.fromkeys(text for text, _, _ in result))
    lost, twice = (sum(int(f[location] or 0) for f in result) for location in (1, 2))
    cells = [name, fault.how, times, printed, lost, twice, f"{seconds:.0f}"]
    print("| " + " | ".join(str(cell).replace("|", "/") for cell in cells) + " |", flush=True)
    return sum(text.startswith("WRONG") for text, _, _ in result)


if __name__ == "__main__":
    sys.exit(main())
