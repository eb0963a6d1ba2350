"""What a person states of cards is set before a job, and stands in its manifest."""

import json

import pytest
from by_hand import a_job

from bench import run
from bench.errors import BenchError
from bench.executors.slurm.profile import profile
from bench.gpu.cards import CARDS
from bench.jobs.context import Cuda, RunOptions
from bench.jobs.prepare.spec import PrepareSpec
from bench.runtime import execute as runtime
from bench.runtime.switches import Switches, begin
from bench.store import Store

STATED = {
    "": (Cuda(), {}),
    'tf32 = "off"': (Cuda("off"), {"cudnn_conv": "ieee", "cudnn_rnn": "ieee"}),
    'tf32 = "all"': (Cuda("all"), {"cuda_matmul": "tf32"}),
    "benchmark = true": (Cuda(benchmark=True), {"cudnn_benchmark": True}),
    "deterministic = true": (Cuda(deterministic=True), {"cudnn_deterministic": True}),
}


@pytest.fixture
def toml(tmp_path, monkeypatch):
    """Return a function that writes ``bench.toml`` into the current folder."""
    monkeypatch.chdir(tmp_path)
    return lambda text: (tmp_path / "bench.toml").write_text(text)


@pytest.mark.parametrize(("text", "expected"), STATED.items())
def test_what_is_stated_is_set_and_nothing_else(toml, text, expected):
    toml(f"[cuda]\n{text}\n")
    cuda, changed = expected
    assert run.cuda_settings() == cuda
    try:
        begin(1, run.cuda_settings())
        assert Switches.now() == Switches(**changed)
    finally:
        begin(1)
    assert Switches.now() == Switches()


def test_a_profile_states_it_for_itself(toml):
    toml('[cuda]\ntf32 = "off"\n[cluster.a]\ngpus = 1\n[cluster.b.cuda]\nbenchmark = true\n')
    assert profile("a").cuda is None
    assert profile("b").cuda == Cuda(benchmark=True)


@pytest.mark.parametrize(
    ("text", "says"),
    [('tf32 = "some"', "cuda.tf32"), ("benchmark = 1", "cuda.benchmark"), ("tf = 1", "tf32")],
)
def test_a_mistake_is_a_line_with_its_place(toml, text, says):
    toml(f"[cuda]\n{text}\n")
    with pytest.raises(BenchError, match=says) as caught:
        run.cuda_settings()
    assert str(caught.value).startswith("bench.toml:2: ")


def test_a_manifest_has_the_switches_of_its_job(tmp_path, monkeypatch):
    monkeypatch.setattr(PrepareSpec, "run", lambda spec, context: None)
    store, job = Store.open(tmp_path / "out"), a_job("prepare", {"dataset": "btcv"})
    store.write_spec(job.id, {"job": job.plain()})
    options = RunOptions(cuda=Cuda("all", benchmark=True))
    assert runtime.execute(str(store.root), job.id, options).state == "done"
    manifest = json.loads((store.jobs / job.id / "manifest.json").read_text())
    assert manifest["switches"]["cuda_matmul"] == "tf32" and manifest["switches"]["cudnn_benchmark"]
    assert Switches.now() == Switches()


def test_a_forecast_knows_the_speed_of_fp32():
    card = CARDS["h100-80gb"]
    assert card.under(Cuda()) == card
    assert card.under(Cuda("off")).tf32 == card.single
    assert card.under(Cuda("all")).single == card.tf32
