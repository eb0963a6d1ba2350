"""Protocol to jobs: identity, sharing, what depends on what, budgets, --only."""

import hashlib
import json
import shutil
from dataclasses import dataclass, field, replace

import pytest
from one_line import refused
from small_protocol import CASES, NAME, PATIENTS, TEST, TRAIN, cell, ids

from bench import jobs, registry
from bench.data.parts import Entry
from bench.job import Job, Spec, identify
from bench.jobs import KINDS
from bench.record import COLUMNS
from bench.typed import sparse

N = len(TRAIN)


@dataclass(frozen=True)
class Some(Spec):
    kind = "some"
    version = 4

    b: tuple = ()
    a: dict = field(default_factory=dict)
    later: int | None = sparse()  # a field that came later changes no id


def test_the_id_is_sha256_of_canonical_json():
    made = Job(Some((1.5, None), {"z": True, "y": "ü"}), ("n2", "n1"))
    text = '{"kind":"some","needs":["n2","n1"],"spec":{"a":{"y":"\\u00fc","z":true},"b":[1.5,null]},"version":4}'
    assert made.id == hashlib.sha256(text.encode()).hexdigest()[:16]
    plain = {"a": {"y": "ü", "z": True}, "b": [1.5, None]}
    assert (
        identify("some", 4, plain, ["n2", "n1"]) == made.id == Job(Some(**plain), ("n2", "n1")).id
    )
    others = [
        Job(Some((), made.spec.a), made.needs),
        Job(made.spec, ("n1", "n2")),
        Job(made.spec),
        Job(replace(made.spec, later=1), made.needs),
    ]
    kinds = (identify(kind, version, plain, made.needs) for kind in KINDS for version in (4, 99))
    assert len({made.id, *(o.id for o in others), *kinds}) == 5 + 2 * len(KINDS)


def test_every_need_comes_first_and_specs_are_their_own_json(plan_of):
    plan = plan_of()
    seen = set()
    for job in plan.jobs.values():
        assert set(job.needs) <= seen
        stored = json.loads(json.dumps(job.plain()))
        assert jobs.read(stored, "here") == job
        seen.add(job.id)
    count = {k: len(ids(plan, k)) for k in KINDS}
    made = {
        "prepare": 1,
        "guard": 2,
        "pretrain": 1,
        "finetune": 8,
        "evaluate": 8,
        "latency": 0,
        "embed": 0,
    }
    assert count == made
    assert len(plan.cells["test0"]) == 8 and not plan.provisional


def test_neither_names_nor_places_are_part_of_an_id(plan_of, phantoms, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / NAME).symlink_to(phantoms / NAME)
    renamed = {
        "title": "Other",
        "name": "other",
        "paper": "voco",
        "table": "table9",
        "threads": 4,
        "notes": ["x"],
        "about": "y",
        "layout": {"columns": "fractions"},
        "metrics": ["iou", "hd95"],
        "convention": "monai",
        "scales": {"pilot": {}},
        "finetune": {"anchor": {"mean": 0.9, "metric": "iou"}},
        "rows": {"alone": {"title": "T", "published": "P"}, "pair": {"title": "U"}},
    }
    expected = ids(plan_of())
    assert ids(plan_of(renamed)) == expected
    assert ids(plan_of(renamed, scale="pilot")) == expected
    assert ids(plan_of(data=elsewhere)) == expected
    rows = {
        "alone": None,
        "pair": None,
        "x": {"method": "simclr3d", "network": "n"},
        "y": {"method": "scratch", "network": "n"},
    }
    nets = {"n": {"network": "unet3d", "preset": "tiny", "crop": [32, 32, 32]}}
    assert ids(plan_of({"rows": rows, "networks": nets})) == expected


def test_equal_pretraining_is_one_job_over_rows_fractions_tables_and_protocols(plan_of):
    again = {"method": "simclr3d", "network": "net", "finetune": {"optimiser": {"lr": 1e-2}}}
    plan = plan_of(
        {"rows": {"again": again}, "baseline": "unequal"},
        others=[{"name": "two", "table": "t2", "finetune": {"fractions": [5, 10], "seeds": [3]}}],
    )
    assert len(ids(plan, "pretrain")) == 1
    before = {c.pretrain for cells in plan.cells.values() for c in cells}
    assert before == {None, *ids(plan, "pretrain")}
    assert len(ids(plan, "finetune")) == 4 * 3 + 2 * 2


def test_stating_a_default_changes_nothing(plan_of):
    default = registry.load("method", "simclr3d").Params().temperature
    plan = plan_of(
        {
            "pretrain": {
                "crops": 1,
                "precision": "fp32",
                "schedule": {"name": "cosine", "warmup": 0},
            },
            "finetune": {"optimiser": {"name": "adamw", "lr": 1e-4}, "augment": {"flip": 0}},
            "rows": {"pair": {"params": {"temperature": default}}},
        }
    )
    assert ids(plan) == ids(plan_of())
    assert cell(plan, row="pair", fraction=25, seed=0).columns["params"] == "{}"


BOTH, LAST = ("alone", "pair"), ("finetune", "evaluate")
FROM = ("pretrain", *LAST)
CHANGES = {  # what is changed: the kinds of job that change with it, of which rows
    "more fractions": ({"finetune": {"fractions": [25, 50, 100]}}, (), ()),
    "more seeds": ({"finetune": {"seeds": [0, 1, 2]}}, (), ()),
    "metrics": ({"metrics": ["hd"], "empty": "skip"}, (), ()),
    "fine-tuning rate": ({"finetune": {"optimiser": {"lr": 0.5}}}, LAST, BOTH),
    "inference": ({"finetune": {"inference": {"overlap": 0.1}}}, ("evaluate",), BOTH),
    "pretraining rate": ({"pretrain": {"optimiser": {"lr": 0.5}}}, FROM, ("pair",)),
    "pretraining seed": ({"pretrain": {"seed": 1}}, FROM, ("pair",)),
    "pretraining data": (
        {"pretrain": {"datasets": [{"dataset": NAME, "cases": "all"}]}},
        FROM,
        ("pair",),
    ),
    "a parameter": ({"rows": {"pair": {"params": {"temperature": 0.7}}}}, FROM, ("pair",)),
    "one row's budget": (
        {"rows": {"alone": {"finetune": {"steps": 9}}}, "baseline": "unequal"},
        LAST,
        ("alone",),
    ),
    "the crop": ({"networks": {"net": {"crop": [32, 32, 16]}}}, FROM, BOTH),
    "the recipe": (
        {"pretrain": {"recipe": "percentile"}, "finetune": {"recipe": "percentile"}},
        ("prepare", *FROM),
        BOTH,
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_un_does_what_depends_on_it_and_nothing_else(plan_of, what):
    changes, kinds, rows = CHANGES[what]
    before, after = plan_of(), plan_of(changes)
    for old in before.cells["test0"]:
        new = cell(after, **{k: old.columns[k] for k in ("row", "fraction", "seed")})
        found = {kind: (getattr(old, kind), getattr(new, kind)) for kind in FROM}
        found["prepare"] = tuple(
            p.jobs[c.finetune].needs[0] for p, c in ((before, old), (after, new))
        )
        for kind, (a, b) in found.items():
            changed = kind in kinds and old.row in rows and not (a is None and b is None)
            assert (a != b) == changed, (old.row, kind)


def test_changed_bytes_un_do_everything_and_touching_does_not(plan_of, phantoms, tmp_path):
    before, copied = ids(plan_of()), shutil.copytree(phantoms, tmp_path / "copy")
    file = copied / NAME / "labelsTr" / f"{PATIENTS[0]}.nii.gz"
    file.touch()
    (copied / NAME / "imagesTr" / "._litter.nii.gz").write_bytes(b"x")
    assert ids(plan_of(data=copied)) == before
    file.write_bytes((copied / NAME / "labelsTr" / f"{PATIENTS[13]}.nii.gz").read_bytes())
    shutil.copy(
        copied / NAME / "imagesTr" / f"{PATIENTS[13]}.nii.gz",
        copied / NAME / "imagesTr" / file.name,
    )
    assert not ids(plan_of(data=copied)) & before


def test_the_columns_and_the_case_columns_make_a_record(plan_of):
    plan = plan_of({"rows": {"pair": {"params": {"temperature": 0.7}}}, "pretrain": {"seed": 3}})
    per_case = {"job", "case", "patient", "target", "metric", "value", "unit", "status"}
    for c in plan.cells["test0"]:
        assert set(c.columns) | per_case == set(COLUMNS) and not set(c.columns) & per_case
    pair = cell(plan, row="pair", fraction=25, seed=1)
    assert pair.columns["params"] == '{"temperature":0.7}'
    assert (pair.columns["pretrain"], pair.columns["pretrain_seed"]) == (NAME, 3)
    assert pair.columns["init"] == f"job:{pair.pretrain}"
    assert pair.columns["network"] == "unet3d/tiny" and pair.columns["n_train"] == int(
        N * 0.25 + 0.5
    )
    alone = cell(plan, row="alone", fraction=100, seed=0).columns
    assert (alone["pretrain"], alone["init"], alone["params"]) == ("none", "random", "{}")
    assert alone["n_train"] == N and alone["convention"] == "medpy/default"


def test_a_parameter_that_came_later_stands_in_the_records_where_it_differs(plan_of):
    row = {"method": "voco", "network": "net", "pretrain": {"crop": [16, 16, 16]}}
    row["params"] = {"variant": "v2", "grid": [1, 2, 1], "dropout": 0.5}
    plan = plan_of({"rows": {"placed": row}})
    told = cell(plan, row="placed", fraction=25, seed=1).columns["params"]
    assert told == '{"dropout":0.5,"grid":[1,2,1],"variant":"v2"}'


@pytest.mark.parametrize(
    ("budget", "quarter", "full"),
    [
        ({"steps": 60, "hold": None}, 60, 60),
        ({"steps": 60, "hold": "steps"}, 60, 60),
        ({"steps": 60, "hold": "epochs"}, round(60 * 4 / 14), 60),
        ({"steps": None, "epochs": 10, "crops": 3, "batch": 4, "hold": None}, 30, 105),
        ({"steps": None, "epochs": 10, "crops": 3, "batch": 4, "hold": "epochs"}, 30, 105),
        ({"steps": None, "epochs": 10, "crops": 3, "batch": 4, "hold": "steps"}, 105, 105),
        ({"steps": None, "epochs": 0.1, "hold": None}, 1, 1),
    ],
)
def test_hold_says_what_stays_the_same_over_fractions(plan_of, budget, quarter, full):
    assert (N, int(N * 0.25 + 0.5)) == (14, 4)
    plan = plan_of({"finetune": budget})
    for row in BOTH:
        for fraction, steps in ((25, quarter), (100, full)):
            job = plan.jobs[cell(plan, row=row, fraction=fraction, seed=0).finetune]
            assert job.spec.finetune.steps == steps


def test_pretraining_epochs_count_the_cases_it_reads(plan_of):
    def made(**data):
        plan = plan_of({"pretrain": {"steps": None, "epochs": 4, "batch": 2, **data}})
        return plan.jobs[ids(plan, "pretrain").pop()].spec

    assert made().pretrain.steps == 4 * N // 2 and made().data[0].part == "train"
    whole = made(datasets=[{"dataset": NAME, "cases": "all"}])
    assert whole.pretrain.steps == 4 * CASES // 2 and whole.data == (
        Entry(dataset=NAME, part="all"),
    )
    # 80 / 7 is 11.4
    assert made(datasets=[{"dataset": NAME, "cases": "all"}], batch=7).pretrain.steps == 11
    # 80 / 3 is 26.7
    assert made(datasets=[{"dataset": NAME, "cases": "all"}], batch=3).pretrain.steps == 27


def test_pretraining_seeds_cross_with_those_of_fine_tuning(plan_of):
    changes = {"pretrain": {"seeds": [3, 4, 5]}, "controls": ["random", "shuffled"]}
    plan = plan_of(changes, only={"seed": ["1"]})
    assert len(ids(plan, "pretrain")) == 3
    runs = {}
    for c in plan.cells["test0"]:
        if c.columns["fraction"] == 25:
            runs.setdefault(c.row, []).append((c.columns["pretrain_seed"], c.columns["seed"]))
        assert c.wanted == (c.columns["seed"] == 1)  # the seed of --only is that of fine-tuning
        before = plan.jobs[c.pretrain].spec.seed if c.pretrain else 0
        assert c.columns["pretrain_seed"] == before
    crossed = [(p, s) for p in (3, 4, 5) for s in (0, 1)]
    assert sorted(runs["pair"]) == sorted(runs["pair (shuffled)"]) == crossed
    assert runs["alone"] == runs["pair (random)"] == [(0, 0), (0, 1)]
    own = {"rows": {"pair": {"pretrain": {"seeds": [7]}}}, "pretrain": {"seed": 3}}
    assert {c.columns["pretrain_seed"] for c in plan_of(own).cells["test0"]} == {0, 7}
    single = {"rows": {"pair": {"pretrain": {"seed": 3}}}, "pretrain": {"seeds": [1, 2]}}
    assert ids(plan_of(single)) == ids(plan_of({"pretrain": {"seed": 3}}))


def test_paired_seeds_give_each_fine_tuning_seed_a_pretraining_of_its_own(plan_of):
    changes = {
        "pretrain": {"seeds": "paired"},
        "finetune": {"seeds": [3, 4, 5]},
        "controls": ["shuffled"],
    }
    plan = plan_of(changes)
    assert sorted(plan.jobs[job].spec.seed for job in ids(plan, "pretrain")) == [3, 4, 5]
    for c in plan.cells["test0"]:
        before = plan.jobs[c.pretrain].spec.seed if c.pretrain else 0
        assert c.columns["pretrain_seed"] == before
        assert c.columns["seed"] == before or c.row == "alone"
    crossed = plan_of({**changes, "pretrain": {"seeds": [3, 4, 5]}})
    assert ids(plan, "pretrain") == ids(crossed, "pretrain")
    assert set(ids(plan, "finetune")) < set(ids(crossed, "finetune"))


def test_a_section_may_have_a_pretraining_of_its_own_over_which_a_rows_settings_stand(plan_of):
    section = {"dataset": NAME, "split": "even", "seeds": [0], "hold": "steps", "steps": 3}
    own = {**section, "name": "own", "pretrain": {"steps": 9, "name": "other scans"}}
    plan = plan_of({"finetune": [section, own]})
    first, second = (cell(plan, row="pair", section=name) for name in (NAME, "own"))
    assert [plan.jobs[c.pretrain].spec.pretrain.steps for c in (first, second)] == [
        first_steps(plan_of),
        9,
    ]
    assert second.columns["pretrain"] == "other scans" != first.columns["pretrain"]
    alone = plan_of({"finetune": [section], "pretrain": {"steps": 9}})
    assert ids(alone, "pretrain", "finetune") < ids(plan)  # where it is said is no part of an id
    both = plan_of({"finetune": [section, own], "rows": {"pair": {"pretrain": {"steps": 5}}}})
    assert len(ids(both, "pretrain")) == 1
    with refused(r"rows\.pair\.finetune\.pretrain: a row cannot change this"):
        plan_of({"rows": {"pair": {"finetune": {"pretrain": {"steps": 5}}}}})
    with refused(r"finetune.0.pretrain.*stesp"):
        plan_of({"finetune": [{**section, "pretrain": {"stesp": 5}}]})


def first_steps(plan_of):
    (job,) = ids(plan_of({}), "pretrain")
    return plan_of({}).jobs[job].spec.pretrain.steps


def test_two_sections_on_one_data_set_are_told_apart_in_the_records(plan_of):
    section = {"dataset": NAME, "split": "even", "seeds": [0], "hold": "steps"}
    plan = plan_of(
        {"finetune": [{**section, "steps": 1}, {**section, "steps": 60, "name": "long"}]}
    )
    one, other = (cell(plan, row="pair", section=name) for name in (NAME, "long"))
    assert one.pretrain == other.pretrain and one.finetune != other.finetune
    # the name is no part of an id
    alone = plan_of({"finetune": [{**section, "steps": 60, "name": "x"}]})
    assert ids(alone, "finetune", "evaluate") < ids(plan)


def test_a_row_has_cells_and_guards_in_the_sections_that_it_names(plan_of):
    section = {"dataset": NAME, "split": "even", "seeds": [0], "steps": 3}
    changes = {
        "finetune": [{**section, "name": n} for n in ("a", "b")],
        "rows": {
            "pair": {"sections": ["a"], "pretrain": {"steps": 3}},
            "other": {"method": "simclr3d", "network": "net"},
        },
    }
    plan = plan_of(changes)
    met = [(c.row, c.columns["section"]) for c in plan.cells["test0"]]
    assert met == [(r, "a") for r in ("alone", "pair", "other")] + [
        (r, "b") for r in ("alone", "other")
    ]
    # what is pretrained for one section is not held against the test cases of another
    changes["finetune"][1]["split"] = "cv5"
    plan = plan_of(changes)
    tested = {
        c.row: {t.split for t in plan.jobs[plan.jobs[c.guard].needs[0]].spec.tests}
        for c in plan.cells["test0"]
        if c.guard and c.columns["section"] == "a"
    }
    assert tested == {"pair": {"even"}, "other": {"even"}}
    changes["pretrain"] = {"datasets": [{"dataset": NAME, "cases": "all"}]}
    plan = plan_of(changes)
    tested = {
        c.row: {t.split for t in plan.jobs[plan.jobs[c.guard].needs[0]].spec.tests}
        for c in plan.cells["test0"]
        if c.guard
    }
    assert tested == {"pair": {"even"}, "other": {"even", "cv5"}}


def test_only_marks_what_is_wanted_and_values_of_one_key_add_up(plan_of):
    def wanted(**only):
        plan = plan_of(only=only)
        assert ids(plan) == ids(plan_of())  # the rest stays in the plan, so that it can be shown
        return {
            (c.row, c.columns["fraction"], c.columns["seed"])
            for c in plan.cells["test0"]
            if c.wanted
        }

    assert wanted(method=["scratch"]) == wanted(row=["alone"])
    assert wanted(row=["alone"]) == {("alone", f, s) for f in (25, 100) for s in (0, 1)}
    assert wanted(fraction=["25"], seed=["1"]) == {("alone", 25, 1), ("pair", 25, 1)}
    assert len(wanted(seed=["0", "1"])) == len(wanted(network=["unet3d"])) == 8
    assert len(wanted(network=["net"])) == 8
    assert len(wanted(dataset=[NAME], row=["pair", "alone"])) == 8
    folded = plan_of({"finetune": {"split": "cv5"}}, only={"fold": ["3"], "row": ["alone"]})
    cells = [c for c in folded.cells["test0"] if c.wanted]
    assert {c.columns["fold"] for c in cells} == {3} and len(cells) == 4


@pytest.mark.parametrize(
    ("only", "message"),
    [
        ({"methods": ["x"]}, "no key of --only named 'methods'; did you mean 'method'"),
        (
            {"method": ["simclr"]},
            r"--only method=simclr: no method in protocol .*; did you mean 'simclr3d'",
        ),
        ({"fraction": ["5"]}, "--only fraction=5: no fraction in protocol 'test0' named '5'"),
        ({"row": ["al0ne"]}, "did you mean 'alone'"),
        ({"section": ["btcv"]}, "--only section=btcv: no section in protocol 'test0' named"),
        ({"fold": ["1"]}, "--only fold=1: no fold in protocol 'test0' named '1'; known: 0"),
        ({"row": ["alone"], "method": ["simclr3d"]}, "protocol 'test0': --only matches nothing"),
    ],
)
def test_only_refuses_what_the_protocol_has_not(plan_of, only, message):
    with refused(message):
        plan_of(only=only)


def test_without_data_the_plan_is_provisional(plan_of):
    plan = plan_of({"finetune": {"steps": None, "epochs": 3}}, data=None)
    assert plan.provisional and len(ids(plan)) == 20
    for job in plan.jobs.values():
        if job.kind == "finetune":
            assert job.spec.finetune.steps is None and job.spec.data.split_hash is None
    assert {c.columns["n_train"] for c in plan.cells["test0"]} == {0}


def test_without_data_a_registered_list_is_known_all_the_same(plan_of):
    section = {
        "dataset": "btcv",
        "split": "unetr_24_6",
        "epochs": 10,
        "batch": 2,
        "fractions": [25, 100],
    }
    plan = plan_of(
        {"finetune": [section], "pretrain": {"datasets": [{"dataset": "btcv"}]}}, data=None
    )
    assert plan.provisional
    full = cell(plan, row="alone", fraction=100)
    assert full.columns["n_train"] == 24
    assert plan.jobs[full.finetune].spec.finetune.steps == 10 * 24 // 2
    assert plan.jobs[full.finetune].spec.data.split_hash
    with refused("did you mean 'unetr_24_6'"):
        plan_of({"finetune": [{**section, "split": "unetr_24_"}]}, data=None)


def test_leave_one_out_has_a_cell_for_every_patient(plan_of):
    plan = plan_of({"finetune": {"split": "leave_one_out", "fractions": [100], "seeds": [0]}})
    assert len(plan.cells["test0"]) == 2 * CASES
    # each fold's pretraining reads its own training patients
    assert len(ids(plan, "pretrain")) == CASES
    folds = {c.columns["fold"] for c in plan.cells["test0"]}
    assert folds == set(range(CASES))
    chosen = plan_of({"finetune": {"split": "leave_one_out", "folds": [2, 5]}})
    assert {c.columns["fold"] for c in chosen.cells["test0"]} == {2, 5}


def test_pretraining_reads_training_patients_of_every_downstream_data_set(
    plan_of, phantoms, tmp_path
):
    data = tmp_path / "two"
    data.mkdir()
    for name in (NAME, "own_scans"):
        (data / name).symlink_to(phantoms / NAME)
    base = {"dataset": NAME, "split": "even", "steps": 4, "fractions": [100]}
    section = {**base, "dataset": "own_scans"}
    mixture = {"pretrain": {"datasets": [{"dataset": NAME}, {"dataset": "own_scans"}]}}
    plan = plan_of({"finetune": [base, section], **mixture}, data=data)
    (pretrain,) = ids(plan, "pretrain")  # one, shared by both columns
    assert [d.part for d in plan.jobs[pretrain].spec.data] == ["train", "train"]
    alone = plan_of({"finetune": [base], **mixture}, data=data)
    (pretrain,) = ids(alone, "pretrain")
    assert [d.part for d in alone.jobs[pretrain].spec.data] == ["train", "all"]
    mixture["pretrain"]["datasets"][1]["split"] = "even"
    shared = plan_of({"finetune": [base], **mixture}, data=data)
    assert ids(shared, "pretrain") == ids(plan, "pretrain")  # a protocol of each data set shares it
    with refused(r"datasets\.1\.split: .*'own_scans' is also fine-tuned on"):
        plan_of({"finetune": [base, section], **mixture}, data=data)
    mixture["pretrain"]["datasets"][1]["split"] = "cv5"
    with refused(r"datasets\.1\.split: .* has 5 folds"):
        plan_of({"finetune": [base], **mixture}, data=data)
    mixture["pretrain"]["datasets"][1]["dataset"] = "luna16"
    with refused(r"datasets\.1\.split: .*'luna16' has no labels"):
        plan_of({"finetune": [base], **mixture}, data=None)


def test_a_row_can_start_from_a_snapshot(plan_of):
    early = {"method": "simclr3d", "network": "net", "at": 4}
    plan = plan_of({"pretrain": {"snapshots": [4]}, "rows": {"early": early}})
    assert len(ids(plan, "pretrain")) == 1
    one = cell(plan, row="early", fraction=25, seed=0)
    assert one.columns["init"] == f"job:{one.pretrain}@4"
    assert one.finetune != cell(plan, row="pair", fraction=25, seed=0).finetune
    wrong = [
        ([4], 5, "is not among the snapshots"),
        ([4, 9], 9, ", and the pretraining ends after 8"),
    ]
    for snapshots, at, said in wrong:
        with refused(f"row 'early': 'at: {at}'[ ]?{said}"):
            plan_of({"pretrain": {"snapshots": snapshots}, "rows": {"early": {**early, "at": at}}})


def test_best_test_is_shown_beside_the_last_weights(plan_of):
    plan = plan_of({"finetune": {"select": "best_test"}})
    best, last = (cell(plan, row=r, fraction=25, seed=0) for r in ("alone", "alone (last)"))
    assert best.finetune == last.finetune and best.evaluate != last.evaluate
    weights = [plan.jobs[c.evaluate].spec.weights for c in (best, last)]
    assert weights == ["best_test", "last"]


MASKED = {
    "networks": {"net": {"network": "unetr", "preset": "tiny", "crop": [32, 32, 32]}},
    "rows": {"pair": {"method": "mae3d"}},
}  # its loss looks at every sample alone


def test_a_batch_is_cut_by_micro_batches_and_processes_and_a_fine_tuning_is_one_process(plan_of):
    assert plan_of({"pretrain": {"batch": 12}, "finetune": {"batch": 2}}, processes=4).jobs
    changes = {
        **MASKED,
        "pretrain": {"batch": 8, "accumulate": 2},
        "finetune": {"batch": 6, "accumulate": 3},
    }
    one, four = (plan_of(changes, processes=n) for n in (1, 4))
    assert set(one.jobs) == set(four.jobs)  # the number of processes is no part of a job's name


def test_who_goes_by_two_names_is_not_trained_on_and_tested(plan_of, monkeypatch):
    both = {TRAIN[0], TEST[0]}
    monkeypatch.setattr(
        registry.load("dataset", NAME),
        "person",
        lambda self, case: "A" if case.patient in both else case.id,
    )
    with refused("are the same person, on both sides of split 'even'"):
        plan_of()
