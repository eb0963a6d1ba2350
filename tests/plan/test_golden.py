"""The ids of all jobs of all protocols, pinned: what a job is changes on purpose only.

``python tests/plan/test_golden.py`` writes ``golden.json`` anew, after a version was raised or a protocol
edited.
"""

import hashlib
import json
import os
from pathlib import Path

import pytest

from bench import run

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = Path(__file__).with_name("golden.json")
SCALES = ("paper", "pilot", "smoke")
PROTOCOLS = sorted(
    p.relative_to(ROOT).as_posix()
    for p in (ROOT / "protocols").rglob("*.yaml")
    if "settings" not in p.parts
)


def found(protocol, out):
    """Return by scale and kind how many jobs there are without any data, and a digest of their ids."""
    told = {}
    for scale in SCALES:
        request = run.Request((ROOT / protocol,), out, scale)
        ids = {}
        for job in run.make_plan(request, request.read(), need_data=False).jobs.values():
            ids.setdefault(job.kind, []).append(job.id)
        told[scale] = {
            kind: [len(some), hashlib.sha256(" ".join(sorted(some)).encode()).hexdigest()[:16]]
            for kind, some in ids.items()
        }
    return told


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_ids_are_what_they_were(protocol, tmp_path):
    assert found(protocol, tmp_path) == json.loads(GOLDEN.read_text())[protocol]


if __name__ == "__main__":
    os.environ.pop("BENCH_DATA", None)  # ids of data that lies here are nobody else's
    lines = (f"{json.dumps(p)}: {json.dumps(found(p, Path('nowhere')))}" for p in PROTOCOLS)
    GOLDEN.write_text("{\n" + ",\n".join(lines) + "\n}\n")
