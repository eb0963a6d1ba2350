"""Scores of kept label maps: rows by hand, one file per way of scoring."""

from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest

from bench.data.cache import PackWriter
from bench.data.geometry import Geometry
from bench.jobs.scoring import key, path, score_missing
from bench.store import Store

SCORING = {
    "metrics": ["dice", "hd"], "convention": "medpy", "empty": "default",
    "labels": {"1": "head", "2": "body"}, "regions": {},
}  # fmt: skip


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
    for job, pack, arrays in (("p", "native", truth), ("e", "prediction", guess)):
        (found.jobs / job).mkdir()
        with PackWriter(found.jobs / job, pack) as writer:
            for case, array in arrays.items():
                writer.add(case, array, spacing=[1.0, 2.0, 3.0])
    grid = Geometry((6, 6, 6), (1.0, 2.0, 3.0), ((0, 6),) * 3, (1, 1, 1))
    with PackWriter(found.jobs / "p", "image") as writer:
        for case in truth:
            about = {"patient": f"patient of {case}", "geometry": asdict(grid)}
            writer.add(case, np.zeros((1, 1, 1, 1), np.int16), **about)
    with PackWriter(found.jobs / "p", "label"):
        np.savez(found.jobs / "p" / "foreground.npz")
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


def test_regions_take_the_place_of_labels(store):
    found = scores(store, {**SCORING, "regions": {"whole": [1, 2]}, "metrics": ["dice"]})
    assert set(found.index.get_level_values("target")) == {"whole"}
    assert found["value"][("c1", "whole", "dice")] == pytest.approx(2 * 12 / (16 + 16))


def test_each_way_of_scoring_has_its_file_and_is_done_once(store, monkeypatch):
    other = {**SCORING, "metrics": ["iou"]}
    assert len({key(SCORING), key(other), key({**SCORING, "empty": "skip"})}) == 3
    assert key(dict(reversed(SCORING.items()))) == key(SCORING)
    score_missing(store, "e", [SCORING, other])
    assert path(store, "e", SCORING).exists() and path(store, "e", other).exists()
    monkeypatch.setattr("bench.jobs.scoring._scores", None)
    score_missing(store, "e", [SCORING, other])  # nothing is scored again


def test_a_new_version_of_scoring_is_another_file(monkeypatch):
    before = key(SCORING)
    monkeypatch.setattr("bench.jobs.scoring.VERSION", 99)
    assert key(SCORING) != before
