"""One more method beside a track's records: what is refused, what is taken, where the newcomer stands."""

import json
from dataclasses import replace

import outside
import pandas as pd
import pytest
import yaml
from bundles import members
from invented import scored
from one_line import refusal
from small_protocol import TEST

from bench import plugins, record, records
from bench.cli import main
from bench.extras.bundle.verifying import verify
from bench.extras.compete import standing
from bench.extras.compete.protocol_with_row import entered
from bench.extras.compete.track import tracked
from bench.imported_scores import added, merged
from bench.jobs.scoring import path
from bench.protocol import read
from bench.report.supplement import Cost, Pretext, Pretraining, Supplement
from bench.store import Store
from bench.typed import plain

VALUE = {"alone": 0.5, "pair": 0.6, "my_method": 0.7}  # Dice of every patient, but for the seed


def made_up(cell, number):
    return VALUE[cell.row] + 0.01 * number + 0.05 * cell.columns["seed"]


@pytest.fixture
def track(plan_of, tmp_path, monkeypatch, phantoms):
    """Return a function that leaves a track in ``track/``, changed, and the words that compete with it."""
    monkeypatch.chdir(tmp_path)
    outside.written(tmp_path / "mine", "method")

    def left(change=lambda table: table, protocol=None):
        plan, store = plan_of(protocol), Store.open(tmp_path / "track")
        stated = read(tmp_path / "test0.yaml")
        view = store.root / "records" / stated.name
        change(scored(plan.cells[stated.name], stated.name, made_up)).to_parquet(
            view.with_suffix(".parquet"), index=False
        )
        said = Supplement(origin=stated.origin, costs=(Cost("pair", "pretrain", 70.0, samples=16),))
        view.with_suffix(".json").write_text(json.dumps(plain(said)))
        return f"compete test0.yaml --records track --data {phantoms} --plugins mine".split()

    return left


def whole(plan, store, name):
    """Return the rows of a report, imported and own."""
    own = records.collect(plan, store, name)
    return record.stacked([(added(plan, store, name, own).rows, {}), (own, {})])


def column(**values):
    return lambda table: table.assign(**values)


def other_job(table):
    return table.assign(job=table["job"].where(table["row"].ne("pair"), "0123456789abcdef"))


TWO_NETS = {"networks": {"other": {"network": "unet3d", "preset": "tiny", "crop": [16, 16, 16]}}}
MINE = ["--method", "my_method"]
REFUSED = {  # change of the records, of the protocol, words; what is said
    "no such method": (None, None, ["--method", "my_methd"], "did you mean 'my_method'?"),
    "a row already": (None, None, ["--method", "simclr3d"], "is already row 'pair' of test0, on network net"),
    "no such network": (None, None, [*MINE, "--network", "nat"], "did you mean 'net'?"),
    "an unused network": (None, TWO_NETS, [*MINE, "--network", "other"], "no network with rows in test0"),
    "another's network": (None, None, ["--method", "mae3d"], "no row of test0 is on a network that it can"),
    "no such parameter": (None, None, [*MINE, "--params", "noize=0.1"], "noise"),
    "no value": (None, None, [*MINE, "--params", "noise"], "write KEY=VALUE"),
    "no value of the pretraining": (None, None, [*MINE, "--pretrain", "optimiser.=1"], "e.g. steps=2000"),
    "no such setting": (None, None, [*MINE, "--pretrain", "stepps=7"], "did you mean 'steps'?"),
    "two ways": (None, None, [*MINE, "--pretrain", "optimiser=1", "--pretrain", "optimiser.lr=1"],
                 "set either the whole section or single keys of it"),
    "hash": (column(split_hash="abc"), None, MINE, "records of test0 is msd04_hippocampus even abc"),
    "scale": (lambda t: t.assign(scale=["paper"] + ["smoke"] * (len(t) - 1)), None, MINE, "scale of"),
    "no such scale": (column(scale="pilot"), None, MINE, "has no scale 'pilot'"),
    "metric": (column(metric="hd95"), None, MINE, "of the records of test0 is hd95, here dice"),
    "convention": (column(convention="monai/default"), None, MINE, "is monai/default, here medpy/default"),
    "section": (column(section="other"), None, MINE, "section of the records of test0 is other"),
    "recipe": (other_job, None, MINE, "were made with other settings than its protocol has now (row pair"),
    "half copied": (lambda t: t[t["patient"].ne(TEST[0]) | t["row"].eq("alone")], None, MINE, "row 'pair'"),
    "rows twice": (lambda t: pd.concat([t, t[:3]]), None, MINE, "test0.parquet has 3 rows twice"),
    "another unit": (lambda t: t.assign(value=100 * t["value"]), None, MINE, "test0.parquet has a dice of"),
    "another method": (column(method="byol3d"), None, MINE, "of method 'byol3d', which its protocol does"),
    "settings": (None, None, [*MINE, "--pretrain", "settings=a.yaml"], "a row cannot name a settings file"),
    "test scans": (None, None, [*MINE, "--pretrain", "leaks=allow"], "read the track's test scans"),
    "seed": (column(seed=7), None, MINE, "have a result that its protocol does not define (row alone"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_was_made_otherwise_is_refused_in_a_line(track, what, tmp_path, capsys):
    change, protocol, words, why = REFUSED[what]
    said = track(*([change] if change else []), protocol=protocol)
    assert why in refusal(capsys, *said, *words, "--dry-run")
    assert not (tmp_path / "runs").exists()


def test_an_edited_recipe_is_refused_and_said_to_be_edited(track, tmp_path, capsys):
    said, file = track(), tmp_path / "test0.yaml"
    stated = yaml.safe_load(file.read_text())
    stated["finetune"][0]["steps"] += 1
    file.write_text(yaml.safe_dump(stated, sort_keys=False))
    assert "the protocol was edited since" in refusal(capsys, *said, *MINE, "--dry-run")


def test_a_plugin_that_raises_is_one_line_with_its_place(track, tmp_path, capsys):
    said = track()
    raising = "\nraise ValueError('no')\n"
    outside.written(tmp_path / "mine", "method", change=lambda text: text + raising)
    line = refusal(capsys, *said, *MINE, "--dry-run")
    assert "my_method.py:" in line and "no" in line


def test_a_folder_without_records_is_refused(track, capsys):
    words = ["mine" if word == "track" else word for word in track()]
    assert "is neither an output folder of bench nor a" in refusal(capsys, *words, *MINE)


def test_without_tracked_records_the_way_out_is_said(track, capsys):
    track()
    assert main(["compete", "test0.yaml", "--plugins", "mine", *MINE]) == 2
    assert "no records of 'test0' lie in results/" in capsys.readouterr().err


def test_a_dry_run_wants_the_newcomers_cells_alone_and_writes_nothing(track, tmp_path, capsys):
    assert main([*track(), *MINE, "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "my_method" in told and not (tmp_path / "runs").exists()
    (tmp_path / "bench.toml").write_text('[cluster.fast]\ngpus = 1\ncard = "h100-80gb"\n')
    assert main([*track(), *MINE, "--dry-run", "--executor", "slurm", "--cluster", "fast"]) == 0
    assert "GPU-hours on h100-80gb" in capsys.readouterr().out


def test_what_it_changes_of_the_pretraining_is_its_own(track, capsys):
    changed = ["--pretrain", "steps=7", "--pretrain", "optimiser.lr=0.25"]
    assert main([*track(), *MINE, *changed, "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "my_method, 7 steps" in told and "pair, 7 steps" not in told


@pytest.fixture
def unrun(monkeypatch):
    """Let ``compete`` end before it runs a job and before it says where the newcomer stands."""
    monkeypatch.setattr("bench.commands.run.carry_out", lambda work: 0)
    monkeypatch.setattr(standing, "as_text", lambda *of: "")


@pytest.mark.usefixtures("unrun")
def test_its_records_without_job_folders_are_kept(track, tmp_path, capsys):
    said, out = track(), Store.open(tmp_path / "runs")
    gone = pd.read_parquet(tmp_path / "track/records/test0.parquet").assign(job="0123456789abcdef")
    gone.to_parquet(out.root / "records" / "test0_with_my_method.parquet", index=False)
    assert main([*said, *MINE]) == 0
    (kept,) = (out.root / "kept").iterdir()
    assert f"1 job whose folder is gone; a copy is in {kept}" in capsys.readouterr().err
    assert pd.read_parquet(kept / "records" / "test0_with_my_method.parquet").equals(gone)


@pytest.mark.usefixtures("unrun")
def test_other_settings_do_not_take_the_place_of_records(track, tmp_path, capsys):
    words = [*track(), *MINE]
    assert main(words) == main([*words, "--params", "noise=0.3"]) == 0  # nothing has run yet
    made = tmp_path / "runs" / "records" / "test0_with_my_method.json"
    made.write_text("{}")
    left = [file for file in (tmp_path / "runs" / "tracks").iterdir() if file.is_file()]
    before = [file.read_bytes() for file in left]
    assert "with other settings, and has results; use another --out" in refusal(
        capsys, *words, "--params", "noise=0.4"
    )
    assert [file.read_bytes() for file in left] == before
    assert main([*words, "--params", "noise=0.3"]) == 0


def test_cells_that_have_no_records_are_said(track, capsys):
    words = track(lambda t: t[t["row"].ne("pair") | t["seed"].ne(0)])
    assert main([*words, *MINE, "--dry-run"]) == 0
    assert "cells of test0 (pair); my_method is compared with what is" in capsys.readouterr().err


@pytest.mark.usefixtures("unrun")
def test_half_precision_is_refused_where_it_is_still_to_run(track, monkeypatch, capsys):
    monkeypatch.setattr("bench.process.gpus", lambda: 0)
    words = [*track(), *MINE, "--pretrain", "precision=bf16"]
    assert "pretrain.precision bf16 needs a GPU" in refusal(capsys, *words)
    monkeypatch.setattr("bench.run.todo", lambda plan, store: [])  # as once all of it is done
    assert main(words) == 0


@pytest.fixture
def put(track, tmp_path, monkeypatch, contents, phantoms):
    """Leave the track with my_method in ``runs/``: the entry, the store, its protocol and plan."""
    from bench.data.roots import Roots
    from bench.plan import Planner

    track()
    plugins.use([tmp_path / "mine"])
    one = entered(tracked(tmp_path / "test0.yaml", tmp_path / "track"), "my_method", None)
    store = Store.open(tmp_path / "runs")
    protocol = read(one.put(store))
    planner = Planner(Roots(phantoms), contents, {"row": ["my_method"]})
    planner.expand(protocol)
    return one, store, protocol, planner.finish()


def test_rows_are_taken_to_the_bit_and_those_of_the_folders_own_jobs_win(put):
    _, store, protocol, plan = put
    file = store.root.parent / "track" / "records" / "test0.parquet"
    theirs = record.read_rows(file, record.COLUMNS)
    found = whole(plan, store, protocol.name)
    assert {*found["protocol"]} == {"test0_with_my_method"}
    pd.testing.assert_frame_equal(found.drop(columns="protocol"), theirs.drop(columns="protocol"))
    cell = next(c for c in plan.cells[protocol.name] if c.row == "pair")
    own = scored([cell], protocol.name, made_up).assign(value=0.25)
    (store.jobs / cell.evaluate).mkdir()
    scores = path(store, cell.evaluate, plan.scoring_of[protocol.name][cell.columns["section"]])
    own[list(record.SCORES)].to_parquet(scores, index=False)
    (store.jobs / cell.guard).mkdir()
    manifest = json.dumps(plan.jobs[cell.guard].plain())
    (store.jobs / cell.guard / "manifest.json").write_text(manifest)
    both = whole(plan, store, protocol.name)
    values = both.loc[both["job"].eq(cell.evaluate), "value"]
    assert len(both) == len(theirs) and {*values} == {0.25}
    assert [c.row for c in plan.cells[protocol.name] if c.wanted] == ["my_method"] * 4
    assert {c.columns["split_hash"] for c in plan.cells[protocol.name]} == {*theirs["split_hash"]}


def test_where_it_stands_is_that_of_scores_by_hand(put):
    one, store, protocol, plan = put
    cells = [c for c in plan.cells[protocol.name] if c.row == "my_method"]
    table = pd.concat([whole(plan, store, protocol.name), scored(cells, protocol.name, made_up)])
    records.save(table, store, protocol.name)
    said = Supplement(
        origin=protocol.origin, titles={"my_method": "Mine"}, costs=one.track.beside.costs
    )
    (store.root / "records" / f"{protocol.name}.json").write_text(json.dumps(plain(said)))
    text = standing.as_text(one.track, one, store)
    lines = text.split("\n")
    beside, ranked = (
        [line for line in lines if f"{share} % of the labels" in line] for share in (25, 100)
    )
    for first, second in (beside, ranked):
        assert "+20.00" in first and "these weights only" in first  # 0.7 - 0.5, one pretraining
        assert "1 of 3" in second and "100 %" in second
    (cost,) = [line for line in lines if line.startswith("simclr3d")]
    assert cost.split()[-2:] == ["70", "16"]


def test_what_stands_beside_both_is_told_apart():
    theirs = Supplement(
        costs=(Cost("a", "pretrain", 1.0), Cost("new", "pretrain", 2.0)),
        provenance={"commit": "x"},
        pretrainings=(Pretraining(("a",), ("d",), (1, 1), (2, 2), 1, "sgd", 0.1, "poly", "fp32"),),
    )
    own = Supplement(
        costs=(Cost("new", "pretrain", 3.0),), provenance={"commit": "y"}, titles={"new": "New"}
    )
    both = merged(own, [theirs])
    figures = [
        tuple(Pretext("a", "error", last=last, seed=seed) for seed in some)
        for last, some in ((2.0, (0, 1)), (1.0, (1, 2)))
    ]
    once = merged(
        replace(own, pretexts=figures[1]), [replace(theirs, pretexts=figures[0])]
    ).pretexts
    assert [(one.seed, one.last) for one in once] == [(0, 2.0), (1, 1.0), (2, 1.0)]
    assert [(c.row, c.seconds) for c in both.costs] == [("a", 1.0), ("new", 3.0)]
    assert both.provenance == {"commit": "y", "track: commit": "x"}
    assert both.pretrainings == theirs.pretrainings


@pytest.mark.slow
def test_a_run_gives_what_the_whole_protocol_would_have_and_can_be_passed_on(
    track, tmp_path, capsys
):
    """Runs the newcomer's eight cells beside made-up records, and again as a row of a protocol."""
    said, out = track(), tmp_path / "runs"
    assert main([*said, *MINE, "--workers", "1"]) == 0
    assert "to pass it on: bench bundle" in capsys.readouterr().out
    file = out / "tracks" / "test0_with_my_method.yaml"
    whole = f"run {file} --out {tmp_path / 'whole'} --only row=my_method --workers 1".split()
    assert main([*whole, "--data", said[5]]) == 0
    rows, alone = (
        pd.read_parquet(folder / "records" / "test0_with_my_method.parquet")
        for folder in (out, tmp_path / "whole")
    )
    mine = rows[rows["row"].eq("my_method")].reset_index(drop=True)
    pd.testing.assert_frame_equal(mine, alone)
    assert {*rows["row"]} == {"alone", "pair", "my_method"}
    bundle = f"bundle {file} --out {out} --data {said[5]} --to x.bench.zip"
    assert main(bundle.split()) == 0
    assert verify(tmp_path / "x.bench.zip").findings == []
    held = members(tmp_path / "x.bench.zip")
    assert "plugins/method-my_method/my_method.py" in held and not any(
        "runs/" in name for name in held
    )
