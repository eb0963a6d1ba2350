"""An output folder whose rows, manifests, claims, curves or panels are damaged, as every command reads it."""

import json

import numpy as np
import pandas as pd
from hypothesis import strategies as st
from protocol_target import SMALL, command
from small_prepared import write_prepared
from target import Folder, tried

import bench.report.write
from bench.data.cache import PackWriter
from bench.jobs.guard import spec as guard
from bench.jobs.guard.spec import Leak
from bench.jobs.scoring import path as scores_path
from bench.protocol import read
from bench.run import Request, make_plan
from bench.show.reports import write_reports
from bench.store import Store

FACTS = {
    "attempts": 1,
    "seconds": 12.5,
    "peak_memory_mb": 300.0,
    "steps": 6,
    "samples": 24,
    "voxels": 1000,
    "provenance": {
        "packages": {"bench": "0.1.0", "torch": "2.13.0", "monai": "1.6.1"},
        "commit": "abc",
        "device": "cpu",
        "threads": 1,
        "date": "2026-01-01 00:00:00",
        "source": "0123456789abcde",
    },
}


class Records(Folder):
    """Finished, failed, waiting and running jobs, their scores, the view and what stands beside it."""

    seconds = 3.0  # a whole report, figures left out

    def make(self):
        # drawing takes seconds and reads nothing new
        bench.report.write.refresh = lambda plans, to: ()
        self.protocol, self.out = self.folder / "p.yaml", self.folder / "out"
        self.protocol.write_text(SMALL)
        self.planned = [read(self.protocol)]
        self.plan = make_plan(Request((self.protocol,), self.out), self.planned, need_data=False)
        self.store = Store.open(self.out)
        for number, job in enumerate(self.plan.jobs):
            self._left(number, job)
        list(write_reports(self.planned, self.plan, self.store))

    def _left(self, number, job):
        made = self.plan.jobs[job]
        entry = made.plain()
        if made.kind == "finetune" and number % 3 == 0:
            self.store.write_spec(job, {"job": entry})
            claim = self.store.claim(job)
            self.store.tell(job, 3, 6, 0.5)
            if number % 2 == 0:
                self.store.fail(claim, "out of memory", "memory")
            return
        place = self.store.jobs / job
        place.mkdir()
        (place / "manifest.json").write_text(json.dumps({**entry, "id": job, **FACTS}))
        if made.kind == "pretrain":
            (place / "curve.csv").write_text("step,total,lr\n1,0.5,1e-4\n2,0.4,1e-4\n")
            figure = {"term": "total", "says": "loss", "chance": "lr", "rises": False}
            (place / "manifest.json").write_text(
                json.dumps({**entry, "id": job, **FACTS, "figure": figure})
            )
            (place / "embeddings.csv").write_text("step,std,rank\n0,0.5,4\n2,0.4,4\n")
        if made.kind == "prepare":
            label = np.ones((6, 5, 4), np.uint8)
            frames = {"image": label[None].astype(np.int16), "label": label, "native": label}
            write_prepared(place, {"c": frames, "d": frames})
        if made.kind == "embed":
            z = np.arange(24, dtype=np.float32).reshape(12, 2)
            np.savez(place / "embeddings.npz", tsne=z, pca=-z, group=np.zeros(12, int))
            names = {"groups": ["a"], "cases": [], "std": 0.1, "rank": 2.0}
            (place / "embeddings.json").write_text(json.dumps(names))
        if made.kind == "guard":
            (test,) = {t.dataset for t in made.spec.tests} or {"none"}
            found = Leak("x", "c", test, "d", "content", 0.9), Leak("x", "e", test, "d", "patient")
            guard.write(place, guard.GuardResult(5, {test: 2}, found))
        if made.kind == "evaluate":
            self._scored(place, job)

    def _scored(self, place, job):
        with PackWriter(place, "prediction") as pack:
            for case in ("c", "d"):
                pack.add(case, np.ones((6, 5, 4), np.uint8))
        for scoring in self.plan.scoring[job]:
            rows = [
                {
                    "case": c,
                    "patient": c,
                    "target": t,
                    "metric": m,
                    "value": 0.5,
                    "unit": "1",
                    "status": "ok",
                }
                for c in ("c", "d")
                for t in scoring.labels.values()
                for m in scoring.metrics
            ]
            pd.DataFrame(rows).to_parquet(scores_path(self.store, job, scoring), index=False)

    def group(self, path):
        return (
            "" if "reports" in path.parts or path == self.protocol else path.name.partition("-")[0]
        )

    def read(self, draw, path):
        if draw(st.integers(0, 19)) == 19:
            path.unlink()
        name = str(self.protocol)
        asked = (
            ["status"],
            ["status", "--json"],
            ["plan", name],
            ["report", name],
            ["report", name],
            None,
        )
        arguments = draw(st.sampled_from(asked))
        if arguments is not None:
            command([*arguments, "--out", str(self.out)])
            return
        tried(lambda: list(write_reports(self.planned, self.plan, self.store)))
        for view in (self.out / "records").iterdir():
            view.write_bytes(self.files[view])
