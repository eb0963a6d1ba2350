"""Preparing data sets: throughput, memory against the number of cases, and 100 000 cases. Prints tables.

    python tools/speed/prepare.py [--cases 10 40 160] [--loaders 2] [--many 100000]

Cases are hard links to one synthetic 160 x 160 x 80 scan with its label, as .nii.gz in MSD layout.
Memory is the peak of the largest process that works, by the system's own count. Volumes per second
of processor time are those of one core, whatever else runs.
"""

import gc
import json
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from options import options
from scipy.ndimage import gaussian_filter

from bench import jobs
from bench.data import contents, index
from bench.data.contents import Contents
from bench.data.prepared import Prepared
from bench.data.roots import Roots, adapter
from bench.dataset import Case
from bench.jobs.context import RunOptions
from bench.phantoms.organs import write_nifti
from bench.runtime.execute import execute
from bench.store import Store

SHAPE, LINKS = (160, 160, 80), 30_000  # links to one file, of which some systems allow 65 000
RECIPE = {"spacing": [1.0, 1.0, 1.5], "window": [-175.0, 250.0]}


def scans(root: Path, count: int, shape: tuple[int, ...]) -> float:
    """Write a data set; return the bytes of one case's voxels."""
    rng = np.random.default_rng(0)
    image = gaussian_filter(rng.normal(size=shape), 3) * 4000 + rng.normal(0, 12, shape)
    for folder, array, kind in (("imagesTr", image, "int16"), ("labelsTr", image > 150, "uint8")):
        (root / folder).mkdir(parents=True)
        for number in range(count):
            path = root / folder / f"case_{number:06d}.nii.gz"
            if number % LINKS == 0:
                write_nifti(first := path, array, (0.8, 0.8, 1.5), kind)
            else:
                os.link(first, path)
    pairs = [{k: f"./{k}sTr/case_{n:06d}.nii.gz" for k in ("image", "label")} for n in range(count)]
    labels = {"0": "background", "1": "a"}
    about = {"name": "x", "labels": labels, "modality": {"0": "CT"}, "test": []}
    (root / "dataset.json").write_text(json.dumps({**about, "training": pairs}))
    return 3.0 * np.prod(shape)


def prepare(pipe: Connection, root: Path, out: Path, loaders: int) -> None:
    """Run the job in this process; tell seconds, processor seconds, peak memory, bytes on disk."""
    dataset = adapter(root.name, Roots(root.parent))
    digest = Contents(None).digest(dataset.cases(root))
    spec = {"dataset": root.name, "dataset_version": 1, "recipe": RECIPE, "contents": digest}
    job, store = jobs.read({"kind": "prepare", "spec": spec, "needs": []}, "here"), Store.open(out)
    store.write_spec(job.id, {"job": job.plain()})
    began = time.perf_counter()
    outcome = execute(str(out), job.id, RunOptions(roots={root.name: str(root)}, loaders=loaders))
    seconds = time.perf_counter() - began
    assert outcome.state == "done", outcome.reason
    who = resource.RUSAGE_CHILDREN if loaders else resource.RUSAGE_SELF
    used = resource.getrusage(who)
    size = sum(p.stat().st_size for p in (store.jobs / job.id).glob("*.b2"))
    pipe.send((seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, size))


def apart(function: Callable[..., None], *given: Any) -> Any:
    """Return what a function sends from a process of its own."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=function, args=(theirs, *given))
    process.start()
    result = ours.recv()
    process.join()
    return result


def throughput(folder: Path, counts: list[int], loaders: int) -> None:
    """Print volumes and megabytes per second, and memory, for each number of cases."""
    print(
        "| cases | processes | volumes/s | of one core | MB/s of voxels | peak memory (MB) | MB on disk |"
    )
    print("|--:|--:|--:|--:|--:|--:|--:|")
    for count in counts:
        root = folder / f"task{count}"
        voxels = scans(root, count, SHAPE)
        wall, used, peak, size = apart(prepare, root, folder / f"out{count}", loaders)
        rates = f"{count / wall:.2f} | {count / used:.2f} | {voxels * count / wall / 1e6:.1f}"
        print(f"| {count} | {loaders} | {rates} | {peak:.0f} | {size / 1e6:.1f} |", flush=True)
    print(f"\nIn short: {count / used:.1f} volumes a second of one core, {peak:.0f} MB")


def timed(what: str, call: Callable[[], Any]) -> Any:
    began, used = time.perf_counter(), time.process_time()
    result = call()
    wall, used = time.perf_counter() - began, time.process_time() - used
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"| {what} | {wall:.2f} | {used:.2f} | {peak:.0f} |", flush=True)
    return result


def opening(pipe: Connection, folder: Path, count: int) -> None:
    """Open a prepared data set of ``count`` cases whose frames nobody reads."""
    rows = np.zeros(count, index.ROW)
    sizes = {"shape": 64, "native_shape": 64, "native_spacing": 1}
    for name, value in ({"class": -1} | sizes | {"step": 1}).items():
        rows[name] = value
    rows["box"] = (0, 64)
    for number in range(len(index.FRAMES)):
        rows["frames"]["length"][:, number] = 10
    (folder / "shard-0000.b2").write_bytes(bytes(10))
    ids = [f"case_{number:06d}" for number in range(count)]
    index.write(folder, rows, [Case(i, i, ()) for i in ids], ["shard-0000.b2"], {}, {})
    result = timed("open the index", lambda: Prepared(folder))
    timed("list its cases", result.cases)
    pipe.send(None)


def planning(pipe: Connection, folder: Path, count: int) -> None:
    """Look at a data set of ``count`` tiny scans whose contents are remembered, as a plan does."""
    gc.disable()  # as plan does
    root, memory = folder / "many", folder / "contents.json"
    scans(root, count, (8, 8, 8))
    dataset = adapter(root.name, Roots(folder))
    cases = timed("adapter: list the cases", lambda: dataset.cases(root))
    timed("adapter: look for missing files", lambda: dataset.missing(root, cases))
    files = [str(file) for case in cases for file in (*case.images, case.label)]
    listed = {file: f"{contents._stamp(file)} {'0' * 64} 8x8x8x1" for file in files}
    memory.write_text(json.dumps(listed))
    del listed
    result = timed("contents: open the memory", lambda: Contents(memory))
    timed("contents: headers", lambda: result.header_faults(cases, 1))
    timed("contents: digest", lambda: result.digest(cases))
    pipe.send(None)


def main() -> None:
    given = options(__doc__, cases=[10, 40, 160], loaders=2, many=100_000)
    with tempfile.TemporaryDirectory() as name:
        throughput(Path(name), given.cases, given.loaders)
        head = (
            f"\n| {given.many} cases | s | s of processor | peak memory (MB) |\n|---|--:|--:|--:|"
        )
        print(head, flush=True)
        for step in (opening, planning):
            if given.many:
                apart(step, Path(name), given.many)


if __name__ == "__main__":
    main()
