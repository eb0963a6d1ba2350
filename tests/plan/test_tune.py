"""Grids: each row chooses its recipe by the patients that validate, never by those that are tested."""

import json

import pytest
from one_line import refused
from small_protocol import BASE, NAME, TEST, TRAIN, VAL, cell, ids

from bench import jobs
from bench.data import split
from bench.jobs.finetune.spec import FinetuneSpec
from bench.protocol import read
from bench.protocol.comparable import differing

GRID = {"over": {"loaded": [{}, {"rate": 1e-4, "frozen": 0.5}], "norm": ["batch", "kept"]}}
RATES = {"over": {"rate": [1e-2, 1e-3, 1e-4]}}


def section(**more):
    return {"finetune": [{**BASE["finetune"][0], "fractions": [100], **more}]}


def tuning(plan, **columns):
    """Return the fine-tuning behind a cell, its recipes, and the jobs that tried them."""
    job = plan.jobs[cell(plan, **columns).finetune]
    return job, [candidate.settings for candidate in job.spec.tune], job.needs


def test_a_row_trains_under_each_recipe_and_takes_over_one(plan_of):
    plan = plan_of(section(tune=GRID, seeds=[0]))
    job, settings, needs = tuning(plan, row="pair")
    assert settings == [
        {"loaded": {}, "norm": "batch"},
        {"loaded": {}, "norm": "kept"},
        {"loaded": {"rate": 1e-4, "frozen": 0.5}, "norm": "batch"},
        {"loaded": {"rate": 1e-4, "frozen": 0.5}, "norm": "kept"},
    ]
    tried = [plan.jobs[needs[c.runs[0]]].spec for c in job.spec.tune]
    assert [(t.finetune.loaded.rate, t.finetune.norm) for t in tried] == [
        (None, "batch"),
        (None, "kept"),
        (1e-4, "batch"),
        (1e-4, "kept"),
    ]
    assert all(t.finetune.validated and t.seed == 0 and not t.tune for t in tried)
    assert job.spec.operations() == 0 and all(t.data == job.spec.data for t in tried)


def test_from_scratch_a_grid_of_what_concerns_loaded_weights_is_one_recipe_and_no_other_job(
    plan_of,
):
    tuned, plain = plan_of(section(tune=GRID)), plan_of(section())
    for seed in (0, 1):
        found = cell(tuned, row="alone", seed=seed)
        assert found.finetune == cell(plain, row="alone", seed=seed).finetune


def test_a_row_that_is_scored_as_it_came_has_nothing_to_choose(plan_of):
    own = {
        "method": "supervised",
        "params": {"labels": "own"},
        "finetune": {"evaluation": "as_loaded"},
    }
    plan = plan_of({"rows": {"pair": own}, **section(tune=RATES, seeds=[0])})
    job = plan.jobs[cell(plan, row="pair").finetune]
    assert (
        not job.spec.tune
        and [plan.jobs[need].spec.kind for need in job.needs].count("finetune") == 0
    )


def test_a_last_layer_that_comes_along_makes_no_rows_incomparable(protocol_file):
    found = read(protocol_file({"rows": {"pair": {"finetune": {"output": "loaded"}}}, **section()}))
    assert differing(found, 0, found.rows["pair"], found.rows["alone"]) == {}


def test_a_grid_of_rates_is_scratchs_too(plan_of):
    _, settings, _ = tuning(plan_of(section(tune=RATES, seeds=[0])), row="alone")
    assert settings == [{"optimiser.lr": 1e-2}, {"optimiser.lr": 1e-3}, {"optimiser.lr": 1e-4}]


def test_several_runs_decide_together_each_with_the_labels_of_its_own_seed(plan_of):
    plan = plan_of(section(tune={**RATES, "runs": 2}, seeds=[0, 1], fractions=[50]))
    job, _, needs = tuning(plan, row="pair", seed=1)
    for candidate in job.spec.tune:
        runs = [plan.jobs[needs[place]].spec for place in candidate.runs]
        assert [run.seed for run in runs] == [1, 0]
        assert len({run.finetune.optimiser.lr for run in runs}) == 1
    other, _, theirs = tuning(plan, row="pair", seed=0)
    assert {*needs} == {*theirs} and other.id != job.id  # nothing is trained twice


def test_a_run_takes_the_recipe_that_the_other_seeds_choose(plan_of):
    plan = plan_of(section(tune={**RATES, "runs": "others"}, seeds=[0, 1, 2], fractions=[50]))
    job, _, needs = tuning(plan, row="pair", seed=1)
    for candidate in job.spec.tune:
        assert plan.jobs[needs[candidate.runs[0]]].spec.seed == 1  # whose weights are taken over
        assert {plan.jobs[needs[index]].spec.seed for index in candidate.judges} == {0, 2}
    three = plan_of(section(tune={**RATES, "runs": 3}, seeds=[0, 1, 2], fractions=[50]))
    tried = {*tuning(three, row="pair", seed=1)[2]}
    assert {*needs} == tried  # the same fine-tunings


@pytest.mark.parametrize(("runs", "judges"), [(1, [0]), (2, [0, 1]), ("others", [0])])
def test_where_few_validate_halves_of_the_labelled_patients_choose(plan_of, runs, judges):
    plan = plan_of(section(tune={**RATES, "on": "folds", "runs": runs}, fractions=[50]))
    job, settings, needs = tuning(plan, row="pair", seed=1)
    assert len(settings) == 3 and not job.spec.untrained and job.spec.data.inner is None
    for candidate in job.spec.tune:
        runs = [plan.jobs[needs[place]].spec for place in candidate.judges]
        assert [(run.seed, run.data.inner) for run in runs] == [
            (seed, (half, 2)) for seed in judges for half in (0, 1)
        ]
        assert {run.finetune.optimiser.lr for run in runs} == {candidate.settings["optimiser.lr"]}
    fold = split.Fold("even", 0, tuple(TRAIN), tuple(VAL), tuple(TEST))
    halves = [{*split.drawn(fold, run.data, "val", 0)} for run in runs[:2]]
    trained = [{*split.drawn(fold, run.data, "train", 0)} for run in runs[:2]]
    assert trained == halves[::-1] and not halves[0] & halves[1]  # each validates once
    assert halves[0] | halves[1] == {*split.drawn(fold, job.spec.data, "train", 0)} <= {*TRAIN}


def test_a_single_labelled_patient_takes_the_first_recipe(plan_of):
    tune = {"over": {"rate": [1e-2, 1e-3]}, "on": "folds"}
    tuned = plan_of(section(tune=tune, fractions=[5]))
    plain = plan_of(section(optimiser={"lr": 1e-2}, fractions=[5]))
    for row in ("alone", "pair"):
        found = cell(tuned, row=row, seed=1)
        assert found.finetune == cell(plain, row=row, seed=1).finetune
    with refused("leave 'holdout' out"):
        plan_of(section(tune=tune, holdout=0.5))


def test_test_patients_are_read_by_no_job_that_a_choice_stands_on(plan_of):
    plan = plan_of(section(tune=RATES))
    for found in (c for cells in plan.cells.values() for c in cells):
        behind, waiting = set(), [found.finetune]
        while waiting:
            job = waiting.pop()
            behind.add(job)
            waiting += plan.jobs[job].needs
        for spec in (plan.jobs[job].spec for job in behind):
            assert getattr(spec, "kind", "") != "evaluate"
            assert not isinstance(spec, FinetuneSpec) or spec.finetune.select != "best_test"
            assert getattr(getattr(spec, "data", None), "part", "train") != "test"


def test_what_a_grid_varies_makes_no_rows_incomparable(protocol_file):
    def rows(**finetune):
        varied = {"over": {"loaded": [{}, {"rate": 0.1}]}}
        return {"rows": {"pair": {"finetune": finetune}}, **section(tune=varied)}

    found = read(protocol_file(rows(loaded={"rate": 0.5})))
    assert differing(found, 0, found.rows["pair"], found.rows["alone"]) == {}
    with refused("with other settings than its baseline"):
        read(protocol_file(rows(tune={"over": {"rate": [1.0]}})))


def test_specs_with_a_grid_are_their_own_json(plan_of):
    plan = plan_of(section(tune=GRID))
    for job in ids(plan, "finetune"):
        assert jobs.read(json.loads(json.dumps(plan.jobs[job].plain())), "here") == plan.jobs[job]
    assert NAME in {plan.jobs[job].spec.data.dataset for job in ids(plan, "finetune")}
