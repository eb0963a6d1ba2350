"""An output folder in which every job is done, without its work."""

import json
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
import pytest

from bench.jobs.guard import spec as guard
from bench.jobs.scoring import path as scores_path
from bench.plan import Plan
from bench.protocol import Protocol, read
from bench.record import SCORES
from bench.store import Store

FIGURE = {"term": "retrieval", "says": "positives found first", "chance": "guess", "rises": True}
CHANGES = {
    "networks": {"flat": {"network": "vgg19", "preset": "tiny", "crop": [32, 32, 1]}},
    "rows": {"again": {"method": "simclr3d", "network": "net", "finetune": {"batch": 4}}},
    "baseline": "unequal",
    "embeddings": {
        "samples": 12,
        "beside": {
            "imagenet": {"network": "flat", "init": "vgg19.pth", "title": "VGG-19 (ImageNet)"}
        },
    },
}


@dataclass
class Finished:
    """A protocol, its plan and a folder that holds what its jobs would have left."""

    protocol: Protocol
    plan: Plan
    store: Store

    def folder(self, kind, number=0):
        """Return the folder of one job."""
        return self.store.jobs / [j.id for j in self.plan.jobs.values() if j.kind == kind][number]

    def again(self, kind, number=0, **facts):
        """Change what a job's manifest says; None takes a key away."""
        file = self.folder(kind, number) / "manifest.json"
        known = {**json.loads(file.read_text()), **facts}
        file.write_text(json.dumps({k: v for k, v in known.items() if v is not None}))


@pytest.fixture
def finished(plan_of, tmp_path):
    """Return a function from changes to the protocol to a finished folder."""

    def finish(changes=CHANGES, weights=False):
        if weights:
            (tmp_path / "vgg19.pth").write_bytes(b"not read")
        plan, store = plan_of(changes, data=None), Store.open(tmp_path / "out")
        made = Finished(read(tmp_path / "test0.yaml"), plan, store)
        for number, job in enumerate(plan.jobs.values()):
            leave(made, number, job)
        return made

    return finish


@pytest.fixture
def made(finished):
    return finished()


def leave(made, number, job):
    folder = made.store.jobs / job.id
    folder.mkdir()
    manifest = {**job.plain(), "seconds": 1.0, "attempts": 1, "peak_memory_mb": 1.0}
    if job.kind == "pretrain":
        manifest["figure"] = FIGURE
        curve(100).to_csv(folder / "curve.csv", index=False)
        pd.DataFrame(LOOKS).to_csv(folder / "embeddings.csv", index=False)
    if job.kind == "finetune":
        curve(250)[["step", "lr", "total"]].to_csv(folder / "curve.csv", index=False)
    if job.kind == "guard":
        guard.write(folder, guard.GuardResult(5, {t.dataset: 2 for t in job.spec.tests}, ()))
    if job.kind == "embed":
        cloud(folder, [d.dataset for d in job.spec.data], number)
    if job.kind == "evaluate":
        for scoring in made.plan.scoring[job.id]:
            names = ("case", "target", "metric")
            rows = product("cd", scoring.labels.values(), scoring.metrics)
            table = pd.DataFrame(rows, columns=names).assign(value=0.5 + number / 100)
            table = table.assign(patient=table["case"], unit="1", status="ok")[list(SCORES)]
            table.to_parquet(scores_path(made.store, job.id, scoring), index=False)
    (folder / "manifest.json").write_text(json.dumps(manifest))


LOOKS = {"step": [0, 50, 100], "std": [0.5, 0.4, 0.3], "rank": [4.0, 6.0, 8.0]}


def curve(steps):
    """Return a curve whose figure is its step over 100, its chance 0.25."""
    step = np.arange(1, steps + 1)
    return pd.DataFrame(
        {"step": step, "lr": 1e-4, "total": 100.0 / step, "retrieval": step / 100, "guess": 0.25}
    )


def cloud(folder, groups, seed, each=12):
    """Leave what an embed job leaves."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(len(groups)), each)
    points = (rng.normal(size=(len(group), 2)) + 5 * group[:, None]).astype(np.float32)
    np.savez(folder / "embeddings.npz", tsne=30 * points, pca=points[:, ::-1], group=group)
    cases = [f"c{i}" for i in range(len(group))]
    names = {"groups": groups, "cases": cases, "std": 0.25, "rank": 3.5}
    (folder / "embeddings.json").write_text(json.dumps(names))
