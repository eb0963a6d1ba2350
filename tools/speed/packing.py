"""What short cells gain by sharing a task on SLURM.

    python tools/speed/packing.py [--cells 16] [--pack 8] [--at-once 2]

Needs SLURM_CONF of a running cluster. Runs the same protocol with one cell in a task and with several,
so many tasks at once, from submission to the last result.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from options import options
from submission import protocol


def main() -> None:
    arguments = options(__doc__, cells=16, pack=8, at_once=2)
    print("| cells in a task | tasks | seconds for all |\n|--:|--:|--:|")
    shown: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = protocol(folder, {"scratch": {"method": "scratch"}}, arguments.cells, 2)
        for pack in (1, arguments.pack):
            (folder / "bench.toml").write_text(
                f"[cluster.here]\npack = {pack}\narray_parallelism = {arguments.at_once}\nmem_gb = 2\n"
            )
            command = [sys.executable, "-m", "bench.cli", "run", str(path)]
            command += ["--out", f"{folder}/out-{pack}", "--executor", "slurm", "--cluster", "here"]
            began = time.perf_counter()
            subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL)
            took = time.perf_counter() - began
            print(f"| {pack} | {-(-arguments.cells // pack)} | {took:.0f} |", flush=True)
            shown.append(f"{took:.0f} s with {pack} in a task")
    print(f"\nIn short: {arguments.cells} short cells in {' and '.join(shown)}")


if __name__ == "__main__":
    main()
