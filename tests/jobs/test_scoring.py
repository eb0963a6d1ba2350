"""Scores of kept label maps: rows by hand, one file per way of scoring."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from medpy.metric import binary
from small_prepared import write_prepared

from bench.data.cache import PackWriter
from bench.jobs.class_scores import save
from bench.jobs.scoring import Scoring, key, path, score_missing
from bench.metrics import METRICS
from bench.record import SCORES, read_rows
from bench.store import Store

SCORING = Scoring(
    "segmentation", ("dice", "hd"), "medpy", "default", {"1": "head", "2": "body"}, {}
)


def boxes(*places):
    found = np.zeros((6, 6, 6), np.uint8)
    for value, (lo, hi) in enumerate(places, 1):
        found[lo:hi, 1:3, 1:3] = value
    return found


@pytest.fixture
def store(tmp_path):
    """A finished evaluate job ``e`` over a finished prepare job ``p`` of two cases."""
    found = Store.open(tmp_path)
    truth = {"c1": boxes((0, 2), (2, 4)), "c2": boxes((0, 2), (0, 0))}
    guess = {"c1": boxes((0, 2), (3, 5)), "c2": boxes((0, 2), (3, 4))}
    (found.jobs / "e").mkdir()
    (found.jobs / "p").mkdir()
    with PackWriter(found.jobs / "e", "prediction") as writer:
        for case, array in guess.items():
            writer.add(case, array)
    frames = {
        c: {"image": a[None].astype(np.int16), "label": a, "native": a} for c, a in truth.items()
    }
    patients = {case: f"patient of {case}" for case in truth}
    write_prepared(found.jobs / "p", frames, patients=patients, spacing=(1.0, 2.0, 3.0))
    (found.jobs / "e" / "manifest.json").write_text('{"needs": ["f", "p"]}')
    return found


def scores(store, scoring):
    score_missing(store, "e", [scoring])
    return pd.read_parquet(path(store, "e", scoring)).set_index(["case", "target", "metric"])


def test_rows_by_hand(store):
    found = scores(store, SCORING)
    assert found["value"][("c1", "head", "dice")] == 1.0
    assert found["value"][("c1", "body", "dice")] == 0.5
    assert found["value"][("c1", "body", "hd")] == 1.0  # moved one voxel along x, of 1 mm
    assert found["patient"][("c1", "body", "hd")] == "patient of c1"
    assert dict(found["unit"].loc["c1"].loc["head"]) == {"dice": "1", "hd": "mm"}
    lone = found.loc["c2"].loc["body"]
    assert set(lone["status"]) == {"empty_reference"} and lone["value"]["dice"] == 0.0
    assert np.isnan(lone["value"]["hd"])


def test_a_metric_over_all_cases_has_a_row_for_each_target_without_case_and_patient(store):
    for metrics in (("dice_pooled",), ("hd", "dice_pooled", "dice")):
        found = scores(store, replace(SCORING, metrics=metrics))
        assert found["value"][("", "head", "dice_pooled")] == 1.0
        assert found["value"][("", "body", "dice_pooled")] == pytest.approx(2 * 4 / (8 + 4 + 8))
        assert found["patient"][("", "body", "dice_pooled")] == ""
        assert len(found) == 2 + 2 * 2 * (len(metrics) - 1)


def test_voxels_that_nobody_labelled_count_in_no_metric(store):
    truth = {"c1": boxes((0, 2), (2, 4)), "c2": boxes((0, 2), (0, 0))}  # as in the store
    truth["c1"][4:, 1:3, 1:3] = 255  # there the prediction has a layer too many of the body
    frames = {
        c: {"image": a[None].astype(np.int16), "label": a, "native": a} for c, a in truth.items()
    }
    (store.jobs / "q").mkdir()
    write_prepared(store.jobs / "q", frames)
    (store.jobs / "e" / "manifest.json").write_text('{"needs": ["f", "q"]}')
    seen = {"c1": boxes((0, 2), (3, 5)), "c2": boxes((0, 2), (3, 4))}
    with PackWriter(store.jobs / "e", "prediction_prepared") as writer:
        for case, array in seen.items():
            writer.add(case, array)
    asked = replace(SCORING, metrics=("dice", "hd", "dice_pooled", "dice_monai"), ignore=255)
    assert key(asked) != key(replace(asked, ignore=None))
    found = scores(store, asked)["value"]
    for metric in ("dice", "dice_monai"):
        assert found[("c1", "body", metric)] == pytest.approx(2 * 1 / (2 + 1))
    assert found[("c1", "body", "hd")] == 1.0
    assert found[("", "body", "dice_pooled")] == pytest.approx(2 * 4 / (8 + 4 + 4))


def test_a_slice_is_scored_as_a_picture(store):
    flat = np.zeros((12, 10, 1), np.uint8)
    flat[2:8, 2:8] = 1
    frames = {"c1": {"image": flat[None].astype(np.int16), "label": flat, "native": flat}}
    (store.jobs / "q").mkdir()
    write_prepared(store.jobs / "q", frames, spacing=(1.0, 2.0, 5.0))
    (store.jobs / "g").mkdir()
    (store.jobs / "g" / "manifest.json").write_text('{"needs": ["f", "q"]}')
    with PackWriter(store.jobs / "g", "prediction") as writer:
        writer.add("c1", np.roll(flat, 2, 0))
    score_missing(store, "g", [replace(SCORING, metrics=("assd",))])
    found = pd.read_parquet(path(store, "g", replace(SCORING, metrics=("assd",)))).set_index(
        "target"
    )
    expected = binary.assd(np.roll(flat, 2, 0)[..., 0], flat[..., 0], (1.0, 2.0))
    assert found["value"]["head"] == pytest.approx(expected) and expected > 1


def test_a_sheared_scan_is_scored_by_the_vectors_of_its_voxels(store):
    # y and z are 60 degrees apart; 2 voxels of 1 x 2 x 4 sin 60 mm are too many
    edges = ((1.0, 0.0, 0.0), (0.0, 2.0, 0.0), (0.0, 2.0, 4 * 0.75**0.5))
    truth, guess = np.zeros((2, 6, 6, 6), np.uint8)
    truth[1:3, 1:3, 1:3] = guess[1:3, 1:3, 1:3] = guess[1:3, 1, 3] = 1
    for name, lean in (("q", edges), ("r", None)):
        (store.jobs / name).mkdir()
        frames = {"c1": {"image": truth[None].astype(np.int16), "label": truth, "native": truth}}
        found = write_prepared(store.jobs / name, frames, spacing=(1.0, 2.0, 4.0), edges=lean)
        assert found.geometry("c1").native_edges == lean
    (store.jobs / "g").mkdir()
    (store.jobs / "g" / "manifest.json").write_text('{"needs": ["f", "q"]}')
    with PackWriter(store.jobs / "g", "prediction") as writer:
        writer.add("c1", guess)
    asked = replace(SCORING, metrics=("volume_error", "hd"))
    score_missing(store, "g", [asked])
    rows = pd.read_parquet(path(store, "g", asked)).set_index(["target", "metric"])["value"]
    assert rows["head", "volume_error"] == pytest.approx(2 * 1 * 2 * 4 * 0.75**0.5 / 1000)
    # from (y, z) = (1, 3) the nearest is (2, 2): one back along z, one on along y, and so right below
    assert rows["head", "hd"] == pytest.approx(4.0 * 0.75**0.5)


def test_validation_loops_score_the_prepared_grid_as_monai_does(store):
    from monai.metrics import DiceMetric

    truth = {"c1": boxes((0, 2), (2, 4)), "c2": boxes((0, 2), (0, 0))}  # as in the store
    seen = {"c1": boxes((0, 1), (2, 4)), "c2": boxes((0, 2), (3, 4))}
    with PackWriter(store.jobs / "e", "prediction_prepared") as writer:
        for case, array in seen.items():
            writer.add(case, array)
    found = scores(store, replace(SCORING, metrics=("dice", "dice_monai")))
    loop = found.xs("dice_monai", level="metric")["value"]
    assert loop["c1"].tolist() == [pytest.approx(2 * 4 / (4 + 8)), 1.0]
    assert loop["c2"]["head"] == 1.0 and np.isnan(
        loop["c2"]["body"]
    )  # MONAI's NaN: not in the reference
    assert found["value"][("c1", "head", "dice")] == 1.0  # of the original grid, as ever
    peer = DiceMetric(include_background=False)
    for case in truth:
        one_hot = [
            torch.stack([torch.tensor(m[case] == v) for v in range(3)])[None] for m in (seen, truth)
        ]
        assert loop[case].mean() == pytest.approx(float(peer(*one_hot).nanmean()))


def test_regions_take_the_place_of_labels(store):
    found = scores(store, replace(SCORING, regions={"whole": (1, 2)}, metrics=("dice",)))
    assert set(found.index.get_level_values("target")) == {"whole"}
    assert found["value"][("c1", "whole", "dice")] == pytest.approx(2 * 12 / (16 + 16))


def test_each_way_of_scoring_has_its_file_and_is_done_once(store, monkeypatch):
    other = replace(SCORING, metrics=("iou",))
    assert len({key(SCORING), key(other), key(replace(SCORING, empty="skip"))}) == 3
    score_missing(store, "e", [SCORING, other])
    assert path(store, "e", SCORING).exists() and path(store, "e", other).exists()
    monkeypatch.setattr("bench.jobs.scoring._scores", None)
    score_missing(store, "e", [SCORING, other])  # nothing is scored again
    monkeypatch.setattr("bench.jobs.scoring.VERSION", 99)
    assert not path(store, "e", SCORING).exists()
    before = key(other), key(SCORING)
    monkeypatch.setitem(METRICS, "iou", replace(METRICS["iou"], version=99))
    assert key(other) != before[0] and key(SCORING) == before[1]


GRADES = Scoring(
    "classification", ("accuracy", "auc"), "medpy", "default", {"0": "well", "1": "ill"}, {}
)


@pytest.fixture
def graded(tmp_path):
    """A finished evaluate job ``e`` of a classification of three cases."""
    found = Store.open(tmp_path)
    for job in "pe":
        (found.jobs / job).mkdir()
    image = {"image": np.zeros((1, 2, 2, 1), np.int16)}
    classes = {"c1": 0, "c2": 1, "c3": 1}
    owners = {"c1": "p1", "c2": "p2", "c3": "p2"}
    write_prepared(
        found.jobs / "p", dict.fromkeys(classes, image), patients=owners, classes=classes
    )
    ill = {"c1": 0.4, "c2": 0.3, "c3": 0.8}
    save(found.jobs / "e", {case: np.array([1 - p, p]) for case, p in ill.items()})
    (found.jobs / "e" / "manifest.json").write_text('{"needs": ["f", "p"]}')
    return found


def test_a_classification_has_a_row_per_case_or_one_without_case_and_patient(graded):
    score_missing(graded, "e", [GRADES])
    rows = pd.read_parquet(path(graded, "e", GRADES))
    assert rows[
        ["case", "patient", "target", "metric", "value", "unit", "status"]
    ].values.tolist() == [
        ["c1", "p1", "all", "accuracy", 1.0, "1", "ok"],
        ["c2", "p2", "all", "accuracy", 0.0, "1", "ok"],
        ["c3", "p2", "all", "accuracy", 1.0, "1", "ok"],
        ["", "", "all", "auc", 0.5, "1", "ok"],  # c1's 0.4 is above c2's 0.3, below c3's 0.8
    ]


def test_undefined_is_null_in_the_file_and_reads_as_a_record(graded):
    save(graded.jobs / "e", {"c2": np.array([0.7, 0.3]), "c3": np.array([0.9, 0.1])})
    only = replace(GRADES, metrics=("auc",))
    score_missing(graded, "e", [only])
    rows = read_rows(path(graded, "e", only), SCORES)
    assert rows["value"].isna().tolist() == [True] and rows["status"].tolist() == [
        "empty_reference"
    ]
    assert key(only) != key(GRADES)
