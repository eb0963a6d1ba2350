"""What a plan makes of ``track``: the curve in a fine-tuning's spec, its cost, and what is refused."""

import pytest
from small_protocol import TEST, TRAIN, VAL, cell, ids

from bench.jobs.finetune.spec import Tracked
from bench.plan.cost import forecast
from bench.store import Store

ONE = {"fractions": [100], "seeds": [0]}
LABELS = ((1,), (2,))  # anterior, posterior


def tuned(plan, row="alone"):
    return plan.jobs[cell(plan, row=row).finetune].spec.finetune


@pytest.mark.parametrize(
    ("section", "track", "curve"),
    [
        ({}, {"every": 2}, Tracked("val", 2.0, LABELS)),
        (
            {"steps": None, "epochs": 3, "batch": 4},
            {"every_epochs": 0.5},
            Tracked("val", 14 / 8, LABELS),
        ),
        (
            {"regions": {"whole": [1, 2]}},
            {"part": "test", "every": 6},
            Tracked("test", 6.0, ((1, 2),)),
        ),
        ({"holdout": 0.5, "split": "cv5", "folds": [0]}, {"every": 6}, Tracked("val", 6.0, LABELS)),
    ],
)
def test_a_curve_is_resolved_to_steps_and_to_what_is_scored(plan_of, section, track, curve):
    plan = plan_of({"finetune": {**ONE, "hold": None, **section, "track": track}})
    assert tuned(plan).track == curve and tuned(plan).inference is not None
    found = cell(plan, row="alone")
    assert found.curve and found.epoch == (8 if "holdout" in section else 14) / tuned(plan).batch


def test_a_curve_is_part_of_a_fine_tuning_and_of_nothing_before_it(plan_of):
    """Its product holds the curve; that weights are the same is seen in ``tests/jobs/test_tracking.py``."""
    without, kept = (
        plan_of({"finetune": ONE}),
        plan_of({"finetune": {**ONE, "track": {"every": 2}}}),
    )
    assert ids(without, "finetune").isdisjoint(ids(kept, "finetune"))
    before = ("prepare", "guard", "pretrain")
    assert ids(without, *before) == ids(kept, *before)
    null = plan_of({"finetune": {**ONE, "track": None}})
    assert ids(null) == ids(without) and not cell(null, row="alone").curve


def test_a_row_may_be_tracked_alone_and_stays_comparable(plan_of):
    plan = plan_of({"finetune": ONE, "rows": {"pair": {"finetune": {"track": {"every": 3}}}}})
    assert [tuned(plan, row).track is None for row in ("alone", "pair")] == [True, False]


def test_a_scale_may_state_the_interval_the_other_way(plan_of):
    scales = {"smoke": {"finetune": {"track": {"every": 1}}}}
    changes = {"finetune": {**ONE, "track": {"part": "test", "every_epochs": 2}}, "scales": scales}
    assert tuned(plan_of(changes, scale="smoke")).track == Tracked("test", 1.0, LABELS)


def test_the_last_weights_of_best_test_have_no_second_curve(plan_of):
    plan = plan_of(
        {"finetune": {**ONE, "select": "best_test", "track": {"part": "test", "every": 2}}}
    )
    assert cell(plan, row="alone").curve and not cell(plan, row="alone (last)").curve


@pytest.mark.parametrize(
    ("part", "cases"), [("val", len(VAL)), ("test", len(TEST)), ("train", len(TRAIN))]
)
def test_a_forecast_counts_the_cases_that_are_looked_at(plan_of, tmp_path, part, cases):
    def seconds(track):
        plan = plan_of({"finetune": {**ONE, "recipe": "resize", "track": track}})
        job = cell(plan, row="alone").finetune
        return plan.sizes.get(job), forecast(plan, Store.open(tmp_path / "out"), [job])[job]

    plain, once, thrice = (
        seconds(t) for t in (None, *({"part": part, "every": n} for n in (6, 2)))
    )
    assert once[0] == thrice[0] == cases and plain[0] is None
    assert (
        thrice[1] - plain[1] == pytest.approx(3 * (once[1] - plain[1]), rel=0.2)
        and once[1] > plain[1]
    )


def test_without_data_a_curve_is_planned_too_and_set_changes_how_often(plan_of):
    changes = {"finetune": {**ONE, "track": {"every_epochs": 1}}}
    plan = plan_of(changes, data=None)
    assert plan.provisional and tuned(plan).track == Tracked("val", None, LABELS)
    assert tuned(plan_of(changes, sets=("finetune.track.every=3",))).track.every == 3
