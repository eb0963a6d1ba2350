"""What trackers are told of a run: all of it, once, whoever was killed meanwhile."""

import sys
import types
from dataclasses import replace

import pandas as pd
import pytest
from small_protocol import cell

from bench.errors import BenchError
from bench.extras.trackers import follow, tracker
from bench.extras.trackers.follow import Follow, Log
from bench.runtime.execute import Outcome
from bench.show.labels import labels
from bench.show.reports import write_reports
from bench.show.state import AtWork

OWNER = {"host": "h", "pid": 1}


class Told(tracker.Tracker):
    """Keeps what it is told."""

    kept = None

    def begin(self, run):
        return run

    def points(self, run, points):
        self.kept += [
            (run.name, p.step, name, value) for p in points for name, value in p.values.items()
        ]

    def ended(self, run, scores, step, *, failed=False):
        self.kept += [(run.name, step, name, value) for name, value in scores.items()]
        self.kept.append((run.name, step, "failed" if failed else "ended", run.config["kind"]))

    def table(self, run, table, text, version):
        self.kept.append((run.name, version, "table", list(table)))


@pytest.fixture
def told(monkeypatch):
    monkeypatch.setattr(Told, "kept", list())
    monkeypatch.setattr(follow, "opener", lambda name: Told)
    return lambda: Told.kept


def one_of(made, name="told"):
    return Log(name, made.plan, made.store, labels(made.plan))


@pytest.mark.usefixtures("undrawn")
def test_all_of_a_finished_folder_is_told_once(made, told, monkeypatch):
    monkeypatch.setattr(follow, "SOON", 300.0)  # on a machine that is busy
    list(write_reports([made.protocol], made.plan, made.store))
    lines = []
    for _ in range(2):  # the second run finds nothing new
        with Follow(made.plan, made.store, ["told"], lines.append, lines.append) as following:
            following.outcome(Outcome("unknown", "done"))
            following.drawn(made.protocol.name)
    assert lines == [f"--log told: {made.store.root / 'trackers' / 'told'}"] * 2
    found = pd.DataFrame(told(), columns=["run", "step", "name", "value"])
    assert not found.duplicated(["run", "step", "name"]).any()
    pair = cell(made.plan, row="pair", fraction=100, seed=0)
    called = labels(made.plan)
    pretraining = found[found["run"] == f"pretrain {called[pair.pretrain]}"]
    curve = pretraining[pretraining["name"] == "train/total"]
    assert list(curve["step"]) == list(range(1, 101)) and list(curve["value"])[3] == 25.0
    scored = found[found["run"] == f"evaluate {called[pair.evaluate]}"].set_index("name")["value"]
    dice = {n for n in scored.index if n.startswith("test/dice")}
    assert dice == {"test/dice/anterior", "test/dice/posterior"}
    assert scored["ended"] == "evaluate" and scored["cost/seconds"] == 1.0
    assert set(found[found["name"] == "ended"]["value"]) == {"pretrain", "finetune", "evaluate"}
    (table,) = found[found["name"] == "table"].to_dict("records")
    assert table["run"] == f"table {made.protocol.name}"
    assert "row" in " ".join(table["value"]).lower()


def test_an_online_probe_is_a_curve_of_its_pretraining(made):
    job = cell(made.plan, row="pair", fraction=100, seed=0).pretrain
    pd.DataFrame({"step": [0, 100], "dice": [0.1, 0.4]}).to_csv(
        made.store.jobs / job / "probe.csv", index=False
    )
    points = follow.curves(made.plan, made.store, job)
    values = [(p.step, p.values["probe/dice"]) for p in points if "probe/dice" in p.values]
    assert values == [(0, 0.1), (100, 0.4)]


def test_live_points_come_once_over_restarts_and_a_job_done_again_is_another_run(made, told):
    job = cell(made.plan, row="alone", fraction=100, seed=0).finetune
    at, name = AtWork(job, OWNER, 3, 6, 0.5, 2.0), f"finetune {labels(made.plan)[job]}"
    following = one_of(made)
    following.live([at, at])
    following.live([replace(at, step=4)])
    # a restart; not a training
    one_of(made).live([replace(at, step=4), replace(at, step=5, loss=None)])
    names = ("live/loss", "live/steps_per_second")
    expected = [(name, step, figure) for step in (3, 4) for figure in names]
    assert [(run, step, figure) for run, step, figure, _ in told()] == expected
    one_of(made).ended(job)
    Told.kept.clear()
    one_of(made).ended(job)
    assert told() == []
    one_of(made).live([replace(at, step=1)])  # it is in work again
    one_of(made).failed(job)
    one_of(made).failed(job)
    assert {run for run, *_ in told()} == {f"{name} (2)"}
    assert [n for _, _, n, _ in told()] == ["live/loss", "live/steps_per_second", "failed"]


def test_what_was_cut_off_while_it_was_told_is_told_whole_as_another_run(made, told, monkeypatch):
    job = cell(made.plan, row="alone", fraction=100, seed=0).finetune

    def killed(self, *given, **more):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Told, "ended", killed)
        one_of(made).ended(job)
    half = len(told())
    one_of(made).ended(job)
    names = [run for run, *_ in told()]
    assert half and len(set(names[:half])) == 1 and set(names[half:]) == {f"{names[0]} (2)"}


def test_a_tracker_that_fails_is_left_alone_and_the_other_goes_on(made, told, monkeypatch):
    monkeypatch.setattr(follow, "SOON", 300.0)

    class Full(Told):
        def points(self, run, points):
            raise RuntimeError("no\nroom")

    monkeypatch.setattr(follow, "opener", lambda name: Full if name == "full" else Told)
    lines = []
    with Follow(made.plan, made.store, ["full", "told"], lines.append, lines.append):
        pass
    assert lines[2:] == ["--log full: RuntimeError: no room; the run goes on without it"]
    assert any(n == "ended" for _, _, n, _ in told()) and not list(made.store.work.iterdir())


def test_two_commands_on_a_folder_do_not_tell_the_same_tracker(made, told):
    claim = made.store.claim(".log-told")
    lines = []
    with Follow(made.plan, made.store, ["told"], lines.append, lines.append):
        pass
    assert lines == ["--log told: another command on this folder does it; this one leaves it alone"]
    assert told() == [] and claim is not None


def test_without_trackers_nothing_is_opened(made, monkeypatch):
    monkeypatch.setattr(follow, "Monitor", lambda store: None)
    with Follow(made.plan, made.store, [], pytest.fail, pytest.fail) as following:
        following.outcome(Outcome("a", "done"))
    assert not (made.store.root / "trackers").exists()


def test_a_package_that_lacks_is_one_line(monkeypatch):
    monkeypatch.setitem(tracker.PACKAGES, "wandb", "nobody_has_this")
    with pytest.raises(BenchError, match=r"--log wandb: .* pip install 'medssl-bench\[wandb\]'"):
        tracker.check(["wandb"])
    tracker.check([])


def test_settings_are_flat_and_name_the_cell(made):
    pair = cell(made.plan, row="pair", fraction=100, seed=0)
    called = labels(made.plan)
    found = follow.config(made.plan, pair.finetune, called[pair.finetune])
    expected = {"job": pair.finetune, "kind": "finetune", "row": "pair", "method": "simclr3d"}
    expected |= {"fraction": 100, "seed": 0, "protocol": made.protocol.name, "finetune.steps": 6}
    assert found.items() >= expected.items()
    assert pair.pretrain in found["needs"] and found["split_hash"] is not None
    assert all(isinstance(v, str | int | float | bool) for v in found.values())


def logged(made, name, monkeypatch):
    """Tell a real tracker of one fine-tuning: live, its end, a restart; and of a table."""
    job = cell(made.plan, row="alone", fraction=100, seed=0).finetune
    list(write_reports([made.protocol], made.plan, made.store))
    for _ in range(2):
        following = one_of(made, name)
        following.live([AtWork(job, OWNER, 3, 6, 0.5)] if _ == 0 else [])
        following.ended(job)
        following.table(made.protocol.name)
        following.tracker.close()
    return job, following


def test_tensorboard_reads_back_what_it_was_told(made, monkeypatch):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    job, _ = logged(made, "tensorboard", monkeypatch)
    folders = sorted((made.store.root / "trackers" / "tensorboard" / made.protocol.name).iterdir())
    assert [f.name.rsplit(" ", 1)[0] for f in folders] == [
        "finetune alone msd04_hippocampus 100 % seed 0",
        f"table {made.protocol.name}",
    ]
    run, table = (EventAccumulator(str(folder)).Reload() for folder in folders)
    total = run.Scalars("train/total")
    assert [e.step for e in total] == list(range(1, 251)) and total[3].value == 25.0
    assert [(e.step, e.value) for e in run.Scalars("live/loss")] == [(3, 0.5)]
    config = run.Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()
    assert f"| job | {job} |" in config
    (text,) = table.Tensors("table/text_summary")
    assert "| Method" in text.tensor_proto.string_val[0].decode()


@pytest.mark.filterwarnings("ignore:The ``noload``")  # inside MLflow
def test_mlflow_reads_back_what_it_was_told(made, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    job, following = logged(made, "mlflow", monkeypatch)
    client = mlflow.MlflowClient(tracking_uri=following.tracker._uri)
    experiment = client.get_experiment_by_name(made.protocol.name)
    runs = {r.data.tags["bench.job"]: r for r in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {job, f"table-{made.protocol.name}-1"}
    assert runs[job].info.run_name == "finetune alone · msd04_hippocampus · 100 % · seed 0"
    assert runs[job].info.status == "FINISHED" and runs[job].data.params["method"] == "scratch"
    history = client.get_metric_history(runs[job].info.run_id, "train/total")
    assert sorted(m.step for m in history) == list(range(1, 251))
    files = {
        f.path for f in client.list_artifacts(runs[f"table-{made.protocol.name}-1"].info.run_id)
    }
    assert files == {"table.csv", "table.md"}


class FakeRun:
    def __init__(self, **given):
        self.given, self.rows, self.summary, self.code = given, [], {}, None

    def define_metric(self, name, step_metric):
        self.axis = step_metric

    def log(self, row):
        self.rows.append(row)

    def finish(self, exit_code=0):
        self.code = exit_code


def test_wandb_is_told_offline_and_goes_on_under_its_id(made, monkeypatch):
    """By a module in wandb's place: the package starts a service of its own."""
    runs = []
    fake = types.ModuleType("wandb")
    fake.init = lambda **given: runs.append(FakeRun(**given)) or runs[-1]
    fake.Settings = dict
    fake.Table = lambda dataframe: ("table", len(dataframe))
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.delitem(sys.modules, "bench.extras.trackers.to_wandb", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    job, following = logged(made, "wandb", monkeypatch)
    monkeypatch.delitem(sys.modules, "bench.extras.trackers.to_wandb")
    run, table = runs
    expected = {"mode": "offline", "id": job, "resume": "allow"}
    assert run.given.items() >= expected.items() and run.axis == "step"
    assert run.rows[0] == {"step": 3, "live/loss": 0.5} and len(run.rows) == 251
    assert run.summary["cost/seconds"] == 1.0 and run.code == 0
    assert table.rows[0]["table"][0] == "table" and following.tracker.place.startswith("wandb sync")
