"""What a pretraining reads, and the guard that goes with it."""

import shutil
from dataclasses import replace

import pytest
from small_protocol import CASES, NAME, cell, ids

from bench.data.parts import Narrowed, Take
from bench.errors import BenchError
from bench.protocol import mixture


def pretraining(plan):
    (job,) = (j for j in plan.jobs.values() if j.kind == "pretrain")
    return job


def guard(plan):
    """Return the job that compares."""
    (job,) = (j for j in plan.jobs.values() if j.kind == "guard" and not j.spec.judges)
    return job


def mix(**given):
    return {"pretrain": {"datasets": [{"dataset": NAME, **given}]}}


def test_pretraining_and_fine_tuning_wait_for_the_guard_without_needing_it(plan_of):
    plan = plan_of()
    pair, alone = (
        cell(plan, row="pair", fraction=25, seed=0),
        cell(plan, row="alone", fraction=25, seed=0),
    )
    (watch,) = plan.after[pair.pretrain]
    assert plan.after[pair.finetune] == (watch,) and pair.guard == watch and alone.guard is None
    assert plan.jobs[watch].needs == (guard(plan).id,) and plan.jobs[watch].spec.judges
    assert watch not in plan.jobs[pair.pretrain].needs and alone.finetune not in plan.after
    assert plan.wanted().index(watch) < plan.wanted().index(pair.pretrain)
    assert watch in plan.wanted(lambda job: job in (pair.pretrain, pair.finetune, pair.evaluate))
    assert guard(plan).spec.tests[0].part == "test" and not guard(plan).spec.leaks


def test_what_is_only_watched_is_no_part_of_a_pretraining(plan_of):
    before = plan_of()
    other = {"finetune": [{"dataset": NAME, "split": "even", "recipe": "percentile", "steps": 6}]}
    allowed = plan_of({"pretrain": {"leaks": "allow"}})
    assert pretraining(plan_of(other)).id == pretraining(before).id == pretraining(allowed).id
    assert guard(plan_of(other)).id != guard(before).id == guard(allowed).id  # compared once
    assert ids(allowed, "guard") == {guard(before).id}
    # compares the same cases
    assert guard(plan_of({"pretrain": {"seed": 5}})).id == guard(before).id


def test_what_a_guard_drops_is_part_of_a_pretraining(plan_of):
    plan = plan_of({"pretrain": {"leaks": "drop"}})
    made = pretraining(plan)
    assert made.needs[-1] == guard(plan).id and made.spec.leaks == "drop"
    assert made.id != pretraining(plan_of()).id


def test_one_guard_serves_two_protocols_and_each_has_its_own_tests(plan_of):
    again = plan_of(others=[{"name": "two"}])
    assert len(ids(again, "guard")) == 2
    finetune = [{"dataset": NAME, "split": "leave_one_out", "folds": [3], "steps": 6}]
    both = plan_of(others=[{"name": "two", "finetune": finetune}])
    assert len(ids(both, "guard")) == 4
    other = [{"dataset": NAME, "split": "even", "recipe": "percentile", "steps": 6}]
    shared = plan_of(others=[{"name": "two", "finetune": other}])
    assert len(ids(shared, "guard")) == 4 and len(shared.after[pretraining(again).id]) == 2
    pairs = [cell(shared, protocol=p, row="pair", fraction=100, seed=0) for p in ("test0", "two")]
    assert pairs[0].guard != pairs[1].guard


def test_a_pretraining_is_guarded_against_the_folds_that_stand_on_it_alone(
    plan_of, phantoms, tmp_path
):
    """Two data sets of two folds: each fold reads the other data set whole, and is not tested there."""
    for name in (NAME, "twin"):
        shutil.copytree(phantoms / NAME, tmp_path / "data" / name)
    sections = [{"dataset": d, "split": "cv5", "folds": [0, 1], "steps": 6} for d in (NAME, "twin")]
    both = {"datasets": [{"dataset": NAME}, {"dataset": "twin"}]}
    plan = plan_of({"pretrain": both, "finetune": sections}, data=tmp_path / "data")
    guards = [j.spec.tests for j in plan.jobs.values() if j.kind == "guard" and not j.spec.judges]
    assert sorted((t.dataset, t.fold) for (t,) in guards) == [
        (d, f) for d in (NAME, "twin") for f in (0, 1)
    ]
    read = [
        {e.dataset: e.part for e in j.spec.data} for j in plan.jobs.values() if j.kind == "pretrain"
    ]
    assert len(read) == 4 and all(sorted(parts.values()) == ["all", "train"] for parts in read)
    for part in both["datasets"]:
        part["cases"] = "all"  # one for all folds, and all their tests
    plan = plan_of({"pretrain": both, "finetune": sections}, data=tmp_path / "data")
    assert len(guard(plan).spec.tests) == 4 and len(ids(plan, "pretrain")) == 1


def test_a_share_is_counted_and_part_of_the_spec(plan_of):
    epochs = {"steps": None, "epochs": 2, "batch": 2}
    for given, count in (({"take": "4 cases"}, 4), ({"take": "40 %"}, 6), ({"exclude": []}, 14)):
        plan = plan_of({"pretrain": {**mix(**given)["pretrain"], **epochs}})
        assert pretraining(plan).spec.pretrain.steps == count
    whole = plan_of({"pretrain": {"take": "3 cases", **epochs}})
    assert pretraining(whole).spec.pretrain.steps == 3
    assert pretraining(whole).spec.take == Take("3 cases", NAME)
    assert cell(whole, row="pair", fraction=25, seed=0).columns["pretrain"] == f"{NAME} (3 cases)"
    assert guard(plan_of(mix(take="4 cases"))).spec.seed == 0
    share = {"pretrain": {"take": "400 cases", **epochs}}
    # nobody knows how much
    assert pretraining(plan_of(share, data=None)).spec.pretrain.steps is None


def test_cases_left_out_leave_the_split_too_and_those_of_an_entry_do_not_move_it(plan_of):
    def data(plan):
        return plan.jobs[cell(plan, row="alone", fraction=25, seed=0).finetune].spec.data

    whole, out = plan_of(), f"hippocampus_{CASES:03d}"
    left = data(plan_of({"finetune": {"exclude": [out]}}))
    assert left.exclude == (out,) and left.split_hash != data(whole).split_hash
    with pytest.raises(BenchError, match="case of data set"):
        plan_of({"finetune": {"exclude": ["hippocampus_0011"]}})
    narrowed = pretraining(plan_of(mix(exclude=["hippocampus_001"]))).spec.data[0]
    assert narrowed.only == Narrowed(exclude=("hippocampus_001",))
    assert replace(narrowed, only=Narrowed()) == pretraining(whole).spec.data[0]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"where": {"part": "nowhere"}}, "there, part is training"),
        ({"where": {"prt": "x"}}, "prt is in no case"),
        (
            {"exclude": [f"hippocampus_{i + 1:03d}" for i in range(CASES)]},
            "leave no case among the training",
        ),
    ],
)
def test_an_entry_that_reads_nothing_is_refused(plan_of, given, said):
    with pytest.raises(BenchError, match=said):
        plan_of(mix(**given))
    with pytest.raises(BenchError, match="leave none of 20 cases"):
        plan_of({"finetune": given})


MATCHING = {2: {"dataset": "ukb_brain_flair"}, 3: {"dataset": "aptos19"}}  # by number of channels


@pytest.mark.parametrize("name", mixture.names())
def test_every_mixture_plans_without_its_data(plan_of, name):
    channels = {"taleb_ukb_brain_flair": 2, "taleb_ukb_fundus": 3, "taleb_aptos_5590": 3}.get(
        name, 1
    )
    change = {"pretrain": {"mixture": name, "datasets": []}, "finetune": MATCHING.get(channels, {})}
    if channels == 3:
        change |= {
            "networks": {"net": {"network": "unet2d", "crop": [32, 32, 1]}},
            "rows": {"pair": None},
        }
        assert plan_of(change, data=None).jobs  # no 2D method is here yet
        return
    plan = plan_of(change, data=None)
    parts = mixture.mixture(name).datasets
    assert [d.dataset for d in pretraining(plan).spec.data] == [m.dataset for m in parts]
    assert cell(plan, row="pair", fraction=25, seed=0).columns["pretrain"] == name
    assert pretraining(plan).spec.network.in_channels == channels
