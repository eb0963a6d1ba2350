"""Read damaged input, many times over, in a child of bounded memory.

    python tests/fuzz/run.py --target nifti --count 100000 --seed 0
    python tests/fuzz/run.py --target nifti --seed 0 --first 4711 --count 1    one again, with its traceback

Every execution depends on (target, seed, number) alone. It may succeed or raise ``BenchError``; another
exception, a warning, more processor time than the target allows (a second), memory above the limit, a hang
or a crash of the child is a failure, named by its number. Exits 1 where there was any.
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

TARGETS = {
    "metaimage": ("volumes_target", "MetaImage"),
    "nifti": ("volumes_target", "Nifti"), "nrrd": ("volumes_target", "Nrrd"), "msd": ("volumes_target",
    "Msd"),
    "protocol": ("protocol_target", "Protocols"), "records": ("records_target", "Records"),
    "checkpoints": ("checkpoints_target", "Checkpoints"),
}  # fmt: skip
HANG = 20.0  # seconds of wall time after which an execution is killed; the machine may be busy
MEMORY = 1536 << 20  # address space above what the imports took
ROOM = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: PTH112 - a constant


def target(name: str) -> Any:
    """Return the class of a target; its imports come with it."""
    module, kind = TARGETS[name]
    return getattr(importlib.import_module(module), kind)


def _child(pipe: Connection, name: str, folder: str, numbers: range, seed: int) -> None:
    os.environ.update({"OMP_NUM_THREADS": "1", "BENCH_DATA": ""})
    os.chdir(folder)
    made = target(name)(Path(folder))
    made.once(random.Random("warm"))  # lazy imports are no execution's memory or time
    _strict()
    before = _bound()
    pipe.send(("ready",))
    for number in numbers:
        pipe.send(("at", number))
        began = time.process_time()
        try:
            made.once(random.Random(f"{name}:{seed}:{number}"))
        except BaseException as error:
            pipe.send(("failed", number, _kind(error), traceback.format_exc()))
        took = time.process_time() - began
        if took > made.seconds:
            pipe.send(("failed", number, "slow", f"{took:.2f} s of processor time"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    pipe.send(("end", before, peak))


def _strict() -> None:
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", category=ResourceWarning)


def _bound() -> int:
    """Bound the address space from here on; return the peak memory so far in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def _kind(error: BaseException) -> str:
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f"{os.sep}bench{os.sep}" in f.filename]
    last = f"{Path(frames[-1].filename).name}:{frames[-1].name}" if frames else "?"
    return f"{type(error).__name__} in {last}"


def run(name: str, numbers: range, seed: int) -> dict[str, Any]:
    """Execute a target's ``numbers``; a child that crashes or hangs is replaced after the number."""
    began, failures, peak, base = time.monotonic(), [], 0, 0
    first = numbers.start
    while first < numbers.stop and len(failures) < 2000:
        with tempfile.TemporaryDirectory(prefix="bench-fuzz-", dir=ROOM) as folder:
            ours, theirs = multiprocessing.Pipe(duplex=False)
            context = multiprocessing.get_context("fork")
            child = context.Process(
                target=_child, args=(theirs, name, folder, range(first, numbers.stop), seed)
            )
            child.start()
            theirs.close()
            at, found, memory = _followed(ours, child, first)
        failures += found
        base, peak = max(base, memory[0]), max(peak, memory[1])
        first = numbers.stop if memory[1] else at + 1
    return {"target": name, "seed": seed, "executions": len(numbers),
    "seconds": round(time.monotonic() - began, 1),
            "base_mb": base, "peak_mb": peak, "failures": failures}  # fmt: skip


def _followed(pipe: Connection, child: Any, at: int) -> tuple[int, list[Any], tuple[int, int]]:
    """Return the last number begun, the failures, and the memory before and at its peak (0 if it died)."""
    found: list[Any] = []
    ready = False
    try:
        while pipe.poll(HANG * (1 if ready else 5)):
            said = pipe.recv()
            ready = True
            if said[0] == "ready":
                continue
            if said[0] == "at":
                at = said[1]
            elif said[0] == "failed":
                found.append(said[1:])
            else:
                child.join()
                return at, found, (said[1], said[2])
        os.kill(child.pid, signal.SIGKILL)
        found.append((at, "hang", f"nothing for {HANG:g} s"))
    except EOFError:
        child.join()
        if not ready:
            raise RuntimeError("the target itself cannot be set up") from None
        found.append((at, "crash", f"the child ended with {child.exitcode}"))
    child.join()
    return at, found, (0, 0)


def main() -> int:
    """Run targets, print one line each and one per distinct failure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--target", choices=[*TARGETS, "all"], default="all")
    parser.add_argument("--count", type=int, default=None, help="executions; by default the slow part's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    results = []
    for name in TARGETS if given.target == "all" else [given.target]:
        count = given.count if given.count is not None else target(name).slow
        results.append(run(name, range(given.first, given.first + count), given.seed))
        if not given.json:
            _tell(results[-1], given.seed)
    if given.json:
        print(json.dumps(results))
    return 1 if any(r["failures"] for r in results) else 0


def _tell(result: dict[str, Any], seed: int) -> None:
    kinds: dict[str, list[Any]] = {}
    for failure in result["failures"]:
        kinds.setdefault(failure[1], []).append(failure)
    told = "{target}: {executions} executions, {seconds} s, {base_mb} MB before, {peak_mb} MB at the peak"
    print(
        told.format(**result),
        f"{len(result['failures'])} failures of {len(kinds)} kinds",
        sep="; ",
        flush=True,
    )
    for kind, found in sorted(kinds.items(), key=lambda k: -len(k[1])):
        number, _, text = found[0]
        print(
            f"  {len(found)} x {kind}: --target {result['target']} --seed {seed} --first {number} --count 1"
        )
        print("    " + "\n    ".join(text.strip().splitlines()[-12:]))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    sys.exit(main())
