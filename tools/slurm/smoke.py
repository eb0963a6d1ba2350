"""The smoke protocol on a cluster: how it is run, and what it must end with."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

sys.path.insert(0, str(Path(__file__).parents[1]))

import pandas as pd
import reliability

BENCH = [sys.executable, "-m", "bench.cli"]
CELL = ("row=scratch", "fraction=100")  # the smallest run: prepare, fine-tune, evaluate
KEYS = ["row", "fraction", "seed", "case", "target", "metric"]
# Two rows and fractions make two tasks of cells beside the two that they wait for.
PROFILE: Mapping[str, object] = {"partition": "main", "cpus": 1, "mem_gb": 2.0, "pack": 2}


@dataclass(frozen=True)
class Smoke:
    """A protocol, what of it is run, and the records of a run on this machine's own workers."""

    path: Path
    only: tuple[str, ...]
    expected: pd.DataFrame

    @classmethod
    def make(cls, folder: Path, pretrain: int, finetune: int, only: tuple[str, ...] = ()) -> Self:
        """Write the protocol with these steps and run it here, undisturbed."""
        first, rest = reliability.SMOKE.split("finetune:", 1)
        first = first.replace("steps: 40", f"steps: {pretrain}")
        text = first + "finetune:" + rest.replace("steps: 40", f"steps: {finetune}")
        path = reliability.protocol(folder, text)
        local = cls(path, only, pd.DataFrame())
        with (folder / "local.txt").open("wb") as log:
            process = local.start(folder / "local", ("--workers", "2"), log, None, os.environ)
            try:
                code = process.wait(reliability.LIMIT)
            finally:  # it is a group of its own: Ctrl-C does not reach it
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
        assert code == 0, (folder / "local.txt").read_text()
        return cls(path, only, table(folder / "local"))

    def start(
        self,
        out: Path,
        flags: Iterable[str],
        log: BinaryIO,
        cwd: Path | None,
        environment: Mapping[str, str],
    ) -> subprocess.Popen[bytes]:
        """Start ``bench run`` in a process group of its own; tasks inherit the environment."""
        requested = [flag for key in self.only for flag in ("--only", key)]
        command = [*BENCH, "run", str(self.path), "--out", str(out), *requested, *flags]
        return subprocess.Popen(
            command,
            env={**environment, "OMP_NUM_THREADS": "1", "BENCH_CHECKPOINT": "0"},
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def lost(self, out: Path) -> int:
        """Return how many records differ from the undisturbed run's, or are not there."""
        result = table(out)
        if result.equals(self.expected):
            return 0
        if result.empty:
            return len(self.expected)
        both = self.expected.merge(result, how="left", indicator=True)
        return max(1, int((both["_merge"] == "left_only").sum()))


def table(out: Path) -> pd.DataFrame:
    """Return the records, in a fixed order; none where none were written."""
    path = out / "records" / "smoke.parquet"
    if not path.exists():
        return pd.DataFrame()
    return pd.read_parquet(path).sort_values(KEYS).reset_index(drop=True)


def profile(folder: Path, **changes: object) -> None:
    lines = [f"{key} = {json.dumps(value)}" for key, value in {**PROFILE, **changes}.items()]
    (folder / "bench.toml").write_text("\n".join(["[cluster.sandbox]", *lines, ""]))
