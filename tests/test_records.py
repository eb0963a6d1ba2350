"""Rows: columns and types as promised, one hole per metric of a failed cell."""

import json
import shutil

import pandas as pd
import pytest
from small_protocol import NAME, cell

from bench import record, records
from bench.errors import BenchError
from bench.imported_scores import keep
from bench.jobs.scoring import path
from bench.show import gather
from bench.store import Store

NAMES = """
job protocol paper table scale section row method network params pretrain pretrain_seed init evaluation dataset
task split split_hash fraction n_train fold seed case patient target metric value unit convention status"""
CONTRACT = NAMES.split()


def test_columns_and_their_types_are_fixed():
    assert list(record.COLUMNS) == CONTRACT
    for rows in ([], [dict.fromkeys(CONTRACT, "1") | {"value": None}]):
        table = record.frame(rows)
        assert typed(table) and len(table) == len(rows)
    whole = [c for c, t in record.COLUMNS.items() if t == "int64"]
    assert whole == ["pretrain_seed", "fraction", "n_train", "fold", "seed"]
    assert [c for c, t in record.COLUMNS.items() if t == "float64"] == ["value"]
    assert record.STATUSES == ("ok", "empty_reference", "empty_prediction", "both_empty", "failed")


@pytest.mark.parametrize("row", [{"row": "a"}, dict.fromkeys(CONTRACT, "x")])
def test_a_column_that_is_lacking_or_mistyped_is_an_error(row):
    with pytest.raises((ValueError, TypeError)):
        record.frame([row])


@pytest.mark.parametrize("read", [record.read_rows, record.read_part])
@pytest.mark.parametrize("said", [["a", None], [None, None], None, [b"\xff", b"a"]], ids=str)
def test_a_file_whose_text_is_lacking_or_damaged_is_one_line(read, said, tmp_path):
    columns = {k: ["a", "b"] if kind == "str" else [0.5, 1.0] for k, kind in record.SCORES.items()}
    columns["case"] = said
    table = pd.DataFrame(columns) if said else pd.DataFrame(columns).drop(columns="case")
    table.to_parquet(tmp_path / "x.parquet")
    with pytest.raises(BenchError, match="not a file of records"):
        read(tmp_path / "x.parquet", record.SCORES)


def test_an_infinite_score_is_one_line_and_no_number_is_none(tmp_path):
    values = {"str": ["a", "b"], "float64": [0.5, float("nan")]}
    columns = {name: values[kind] for name, kind in record.SCORES.items()}
    pd.DataFrame(columns).to_parquet(tmp_path / "x.parquet")
    assert record.read_rows(tmp_path / "x.parquet", record.SCORES)["value"].isna().sum() == 1
    pd.DataFrame({**columns, "value": [0.5, -float("inf")]}).to_parquet(tmp_path / "x.parquet")
    with pytest.raises(BenchError, match="column value holds an infinite number"):
        record.read_rows(tmp_path / "x.parquet", record.SCORES)


@pytest.fixture
def store(tmp_path):
    return Store.open(tmp_path / "out")


def typed(table):
    """Tell whether a table has the columns of the contract, each of its type; text may be categories."""
    types = {c: str(t).replace("category", "str") for c, t in table.dtypes.items()}
    return types == record.COLUMNS and list(table) == CONTRACT


def publish(store, plan, job):
    (store.jobs / job).mkdir()
    (store.jobs / job / "manifest.json").write_text(json.dumps(plan.jobs[job].plain()))


def scored(store, plan, job, values):
    publish(store, plan, job)
    (scoring,) = plan.scoring[job]
    rows = pd.DataFrame({"value": values, "target": "anterior", "metric": "dice", "unit": "1"})
    rows["case"], rows["patient"] = (
        f"{kind}" + rows.index.astype(str) for kind in ("case", "patient")
    )
    rows["status"] = rows["value"].notna().map({True: "ok", False: "both_empty"})
    rows[list(record.SCORES)].to_parquet(path(store, job, scoring), index=False)


def failed(store, job):
    (store.work / job).mkdir()
    entry = {"reason": "torn", "kind": "bug", "log": "log.txt", "attempts": 2}
    (store.work / job / "failed.json").write_text(json.dumps(entry))


def test_each_case_of_a_cell_is_a_row_with_the_cells_columns(plan_of, store):
    plan = plan_of()
    one, other = (cell(plan, row=r, fraction=25, seed=1) for r in ("alone", "pair"))
    scored(store, plan, one.evaluate, [0.5, None])
    scored(store, plan, other.evaluate, [None])  # a column of nulls only
    publish(store, plan, *plan.after[other.finetune])
    table = records.collect(plan, store, "test0")
    assert typed(table) and table["value"].isna().tolist() == [False, True, True]
    assert table["status"].tolist() == ["ok", "both_empty", "both_empty"]
    assert table["job"].tolist() == [one.evaluate] * 2 + [other.evaluate]
    for c, rows in ((one, table.iloc[:2]), (other, table.iloc[2:])):
        for column, value in c.columns.items():
            assert set(rows[column]) == {value}


def test_a_number_counts_only_once_its_guard_is_done(plan_of, store):
    plan = plan_of()
    one = cell(plan, row="pair", fraction=25, seed=1)
    scored(store, plan, one.evaluate, [0.5])  # by an earlier run that allowed leaks
    (guard,) = plan.after[one.finetune]
    assert set(records.collect(plan, store, "test0")["status"]) == {"failed"}
    failed(store, guard)
    holes = records.collect(plan, store, "test0")
    assert set(holes["status"]) == {"failed"} and one.evaluate in set(holes["job"])
    publish(store, plan, guard)
    assert records.collect(plan, store, "test0")["value"].tolist() == [0.5]


def test_a_cell_that_is_predicted_and_not_scored_is_a_hole(plan_of, store):
    plan = plan_of({"metrics": ["dice", "hd"]}, only={"row": ["alone"]})
    one, unwanted = (cell(plan, row=r, fraction=25, seed=1) for r in ("alone", "pair"))
    for c in (one, unwanted):
        publish(store, plan, c.evaluate)
    table = records.collect(plan, store, "test0")
    assert set(table["job"]) == {one.evaluate} and table["metric"].tolist() == ["dice", "hd"]
    (told,) = gather.failures(gather.chains(table, store, {}), table, store)
    assert (told.hole, told.job, told.section) == ("not scored", one.evaluate, NAME)
    assert told.line.startswith("not scored: alone · ") and f", job {one.evaluate}: " in told.line
    assert "run the protocol again" in told.line


def test_records_whose_job_folders_are_gone_are_kept_once_in_a_folder_that_draws_them(
    plan_of, store
):
    plan = plan_of()
    one, other = (cell(plan, row="alone", fraction=f, seed=1) for f in (25, 100))
    for c, value in ((one, 0.5), (other, 0.7)):
        scored(store, plan, c.evaluate, [value])
    before = records.collect(plan, store, "test0")
    records.save(before, store, "test0")
    assert keep(plan.cells, store) == [] and not (store.root / "kept").exists()
    shutil.rmtree(store.jobs / one.evaluate)
    (line,) = keep(plan.cells, store)
    assert keep(plan.cells, store) == [line] and "1 job whose folder is gone" in line
    (kept,) = (store.root / "kept").iterdir()
    records.save(records.collect(plan, store, "test0"), store, "test0")
    assert keep(plan.cells, store) == []  # what it has now has folders
    file = Store.open(kept, create=False).root / "records/test0.parquet"
    rows = record.read_rows(file, record.COLUMNS)
    assert rows.astype(object).equals(before.astype(object))
    (store.root / "tracks").mkdir()
    # imported: they never had one here
    shutil.copy2(kept / "records/test0.parquet", store.root / "tracks")
    records.save(before, store, "test0")
    assert keep(plan.cells, store) == []


# cells on it
STANDING = {"evaluate": 1, "finetune": 1, "pretrain": 4, "prepare": 8, "guard's need": 4}


@pytest.mark.parametrize("which", STANDING)
def test_a_failed_job_leaves_one_hole_per_metric_of_every_cell_that_stands_on_it(
    plan_of, store, which
):
    plan = plan_of({"metrics": ["dice", "hd"]})
    one = cell(plan, row="pair", fraction=25, seed=0)
    jobs = {
        "evaluate": one.evaluate,
        "finetune": one.finetune,
        "pretrain": one.pretrain,
        "prepare": plan.jobs[one.finetune].needs[0],
        "guard's need": plan.jobs[one.guard].needs[0],
    }
    failed(store, jobs[which])
    table = records.collect(plan, store, "test0")
    assert len(table) == 2 * STANDING[which] and one.evaluate in set(table["job"])
    assert set(table["status"]) == {"failed"}
    assert set(table["metric"]) == {"dice", "hd"} and table["value"].isna().all() and typed(table)


def test_where_nothing_ran_or_what_failed_is_done_the_table_is_empty_with_every_column(
    plan_of, store
):
    plan = plan_of()
    table = records.collect(plan, store, "test0")
    assert len(table) == 0 and typed(table)
    one = cell(plan, row="alone", fraction=25, seed=0)
    failed(store, one.finetune)
    publish(store, plan, one.finetune)
    assert len(records.collect(plan, store, "test0")) == 0


def test_done_means_published_and_scored_in_every_way_asked_for(plan_of, store):
    plan = plan_of(others=[{"metrics": ["hd"]}])
    one = plan.cells["test0"][0].evaluate
    assert len(plan.scoring[one]) == 2
    publish(store, plan, one)
    for scoring in plan.scoring[one]:
        assert not records.done(plan, store, one)
        path(store, one, scoring).touch()
    assert records.done(plan, store, one)
    finetune = plan.cells["test0"][0].finetune
    assert not records.done(plan, store, finetune)
    publish(store, plan, finetune)
    assert records.done(plan, store, finetune)


def test_the_view_is_saved_with_its_types(plan_of, store):
    plan = plan_of()
    scored(store, plan, cell(plan, row="alone", fraction=25, seed=0).evaluate, [0.25])
    table = records.collect(plan, store, "test0")
    records.save(table, store, "test0")
    again = pd.read_parquet(store.root / "records" / "test0.parquet")
    assert typed(again) and again["value"].tolist() == [0.25] and again["seed"].tolist() == [0]
