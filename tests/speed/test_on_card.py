"""``make speed-gpu`` refuses without a card, and its parts do on the CPU what they will do on one."""

import sys
from dataclasses import replace
from itertools import islice

import on_card
import pytest
import torch
from on_card import Measured, card_named, fitted, measure, plain, shares, windows

from bench import nets
from bench.gpu import steps
from bench.gpu.cards import CARDS, Speed, calibrate, card
from bench.gpu.device import unavailable

pytestmark = pytest.mark.skipif(bool(unavailable()), reason=unavailable() or "-")
H100 = CARDS["h100-80gb"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card")
def test_without_a_card_it_is_a_line_and_nothing_is_done(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["on_card.py"])
    assert on_card.main() == 2 and not list(tmp_path.iterdir())
    shown = capsys.readouterr()
    (line,) = shown.err.splitlines()
    assert not shown.out and line.startswith("speed-gpu: ")
    assert line.endswith("run it on a machine that has one")


DRIVER = {
    ("NVIDIA H100 80GB HBM3", 79.1): "h100-80gb",
    ("NVIDIA A100-SXM4-40GB", 39.4): "a100-40gb",
    ("NVIDIA A100-SXM4-80GB", 79.2): "a100-80gb",
    ("NVIDIA GeForce RTX 4090", 23.6): "rtx4090-24gb",
    ("NVIDIA RTX A6000", 47.5): "a6000-48gb",
    ("NVIDIA H200", 139.8): "h200-141gb",
    ("Tesla K80", 11.0): None,
}


@pytest.mark.parametrize(("driver", "name"), DRIVER.items())
def test_a_card_goes_by_the_name_that_the_driver_gives(driver, name):
    chosen = card_named(*driver)
    assert (chosen.name if chosen else None) == name


def test_steps_of_the_real_loop_are_timed_and_shown_beside_the_forecast(plan_of):
    spec = next(job.spec for job in plan_of().jobs.values() if job.kind == "pretrain")
    step = steps.pretraining(spec)
    measured = measure("pair", steps.pretrained(spec), step, 3)
    assert measured.seconds > 0 and 0 <= measured.waited < 1 and measured.gib == 0
    assert measured.line(H100).count("|") == 9
    assert f"{measured.seconds / H100.seconds(step.work):.2f}" in measured.line(H100)


def test_the_calibration_makes_the_forecast_right_in_the_median(tmp_path):
    work = (("half", 1, 1e12, 1e9), ("memory", 10, 0.0, 1e10), ("memory", 1000, 0.0, 1.0))
    step, speed = steps.Step(1, 1, 2, 1, work), Speed(0.5, 0.5, 1e-5)
    expected = replace(H100, speed=speed).seconds(work)
    measured = [Measured("m", factor * expected, 0, 0, step) for factor in (1, 2, 7)]
    path = tmp_path / "gpu_calibration.json"
    calibrate(path, H100.name, fitted(H100, speed, measured, "today"))
    assert card(H100.name, path).seconds(work) == pytest.approx(2 * expected, rel=1e-3)


def test_shares_of_the_stated_speed_are_measured():
    speed = shares(H100, torch.device("cpu"), 256)
    assert 0 < speed.compute < 1 and 0 < speed.memory < 1 and speed.launch > 0


def test_the_peers_run(monkeypatch):
    network = nets.network("unet3d", "tiny", 1, 3, (16, 16, 16))
    image, label = torch.rand(1, 24, 24, 24), torch.randint(0, 3, (1, 24, 24, 24)).float()
    seconds = list(islice(plain(network, image, label, (16, 16, 16), 2), 2))
    assert len(seconds) == 2 and min(seconds) > 0
    assert min(windows(network.eval(), (16, 16, 16), (20, 20, 20))) > 0


def test_the_eight_are_rows_of_the_protocol():
    pretrainings, tuned = on_card.specs()
    assert list(pretrainings) == on_card.METHODS and len(pretrainings) == 8
    assert tuned.kind == "finetune"
