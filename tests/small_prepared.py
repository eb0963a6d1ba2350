"""A prepared data set out of arrays, written as the job writes it, and what an evaluation left of it."""

import json
import tempfile
from pathlib import Path

from bench.data.cache import PackWriter, compress
from bench.data.prepared import Prepared
from bench.data.shards import Gathered, Made, Writer, join
from bench.dataset import Case
from bench.volumes.resampling import Geometry

CONTENT = "00" * 16


def write_prepared(
    folder,
    cases,
    *,
    patients=None,
    classes=None,
    spacing=(1.0, 1.0, 1.0),
    edges=None,
    step=1.0,
    offset=0.0,
):
    """Write ``cases``: case id -> frame name -> array; ``image`` (C, X, Y, Z) must be among them."""
    with tempfile.TemporaryDirectory() as location:
        scratch = Path(location) / "shards"
        with Writer(scratch) as writer:
            for case, arrays in cases.items():
                shape = arrays["image"].shape[1:]
                native = arrays.get("native", arrays["image"][0]).shape
                grid = Geometry(native, spacing, tuple((0, n) for n in native), shape, edges)
                frames = {name: compress(array) for name, array in arrays.items()}
                writer.add(Made(case, CONTENT, grid, step, offset, frames))
        result = Gathered(scratch, dict.fromkeys(cases, CONTENT))
        listed = [Case(c, (patients or {}).get(c, c), (), (classes or {}).get(c)) for c in cases]
        join(result, folder, listed)
    return Prepared(folder)


def write_evaluated(jobs, job, basis, cases, spacing=(1.0, 1.0, 1.0)):
    """Write an evaluation and the preparation under it: case id -> image, reference, prediction (X, Y, Z)."""
    (jobs / job).mkdir(parents=True)
    with PackWriter(jobs / job, "prediction") as pack:
        for case, (_, _, prediction) in cases.items():
            pack.add(case, prediction)
    (jobs / job / "manifest.json").write_text(
        json.dumps({"kind": "evaluate", "needs": ["f" * 16, basis]})
    )
    if not (jobs / basis).exists():
        (jobs / basis).mkdir()
        frames = {
            c: {"image": image[None], "label": reference, "native": reference}
            for c, (image, reference, _) in cases.items()
        }
        write_prepared(jobs / basis, frames, spacing=spacing)
        (jobs / basis / "manifest.json").write_text(json.dumps({"kind": "prepare"}))
