"""Plant an error in a copy of the tree, one at a time, and say whether the tests named beside it see it.

    python tests/planted.py            all, a minute or two; exit 1 where one is not seen

Whoever makes the tests fewer runs it before and after.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ERRORS = (  # what, file, text, what stands in its place, tests that must fail
    ("a fraction is cut, not rounded", "bench/data/split.py",
     "len(ranking) / 100 + 0.5", "len(ranking) / 100",
     "tests/data/test_split.py"),
    ("HD95 is HD90", "bench/metrics/value.py", "np.concatenate([forward, backward]), 95",
     "np.concatenate([forward, backward]), 90", "tests/metrics/test_metrics_by_hand.py"),
    ("an orphan may publish", "bench/store.py", "claims[-1] != claim.path", "claims[0] is None",
     "tests/test_store.py"),
    ("the warm-up begins a step late", "bench/train/optimise.py", 'schedule.warmup_from != "zero"',
     'schedule.warmup_from == "zero"', "tests/train/test_optimise.py"),
    ("a sample is its own negative", "bench/pretext/losses.py",
     "scores = scores.masked_fill(itself, NOTHING)", "pass", "tests/pretext/test_losses.py"),
    ("all training patients are labelled", "bench/jobs/inputs.py",
     "patients = splits.fraction(patients, data.fraction, data.split, seed, data.dataset)",
     "patients = list(patients)", "tests/jobs/test_inputs.py"),
    ("fewer labels mean as many steps", "bench/plan/specs.py",
     "section.steps * (used / full if full else percent / 100)", "section.steps",
     "tests/plan/test_planner.py"),
    ("one person under one name is no leak", "bench/jobs/guarding.py",
     "for test in scans.get(scan.person, ()):", "for test in ():", "tests/jobs/test_guard.py"),
    ("weights that do not fit are taken", "bench/nets/transfer.py", "if receipt.share < minimum:",
     "if False:", "tests/nets/test_transfer.py"),
    ("changed source is not noticed", "bench/runtime/sources.py",
     "path is None or _digest(path) != bytes_of(recorded[name])", "path is None",
     "tests/runtime/test_sources.py"),
    ("a later field changes every id", "bench/typed.py",
     "_default(f) if f.metadata.get(SPARSE) else _Nothing", "_Nothing", "tests/plan/test_golden.py"),
    ("a key of a protocol is ignored", "bench/typed.py", "if key not in known:", "if False:",
     "tests/protocol/test_protocol.py"),
)  # fmt: skip


def exit_of(copy: Path, *tests: str) -> int:
    """Return how pytest ends in the copy."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    around = {**os.environ, "PYTHONPATH": str(copy), "BENCH_DATA": ""}
    return subprocess.run(command, cwd=copy, env=around, capture_output=True, check=False).returncode


def seen(error: tuple[str, ...], copy: Path) -> bool:
    """Plant one error in the copy, run its tests, and take it out again."""
    what, name, text, other, tests = error
    file = copy / name
    before = file.read_text()
    assert before.count(text) == 1, f"{what}: {name} holds {text!r} {before.count(text)} times"
    file.write_text(before.replace(text, other))
    try:
        return exit_of(copy, tests) == 1
    finally:
        file.write_text(before)


def main() -> int:
    """Try every error; return how many were not seen, as an exit status."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        aside = shutil.ignore_patterns(".venv", ".git", "runs", "reports", "__pycache__")
        shutil.copytree(ROOT, copy, ignore=aside)
        assert exit_of(copy, *dict.fromkeys(error[4] for error in ERRORS)) == 0, "they fail without any error"
        missed = 0
        for error in ERRORS:
            found = seen(error, copy)
            missed += not found
            print(f"{'seen' if found else 'NOT SEEN'}: {error[0]} ({error[4]})", flush=True)
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
