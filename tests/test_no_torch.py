"""A plan imports no torch: it has the same ids, and what it cannot do so it does again with torch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
EVERY = [ROOT / "protocols" / "methods" / f"{dims}d.yaml" for dims in (2, 3)]  # has every method
SEEN = """\
import sys
from bench import cli
cli._leave = lambda code: None
cli.main()
print(hasattr(sys.modules['torch'], '__file__'))
"""
OWN = """\
from dataclasses import dataclass

import torch

from bench.method import Figure, Method, MethodParams
from bench.ranges import Positive
from bench.source import Source

HALF = float(torch.tensor([0.25, 0.25]).sum())


class Mine(Method):
    title = "Mine"
    source = Source("nobody", "https://example.org")
    figure = Figure("total", "nothing")
    fidelity = "assumed parts"

    @dataclass(frozen=True)
    class Params(MethodParams):
        rate: Positive = HALF

    def loss(self, batch):
        return {"total": batch["crop"].mean()}
"""


def planned(*arguments, **environment):
    """Run ``bench plan`` in a process of its own; return its JSON, and whether torch itself was there."""
    command = [sys.executable, "-c", SEEN, "plan", *map(str, arguments), "--json"]
    how = {"env": {**os.environ, **environment}, "capture_output": True, "text": True}
    made = subprocess.run(command, **how, check=True, cwd=ROOT)
    shown, _, real = made.stdout.rstrip().rpartition("\n")
    jobs = json.loads(shown)["jobs"]
    for job in jobs:
        del job["estimate"]["seconds"]  # goes by how busy the machine is
    return jobs, real


def test_a_plan_of_every_method_is_the_same_without_torch(tmp_path):
    asked = (*EVERY, "--scale", "paper", "--out", tmp_path / "out")
    bare, whole = planned(*asked), planned(*asked, BENCH_TORCH="1")
    assert (bare[1], whole[1]) == ("False", "True") and len(bare[0]) > 100
    assert bare[0] == whole[0]


def test_a_method_that_calls_torch_as_it_is_defined_is_planned_with_it(tmp_path, small):
    (tmp_path / "mine.py").write_text(OWN)
    rows = {"pair": None, "mine": {"method": "mine", "network": "net"}}
    file = tmp_path / "own.yaml"
    file.write_text(yaml.safe_dump(small({"plugins": ["mine.py"], "rows": rows})))
    words = ["plan", str(file), "--json", "--out", str(tmp_path / "out")]
    command = [sys.executable, "-m", "bench", *words]
    made = subprocess.run(command, capture_output=True, text=True, check=True)
    (job,) = (j for j in json.loads(made.stdout)["jobs"] if j["kind"] == "pretrain")
    assert job["spec"]["method"]["params"]["rate"] == 0.5
