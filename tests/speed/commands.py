"""Start-up of the commands over a bare interpreter. Prints a markdown table.

    python tests/speed/commands.py [--out runs/quickstart] [--protocol protocols/quickstart.yaml]

``--out`` is a finished small output folder. In turn, A B A B; medians of milliseconds.
"""

import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from options import options


def main() -> None:
    given = options(__doc__, out="runs/quickstart", protocol="protocols/quickstart.yaml", rounds=7)
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
