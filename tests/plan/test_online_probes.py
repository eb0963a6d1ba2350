"""What a plan makes of ``pretrain: {probe: ...}``: whom it reads, and what is refused in a line."""

from small_protocol import NAME, cell, ids

from bench.data import case_filter
from bench.dataset import Case
from bench.jobs.prepare.spec import PrepareSpec
from bench.jobs.pretrain.spec import PretrainSpec
from bench.plan.cost import forecast
from bench.protocol import read
from bench.show.plan_text import as_text
from bench.store import Store

ONE = {"fractions": [100], "seeds": [0]}
PROBE = {"dataset": NAME, "patients": 4, "every": 3}
OTHER = "msd02_heart"


def changed(probe=(), finetune=(), **pretrain):
    return {
        "finetune": {**ONE, **dict(finetune)},
        "pretrain": {**pretrain, "probe": {**PROBE, **dict(probe)}},
    }


def pretraining(plan):
    return plan.jobs[cell(plan, row="pair").pretrain]


def test_the_spec_names_the_training_part_and_the_preparation_is_a_need(plan_of):
    job = pretraining(plan_of(changed({"levels": [0, -1], "recipe": "resize"})))
    probe = job.spec.probe
    (part,) = probe.data
    assert (part.dataset, part.part, part.split, part.labelled) == (NAME, "train", "even", True)
    assert (probe.patients, probe.every, probe.classes, probe.levels) == (4, 3, 3, (0, -1))
    assert part.split_hash is not None
    plan = plan_of(changed())
    prepared = plan.spec(pretraining(plan).needs[-1], PrepareSpec)
    assert pretraining(plan).needs == (pretraining(plan).needs[0],) * 2  # the same recipe
    assert prepared.dataset == NAME and job.needs[-1] != job.needs[0]


def test_without_it_nothing_changes_and_with_it_what_stands_before_stays(plan_of):
    without, null = plan_of({"finetune": ONE}), {"finetune": ONE, "pretrain": {"probe": None}}
    with_it = plan_of(changed())
    assert ids(plan_of(null)) == ids(without)
    before = ("prepare", "guard")
    assert ids(with_it, *before) == ids(without, *before)
    assert ids(with_it, "pretrain").isdisjoint(ids(without, "pretrain"))
    rows = {"pair": {"pretrain": {"probe": None}}}
    assert ids(plan_of({**changed(), "rows": rows})) == ids(without)
    assert pretraining(plan_of(changed(), data=None)).spec.probe.data[0].split_hash is None


def test_the_plan_says_whose_labels_are_read_and_counts_the_looks(plan_of, tmp_path):
    store, texts, seconds = Store.open(tmp_path / "out"), [], []
    for changes in ({"finetune": ONE}, changed()):
        plan = plan_of(changes)
        texts.append(as_text(plan, store, [read(tmp_path / "test0.yaml")]))
        job = pretraining(plan).id
        seconds.append(forecast(plan, store, [job])[job])
    said = f"online probe reads the labels of 4 training patients of {NAME}; these labels select nothing"
    assert [said in text for text in texts] == [False, True]
    assert seconds[1] > seconds[0]


def test_every_fold_that_runs_counts_and_a_scale_or_a_flag_changes_how_often(plan_of):
    plan = plan_of(changed(finetune={"split": "cv5", "folds": [0, 2]}))
    probe = plan.spec(cell(plan, row="pair", fold=2).pretrain, PretrainSpec).probe
    assert [part.fold for part in probe.data] == [0, 2]
    plan = plan_of(changed(), sets=("pretrain.probe.every=2",))
    assert pretraining(plan).spec.probe.every == 2
    scales = {"smoke": {"pretrain": {"steps": 2, "probe": {"every": 1}}}}
    probe = pretraining(plan_of({**changed(), "scales": scales}, scale="smoke")).spec.probe
    assert (probe.every, probe.patients) == (1, 4)


def test_a_data_set_of_the_mixture_alone_has_what_its_entry_may_read(plan_of):
    mix = [{"dataset": NAME}, {"dataset": OTHER, "take": "5 cases", "where": {"site": "a"}}]
    plan = plan_of(changed({"dataset": OTHER}, datasets=mix), data=None)
    (part,) = pretraining(plan).spec.probe.data
    assert (part.dataset, part.part, part.take, part.labelled) == (OTHER, "all", "", True)
    assert part.only.where == {"site": "a"}
    prepared = [plan.spec(need, PrepareSpec).dataset for need in pretraining(plan).needs]
    assert prepared == [NAME, OTHER, OTHER]


def case(name, label="map"):
    return Case(name, name, (), label)


def test_the_patients_stand_in_every_selection_and_classes_have_their_turn():
    names = [f"p{n}" for n in range(12)]
    maps = [case(name) for name in names]
    usable = case_filter.in_all([maps, maps[3:]])
    fitted, scored = case_filter.halves(usable, "d", 5)
    assert (len(fitted), len(scored)) == (3, 2) and not {*fitted} & {*scored}
    assert {*fitted, *scored} <= set(names[3:])
    assert case_filter.halves(usable[::-1], "d", 5) == (fitted, scored)
    classes = [case(name, int(name == "p7")) for name in names]
    fitted, scored = case_filter.halves(classes, "d", 4)
    assert "p7" in fitted and len(fitted) == len(scored) == 2
