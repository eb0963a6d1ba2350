"""What a pretraining reads, and the guard that goes with it."""

import pytest
from small_protocol import CASES, NAME, cell, ids

from bench.errors import BenchError
from bench.protocol import mixture


def pretraining(plan):
    (job,) = (j for j in plan.jobs.values() if j.kind == "pretrain")
    return job


def guard(plan):
    (job,) = (j for j in plan.jobs.values() if j.kind == "guard")
    return job


def mix(**given):
    return {"pretrain": {"datasets": [{"dataset": NAME, **given}]}}


def test_pretraining_and_fine_tuning_wait_for_the_guard_without_needing_it(plan_of):
    plan = plan_of()
    pair, alone = cell(plan, row="pair", fraction=25, seed=0), cell(plan, row="alone", fraction=25, seed=0)
    watch = guard(plan).id
    assert plan.after[pair.pretrain] == plan.after[pair.finetune] == (watch,)
    assert watch not in plan.jobs[pair.pretrain].needs and alone.finetune not in plan.after
    assert plan.wanted().index(watch) < plan.wanted().index(pair.pretrain)
    assert watch in plan.wanted(lambda job: job in (pair.pretrain, pair.finetune, pair.evaluate))
    assert guard(plan).spec["tests"][0]["part"] == "test" and guard(plan).spec["leaks"] == "fail"


def test_what_is_only_watched_is_no_part_of_a_pretraining(plan_of):
    before = plan_of()
    other = {"finetune": [{"dataset": NAME, "split": "rule", "recipe": "percentile", "steps": 6}]}
    for change in ({"pretrain": {"leaks": "allow"}}, other):
        assert pretraining(plan_of(change)).id == pretraining(before).id
        assert guard(plan_of(change)).id != guard(before).id
    assert guard(plan_of({"pretrain": {"seed": 5}})).id == guard(before).id  # compares the same cases


def test_what_a_guard_drops_is_part_of_a_pretraining(plan_of):
    plan = plan_of({"pretrain": {"leaks": "drop"}})
    made = pretraining(plan)
    assert made.needs[-1] == guard(plan).id and made.spec["leaks"] == "drop"
    assert made.id != pretraining(plan_of()).id


def test_one_guard_serves_two_protocols_and_each_has_its_own_tests(plan_of):
    again = plan_of(others=[{"name": "two"}])
    assert len(ids(again, "guard")) == 1
    finetune = [{"dataset": NAME, "split": "leave_one_out", "folds": [3], "steps": 6}]
    both = plan_of(others=[{"name": "two", "finetune": finetune}])
    assert len(ids(both, "guard")) == 2


def test_a_share_is_counted_and_part_of_the_spec(plan_of):
    epochs = {"steps": None, "epochs": 2, "batch": 2}
    for given, count in (({"take": "4 cases"}, 4), ({"take": "40 %"}, 6), ({"exclude": []}, 15)):
        plan = plan_of({"pretrain": {**mix(**given)["pretrain"], **epochs}})
        assert pretraining(plan).spec["pretrain"]["steps"] == count
    whole = plan_of({"pretrain": {"take": "3 cases", **epochs}})
    assert pretraining(whole).spec["pretrain"]["steps"] == 3
    assert pretraining(whole).spec["take"] == {"amount": "3 cases", "ranking": NAME}
    assert cell(whole, row="pair", fraction=25, seed=0).columns["pretrain"] == f"{NAME} (3 cases)"
    assert guard(plan_of(mix(take="4 cases"))).spec["seed"] == 0


def test_classes_of_a_mixture_reach_the_spec(plan_of):
    assert pretraining(plan_of(mix(task=2, group=1))).spec["data"][0]["task"] == 2
    assert "task" not in pretraining(plan_of()).spec["data"][0]


def test_cases_left_out_leave_the_split_too(plan_of):
    whole = plan_of()
    out = f"hippocampus_{CASES:03d}"
    plan = plan_of({"finetune": {"exclude": [out]}})
    spec = plan.jobs[cell(plan, row="alone", fraction=25, seed=0).finetune].spec
    assert spec["data"]["exclude"] == [out]
    assert (
        spec["data"]["split_hash"]
        != whole.jobs[cell(whole, row="alone", fraction=25, seed=0).finetune].spec["data"]["split_hash"]
    )
    with pytest.raises(BenchError, match="case of data set"):
        plan_of({"finetune": {"exclude": ["hippocampus_0011"]}})


def test_what_an_entry_leaves_out_does_not_move_the_split(plan_of):
    before = pretraining(plan_of()).spec["data"][0]
    narrowed = pretraining(plan_of(mix(exclude=["hippocampus_001"]))).spec["data"][0]
    assert narrowed.pop("only") == {"exclude": ["hippocampus_001"]} and narrowed == before


def test_without_data_nobody_knows_how_much_a_share_is(plan_of):
    share = {"pretrain": {"take": "400 cases", "steps": None, "epochs": 2}}
    assert pretraining(plan_of(share, data=None)).spec["pretrain"]["steps"] is None


def test_fine_tuning_needs_labels(plan_of):
    with pytest.raises(BenchError, match="'covid19_ct' has no labels"):
        plan_of({"finetune": [{"dataset": "covid19_ct", "split": "rule", "steps": 2}]}, data=None)


def test_data_sets_of_other_channels_cannot_be_mixed(plan_of):
    two = {"pretrain": {"datasets": [{"dataset": "msd05_prostate"}, {"dataset": NAME}]}}
    with pytest.raises(BenchError, match="msd05_prostate 2, msd04_hippocampus 1"):
        plan_of(two, data=None)


@pytest.mark.parametrize("name", mixture.names())
def test_every_mixture_plans_without_its_data(plan_of, name):
    plan = plan_of({"pretrain": {"mixture": name, "datasets": []}}, data=None)
    parts = mixture.mixture(name).datasets
    assert [d["dataset"] for d in pretraining(plan).spec["data"]] == [m.dataset for m in parts]
    assert cell(plan, row="pair", fraction=25, seed=0).columns["pretrain"] == name
    channels = pretraining(plan).spec["network"]["in_channels"]
    assert channels == {"taleb_ukb_brain_flair": 2, "taleb_ukb_fundus": 3, "taleb_aptos_5590": 3}.get(name, 1)
