"""``evaluation: probe`` in a protocol: what is planned, what is refused, and what a run leaves."""

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from one_line import refused
from small_protocol import BASE, NAME, PATIENTS, cell

from bench import nets, run
from bench.cli import main
from bench.nets import transfer
from bench.plan.cost import likeness
from bench.record import COLUMNS, read_rows
from bench.store import Store

SECTION = BASE["finetune"][0]
PROBE = {**{k: v for k, v in SECTION.items() if k not in ("steps", "hold")}, "evaluation": "probe"}

VOLUME = {"volume": "anterior"}


def probed(section=(), **more):
    section = {**PROBE, **dict(section)}
    if "draws" in section and section["seeds"] == PROBE["seeds"]:
        del section["seeds"]
    return {"finetune": [section], **more}


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """Return an output folder: the scans are prepared once for all tests."""
    return tmp_path_factory.mktemp("out")


@pytest.fixture
def run_of(protocol_file, phantoms, out, inlined, undrawn):
    """Return a function that runs the small protocol, changed and renamed, and returns its records."""

    def run(changes, name, out=out):
        file = protocol_file({"name": name, **changes})
        assert main(["run", str(file), "--data", str(phantoms), "--out", str(out)]) == 0
        return read_rows(out / "records" / f"{name}.parquet", COLUMNS)

    return run


def test_a_draw_of_patients_is_the_only_seed_of_given_weights(plan_of):
    plan = plan_of(
        probed(
            {"draws": 3, "steps": 6}, controls=["intensity", "ceiling"], pretrain={"seeds": [0, 1]}
        )
    )

    def jobs(row, fraction):
        cells = [cell for cells in plan.cells.values() for cell in cells]
        columns = {"row": row, "fraction": fraction}
        chosen = [c for c in cells if columns.items() <= c.columns.items()]
        return len(chosen), len({c.evaluate for c in chosen})

    assert jobs("alone", 25) == (3, 3) and jobs("alone", 100) == (3, 3)  # other random encoders
    assert jobs("pair", 25) == (6, 6) and jobs("pair", 100) == (6, 2)  # crossed with pretrainings
    assert jobs("alone (intensity)", 25) == (3, 3) and jobs("alone (intensity)", 100) == (3, 1)
    assert jobs("ceiling", 25) == (6, 6) and jobs("ceiling", 100) == (6, 2)
    tuned = plan.jobs[cell(plan, row="alone (intensity)", fraction=25, seed=2).finetune].spec
    assert tuned.finetune.probe.levels == () and tuned.finetune.steps is None

    def traits(row, fraction, seed):
        cells = [c for cells in plan.cells.values() for c in cells]
        columns = {"row": row, "fraction": fraction, "seed": seed}
        job = plan.jobs[next(c.finetune for c in cells if columns.items() <= c.columns.items())]
        return job.spec.keeps(job, plan.jobs), likeness(job, plan.context())

    for row, same in {"alone": False, "alone (intensity)": True, "pair": True}.items():
        assert (traits(row, 25, 0)[0] == traits(row, 25, 2)[0]) is same, (
            row
        )  # one encoder for all draws?
    assert traits("alone", 25, 1) == traits("alone", 100, 1)
    assert len({traits(row, 25, 0)[1] for row in ("alone", "alone (intensity)", "pair")}) == 3


ERRORS = {"metrics": ["mae"]}
REFUSED = [  # keys of the section, as YAML, keys of the protocol, what is said
    ("evaluation: linear", {}, "'linear' is called 'decoder' now; .* is 'probe'; write"),
    ("draws: 3\nseeds: [5]", {}, "set either 'draws' or 'seeds'"),
    ("probe: {levels: [9]}", {}, "probe.levels: .* no level 9"),
    ("probe: {levels: []}", {}, "probe.levels and probe.intensity are both empty"),
    ("probe: {intensity: [2]}", {}, "probe.intensity: sides must be odd"),
    ("probe: {k: 3}", {}, "probe.k does nothing with 'kind: ridge'"),
    ("probe: {kind: knn, strength: val}", {}, "strength does nothing with 'kind: k"),
    ("probe: {kind: knn, samples: 9}", {}, "probe.k: must be below probe.samples"),
    ("probe: {levels: [0, 0]}", {}, "probe.levels: each level once"),
    (
        "value: {volume: anterior}\nprobe: {kind: knn}",
        ERRORS,
        r"probe.k: all \d+ labelled cases at 25 % of the labels would be among the 20",
    ),
    ("evaluation: decoder\nsteps: 6\nprobe: {kind: knn}", {}, "'probe' does"),
    ("select: best_val", {}, "nothing trains; leave select"),
    ("value: {volume: spleen}", ERRORS, "value.volume: .*'spleen'"),
    ("value: {}", {}, "set exactly one of 'volume', 'ejection_fraction' and 'meta'"),
    ("value: {ejection_fraction: anterior}", ERRORS, "has patients with one labelled case"),
    ("value: {meta: age}", {}, "value.unit: set it together with 'meta'"),
    ("value: {meta: age, unit: years}", {}, "value.meta: no case of .* has the entry 'age'"),
    ("value: {volume: anterior}", {"metrics": ["dice"]}, "is for regression; use mae, r2"),
    (
        "evaluation: end_to_end\nsteps: 6\nvalue: {volume: anterior}",
        {},
        "only a probe predicts a number",
    ),
    ("value: {volume: anterior}\nprobe: {kind: logistic}", ERRORS, "logistic is only for classes"),
    ("track: {part: val, every: 2}", {}, "a probe has no steps to track"),
    ("{}", {"controls": ["ceiling"]}, "needs the length of training of this section; set 'steps'"),
    (
        "evaluation: end_to_end\nsteps: 6",
        {"controls": ["intensity"]},
        "no row is from scratch under 'evaluation: probe'",
    ),
]


@pytest.mark.parametrize(("section", "more", "problem"), REFUSED)
def test_what_a_probe_cannot_be_is_told_in_a_line(plan_of, section, more, problem):
    with refused(problem):
        plan_of(probed(yaml.safe_load(section), **more))


def test_records_of_older_versions_are_read_by_the_new_word(tmp_path):
    fill = {"str": "", "int64": 0, "float64": 0.0}
    table = pd.DataFrame({name: [fill[kind]] for name, kind in COLUMNS.items()})
    table.assign(evaluation="linear").to_parquet(tmp_path / "old.parquet")
    assert list(read_rows(tmp_path / "old.parquet", COLUMNS)["evaluation"]) == ["decoder"]


@pytest.mark.parametrize("kind", ["ridge", "logistic", "knn"])
def test_a_run_is_the_same_twice_and_ends_in_records(run_of, tmp_path, kind):
    settings = {"probe": {"kind": kind, "intensity": [1, 3]}, "fractions": [25], "seeds": [0]}
    settings["probe"] |= {} if kind == "ridge" else {"samples": 200}
    changes = probed(settings, rows={"pair": None})
    first = run_of(changes, f"once_{kind}")
    assert set(first["evaluation"]) == {"probe"} and len(first)
    if kind == "ridge":
        # sums in another order
        again = run_of(changes | {"threads": 2}, "again", tmp_path / "out")
        np.testing.assert_allclose(again["value"], first["value"], atol=1e-6)
    assert first["value"].mean() > 0.1  # three classes; guessing gives each voxel a third


def test_shuffled_weights_and_the_image_alone_stand_beside_a_probe(run_of):
    controls = ["shuffled", "intensity"]
    rows = run_of(probed({"fractions": [25], "seeds": [0]}, controls=controls), "controls")
    means = rows.groupby("row")["value"].mean()
    assert {"pair", "pair (shuffled)", "alone", "alone (intensity)"} <= set(means.index)
    assert means.nunique() == len(means)


@pytest.mark.parametrize("kind", ["ridge", "knn"])
def test_a_volume_is_predicted_of_each_case(run_of, kind):
    probe = {"kind": kind} | ({} if kind == "ridge" else {"k": 3})
    settings = {"probe": probe, "value": VOLUME, "fractions": [100], "seeds": [0]}
    changes = probed(settings, rows={"pair": None}, metrics=["mae", "r2", "spearman"])
    rows = run_of(changes | {"layout": {"metric": "mae"}}, f"volume_{kind}")
    assert set(rows["task"]) == {"regression"} and set(rows["target"]) == {"all"}
    errors = rows[rows["metric"] == "mae"]
    assert set(errors["unit"]) == {"ml"} and errors["case"].ne("").all()
    others = rows[rows["metric"] != "mae"].set_index("metric")["value"]
    assert set(others.index) == {"r2", "spearman"} and others.le(1).all()


@pytest.fixture
def embedded(tmp_path, phantoms, out):
    """Return a function that embeds the small data set by a file of weights, and that file."""
    torch.manual_seed(3)
    network = nets.network("unet3d", "tiny", 1, 2).eval()
    tensors = {k: v for k, v in network.state_dict().items() if k.startswith("encoder.")}
    weights = tmp_path / "weights.safetensors"
    transfer.save(weights, tensors, transfer.Manifest("unet3d", "tiny", 1, 0, network.crop))

    def embed(*flags):
        words = ["embed", NAME, "--init", str(weights), "--network", "unet3d", "--workers", "1"]
        folders = ["--data", str(phantoms), "--out", str(out)]
        assert main([*words, *folders, "--to", str(tmp_path / "embedded"), *flags]) == 0
        return tmp_path / "embedded"

    return embed, weights


@pytest.mark.parametrize("changes", [{}, {"value": VOLUME}])
def test_features_from_outside_give_the_table_of_the_encoder_they_came_from(
    embedded, run_of, small, changes
):
    embed, weights = embedded
    crop = small()["networks"][small()["rows"]["pair"]["network"]]["crop"]
    flags = ["--crop", ",".join(map(str, crop))] + ([] if changes else ["--voxels"])
    rows = {"alone": None, "pair": None}
    shared = {
        "method": small()["rows"]["pair"]["method"],
        "network": small()["rows"]["pair"]["network"],
    }
    rows |= {"inside": {**shared, "init": str(weights)}}
    rows |= {"outside": {**shared, "init": {"embeddings": str(embed(*flags))}}}
    settings = {"fractions": [25], "seeds": [0], **changes}
    metrics = {"metrics": ["mae"], "layout": {"metric": "mae"}} if changes else {}
    name = "volume" if changes else "voxels"
    records = run_of(probed(settings, rows=rows, baseline="none", **metrics), name)
    scores = {row: part["value"].to_numpy() for row, part in records.groupby("row")}
    np.testing.assert_allclose(scores["outside"], scores["inside"], atol=1e-4)
    assert set(records[records["row"] == "outside"]["pretrain"]) == {"file"}


def test_features_that_lack_a_case_or_have_seen_one_are_refused(embedded, plan_of, small, tmp_path):
    folder = embedded[0]("--voxels", "--levels", "0")
    seen = tmp_path / "seen.txt"
    row = {k: small()["rows"]["pair"][k] for k in ("method", "network")}

    def plan(init, **section):
        rows = {"alone": None, "pair": None, "outside": {**row, "init": init}}
        return plan_of(probed(section, rows=rows, baseline="none"))

    init = {"embeddings": str(folder), "pretrained_on": str(seen)}
    tested = cell(plan({"embeddings": str(folder)}), row="outside", fraction=25, seed=0)
    assert tested.columns["init"].startswith("embeddings:")
    for ending in ("", ".nii.gz"):
        seen.write_text("".join(f"imagesTr/{patient}{ending}\n" for patient in PATIENTS))
        with refused(r"seen.txt names \d+ held-out cases"):
            plan(init)
    seen.write_text("\n")
    with refused(r"seen\.txt is empty; list a case or patient per line"):
        plan(init)
    seen.write_text("somebody else")
    assert not run.changed(plan(init), Store.open(tmp_path / "nothing"))  # its folder is not gone
    with refused(r"^protocol '.*', row 'outside': .* used unchanged; leave 'levels'"):
        plan(init, probe={"intensity": [1]})
    (folder / f"{PATIENTS[0]}.b2nd").unlink()
    with refused(f"lacks 1 of .* the first is {PATIENTS[0]}.b2nd"):
        plan(init)
    for problem, wrong in {
        "'file' or 'embeddings'": {},
        "init.preset: works only with 'file'": {"embeddings": "x", "preset": "tiny"},
        "pretrained_on: works only with 'embeddings'": {"file": "x", "pretrained_on": "y"},
    }.items():
        with refused(problem):
            plan(wrong)


def test_a_trained_decoder_under_its_new_name_is_the_same_job(plan_of):
    plan = plan_of({"finetune": [{**SECTION, "evaluation": "decoder"}]})
    found = cell(plan, row="alone", fraction=100, seed=0)
    assert found.columns["evaluation"] == "decoder"
    assert plan.jobs[found.finetune].spec.finetune.evaluation == "linear"


def test_a_pretraining_without_labels_is_one_job_for_maps_and_for_volumes(plan_of):
    sections = [{**SECTION, "evaluation": "probe", "steps": None}]
    sections += [{**sections[0], "name": "volumes", "value": VOLUME}]
    plan = plan_of({"finetune": sections, "metrics": ["dice", "mae"]})
    once = plan_of({"finetune": sections[:1]})
    kinds = [[job for job in p.jobs if p.jobs[job].kind == "pretrain"] for p in (plan, once)]
    assert sorted(kinds[0]) == sorted(kinds[1]) != []
