"""What a fine-tuning starts from: files by their content, controls, other crops and networks."""

import hashlib
from dataclasses import replace

import pytest
from one_line import refused
from small_protocol import NAME, TRAIN, cell, ids

from bench import registry, run
from bench.store import Store

FILE = {"method": "simclr3d", "network": "net", "init": "weights.safetensors"}
ONE = {"finetune": {"fractions": [100], "seeds": [0]}}


def digest(data):
    return hashlib.sha256(data).hexdigest()


def with_file(**row):
    return {**ONE, "rows": {"taken": {**FILE, **row}}}


@pytest.fixture
def weights(tmp_path):
    """Return a function that writes bytes beside the protocols; to plan, they need not be weights."""

    def write(data=b"some", name="weights.safetensors"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    return write


# A file


def test_a_row_from_a_file_names_its_content_and_pretrains_nothing(plan_of, weights):
    path = weights()
    plan = plan_of(with_file())
    found = cell(plan, row="taken")
    assert found.columns["init"] == f"file:{digest(b'some')}" == plan.jobs[found.finetune].spec.init
    assert (found.columns["pretrain"], found.columns["pretrain_seed"]) == ("file", 0)
    assert found.columns["method"] == "simclr3d"
    assert (
        found.pretrain is None and found.guard is None and len(plan.jobs[found.finetune].needs) == 1
    )
    assert plan.files.paths == {digest(b"some"): str(path)}
    alone = plan_of({**with_file(), "pretrain": None, "rows": {"pair": None, "taken": FILE}})
    assert not ids(alone, "pretrain", "guard")  # needs no section of its own


def test_the_content_is_the_identity_and_no_path(plan_of, weights, tmp_path):
    blob = weights(b"some", "blobs/0123")  # as download caches keep them, without a suffix
    (tmp_path / "weights.safetensors").symlink_to(blob)
    without = plan_of(with_file(), data=None)
    assert without.provisional and without.files.paths[digest(b"some")].endswith(
        "/weights.safetensors"
    )
    weights(b"some", "deep/copy.pth")
    before = cell(plan_of(with_file()), row="taken").finetune
    elsewhere = plan_of(with_file(init="deep/copy.pth"))
    assert cell(elsewhere, row="taken").finetune == before
    weights(b"else", "deep/copy.pth")
    assert cell(plan_of(with_file(init="deep/copy.pth")), row="taken").finetune != before


def test_a_file_that_is_not_there_can_be_planned_and_not_run(plan_of, tmp_path):
    with refused(r"row 'taken': init: .*weights\.safetensors is no file"):
        plan_of(with_file())
    two = {**ONE, "rows": {"taken": FILE, "second": {**FILE, "init": "other.pth"}}}
    plan = plan_of(two, data=None)
    first, second = (cell(plan, row=r) for r in ("taken", "second"))
    assert plan.provisional and first.columns["init"].startswith("file:?")
    assert first.finetune != second.finetune  # they are not one job
    # a row that is not wanted may lack its file
    plan = plan_of(with_file(), only={"row": ["alone"]})
    assert [c.row for c in plan.cells["test0"] if c.wanted] == ["alone"] and plan.provisional
    (tmp_path / "weights.safetensors").mkdir()  # a folder is none
    with refused("is no file"):
        plan_of(with_file(), only={"row": ["taken"]})


def test_a_file_that_was_moved_away_is_asked_for_by_what_it_has_to_begin_alone(
    plan_of, weights, tmp_path
):
    path, store = weights(), Store.open(tmp_path / "out")
    before = plan_of(with_file())
    path.unlink()
    plan = plan_of(with_file())
    assert plan.jobs.keys() == before.jobs.keys() and not plan.provisional
    tuned = cell(plan, row="taken").finetune
    run.rehearse(plan, [job for job in plan.jobs if plan.jobs[job].kind != "finetune"])
    with refused(r"init: .*weights\.safetensors is no file; put the weights there"):
        run.rehearse(plan, [tuned])
    (line,) = run.changed(plan, store)
    assert line == f"init: {path} is gone; only finished results of it can be used"
    weights(b"else")  # another file in its place is another start
    assert cell(plan_of(with_file()), row="taken").finetune != tuned and not run.changed(
        before, store
    )


def test_a_dry_run_refuses_files_as_the_run_would(plan_of, weights, tmp_path):
    absent = plan_of(with_file(), data=None)
    with refused(r"row 'taken': init: .*weights\.safetensors is no file"):
        run.rehearse_starts(absent, [*absent.jobs], all_jobs=True)
    weights()
    plan = plan_of(with_file())
    for all_jobs in (True, False):
        with refused(r"weights\.safetensors: cannot be read as safetensors"):
            run.rehearse_starts(plan, [*plan.jobs], all_jobs=all_jobs)
    others = [job for job in plan.jobs if plan.jobs[job].kind != "finetune"]
    assert run.rehearse_starts(plan, others, all_jobs=False) == []


# Controls


def test_controls_stand_beside_every_pretrained_row(plan_of, weights):
    weights()
    plan = plan_of({**with_file(), "controls": ["random", "shuffled"]})
    rows = [c.row for c in plan.cells["test0"]]
    of = ["{}", "{} (random)", "{} (shuffled)"]
    assert rows == ["alone", *(o.format(r) for r in ("pair", "taken") for o in of)]


def test_a_random_control_is_scratch_under_another_name(plan_of):
    plan = plan_of({**ONE, "controls": ["random", "shuffled"]})
    rows = ("alone", "pair", "pair (random)", "pair (shuffled)")
    alone, pair, fresh, mixed = (cell(plan, row=row) for row in rows)
    assert (fresh.finetune, fresh.evaluate) == (alone.finetune, alone.evaluate)
    assert (fresh.columns["init"], fresh.columns["pretrain"]) == ("random", "none")
    assert fresh.pretrain is None and fresh.guard is None and fresh.columns["method"] == "simclr3d"
    assert mixed.columns["init"] == pair.columns["init"] and mixed.columns["pretrain"] == NAME
    assert (mixed.pretrain, mixed.guard) == (pair.pretrain, pair.guard)
    one, two = (plan.jobs[c.finetune].spec for c in (pair, mixed))
    assert replace(one, control="shuffled") == two and not one.control
    assert len(ids(plan, "finetune")) == 3 and ids(plan_of(ONE)) < ids(
        plan
    )  # and no other job changes


def test_a_random_control_has_its_rows_own_recipe(plan_of):
    longer = {"rows": {"pair": {"finetune": {"steps": 9}}}, "baseline": "unequal"}
    changes = {**ONE, "controls": ["random"], **longer}
    plan = plan_of(changes)
    fresh = plan.jobs[cell(plan, row="pair (random)").finetune]
    assert fresh.spec.finetune.steps == 9 and fresh.spec.init == "random"
    assert fresh.id != cell(plan, row="alone").finetune


LONGER = {  # pretrained for 8 steps of 2, 5 of 7, and at most 3 of 4: 16, 35 and 12 samples
    "controls": ["random", "long"],
    "rows": {
        "wide": {"method": "simclr3d", "network": "net", "pretrain": {"steps": 5, "batch": 7}},
        "early": {
            "method": "simclr3d",
            "network": "net",
            "at": 3,
            "pretrain": {"steps": 30, "batch": 4, "snapshots": [3]},
        },
    },
    "finetune": {"batch": 4},
}


@pytest.mark.parametrize(
    ("changes", "sets", "steps"),
    [
        ({}, (), [6 + 9, 6 + 9]),  # 35 samples are 9 batches of 4
        (
            {"finetune": {"batch": 4, "hold": "epochs"}},
            (),
            [2 + 9, 6 + 9],
        ),  # 4 of 14 patients; 6 x 4 / 14
        (
            {"rows": {**LONGER["rows"], "early": {**LONGER["rows"]["early"], "at": None}}},
            (),
            [6 + 30, 6 + 30],
        ),
        (
            {
                "rows": {
                    **LONGER["rows"],
                    "wide": {"method": "simclr3d", "network": "net", "init": "w"},
                }
            },
            (),
            [6 + 4, 6 + 4],
        ),
        (
            {},
            ("pretrain.steps=2", "finetune.steps=1", "finetune.batch=5"),
            [1 + 3, 1 + 3],
        ),  # 2 of 7 in fives
    ],
)
def test_scratch_may_train_as_long_as_pretraining_and_fine_tuning_together(
    plan_of, changes, sets, steps
):
    first = {"early": {**LONGER["rows"]["early"], "at": None, "pretrain": {}}} if sets else {}
    rows = {**LONGER["rows"], **changes.get("rows", {}), **first}
    plan = plan_of({**LONGER, **changes, "rows": rows}, sets=sets, only={"row": ["alone"]})
    found = {
        c.columns["fraction"]: plan.jobs[c.finetune].spec
        for c in plan.cells["test0"]
        if c.row == "alone (long)" and c.wanted
    }
    assert [found[fraction].finetune.steps for fraction in (25, 100)] == steps
    alone = plan.jobs[cell(plan, row="alone", fraction=100, seed=0).finetune].spec
    assert (
        replace(
            found[100], seed=0, finetune=replace(found[100].finetune, steps=alone.finetune.steps)
        )
        == alone
    )
    assert {c.row for c in plan.cells["test0"]} >= {"alone (long)", "pair (random)"}
    assert not {c.row for c in plan.cells["test0"]} & {"alone (random)", "pair (long)"}


def test_a_longer_scratch_is_of_its_network_and_section_and_unknown_where_a_pretraining_is(plan_of):
    section = {"dataset": NAME, "split": "even", "seeds": [0], "steps": 3, "batch": 2}
    rows = {
        "other": {"method": "scratch", "network": "wide"},
        "pair": {"sections": ["a"]},
        "brief": {
            "method": "simclr3d",
            "network": "net",
            "sections": ["b"],
            "pretrain": {"steps": 1},
        },
    }
    changes = {
        "networks": {"wide": {"network": "unet3d", "preset": "small", "crop": [32, 32, 32]}},
        "rows": rows,
        "controls": ["long"],
        "finetune": [{**section, "name": n} for n in ("a", "b")],
    }
    plan = plan_of(changes)
    long = {
        (c.row, c.columns["section"]): plan.jobs[c.finetune].spec.finetune.steps
        for c in plan.cells["test0"]
        if "(long)" in c.row
    }
    assert long == {("alone (long)", "a"): 3 + 8, ("alone (long)", "b"): 3 + 1}
    epochs = {"controls": ["long"], "pretrain": {"steps": None, "epochs": 2}}
    unseen = plan_of(epochs, data=None)
    assert (
        unseen.jobs[
            cell(unseen, row="alone (long)", fraction=25, seed=0).finetune
        ].spec.finetune.steps
        is None
    )


def test_a_longer_scratch_is_scored_by_the_best_weights_on_the_test_and_the_last(plan_of):
    plan = plan_of(
        {**ONE, "controls": ["long"], "finetune": {**ONE["finetune"], "select": "best_test"}}
    )
    rows = [c.row for c in plan.cells["test0"]]
    assert rows == [f"{r}{v}" for r in ("alone", "alone (long)", "pair") for v in ("", " (last)")]


def test_only_takes_a_control_by_its_name_or_a_row_with_all_of_its(plan_of):
    def wanted(row):
        plan = plan_of({**ONE, "controls": ["random", "shuffled"]}, only={"row": [row]})
        return [c.row for c in plan.cells["test0"] if c.wanted]

    assert wanted("pair") == ["pair", "pair (random)", "pair (shuffled)"]
    assert wanted("pair (shuffled)") == ["pair (shuffled)"]
    with refused("no row in protocol"):
        wanted("alone (random)")


# Other crops, other networks


def spec(plan, row, kind):
    found = cell(plan, row=row)
    return plan.jobs[getattr(found, kind)].spec


def test_pretraining_and_fine_tuning_read_crops_of_their_own_and_one_row_others(plan_of):
    changes = {
        "pretrain": {"crop": [16, 32, 32]},
        "finetune": {**ONE["finetune"], "crop": [32, 32, 16]},
    }
    plan = plan_of(changes)
    assert spec(plan, "pair", "pretrain").network.crop == (16, 32, 32)
    assert spec(plan, "alone", "evaluate").inference.crop == (32, 32, 16)
    stated = {"networks": {"net": {"crop": [32, 32, 16]}}, "pretrain": {"crop": [16, 32, 32]}}
    assert ids(plan_of({**stated, **ONE})) == ids(plan)
    rows = {"pair": {"pretrain": {"crop": [16, 16, 32]}, "finetune": {"crop": [32, 16, 32]}}}
    plan = plan_of({**ONE, "rows": rows, "baseline": "unequal"})
    found = [spec(plan, *of).network.crop for of in (("pair", "pretrain"), ("pair", "finetune"))]
    assert found == [(16, 16, 32), (32, 16, 32)]
    assert spec(plan, "alone", "finetune").network.crop == (32, 32, 32)


TWO_D = {
    "networks": {
        "net": {"preset": "small"},
        "flat": {"network": "unet2d", "preset": "small", "crop": [64, 64, 1]},
    },
    "rows": {"pair": {"pretrain": {"network": "flat"}}},
}


def test_a_network_of_two_dimensions_can_be_pretrained_for_one_of_three(plan_of, monkeypatch):
    with refused(r"row 'pair': method 'simclr3d' cannot train network 'unet2d'"):
        plan_of({**ONE, **TWO_D})
    method = registry.load("method", "simclr3d")  # as if it could
    monkeypatch.setattr(method, "networks", lambda: ("unet2d", "unet3d"))
    monkeypatch.setattr(method.Params, "check", lambda *given: None)
    plan = plan_of({**ONE, **TWO_D})
    made, tuned = spec(plan, "pair", "pretrain"), spec(plan, "pair", "finetune")
    assert (made.network.network, made.network.crop) == ("unet2d", (64, 64, 1))
    assert (tuned.network.network, tuned.network.crop) == ("unet3d", (32, 32, 32))
    assert cell(plan, row="pair").columns["network"] == "unet3d/small"
    plan = plan_of({**ONE, **TWO_D, "pretrain": {"crop": [32, 32, 1]}})
    assert spec(plan, "pair", "pretrain").network.crop == (32, 32, 1)


# Who validates


@pytest.mark.parametrize(("share", "back"), [(0.2, 3), (0.5, 7), (0.01, 1), (0.9, 13)])
def test_a_holdout_counts_those_that_train_in_the_budget(plan_of, share, back):
    epochs = {
        **ONE["finetune"],
        "holdout": share,
        "steps": None,
        "epochs": 8,
        "batch": 2,
        "hold": None,
    }
    plan = plan_of({"finetune": epochs})
    found = cell(plan, row="alone")
    made = plan.jobs[found.finetune].spec
    assert len(TRAIN) == 14 and made.finetune.steps == 8 * (14 - back) // 2
    assert made.data.holdout == share and "holdout" not in vars(made.finetune)
    # labelled, whatever they are used for
    assert made.data.n_train == found.columns["n_train"] == 14


def test_a_holdout_of_nobody_or_of_everybody(plan_of):
    plan = plan_of({"finetune": {**ONE["finetune"], "holdout": 0.0}})
    assert ids(plan) == ids(plan_of(ONE))
    with refused(rf"{NAME}: holdout 0\.2 of 1 training patient\(s\) leaves none"):
        plan_of({"finetune": {"fractions": [5], "holdout": 0.2}})
    for share in (1, -0.1):
        with refused("holdout must be from 0 and below 1"):
            plan_of({"finetune": {"holdout": share}})


def test_how_a_line_predicts_is_part_of_training_only_where_it_is_judged(plan_of):
    def tuned(**finetune):
        plan = plan_of({"finetune": {**ONE["finetune"], **finetune}}, sets=sets)
        return plan.jobs[cell(plan, row="alone").finetune].spec.finetune

    sets = ()
    overlap = {"inference": {"overlap": 0.25}}
    assert tuned().inference is None and tuned(**overlap).inference is None
    for judged in ({"select": "best_val"}, {"select": "last", "patience": 0.5}):
        assert tuned(**judged, **overlap).inference.overlap == 0.25
    sets = ("inference.overlap=0.75",)
    assert tuned(select="best_val", **overlap).inference.overlap == 0.75


def test_a_holdout_validates_where_a_split_has_nobody_to(plan_of):
    judged = {**ONE["finetune"], "split": "cv5", "select": "best_val"}
    assert plan_of({"finetune": {**judged, "holdout": 0.2}}).cells["test0"]
    assert plan_of({"finetune": judged}, data=None).provisional


# Regions

HEAD = {"head": "regions", "regions": {"both": [1, 2], "tail": [2]}}


def with_regions(**finetune):
    return {"finetune": {**ONE["finetune"], **HEAD, **finetune}}


def test_a_region_head_has_a_channel_for_each_region_and_is_painted_when_it_predicts(plan_of):
    plan = plan_of(with_regions())
    found = cell(plan, row="alone")
    tuned, evaluated = plan.jobs[found.finetune].spec, plan.jobs[found.evaluate].spec
    assert tuned.network.out_channels == 2 and tuned.data.regions == ((1, 2), (2,))
    assert tuned.data.paint == evaluated.data.paint == ((0, 1), (1, 2))
    (scoring,) = plan.scoring[found.evaluate]
    assert scoring.regions == {"both": (1, 2), "tail": (2,)}
    plain = plan_of({"finetune": {**ONE["finetune"], "regions": HEAD["regions"]}})
    softmax = plain.jobs[cell(plain, row="alone").finetune].spec
    assert softmax.network.out_channels == 3 and not softmax.data.regions and not softmax.data.paint
    assert ids(plain, "finetune") == ids(plan_of(ONE), "finetune")  # only how it is scored differs
    assert plain.scoring[cell(plain, row="alone").evaluate][0].regions == scoring.regions


def test_two_sections_on_one_data_set_have_regions_of_their_own(plan_of):
    section = {"dataset": NAME, "split": "even", "steps": 6}
    plan = plan_of({"finetune": [{**section, "regions": {"whole": [1, 2]}}, section]})
    one, other = (cell(plan, row="alone", section=name) for name in (NAME, f"{NAME}#2"))
    assert one.evaluate == other.evaluate  # a softmax head is of the labels, whatever is scored
    known = plan.scoring_of["test0"]
    assert known[NAME].regions == {"whole": (1, 2)} and known[f"{NAME}#2"].regions == {}
    assert sorted(map(len, plan.scoring.values())) == [2] * len(plan.scoring)


def test_a_head_can_be_set_and_what_a_control_is_cannot(plan_of):
    by_flag = plan_of(with_regions(), sets=("finetune.head=softmax",))
    assert ids(by_flag) == ids(plan_of(with_regions(head="softmax")))
    with refused(f"data set '{NAME}' declares no regions"):
        plan_of({"finetune": ONE["finetune"]}, sets=("finetune.head=regions",))
    with refused("--set control=random: control is not a setting"):
        plan_of({"controls": ["shuffled"]}, sets=("control=random",))


# Latency


def test_latency_is_a_job_of_the_network_alone(plan_of):
    plan = plan_of({"metrics": ["dice", "latency"], "threads": 2})
    (timed,) = ids(plan, "latency")  # one for all fractions, seeds and rows
    assert {c.latency for c in plan.cells["test0"]} == {timed} and timed in plan.wanted()
    job = plan.jobs[timed]
    assert (
        job.needs == () and set(vars(job.spec)) == {"network", "task"} and plan.threads[timed] == 2
    )
    assert ids(plan) - {timed} == ids(plan_of()) and not ids(plan_of(), "latency")
    assert all("latency" not in s.metrics for found in plan.scoring.values() for s in found)
    other = plan_of({"metrics": ["dice", "latency"], "finetune": {"crop": [32, 32, 16]}})
    assert ids(other, "latency") != {timed}
    with refused("latency cannot judge this task; use dice"):
        plan_of({"metrics": ["latency"]})
