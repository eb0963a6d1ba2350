"""Plant an error in a copy of the tree, one at a time, and say whether the tests named with it see it.

    python tests/planted.py            all, a minute or two; exit 1 where one is not seen or does not fit
    python tests/planted.py HD95       those whose name holds this word

Whoever makes the tests fewer runs it before and after. ``tests/test_planted.py`` asks that each error fits.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]


class Planted(NamedTuple):
    """An error: what it is, where its text stands exactly once, what replaces it, a test that must fail."""

    what: str
    file: str
    before: str
    after: str
    tests: str

    def misfit(self, root: Path) -> str:
        """Say why it cannot be planted in a tree; empty where it can."""
        for name in (self.file, self.tests):
            if not (root / name).is_file():
                return f"{name} is not there"
        count = (root / self.file).read_text().count(self.before)
        return "" if count == 1 else f"{self.file} holds {self.before!r} {count} times"


ERRORS = (
    Planted(
        "a fraction is cut, not rounded",
        "bench/data/split.py",
        "len(ranking) / 100 + 0.5",
        "len(ranking) / 100",
        "tests/data/test_split.py",
    ),
    Planted(
        "HD95 is HD90",
        "bench/metrics/value.py",
        "np.concatenate([forward, backward]), 95",
        "np.concatenate([forward, backward]), 90",
        "tests/metrics/test_metrics_by_hand.py",
    ),
    Planted(
        "an orphan may publish",
        "bench/claims.py",
        "claims[-1] != claim.path",
        "claims[0] is None",
        "tests/test_store.py",
    ),
    Planted(
        "the warm-up begins a step late",
        "bench/train/optimise.py",
        'schedule.warmup_from != "zero"',
        'schedule.warmup_from == "zero"',
        "tests/train/test_optimise.py",
    ),
    Planted(
        "a sample is its own negative",
        "bench/pretext/losses.py",
        "scores = scores.masked_fill(itself, NOTHING)",
        "pass",
        "tests/pretext/test_losses.py",
    ),
    Planted(
        "all training patients are labelled",
        "bench/data/split.py",
        "return fraction(patients, data.fraction, fold.name, seed, data.dataset)",
        "return patients",
        "tests/jobs/test_inputs.py",
    ),
    Planted(
        "fewer labels mean as many steps",
        "bench/plan/specs.py",
        "section.steps * (used / full if full else percent / 100)",
        "section.steps",
        "tests/plan/test_planner.py",
    ),
    Planted(
        "one person under one name is no leak",
        "bench/jobs/guarding.py",
        "for test in scans.get(scan.person, ()):",
        "for test in ():",
        "tests/jobs/test_guard.py",
    ),
    Planted(
        "weights that do not fit are taken",
        "bench/nets/transfer.py",
        "if left and share(left) < minimum:",
        "if False:",
        "tests/nets/test_transfer.py",
    ),
    Planted(
        "changed source is not noticed",
        "bench/runtime/sources.py",
        "path is None or _digest(path) != bytes_of(recorded[name])",
        "path is None",
        "tests/runtime/test_sources.py",
    ),
    Planted(
        "a later field changes every id",
        "bench/typed.py",
        "if found[name] == default:",
        "if False:",
        "tests/plan/test_golden.py",
    ),
    Planted(
        "a key of a protocol is ignored",
        "bench/typed.py",
        "if key not in known:",
        "if False:",
        "tests/protocol/test_protocol.py",
    ),
)


def exit_of(copy: Path, *tests: str) -> int:
    """Return how pytest ends in the copy."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    around = {**os.environ, "PYTHONPATH": str(copy), "BENCH_DATA": ""}
    return subprocess.run(command, cwd=copy, env=around, capture_output=True, check=False).returncode


def tried(error: Planted, copy: Path) -> str:
    """Plant one error in the copy, run its tests, take it out again; return what came of it."""
    if why := error.misfit(copy):
        return f"DOES NOT FIT ({why})"
    file = copy / error.file
    text = file.read_text()
    file.write_text(text.replace(error.before, error.after))
    try:
        return "seen" if exit_of(copy, error.tests) == 1 else "NOT SEEN"
    finally:
        file.write_text(text)


def main(word: str = "") -> int:
    """Try every error whose name holds a word; return 1 where one is not seen or does not fit."""
    errors = [error for error in ERRORS if word in error.what]
    if not errors:
        print(f"no error's name holds {word!r}")
        return 2
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        aside = shutil.ignore_patterns(".venv*", ".git", "runs", "reports", "__pycache__")
        shutil.copytree(ROOT, copy, ignore=aside)
        tests = dict.fromkeys(error.tests for error in errors if not error.misfit(copy))
        if tests and exit_of(copy, *tests) != 0:
            print("the tests fail without any error")
            return 1
        results = []
        for error in errors:
            results.append(tried(error, copy))
            print(f"{results[-1]}: {error.what} ({error.tests})", flush=True)
    return int(set(results) != {"seen"})


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
