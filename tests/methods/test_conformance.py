"""Every method under ``methods/`` keeps the contract: the suite of ``bench.conformance``.

Adding a file adds it to these tests; its small sizes stand in ``SIZES`` and ``CROPS`` of ``small_methods.py``.
"""

import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
from small_methods import build, trial_of

from bench import registry
from bench.conformance import devices
from bench.conformance.test_methods import *  # noqa: F403
from bench.conformance.test_methods import Trial, each
from bench.errors import BenchError

WAITS = tomllib.loads((Path(__file__).parent / "waits.toml").read_text())
CONFORMANCE = [Trial(name) for name in registry.names("method")]


@pytest.fixture
def trial(request):
    return trial_of(request.param.name)


def test_scratch_refuses_to_be_pretrained():
    with pytest.raises(BenchError, match="no pretext"):
        build("scratch").loss({})


def test_state_that_a_checkpoint_lacks_is_told_with_what_to_do(monkeypatch, scans):
    original = registry.load("method", "mae3d").loss

    def loss(self, batch):
        vars(self)["seen"] = vars(self).get("seen", 0) + 1
        terms = original(self, batch)
        return {**terms, "total": terms["total"] * vars(self)["seen"]}

    monkeypatch.setattr(registry.load("method", "mae3d"), "loss", loss)
    with pytest.raises(AssertionError, match=r"resumed training .* register modules as attributes"):
        test_resuming_from_a_state_continues_bit_for_bit(trial_of("mae3d"), scans)  # noqa: F405


def test_a_target_that_the_loss_trains_too_is_told(monkeypatch, scans):
    method = build("byol3d")
    method.slow.requires_grad_(True)
    original = type(method).loss

    def loss(self, batch):
        pull = sum(p.sum() for p in self.slow.parameters())
        return {"total": original(self, batch)["total"] + pull}

    monkeypatch.setattr(type(method), "loss", loss)
    live = SimpleNamespace(build=lambda: method)
    with pytest.raises(
        AssertionError, match=r"after_step sets slow\..* call requires_grad_\(False\)"
    ):
        test_weights_that_follow_others_get_no_gradient(live, scans)  # noqa: F405


@each
def test_the_host_waits_for_a_gpu_no_oftener_than_it_did(trial, on_device):
    waits = on_device(trial)[1].waits
    more = sum(waits.values()) - WAITS.get(trial.name, 0)
    rose = f"{trial.name} waits {more} times more a step than waits.toml says"
    assert more <= 0, f"{rose}: {devices.summary(waits)}"
    assert more == 0, (
        f"{trial.name} waits {-more} times less a step: lower its number in waits.toml"
    )
