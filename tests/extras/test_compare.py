"""What two runs share, what moved between them, and what of it is beyond noise."""

import json
import shutil
from itertools import product

import numpy as np
import pandas as pd
import pytest
from one_line import refusal

from bench import record
from bench.cli import main
from bench.extras.compare.changed_cells import cells
from bench.store import Store

ROWS = {"scratch": "none", "pair": "m"}  # row: what it was pretrained on
PATIENTS, SEEDS = [f"p{i}" for i in range(20)], (0, 1, 2)


def score(row, patient, seed, target):
    """Return a score between 0.6 and 0.9 that patients and runs differ in."""
    return 0.6 + 0.01 * (PATIENTS.index(patient) + seed) + 0.005 * len(row) + 0.001 * len(target)


SAME = {  # in every row of a table
    "protocol": "m",
    "scale": "pilot",
    "section": "s",
    "dataset": "d",
    "split": "even",
    "split_hash": "abc",
    "fraction": 100,
    "n_train": 5,
    "fold": 0,
    "convention": "medpy/default",
    "status": "ok",
    "params": "{}",
}


def table(seeds=SEEDS, pretrain_seeds=(0,), **columns):
    keys = ["row", "pretrain_seed", "seed", "patient", "target", "metric"]
    varied = (ROWS, pretrain_seeds, seeds, PATIENTS, ("liver", "spleen"), ("dice", "hd95"))
    rows = []
    for values in product(*varied):
        row = {**dict.fromkeys(record.COLUMNS, ""), **SAME, **dict(zip(keys, values, strict=True))}
        name, p, seed, patient, target, metric = values
        row |= {"job": f"{name}{p}{seed}", "method": name, "pretrain": ROWS[name], "case": patient}
        far = metric == "hd95"
        row |= {"unit": "mm" if far else "1"}
        rows.append(
            row | {"value": score(name, patient, seed, target) * (10 if far else 1)} | columns
        )
    return record.frame(rows)


def moved(base, by, noise=0.005, **where):
    """Return records with some values moved, a little differently for each."""
    found, at = base.copy(), np.ones(len(base), bool)
    for column, value in where.items():
        at &= found[column].eq(value).to_numpy()
    jitter = np.random.default_rng(0).normal(0, noise, at.sum())
    found.loc[at, "value"] += by + jitter
    return found


@pytest.fixture
def two(tmp_path, capsys):
    """Return a function that leaves two runs and compares them: exit code, what was printed, the error."""

    def compared(a, b, *flags, json_b=None):
        for name, rows in (("a", a), ("b", b)):
            folder = Store.open(tmp_path / name).root / "records"
            rows.to_parquet(folder / "m.parquet", index=False)
            said = {"provenance": {"torch": "2.13.0", "device": "one"}}
            (folder / "m.json").write_text(json.dumps(json_b if name == "b" and json_b else said))
        code = main(["compare", str(tmp_path / "a"), str(tmp_path / "b"), *flags])
        return code, *capsys.readouterr()

    return compared


def test_equal_runs_are_equal_to_the_bit_and_the_least_change_is_not(two):
    code, said, _ = two(table(), table().sample(frac=1, random_state=0))
    assert code == 0
    assert "8 cells compared: 8 equal to the bit, 0 moved, 0 of them beyond noise" in said
    least = table()
    least.loc[0, "value"] = np.nextafter(least.loc[0, "value"], 1)
    code, said, _ = two(table(), least)
    assert code == 0 and "7 equal to the bit, 1 moved, 0 of them beyond noise" in said
    assert "of the same jobs on both sides: machine, versions or source differ" in said


def test_a_cell_that_moved_by_three_points_is_named_with_its_difference(two):
    b = moved(table(), -0.03, row="scratch", target="liver", metric="dice")
    code, said, _ = two(table(), b, "--json")
    found = json.loads(said)
    (cell,) = found["cells"]
    keys = ["row", "target", "metric", "seed", "patient"]
    pairs = table().merge(b, on=keys, suffixes=("_a", "_b"))
    pairs = pairs.query("row == 'scratch' and target == 'liver' and metric == 'dice'")
    difference = (pairs["value_b"] - pairs["value_a"]).mean()
    assert code == 1 and (found["equal"], found["moved"], found["beyond_noise"]) == (7, 1, 1)
    assert cell["difference"] == pytest.approx(difference, abs=1e-12)
    assert cell["a"] == pytest.approx(pairs["value_a"].mean(), abs=1e-12)
    assert cell["low"] < -0.03 < cell["high"] < -0.02 and cell["p"] < 0.05
    assert (cell["verdict"], cell["beyond"]) == ("worse", True)
    assert (cell["patients"], cell["runs"], cell["same_jobs"]) == (20, 3, True)


VERDICTS = [  # how far, in which metric, which row, how noisy: verdict, beyond noise, exit
    (0.03, "dice", "scratch", 0.005, "better", True),
    (0.3, "hd95", "scratch", 0.05, "worse", True),  # a larger distance
    (-0.3, "hd95", "scratch", 0.05, "better", True),
    (0.001, "dice", "scratch", 0.001, "equivalent", False),
    (0.0, "dice", "scratch", 0.1, "not separable", False),
    (0.03, "dice", "pair", 0.005, "these weights only", True),  # one pretraining
    (0.0, "dice", "pair", 0.1, "these weights only", False),
]


@pytest.mark.parametrize("by, metric, row, noise, verdict, beyond", VERDICTS)
def test_the_verdict_is_that_of_the_paired_difference(two, by, metric, row, noise, verdict, beyond):
    b = moved(table(), by, noise, row=row, metric=metric, target="liver")
    code, said, _ = two(table(), b, "--json")
    (cell,) = json.loads(said)["cells"]
    assert (cell["verdict"], cell["beyond"], code) == (verdict, beyond, int(beyond))
    assert two(table(), b)[1].count(verdict) >= 1


@pytest.mark.parametrize(
    ("metric", "unit", "before", "after", "verdict"),
    [
        ("relative_volume_error", "1", -0.5, -0.1, "better"),  # closer to 0
        ("relative_volume_error", "1", 0.1, -0.5, "worse"),
        ("lesion_predicted", "count", 4, 9, "more"),
        ("lesion_predicted", "count", 9, 4, "fewer"),
    ],
)
def test_what_is_best_at_0_and_what_is_only_counted(two, metric, unit, before, after, verdict):
    base = table()
    base = base[base["metric"].eq("dice") & base["row"].eq("scratch")].assign(unit=unit)
    base = base.assign(metric=metric, value=0.0)
    a, b = moved(base, before, 0.01), moved(base, after, 0.02)
    cells = json.loads(two(a, b, "--json")[1])["cells"]
    assert {cell["verdict"] for cell in cells} == {verdict}


def test_one_run_speaks_of_these_weights_however_many_cells_there_are(two):
    b = moved(table(seeds=(0,)), -0.03, row="scratch", target="liver", metric="dice")
    code, said, _ = two(table(seeds=(0,)), b)
    assert code == 1 and "these weights only (beyond noise)" in said
    assert "of one run or one pretraining; another seed may give another result" in said
    wide = [
        pd.concat([t.assign(section=f"s{i}") for i in range(100)]) for t in (table(seeds=(0,)), b)
    ]
    assert cells(*wide).equal == 700 and all(m.beyond for m in cells(*wide).changed)


def test_every_cell_counts_in_holm(two):
    a, b = table(), moved(table(), -0.012, 0.009, row="scratch", target="liver", metric="dice")
    cell = "row == 'scratch' and target == 'liver' and metric == 'dice'"
    alone = [t.query(cell) for t in (a, b)]
    (one,), (among,) = cells(*alone).changed, cells(a, b).changed
    assert among.p == pytest.approx(min(1, 8 * one.p), rel=1e-9)


def test_runs_are_paired_with_those_of_the_same_seeds(two):
    a = table(pretrain_seeds=(0, 1, 2))
    b = moved(a, 0.02, row="pair", metric="dice", target="liver", pretrain_seed=2)
    (cell,) = cells(a, b[~(b["pretrain_seed"].eq(0) & b["seed"].eq(1))]).changed
    assert cell.runs == 8 and cell.difference == pytest.approx(0.02 / 3, abs=0.004)
    other = table().assign(seed=lambda t: t["seed"] + 10)
    code, _, line = two(table(), other)
    words = "have no scores of the same row, data set, fraction and seed; nothing to compare"
    assert code == 2 and words in line


def test_what_is_on_one_side_only_is_listed_and_is_no_movement(two):
    b = table()
    b = b[b["patient"].ne("p3") & ~(b["row"].eq("pair") & b["target"].eq("spleen"))]
    code, said, _ = two(table(), b)
    assert code == 0 and "6 cells compared: 6 equal to the bit" in said
    assert "patients of s on one side only  1: p3" in said
    assert "6 compared cells lack values" in said
    assert "only in A: 2 cells: pair s 100 spleen dice; pair s 100 spleen hd95" in said
    hole = table()
    hole.loc[hole["row"].eq("pair") & hole["seed"].eq(1), ["status", "value"]] = ["failed", np.nan]
    assert "failed jobs" in two(table(), hole)[1]


def test_values_over_all_cases_and_values_that_came_to_be_have_no_verdict(two):
    whole = table().assign(case="", patient="").drop_duplicates(["row", "seed", "target", "metric"])
    code, said, _ = two(whole, whole.assign(value=whole["value"] + 0.1))
    assert code == 0 and "over all test cases at once: no patients to pair" in said
    gone = table()
    gone.loc[gone["row"].eq("pair"), "value"] = np.nan
    code, said, _ = two(table(), gone)
    assert code == 0 and said.count("defined on one side only") == 4
    assert json.loads(two(table(), gone, "--json")[1])["cells"][0]["difference"] is None


def test_what_differs_about_the_two_stands_first(two):
    b = table()
    b["params"] = b["params"].where(b["row"].ne("pair"), '{"temperature":0.2}')
    b["job"] = "other" + b["job"]
    b = moved(b, 0.03, row="pair", target="liver", metric="dice")
    beside = {
        "provenance": {"torch": "2.14.0", "device": "one"},
        "overrides": ["batch=4"],
        "origin": {"path": "protocols/m", "content": "1234"},
    }
    _, said, _ = two(table(), b, json_b=beside)
    first, then = said.split("cells compared")
    assert "params of pair" in first and "params of pair" not in then
    for word in ("torch", "2.14.0", "--set", "batch=4", '{"temperature":0.2}', "1234"):
        assert word in first and word not in then
    assert "device" in first.split("alike:")[1]
    assert "moved cells: 1 of other jobs (their settings differ), 0 of the same jobs" in said


SPLIT = "the split of section s, fold 0 differs"
REFUSED = {
    "scale": ({"scale": "smoke"}, "the scale differs, pilot and smoke"),
    "hash": ({"split_hash": "xyz"}, f"{SPLIT}, d even abc and d even xyz"),
    "data": ({"dataset": "e"}, SPLIT),
    "way": ({"convention": "monai/default"}, "the convention of section s, metric dice differs"),
    "rule": ({"convention": "medpy/skip"}, "the convention of"),
    "unit": ({"unit": "cm"}, "the convention of"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_runs_of_another_split_scale_or_convention_are_refused(two, what):
    columns, why = REFUSED[what]
    code, said, line = two(table(), table(**columns))
    assert code == 2 and why in line and line.count("\n") == 1 and not said


def test_a_case_scored_twice_is_refused(two):
    code, _, line = two(table(), pd.concat([table(), table()[:1]]))
    assert code == 2 and "B: 1 values are there twice, first dice of case 'p0'" in line


def test_wherever_records_lie_they_are_found_and_what_is_none_is_one_line(two, tmp_path, capsys):
    two(table(), table())
    a, b, file = tmp_path / "a", tmp_path / "b", tmp_path / "b" / "records" / "m.parquet"
    lone = shutil.copy(file, tmp_path / "of_old.parquet")  # another name, and nothing beside it
    for one, other in ((a, file), (file, a), (lone, file), (lone, a), (a, a)):
        assert main(["compare", str(one), str(other)]) == 0
    table().assign(protocol="n").to_parquet(a / "records" / "n.parquet", index=False)
    shutil.copy(a / "records" / "n.parquet", b / "records" / "n.parquet")
    assert main(["compare", str(a), str(b), "--protocol", "n"]) == 0
    capsys.readouterr()
    (tmp_path / "empty").mkdir()
    Store.open(tmp_path / "bare")
    (tmp_path / "text.parquet").write_text("no rows")
    (tmp_path / "text.csv").write_text("no rows")
    wrong = {
        (a, b): "both hold m, n; say which with --protocol",
        (a, tmp_path / "empty"): "not an output folder of bench",
        (a, tmp_path / "bare"): "holds no records",
        (a, tmp_path / "gone"): "is not there",
        (lone, tmp_path / "text.parquet"): "not a file of records",
        (a, tmp_path / "text.csv"): "is neither",
        (a, b, "--protocol", "o"): "no records of a protocol named 'o'",
    }
    for words, why in wrong.items():
        assert why in refusal(capsys, "compare", *words)


def test_values_over_all_cases_at_once_are_compared_over_the_folds_that_both_have():
    def auc(folds):
        rows = table(seeds=(0,)).iloc[:1].assign(metric="auc", case="", patient="", unit="1")
        return pd.concat([rows.assign(fold=fold, value=value) for fold, value in folds.items()])

    (cell,) = cells(auc({0: 0.8, 1: 0.2}), auc({0: 0.7})).changed  # fold 1 failed in the second run
    assert (cell.a, cell.b, cell.difference) == (0.8, 0.7, pytest.approx(-0.1))


def test_a_verdict_that_its_interval_contradicts_says_why(two):
    tables = (table(), moved(table(), -0.1, row="scratch"))
    _, said, _ = two(*(t[t["patient"].isin(PATIENTS[:5])] for t in tables))
    assert "not separable (too few patients: with 5" in " ".join(said.split())
