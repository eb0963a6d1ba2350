"""Two processes, and micro-batches one after the other, train every method as one process does.

All in double precision: on these tiny networks a last digit of one weight grows to 1e-3 within a few
steps of single precision, also in one process.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from bench.conformance import many
from bench.conformance.scans import read as read_batch
from bench.conformance.scans import sample as read_sample
from bench.conformance.scans import volumes
from bench.conformance.trial import Trial as Trial
from bench.conformance.trial import only, try_methods
from bench.jobs.pretrain.run import Pretext
from bench.protocol.sections import Optimiser, Schedule, Training
from bench.random import numpy_rng
from bench.train import loop
from bench.train.loop import Run, fit
from bench.train.parallel import together
from bench.train.samples import Samples, batches

STEPS, BATCH, HALVES = 2, 4, 2
TRAINING = Training(
    steps=STEPS,
    batch=BATCH,
    schedule=Schedule(name="constant"),
    optimiser=Optimiser(name="sgd", lr=0.2, weight_decay=1e-3),
)
UNLIKE = (
    "parts of a batch do not train as the whole batch does: in views, draw with rand, randn and randint of "
    "bench.random, which draw for the whole batch and keep the rows of this part; in loss, take means over "
    "samples, and gather rows (bench.distributed.gather) before samples are compared or counted"
)
ALONE = (
    "the loss gives {} weights where it sees only a part of the batch at a time: set across_batch = {}, "
    "or correct the loss"
)
each = only(lambda cls: cls.pretrains)
pytest_generate_tests = try_methods


@pytest.fixture
def trial(request):
    return request.param


@pytest.fixture(scope="module")
def scans():
    return volumes(5)


def read(method, scans, case, step, sample):
    return read_sample(method, scans[case], case, numpy_rng(0, "read", step, sample))


def unwatched():
    return SimpleNamespace(at=lambda step: None)


def trained(method, scans, accumulate=1):
    """Return the curve and every weight after some steps of the real loop."""
    samples = Samples(len(scans), BATCH, 0, partial(read, method, scans))

    def data(start):
        return batches(samples, BATCH, start, STEPS, accumulate=accumulate)

    run = Run(replace(TRAINING, accumulate=accumulate), 0, Path("never written"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(loop.PRECISION, "fp32", "64-true")
        curve = fit(Pretext(method.double(), {}, None, unwatched()), data, run)
    return curve, method.state_dict()


@pytest.fixture(scope="module")
def alone(scans):
    """Return a function that trains a method in this process, each but once, also in micro-batches."""
    done = {}

    def train_alone(trial, accumulate=1):
        if (trial.name, accumulate) not in done:
            done[trial.name, accumulate] = trained(trial.build(), scans, accumulate)
        return done[trial.name, accumulate]

    return train_alone


def furthest(sample, other):
    assert sample.keys() == other.keys()
    # of the largest weight where that is above 1: steps of SGD at this rate can make them large
    scale = {k: other[k].double().abs().max().clamp_min(1) for k in sample}
    return max(((sample[k].double() - other[k]).abs().max() / scale[k]).item() for k in sample)


def assert_alike(sample, other):
    (curve, weights), (again, same) = sample, other
    assert (curve.samples, curve.voxels) == (again.samples, again.voxels)
    for row, twin in zip(curve.rows, again.rows, strict=True):
        assert row.keys() == twin.keys()
        near = pytest.approx(list(twin.values()), abs=1e-5, rel=1e-5)
        assert list(row.values()) == near, UNLIKE
    assert furthest(weights, same) < 1e-8, UNLIKE


@each
def test_two_processes_equal_one(trial, alone, scans, bench_pair):
    expected = alone(trial)
    first, second = bench_pair(trained, trial.build(), scans)
    before = dict(trial.build().named_parameters())
    # the steps move the weights
    change = furthest(before, {k: expected[1][k] for k in before})
    assert change > 1e-3, "two steps do not move the weights: does the loss depend on them?"
    assert_alike(first, expected)
    assert_alike(second, expected)


@each
def test_it_says_whether_its_loss_looks_across_the_batch(trial, alone):
    (_, expected), (_, weights) = alone(trial), alone(trial, HALVES)
    differs = furthest(weights, expected) > 1e-5
    assert differs is trial.cls.across_batch, ALONE.format("other" if differs else "equal", differs)


def among(trial, views, size):
    """Return the terms of a step among so many processes, and what this one hands to the others."""
    method = trial.build()
    with many.fake_processes(size) as traffic:
        called = together(Loss(method))
        many.count_gradients(called, traffic)
        terms = called(views)
        terms["total"].backward()
        method.after_step(0.0)
    return method, terms, traffic


class Loss(torch.nn.Module):
    def __init__(self, method):
        super().__init__()
        self.method = method

    def forward(self, views):
        return self.method.loss(views)


SIZES = (2, 64)


@each
def test_among_many_processes_shapes_hold_and_rows_are_sent_once(trial, scans):
    method = trial.build()
    views = method.views(
        read_batch(method, scans[: max(2, method.min_batch)]), torch.Generator().manual_seed(0)
    )
    trained = sum(p.nbytes for p in method.parameters() if p.requires_grad)
    steps = [among(trial, views, size) for size in SIZES]
    for stepped, terms, traffic in steps:
        assert all(term.ndim == 0 for term in terms.values())
        assert all(p.grad is None or p.grad.shape == p.shape for p in stepped.parameters())
        assert traffic.gradients == trained
    # what a process hands out does not depend on how many there are
    gathered = {traffic.gathered for *_, traffic in steps}
    assert len(gathered) == 1, "with more processes each hands out more: gather only its own rows"


@only(lambda cls: cls.pretrains and not cls.across_batch)
def test_micro_batches_equal_the_batch(trial, alone):
    assert_alike(alone(trial, HALVES), alone(trial))
