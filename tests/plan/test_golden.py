"""Every protocol plans without data, its rows have cells, and the ids of all jobs are pinned.

``python tests/plan/test_golden.py`` writes ``golden.json`` anew, after a version was raised or a protocol
edited.
"""

import hashlib
import json
import os
from pathlib import Path

import pytest

from bench import run
from bench.metrics.request import Request, fitting
from bench.protocol import row_of

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = Path(__file__).with_name("golden.json")
SCALES = ("paper", "pilot", "smoke")
PROTOCOLS = sorted(
    p.relative_to(ROOT).as_posix()
    for p in (ROOT / "protocols").rglob("*.yaml")
    if "settings" not in p.parts
)


def planned(path, out):
    """Return a protocol at each scale, and its plan without any data."""
    requests = {scale: run.Request((ROOT / path,), out, scale) for scale in SCALES}
    read = {scale: each.read() for scale, each in requests.items()}
    return {s: (*read[s], run.make_plan(r, read[s], need_data=False)) for s, r in requests.items()}


def digests(plans):
    """Return by scale and kind how many jobs there are, and a digest of their ids."""
    by_scale = {}
    for scale, (_, plan) in plans.items():
        ids = {}
        for job in plan.jobs.values():
            ids.setdefault(job.kind, []).append(job.id)
        by_scale[scale] = {
            kind: [len(some), hashlib.sha256(" ".join(sorted(some)).encode()).hexdigest()[:16]]
            for kind, some in ids.items()
        }
    return by_scale


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_ids_are_what_they_were(protocol, tmp_path):
    plans = planned(protocol, tmp_path)
    assert digests(plans) == json.loads(GOLDEN.read_text())[protocol]
    for read, plan in plans.values():
        maps = fitting(read.metrics, "segmentation") or ("dice",)  # none is of label maps
        Request.checked(maps, read.convention, read.empty or "default")
        cells = plan.cells[read.name]
        assert {c.row.removesuffix(row_of(read, c.row)[1]) for c in cells} == {*read.rows}
        assert {c.columns["dataset"] for c in cells} == {t.dataset for t in read.finetune}


if __name__ == "__main__":
    os.environ.pop("BENCH_DATA", None)  # ids of data that lies here are nobody else's
    ids = {p: json.dumps(digests(planned(p, Path("nowhere")))) for p in PROTOCOLS}
    GOLDEN.write_text("{\n" + ",\n".join(f"{json.dumps(p)}: {ids[p]}" for p in ids) + "\n}\n")
