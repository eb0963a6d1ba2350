"""Run small protocols with an older commit and with this tree; say whether records and weights are the same.

    python tests/same_records.py REF             the runs below, some minutes; exit 1 where anything differs
    python tests/same_records.py REF voco        those of which a word holds this text

A refactoring changes no number: every row of the records, job ids among them, and every weight that a job
leaves must be equal to the bit. Only how long a forward pass took may differ. Data are phantoms.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd
from planted import ROOT, importable

SMOKE = ("--scale", "smoke", "--only", "fraction=100")
IN_3D = ("scratch_unet", "supervised", "models_genesis", "simclr3d", "pgl", "voco", "mae3d")
OF_CLASSES = ("scratch", "rotation2d_ukb", "cpc2d_ukb")
RUNS = (  # each a protocol and flags
    ("quickstart", "--only", "seed=0", "--set", "pretrain.steps=20", "--set", "finetune.steps=20"),
    ("methods/3d", *SMOKE, *(f"--only=row={row}" for row in IN_3D)),
    ("taleb/fig4", *SMOKE, *(f"--only=row={row}" for row in OF_CLASSES)),
)
TIMES = ("latency",)  # metrics of the machine


def ran(tree: Path, folder: Path, words: tuple[str, ...]) -> Path:
    """Run one protocol with the source of a tree and return its output folder."""
    protocol, *flags = words
    out = folder / protocol.replace("/", "_")
    file = str(tree / "protocols" / f"{protocol}.yaml")
    command = [sys.executable, "-m", "bench", "run", file, "--phantoms", "--out", str(out)]
    paths = os.pathsep.join(importable(tree, folder))
    environment = {**os.environ, "PYTHONPATH": paths, "BENCH_DATA": "", "OMP_NUM_THREADS": "1"}
    how = {"cwd": folder, "env": environment, "capture_output": True, "text": True}
    done = subprocess.run([*command, "--workers", "1", "--quiet", *flags], **how, check=False)
    if done.returncode:
        words = f"ended with {done.returncode}:\n{done.stderr[-2000:]}"
        raise SystemExit(f"{protocol} with {tree} {words}")
    return out


def records(out: Path) -> dict[str, pd.DataFrame]:
    """Return every table of records of an output folder by its place, without times."""
    result = {}
    for file in sorted((out / "records").rglob("*.parquet")):
        table = pd.read_parquet(file)
        rows = table[~table["metric"].isin(TIMES)].reset_index(drop=True)
        result[str(file.relative_to(out))] = rows
    return result


def weights(out: Path) -> dict[str, str]:
    """Return the digest of every file of weights by its job and name."""
    digests = {}
    for file in sorted(out.glob("jobs/*/manifest.json")):
        manifest = json.loads(file.read_text())
        for name in (n for n in manifest["files"] if n.endswith(".safetensors")):
            item = f"{manifest['kind']} {file.parent.name}: {name}"
            digests[item] = manifest["files"][name]["sha256"]
    return digests


def differences(before: Path, after: Path) -> list[str]:
    """Return a line for each table of records and each file of weights that two runs have otherwise."""
    lines = []
    for kind, read in {"records": records, "weights": weights}.items():
        old, new = read(before), read(after)
        for name in sorted(old.keys() ^ new.keys()):
            lines.append(f"{kind}: {name} is {'gone' if name in old else 'new'}")
        for name in sorted(old.keys() & new.keys()):
            if kind == "weights" and old[name] != new[name]:
                lines.append(f"{kind}: {name} differs")
            elif kind == "records" and not old[name].equals(new[name]):
                lines.append(f"{kind}: {name}: {_first(old[name], new[name])}")
    return lines


def _first(old: pd.DataFrame, new: pd.DataFrame) -> str:
    """Return the first row that differs, as it was and as it is."""
    if len(old) != len(new) or list(old) != list(new):
        return f"{old.shape} rows and columns became {new.shape}"
    same = (old == new) | (old.isna() & new.isna())
    row = int((~same.all(axis=1)).to_numpy().argmax())
    names = [name for name in old if not same.loc[row, name]]
    changed = {name: (old.loc[row, name], new.loc[row, name]) for name in names}
    return f"{int((~same.all(axis=1)).sum())} of {len(old)} rows differ, first row {row}: {changed}"


def main(ref: str, word: str = "") -> int:
    """Compare the tree with a commit; return 1 where anything differs."""
    runs, result = [run for run in RUNS if any(word in part for part in run)], []
    with tempfile.TemporaryDirectory() as folder:
        tree, git = Path(folder) / "tree", ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", str(tree), ref], check=True)
        try:
            for run in runs:
                places = [Path(folder) / side for side in ("before", "after")]
                pair = [ran(tree, places[0], run), ran(ROOT, places[1], run)]
                lines, rows = differences(*pair), sum(map(len, records(pair[1]).values()))
                verdict = "NOT THE SAME" if lines else "the same"
                print(f"{run[0]}: {rows} rows, {len(weights(pair[1]))} files of weights: {verdict}")
                print("".join(f"{line}\n" for line in lines), end="", flush=True)
                result += lines
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)
    return int(bool(result) or not runs)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
