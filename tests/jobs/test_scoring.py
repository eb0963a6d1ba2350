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


def boxes(*intervals):
    label = np.zeros((6, 6, 6), np.uint8)
    for value, (lo, hi) in enumerate(intervals, 1):
        label[lo:hi, 1:3, 1:3] = value
    return label


TRUTH = {"c1": boxes((0, 2), (2, 4)), "c2": boxes((0, 2), (0, 0))}
GUESS = {"c1": boxes((0, 2), (3, 5)), "c2": boxes((0, 2), (3, 4))}


class Evaluated:
    """A finished evaluate job ``e`` over a finished prepare job ``p``."""

    def __init__(self, folder, guess=GUESS, truth=TRUTH, seen=None, **prepared):
        self.store = Store.open(folder)
        for job in "ep":
            (self.store.jobs / job).mkdir()
        for frame, maps in {"prediction": guess, "prediction_prepared": seen or guess}.items():
            with PackWriter(self.store.jobs / "e", frame) as writer:
                for case, array in maps.items():
                    writer.add(case, array)
        frames = {
            case: {"image": label[None].astype(np.int16), "label": label, "native": label}
            for case, label in truth.items()
        }
        prepared = {"spacing": (1.0, 2.0, 3.0), **prepared}
        self.prepared = write_prepared(self.store.jobs / "p", frames, **prepared)
        (self.store.jobs / "e" / "manifest.json").write_text('{"needs": ["f", "p"]}')

    def scores(self, **changes):
        scoring = replace(SCORING, **changes)
        score_missing(self.store, "e", [scoring])
        rows = pd.read_parquet(path(self.store, "e", scoring))
        return rows.set_index(["case", "target", "metric"])


@pytest.fixture
def evaluated(tmp_path):
    return Evaluated(tmp_path, patients={case: f"patient of {case}" for case in TRUTH})


def test_rows_by_hand(evaluated):
    rows = evaluated.scores()
    assert rows["value"][("c1", "head", "dice")] == 1.0
    assert rows["value"][("c1", "body", "dice")] == 0.5
    assert rows["value"][("c1", "body", "hd")] == 1.0  # moved one voxel along x, of 1 mm
    assert rows["patient"][("c1", "body", "hd")] == "patient of c1"
    assert dict(rows["unit"].loc["c1"].loc["head"]) == {"dice": "1", "hd": "mm"}
    lone = rows.loc["c2"].loc["body"]
    assert set(lone["status"]) == {"empty_reference"} and lone["value"]["dice"] == 0.0
    assert np.isnan(lone["value"]["hd"])


def test_a_metric_over_all_cases_has_a_row_for_each_target_without_case_and_patient(evaluated):
    for metrics in (("dice_pooled",), ("hd", "dice_pooled", "dice")):
        rows = evaluated.scores(metrics=metrics)
        assert rows["value"][("", "head", "dice_pooled")] == 1.0
        assert rows["value"][("", "body", "dice_pooled")] == pytest.approx(2 * 4 / (8 + 4 + 8))
        assert rows["patient"][("", "body", "dice_pooled")] == ""
        assert len(rows) == 2 + 2 * 2 * (len(metrics) - 1)


def test_voxels_that_nobody_labelled_count_in_no_metric(tmp_path):
    truth = {case: label.copy() for case, label in TRUTH.items()}
    truth["c1"][4:, 1:3, 1:3] = 255  # there the prediction has a layer too many of the body
    metrics = ("dice", "hd", "dice_pooled", "dice_monai")
    values = Evaluated(tmp_path, truth=truth).scores(metrics=metrics, ignore=255)["value"]
    assert key(SCORING) != key(replace(SCORING, ignore=255))
    for metric in ("dice", "dice_monai"):
        assert values[("c1", "body", metric)] == pytest.approx(2 * 1 / (2 + 1))
    assert values[("c1", "body", "hd")] == 1.0
    assert values[("", "body", "dice_pooled")] == pytest.approx(2 * 4 / (8 + 4 + 4))


def test_a_slice_is_scored_as_a_picture(tmp_path):
    flat = np.zeros((12, 10, 1), np.uint8)
    flat[2:8, 2:8] = 1
    guess = np.roll(flat, 2, 0)
    slices = Evaluated(tmp_path, {"c1": guess}, {"c1": flat}, spacing=(1.0, 2.0, 5.0))
    expected = binary.assd(guess[..., 0], flat[..., 0], (1.0, 2.0))
    value = slices.scores(metrics=("assd",))["value"]["c1", "head", "assd"]
    assert value == pytest.approx(expected) and expected > 1


def test_a_sheared_scan_is_scored_by_the_vectors_of_its_voxels(tmp_path):
    # y and z are 60 degrees apart; 2 voxels of 1 x 2 x 4 sin 60 mm are too many
    edges = ((1.0, 0.0, 0.0), (0.0, 2.0, 0.0), (0.0, 2.0, 4 * 0.75**0.5))
    truth, guess = np.zeros((2, 6, 6, 6), np.uint8)
    truth[1:3, 1:3, 1:3] = guess[1:3, 1:3, 1:3] = guess[1:3, 1, 3] = 1
    grid = {"spacing": (1.0, 2.0, 4.0), "edges": edges}
    sheared = Evaluated(tmp_path, {"c1": guess}, {"c1": truth}, **grid)
    assert sheared.prepared.geometry("c1").native_edges == edges
    values = sheared.scores(metrics=("volume_error", "hd"))["value"]["c1"]
    assert values["head", "volume_error"] == pytest.approx(2 * 1 * 2 * 4 * 0.75**0.5 / 1000)
    # from (y, z) = (1, 3) the nearest is (2, 2): one back along z, one on along y, and so right below
    assert values["head", "hd"] == pytest.approx(4.0 * 0.75**0.5)


def test_validation_loops_score_the_prepared_grid_as_monai_does(tmp_path):
    from monai.metrics import DiceMetric

    seen = {"c1": boxes((0, 1), (2, 4)), "c2": boxes((0, 2), (3, 4))}
    rows = Evaluated(tmp_path, seen=seen).scores(metrics=("dice", "dice_monai"))
    loop = rows.xs("dice_monai", level="metric")["value"]
    assert loop["c1"].tolist() == [pytest.approx(2 * 4 / (4 + 8)), 1.0]
    # MONAI's NaN: not in the reference
    assert loop["c2"]["head"] == 1.0 and np.isnan(loop["c2"]["body"])
    assert rows["value"][("c1", "head", "dice")] == 1.0  # of the original grid, as ever
    peer = DiceMetric(include_background=False)
    for case in TRUTH:
        maps = [np.stack([label[case] == value for value in range(3)]) for label in (seen, TRUTH)]
        one_hot = [torch.tensor(labels)[None] for labels in maps]
        assert loop[case].mean() == pytest.approx(float(peer(*one_hot).nanmean()))


def test_regions_take_the_place_of_labels(evaluated):
    rows = evaluated.scores(regions={"whole": (1, 2)}, metrics=("dice",))
    assert set(rows.index.get_level_values("target")) == {"whole"}
    assert rows["value"][("c1", "whole", "dice")] == pytest.approx(2 * 12 / (16 + 16))


def test_each_way_of_scoring_has_its_file_and_is_done_once(evaluated, monkeypatch):
    store, other = evaluated.store, replace(SCORING, metrics=("iou",))
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
    store = Store.open(tmp_path)
    for job in "pe":
        (store.jobs / job).mkdir()
    image = {"image": np.zeros((1, 2, 2, 1), np.int16)}
    classes = {"c1": 0, "c2": 1, "c3": 1}
    owners = {"c1": "p1", "c2": "p2", "c3": "p2"}
    frames = dict.fromkeys(classes, image)
    write_prepared(store.jobs / "p", frames, patients=owners, classes=classes)
    ill = {"c1": 0.4, "c2": 0.3, "c3": 0.8}
    save(store.jobs / "e", {case: np.array([1 - p, p]) for case, p in ill.items()})
    (store.jobs / "e" / "manifest.json").write_text('{"needs": ["f", "p"]}')
    return store


def test_a_classification_has_a_row_per_case_or_one_without_case_and_patient(graded):
    score_missing(graded, "e", [GRADES])
    rows = pd.read_parquet(path(graded, "e", GRADES))
    columns = ["case", "patient", "target", "metric", "value", "unit", "status"]
    assert rows[columns].values.tolist() == [
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
    assert rows["value"].isna().tolist() == [True]
    assert rows["status"].tolist() == ["empty_reference"] and key(only) != key(GRADES)
