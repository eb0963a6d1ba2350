"""Rotation on volumes: which turns, how many of each cube, by what head they are named."""

import math

import pytest
import torch
from seeded import generator
from small_methods import batch_of, build, shown, train, view, volumes

from bench import registry
from bench.dataset import Recipe
from bench.errors import BenchError
from bench.pretext import rotation

NAME = "rotation3d"


def params(given=None):
    return registry.load("method", NAME).make_params(given or {})


@pytest.mark.parametrize(("classes", "versions"), [(10, 1), (10, 10), (24, 3)])
def test_each_cube_comes_in_different_turns_and_the_label_tells_which(classes, versions):
    p, x = params({"classes": classes, "versions": versions}), torch.randn(200, 1, 3, 3, 3)
    made = p.views({"crop": x}, (3, 3, 3), generator(0))
    assert made["views"].shape == (200, versions, 1, 3, 3, 3) and p.crops_per_sample == versions
    assert all(len(set(row)) == versions for row in made["label"].tolist())
    for t in range(versions):
        assert torch.equal(made["views"][:, t], rotation.of_cube(x, classes, made["label"][:, t]))
    seen = torch.bincount(made["label"].flatten(), minlength=classes)
    assert seen.min() > 0.4 * seen.float().mean()


def test_a_cube_that_looks_alike_from_all_sides_is_named_by_chance():
    method = build(NAME, {"versions": 10, "dropout": 0.0})
    batch = view(method, {"crop": torch.ones(2, 1, 16, 16, 16)})
    terms = method.loss(batch)
    assert terms["accuracy"].item() == pytest.approx(0.1) and terms["total"] >= math.log(10) - 1e-5


@pytest.mark.parametrize(
    ("given", "drawn"), [({}, True), ({"dropout": 0.0}, False), ({"head": "linear"}, False)]
)
def test_what_the_dropout_keeps_is_drawn_with_the_views(given, drawn):
    method = build(NAME, {"versions": 2, **given})
    batch = batch_of(method)
    assert ("kept" in batch) is drawn
    if drawn:
        assert batch["kept"].shape == (4, 2, 96) and set(batch["kept"].unique().tolist()) == {
            0.0,
            2.0,
        }
        other = {**batch, "kept": batch["kept"].flip(0)}
        assert method.loss(other)["total"] != method.loss(batch)["total"]


def test_slices_can_have_the_same_head():
    method = build("rotation2d", {"head": "mlp", "rotations_per_image": 1, "augment": False})
    batch = batch_of(method)
    assert batch["kept"].shape == (4, 1, 96) and isinstance(method.head, rotation.Classifier)
    assert torch.isfinite(method.loss(batch)["total"])


def test_refuses_crops_that_are_no_cubes():
    with pytest.raises(BenchError, match="turns cubes"):
        params().check((32, 32, 16), Recipe())
    params().check((32, 32, 32), Recipe())


@pytest.mark.slow
def test_turns_are_named_after_a_short_run():
    scans = volumes(8, shape=(16, 16, 16), sigma=3.0)
    method = build(NAME, {"versions": 2})
    before = shown(method, scans, [999])["accuracy"]
    train(method, scans, 60, 3e-3)
    after = shown(method, scans, [998, 999])["accuracy"]
    assert after > max(0.3, before + 0.15), (before, after)
