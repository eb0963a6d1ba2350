"""``test_on``: other data sets that a section's weights are tested on, from the protocol to the report."""

import json

import numpy as np
import pytest
import yaml
from one_line import refused
from scipy import stats as scipy_stats
from small_protocol import NAME, TEST, TRAIN, cell, ids

from bench import registry
from bench.cli import main
from bench.data.cache import Pack
from bench.jobs.evaluate.spec import EvaluateSpec
from bench.jobs.guard.spec import GuardSpec
from bench.protocol import read
from bench.record import COLUMNS, read_rows
from bench.stats.unpaired import change
from bench.store import Store

OTHER = "own_sunnybrook"
SECTION = {"dataset": NAME, "split": "even", "fractions": [25, 100], "seeds": [0, 1], "steps": 6}
SWAPPED = {"dataset": NAME, "labels": {"anterior": "posterior", 2: 1}, "split": "even"}
LEFT = {"dataset": OTHER, "labels": {"left ventricle": "anterior"}}


def also_on(*entries, **more):
    return {"finetune": [{**SECTION, "test_on": list(entries), **more}]}


@pytest.fixture(scope="module")
def both(phantoms):
    """Return DATA with the small data set and another one."""
    registry.load("dataset", OTHER).phantom(phantoms / OTHER, 6, 0)
    return phantoms


def test_the_same_weights_are_tested_and_nothing_else_changes(plan_of, both):
    before, after = plan_of({"finetune": [SECTION]}), plan_of(also_on(LEFT), data=both)
    assert ids(before) - ids(before, "guard") < ids(after)
    assert ids(before, "finetune", "pretrain") == ids(after, "finetune", "pretrain")
    section = {"row": "pair", "fraction": 25, "seed": 1}
    inside = cell(after, section=NAME, **section)
    outside = cell(after, section=f"{NAME} on {OTHER}", **section)
    assert outside.finetune == inside.finetune and outside.evaluate != inside.evaluate
    columns = {"dataset": OTHER, "split": "external", "n_train": inside.columns["n_train"]}
    assert columns.items() <= outside.columns.items()
    spec = after.jobs[outside.evaluate].spec_as(EvaluateSpec)
    assert spec.data.relabel == ((1, 1),) and spec.data.part == "test"
    assert after.scoring_of["test0"][f"{NAME} on {OTHER}"].labels == {"1": "left ventricle"}
    parts = ([NAME], [f"{NAME} on {OTHER}"])  # a section with its tests, or one test alone
    chosen = [plan_of(also_on(LEFT), data=both, only={"section": names}) for names in parts]
    kept = [{c.columns["section"] for c in p.cells["test0"] if c.wanted} for p in chosen]
    assert kept == [{NAME, f"{NAME} on {OTHER}"}, {f"{NAME} on {OTHER}"}]
    # it is prepared as the scans that train are, and looked through for these first
    recipes = [after.jobs[after.jobs[c.evaluate].needs[1]].spec.recipe for c in (inside, outside)]
    assert recipes[0] == recipes[1]
    (waits_for,) = after.after[outside.evaluate]
    judge = after.jobs[waits_for].spec_as(GuardSpec)
    guard = after.jobs[after.jobs[waits_for].needs[0]].spec_as(GuardSpec)
    assert judge.leaks == "external"
    assert [part.part for part in guard.data] == ["train", "val"]
    assert [(part.dataset, part.part) for part in guard.tests] == [(OTHER, "test")]


def test_a_pretraining_is_guarded_against_the_other_data_set_and_reads_none_of_it(plan_of, both):
    plan = plan_of(also_on(LEFT), data=both)
    guard = cell(plan, row="pair", section=NAME, fraction=100, seed=0).guard
    compared = plan.jobs[plan.jobs[guard].needs[0]].spec_as(GuardSpec)
    assert {part.dataset for part in compared.tests} == {NAME, OTHER}
    mixed = {"pretrain": {"datasets": [{"dataset": NAME}, {"dataset": OTHER}]}}
    with refused(f"{OTHER}.*no case among the training patients"):
        plan_of(also_on(LEFT) | mixed, data=both)


def test_row_settings_and_controls_reach_the_test_elsewhere(plan_of, both):
    changes = also_on(LEFT, fractions=[100], seeds=[0])
    changes |= {"controls": ["random"], "rows": {"pair": {"sections": [NAME]}}}
    changes["rows"] |= {
        "alone": {"finetune": {"batch": 4}},
        "third": {"method": "simclr3d", "network": "net"},
    }
    changes |= {"baseline": "unequal"}
    plan = plan_of(changes, data=both)
    by_section = {
        name: {c.row: c.finetune for c in plan.cells["test0"] if c.columns["section"] == name}
        for name in (NAME, f"{NAME} on {OTHER}")
    }
    assert by_section[NAME] == by_section[f"{NAME} on {OTHER}"]
    assert {"alone", "pair", "pair (random)", "third"} <= {*by_section[NAME]}


REFUSED = {  # keys of the other test, as YAML: what is said
    "{}": "no label of data set 'Sunnybrook.*write which belong together",
    "labels: {left: 1}": "test_on.*'left'",
    "labels: {1: 7}": "'7'",
    "labels: {1: 1, left ventricle: 2}": "two labels belong to the same label",
    "dataset: sunny": "no data set named 'sunny'",
    f"dataset: {NAME}": "14|16 test patients .* train or validate.*use another data set",
    "labels: {left ventricle: 1}\nsplits: rule": "splits.*did you mean 'split'",
    "labels: {left ventricle: 1}\nexclude: [nobody]": "nobody",
}


@pytest.mark.parametrize(("entry", "problem"), REFUSED.items())
def test_what_cannot_be_tested_is_told_in_a_line(plan_of, both, entry, problem):
    with refused(problem):
        plan_of(also_on({"dataset": OTHER, **yaml.safe_load(entry)}), data=both)


def test_where_weights_cannot_be_tested_elsewhere_is_told_in_a_line(plan_of, both):
    for changes, problem in (
        (
            also_on(LEFT, split="cv5"),
            rf"finetune\.0\.split: .*'cv5' of data set '{NAME}' has several folds; add 'folds: \[0\]'",
        ),
        (
            also_on({**LEFT, "split": "cv5"}),
            rf"test_on\.0\.split: .*'{OTHER}' has several folds; leave 'split' out",
        ),
        (also_on(LEFT, LEFT), "stands twice|two sections|twice"),
        ({"finetune": {"split": "external"}}, "no training patients; name .* 'test_on'"),
        ({"rows": {"alone": {"finetune": {"test_on": [LEFT]}}}}, "test_on"),
    ):
        with refused(problem):
            plan_of(changes, data=both)


@pytest.mark.usefixtures("inlined", "undrawn")
def test_a_run_scores_the_same_predictions_under_the_other_labels(
    protocol_file, phantoms, tmp_path
):
    settings = {"evaluation": "probe", "steps": None, "fractions": [100], "seeds": [0]}
    file = protocol_file({"name": "test", "rows": {"pair": None}, **also_on(SWAPPED, **settings)})
    out = tmp_path / "out"
    assert main(["run", str(file), "--data", str(phantoms), "--out", str(out)]) == 0
    rows = read_rows(out / "records" / "test.parquet", COLUMNS)
    packs = {
        name: Pack(Store(out).jobs / group["job"].iloc[0], "prediction")
        for name, group in rows.groupby("section")
    }
    inside, outside = packs[NAME], packs[f"{NAME} on {NAME}"]
    swap = np.array([0, 2, 1], np.uint8)
    assert sorted(inside) == sorted(outside) == TEST
    for case in inside:
        np.testing.assert_array_equal(outside[case][:], swap[inside[case][:]])
        assert {1, 2} <= {*np.unique(inside[case][:])}
    page = (out / "reports" / "test" / "index.html").read_text()
    assert "What remains on another data set?" in page


@pytest.mark.usefixtures("inlined", "undrawn")
def test_patients_that_train_are_found_in_the_other_data_set_by_content(
    protocol_file, phantoms, tmp_path, capsys
):
    """A copy of the data set under other names of patients is refused before anything is predicted."""
    copy = tmp_path / "data" / "copy"
    for part in ("imagesTr", "labelsTr"):
        (copy / part).mkdir(parents=True)
        for n, name in enumerate(TRAIN[:3]):
            (copy / part / f"other_{n}.nii.gz").write_bytes(
                (phantoms / NAME / part / f"{name}.nii.gz").read_bytes()
            )
    described = json.loads((phantoms / NAME / "dataset.json").read_text())
    files = [
        {"image": f"./imagesTr/other_{n}.nii.gz", "label": f"./labelsTr/other_{n}.nii.gz"}
        for n in range(3)
    ]
    described |= {"training": files, "numTraining": 3, "test": [], "numTest": 0}
    (copy / "dataset.json").write_text(json.dumps(described))
    (tmp_path / "data" / NAME).symlink_to(phantoms / NAME)
    settings = {"evaluation": "probe", "steps": None, "fractions": [100], "seeds": [0]}
    entry = {"dataset": "copy", "labels": {1: 1, 2: 2}}
    file = protocol_file({"rows": {"pair": None}, **also_on(entry, **settings)})
    assert (
        main(["run", str(file), "--data", str(tmp_path / "data"), "--out", str(tmp_path / "out")])
        != 0
    )
    printed = capsys.readouterr()
    assert (
        "leak: 3 training or validation case(s) are also in a data set of test_on"
        in printed.out + printed.err
    )


@pytest.mark.parametrize("missing", [0, 3])
def test_the_change_of_one_run_has_welchs_interval(missing):
    rng = np.random.default_rng(0)
    first, second = rng.normal(0.8, 0.1, (12, 1)), rng.normal(0.7, 0.2, (9 + missing, 1))
    result = change(first, second[missing:])
    welch = scipy_stats.ttest_ind(second[missing:, 0], first[:, 0], equal_var=False)
    interval = welch.confidence_interval()
    assert (result.low, result.high) == pytest.approx((interval.low, interval.high))
    assert result.mean == pytest.approx(result.means[1] - result.means[0])


def test_the_interval_of_a_change_holds_what_it_says():
    """Patients of two sets and runs are random; the truth is a change of -0.1."""
    rng, held, studies = np.random.default_rng(1), 0, 400
    for _ in range(studies):
        run = rng.normal(0, 0.02, (1, 6)), rng.normal(0, 0.03, (1, 6))
        first = 0.8 + rng.normal(0, 0.1, (15, 1)) + run[0] + rng.normal(0, 0.05, (15, 6))
        second = 0.7 + rng.normal(0, 0.2, (30, 1)) + run[0] + run[1] + rng.normal(0, 0.05, (30, 6))
        result = change(first, second)
        held += result.low <= -0.1 <= result.high
    assert 0.93 <= held / studies <= 0.99


def test_a_protocol_says_after_its_sections_where_else_they_are_tested(protocol_file):
    protocol = read(protocol_file(also_on(LEFT, SWAPPED)))
    assert protocol.sections == (NAME, f"{NAME} on {OTHER}", f"{NAME} on {NAME}")
    assert [protocol.trained_in(i) for i in range(3)] == [0, 0, 0]
