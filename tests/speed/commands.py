"""Start-up of the commands over a bare interpreter. Prints a markdown table.

    python tests/speed/commands.py [--out runs/quickstart] [--protocol protocols/quickstart.yaml]

``--out`` is a finished small output folder. In turn, A B A B; medians of milliseconds.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from statistics import median


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default="runs/quickstart")
    parser.add_argument("--protocol", default="protocols/quickstart.yaml")
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    bench = str(Path(sys.executable).with_name("bench"))
    commands = {
        "bare interpreter": [sys.executable, "-c", "pass"],
        "bench --help": [bench, "--help"],
        "bench status": [bench, "status", "--out", given.out],
        "bench report": [bench, "report", given.protocol, "--out", given.out],
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(given.rounds):
        for name, command in commands.items():
            began = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            times[name].append((time.perf_counter() - began) * 1000)
    base = median(times["bare interpreter"])
    print("| command | ms | over bare |\n|---|--:|--:|")
    for name, values in times.items():
        print(f"| {name} | {median(values):.0f} | {median(values) - base:.0f} |")


if __name__ == "__main__":
    main()
