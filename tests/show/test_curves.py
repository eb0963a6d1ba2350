"""From the scores that fine-tunings left on their way to a view of their own, and to figures of them."""

import shutil
from itertools import product

import pandas as pd
import pytest

from bench import record, records
from bench.errors import BenchError, Damaged
from bench.jobs.finetune.spec import TRACKED
from bench.report.common import OTHERS
from bench.report.learning import PEEKED, captions, plots
from bench.report.supplement import Extras
from bench.report.write import context_of
from bench.show.reports import rewrite_report, write_reports

TRACK = {"part": "test", "every": 2}
SECTION = {"fractions": [100], "seeds": [0, 1], "track": TRACK}
LOOKS = {2: 0.2, 4: 0.4, 6: 0.6}


def leave(made, number, looks):
    """Leave one fine-tuning's curve of two cases: label 1 as ``looks`` says, label 2 a tenth above."""
    same = {"patient": "p", "metric": "dice", "unit": "1", "status": "ok"}
    rows = []
    for (step, value), case, target in product(looks.items(), "cd", "12"):
        score = value + 0.1 * (target == "2") + 0.02 * (case == "d")
        rows.append({"step": step, "case": case, "target": target, "value": score, **same})
    pd.DataFrame(rows).to_parquet(made.folder("finetune", number) / TRACKED, index=False)


@pytest.fixture
def tracked(finished):
    """Return a finished protocol whose four fine-tunings left their curves."""
    made = finished({"finetune": SECTION})
    for number in range(4):  # alone and pair, two seeds each
        leave(made, number, {step: value + number / 100 for step, value in LOOKS.items()})
    return made


def view(made):
    return records.curves(made.plan, made.store, made.protocol.name)


def test_a_curve_has_the_records_columns_and_its_own_file_and_no_table_counts_it(tracked, finished):
    table = view(tracked)
    types = {c: str(t).replace("category", "str") for c, t in table.dtypes.items()}
    assert types == record.CURVE
    assert list(record.CURVE) == [*record.COLUMNS, "part", "step", "epoch"]
    assert len(table) == 4 * 3 * 2 * 2 and set(table["part"]) == {"test"}
    assert set(table["target"]) == {"anterior", "posterior"} and table[
        "step"
    ].unique().tolist() == [2, 4, 6]
    assert table["epoch"].isna().all()  # the data is not here
    cells = tracked.plan.cells[tracked.protocol.name]
    assert set(table["job"]) == {c.finetune for c in cells}
    first = table[table["job"] == cells[0].finetune]
    assert all(set(first[k]) == {v} for k, v in cells[0].columns.items())
    records.save(records.collect(tracked.plan, tracked.store, "test0"), tracked.store, "test0")
    records.save_curves(table, tracked.store, "test0")
    folder = tracked.store.root / "records"
    assert [p.name for p in folder.glob("*.parquet")] == ["test0.parquet"]
    assert len(pd.read_parquet(folder / "curves" / "test0.parquet")) == len(table)
    results = pd.read_parquet(folder / "test0.parquet")
    assert list(results) == list(record.COLUMNS) and not {*results["job"]} & {*table["job"]}


def test_a_curve_that_a_guard_has_not_judged_leaves_no_row_and_a_damaged_one_is_named(tracked):
    (guard,) = {c.guard for c in tracked.plan.cells["test0"] if c.guard}
    shutil.rmtree(tracked.store.jobs / guard)
    assert set(view(tracked)["row"]) == {"alone"}
    (tracked.folder("finetune") / TRACKED).unlink()
    with pytest.raises((Damaged, BenchError), match="scores_by_step"):
        view(tracked)


def test_the_view_goes_where_nothing_is_tracked_any_more(tracked):
    file = records.curves_file(tracked.store, "test0")
    records.save_curves(view(tracked), tracked.store, "test0")
    assert file.exists()
    records.save_curves(record.frame([], record.CURVE), tracked.store, "test0")
    assert not file.exists()


def tracked_context(made, table):
    scores = records.collect(made.plan, made.store, "test0")
    return context_of(made.protocol, scores, Extras(tracked=table))


def test_a_line_is_the_mean_over_targets_and_seeds_with_a_band(tracked):
    (plot,) = plots(tracked_context(tracked, view(tracked)))
    scratch, pair = plot.series
    assert (plot.x, plot.y, plot.lower) == ("Step", "Dice (%), test patients", False)
    assert scratch.baseline and not pair.baseline
    assert scratch.xs == pair.xs == (2, 4, 6)
    # Seeds 0.00 and 0.01 above; targets 0 and 0.1 above; cases of one patient 0 and 0.02 above.
    assert scratch.means == pytest.approx([26.5, 46.5, 66.5])
    assert pair.means == pytest.approx([28.5, 48.5, 68.5])
    assert scratch.sds == pytest.approx([100 * 0.01 / 2**0.5] * 3)


def test_rows_whose_curves_are_of_other_patients_are_named(tracked):
    table = view(tracked)
    assert OTHERS not in " ".join(captions(tracked_context(tracked, table)))
    part = table[(table["row"] != "pair") | (table["case"] != "d")]
    assert captions(tracked_context(tracked, part))[1] == f"{OTHERS} simclr3d."


def test_epochs_are_the_axis_where_the_budget_is_in_epochs_and_a_line_ends_with_its_first_run(
    finished,
):
    section = {**SECTION, "steps": None, "epochs": 3, "hold": None}
    made = finished({"finetune": section})
    for number, last in enumerate((6, 4, 6, 6)):
        leave(made, number, {step: value for step, value in LOOKS.items() if step <= last})
    table = view(made)
    table["epoch"] = table["step"] / 2
    (plot,) = plots(tracked_context(made, table))
    assert plot.x == "Epoch" and [line.xs for line in plot.series] == [(1, 2), (1, 2, 3)]


def test_the_last_look_of_a_run_that_stopped_early_meets_no_other_look_of_its_number(tracked):
    leave(tracked, 0, {2: 0.2, 4: 0.4, 5: 0.9})  # patience: the third look of the other is at 6
    (plot,) = plots(tracked_context(tracked, view(tracked)))
    alone, pair = plot.series
    assert alone.xs == (2, 4) and pair.xs == (2, 4, 6)
    assert alone.means == pytest.approx([26.5, 46.5])


def test_looks_by_epochs_meet_where_folds_have_epochs_of_different_length(finished):
    track = {"part": "test", "every_epochs": 2, "every": None}
    section = {**SECTION, "track": track, "steps": None, "epochs": 5, "hold": None}
    made = finished({"finetune": section})
    lengths = (2.5, 3.5, 2.5, 2.5)  # steps of an epoch
    steps = ((5, 10, 12), (7, 14, 18), (5, 10, 12), (5, 10, 12))  # 2, 4 and the last of 5 epochs
    for number in range(4):
        leave(made, number, dict(zip(steps[number], (0.2, 0.4, 0.6), strict=True)))
    table = view(made)
    numbered = {c.finetune: n for n, c in enumerate(made.plan.cells["test0"])}
    table["epoch"] = table["step"] / table["job"].map(lambda job: lengths[numbered[job]])
    (plot,) = plots(tracked_context(made, table))
    assert plot.series[0].xs == pytest.approx((2, 4, (12 / 2.5 + 18 / 3.5) / 2))
    assert plot.series[1].xs == pytest.approx((2, 4, 12 / 2.5))


def test_rows_in_epochs_beside_rows_in_steps_are_drawn_by_steps_and_it_is_said(finished):
    rows = {"pair": {"finetune": {"epochs": 3}}}
    made = finished({"finetune": SECTION, "rows": rows, "baseline": "unequal"})
    for number in range(4):
        leave(made, number, LOOKS)
    table = view(made)
    table["epoch"] = table["step"] / 2
    context = tracked_context(made, table)
    (plot,) = plots(context)
    assert plot.x == "Step" and [line.xs for line in plot.series] == [(2, 4, 6)] * 2
    said = [text for text in captions(context) if "the axis counts steps" in text]
    assert len(said) == 1 and f"budget of {context.named('pair')} is in epochs and" in said[0]


def test_a_report_is_drawn_again_from_rows_alone_with_its_figure(tracked, tmp_path):
    (shown,) = write_reports([tracked.protocol], tracked.plan, tracked.store)
    before = {p.name: p.read_bytes() for p in shown.page.parent.glob("learning.*")}
    assert before.keys() == {"learning.png", "learning.pdf", "learning.svg"}
    assert PEEKED in shown.page.with_name("table.md").read_text()
    for job in tracked.store.jobs.iterdir():
        shutil.rmtree(job)
    again = rewrite_report(tmp_path / "test0.yaml", None, tracked.store, tmp_path / "again").page
    assert {p.name: p.read_bytes() for p in again.parent.glob("learning.*")} == before
    assert "Score as fine-tuning goes" in again.read_text()
    assert PEEKED.split(";")[0] in again.read_text()
    records.curves_file(tracked.store, "test0").write_bytes(b"no parquet")
    with pytest.raises(BenchError, match=r"curves/test0\.parquet: not a file of records"):
        rewrite_report(tmp_path / "test0.yaml", None, tracked.store, tmp_path / "again")
