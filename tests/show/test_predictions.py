"""Which cases and slices a view of panels shows, and what stands in a picture."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from invented import row_of
from small_prepared import write_evaluated

from bench import record
from bench.errors import BenchError
from bench.protocol import Finetune, Layout, Net, Protocol, Row, View
from bench.show.predictions import Slice, level, panels, picked
from bench.store import Store
from bench.volumes.resampling import Geometry

JOBS = {name: str(n) * 16 for n, name in enumerate(("a", "b", "a10", "other"), start=1)}
SCORES = {  # case: by row; z is predicted by one row alone
    "c1": (0.9, 0.5),
    "c2": (0.6, 0.6),
    "c3": (0.1, 0.2),
    "c4": (0.8, 0.8),
    "c5": (0.6, 0.6),
    "z": (1.0,),
}


def protocol(*views, **given):
    rows = {"a": Row("scratch", "net", title="A"), "b": Row("voco", "net", title="B")}
    sections = (
        Finetune(dataset="organs", split="even", steps=1, fractions=(10, 100)),
        Finetune(dataset="others", split="even", steps=1),
    )
    return Protocol(
        "t", {"net": Net("unet3d")}, rows, sections, layout=Layout(views=views), **given
    )


def rows_of(*rows):
    return record.frame([row_of(**{"job": JOBS["a"], **row}) for row in rows])


def scored(**given):
    rows = []
    for case, values in SCORES.items():
        pairs = zip("ab", values, strict=False)
        rows += [{"row": row, "case": case, "value": value, **given} for row, value in pairs]
    return rows_of(*rows)


@pytest.mark.parametrize(
    ("pick", "given", "cases"),
    [
        ("first", {}, ["c1", "c2", "c3", "c4", "c5"]),
        ("best", {}, ["c4", "c1", "c2", "c5", "c3"]),  # means 80, 70, 60, 60, 15
        ("worst", {}, ["c3", "c2", "c5", "c1", "c4"]),
        ("median", {}, ["c1", "c2", "c5", "c3"]),  # three of five: the second and on
        ("best", {"metric": "hd", "unit": "mm"}, ["c3", "c2", "c5", "c1", "c4"]),
        ("best", {"metric": "volume_error", "unit": "ml"}, ["c3", "c2", "c5", "c1", "c4"]),
        ("best", {"metric": "other"}, []),
    ],
)
def test_cases_are_picked_by_their_mean_over_rows_in_the_first_metric(pick, given, cases):
    view = View(draw="panels", pick=pick, metrics=(given.get("metric", "dice"),))
    table = scored(**given) if given.get("metric") != "other" else scored()
    assert picked(protocol(), view, table) == cases


def test_a_case_counts_by_the_targets_that_are_named_and_by_the_mean_over_its_runs():
    table = rows_of(
        {"case": "x", "value": 0.1, "seed": 0},
        {"case": "x", "value": 0.3, "seed": 1},
        {"case": "y", "value": 0.25},
        {"case": "x", "target": "tumour", "value": 0.9},
        {"case": "y", "target": "tumour", "value": float("nan")},
        {"case": "w", "value": float("nan")},
    )
    order = {
        targets: picked(protocol(), View(draw="panels", pick="best", targets=targets), table)
        for targets in (("liver",), ("tumour",), ())
    }
    assert order == {("liver",): ["y", "x"], ("tumour",): ["x"], (): ["x", "y"]}  # 20, 25; 55, 25


@pytest.mark.parametrize(
    ("labelled", "largest", "middle"),
    [([0, 5, 9, 1, 0, 1, 0], 2, 3), ([0, 0, 3, 3], 2, 2), ([0, 0, 0, 0, 0], 2, 2)],
)
def test_a_slice_is_where_most_is_labelled_or_half_way_through(labelled, largest, middle):
    assert level(np.array(labelled), "largest") == largest
    assert level(np.array(labelled), "middle") == middle


class Cropped:
    """One case, prepared from 2 <= x < 6, 1 <= y < 3, 2 <= z < 6 at half as many planes."""

    def geometry(self, case):
        return Geometry((8, 5, 7), (2.0, 1.0, 3.0), ((2, 6), (1, 3), (2, 6)), (4, 2, 2))

    def native(self, case):
        label = np.zeros((8, 5, 7), np.uint8)
        label[3, 1, 4] = label[7, 2, 4] = 2  # the latter beyond the crop
        return label

    def volume(self, case):
        image = np.zeros((1, 4, 2, 2), np.float32)
        image[0, ..., 1] = np.arange(8).reshape(4, 2)
        return SimpleNamespace(crop=lambda start, size: image[..., start[2] : start[2] + 1])


def test_a_picture_is_on_the_native_grid_of_the_crop_and_what_is_labelled_beyond(tmp_path):
    prediction = np.zeros((8, 5, 7), np.uint8)
    prediction[2, 2, 4], prediction[3, 1, 5] = 1, 1  # the latter in another slice
    small = np.ones((2, 2, 2), np.int16)
    write_evaluated(tmp_path, JOBS["a"], "f" * 16, {"c": (small, small, prediction)})
    panel = Slice(Cropped(), "c", "largest").panel(tmp_path / JOBS["a"])
    # columns are x = 7 ... 2 (the patient's right on the left), rows y = 2, 1 (anterior up)
    assert panel.reference.tolist() == [[2, 0, 0, 0, 0, 0], [0, 0, 0, 0, 2, 0]]
    assert panel.prediction.tolist() == [[0, 0, 0, 0, 0, 1], [0] * 6]
    low, high = np.percentile(np.arange(8), (0.5, 99.5))
    grey = (np.clip((np.arange(8) - low) / (high - low), 0, 1) * 255).astype(int).reshape(4, 2)
    assert panel.image.tolist() == [[0, 0, *grey[::-1, 1]], [0, 0, *grey[::-1, 0]]]
    assert panel.aspect == 0.5 and panel.case == "c"
    void = Slice(Cropped(), "c", "largest", void=2).panel(tmp_path / JOBS["a"])
    assert not void.reference.any()


def test_a_prediction_of_another_grid_is_refused(tmp_path):
    small = np.zeros((2, 2, 2), np.uint8)
    write_evaluated(tmp_path, JOBS["a"], "f" * 16, {"c": (small.astype(np.int16), small, small)})
    with pytest.raises(BenchError, match="of another grid"):
        Slice(Cropped(), "c", "largest").panel(tmp_path / JOBS["a"])


@pytest.fixture
def left(tmp_path):
    """A store with two rows' evaluations of two cases, one at 10 % too, and their records."""
    store = Store.open(tmp_path / "out")
    label = np.zeros((4, 4, 4), np.uint8)
    label[1:3, 1:3, 2] = 1
    image = np.arange(64, dtype=np.int16).reshape(4, 4, 4)
    for number, name in enumerate(("a", "b", "a10")):
        cases = {case: (image, label, np.full_like(label, number)) for case in ("c1", "c2")}
        write_evaluated(store.jobs, JOBS[name], "e" * 16, cases)
    evaluated = [
        ("a", 100, "a", 0),
        ("b", 100, "b", 0),
        ("a", 10, "a10", 0),
        ("a", 100, "other", 1),
    ]
    rows = [
        {"row": row, "fraction": share, "job": JOBS[job], "seed": seed, "case": case, "value": 0.5}
        for row, share, job, seed in evaluated
        for case in ("c1", "c2")
    ]
    return store, rows_of(*rows)


def told(found):
    return [(p.view, p.title, p.case, int(p.prediction[0, 0])) for p in found]


PANELS = View(draw="panels")
BOTH, FIRST = replace(PANELS, rows=("b", "a"), cases=1), replace(PANELS, rows=("a",), cases=1)
VIEWS = (
    ((), [(-1, "A", "c1", 0), (-1, "B", "c1", 1), (-1, "A", "c2", 0), (-1, "B", "c2", 1)]),
    ((View(), BOTH, replace(PANELS, sections=("others",))), [(1, "B", "c1", 1), (1, "A", "c1", 0)]),
    ((replace(FIRST, fractions=(10, 100)),), [(0, "A, 10 %", "c1", 2), (0, "A, 100 %", "c1", 0)]),
)


@pytest.mark.parametrize(("views", "shown"), VIEWS)
def test_every_view_shows_its_rows_fractions_and_cases_of_the_first_run(left, views, shown):
    store, table = left
    assert told(panels(protocol(*views), table, store, {})) == shown


def test_what_is_not_on_this_machine_is_left_out(left):
    store, table = left
    (store.jobs / JOBS["b"] / "manifest.json").unlink()
    assert [p.title for p in panels(protocol(), table, store, {})] == ["A", "A"]
    (store.jobs / ("e" * 16) / "manifest.json").unlink()
    assert list(panels(protocol(), table, store, {})) == []
