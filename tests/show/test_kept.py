"""An output folder of which the records alone are left goes on: nothing of them is lost or done again."""

import shutil
from dataclasses import replace

import pandas as pd
import pytest
from small_protocol import BASE

from bench import records, run
from bench.protocol import read
from bench.record import COLUMNS, read_rows
from bench.report import Beside, Cost, Course, Pretext, Pretraining
from bench.show import reports
from bench.show.kept import keep
from bench.show.plan_text import as_json, as_text
from bench.show.reports import Shown, said_beside, write_report
from bench.show.taken import continued

SECTION = BASE["finetune"][0]


@pytest.fixture
def stripped(finished, monkeypatch):
    """Return a finished folder whose views are written, without its jobs, and its rows; nothing is drawn."""
    made = finished({})
    monkeypatch.setattr(reports, "draw", lambda *given, **how: Shown("", made.store.root / "a" / "b", ()))
    write_report(made.protocol, made.plan, made.store)
    rows = view(made.store, "test0")
    for folder in (made.store.jobs, made.store.work):
        shutil.rmtree(folder)
        folder.mkdir()
    return made, rows


def view(store, name):
    return read_rows(records.view_file(store, name), COLUMNS)


def test_nothing_is_to_do_and_the_report_stays_what_it_was(stripped):
    made, rows = stripped
    before = said_beside(made.store, "test0")
    assert run.todo(made.plan, made.store) == []
    assert "to do: nothing" in as_text(made.plan, made.store, [made.protocol])
    assert all(job["done"] for job in as_json(made.plan, made.store)["jobs"])
    for line in ("test0: of 8 cells the records alone are left; they stay in ", ""):
        assert "".join(keep(made.plan, made.store)).startswith(line)
        write_report(made.protocol, made.plan, made.store)
        pd.testing.assert_frame_equal(view(made.store, "test0"), rows)
        assert said_beside(made.store, "test0") == before
    assert keep(made.plan, made.store) == []


def one_of(made, kind):
    return next(c for c in made.plan.cells["test0"] if c.row == "pair").__getattribute__(kind)


def half_done(made):
    (made.store.work / one_of(made, "finetune")).mkdir()


def damaged(made):
    (made.store.damaged / f"{one_of(made, 'evaluate')}-1").mkdir(parents=True)


def tuned(made):
    (made.store.jobs / one_of(made, "finetune")).mkdir()


def rows_changed(change):
    def changed(made):
        table = view(made.store, "test0")
        change(table, table["job"].eq(one_of(made, "evaluate"))).to_parquet(
            records.view_file(made.store, "test0"), index=False
        )

    return changed


LEFT = {
    "half done": half_done, "set aside": damaged, "its fine-tuning": tuned,
    "no rows": rows_changed(lambda table, own: table[~own]),
    "another metric": rows_changed(lambda table, own: table[~own | table["metric"].ne("dice")]),
    "a failure": rows_changed(lambda table, own: table.assign(status=["failed" if o else "ok" for o in own])),
}  # fmt: skip


@pytest.mark.parametrize("what", LEFT)
def test_a_cell_of_which_more_or_less_is_left_is_done_again(stripped, what):
    made, _ = stripped
    LEFT[what](made)
    assert {one_of(made, kind) for kind in ("evaluate", "finetune", "pretrain", "guard")} < {
        *run.todo(made.plan, made.store)
    }
    kinds = [made.plan.jobs[job].kind for job in run.todo(made.plan, made.store)]
    assert kinds.count("evaluate") == 1 and kinds.count("pretrain") == 1


def test_a_damaged_view_counts_as_none_and_stops_nothing(stripped):
    made, _ = stripped
    records.view_file(made.store, "test0").write_bytes(b"PAR1 half")
    assert (
        len(run.todo(made.plan, made.store)) == len(made.plan.wanted()) and keep(made.plan, made.store) == []
    )


def test_a_cell_counts_only_where_every_protocol_that_has_it_has_its_numbers(stripped, plan_of):
    made, _ = stripped
    both = plan_of({}, data=None, others=[{"title": "The same cells"}])
    assert {c.evaluate for c in both.cells["test0"]} == {c.evaluate for c in both.cells["test1"]}
    assert len(run.todo(both, made.store)) == len(both.wanted())


def test_rows_of_another_recipe_stay_beside_and_come_back_with_it(stripped, plan_of, tmp_path):
    made, rows = stripped
    other = plan_of({"finetune": [{**SECTION, "steps": 7}]}, data=None)
    assert "but for 8 that are not what it asks now" in "".join(keep(other, made.store))
    write_report(read(tmp_path / "test0.yaml"), other, made.store)
    assert view(made.store, "test0").empty
    again = plan_of({}, data=None)
    assert run.todo(again, made.store) == []
    write_report(read(tmp_path / "test0.yaml"), again, made.store)
    pd.testing.assert_frame_equal(view(made.store, "test0"), rows)


def test_what_more_is_asked_is_all_that_is_to_do(stripped, plan_of):
    made, _ = stripped
    more = plan_of({"finetune": [{**SECTION, "seeds": [0, 1, 2]}]}, data=None)
    for _ in range(2):
        to_do = run.todo(more, made.store)
        kinds = [more.jobs[job].kind for job in to_do]
        assert kinds.count("finetune") == kinds.count("evaluate") == 4  # two rows at two fractions
        assert [job["id"] for job in as_json(more, made.store)["jobs"] if not job["done"]] == to_do
        keep(more, made.store)


def test_what_was_said_before_and_now_is_told_as_of_one_run():
    mixed = Pretraining(("a", "old"), ("d",), (1, 1), (2, 2), 1, "sgd", 0.1, "poly", "fp32")
    before = Beside(
        costs=(
            Cost("a", "finetune (3 jobs)", 3.0, 5.0, steps=6), Cost("a", "one crop forward", 0.1),
            Cost("old", "finetune", 9.0),
        ),
        pretrainings=(mixed,), receipts={"a": "all", "old": "none"}, other_source=("once",),
        pretexts=(Pretext("a", "found", last=0.5, seed=0), Pretext("old", "found", shared=("a",), seed=1)),
        courses=(Course("a", "s", 5, 0, (1.0,), (0.5,)), Course("a", "s", 5, 1, (1.0,), (0.5,))),
        provenance={"commit": "x; z", "device": "cpu", "attempts": "9", "last run": "2026-01-02"},
    )  # fmt: skip
    own = Beside(
        costs=(
            Cost("a", "finetune", 1.0, 7.0, steps=2), Cost("a", "one crop forward", 0.2),
            Cost("b", "pretrain", 2.0),
        ),
        pretexts=(Pretext("a", "found", last=0.7, seed=0),),
        courses=(Course("a", "s", 5, 1, (1.0,), (0.1,)),),
        provenance={"commit": "y", "device": "cpu", "attempts": "10", "last run": "2026-01-01"},
    )  # fmt: skip
    both = continued(own, before, {"a"})
    assert both.costs == (
        Cost("a", "finetune (4 jobs)", 4.0, 7.0, steps=8), Cost("a", "one crop forward", 0.2),
        Cost("b", "pretrain", 2.0),
    )  # fmt: skip
    assert both.pretrainings == (replace(mixed, rows=("a",)),) and both.receipts == {"a": "all"}
    assert [(p.row, p.seed, p.last) for p in both.pretexts] == [("a", 1, None), ("a", 0, 0.7)]
    assert [(c.seed, c.losses) for c in both.courses] == [(0, (0.5,)), (1, (0.1,))]
    assert both.provenance == {
        "commit": "x; y; z",
        "device": "cpu",
        "attempts": "10",
        "last run": "2026-01-02",
    }
    assert both.other_source == ("once",) and continued(own, Beside(), {"a"}) is own
