"""Several processes, and micro-batches, train as one process does; they stop and resume together."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from lightning_fabric.plugins.environments import LightningEnvironment
from torch import nn

from bench import distributed
from bench.conformance import many
from bench.errors import Stopped
from bench.protocol.sections import Optimiser, Schedule, Training
from bench.random import rand
from bench.train import checkpoint
from bench.train.loop import Objective, Run, fit
from bench.train.parallel import _exchange
from bench.train.samples import Samples, batches

STEPS, BATCH = 6, 4
SGD = Optimiser(name="sgd", lr=0.1, weight_decay=0.1)
WARM = Schedule(warmup=0.25)
TRAINING = Training(steps=STEPS, batch=BATCH, clip=1.0, schedule=WARM, optimiser=SGD)


class Tiny(Objective):
    """A convolution with batch norm, noise, weights that no batch uses and a slow copy."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(
            nn.Conv3d(1, 4, 3), nn.BatchNorm3d(4), nn.ReLU(), nn.Conv3d(4, 1, 2)
        )
        self.idle = nn.Linear(2, 2)
        self.slow = nn.Parameter(torch.zeros(4), requires_grad=False)
        self.seen = []

    def forward(self, batch, generator):
        image = batch["image"]
        found = self.net(image + rand(image.shape, generator))
        miss = found.mean((1, 2, 3, 4)) - batch["aim"]
        return {"total": (miss**2).mean(), "aim": batch["aim"].mean()}

    def after_step(self, progress):
        self.slow.data.lerp_(self.net[0].bias.data, 0.5)

    def at(self, step):
        self.seen.append(step)


class Plain(Tiny):
    """The same without statistics over the batch."""

    def __init__(self):
        super().__init__()
        self.net[1] = nn.Identity()


def read(case, step, sample):
    rng = np.random.default_rng([case, step, sample])
    return {"image": rng.random((1, 5, 5, 5), np.float32), "aim": np.float32(rng.normal())}


def trained(folder, objective, accumulate=1, told=None, **given):
    """Return the curve, every weight, and the steps after which this process looked."""

    def data(start):
        return batches(Samples(3, BATCH, 0, read), BATCH, start, STEPS, accumulate=accumulate)

    made = objective()
    told = [] if told is None else told
    given["on_step"] = lambda step, steps, terms: told.append(step)
    curve = fit(made, data, Run(replace(TRAINING, accumulate=accumulate), 0, folder, **given))
    return curve, made.state_dict(), made.seen, told


def assert_alike(one, other):
    (curve, weights, *_), (again, same, *_) = one, other
    assert (curve.samples, curve.voxels) == (again.samples, again.voxels) == (24, 24 * 125)
    for row, twin in zip(curve.rows, again.rows, strict=True):
        assert row == pytest.approx(twin, abs=1e-5)
    assert weights.keys() == same.keys()
    for key, value in weights.items():
        torch.testing.assert_close(value, same[key], atol=1e-5, rtol=1e-5, msg=key)


def test_two_processes_equal_one(tmp_path, pair):
    whole = trained(tmp_path, Tiny)
    first, second = pair(trained, tmp_path, Tiny)
    assert (whole[1]["net.0.weight"] - Tiny().net[0].weight).abs().max() > 0.01
    assert_alike(first, whole)
    assert_alike(second, whole)
    every = list(range(1, STEPS + 1))
    assert (first[2], first[3]) == (every, every) and (second[2], second[3]) == ([], [])


def test_micro_batches_equal_the_batch_also_in_two_processes(tmp_path, pair):
    whole = trained(tmp_path, Plain)
    assert_alike(trained(tmp_path, Plain, 4), whole)
    for found in pair(trained, tmp_path, Plain, 2):
        assert_alike(found, whole)


def stopped(folder, rank, step):
    """Return what stopped this process when process ``rank`` is asked to stop after ``step`` steps."""
    looks = iter(range(1, STEPS + 1))
    try:
        trained(folder, Tiny, stopping=lambda: next(looks) >= step and distributed.rank() == rank)
    except Stopped as why:
        return str(why)
    return None


@pytest.mark.parametrize("rank", [0, 1])
def test_a_stop_asked_in_one_process_stops_both_and_either_number_resumes(rank, tmp_path, pair):
    (tmp_path / "one").mkdir()
    whole = pair(trained, tmp_path, Tiny)
    assert pair(stopped, tmp_path / "one", rank, 4) == [f"stopped after step 4 of {STEPS}"] * 2
    (saved,) = (tmp_path / "one").iterdir()
    assert checkpoint.read(saved.read_bytes())["step"] == 4
    again = pair(trained, tmp_path / "one", Tiny)
    for resumed, straight in zip(again, whole, strict=True):
        assert all(torch.equal(value, straight[1][key]) for key, value in resumed[1].items())
        assert resumed[0].rows == straight[0].rows
    assert again[0][2] == [5, 6] and again[1][2] == []
    assert_alike(trained(tmp_path / "one", Tiny), whole[0])


def test_what_one_process_saved_two_resume(tmp_path, pair):
    (tmp_path / "one").mkdir()
    assert stopped(tmp_path / "one", 0, 3) == f"stopped after step 3 of {STEPS}"
    assert_alike(pair(trained, tmp_path / "one", Tiny)[1], trained(tmp_path, Tiny))


NORMS = {
    "2d": lambda: nn.BatchNorm2d(3),
    "plain": lambda: nn.BatchNorm2d(3, affine=False, track_running_stats=False),
    "average": lambda: nn.BatchNorm2d(3, momentum=None),
}


def normed(kind, x, exchange):
    """Return outputs and input gradients on this process's rows of ``x``, gradients, statistics."""
    both = nn.Sequential(NORMS[kind]())
    if exchange:
        _exchange(both)
    weights = torch.arange(float(x.numel())).view_as(x) / x.numel()
    x, weights = (v.chunk(distributed.size())[distributed.rank()].clone() for v in (x, weights))
    x.requires_grad_()
    for _ in range(2):
        y = both(x)
        (y.square() * weights).sum().backward()
    rows = {"y": y, "x": x.grad}
    if both[0].track_running_stats:
        rows["evaluated"] = both.eval()(x)
    return rows, [p.grad for p in both.parameters()], both.state_dict()


@pytest.mark.parametrize("kind", NORMS)
def test_batch_norm_over_two_processes_is_torchs_over_the_whole_batch(kind, pair):
    x = torch.randn(6, 3, 4, 5, generator=torch.Generator().manual_seed(1)) + 3
    expected, given, statistics = normed(kind, x, False)
    one, two = pair(normed, kind, x, True)
    for key, value in expected.items():
        rows = torch.cat([one[0][key], two[0][key]])
        torch.testing.assert_close(rows, value, atol=1e-4, rtol=1e-4)
    for a, b, total in zip(one[1], two[1], given, strict=True):
        torch.testing.assert_close(a + b, total, atol=1e-4, rtol=1e-4)  # what DDP averages
    for found in (one[2], two[2]):
        assert found.keys() == statistics.keys()
        for key, value in statistics.items():
            torch.testing.assert_close(found[key], value)


def scaled(_):
    """Return the device side of fp16 on a CPU, its loss scale growing every second step."""
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=2)
    half = MixedPrecision("16-mixed", "cpu", scaler)
    return Fabric(accelerator="cpu", devices=1, plugins=[half, LightningEnvironment()])


class Wide(Objective):
    """A linear layer: fp16 on a CPU has no 3D convolution."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(125, 1)

    def forward(self, batch, generator):
        found = self.layer(batch["image"].flatten(1))
        return {"total": found.float().square().mean()}


def test_fp16_scales_the_loss_clips_unscaled_gradients_and_resumes_its_scale(tmp_path, monkeypatch):
    norms, clip = [], torch.nn.utils.clip_grad_norm_

    def watched(parameters, **given):
        norms.append(float(clip(parameters, **given)))

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", watched)

    def run(folder, stop=STEPS):
        made, looks = Wide(), iter(range(1, STEPS + 1))
        data = partial(batches, Samples(3, BATCH, 0, read), BATCH, steps=STEPS)
        try:
            fit(
                made,
                data,
                Run(TRAINING, 0, folder, stopping=lambda: next(looks) >= stop, device=scaled),
            )
        except Stopped:
            (saved,) = folder.iterdir()
            return checkpoint.read(saved.read_bytes())["precision"]
        return made.state_dict()

    (tmp_path / "one").mkdir()
    whole = run(tmp_path)
    assert 0 < max(norms) < 100  # a scaled gradient would be a thousand times as long
    assert run(tmp_path / "one", 3)["scale"] == 2048.0
    resumed = run(tmp_path / "one")
    assert all(torch.equal(value, whole[key]) for key, value in resumed.items())


@pytest.mark.parametrize("size", [2, 8, 64])
def test_batch_norm_among_many_sends_two_numbers_a_channel_and_negatives_are_of_all(size):
    x = torch.randn(3, 5, 4, 4, 2, requires_grad=True)
    norm = nn.Sequential(nn.BatchNorm3d(5))
    with many.fake_processes(size) as traffic:
        _exchange(norm)
        y = norm(x)
        y.sum().backward()
        rows = distributed.gather(x.detach())
    assert (y.shape, x.grad.shape, rows.shape) == (x.shape, x.shape, (3 * size, 5, 4, 4, 2))
    moments, values = 2 * 5 * 4, 3 * 5 * 32 * 4  # bytes
    assert traffic.gathered == moments + values
    assert traffic.received(size) == size * (moments + values)
    assert traffic.reduced == size * moments  # a gradient for the rows of each process
