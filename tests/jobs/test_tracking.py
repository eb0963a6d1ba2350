"""Learning curves: what a look finds, that it changes nothing, and that a stop leaves no trace in it."""

import shutil
from dataclasses import replace

import blobs
import numpy as np
import pandas as pd
import pytest
from small_prepared import write_prepared
from torch import nn

from bench.jobs.finetune import run as finetuning
from bench.jobs.finetune.spec import TRACKED, Tracked, target_name
from bench.jobs.finetune.supervised import Judge
from bench.jobs.finetune.tracking import Curve, ValidationCache
from bench.nets import transfer
from bench.protocol.sections import Tuning

NETS = {"graded_blobs": ("unet2d", (32, 32, 1)), "outlined_blobs": ("unet2d", (16, 16, 1))}
TARGETS = {"graded_blobs": (), "outlined_blobs": ((1,),)}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Return jobs of both data sets, prepared."""
    folder = tmp_path_factory.mktemp("tracked")
    with pytest.MonkeyPatch.context() as patch:
        blobs.register(patch, folder)
        root = blobs.write(folder / "data", 12)
        jobs = {name: blobs.Jobs(folder / name, name, root) for name in NETS}
        for one in jobs.values():
            one.done(one.prepare())
        yield jobs


def maps(tmp_path, truth):
    """Return prepared label maps of 8 x 8 x 4 voxels, each with so many planes of label 1 and of 2."""
    image, labels = np.zeros((1, 8, 8, 4), np.int16), {c: planes(*n) for c, n in truth.items()}
    arrays = {c: {"image": image, "label": m, "native": m} for c, m in labels.items()}
    return write_prepared(tmp_path, arrays, patients={case: f"of {case}" for case in truth})


def planes(one, two=0):
    found = np.zeros((8, 8, 4), np.uint8)
    found[:one], found[one : one + two] = 1, 2
    return found


@pytest.mark.parametrize("empty", ["default", "brats"])
def test_every_target_of_a_label_map_is_scored_by_hand(tmp_path, empty):
    prepared = maps(tmp_path, {"a": (2, 2), "b": (4, 0)})

    def predict(network, seen):
        seen("a", planes(2, 4))
        seen("b", planes(1))
        return 0.25

    tracked = Tracked("val", 1, ((1, 2), (2,)), empty)
    look = ValidationCache(predict, prepared, 2, tracked).at(1, nn.Identity())
    found = [(r["case"], r["patient"], r["target"], r["value"], r["status"]) for r in look.rows]
    both = (1.0 if empty == "brats" else None, "both_empty")
    assert found == [
        ("a", "of a", "1+2", 2 * 4 / (6 + 4), "ok"),
        ("a", "of a", "2", 2 * 2 / (4 + 2), "ok"),
        ("b", "of b", "1+2", 2 * 1 / (1 + 4), "ok"),
        ("b", "of b", "2", *both),
    ]
    assert look.mean == 0.25 and {r["metric"] for r in look.rows} == {"dice"}
    assert [target_name(v) for v in tracked.targets] == ["1+2", "2"]


def test_of_classes_accuracy_has_a_row_for_each_case_and_kappa_one_for_all(tmp_path):
    image = {"image": np.zeros((1, 4, 4, 4), np.int16)}
    truth = {"a": 0, "b": 1, "c": 2}
    prepared = write_prepared(tmp_path, dict.fromkeys(truth, image), classes=truth)

    def predict(network, seen):
        for case, found in {"a": 0, "b": 1, "c": 1}.items():
            seen(case, np.eye(3)[found])
        return 2 / 3

    rows = ValidationCache(predict, prepared, 3, Tracked("val", 1)).at(1, nn.Identity()).rows
    hits = [(r["case"], r["value"]) for r in rows if r["metric"] == "accuracy"]
    assert hits == [("a", 1.0), ("b", 1.0), ("c", 0.0)]
    (kappa,) = [r for r in rows if r["metric"] == "qwk"]
    # Observed distances: one of 1. By chance: found 1 x 0 and 2 x 1 against 0, 1, 2, over three cases.
    assert kappa["value"] == pytest.approx(1 - 3 * 1 / (0 + 1 + 4 + 2 * (1 + 0 + 1)))
    assert kappa["case"] == ""


def test_who_chooses_and_who_keeps_look_once_at_the_same_cases(tmp_path):
    seen = []
    predict = lambda network: seen.append(1) or 0.5  # noqa: E731
    looks = ValidationCache(predict, maps(tmp_path, {"a": (1, 0)}), 1, None)
    judge = Judge(Tuning(steps=8, val_every=0.25), looks.mean, lambda *said: None)
    curve = Curve(Tracked("val", 3, ((1,),)), 8, looks)
    for step in range(1, 9):
        judge.at(step, nn.Identity())
        curve.at(step, nn.Identity())
    assert [step for step, _ in curve.points] == [3, 6, 8]  # the last one too
    assert len(seen) == len({2, 4, 6, 8} | {3, 6, 8})


EVERY = [
    (1.0, 3, [1, 2, 3]),
    (2.0, 5, [2, 4, 5]),
    (5.0, 5, [5]),
    (None, 4, [4]),
    (0.4, 2, [1, 2]),
    # epochs that are no whole number of steps do not drift
    (5.25, 42, [5, 10, 16, 21, 26, 32, 37, 42]),
]


@pytest.mark.parametrize(("every", "last", "points"), EVERY)
def test_how_many_looks_are_forecast_are_had(every, last, points):
    tracked = Tracked("val", every)
    assert [s for s in range(1, last + 1) if tracked.due(s, last)] == points
    assert tracked.looks(last) == len(points)


def tuned(jobs, track, **recipe):
    """Return a fine-tuning of three steps, which keeps a curve or none."""
    name, crop = NETS[jobs.name]
    job = jobs.finetune(name, crop, steps=3, batch=2, **recipe)
    if track:
        spec = replace(job.spec.finetune, track=Tracked(track, 2, TARGETS[jobs.name]))
        job = replace(job, spec=replace(job.spec, finetune=spec))
    return job


def weights(folder):
    return {p.name: p.read_bytes() for p in folder.glob("*.safetensors")}


def bare(folder):
    """Return the tensors alone: a file's header has the id of its job."""
    return {p.name: transfer.read(p)[0] for p in sorted(folder.glob("*.safetensors"))}


@pytest.mark.parametrize(
    ("name", "part", "recipe"),
    [
        ("outlined_blobs", "val", {"select": "best_val", "val_every": 0.7, "frozen": 0.5}),
        ("outlined_blobs", "test", {"select": "best_val", "val_every": 0.4}),
        ("graded_blobs", "train", {}),
    ],
)
def test_a_curve_changes_no_bit_of_the_weights_and_a_stop_after_every_step_no_bit_of_it(
    name, part, recipe, base, tmp_path
):
    jobs = base[name]
    shutil.copytree(jobs.store.root, tmp_path / "out")
    pieces = blobs.Jobs(tmp_path / "out", name, jobs.root)
    plain, kept = (jobs.done(tuned(jobs, track, **recipe)) for track in ("", part))
    assert plain != kept and not (plain / TRACKED).exists()
    same, looked = bare(plain), bare(kept)
    assert same.keys() == looked.keys()
    assert all((same[f][k] == looked[f][k]).all() for f in same for k in same[f])
    stops = 0
    while pieces.do(tuned(pieces, part, **recipe), stopping=lambda: True).state == "stopped":
        stops += 1
    again = pieces.store.jobs / kept.name
    assert stops == 2 and (again / TRACKED).read_bytes() == (kept / TRACKED).read_bytes()
    assert weights(again) == weights(kept)
    rows = pd.read_parquet(kept / TRACKED)
    assert rows["step"].unique().tolist() == [2, 3] and rows["value"].notna().all()
    assert {*rows["metric"]} == ({"dice"} if TARGETS[name] else {"accuracy", "qwk"})


def test_a_curve_ends_where_training_ends_early(base, monkeypatch):
    def found(network, prepared, cases, seen=None, **more):
        for case in cases if seen else ():
            seen(case, prepared.label(case))
        return 0.5

    monkeypatch.setattr(finetuning, "mean_dice", found)
    jobs = base["outlined_blobs"]
    folder = jobs.done(tuned(jobs, "test", select="best_val", val_every=0.4, patience=0.3))
    assert jobs.store.manifest(folder.name)["steps"] == 2  # looked at 1, and at 2 in vain
    rows = pd.read_parquet(folder / TRACKED)
    assert rows["step"].unique().tolist() == [2] and (rows["value"] == 1).all()
