"""Plant an error in a copy of the tree, one at a time, and say whether the test named with it sees it.

    python tests/planted.py            all of planted.yaml, minutes; exit 1 where one is not seen or misfits
    python tests/planted.py HD95       those whose name or file holds this word

Whoever makes the code or the tests shorter runs it before and after. ``tests/test_planted.py`` asks that each
error fits. Each run is a fork of this process, which has imported what takes long and nothing of bench.
"""

import os
import shutil
import sys
import tempfile
import time
from compileall import compile_dir
from pathlib import Path
from py_compile import PycInvalidationMode
from typing import NamedTuple

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
MODULES = """
torch torch.utils.data pandas pyarrow.parquet scipy.stats scipy.ndimage monai.networks monai.losses
lightning_fabric hypothesis blosc2 nibabel matplotlib.figure"""
SLOW = MODULES.split()  # to import, and nothing of bench
# as pyproject.toml says
NAMES = {"bench_methods": "methods", "bench_datasets": "datasets", "bench_files": "."}


def _text(root: Path, test: str) -> str:
    """Return a file of tests, with the suites that it takes over from bench.conformance."""
    text = (root / test).read_text()
    suites = (root / "bench" / "conformance").glob("test_*.py")
    suite_texts = [
        path.read_text() for path in suites if f"conformance.{path.stem} import *" in text
    ]
    return "\n".join([text, *suite_texts])


class Planted(NamedTuple):
    """An error: what it is, where its text stands exactly once, what replaces it, a test that must fail."""

    what: str
    file: str
    before: str
    after: str
    test: str

    def misfit(self, root: Path) -> str:
        """Say why it cannot be planted in a tree; empty where it can."""
        test, _, function = self.test.partition("::")
        for name in (self.file, test):
            if not (root / name).is_file():
                return f"{name} is not there"
        if function and f"def {function.partition('[')[0]}(" not in _text(root, test):
            return f"{test} has no {function}"
        count = (root / self.file).read_text().count(self.before)
        return "" if count == 1 else f"{self.file} holds {self.before!r} {count} times"


STATED = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text())
ERRORS = tuple(Planted(**error) for error in STATED)


def exit_of(copy: Path, *tests: str, quiet: bool = True) -> int:
    """Return how pytest ends in the copy; ``quiet``: print nothing of it."""
    sys.stdout.flush()
    if child := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.chdir(copy)
    for stream in (1, 2) if quiet else ():
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    flags = ["-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", "--assert=plain"]
    code = pytest.main([*flags, *tests])
    sys.stdout.flush()
    os._exit(code)


def tried(error: Planted, copy: Path) -> str:
    """Plant one error in the copy, run its test, take it out again; return what came of it."""
    if why := error.misfit(copy):
        return f"DOES NOT FIT ({why})"
    file = copy / error.file
    text = file.read_text()
    file.write_text(text.replace(error.before, error.after))
    try:
        return "seen" if exit_of(copy, error.test) == 1 else "NOT SEEN"
    finally:
        file.write_text(text)


def importable(tree: Path, folder: Path) -> list[str]:
    """Return the paths from which Python imports all of a tree's packages; names them in a folder."""
    names = folder / "names"
    names.mkdir(parents=True, exist_ok=True)
    for name, room in NAMES.items():
        if not (names / name).exists():
            (names / name).symlink_to(tree / room)
    return [str(tree), str(names)]


def copied(folder: Path) -> Path:
    """Copy the tree, and have this process's forks and their children import bench from the copy."""
    copy = folder / "copy"
    aside = shutil.ignore_patterns(".venv*", ".git", "runs", "build", "__pycache__")
    shutil.copytree(ROOT, copy, ignore=aside)
    sys.path[:0] = paths = importable(copy, folder)
    os.environ |= {"PYTHONPATH": os.pathsep.join(paths), "BENCH_DATA": ""}
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    # By its content, as an error and its source may be equally long and of one second.
    compile_dir(copy, quiet=2, invalidation_mode=PycInvalidationMode.CHECKED_HASH)
    for module in SLOW:
        __import__(module)
    return copy


def main(word: str = "") -> int:
    """Try every error whose name or file holds a word; return 1 where one is not seen or does not fit."""
    errors = [error for error in ERRORS if word in error.what or word in error.file]
    if not errors:
        print(f"no error's name or file holds {word!r}")
        return 2
    with tempfile.TemporaryDirectory() as folder:
        copy = copied(Path(folder))
        tests = dict.fromkeys(error.test for error in errors if not error.misfit(copy))
        if tests and exit_of(copy, *tests, quiet=False) != 0:
            print("the tests fail without any error planted")
            return 1
        sys.dont_write_bytecode, results = True, []
        for error in errors:
            began = time.monotonic()
            results.append(tried(error, copy))
            took = f"{time.monotonic() - began:.0f} s"
            print(f"{results[-1]}: {error.what} ({error.test}, {took})", flush=True)
    return int(set(results) != {"seen"})


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
