"""``make speed``: run every script that docs/speed.md quotes; its tables go to build/speed/NAME.md.

    python tests/speed/every.py [NAME ...]

A script whose needs are not met here is left out with a line that says what it lacks. Each table says what
was run and whether the machine was quiet. docs/speed.md keeps its prose; copy from these what is new.
"""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from machine import HERE, machine, quiet

LACKS = {
    "BENCH_DATA": "a folder of data sets: set BENCH_DATA",
    "NNUNET_PYTHON": "an interpreter that has nnunetv2: set NNUNET_PYTHON",
    "SLURM_CONF": "a running SLURM: set SLURM_CONF",
    "runs/quickstart/records": "a finished quickstart: make quickstart",
}


@dataclass(frozen=True)
class Script:
    """One run of a script.

    Args:
        name: what it is called on the command line, and its table.
        line: file, without suffix, and arguments; ``$NAME`` is taken from the environment.
        needs: keys of ``LACKS``: a variable that is set, or a path that is there.
    """

    name: str
    line: str
    needs: tuple[str, ...] = ()

    @property
    def file(self) -> Path:
        return HERE / "tests" / "speed" / f"{self.line.split()[0]}.py"

    def lacking(self) -> list[str]:
        """Return what to say of the needs that are not met."""
        return [why for need, why in LACKS.items() if need in self.needs and not there(need)]

    def command(self) -> list[str]:
        return [sys.executable, str(self.file), *map(os.path.expandvars, self.line.split()[1:])]


SCRIPTS = (
    Script("commands", "commands --out runs/quickstart --rounds 9", ("runs/quickstart/records",)),
    Script("report", "large_report --rounds 1"),
    Script("crops", "crops"),
    Script("prepare", "prepare"),
    Script("loop", "loop --steps 100"),
    Script("share", "share", ("BENCH_DATA",)),
    Script("learning", "learning", ("BENCH_DATA",)),
    Script("nnunet", "learning --side nnU-Net --nnunet $NNUNET_PYTHON", ("BENCH_DATA", "NNUNET_PYTHON")),
    Script("views", "views --rounds 5"),
    Script("masked", "masked"),
    Script("masked-small", "masked --preset small"),
    Script("metrics", "metrics --rounds 3"),
    Script("inference", "inference --rounds 3", ("BENCH_DATA",)),
    Script("latency", "latency --warm-up 1 --repeats 5"),
    Script("submission", "submission"),
    Script("submission-real", "submission --real", ("SLURM_CONF",)),
    Script("packing", "packing --cells 12 --pack 6", ("SLURM_CONF",)),
    Script("growth", "growth", ("BENCH_DATA",)),
)


def there(need: str) -> bool:
    return bool(os.environ.get(need)) if need.isupper() else (HERE / need).exists()


def run(script: Script, folder: Path) -> int:
    """Write a script's table, or what it said before it failed; return its exit status."""
    load, began = quiet(), time.monotonic()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(script.command(), cwd=HERE, env=environment, stdout=subprocess.PIPE, text=True)
    here = machine() | {"load": load}
    file, *arguments = script.line.split()
    shown = f"`python tests/speed/{' '.join([f'{file}.py', *arguments])}`"
    facts = "; ".join([*here.values(), f"{(time.monotonic() - began) / 60:.1f} minutes"])
    (folder / f"{script.name}.md").write_text(f"{shown}\n\n{facts}\n\n{done.stdout}")
    return done.returncode


def main(asked: list[str]) -> int:
    names = [script.name for script in SCRIPTS]
    for name in (name for name in asked if name not in names):
        print(f"ONLY={name}: no such script; there are {', '.join(names)}", file=sys.stderr)
        return 2
    folder, failed = HERE / "build" / "speed", False
    folder.mkdir(parents=True, exist_ok=True)
    for script in (script for script in SCRIPTS if not asked or script.name in asked):
        if lacking := script.lacking():
            print(f"{script.name}: left out, it needs {' and '.join(lacking)}", flush=True)
            continue
        print(f"{script.name}: {quiet()}", flush=True)
        status = run(script, folder)
        failed |= status != 0
        told = f"failed with {status}, what it said is in" if status else "written to"
        print(f"{script.name}: {told} build/speed/{script.name}.md", flush=True)
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
