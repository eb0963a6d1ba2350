"""What a study does, stage by stage, on scans as many and as large as asked: what ``growth.py`` measures.

A stage is called with a folder, where it finds what those before it left, and a size; it does what it needs
beforehand and returns the act that is measured.
"""

import json
import os
import pickle
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from machine import fake_slurm

NAME = "scans"  # of the data set and of the protocol


@dataclass(frozen=True)
class Size:
    """How large a study is: scans are ``side``^3 voxels with ``classes`` labels, crops ``crop``^3.

    ``methods``: rows that are pretrained; with 0 there is one, from scratch. ``workers``: processes that
    share what goes by cases, 0 for none.
    """

    cases: int = 10
    side: int = 32
    classes: int = 2
    crop: int = 32
    steps: int = 8
    methods: int = 0
    seeds: int = 1
    workers: int = 0

    def protocol(self) -> dict[str, Any]:
        rows = {
            f"simclr{n}": {
                "method": "simclr3d",
                "network": "net",
                "params": {"temperature": 0.1 + n / 1000},
            }
            for n in range(self.methods)
        } or {"scratch": {"method": "scratch", "network": "net"}}
        common = {"steps": self.steps, "batch": 2, "precision": "fp32"}
        tuned = {"dataset": NAME, "split": "even", "seeds": list(range(self.seeds)), **common}
        return {
            "title": "Growth",
            "name": NAME,
            "scale": "smoke",
            "scales": {"smoke": {}},
            "rows": rows,
            "networks": {"net": {"network": "unet3d", "preset": "tiny", "crop": [self.crop] * 3}},
            "baseline": "none",
            "metrics": ["dice", "hd95"],
            "pretrain": {"datasets": [{"dataset": NAME}], **common},
            "finetune": [tuned],
        }


Act = Callable[[], Any]  # what is measured


def scans(folder: Path, size: Size) -> Act:
    """Write scans of one anatomy, each warped by a smooth field of its own, in MSD layout."""
    from scipy.ndimage import gaussian_filter

    from bench.phantoms.organs import write_nifti

    root, rng, cube = folder / "data" / NAME, np.random.default_rng(0), (size.side,) * 3

    def field() -> np.ndarray:
        smooth = gaussian_filter(
            rng.standard_normal(cube, dtype=np.float32), size.side / 12, mode="wrap"
        )
        return smooth / smooth.std()

    def write() -> None:
        shared = field()
        for number in range(size.cases):
            body = shared + 0.5 * field()
            edges = np.quantile(body, np.linspace(0.5, 1, size.classes, endpoint=False))
            image = 200 * body + rng.normal(0, 20, cube)
            labels = np.digitize(body, edges)
            for part, array, kind in (("images", image, "int16"), ("labels", labels, "uint8")):
                write_nifti(
                    root / f"{part}Tr" / f"case_{number:06d}.nii.gz", array, (1, 1, 1), kind
                )
        described(root, size)

    return write


def hippocampi(folder: Path, size: Size) -> Act:
    """Copy so many real scans: how long two are compared depends on how alike they look."""
    source, root = Path(os.environ["BENCH_DATA"], "msd04_hippocampus"), folder / "data" / NAME
    stems = sorted(p.name for p in (source / "labelsTr").glob("[!.]*.nii.gz"))[: size.cases]

    def copy() -> None:
        for part in ("imagesTr", "labelsTr"):
            (root / part).mkdir(parents=True)
            for number, stem in enumerate(stems):
                shutil.copy(source / part / stem, root / part / f"case_{number:06d}.nii.gz")
        described(root, size)

    return copy


def links(folder: Path, size: Size) -> Act:
    """Write one scan and link it under as many names: enough for a plan, which opens headers alone."""
    from prepare import scans as linked

    return lambda: linked(folder / "data" / NAME, size.cases, (8, 8, 8))


def described(root: Path, size: Size) -> None:
    pairs = [
        {k: f"./{k}sTr/case_{n:06d}.nii.gz" for k in ("image", "label")} for n in range(size.cases)
    ]
    labels = {"0": "background"} | {str(n): f"part{n}" for n in range(1, size.classes + 1)}
    about = {"name": NAME, "labels": labels, "modality": {"0": "CT"}, "test": [], "training": pairs}
    (root / "dataset.json").write_text(json.dumps(about))


def plan(folder: Path, size: Size) -> Act:
    """Plan, describe the jobs, and leave them for the stages that do them."""
    from bench import run
    from bench.store import Store

    built, file = planned(folder, size)
    store = Store.open(folder / "out")  # a plan remembers what it read where this is

    def act() -> None:
        result = built()
        left = run.todo(result, store)
        run.describe(result, store, left)
        every = [(result.jobs[j].kind, j, run.options(result, j, size.workers)) for j in left]
        file.write_bytes(pickle.dumps(every))

    return act


def planned(folder: Path, size: Size) -> tuple[Callable[[], Any], Path]:
    """Return what plans, and the file that says which jobs there are."""
    from bench import run

    path = folder / "protocol.yaml"
    path.write_text(yaml.safe_dump(size.protocol()))
    request = run.Request((path,), folder / "out", data=folder / "data")
    return lambda: run.make_plan(request, request.read(), need_data=True), folder / "jobs.pickle"


def work(kind: str) -> Callable[[Path, Size], Act]:
    """Return the stage that does all jobs of a kind; an evaluation is scored by a stage of its own."""

    def stage(folder: Path, size: Size) -> Act:
        from dataclasses import replace

        import torch

        from bench.runtime.execute import execute

        torch.set_num_threads(1)
        every = pickle.loads((folder / "jobs.pickle").read_bytes())

        def act() -> None:
            for _, job, options in (first for first in every if first[0] == kind):
                done = execute(str(folder / "out"), job, replace(options, scoring=()))
                assert done.state == "done", done.reason

        return act

    return stage


def score(folder: Path, size: Size) -> Act:
    from bench.jobs.scoring import score_missing
    from bench.store import Store

    every = pickle.loads((folder / "jobs.pickle").read_bytes())
    store = Store(folder / "out")
    return lambda: [score_missing(store, job, options.scoring) for _, job, options in every]


def invent(folder: Path, size: Size) -> Act:
    """Leave every job as done, and scores of 40 patients beside every evaluation, which nobody computed."""
    import io

    import pandas as pd

    from bench import digest
    from bench.jobs import scoring
    from bench.record import SCORES
    from bench.store import Store

    store, rng, built = Store(folder / "out"), np.random.default_rng(0), planned(folder, size)[0]()
    people = [f"case_{n:06d}" for n in range(40)]
    pattern = product(people, range(size.classes), ("dice", "hd95"))
    case, target, metric = zip(*pattern, strict=True)
    rows = pd.DataFrame({"case": case, "patient": case, "target": [f"part{t + 1}" for t in target]})
    rows["metric"], rows["unit"] = metric, ["1" if m == "dice" else "mm" for m in metric]
    rows["status"] = "ok"

    def act() -> None:
        for job in built.jobs.values():
            at = store.jobs / job.id
            at.mkdir()
            manifest = {**job.plain(), "id": job.id, "attempts": 1, "seconds": 1.0}
            manifest["provenance"] = {}
            (at / digest.NAME).write_text(digest.sealed(at, manifest))
            for first in built.scoring.get(job.id, []):
                buffer = io.BytesIO()
                table = rows.assign(value=rng.uniform(0.5, 0.9, len(rows)))
                table[[*SCORES]].to_parquet(buffer, index=False)
                name = f"scores-{scoring.key(first)}-{digest.short(buffer.getvalue())}.parquet"
                (at / name).write_bytes(buffer.getvalue())

    return act


def gather(folder: Path, size: Size) -> Act:
    """Collect the rows of all cells into the table that a report is drawn from."""
    from bench import records
    from bench.store import Store

    built, store = planned(folder, size)[0](), Store(folder / "out")
    return lambda: records.save(records.collect(built, store, NAME), store, NAME)


def report(figures: bool) -> Callable[[Path, Size], Act]:
    """Return the stage that draws the report of those rows: tables, verdicts and page, or figures as well."""

    def stage(folder: Path, size: Size) -> Act:
        from bench.protocol import read
        from bench.record import COLUMNS, read_rows
        from bench.report import write as report

        protocol = read(folder / "protocol.yaml", "smoke", drawn=True)

        def act() -> None:
            table = read_rows(folder / "out" / "records" / f"{NAME}.parquet", COLUMNS)
            report.write(protocol, table, folder / "drawn", figures=figures)

        return act

    return stage


def likeliest(folder: Path, size: Size) -> Act:
    """Choose the pairs that pass a guard's screen, of as many scans as others; their scores are drawn."""
    from bench.leaks import search

    scores = np.zeros((size.cases, size.cases, 3), np.float32)
    scores[..., 0] = np.random.default_rng(0).random(scores.shape[:2], np.float32)
    return lambda: search.likeliest(scores)


def submit(folder: Path, size: Size) -> Act:
    """Hand all jobs to an ``sbatch`` that answers at once."""
    from bench import run
    from bench.executors.slurm.controller import Controller
    from bench.executors.slurm.profile import Profile
    from bench.store import Store

    fake_slurm(folder)
    built, store = planned(folder, size)[0](), Store(folder / "out")

    def start(job: str) -> Any:
        run.describe(built, store, [job])
        return run.options(built, job)

    def act() -> None:
        controller = Controller(
            built, store, run.todo(built, store), Profile(), lambda outcome: None, start
        )
        controller.attach()
        controller.step()

    return act


def status(folder: Path, size: Size) -> Act:
    from bench.show.status import as_text, status
    from bench.store import Store

    store = Store.open(folder / "out", create=False)
    return lambda: as_text(status(store))


KINDS = ("prepare", "guard", "pretrain", "finetune", "evaluate")
STAGES: dict[str, Callable[[Path, Size], Act]] = {
    "scans": scans,
    "hippocampi": hippocampi,
    "links": links,
    "plan": plan,
    "plan again": plan,
    **{kind: work(kind) for kind in KINDS},
    "score": score,
    "invent": invent,
    "submit": submit,
    "likeliest": likeliest,
    "gather": gather,
    "status": status,
    "tables": report(False),
    "report": report(True),
}
