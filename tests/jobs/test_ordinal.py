"""Grades in an order: targets and loss by hand, a distribution from any sigmoids, and through the jobs."""

import math
from dataclasses import replace

import blobs
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bench.errors import BenchError
from bench.jobs import class_scores
from bench.jobs.ordinal import graded, loss, probabilities
from bench.jobs.scoring import path
from bench.metrics.classes import score_classes
from bench.nets import classifier

CHANCES = arrays(np.float64, (5,), elements=st.floats(0, 1, width=16))


def test_the_loss_by_hand_asks_of_every_grade_whether_it_is_reached():
    chances = torch.tensor([[0.9, 0.6, 0.2], [0.8, 0.7, 0.4]], dtype=torch.float64)
    wanted = (0.9, 0.6, 1 - 0.2, 0.8, 1 - 0.7, 1 - 0.4)  # of grade 1: 110; of grade 0: 100
    found = loss(torch.logit(chances), torch.tensor([1, 0]))
    assert found.item() == pytest.approx(-sum(map(math.log, wanted)) / 6)


@pytest.mark.parametrize(
    ("at_least", "each", "grade"),
    [
        ((1.0, 0.7, 0.6, 0.2, 0.0), (0.3, 0.1, 0.4, 0.2, 0.0), 2),
        ((1.0, 0.6, 0.3, 0.0, 0.0), (0.4, 0.3, 0.3, 0.0, 0.0), 1),  # the likeliest is 0
        ((1.0, 0.2, 0.7, 0.6, 0.0), (0.3, 0.1, 0.4, 0.2, 0.0), 2),  # not falling: as if sorted
        ((0.4, 0.3, 0.2, 0.1, 0.0), (0.7, 0.1, 0.1, 0.1, 0.0), 0),  # the released code says -1
        ((1.0, 1.0, 1.0, 1.0, 1.0), (0.0, 0.0, 0.0, 0.0, 1.0), 4),
    ],
)
def test_probabilities_and_grade_by_hand(at_least, each, grade):
    found = probabilities(np.array(at_least))
    assert found == pytest.approx(each) and graded(found[None]).tolist() == [grade]


@settings(max_examples=60, deadline=None)
@given(CHANCES)
def test_any_sigmoids_give_a_distribution_whose_median_is_their_number_above_a_half_less_one(
    at_least,
):
    found = probabilities(at_least)
    assert found.min() >= 0 and found.sum() == pytest.approx(1)
    at_least = np.where(np.abs(at_least - 0.5) < 1e-9, 0.4, at_least)
    assert graded(probabilities(at_least)[None])[0] == max(0, (at_least > 0.5).sum() - 1)


def test_metrics_are_of_the_classes_that_were_decided_on():
    scores, true = np.array([[0.4, 0.3, 0.3], [0.1, 0.1, 0.8]]), np.array([1, 2])
    for metric, values in (("accuracy", [1.0, 1.0]), ("qwk", [1.0])):
        rows = score_classes(scores, true, (metric,), graded(scores))
        assert [score.value for _, score in rows] == values
    assert [s.value for _, s in score_classes(scores, true)] == [0.0, 1.0]
    with pytest.raises(BenchError, match="from 0 to 2"):
        score_classes(scores, true, ("qwk",), np.array([3, 0]))


def test_a_hidden_layer_lies_between_the_encoder_and_the_classes():
    torch.manual_seed(0)
    made = classifier("unet2d", "tiny", 1, 3, (32, 32, 1), hidden=7)
    shapes = {k: tuple(v.shape) for k, v in made.head.state_dict().items() if k.endswith("weight")}
    width = made.encoder.widths[-1]
    assert shapes == {"0.weight": (7, width), "2.weight": (7,), "4.weight": (3, 7)}
    assert made(torch.zeros(2, 1, 32, 32, 1)).shape == (2, 3)


@pytest.fixture
def graded_jobs(tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        blobs.register(patch, tmp_path)
        yield blobs.Jobs(tmp_path / "out", "graded_blobs", blobs.write(tmp_path / "data", 60))


def test_from_files_to_kappa_it_learns_the_order(graded_jobs):
    jobs = graded_jobs
    jobs.done(jobs.prepare())
    recipe = {"steps": 50, "head": "ordinal", "select": "best_val", "val_every": 0.5}
    tuned = jobs.finetune("unet2d", (32, 32, 1), **recipe)
    jobs.done(tuned)
    judged, scoring = jobs.evaluate(tuned), jobs.scoring("accuracy", "auc", "qwk")
    cases, scores, predicted = class_scores.read(jobs.done(judged, scoring))
    np.testing.assert_allclose(scores.sum(1), 1)
    assert predicted.tolist() == graded(scores).tolist()
    rows = pd.read_parquet(path(jobs.store, judged.id, scoring)).set_index("metric")["value"]
    hits = [float(p == int(c[-1])) for c, p in zip(cases, predicted, strict=True)]
    assert rows["accuracy"].tolist() == hits
    assert rows["qwk"] > 0.6 and rows["auc"] > 0.6


@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        ({"head": "regions"}, "head regions is not for classification; use softmax or ordinal"),
        ({"hidden": 8, "batch": 1}, "cannot normalise a single sample"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(recipe, says, graded_jobs):
    hidden = recipe.pop("hidden", 0)
    job = graded_jobs.finetune("unet2d", (32, 32, 1), **recipe)
    spec = replace(job.spec, network=replace(job.spec.network, hidden=hidden))
    with pytest.raises(BenchError, match=says):
        spec._refuse_for_task()
