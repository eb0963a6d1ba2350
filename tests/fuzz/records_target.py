"""An output folder whose rows, manifests, claims, curves or panels are damaged, as every command reads it."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path
from typing import Any

import mutate
import numpy as np
import pandas as pd
from protocol_target import SMALL, command
from target import Target, tried

import bench.report.write
from bench import record
from bench.jobs import guard
from bench.jobs.guard import Leak
from bench.jobs.scoring import path as scores_path
from bench.protocol import read
from bench.run import Request, make_plan
from bench.show.reports import write_reports
from bench.store import Store

WORDS = ("failed", "ok", "nan", "dice", "", "x" * 3000, "../../x", "\x1b[2J", "paper", "smoke", "both_empty")
FACTS: dict[str, Any] = {
    "attempts": 1, "seconds": 12.5, "peak_memory_mb": 300.0, "steps": 6, "samples": 24, "voxels": 1000,
    "provenance": {"packages": {"bench": "0.1.0", "torch": "2.13.0", "monai": "1.6.1"}, "commit": "abc",
    "device": "cpu",
                   "threads": 1, "date": "2026-01-01 00:00:00", "source": "0123456789abcdef"},
}  # fmt: skip


class Records(Target):
    """Finished, failed, waiting and running jobs, their scores, the view and what stands beside it."""

    name, slow, seconds = "records", 500, 3.0  # a whole report, figures left out

    def __init__(self, folder: Path) -> None:
        bench.report.write.refresh = lambda plans, to: ()  # drawing takes seconds and reads nothing new
        self.protocol, self.out = folder / "p.yaml", folder / "out"
        self.protocol.write_text(SMALL)
        self.read = [read(self.protocol)]
        self.plan = make_plan(Request((self.protocol,), self.out), self.read, need_data=False)
        self.store = Store.open(self.out)
        for number, job in enumerate(self.plan.jobs):
            self._left(number, job)
        list(write_reports(self.read, self.plan, self.store))
        found = [p for p in self.out.rglob("*") if p.is_file() and "reports" not in p.parts]
        self.files = {p: p.read_bytes() for p in sorted(found)}
        self.kinds = sorted({p.name.partition("-")[0] for p in self.files})

    def _left(self, number: int, job: str) -> None:
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
            (place / "manifest.json").write_text(json.dumps({**entry, "id": job, **FACTS, "figure": figure}))
            (place / "embeddings.csv").write_text("step,std,rank\n0,0.5,4\n2,0.4,4\n")
        if made.kind == "embed":
            z = np.arange(24, dtype=np.float32).reshape(12, 2)
            np.savez(place / "embeddings.npz", tsne=z, pca=-z, group=np.zeros(12, int))
            names = {"groups": ["a"], "cases": [], "std": 0.1, "rank": 2.0}
            (place / "embeddings.json").write_text(json.dumps(names))
        if made.kind == "guard":
            (test,) = {t.dataset for t in made.spec.tests} or {"none"}
            found = [Leak("x", "c", test, "d", "content", 0.9), Leak("x", "e", test, "d", "patient")]
            guard.write(place, 5, {test: 2}, found)
        if made.kind == "evaluate":
            self._scored(place, job)

    def _scored(self, place: Path, job: str) -> None:
        images = {f"c/{k}": np.zeros((6, 5), np.uint8) for k in ("image", "reference", "prediction")}
        np.savez_compressed(place / "panels.npz", **images, **{"c/aspect": np.float32(1.0)})
        for scoring in self.plan.scoring[job]:
            rows = [
                {"case": c, "patient": c, "target": t, "metric": m, "value": 0.5, "unit": "1", "status": "ok"}
                for c in ("c", "d") for t in scoring.labels.values() for m in scoring.metrics
            ]  # fmt: skip
            pd.DataFrame(rows).to_parquet(scores_path(self.store, job, scoring), index=False)

    def once(self, rng: random.Random) -> None:
        kind = rng.choice(self.kinds)
        of_kind = [p for p in self.files if p.name.partition("-")[0] == kind]
        touched = rng.sample(of_kind, min(len(of_kind), rng.choice((1, 1, 2))))
        try:
            for path in touched:
                path.write_bytes(self._damaged(rng, path))
                if rng.random() < 0.05:
                    path.unlink()
            self._asked(rng)
        finally:
            for path in touched:
                path.write_bytes(self.files[path])

    def _damaged(self, rng: random.Random, path: Path) -> bytes:
        raw = self.files[path]
        if raw and (path.suffix == ".json" or path.name.startswith("claim")):  # a released claim is empty
            return mutate.as_json(rng, json.loads(raw))
        if path.suffix == ".csv":
            words = (*mutate.TEXTS, *map(str, mutate.FLOATS), "step,total", '"', "1,2,3,4,5")
            return raw.replace(rng.choice((b"step", b"total", b"1", b"\n", b",", b"0.4")),
                               rng.choice(words).encode("utf-8", "replace"), rng.randint(1, 3))  # fmt: skip
        if path.suffix == ".parquet" and rng.random() < 0.6:
            return _table(rng, pd.read_parquet(io.BytesIO(raw)))
        return mutate.damaged(rng, raw)

    def _asked(self, rng: random.Random) -> None:
        name, out = str(self.protocol), ["--out", str(self.out)]
        if rng.random() < 0.15:
            tried(lambda: list(write_reports(self.read, self.plan, self.store)))
            records = self.out / "records"
            for path in records.iterdir():
                path.write_bytes(self.files[path])
            return
        asked = rng.choice(
            (["status"], ["status", "--json"], ["plan", name], ["report", name], ["report", name])
        )
        command([*asked, *out])


def _table(rng: random.Random, table: pd.DataFrame) -> bytes:
    """Return a parquet file of rows that are not what records are."""
    for _ in range(rng.randint(1, 3)):
        column, kind = rng.choice(list(table.columns)), rng.randrange(8)
        if kind == 0:
            table = table.drop(columns=column)
        elif kind == 1:
            table = table.rename(columns={column: rng.choice((*record.COLUMNS, "x"))})
        elif kind == 2:
            table[column] = rng.choice((*mutate.FLOATS, *mutate.INTEGERS[:26], *WORDS, None, True, b"\xff"))
        elif kind == 3 and len(table):
            table[column] = table[column].astype(object)
            table.loc[rng.randrange(len(table)), column] = rng.choice(WORDS)
            table[column] = table[column].astype(str)
        elif kind == 4:
            table = table.iloc[: rng.randrange(3)]
        elif kind == 5:
            table[column] = pd.Categorical(table[column].astype(str))
        elif kind == 6:
            table[column] = [[1, 2]] * len(table)
        else:
            table = pd.concat([table] * rng.choice((0, 2)) or [table.iloc[:0]])
        table = table.loc[:, ~table.columns.duplicated()]
        if not len(table.columns):
            break
    buffer = io.BytesIO()
    table.reset_index(drop=True).to_parquet(buffer, index=False)
    return buffer.getvalue()
