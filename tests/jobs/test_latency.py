"""How long a network takes: the job, what it leaves, what the records say, and that nothing else changes."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from by_hand import NET, a_job
from described import describe, execute

from bench import records, run
from bench.errors import BenchError
from bench.jobs.latency import run as timing
from bench.jobs.latency import spec as latency
from bench.record import COLUMNS
from bench.store import Store

NETS = {
    ("unet3d", "segmentation"): (16, 16, 16),
    ("unet2d", "segmentation"): (32, 32, 1),
    ("unet3d", "classification"): (32, 32, 16),
    ("densenet121", "classification"): (64, 64, 1),
}


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(timing, "WARM_UP", 2)
    monkeypatch.setattr(timing, "REPEATS", 8)


def job_of(network="unet3d", task="segmentation", channels=1):
    net = {"network": network, "crop": list(NETS[network, task]), "in_channels": channels}
    return a_job("latency", {"network": {**NET, **net, "out_channels": 3}, "task": task})


@pytest.mark.parametrize(("network", "task"), NETS)
def test_it_leaves_seconds_and_where_they_were_taken(jobs, network, task):
    folder = jobs.done(job_of(network, task, channels=2))
    found = json.loads((folder / latency.FILE).read_text())
    assert set(found) == {"median", "low", "high", "repeats", "device"}
    assert 0 < found["low"] <= found["median"] <= found["high"] < 10 and found["repeats"] == 8
    assert found["device"].startswith("CPU, 1 thread") or "CPU" not in found["device"]
    assert latency.read(folder).median == found["median"]
    manifest = jobs.store.manifest(folder.name)
    assert {k: manifest[k] for k in found} == found and manifest["kind"] == "latency"


def test_the_median_and_the_quartiles_are_those_of_what_was_counted(jobs, monkeypatch):
    taken = [9.0, 9.0, 3.0, 1.0, 2.0, 4.0, 8.0, 6.0, 7.0, 5.0]  # the first two warm up
    clock = iter([t for one in taken for t in (100.0, 100.0 + one)])
    real = timing.time

    class Clock:
        perf_counter = staticmethod(lambda: next(clock))

    monkeypatch.setattr(timing, "time", Clock)
    found = json.loads((jobs.done(job_of()) / latency.FILE).read_text())
    monkeypatch.setattr(timing, "time", real)
    assert (found["median"], found["low"], found["high"]) == (4.5, 3.0, 7.0)


def test_stopped_after_any_pass_it_begins_again_and_is_done_once(jobs):
    made = job_of()
    for passes in (0, 4):
        looks = iter([False] * passes)
        outcome = jobs.do(made, stopping=lambda looks=looks: next(looks, True))
        assert outcome.state == "stopped" and not jobs.store.done(made.id)
        assert jobs.store.owner(made.id) is None
    jobs.done(made)
    assert jobs.store.manifest(made.id)["repeats"] == 8
    assert jobs.do(made).state == "done" and jobs.store.manifest(made.id)["attempts"] == 3


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"median": "fast"}', "{}"])
def test_a_damaged_file_is_told(tmp_path, damage):
    (tmp_path / latency.FILE).write_text(damage)
    with pytest.raises(BenchError, match=r"latency\.json: damaged"):
        latency.read(tmp_path)


# In a protocol

NAME = "msd04_hippocampus"
SMOKE = f"""
title: smoke
phantoms: {{{NAME}: {{cases: 9, seed: 0}}}}
networks:
  net: {{network: unet3d, preset: tiny, crop: [16, 16, 16]}}
  flat: {{network: unet2d, preset: tiny, crop: [16, 16, 1]}}
rows: {{deep: {{method: scratch, network: net}}, flat: {{method: scratch, network: flat}}}}
finetune:
- {{dataset: {NAME}, split: even, steps: 1, batch: 2, precision: fp32, seeds: [0, 1],
    recipe: {{resize: [32, 32, 16], scale: zscore}}, inference: {{overlap: 0.0, batch: 8}}}}
"""


def planned(folder, metrics, name):
    path = folder / f"{name}.yaml"
    path.write_text(f"{SMOKE}metrics: {json.dumps(metrics)}\n")
    request = run.Request((path,), folder / "out")
    plan = run.make_plan(request, request.read(), need_data=True)
    return plan, Store.open(folder / "out")


def worked(plan, store):
    jobs = run.todo(plan, store)
    describe(plan, store, jobs)
    for one in jobs:
        assert execute(str(store.root), one).state == "done"
    return [plan.jobs[one].kind for one in jobs]


def test_the_records_gain_a_row_per_cell_and_scores_stay_as_they_are(tmp_path):
    plain, store = planned(tmp_path, ["dice"], "plain")
    worked(plain, store)
    before = records.collect(plain, store, "plain")
    plan, store = planned(tmp_path, ["dice", "latency"], "timed")
    assert plan.scoring == plain.scoring
    halfway = records.collect(plan, store, "timed")  # nothing is timed yet: no row, and no failure
    assert set(halfway["metric"]) == {"dice"} and "failed" not in set(halfway["status"])
    assert worked(plan, store) == ["latency"] * 2  # one per network, whatever seeds and fractions
    table = records.collect(plan, store, "timed")
    assert list(table.columns) == list(COLUMNS)
    taken = table[table["metric"] == "latency"]
    assert len(taken) == 4 and set(taken["unit"]) == {"s"} and set(taken["status"]) == {"ok"}
    assert set(taken["target"]) == {"all"} and set(taken["case"]) == set(taken["patient"]) == {""}
    assert taken.groupby("row")["value"].nunique().to_dict() == {"deep": 1, "flat": 1}
    scored = table[table["metric"] == "dice"]
    assert (taken["value"] > 0).all() and set(taken["job"]) <= set(scored["job"])
    kept = table[table["metric"] != "latency"].astype(COLUMNS).drop(columns="protocol")
    before = before.astype(COLUMNS).drop(columns="protocol")
    pd.testing.assert_frame_equal(kept.reset_index(drop=True), before)
    # a time that could not be taken is a hole with a reason, and takes no score with it
    cell = plan.cells["timed"][0]
    shutil.rmtree(store.jobs / cell.latency)
    describe(plan, store, [cell.latency])
    store.fail(store.claim(cell.latency), "no time", "mistake")
    found = records.collect(plan, store, "timed")
    holes = found[found["status"] == "failed"]
    assert {*holes["row"]} == {cell.row} and holes["metric"].tolist() == ["latency"] * 2
    assert np.isnan(holes["value"]).all() and (found["metric"] == "dice").sum() == len(scored)
