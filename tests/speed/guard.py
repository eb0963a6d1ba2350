"""Time how the leak guard compares scans with others, also against another checkout.

    OMP_NUM_THREADS=1 python tests/speed/guard.py --data DIR                   all but the first 42 with these
    OMP_NUM_THREADS=1 python tests/speed/guard.py --data DIR --scans 16 --against ../bench-before

Every round runs the trees in turn, a process each, on fingerprints made once. Prints the processor
time of a pair, the ratio of each round, and whether both found the same.
"""

import argparse
import json
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parents[2]
TIMED = """
import json, pickle, sys, time
from bench.leaks.duplicates import matches
first, second = pickle.load(open(sys.argv[1], "rb"))
matches(first[:1], second[:1])  # what is computed once per process is not a pair's
began = time.process_time()
found = [m for i in range(0, len(first), 16) for m in matches(first[i : i + 16], second)]
print(json.dumps([time.process_time() - began, [(m.b, round(m.score, 2)) for m in found]]))
"""


def prints(folder: Path, number: int) -> list:
    """Return the fingerprints of the first images under a folder, labels left out."""
    from bench.leaks.fingerprint import fingerprint
    from bench.volumes.reading import is_volume, read_volume, within

    files = sorted(p for p in within(folder, 3) if is_volume(p) and "label" not in str(p.parent.name))
    files = [p for p in files if "_gt" not in p.name and not p.name.startswith("laendo")]
    return [fingerprint(read_volume(p).array) for p in files[:number]]


def timed(tree: Path, scans: Path) -> tuple[float, list]:
    command = [sys.executable, "-c", TIMED, str(scans)]
    done = subprocess.run(command, cwd=tree, check=True, capture_output=True, text=True)
    seconds, found = json.loads(done.stdout)
    return seconds, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of volumes")
    parser.add_argument("--scans", type=int, default=139)
    parser.add_argument("--others", type=int, default=42)
    parser.add_argument("--against", type=Path, help="another checkout")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    every = prints(options.data, options.scans + options.others)
    second, first = every[: options.others], every[options.others :]
    trees = [HERE] + ([options.against.resolve()] if options.against else [])
    with tempfile.TemporaryDirectory() as folder:
        scans = Path(folder) / "prints"
        scans.write_bytes(pickle.dumps((first, second)))
        rounds = [[timed(tree, scans) for tree in trees] for _ in range(options.rounds)]
    pairs = len(first) * len(second)
    print(f"{len(first)} x {len(second)} scans of {options.data.name}, {options.rounds} rounds")
    for number, tree in enumerate(trees):
        each = [1e3 * round_[number][0] / pairs for round_ in rounds]
        found = len(rounds[0][number][1])
        print(f"{tree}: {median(each):.2f} ms a pair ({min(each):.2f} to {max(each):.2f}), {found} found")
    if options.against:
        ratios = sorted(there[0] / here[0] for here, there in rounds)
        same = all(here[1] == there[1] for here, there in rounds)
        print(f"ratio {median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}), same matches: {same}")


if __name__ == "__main__":
    main()
