"""What `bench plan` says: JSON as promised, why work is to do again, and what it will cost."""

import json
import os
from dataclasses import replace

import pytest
from by_hand import a_job, altered
from small_protocol import BASE, NAME, cell, ids

from bench.cli import main
from bench.executors.slurm.profile import Profile
from bench.jobs.kind import START, PlanContext
from bench.leaks import search
from bench.plan.cost import forecast, guesses
from bench.protocol import read
from bench.show.plan_text import as_json, as_text, limits
from bench.show.words import duration
from bench.store import Store


@pytest.fixture
def store(tmp_path):
    return Store.open(tmp_path / "out")


@pytest.fixture
def protocol(protocol_file):
    return replace(read(protocol_file()), name="test0")


def finished(store, job, **facts):
    """Publish a job without its work."""
    (store.jobs / job.id).mkdir()
    (store.jobs / job.id / "manifest.json").write_text(json.dumps({**job.plain(), **facts}))


def test_json_is_as_the_contract_has_it_and_a_cell_without_scores_is_not_done(plan_of, store):
    plan = plan_of()
    first = next(iter(plan.jobs.values()))
    for job in (first, plan.jobs[cell(plan, row="alone", fraction=25, seed=0).evaluate]):
        finished(store, job)
    shown = json.loads(json.dumps(as_json(plan, store)))
    assert set(shown) == {"provisional", "jobs"} and shown["provisional"] is False
    assert [j["id"] for j in shown["jobs"]] == list(plan.jobs)
    for job in shown["jobs"]:
        assert set(job) == {"id", "kind", "needs", "done", "spec", "estimate"}
        assert job["done"] == (job["id"] == first.id) and job["estimate"]["seconds"] > 0
        assert job.items() >= plan.jobs[job["id"]].plain().items()


def test_without_data_it_is_provisional_and_unknown_costs_are_null(plan_of, store):
    shown = as_json(plan_of({"pretrain": {"steps": None, "epochs": 5}}, data=None), store)
    assert shown["provisional"] is True
    unknown = {j["kind"] for j in shown["jobs"] if j["estimate"]["seconds"] is None}
    assert unknown == {"prepare", "guard", "pretrain", "evaluate"}


def test_the_tree_counts_cells_jobs_and_what_is_done(plan_of, store, protocol):
    plan = plan_of()
    text = as_text(plan, store, [protocol])
    assert "alone: 4 cells, 0 done" in text and "pair: 4 cells, 0 done" in text
    assert "20 jobs, to do: 1 prepare, 2 guard, 1 pretrain, 8 finetune, 8 evaluate" in text
    finished(store, plan.jobs[cell(plan, row="alone", fraction=25, seed=0).finetune])
    assert "7 finetune" in as_text(plan, store, [protocol])


CHOOSING = {  # on: fine-tunings that are tried (12 cells, 3 rates; two halves of two seeds), whose scores decide
    "val": (36, "the validation patients (1; with fewer than 5 use 'on: folds')", 12 / 36),
    "folds": (36, "inner folds of the labelled patients", 0),
}


@pytest.mark.parametrize(("on", "said"), CHOOSING.items())
def test_controls_and_choices_say_what_they_cost(plan_of, store, protocol_file, on, said):
    tune = {"over": {"rate": [1e-2, 1e-3, 1e-4]}, "on": on}
    changes = {"controls": ["ceiling"], "finetune": [{**BASE["finetune"][0], "tune": tune}]}
    plan, protocol = plan_of(changes), replace(read(protocol_file(changes)), name="test0")
    alone = plan_of({**changes, "controls": []})
    seconds, (tried, judges, taken_over) = forecast(plan, store, [*plan.jobs]), said
    validated = [job for job in ids(plan, "finetune") if plan.jobs[job].spec.finetune.validated]
    controls = sum(seconds[job] for job in seconds.keys() - alone.jobs.keys())
    choices = sum(seconds[job] for job in validated) * (1 - taken_over)
    text, total = as_text(plan, store, [protocol]), sum(seconds.values())
    assert len(validated) == tried
    for line, took in (
        ("controls (ceiling): about {} ({} % of the plan); 'controls: []'", controls),
        (f"choose the recipes of 12, by {judges}: about {{}} ({{}} % of", choices),
    ):
        assert line.format(duration(took), round(100 * took / total)) in text


def test_a_training_stands_once_and_rows_that_score_other_weights_say_so(
    plan_of, store, protocol_file
):
    changes = {"controls": ["shuffled", "random"]}
    plan, protocol = plan_of(changes), replace(read(protocol_file(changes)), name="test0")
    lines = as_text(plan, store, [protocol]).splitlines()
    of_row = {line.strip().partition(": ")[0]: line for line in lines if line.startswith("  ")}
    assert "trains nothing, scores weights of alone" in of_row["pair (random)"]
    # another fine-tuning, no pretraining
    assert " a cell, 6 steps of " in of_row["pair (shuffled)"]
    assert sum(" simclr3d, 8 steps" in line for line in lines) == len(ids(plan, "pretrain"))
    at = lines.index(of_row["pair (shuffled)"])
    assert lines[at + 1] == "    pretrained as pair"


LIMITS = {  # a profile, seconds of a fine-tuning and of a pretraining: what is said
    "nothing": ({"gpus": 1}, 60, 60, []),
    "cap": ({"gpus": 1, "max_gpus": 8}, 60, 60, ["at most 8 GPUs at once (max_gpus)"]),
    "within": (
        {"minutes": 20, "pack": 3},
        50,
        600,
        [
            "a task of 20 minutes: has time for 24 cells of 50 s ('pack' puts 3 into it)",
            "a task of 20 minutes: the longest pretraining (10 min) fits into it",
        ],
    ),
    "beyond": (
        {"minutes": 20},
        2400,
        2401,
        [
            "a task of 20 minutes: the longest fine-tuning (40 min) is saved at the limit and goes on in 1 more",
            "a task of 20 minutes: the longest pretraining (40 min) is saved at the limit and goes on in 2 more",
        ],
    ),
}


@pytest.mark.parametrize("case", LIMITS)
def test_a_clusters_limits_are_told_in_cells_and_pretrainings(plan_of, case):
    stated, tuned, pretrained, expected = LIMITS[case]
    plan, took = plan_of(), {"finetune": tuned, "pretrain": pretrained}
    seconds = {name: float(took.get(job.kind, 0)) for name, job in plan.jobs.items()}
    assert limits(plan, seconds, Profile(**{"gpus": 1, **stated})) == expected
    assert limits(plan, seconds, Profile()) == [
        "the profile asks for no GPU ('gpus' is 0), so tasks train on CPUs"
    ]


def test_of_many_protocols_a_line_each_says_what_sharing_saves(plan_of, store, protocol_file):
    # all five pretrain the one network alike; one tunes it otherwise
    others = [{"name": f"test{i}"} for i in range(1, 4)] + [
        {"name": "other", "finetune": {"steps": 9}}
    ]
    plan = plan_of({"name": "test0"}, others=others)
    protocols = [
        read(protocol_file(changes, f"{changes['name']}.yaml"))
        for changes in ({"name": "test0"}, *others)
    ]
    finished(
        store, plan.jobs[cell(plan, protocol="test0", row="alone", fraction=25, seed=0).finetune]
    )
    lines = [line.split() for line in as_text(plan, store, protocols).splitlines()]
    told = {line[0]: line[1:4] for line in lines if line and line[0].startswith(("test", "other"))}
    assert told == {f"test{i}": ["8", "20", "19"] for i in range(4)} | {"other": ["8", "20", "20"]}
    sums = {line[0]: line for line in lines if line and line[0] in ("each", "together", "sharing")}
    assert sums["each"][3:6] == ["40", "100", "96"]
    # fine-tunings and evaluations of the fifth are its own: 16 more than one protocol's 20
    assert sums["together"][1:4] == ["40", "36", "35"] and sums["sharing"][2:4] == ["64", "61"]
    assert len(as_text(plan, store, protocols[:4]).splitlines()) > 4 * 4  # of few every row
    unsized = plan_of(
        {"pretrain": {"steps": None, "epochs": 5}},
        others=[{**o, "pretrain": {"steps": None, "epochs": 5}} for o in others],
        data=None,
    )
    (line,) = (
        x for x in as_text(unsized, store, protocols).splitlines() if x.startswith("together")
    )
    assert line.split()[-1] == "1"


def test_changed_data_is_named_as_the_reason(plan_of, store, protocol):
    plan = plan_of()
    (now,) = [plan.jobs[i] for i in ids(plan, "prepare")]
    assert "changed" not in as_text(plan, store, [protocol])
    before = altered(now, contents="0123456789abcdef")
    finished(store, before)
    finished(store, altered(before, recipe={"scale": "minmax"}))  # another recipe is no change
    text = as_text(plan, store, [protocol])
    assert f"{NAME}: its files changed since job {before.id} prepared them" in text
    assert text.count("its files changed") == 1
    assert "changed" not in as_text(plan_of(data=None), store, [protocol])
    finished(store, now)
    assert "changed" not in as_text(plan, store, [protocol])


def test_what_ran_here_corrects_the_others_of_its_kind(plan_of, store, monkeypatch):
    monkeypatch.setattr("os.getloadavg", lambda: (0.0, 0.0, 0.0))
    plan = plan_of()
    quiet = forecast(plan, store, list(plan.jobs))
    assert all(quiet[i] > 0 for i in plan.jobs)
    (pairs,) = [i for i in ids(plan, "guard") if not plan.jobs[i].spec.judges]
    # 14 scans of training against 4 of test, of one channel: prepared, compared
    expected = 1.5 + 18 * 0.0015 + 14 * 4 * 0.005
    assert quiet[pairs] == pytest.approx(expected, rel=0.01)
    monkeypatch.setattr(search, "EXACT", 0)  # prepared, screened, boxes made and moved, confirmed
    expected = 1.5 + 18 * (0.0015 + 0.003) + 14 * 4 * (343 * 9e-8 + 1.5e-4) + 4 * 0.15
    quiet = forecast(plan, store, list(plan.jobs))
    assert quiet[pairs] == pytest.approx(expected, rel=0.01)
    monkeypatch.setattr("os.getloadavg", lambda: (3.0 * os.cpu_count(), 0.0, 0.0))
    busy = forecast(plan, store, list(plan.jobs))
    assert busy == quiet  # what else runs now may be over before the first job is
    first = cell(plan, row="alone", fraction=25, seed=0)
    finished(store, plan.jobs[first.evaluate], seconds=7 * quiet[first.evaluate])
    after = forecast(plan, store, list(plan.jobs))
    other = cell(plan, row="pair", fraction=100, seed=1)
    assert after[other.evaluate] == pytest.approx(7 * quiet[other.evaluate])
    assert after[other.finetune] == pytest.approx(busy[other.finetune])


def test_a_load_is_said_and_not_reckoned_with(plan_of, store, protocol, monkeypatch):
    plan = plan_of({"finetune": {"steps": 2000}})
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    said = {}
    for load in (0.5, 9.0):
        monkeypatch.setattr("os.getloadavg", lambda load=load: (load, 0.0, 0.0))
        said[load] = as_text(plan, store, [protocol]).splitlines()[0]
    more = "; longer while others use this processor, as they do now (load 9 on 2 cores)"
    assert said[9.0] == said[0.5] + more and "on this processor" in said[0.5]


@pytest.mark.parametrize(
    ("batch", "steps", "least"),
    [(2, 87_000, 87_000 * 0.02), (64, 1000, 1000 * 64 * 0.002)],  # launches; the loader
)
def test_a_gpu_does_no_step_in_no_time(plan_of, store, batch, steps, least):
    plan = plan_of({"finetune": {"batch": batch, "steps": steps}})
    shown = {j["id"]: j["estimate"]["gpu_seconds"] for j in as_json(plan, store)["jobs"]}
    job = cell(plan, row="alone", fraction=100, seed=0).finetune
    assert shown[job] == pytest.approx(least)
    work = plan.jobs[job].spec.operations()
    assert work / 20e12 < least  # of a large network it is what it computes
    large = plan_of(
        {"finetune": {"steps": steps}}, sets=["network.preset=base", "network.crop=[96, 96, 96]"]
    )
    spec = large.jobs[cell(large, row="alone", fraction=100, seed=0).finetune].spec
    assert spec.gpu_seconds() == pytest.approx(spec.operations() / 20e12)


def test_of_jobs_that_run_elsewhere_nothing_is_forecast_for_this_processor(
    plan_of, store, protocol, protocol_file, tmp_path, capsys
):
    plan = plan_of()
    text = as_text(plan, store, [protocol], away=True)
    assert "processor" not in text and "of training on one GPU" in text.splitlines()[0]
    assert {j["estimate"]["seconds"] for j in as_json(plan, store, away=True)["jobs"]} == {None}
    long = plan_of({"finetune": {"steps": 50_000_000}})  # years here
    text = as_text(long, store, [protocol])
    assert "processor" not in text and "years" not in text
    assert "a cell of training on one GPU" in text
    for flags, changes in (
        (["--executor", "slurm"], {}),
        ([], {"finetune": {"precision": "bf16"}}),
    ):
        code = main(["plan", str(protocol_file(changes)), "--out", str(tmp_path / "o"), *flags])
        assert code == 0 and "processor" not in capsys.readouterr().out
    assert main(["plan", str(protocol_file({})), "--out", str(tmp_path / "o")]) == 0
    assert "on this processor" in capsys.readouterr().out


def test_a_forecast_grows_with_windows_steps_batch_and_threads(plan_of, store, monkeypatch):
    monkeypatch.setattr("os.getloadavg", lambda: (0.0, 0.0, 0.0))

    def seconds(changes=None, kind="finetune"):
        plan = plan_of(changes)
        job = getattr(cell(plan, row="alone", fraction=100, seed=0), kind)
        return forecast(plan, store, [job])[job]

    def predicting(**inference):
        return seconds({"finetune": {"recipe": "resize", "inference": inference}}, "evaluate")

    assert predicting(overlap=0.0) < predicting(overlap=0.5) < predicting(overlap=0.9)
    assert predicting(overlap=0.5) < predicting(overlap=0.5, mirror=["x", "y"])
    base = seconds()
    assert seconds({"finetune": {"steps": 600}}) - START == pytest.approx(100 * (base - START))
    assert base < seconds({"finetune": {"batch": 8}}) < 4.1 * base
    assert seconds({"threads": 4}) < base


def test_an_alike_job_that_ran_here_replaces_the_estimate(plan_of, store):
    plan = plan_of({"finetune": {"steps": 6}})
    done = plan.jobs[cell(plan, row="alone", fraction=25, seed=0).finetune]
    finished(store, done, seconds=60.0)
    alike = cell(plan, row="pair", fraction=100, seed=1).finetune
    assert forecast(plan, store, [alike]) == {alike: pytest.approx(60.0)}
    longer = plan_of({"finetune": {"steps": 12}})
    longer.jobs |= plan.jobs
    other = cell(longer, row="pair", fraction=100, seed=1).finetune
    assert forecast(longer, store, [other])[other] == pytest.approx(120.0)


def test_an_evaluation_is_alike_by_network_and_as_long_as_it_has_cases_a_guard_is_like_none(
    plan_of, store
):
    plan = plan_of({"finetune": {"split": "leave_one_out", "folds": [0, 1]}})
    done, other = sorted({c.evaluate for c in plan.cells["test0"] if c.row == "alone"})[:2]
    finished(store, plan.jobs[done], seconds=30.0)
    plan.sizes[other] = 4 * plan.sizes[done]
    assert forecast(plan, store, [other])[other] == pytest.approx(120.0)
    wider = plan_of(
        {"finetune": {"split": "leave_one_out", "folds": [0, 1]}}, sets=["network.preset=small"]
    )
    wider.jobs |= plan.jobs
    slow = next(c.evaluate for c in wider.cells["test0"] if c.row == "alone")
    assert not guesses(wider, store, [slow])[slow].measured
    guards = [j for j in plan.jobs.values() if j.kind == "guard" and not j.spec.judges]
    finished(store, guards[0], seconds=1000.0)
    assert not guesses(plan, store, [guards[1].id])[guards[1].id].measured


def test_a_picture_has_no_depth(tmp_path):
    (tmp_path / "a.png").write_bytes(bytes(10_000))
    for name, sides in (("aptos19", (100, 100, 1)), ("lasc", (21.54,) * 3), ("own", (21.54,) * 3)):
        job = a_job("prepare", {"dataset": name})
        around = PlanContext({job.id: job}, sizes={job.id: 1}, roots={name: str(tmp_path)})
        assert job.spec.sides(job, around) == pytest.approx(sides, abs=0.01)


def test_fractions_that_are_the_same_patients_are_said(plan_of, store, protocol_file):
    changes = {"finetune": {"split": "even", "fractions": [4, 7, 50, 100], "seeds": [0, 1]}}
    told = as_text(plan_of(changes), store, [replace(read(protocol_file(changes)), name="test0")])
    parts = "1 / 1 / 4 at 4 %, 1 / 1 / 4 at 7 %, 7 / 1 / 4 at 50 %, 14 / 2 / 4 at 100 %"
    assert f"{NAME}, split even: patients that train / validate / test {parts}" in told
    assert f"{NAME}: 4 % and 7 % train on the same 1 patient" in told
    assert "same 7" not in told and "same 14" not in told
    held = {"finetune": {**changes["finetune"], "fractions": [50, 100], "holdout": 0.25}}
    told = as_text(plan_of(held), store, [replace(read(protocol_file(held)), name="test0")])
    # a quarter of 7 is 2, of 14 it is 4
    assert "test 5 / 2 / 4 at 50 %, 10 / 4 / 4 at 100 %" in told


DURATIONS = {89: "89 s", 600: "10 min", 5400: "1.5 h", 86400 * 1.5: "36.0 h", 86400 * 4: "4 days"}
DURATIONS |= {86400 * 100: "3 months", 3600 * 4e6: "456 years", 3600 * 4e7: "4,563 years"}


def test_a_time_is_said_as_a_person_does():
    assert {seconds: duration(seconds) for seconds in DURATIONS} == DURATIONS
