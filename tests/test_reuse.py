"""Cells that records elsewhere have: which are taken and which run, what is said of them."""

import json
from dataclasses import replace

import pandas as pd
import pytest
from small_protocol import BASE, NAME

from bench import record, records
from bench.cli import main
from bench.errors import BenchError
from bench.protocol import read
from bench.report import Beside, Cost, Course, Leak, Pretext, Pretraining, Taken
from bench.reuse import put, reuse, said
from bench.show.reports import read_beside, write_reports
from bench.show.taken import joined, made
from bench.store import Store
from bench.typed import plain

THERE = {"rows": {"alone": None, "pair": None, "base": {"method": "scratch", "network": "net"},
                  "contrast": {"method": "simclr3d", "network": "net"}}}  # fmt: skip
TARGETS = ("anterior", "posterior")
NAMES = {"base": "alone", "contrast": "pair"}
STATED = dict(batch=1, optimiser="sgd", lr=0.1, schedule="poly", precision="fp32", datasets=("d",))


def scored(cells, name):
    """Return rows as a run leaves them, another value in each."""
    rows = [
        {"job": cell.evaluate, **cell.columns, "protocol": name, "case": case, "patient": case,
         "target": target, "metric": metric, "unit": "1", "status": "ok"}
        for cell in cells for case in ("a", "b") for target in TARGETS for metric in ("dice", "hd95")
    ]  # fmt: skip
    return record.frame([{**row, "value": i / len(rows)} for i, row in enumerate(rows)])


def beside(cells):
    """Return what is said of them as a run leaves it."""
    courses = (
        Course(**{name: c.columns[name] for name in record.CELL}, steps=(0.0, 1.0), losses=(1.0, 0.5))
        for c in cells
    )
    return Beside(
        costs=tuple(Cost(r, s, 60.0) for r in NAMES for s in ("pretrain", "finetune (4 jobs)")),
        pretrainings=(Pretraining(("contrast",), cases=(1, 1), steps=(2, 2), **STATED),),
        receipts={"contrast": "all of it"}, pretexts=(Pretext("contrast", "a figure"),),
        courses=tuple(courses), provenance={"commit": "x"}, other_source=("1 job was",),
    )  # fmt: skip


@pytest.fixture
def there(plan_of, tmp_path, monkeypatch):
    """Return a function that leaves records of two rows, changed, in ``there/``."""
    monkeypatch.chdir(tmp_path)

    def left(change=lambda table: table, kept=lambda cell: True, says=None, protocol=THERE):
        store, cells = Store.open(tmp_path / "there"), plan_of(protocol).cells["test0"]
        view = store.root / "records" / "other.parquet"
        rows = change(scored([cell for cell in cells if kept(cell)], "other"))
        rows.to_parquet(view, index=False)
        view.with_suffix(".json").write_text(json.dumps(plain(replace(beside(cells), **(says or {})))))
        return rows

    return left


@pytest.fixture
def here(tmp_path):
    return Store.open(tmp_path / "here")


def wanted(plan):
    return [cell for cell in plan.cells["test0"] if cell.wanted]


def test_rows_are_taken_to_the_bit_by_the_names_here_and_only_what_the_protocol_asks(
    there, plan_of, tmp_path, here
):
    theirs, plan = there(), plan_of()
    cells = list(plan.cells["test0"])
    put(reuse(plan, here, [tmp_path / "there"]), here)
    assert not wanted(plan) and not plan.wanted()
    found = records.collect(plan, here, "test0")
    asked = theirs[theirs["metric"].eq("dice")].reset_index(drop=True)
    changed = ["row", "protocol", "params", "paper", "table", "pretrain"]
    assert (found["row"].astype(str) == asked["row"].map(NAMES)).all() and {*found["protocol"]} == {"test0"}
    own = ["job", *record.SCORES, "seed", "fraction", "split_hash"]
    pd.testing.assert_frame_equal(found[own].astype(str), asked[own].astype(str))
    for name in changed:
        expected = {c.evaluate: c.columns.get(name, "test0") for c in cells}
        assert (found[name].astype(str) == found["job"].map(expected).astype(str)).all(), name


def of(text):
    return lambda table: table["row"].eq("base") & table.eval(text)


PARTLY = {
    "a metric lacks": lambda t: t[~(of("metric == 'dice'")(t))],
    "another convention": lambda t: t.assign(convention=t["convention"].where(t["row"].ne("base"), "other")),
    "a target lacks": lambda t: t[~(of("target == 'posterior'")(t))],
    "another target": lambda t: t.assign(target=t["target"].where(~of("target == 'posterior'")(t), "both")),
    "another job": lambda t: t.assign(job=t["job"].where(t["row"].ne("base"), "0123456789abcdef")),
    "failed": lambda t: t.assign(status=t["status"].where(t["row"].ne("base"), "failed")),
}


@pytest.mark.parametrize("what", PARTLY)
def test_cells_whose_scores_are_not_all_there_are_run(there, plan_of, tmp_path, here, what):
    there(PARTLY[what])
    plan = plan_of()
    put(reuse(plan, here, [tmp_path / "there"]), here)
    assert [cell.row for cell in wanted(plan)] == ["alone"] * 4
    assert {*records.collect(plan, here, "test0")["row"]} == {"pair"}


def test_what_is_scored_here_is_not_taken(there, plan_of, tmp_path, here, monkeypatch):
    there()
    plan = plan_of()
    own = plan.cells["test0"][0]
    monkeypatch.setattr(records, "done", lambda plan, store, job: job == own.evaluate)
    found = reuse(plan, here, [tmp_path / "there"])["test0"].cells
    assert wanted(plan) == [own] and own not in found and len(found) == 7


def test_what_a_guard_found_there_is_not_taken_past_one_here(there, plan_of, tmp_path, here):
    there(says={"leaks": (Leak("contrast", NAME, 4, ("a",), 1, dropped=False),)})
    plan = plan_of()
    reuse(plan, here, [tmp_path / "there"])
    assert [cell.row for cell in wanted(plan)] == ["pair"] * 4


def test_what_was_scored_in_another_way_is_not_taken(there, plan_of, tmp_path, here):
    there(says={"scorings": {NAME: "of other label values"}})
    with pytest.raises(BenchError, match="has all scores of no cell"):
        reuse(plan_of(), here, [tmp_path / "there"])


def test_rows_that_share_a_job_are_taken_once(there, plan_of, tmp_path, here):
    there(lambda t: pd.concat([t, t[t["row"].eq("base")].assign(row="contrast (random)")]))
    plan = plan_of()
    put(reuse(plan, here, [tmp_path / "there"]), here)
    found = records.collect(plan, here, "test0")
    assert len(found) == 8 * 2 * 2 and not found.duplicated(["job", "case", "target"]).any()


def test_only_what_is_still_planned_is_shown_under_its_name_of_now_and_nothing_is_lost(
    there, plan_of, tmp_path, here
):
    there()
    put(reuse(plan_of(), here, [tmp_path / "there"]), here)
    fewer = plan_of({"finetune": [{**BASE["finetune"][0], "seeds": [0]}]})
    assert {*records.collect(fewer, here, "test0")["seed"]} == {0}
    other = plan_of({"finetune": [{**BASE["finetune"][0], "steps": 7}]})
    assert not reuse(other, here, []) and records.collect(other, here, "test0").empty
    named = plan_of({"rows": {"alone": None, "plain": {"method": "scratch", "network": "net"}}})
    assert len(reuse(named, here, [])["test0"].cells) == 8
    assert {*records.collect(named, here, "test0")["row"]} == {"pair", "plain"}
    again = plan_of()
    assert len(reuse(again, here, [])["test0"].cells) == 8


def test_a_cell_that_failed_here_and_is_taken_has_not_failed(there, plan_of, tmp_path, here):
    there()
    plan = plan_of()
    job = plan.cells["test0"][0].finetune
    here.write_spec(job, {"job": plan.jobs[job].plain()})
    why = {"reason": "out of memory", "kind": "memory", "log": "log.txt", "attempts": 1}
    (here.work / job / "failed.json").write_text(json.dumps(why))
    put(reuse(plan, here, [tmp_path / "there"]), here)
    (shown,) = write_reports([read(tmp_path / "test0.yaml")], plan, here)
    assert shown.failures == ()


def test_a_place_without_a_cell_is_refused_also_beside_one_that_has_some(there, plan_of, tmp_path, here):
    there(kept=lambda cell: cell.row == "base")
    Store.open(tmp_path / "empty")
    with pytest.raises(BenchError, match=r"--records \S*/empty: has all scores of no cell"):
        reuse(plan_of(), here, [tmp_path / "there", tmp_path / "empty"])
    put(reuse(plan_of(), here, [tmp_path / "there"]), here)
    with pytest.raises(BenchError, match="empty"):
        reuse(plan_of(), here, [tmp_path / "empty"])
    reuse(plan_of(), here, [tmp_path / "there"])  # has what was taken before


def test_without_the_data_nothing_is_refused_for_ids_are_not_known(there, plan_of, tmp_path, here):
    there()
    assert not reuse(plan_of(data=None), here, [tmp_path / "there"])


def test_a_latency_is_taken_with_its_cell(there, plan_of, tmp_path, here):
    def timed(t):
        one = t[t["metric"].eq("dice") & t["target"].eq("anterior") & t["case"].eq("a")]
        return pd.concat([t, one.assign(metric="latency", target="all", case="", patient="", unit="s")])

    asks = {"metrics": ["dice", "latency"]}
    there()
    with pytest.raises(BenchError, match="has all scores of no cell"):
        reuse(plan_of(asks), here, [tmp_path / "there"])
    there(timed)
    put(reuse(plan := plan_of(asks), here, [tmp_path / "there"]), here)
    found = records.collect(plan, here, "test0")
    assert not wanted(plan) and (found["metric"] == "latency").sum() == 8


def test_what_was_taken_is_not_run_later_either_and_stays_beside_what_is_taken_then(
    there, plan_of, tmp_path, here
):
    first = there(kept=lambda cell: cell.row == "base")
    put(reuse(plan_of(), here, [tmp_path / "there"]), here)
    plan = plan_of()
    known = reuse(plan, here, [])
    assert {cell.row for cell in wanted(plan)} == {"pair"}
    assert "4 cells (alone) taken from records, not run" in next(said(known, here))
    put(known, here)  # nothing new: what lies there is left as it is
    there(kept=lambda cell: cell.row == "contrast")
    plan = plan_of()
    put(reuse(plan, here, [tmp_path / "there"]), here)
    table = records.collect(plan, here, "test0")
    assert not wanted(plan) and {*table["row"]} == {"alone", "pair"}
    kept = table[table["row"].eq("alone")]["value"]
    assert [*kept] == [*first.loc[first["metric"].eq("dice"), "value"]]
    taken = read_beside(records.taken_file(here, "test0").with_suffix(".json"))
    assert {(one.row, one.place) for one in taken.taken} == {
        (row, "other in there") for row in ("alone", "pair")
    }
    assert taken.provenance == {"commit": "x"} and len(taken.courses) == 8


def test_of_a_row_taken_in_part_nothing_is_said_that_is_of_all_of_it(there, plan_of, tmp_path, here):
    there()
    part = {"finetune": [{**BASE["finetune"][0], "fractions": [25]}]}
    put(reuse(plan_of(part), here, [tmp_path / "there"]), here)
    found = read_beside(records.taken_file(here, "test0").with_suffix(".json"))
    assert [(c.row, c.stage) for c in found.costs] == [("alone", "pretrain"), ("pair", "pretrain")]
    assert {c.fraction for c in found.courses} == {25} and len(found.courses) == 4
    assert found.other_source == ("of all that is recorded there, 1 job was",)
    assert found.receipts == {"pair": "all of it"} and found.pretrainings[0].rows == ("pair",)
    assert [p.row for p in found.pretexts] == ["pair"]
    assert Taken("pair", NAME, 25, 0, 0, 1, "other in there") in found.taken


def test_a_loss_curve_is_of_its_fold_and_its_pretraining(there, plan_of, tmp_path, here):
    folds = {**BASE["finetune"][0], "split": "cv5", "fractions": [100], "folds": [0, 1]}
    several = {"finetune": [folds], "pretrain": {"seeds": [0, 1]}}
    there(kept=lambda c: c.columns["fold"] == c.columns["pretrain_seed"] == 1, protocol={**several})
    plan = plan_of(several)
    put(reuse(plan, here, [tmp_path / "there"]), here)
    theirs = read_beside(records.taken_file(here, "test0").with_suffix(".json"))
    assert [(c.row, c.fold, c.pretrain_seed, c.seed) for c in theirs.courses] == [
        ("pair", 1, 1, 0), ("pair", 1, 1, 1),
    ]  # fmt: skip
    ran = beside([cell for cell in plan.cells["test0"] if cell.wanted])
    assert len(joined(ran, theirs).courses) == len(plan.cells["test0"])


def test_what_a_view_has_from_another_is_said_to_be_of_that_other(there, plan_of, tmp_path, here):
    there()
    put(reuse(plan_of(), here, [tmp_path / "there"]), here)
    plan = plan_of()
    name, second = "test0", Store.open(tmp_path / "second")
    for kind in (".parquet", ".json"):
        copy = second.root / "records" / f"a{kind}"
        copy.write_bytes(records.taken_file(here, name).with_suffix(kind).read_bytes())
    third = Store.open(tmp_path / "third")
    found = reuse(plan_of(), third, [second.root])[name]
    assert len(found.cells) == 8
    assert {t.place for b in found.beside for t in b.taken} == {"other in there"}
    found = reuse(plan, third, [second.root, tmp_path / "there"])[name]  # who ran them comes first
    assert len(found.beside) == 1 and found.beside[0].provenance == {"commit": "x"}
    put({name: found}, third)
    again = plan_of()
    assert not reuse(again, third, [second.root])[name].rows and not wanted(again)
    kept = records.taken_file(third, name).with_suffix(".json")
    assert joined(Beside(provenance={"commit": "y"}), read_beside(kept)).provenance == {
        "commit": "y", "track: commit": "x",
    }  # fmt: skip


def test_how_far_away_numbers_were_made_is_not_told_and_whose_they_are_not_is_left_out():
    said = Beside(provenance={"commit": "x; y", "track: commit": "y; z"}, other_source=("a", "track: b"))
    assert joined(Beside(), said).provenance == {"track: commit": "x; y; z"}
    assert joined(Beside(), said).other_source == ("track: a", "track: b")
    assert made(said, there=True, taken=False) == Beside(provenance={"commit": "x; y"}, other_source=("a",))
    assert made(said, there=False, taken=True) == Beside(provenance={"commit": "y; z"}, other_source=("b",))


def test_of_a_pretraining_that_is_not_taken_nothing_is_said(there, plan_of, tmp_path, here):
    there(lambda t: t.assign(pretrain_seed=t["seed"]))
    part = {"finetune": [{**BASE["finetune"][0], "seeds": [0]}]}
    put(reuse(plan_of(part), here, [tmp_path / "there"]), here)
    found = read_beside(records.taken_file(here, "test0").with_suffix(".json"))
    assert not found.costs and not found.pretexts


def test_what_was_taken_and_is_damaged_is_refused_with_the_way_out(there, plan_of, tmp_path, here):
    there()
    put(reuse(plan_of(), here, [tmp_path / "there"]), here)
    records.taken_file(here, "test0").with_suffix(".json").write_text("{")
    with pytest.raises(
        BenchError, match=r"tracks/test0.json: damaged .*; remove .*test0.parquet and test0.json, and"
    ):
        reuse(plan_of(), here, [])


@pytest.mark.parametrize(("place", "why"), [
    ("nowhere", "--records nowhere: "),
    ("mine", "--records mine: is neither an output folder of bench nor a bundle"),
    ("there", "--records there: has all scores of no cell of test0"),
])  # fmt: skip
def test_a_place_that_has_nothing_is_refused_in_a_line(
    there, plan_of, phantoms, tmp_path, capsys, place, why
):
    (tmp_path / "mine").mkdir()
    there(lambda table: table.assign(job="0123456789abcdef"))
    plan_of()
    for command in ("run", "plan"):
        words = [command, "test0.yaml", "--data", str(phantoms), "--out", "runs", "--records", place]
        assert main(words) == 2
        line = capsys.readouterr().err
        assert why in line and line.count("\n") == 1, line
    assert not (tmp_path / "runs" / "tracks").exists()


@pytest.mark.usefixtures("undrawn")
def test_a_protocol_of_which_all_is_taken_is_drawn_and_says_so(there, plan_of, phantoms, tmp_path, capsys):
    there()
    plan_of()
    words = ["test0.yaml", "--data", str(phantoms), "--out", "runs", "--records", "there"]
    assert main(["plan", *words]) == 0
    shown = capsys.readouterr()
    assert "0 jobs, to do: nothing" in shown.out and not (tmp_path / "runs" / "tracks").exists()
    assert "test0: 8 cells (alone, pair) taken from records, not run" in shown.err
    assert main(["run", *words, "--quiet"]) == 0
    page = (tmp_path / "runs" / "reports" / "test0" / "index.html").read_text()
    assert "From scratch, 25 %, 100 % of the labels: 4 cells of other in there." in page
    assert not any((tmp_path / "runs" / "jobs").iterdir())
    assert main(["run", *words[:-2], "--quiet"]) == 0  # remembered
