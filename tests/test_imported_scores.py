"""Cells that records elsewhere have: which are taken and which run, what is said of them."""

import json
import re
from dataclasses import replace
from itertools import product

import pandas as pd
import pytest
from one_line import refusal
from small_protocol import BASE, NAME

from bench import record, records
from bench.cli import main
from bench.errors import BenchError
from bench.imported_scores import View, added, as_lines, leave_out, merged, put
from bench.protocol import read
from bench.report.supplement import (
    Cost,
    Course,
    ImportedCell,
    Leak,
    Pretext,
    Pretraining,
    Supplement,
)
from bench.show.reports import write_reports
from bench.store import Store
from bench.typed import plain

BASE_ROW, CONTRAST = ({"method": m, "network": "net"} for m in ("scratch", "simclr3d"))
THERE = {"rows": {"alone": None, "pair": None, "base": BASE_ROW, "contrast": CONTRAST}}
TARGETS = ("anterior", "posterior")
NAMES = {"base": "alone", "contrast": "pair"}
STATED = dict(batch=1, optimiser="sgd", lr=0.1, schedule="poly", precision="fp32", datasets=("d",))


def scored(cells, name):
    """Return rows as a run leaves them, another value in each."""
    rows = []
    for cell, case, target, metric in product(cells, "ab", TARGETS, ("dice", "hd95")):
        key = {**cell.columns, "job": cell.evaluate, "protocol": name}
        key |= {"case": case, "patient": case}
        rows.append({**key, "target": target, "metric": metric, "unit": "1", "status": "ok"})
    return record.frame([{**row, "value": i / len(rows)} for i, row in enumerate(rows)])


def beside(cells):
    """Return what is said of them as a run leaves it."""
    keys = ({name: cell.columns[name] for name in record.CELL} for cell in cells)
    courses = (Course(**key, steps=(0.0, 1.0), losses=(1.0, 0.5)) for key in keys)
    return Supplement(
        costs=tuple(Cost(r, s, 60.0) for r in NAMES for s in ("pretrain", "finetune (4 jobs)")),
        pretrainings=(Pretraining(("contrast",), cases=(1, 1), steps=(2, 2), **STATED),),
        receipts={"contrast": "all of it"},
        pretexts=(Pretext("contrast", "a figure"),),
        courses=tuple(courses),
        provenance={"commit": "x"},
        other_source=("1 job was",),
    )


@pytest.fixture
def there(plan_of, tmp_path, monkeypatch):
    """Return a function that leaves records of two rows, changed, in ``there/``."""
    monkeypatch.chdir(tmp_path)

    def left(change=lambda table: table, kept=lambda cell: True, says=None, protocol=THERE):
        store, cells = Store.open(tmp_path / "there"), plan_of(protocol).cells["test0"]
        view = store.root / "records" / "other.parquet"
        rows = change(scored([cell for cell in cells if kept(cell)], "other"))
        rows.to_parquet(view, index=False)
        supplement = replace(beside(cells), **(says or {}))
        view.with_suffix(".json").write_text(json.dumps(plain(supplement)))
        return rows

    return left


@pytest.fixture
def here(tmp_path):
    return Store.open(tmp_path / "here")


def imports(plan, store, *places):
    return leave_out(plan, store, {place: place for place in places})


def shown(plan, store):
    """Return the rows of a report, and what is said beside those that are imported."""
    own = records.collect(plan, store, "test0")
    more = added(plan, store, "test0", own)
    return record.stacked([(more.rows, {}), (own, {})]), merged(Supplement(), more.beside)


def wanted(plan):
    return [cell for cell in plan.cells["test0"] if cell.wanted]


def test_rows_are_taken_to_the_bit_by_the_names_here_and_only_what_the_protocol_asks(
    there, plan_of, tmp_path, here
):
    theirs, plan = there(), plan_of()
    cells = list(plan.cells["test0"])
    put(imports(plan, here, tmp_path / "there"), here)
    assert not wanted(plan) and not plan.wanted()
    found, _ = shown(plan, here)
    asked = theirs[theirs["metric"].eq("dice")].reset_index(drop=True)
    changed = ["row", "protocol", "params", "paper", "table", "pretrain"]
    assert (found["row"].astype(str) == asked["row"].map(NAMES)).all()
    assert {*found["protocol"]} == {"test0"}
    own = ["job", *record.SCORES, "seed", "fraction", "split_hash"]
    pd.testing.assert_frame_equal(found[own].astype(str), asked[own].astype(str))
    for name in changed:
        expected = {c.evaluate: c.columns.get(name, "test0") for c in cells}
        assert (found[name].astype(str) == found["job"].map(expected).astype(str)).all(), name


PARTLY = [  # which records of a row, which column of them, and its value; None: they lack
    ("metric == 'dice'", None, None),
    ("target == 'posterior'", None, None),
    ("target == 'posterior'", "target", "both"),
    ("index >= 0", "convention", "other"),
    ("index >= 0", "job", "0123456789abcdef"),
    ("index >= 0", "status", "failed"),
]


@pytest.mark.parametrize(("which", "column", "value"), PARTLY)
def test_cells_whose_scores_are_not_all_there_are_run(
    there, plan_of, tmp_path, here, which, column, value
):
    def change(table):
        affected = table["row"].eq("base") & table.eval(which)
        if column is None:
            return table[~affected]
        return table.assign(**{column: table[column].astype(str).where(~affected, value)})

    there(change)
    plan = plan_of()
    put(imports(plan, here, tmp_path / "there"), here)
    assert [cell.row for cell in wanted(plan)] == ["alone"] * 4
    assert {*shown(plan, here)[0]["row"]} == {"pair"}


def test_what_is_scored_here_is_not_taken(there, plan_of, tmp_path, here, monkeypatch):
    there()
    plan = plan_of()
    own = plan.cells["test0"][0]
    monkeypatch.setattr(records, "done", lambda plan, store, job: job == own.evaluate)
    found = [cell for _, cell in imports(plan, here, tmp_path / "there")["test0"]]
    assert wanted(plan) == [own] and own not in found and len(found) == 7


def test_what_a_guard_found_there_is_not_taken_past_one_here(there, plan_of, tmp_path, here):
    there(says={"leaks": (Leak("contrast", NAME, 4, ("a",), 1, dropped=False),)})
    plan = plan_of()
    imports(plan, here, tmp_path / "there")
    assert [cell.row for cell in wanted(plan)] == ["pair"] * 4


def test_what_was_scored_in_another_way_is_not_taken(there, plan_of, tmp_path, here):
    there(says={"scorings": {NAME: "of other label values"}})
    with pytest.raises(BenchError, match="has no scores for "):
        imports(plan_of(), here, tmp_path / "there")
    # for other cells
    View(tmp_path / "there/records/other.parquet", "there").copied(here.root / "tracks")
    assert shown(plan_of(only={"row": ["pair"]}), here)[0].empty


def test_rows_that_share_a_job_are_taken_once(there, plan_of, tmp_path, here):
    there(lambda t: pd.concat([t, t[t["row"].eq("base")].assign(row="contrast (random)")]))
    plan = plan_of()
    put(imports(plan, here, tmp_path / "there"), here)
    found, _ = shown(plan, here)
    assert len(found) == 8 * 2 * 2 and not found.duplicated(["job", "case", "target"]).any()


def test_only_what_is_still_planned_is_shown_under_its_name_of_now_and_nothing_is_lost(
    there, plan_of, tmp_path, here
):
    there()
    put(imports(plan_of(), here, tmp_path / "there"), here)
    fewer = plan_of({"finetune": [{**BASE["finetune"][0], "seeds": [0]}]})
    assert imports(fewer, here) and {*shown(fewer, here)[0]["seed"]} == {0}
    other = plan_of({"finetune": [{**BASE["finetune"][0], "steps": 7}]})
    assert not imports(other, here) and shown(other, here)[0].empty
    named = plan_of({"rows": {"alone": None, "plain": {"method": "scratch", "network": "net"}}})
    assert len(imports(named, here)["test0"]) == 8
    assert {*shown(named, here)[0]["row"]} == {"pair", "plain"}
    assert len(imports(plan_of(), here)["test0"]) == 8


@pytest.mark.usefixtures("undrawn")
def test_a_cell_that_failed_here_and_is_taken_has_not_failed(there, plan_of, tmp_path, here):
    there()
    plan = plan_of()
    job = plan.cells["test0"][0].finetune
    here.write_spec(job, {"job": plan.jobs[job].plain()})
    why = {"reason": "out of memory", "kind": "memory", "log": "log.txt", "attempts": 1}
    (here.work / job / "failed.json").write_text(json.dumps(why))
    put(imports(plan, here, tmp_path / "there"), here)
    (report,) = write_reports([read(tmp_path / "test0.yaml")], plan, here)
    assert report.failures == ()


def test_a_place_without_a_cell_is_refused_also_beside_one_that_has_some(
    there, plan_of, tmp_path, here
):
    there(kept=lambda cell: cell.row == "base")
    Store.open(tmp_path / "empty")
    with pytest.raises(BenchError, match=r"--records \S*/empty: has no scores for test0"):
        imports(plan_of(), here, tmp_path / "there", tmp_path / "empty")
    put(imports(plan_of(), here, tmp_path / "there"), here)
    with pytest.raises(BenchError, match="empty"):
        imports(plan_of(), here, tmp_path / "empty")
    imports(plan_of(), here, tmp_path / "there")  # has what was taken before


def test_without_the_data_nothing_is_refused_for_ids_are_not_known(there, plan_of, tmp_path, here):
    there()
    assert not imports(plan_of(data=None), here, tmp_path / "there")


def test_a_latency_is_taken_with_its_cell(there, plan_of, tmp_path, here):
    def timed(t):
        cells = t[t["metric"].eq("dice") & t["target"].eq("anterior") & t["case"].eq("a")]
        time = {"metric": "latency", "target": "all", "case": "", "patient": "", "unit": "s"}
        return pd.concat([t, cells.assign(**time)])

    asks = {"metrics": ["dice", "latency"]}
    there()
    with pytest.raises(BenchError, match="has no scores for "):
        imports(plan_of(asks), here, tmp_path / "there")
    there(timed)
    put(imports(plan := plan_of(asks), here, tmp_path / "there"), here)
    found, _ = shown(plan, here)
    assert not wanted(plan) and (found["metric"] == "latency").sum() == 8


def test_what_was_taken_is_not_run_later_either_and_stays_beside_what_is_taken_then(
    there, plan_of, tmp_path, here
):
    first = there(kept=lambda cell: cell.row == "base")
    put(imports(plan_of(), here, tmp_path / "there"), here)
    plan = plan_of()
    known = imports(plan, here)
    assert {cell.row for cell in wanted(plan)} == {"pair"}
    assert "4 cells (alone) taken from records, not run" in next(as_lines(known, here))
    put(known, here)  # nothing new
    there(kept=lambda cell: cell.row == "contrast")
    plan = plan_of()
    put(imports(plan, here, tmp_path / "there"), here)
    table, said = shown(plan, here)
    assert not wanted(plan) and {*table["row"]} == {"alone", "pair"}
    kept = table[table["row"].eq("alone")]["value"]
    assert [*kept] == [*first.loc[first["metric"].eq("dice"), "value"]]
    assert {(one.row, one.place) for one in said.taken} == {
        (row, "other in there") for row in ("alone", "pair")
    }
    assert said.provenance == {"track: commit": "x"} and len(said.courses) == 8


def test_of_a_row_taken_in_part_nothing_is_said_that_is_of_all_of_it(
    there, plan_of, tmp_path, here
):
    there()
    part = {"finetune": [{**BASE["finetune"][0], "fractions": [25]}]}
    put(imports(plan := plan_of(part), here, tmp_path / "there"), here)
    _, found = shown(plan, here)
    assert [(c.row, c.stage) for c in found.costs] == [("alone", "pretrain"), ("pair", "pretrain")]
    assert {c.fraction for c in found.courses} == {25} and len(found.courses) == 4
    assert found.other_source == ("track: of all that is recorded there, 1 job was",)
    assert found.receipts == {"pair": "all of it"} and found.pretrainings[0].rows == ("pair",)
    assert [p.row for p in found.pretexts] == ["pair"]
    assert ImportedCell("pair", NAME, 25, 0, 0, 1, "other in there") in found.taken


def test_a_loss_curve_is_of_its_fold_and_its_pretraining(there, plan_of, tmp_path, here):
    folds = {**BASE["finetune"][0], "split": "cv5", "fractions": [100], "folds": [0, 1]}
    several = {"finetune": [folds], "pretrain": {"seeds": [0, 1]}}
    there(kept=lambda c: c.columns["fold"] == c.columns["pretrain_seed"] == 1, protocol={**several})
    plan = plan_of(several)
    put(imports(plan, here, tmp_path / "there"), here)
    _, theirs = shown(plan, here)
    courses = [(c.row, c.fold, c.pretrain_seed, c.seed) for c in theirs.courses]
    assert courses == [("pair", 1, 1, 0), ("pair", 1, 1, 1)]
    ran = beside([cell for cell in plan.cells["test0"] if cell.wanted])
    assert len(merged(ran, [theirs]).courses) == len(plan.cells["test0"])


@pytest.mark.usefixtures("undrawn")
def test_what_a_view_has_from_another_is_said_to_be_of_that_other(there, plan_of, tmp_path, here):
    there()
    put(imports(plan := plan_of(), here, tmp_path / "there"), here)
    (_,) = write_reports([read(tmp_path / "test0.yaml")], plan, here)
    second, third = Store.open(tmp_path / "second"), Store.open(tmp_path / "third")
    put(imports(plan := plan_of(), second, here.root), second)
    table, said = shown(plan, second)
    assert len(table) == 8 * 2 * 2 and {one.place for one in said.taken} == {"other in there"}
    assert said.provenance == {"track: commit": "x"} and said.other_source == ("track: 1 job was",)
    found = imports(plan_of(), third, here.root, tmp_path / "there")["test0"]
    assert {view.file.stem for view, _ in found} == {"other"}  # who ran them comes first


def test_what_made_numbers_is_told_apart_by_who_ran_them():
    own = Supplement(provenance={"commit": "y"})
    theirs = Supplement(provenance={"commit": "x; y", "track: commit": "z"})
    assert merged(own, [theirs]).provenance == {"commit": "y", "track: commit": "x; y; z"}
    assert merged(own, []) is own


def test_of_a_pretraining_that_is_not_taken_nothing_is_said(there, plan_of, tmp_path, here):
    there(lambda t: t.assign(pretrain_seed=t["seed"]))
    part = {"finetune": [{**BASE["finetune"][0], "seeds": [0]}]}
    put(imports(plan := plan_of(part), here, tmp_path / "there"), here)
    _, found = shown(plan, here)
    assert not found.costs and not found.pretexts


def test_what_was_taken_and_is_damaged_is_refused_with_the_way_out(there, plan_of, tmp_path, here):
    there()
    put(imports(plan_of(), here, tmp_path / "there"), here)
    (file,) = (here.root / "tracks").glob("*.json")
    file.write_text("{")
    message = r"tracks/other-\w+.json: damaged .*; remove .*\.parquet and other-\w+\.json, and"
    with pytest.raises(BenchError, match=message):
        imports(plan_of(), here)


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("nowhere", "--records nowhere: "),
        ("mine", "--records mine: is neither an output folder of bench nor a bundle"),
        ("there", "--records there: has no scores for test0 with the same recipe"),
    ],
)
def test_a_place_that_has_nothing_is_refused_in_a_line(
    there, plan_of, phantoms, tmp_path, capsys, place, why
):
    (tmp_path / "mine").mkdir()
    there(lambda table: table.assign(job="0123456789abcdef"))
    plan_of()
    words = ["test0.yaml", "--data", str(phantoms), "--out", "runs", "--records", place]
    for command in ("run", "plan"):
        assert why in refusal(capsys, command, *words)
    assert not (tmp_path / "runs" / "tracks").exists()


@pytest.mark.usefixtures("undrawn")
def test_a_protocol_of_which_all_is_taken_is_drawn_and_says_so(
    there, plan_of, phantoms, tmp_path, capsys
):
    there()
    plan_of()
    words = ["test0.yaml", "--data", str(phantoms), "--out", "runs", "--records", "there"]
    assert main(["plan", *words]) == 0
    told = capsys.readouterr()
    assert "0 jobs, to do: nothing" in told.out and not (tmp_path / "runs" / "tracks").exists()
    assert "test0: 8 cells (alone, pair) taken from records, not run" in told.err
    assert main(["run", *words, "--quiet"]) == 0
    page = (tmp_path / "runs" / "reports" / "test0" / "index.html").read_text()
    copied = "4 cells each copied from the results of other in there, 25 %, 100 % of the labels."
    (names,) = re.findall(rf">([^<>]*): {copied}", page)
    assert "“From scratch”" in names.split("; ")
    assert not any((tmp_path / "runs" / "jobs").iterdir())
    assert main(["run", *words[:-2], "--quiet"]) == 0  # remembered
