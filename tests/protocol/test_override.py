"""--set: one value of a protocol, or of its jobs' specs, as if the protocol had said it."""

import pytest
from one_line import refused
from small_protocol import NAME, ids

from bench.typed import plain


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        ("finetune.optimiser.lr=1e-3", {"finetune": {"optimiser": {"lr": 1e-3}}}),
        ("finetune.optimiser.lr=1", {"finetune": {"optimiser": {"lr": 1.0}}}),
        ("finetune.foreground=null", {"finetune": {"foreground": None}}),
        ("finetune.optimiser.betas=[0, 0.5]", {"finetune": {"optimiser": {"betas": [0.0, 0.5]}}}),
        ("finetune.augment={flip: 1}", {"finetune": {"augment": {"flip": 1.0}}}),
        ("pretrain.steps=3", {"pretrain": {"steps": 3}}),
        ("network.crop=[32, 32, 16]", {"networks": {"net": {"crop": [32, 32, 16]}}}),
        ("network.preset=small", {"networks": {"net": {"preset": "small"}}}),
        ("method.params.temperature=1", {"rows": {"pair": {"params": {"temperature": 1.0}}}}),
        ("inference.overlap=0", {"finetune": {"inference": {"overlap": 0.0}}}),
        ("finetune.select=best_val", {"finetune": {"select": "best_val"}}),
        ("seed=5", {"finetune": {"seeds": [5]}, "pretrain": {"seed": 5}}),
    ],
)
def test_setting_a_value_is_writing_it_into_the_protocol(plan_of, text, changes):
    shown = {"embeddings": {"samples": 5}}  # its jobs build the same networks
    by_flag, by_file = plan_of(shown, sets=[text]), plan_of({**shown, **changes})
    assert ids(by_flag) == ids(by_file)
    assert by_flag.cells == by_file.cells  # records say what ran, not what the file had


EPOCHS = {"steps": None, "epochs": 5}


@pytest.mark.parametrize(
    ("part", "key", "value"), [("finetune", "batch", 1), ("pretrain", "batch", 4)]
)
def test_a_batch_that_is_set_leaves_as_many_epochs(plan_of, part, key, value):
    curve = {"track": {"part": "test", "every_epochs": 1}}
    budget = {"finetune": {**EPOCHS, **curve}, "pretrain": EPOCHS}
    by_flag = plan_of(budget, sets=[f"{part}.{key}={value}"])
    by_file = plan_of({**budget, part: {**budget[part], key: value}})
    assert by_flag.cells == by_file.cells and ids(by_flag) == ids(by_file) != ids(plan_of(budget))


def test_a_seed_that_is_set_is_that_of_every_pretraining_and_fine_tuning(plan_of):
    several = {"finetune": {"seeds": [0, 1, 2]}, "pretrain": {"seed": None, "seeds": "paired"}}
    once = {"finetune": {"seeds": [7]}, "pretrain": {"seed": None, "seeds": "paired"}}
    assert plan_of(several, sets=["seed=7"]).cells == plan_of(once).cells
    crossed = {"pretrain": {"seed": None, "seeds": [0, 1]}}
    assert plan_of(crossed, sets=["seed=7"]).cells == plan_of(sets=["seed=7"]).cells


SECTIONS = [
    {"dataset": NAME, "split": "even", "steps": 6, "seeds": [0, 1], "name": "first"},
    {
        "dataset": NAME,
        "split": "even",
        "steps": 6,
        "seeds": [0, 1],
        "track": {"part": "test", "every": 2},
    },
]


def sections(*changes):
    return {
        "finetune": [
            {**section, **change} for section, change in zip(SECTIONS, changes, strict=True)
        ]
    }


BOTH = sections({}, {})


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        ("finetune.epochs=3", sections(*[{"steps": None, "epochs": 3}] * 2)),
        ("finetune.folds=[1]", sections(*[{"split": "cv5", "folds": [1]}] * 2)),
        ("finetune.fractions=[5, 50]", sections(*[{"fractions": [5, 50]}] * 2)),
        ("finetune.first.steps=3", sections({"steps": 3}, {})),
        ("finetune.0.steps=3", sections({"steps": 3}, {})),
        (f"finetune.{NAME}.optimiser.lr=0.5", sections({}, {"optimiser": {"lr": 0.5}})),
        (
            f"finetune.1={{dataset: {NAME}, split: rule_5fold, steps: 2}}",
            {"finetune": [SECTIONS[0], {"dataset": NAME, "split": "rule_5fold", "steps": 2}]},
        ),
        ("finetune.loaded.rate=1e-5", sections(*[{"loaded": {"rate": 1e-5}}] * 2)),
        (
            "finetune.new={rate: 0.5, warmup: 0.1}",
            sections(*[{"new": {"rate": 0.5, "warmup": 0.1}}] * 2),
        ),
        ("finetune.track.every=3", sections({}, {"track": {"part": "test", "every": 3}})),
        (
            "finetune.track.every_epochs=0.5",
            sections({}, {"track": {"part": "test", "every_epochs": 0.5}}),
        ),
        (
            "finetune.tune={over: {rate: [1, 2]}}",
            sections(*[{"tune": {"over": {"rate": [1, 2]}}}] * 2),
        ),
        (
            "finetune.tune.over.loaded.rate=[1e-3, 1e-2]",
            sections(*[{"tune": {"over": {"loaded.rate": [1e-3, 1e-2]}}}] * 2),
        ),
        ("finetune.first.pretrain.steps=4", sections({"pretrain": {"steps": 4}}, {})),
        ("finetune.exclude=[hippocampus_001]", sections(*[{"exclude": ["hippocampus_001"]}] * 2)),
        (
            "finetune.recipe={resize: [32, 32, 32], scale: zscore}",
            sections(*[{"recipe": {"resize": [32, 32, 32], "scale": "zscore"}}] * 2),
        ),
        ("metrics=[dice, hd95]", {**BOTH, "metrics": ["dice", "hd95"]}),
        ("metrics.0=iou", {**BOTH, "metrics": ["iou"]}),
        ("controls=[shuffled, ceiling]", {**BOTH, "controls": ["shuffled", "ceiling"]}),
        (
            "rows.pair.params.temperature=1",
            {**BOTH, "rows": {"pair": {"params": {"temperature": 1}}}},
        ),
        (
            "rows.more={method: byol3d, network: net}",
            {**BOTH, "rows": {"more": {"method": "byol3d", "network": "net"}}},
        ),
        ("rows.pair.at=[4, last]", {**BOTH, "rows": {"pair": {"at": [4, "last"]}}}),
        ("networks.net.crop=[32, 32, 16]", {**BOTH, "networks": {"net": {"crop": [32, 32, 16]}}}),
        ("pretrain.epochs=2", {**BOTH, "pretrain": {"steps": None, "epochs": 2}}),
        (
            "pretrain.datasets.0.take=5 cases",
            {**BOTH, "pretrain": {"datasets": {"take": "5 cases"}}},
        ),
        (
            f"pretrain.datasets.{NAME}.cases=all",
            {**BOTH, "pretrain": {"datasets": {"cases": "all"}}},
        ),
        ("pretrain.seeds=paired", {**BOTH, "pretrain": {"seeds": "paired"}}),
        ("embeddings.samples=3", {**BOTH, "embeddings": {"samples": 3}}),
        ("empty=skip", {**BOTH, "empty": "skip"}),
    ],
)
def test_every_key_of_a_protocol_can_be_set(plan_of, text, changes):
    base = {**BOTH, "metrics": ["dice"]}
    if text.startswith("finetune.folds"):
        base = sections(*[{"split": "cv5"}] * 2)
    by_flag, by_file = plan_of(base, sets=[text]), plan_of({"metrics": ["dice"], **changes})
    assert ids(by_flag) == ids(by_file)
    assert by_flag.cells == by_file.cells and by_flag.scoring_of == by_file.scoring_of
    assert (by_flag.cells, by_flag.scoring_of) != (plan_of(base).cells, plan_of(base).scoring_of)


OF_ROWS = {
    "rows": {
        "alone": {"finetune": {"optimiser": {"lr": 0.5}, "epochs": 3}},
        "pair": {"pretrain": {"epochs": 3, "batch": 4}},
    },
    "baseline": "unequal",
}


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("finetune.steps=3", {"alone": {"finetune": {"optimiser": {"lr": 0.5}}}}),
        ("finetune.optimiser.lr=0.1", {"alone": {"finetune": {"epochs": 3}}}),
        ("pretrain.steps=5", {"pair": {"pretrain": {"batch": 4}}}),
        ("network.crop=[32, 32, 16]", {}),
    ],
)
def test_a_key_of_all_rows_wins_over_what_a_row_states_and_touches_nothing_else(
    plan_of, text, left
):
    crop = {"finetune": {"crop": [32, 32, 32]}, "pretrain": {"crop": [32, 32, 32]}}
    given = plan_of({**OF_ROWS, **(crop if text.startswith("network") else {})}, sets=[text])
    by_file = plan_of({**OF_ROWS, "rows": {**OF_ROWS["rows"], **left}}, sets=[text])
    assert ids(given) == ids(by_file)
    section, _, key = text.partition("=")[0].partition(".")
    kinds = ("finetune", "pretrain") if section == "network" else (section,)
    for job in (given.jobs[i] for i in ids(given, *kinds)):
        value = plain(getattr(job.spec, section))
        for part in key.split("."):
            value = value[part]
        assert str(value) == text.partition("=")[2]


def test_a_recipe_of_the_prepared_data_can_be_set(plan_of):
    plan = plan_of(sets=["recipe.resize=[32, 32, 32]"])
    (prepare,) = [plan.jobs[i] for i in ids(plan, "prepare")]
    assert prepare.spec.recipe.resize == (32, 32, 32)
    assert not ids(plan) & ids(plan_of())


def test_several_settings_add_up_and_the_last_of_one_path_counts(plan_of):
    texts = ["finetune.batch=3", "pretrain.batch=4", "finetune.batch=5"]
    expected = {"finetune": {"batch": 5}, "pretrain": {"batch": 4}}
    assert ids(plan_of(sets=texts)) == ids(plan_of(expected))


FACTS = (
    "data.fraction=5",
    f"dataset={NAME}",
    "method.name=voco",
    "method.version=2",
    "weights=last",
)
FACTS += ("network.in_channels=2", "init=random", "contents=x", "inference.crop=[16, 16, 16]")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "finetune.optimiser.rate=1",
            r"finetune\.0\.optimiser\.rate: unknown key 'rate'; known: amsgrad",
        ),
        (
            "finetune.optimizer.lr=1",
            "'finetune.optimizer.lr' in the protocols; did you mean 'finetune.optimiser.lr'",
        ),
        (
            "finetune.fist.steps=1",
            "no key 'finetune.fist.steps' in the protocols; did you mean 'finetune.first.steps'",
        ),
        (
            "finetune.7.steps=1",
            "no key 'finetune.7.steps' in the protocols; did you mean 'finetune.0.steps'",
        ),
        (
            "finetune.lr=1e-2",
            "'finetune.lr' in the protocols; did you mean 'finetune.optimiser.lr'",
        ),
        ("finetune.learning_rate=1e-2", "did you mean 'finetune.optimiser.lr'"),
        ("finetune.scheduler.name=poly", "did you mean 'finetune.schedule.name'"),
        ("pretrain.lr=1e-2", r"pretrain\.lr: unknown key 'lr'; did you mean 'optimiser.lr'"),
        ("rows.pair.finetune.lr=1e-2", r"finetune\.lr: .* 'lr'; did you mean 'optimiser.lr'"),
        ("lr=1e-2", "named 'lr'; did you mean 'finetune.optimiser.lr' or 'pretrain.opti"),
        ("rows.pear.at=4", "no key 'rows.pear.at' in the protocols; did you mean 'rows.pair.at'"),
        (
            "rows.pair.finetune.batsh=4",
            r"rows\.pair\.finetune\.batsh: unknown key 'batsh'; did you mean 'batch'",
        ),
        ("method.params.temprature=1", "did you mean 'method.params.temperature'"),
        ("metric=[dice]", "named 'metric'; did you mean 'metrics'"),
        ("metrics=dice", "metrics: expected a list, got 'dice'"),
        ("metrics=[dise]", r"metrics\.0: no metric named 'dise'"),
        ("title=3", "title: expected text, got 3; put it in quotes"),
        ("finetune.epochs=null", "set the budget once"),
        ("finetune.recipe.resize=[32, 32, 32]", r"set recipe\.resize, which changes every recipe"),
        ("finetune.split.even=1", r"finetune\.0\.split is 'even', which has no keys"),
        ("recipe.size=1", r"recipe\.size: unknown key 'size'; did you mean 'resize'"),
        ("scale=smoke", "--scale picks it"),
        ("scales.smoke.threads=2", "set the key itself"),
        ("data.fraction=[5]", "is not a setting: .*; --only fraction=VALUE picks"),
        ("seeds=[1]", "--only seed=VALUE picks among those"),
        ("zzzzzz=1", "no key of a protocol or a job named 'zzzzzz'"),
        *((text, "write KEY=VALUE") for text in ("finetune.batch", "=3")),
        ("finetune.batch=[1", "is not a YAML value"),
        *(
            (f"finetune.batch={n}", r"finetune\.0\.batch: expected a whole number")
            for n in ("many", "2.5", "true")
        ),
        ("finetune.batch=1e20", r"finetune\.0\.batch: expected a whole number, got 1e\+20"),
        ("finetune.batch=0", "batch must be above 0"),
        ("finetune.batch=null", "expected a whole number, got None"),
        *((f"finetune.optimiser.lr={value}", "lr must be above 0") for value in (-1, ".nan", 1e9)),
        ("finetune.val_every=0", "val_every must be above 0"),
        ("finetune.optimiser.lr=.inf", "optimiser.lr must be above 0 and at most 1000, got inf"),
        ("finetune.optimiser.weight_decay=.inf", "optimiser.weight_decay must be from 0 to 1000"),
        ("finetune.optimiser.betas=[0.5, 1]", "optimiser.betas must be from 0 and below 1"),
        ("finetune.optimiser.momentum=-0.1", "optimiser.momentum must be from 0 and below 1"),
        ("finetune.schedule.end=.nan", "schedule.end must be from 0 to 1"),
        ("finetune.batch=100000000000000000000", "batch must be above 0 and at most 65536"),
        ("finetune.clip=.inf", "clip must be above 0 and at most 1000"),
        ("finetune.ce_weight=-1", "ce_weight must be from 0 to 1000"),
        ("finetune.steps=10000000000", "steps must be above 0 and at most 1000000000"),
        ("finetune.augment={noise: .inf}", "augment.noise must be a probability"),
        ("inference.overlap=1.0", "inference.overlap must be from 0 and below 1"),
        ("inference.batch=0", "inference.batch must be above 0"),
        ("pretrain.snapshots=[-3]", "snapshots must be above 0"),
        ("seed=-1", "seed must be from 0 to 4294967295"),
        ("network.crop=[32, 32, 65536]", "crop must be above 0 and at most 4096"),
        ("recipe.spacing=[.inf, 1.0, 1.0]", "spacing .* must be above 0, at most 1000 mm"),
        ("recipe.resize=[32, 32, 99999]", "resize .* at most 4096"),
        ("finetune.schedule.name=linear", "expected one of constant, cosine, poly, got 'linear'"),
        ("finetune.optimiser.name=lion", "expected one of adamw, adam, sgd"),
        ("finetune.precision=fp64", "expected one of fp32, bf16"),
        ("finetune.optimiser.betas=[0.5]", "expected 2 values, got 1"),
        ("finetune.augment={flop: 1}", "did you mean 'flip'"),
        ("inference.blend=none", "expected one of gaussian, constant"),
        ("network.crop=[32, 32, 30]", "must be a multiple of 16"),
        ("network.crop=[a, b, c]", r"networks\.net\.crop\.0: expected a whole number, got 'a'"),
        ("network.preset=huge", "no preset of network 'unet3d' named 'huge'"),
        ("method.params.temperature=warm", "temperature: expected a number, got 'warm'"),
        ("method.params={temprature: 1}", "did you mean 'temperature'"),
        ("pretrain.seeds=pair", "expected a list or paired, got 'pair'; did you mean 'paired'"),
        ("pretrain.batch=1", "needs a batch of at least 2"),
        ("finetune={steps: 3}", "name one setting of finetune"),
        *((fact, "is not a setting") for fact in FACTS),
    ],
)
def test_what_cannot_be_set_is_one_line_that_names_the_flag(plan_of, text, message):
    with refused(message) as caught:
        plan_of({"finetune": {"name": "first"}}, sets=[text])
    assert f"--set {text}" in str(caught.value) or str(caught.value).startswith(
        "protocol 'test0', row "
    )


def test_best_test_cannot_be_set_below_the_paper_scale(plan_of):
    plan_of(sets=["finetune.select=best_test"])
    with refused("'paper' scale only"):
        plan_of({"scales": {"pilot": {}}}, sets=["finetune.select=best_test"], scale="pilot")


def test_what_a_learning_curve_scores_is_the_protocols_to_say(plan_of):
    tracked = {"finetune": {"track": {"part": "val", "every": 2}}}
    for text, said in {
        "finetune.track.targets=[[2]]": "finetune.track.targets is not a setting",
        "finetune.track.targets=[]": "finetune.track.targets is not a setting",
        "finetune.track={part: test, every: 3, targets: [[2]]}": "track.targets: unknown key 'targets'",
    }.items():
        with refused(said):
            plan_of(tracked, sets=[text])
    assert ids(plan_of(tracked, sets=["finetune.track=null"])) == ids(plan_of())
    assert ids(plan_of(tracked, sets=["finetune.track.every=3"])) == ids(
        plan_of({"finetune": {"track": {"part": "val", "every": 3}}})
    )
