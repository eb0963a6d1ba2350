"""The loop: resumed equals uninterrupted bit for bit, and what it tells and refuses."""

import numpy as np
import pytest
import torch
from one_line import refused
from torch import nn

from bench.errors import Stopped
from bench.protocol.sections import Optimiser, Schedule, Tuning
from bench.train import loop
from bench.train.loop import Objective, Run, fit
from bench.train.samples import Samples, batches

STEPS, BATCH = 12, 2
NEEDS_GPU = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="half precision is refused on a CPU"
)


class Tiny(Objective):
    """A convolution with everything that keeps state: dropout, batch norm, a slow copy, noise."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(
            nn.Conv3d(1, 4, 3), nn.BatchNorm3d(4), nn.Dropout(0.4), nn.Conv3d(4, 1, 2)
        )
        self.flat = nn.Parameter(torch.ones(1, 1, 2, 2))
        self.slow = nn.Parameter(torch.zeros(4), requires_grad=False)
        self.best, self.seen = -1.0, []

    def forward(self, batch, generator):
        image = batch["image"]
        noise = torch.rand(image.shape, generator=generator, device=image.device)
        found = self.net(image + 0.1 * noise)
        return {"total": (found**2).mean() + (self.flat**2).mean(), "noise": noise.mean()}

    def after_step(self, progress):
        self.slow.data.lerp_(self.net[0].bias.data, 0.5 * progress)

    def at(self, step):
        self.seen.append(step)
        self.best = max(self.best, self.net[0].weight.detach().sum().item())

    def extra_state(self):
        return {"best": self.best}

    def load_extra_state(self, state):
        self.best = state["best"]


def read(case, step, sample):
    return {"image": np.random.default_rng([case, step, sample]).random((1, 5, 5, 5), np.float32)}


def data(start):
    return batches(Samples(3, BATCH, 0, read), BATCH, start, STEPS)


def run_of(folder, **given):
    optimiser = Optimiser(lr=0.05, weight_decay=0.1, amsgrad=True)
    usual = {"steps": STEPS, "clip": 1.0, "schedule": Schedule(warmup=0.25), "optimiser": optimiser}
    folder.mkdir(exist_ok=True)
    training = Tuning(**{**usual, **given.pop("recipe", {})})
    return Run(training, given.pop("seed", 0), folder, **given)


def trained(folder, **given):
    objective = Tiny()
    curve = fit(objective, data, run_of(folder, **given))
    return objective, curve


def equal(one, other):
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize(
    "precision", ["fp32", *(pytest.param(p, marks=NEEDS_GPU) for p in ("bf16", "fp16"))]
)
@pytest.mark.parametrize("stops", [[1], [5], [3, 4, 11]])
def test_stopped_and_resumed_equals_uninterrupted_bit_for_bit(tmp_path, stops, precision):
    recipe = {"precision": precision}
    whole, curve = trained(tmp_path / "a", recipe=recipe)
    for stop in stops:
        objective = Tiny()
        stopping = {"stopping": lambda o=objective, s=stop: o.seen[-1] == s}
        settings = run_of(tmp_path / "b", recipe=recipe, **stopping)
        with pytest.raises(Stopped, match=f"stopped after step {stop} of {STEPS}"):
            fit(objective, data, settings)
        torch.manual_seed(stop + 17)  # a new process: another global state
    parts, again = trained(tmp_path / "b", recipe=recipe)
    assert parts.seen[0] == stops[-1] + 1
    assert equal(whole, parts) and whole.best == parts.best
    assert (again.rows, again.samples, again.voxels) == (curve.rows, curve.samples, curve.voxels)


def test_killed_between_checkpoints_it_goes_on_from_the_last(tmp_path):
    whole, _ = trained(tmp_path / "a")

    class Killed(Tiny):
        def at(self, step):
            super().at(step)
            if step == 8:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(Killed(), data, run_of(tmp_path / "b", every=0.0))
    newest = max((tmp_path / "b").glob("step-*.pt"))
    newest.write_bytes(b"torn")
    parts, _ = trained(tmp_path / "b")
    assert parts.seen[0] == 7 and equal(whole, parts)


def test_the_global_state_does_not_matter_and_the_seed_does(tmp_path):
    found = []
    for i, (state, seed) in enumerate([(1, 0), (2, 0), (1, 1)]):
        objective = Tiny()
        torch.manual_seed(state)
        fit(objective, data, run_of(tmp_path / str(i), seed=seed))
        found.append(objective)
    assert equal(found[0], found[1]) and not equal(found[0], found[2])


def test_it_counts_samples_and_voxels_and_tells_every_step_of_a_short_run(tmp_path):
    steps_seen = []

    def on_step(step, steps, terms):
        steps_seen.append((step, steps, set(terms)))

    _, curve = trained(tmp_path, on_step=on_step)
    assert steps_seen == [(k, STEPS, {"total", "noise"}) for k in range(1, STEPS + 1)]
    assert (curve.samples, curve.voxels) == (STEPS * BATCH, STEPS * BATCH * 125)
    assert [r["step"] for r in curve.rows] == list(range(1, STEPS + 1))
    assert [r["lr"] for r in curve.rows][:4] == pytest.approx([0.05 / 3, 0.1 / 3, 0.05, 0.05])
    assert list(tmp_path.iterdir()) == []  # a run that nobody stops within a minute writes nothing


def test_a_loss_that_is_not_finite_is_a_reason_and_not_a_traceback(tmp_path):
    class Broken(Tiny):
        def forward(self, batch, generator):
            return {"total": super().forward(batch, generator)["total"] / 0.0}

    with refused(r"not finite at step 1 \(total inf\); no weight has changed"):
        fit(Broken(), data, run_of(tmp_path))


@NEEDS_GPU
def test_bf16_runs_matrix_products_in_bf16():
    device = loop.fabric("bf16")
    with device.autocast():
        ones = torch.ones(2, 2, device=device.device)
        assert (ones @ ones).dtype == torch.bfloat16


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_is_refused_without_a_gpu(precision, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with refused(rf"{precision} needs a GPU.*precision=fp32"):
        loop.fabric(precision)


def test_weights_of_convolutions_are_laid_out_channels_last():
    net = nn.Sequential(nn.Conv3d(2, 3, 2), nn.Conv2d(2, 3, 2), nn.BatchNorm3d(3))
    before = {k: v.clone() for k, v in net.state_dict().items()}
    loop.channels_last(net)
    assert net[0].weight.is_contiguous(memory_format=torch.channels_last_3d)
    assert net[1].weight.is_contiguous(memory_format=torch.channels_last)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


class Slopes(Objective):
    """Two weights whose gradients are 10 and 0.1, whatever the batch."""

    def __init__(self):
        super().__init__()
        self.steep, self.flat = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))

    def forward(self, batch, generator):
        return {"total": (10 * self.steep + 0.1 * self.flat).sum()}


@pytest.mark.parametrize(("each", "expected"), [(True, (-1.0, -0.1)), (False, (-1.0, -0.01))])
def test_gradients_are_clipped_together_or_each_tensor_by_itself(each, expected, tmp_path):
    plain = Optimiser(name="sgd", lr=1.0, momentum=0.0)
    recipe = {"steps": 1, "clip": 1.0, "clip_each": each, "optimiser": plain}
    recipe |= {"schedule": Schedule(name="constant")}
    objective = Slopes()
    fit(objective, data, run_of(tmp_path, recipe=recipe))
    found = objective.steep.item(), objective.flat.item()
    assert found == pytest.approx(expected, rel=1e-3)
