"""What is predicted for a challenge's server beside what is scored: which jobs, of which cases."""

import pytest
from one_line import refused

from bench import registry

NAME = "msd04_hippocampus"


@pytest.fixture
def asked(plan_of, small):
    """Return a function from ``submit``, or None, to the plan of the small protocol with it."""

    def plan(submit, **more):
        section = {**small()["finetune"][0], **({} if submit is None else {"submit": submit})}
        return plan_of({"finetune": [section]}, **more)

    return plan


@pytest.fixture
def served(monkeypatch):
    monkeypatch.setattr(registry.load("dataset", NAME), "submission", "{case}.nii.gz")


def test_each_cell_gets_one_more_job_that_nobody_scores_and_no_other_id_changes(asked, served):
    plain, plan = asked(None), asked({"part": "training"})
    more = {job for job in plan.jobs if job not in plain.jobs}
    cells = plan.cells["test0"]
    assert {c.submission for c in cells} == more and len(more) == len(cells)
    assert plain.jobs.keys() < plan.jobs.keys() and plan.scoring == plain.scoring
    for cell in cells:
        job = plan.jobs[cell.submission]
        assert (
            job.kind == "evaluate"
            and job.spec.submission
            and job.needs == plan.jobs[cell.evaluate].needs
        )
        assert (job.spec.data.part, job.spec.data.where) == ("all", {"part": "training"})
        assert plan.sizes[job.id] > plan.sizes[cell.evaluate]
    assert more <= set(plan.wanted())


def test_where_no_case_is_asked_for_nothing_is_added(asked, served):
    assert asked({"part": "validation"}).jobs.keys() == asked(None).jobs.keys()


def test_a_data_set_whose_server_is_not_known_is_refused_in_one_line(asked):
    with refused(f"finetune.submit: bench has no submission format for data set '{NAME}'"):
        asked({"part": "training"})


def test_maps_on_the_prepared_grid_are_kept_only_where_a_metric_is_taken_there(plan_of):
    ours, theirs = (plan_of({"metrics": m}) for m in (["dice"], ["dice", "dice_monai"]))
    seen = [
        {j.spec.seen for j in plan.jobs.values() if j.kind == "evaluate"} for plan in (ours, theirs)
    ]
    assert seen == [{False}, {True}]
    assert {j for j, v in ours.jobs.items() if v.kind != "evaluate"} < theirs.jobs.keys()
