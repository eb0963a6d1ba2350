"""Positive controls: pretrained with the labels of the section's training scans, and doses of that."""

from small_protocol import BASE, NAME, TRAIN, cell

from bench.protocol import read

DOSES = (0.25, 0.5, 0.75)
ROWS = ["ceiling", *(f"dose {dose:g}" for dose in DOSES)]


def asked(**more):
    return {"controls": ["ceiling", "doses"], **more}


def test_the_controls_are_rows_that_start_from_one_pretraining_with_labels(plan_of):
    plan = plan_of(asked())
    behind = {row: cell(plan, row=row, fraction=25, seed=1) for row in ROWS}
    (pretrain,) = {found.pretrain for found in behind.values()}
    spec = plan.jobs[pretrain].spec
    assert spec.method.method.name() == "supervised" and spec.method.typed_params.labels == "own"
    assert spec.method.typed_params.load == "encoder" and spec.seed == 1
    (entry,) = spec.data
    assert (entry.dataset, entry.labelled, entry.part) == (NAME, True, "train")
    recipe = BASE["finetune"][0]
    assert spec.pretrain.steps == recipe["steps"] != BASE["pretrain"]["steps"]
    doses = {row: plan.jobs[found.finetune].spec.dose for row, found in behind.items()}
    assert doses == dict(zip(ROWS, (1.0, *DOSES), strict=True))
    assert all(plan.jobs[found.finetune].spec.data.fraction == 25 for found in behind.values())
    assert all(found.guard is not None for found in behind.values()) and len(TRAIN) == 14


def test_other_rows_keep_their_jobs(plan_of):
    with_controls, without = plan_of(asked()), plan_of()
    for row in ("alone", "pair"):
        for seed in (0, 1):
            one, other = (
                cell(plan, row=row, fraction=100, seed=seed) for plan in (with_controls, without)
            )
            assert (one.evaluate, one.finetune, one.pretrain) == (
                other.evaluate,
                other.finetune,
                other.pretrain,
            )


def test_beside_a_row_that_trains_a_decoder_the_ceiling_hands_over_its_own(plan_of):
    rows = {"pair": {"method": "models_genesis"}}
    spec = plan_of(asked(rows=rows))
    pretrain = spec.jobs[cell(spec, row="ceiling", fraction=100, seed=0).pretrain].spec
    assert pretrain.method.typed_params.load == "all"
    params = {"labels": "own", "load": "all"}  # another positive control is no such row
    own = {"method": "supervised", "network": "net", "ceiling": True, "dose": 0, "params": params}
    spec = plan_of(asked(rows={"fresh": own}))
    pretrain = spec.jobs[cell(spec, row="ceiling", fraction=100, seed=0).pretrain].spec
    assert pretrain.method.typed_params.load == "encoder"


def test_it_needs_no_pretrain_section_and_follows_its_scratch_row(plan_of):
    rows = {"pair": None, "alone": {"finetune": {"steps": 4}}}
    plan = plan_of(asked(rows=rows))
    found = cell(plan, row="ceiling", fraction=100, seed=0)
    assert (
        plan.jobs[found.finetune].spec.finetune.steps
        == plan.jobs[found.pretrain].spec.pretrain.steps
        == 4
    )


def test_each_network_with_a_scratch_row_has_its_own_and_stated_groups_stay(protocol_file):
    nets = {"other": {"network": "unet3d", "preset": "small", "crop": [32, 32, 32]}}
    rows = {
        "alone2": {"method": "scratch", "network": "other"},
        "pair2": {"method": "simclr3d", "network": "other"},
    }
    layout = {"groups": {"One": ["alone", "pair"], "Two": ["alone2", "pair2"]}}
    found = read(
        protocol_file(asked(networks=nets, rows=rows, layout=layout, controls=["ceiling"]))
    )
    assert {n: r.network for n, r in found.rows.items() if r.ceiling} == {
        "ceiling net": "net",
        "ceiling other": "other",
    }
    groups = [list(group) for group in found.layout.groups.values()]
    assert groups == [["alone", "pair"], ["alone2", "pair2"]]


def test_a_setting_of_the_pretraining_is_also_of_ceilings_and_of_nothing_that_they_are_fine_tuned_by(
    plan_of,
):
    plan = plan_of(
        asked(), sets=["pretrain.optimiser.lr=0.5", "pretrain.steps=3", "finetune.batch=3"]
    )
    for row in (*ROWS, "pair"):
        found = cell(plan, row=row, fraction=100, seed=0)
        pretrained = plan.jobs[found.pretrain].spec.pretrain
        assert (pretrained.optimiser.lr, pretrained.steps) == (0.5, 3)
        assert pretrained.batch == (2 if row == "pair" else 3)  # a ceiling has its section's recipe
        assert plan.jobs[found.finetune].spec.finetune.optimiser.lr == 1e-4
