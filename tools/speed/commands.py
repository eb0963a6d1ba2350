"""Start-up of the commands over a bare interpreter. Prints a markdown table.

    BENCH_DATA=DIR python tools/speed/commands.py [--records results/studies] [--protocol hippocampus_small]

``--records`` has a study's records, of which status and report are asked in a copy. In turn, A B A B; medians
of milliseconds. The last line is the processor time of a plan of all protocols, best of five: of the data
sets under BENCH_DATA, remembered. Modules are compiled before, as pip leaves them.
"""

import compileall
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from machine import ROOT
from options import options


def main() -> None:
    protocol = "protocols/studies/hippocampus_small.yaml"
    given = options(__doc__, records="results/studies", protocol=protocol, rounds=7)
    compileall.compile_dir(ROOT / "bench", quiet=2)
    with tempfile.TemporaryDirectory() as folder:
        out = shutil.copytree(ROOT / given.records, Path(folder, "out"))
        measure(out, ROOT / given.protocol, given.rounds)


def measure(out: Path, protocol: Path, rounds: int) -> None:
    bench = str(Path(sys.executable).with_name("bench"))
    commands = {
        "bare interpreter": [sys.executable, "-c", "pass"],
        "bench --help": [bench, "--help"],
        "bench status": [bench, "status", "--out", str(out)],
        "bench report": [bench, "report", str(protocol), "--out", str(out)],
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    # the first report draws figures, which then are current
    for counts in (False, *[True] * rounds):
        for name, command in commands.items():
            began = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            times[name] += [(time.perf_counter() - began) * 1000] if counts else []
    base = median(times["bare interpreter"])
    print("| command | ms | over bare |\n|---|--:|--:|")
    for name, values in times.items():
        print(f"| {name} | {median(values):.0f} | {median(values) - base:.0f} |")
    planned, count = plan_of_all(bench)
    print(f"| bench plan of all {count} protocols | {planned:.0f} (processor time) | |")
    over = {name: f"`{name}` {median(values) - base:.0f} ms" for name, values in times.items()}
    print(f"\nIn short: over a bare interpreter {', '.join([*over.values()][1:])}")


def plan_of_all(bench: str) -> tuple[float, int]:
    """Return the least milliseconds of processor time of five plans of all protocols, and their number."""
    every = [
        str(p) for p in sorted((ROOT / "protocols").rglob("*.yaml")) if "settings" not in p.parts
    ]
    with tempfile.TemporaryDirectory() as out:
        spent = [processor_time([bench, "plan", *every, "--out", out]) for _ in range(6)]
    return min(spent[1:]) * 1000, len(every)  # the first one reads the data sets


def processor_time(command: list[str]) -> float:
    """Run a command; return the seconds of processor time that it took, its children's among them."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
