"""Rotation: which turns, when, how many of each crop, and what can tell nothing."""

import math

import numpy as np
import pytest
import torch
from seeded import generator
from small_methods import batch_of, build, params_of, raw_of, view

from bench import registry
from bench.data.reader import Volume
from bench.errors import BenchError
from bench.pretext import rotation


def test_all_four_turns_of_every_slice_are_told_by_numpys_count():
    method = build("rotation2d", {"augment": False})
    raw = raw_of(method)
    batch = view(method, raw)
    assert batch["views"].shape == (4, 4, 1, 32, 32, 1)
    assert batch["label"].tolist() == [[0, 1, 2, 3]] * 4
    for k in range(4):
        expected = np.rot90(raw["crop"].numpy(), k, axes=(2, 3)).copy()
        assert torch.equal(batch["views"][:, k], torch.from_numpy(expected))


def test_one_turn_each_is_drawn_alike_often_and_told():
    method = build("rotation2d", {"augment": False, "rotations_per_image": 1})
    raw = raw_of(method)
    counts = torch.zeros(4)
    for seed in range(100):
        batch = view(method, raw, seed)
        assert batch["views"].shape == (4, 1, 1, 32, 32, 1)
        back = torch.stack(
            [
                torch.rot90(v, -int(k), (1, 2))
                for v, k in zip(batch["views"][:, 0], batch["label"][:, 0], strict=True)
            ]
        )
        assert torch.equal(back, raw["crop"])
        counts += torch.bincount(batch["label"].flatten(), minlength=4)
    assert counts.sum() == 400 and counts.min() > 70


def test_slices_are_augmented_before_they_are_turned():
    method = build("rotation2d")
    views = batch_of(method)["views"]
    upright = torch.stack([torch.rot90(views[:, k], -k, (2, 3)) for k in range(4)])
    assert torch.equal(upright, upright[:1].expand_as(upright))  # one augmentation for all four
    assert not torch.equal(views[:, 0], raw_of(method)["crop"])


def test_mirroring_is_left_to_right_alone():
    method = build("rotation2d", {"augment": False, "mirror": 1.0})
    raw = raw_of(method)
    assert torch.equal(view(method, raw)["views"][:, 0], raw["crop"].flip(2))
    some = build("rotation2d", {"augment": False, "mirror": 0.5})
    seen = {
        bool(torch.equal(v, c))
        for s in range(5)
        for v, c in zip(view(some, raw, s)["views"][:, 0], raw["crop"], strict=True)
    }
    assert seen == {True, False}


def test_loss_is_the_mean_over_slices_and_turns():
    method = build("rotation2d")
    batch = batch_of(method)
    said = torch.stack(
        [method.head(method.encoder.embed(batch["views"][:, k])) for k in range(4)], 1
    )
    expected = -said.log_softmax(2)[:, range(4), range(4)].mean()
    assert method.loss(batch)["total"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_empty_slices_are_drawn_again_and_the_fullest_is_taken_in_the_end():
    image = np.zeros((1, 32, 32, 16), np.float32)
    image[..., 8:] = 1  # half of the slices are empty
    scan = Volume(image)
    read = [
        params_of("rotation2d").read(scan, (32, 32, 1), np.random.default_rng(s))["crop"]
        for s in range(60)
    ]
    assert np.mean([r.max() for r in read]) > 0.95  # all eight draws are empty once in 256 reads
    plain = params_of("rotation2d", foreground=0.0)
    read = [plain.read(scan, (32, 32, 1), np.random.default_rng(s))["crop"] for s in range(60)]
    assert 0.3 < np.mean([r.max() for r in read]) < 0.7
    ramp = np.zeros((1, 32, 32, 64), np.float32)
    for z in range(64):
        ramp[0, : z // 2, 0, z] = 1  # never more than a hundredth but more and more
    half, scan = params_of("rotation2d", foreground=0.5), Volume(ramp)
    share = [
        half.read(scan, (32, 32, 1), np.random.default_rng(s))["crop"].sum() for s in range(40)
    ]
    assert np.mean(share) > 25  # the fullest of eight; of one it would be 15.5
    empty = params_of("rotation2d").read(
        Volume(np.zeros((1, 32, 32, 4), np.float32)), (32, 32, 1), np.random.default_rng(0)
    )
    assert empty["crop"].shape == (1, 32, 32, 1)


def test_a_head_with_batch_norm_looks_across_the_batch_and_wants_two_crops():
    cls = registry.load("method", "rotation2d")
    mlp = cls.make_params({"head": "mlp", "rotations_per_image": 1})
    assert mlp.across_batch and not cls.make_params({}).across_batch
    with pytest.raises(BenchError, match="use a batch of 2"):
        mlp.check_batch("unet2d", (32, 32, 1), 1, 1)
    mlp.check_batch("unet2d", (32, 32, 1), 2, 1)


NAME = "rotation3d"


@pytest.mark.parametrize(("classes", "versions"), [(10, 1), (10, 10), (24, 3)])
def test_each_cube_comes_in_different_turns_and_the_label_tells_which(classes, versions):
    p, x = params_of(NAME, classes=classes, versions=versions), torch.randn(200, 1, 3, 3, 3)
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
        assert batch["kept"].shape == (4, 2, 96)
        assert set(batch["kept"].unique().tolist()) == {0.0, 2.0}
        other = {**batch, "kept": batch["kept"].flip(0)}
        assert method.loss(other)["total"] != method.loss(batch)["total"]


def test_slices_can_have_the_same_head():
    method = build("rotation2d", {"head": "mlp", "rotations_per_image": 1, "augment": False})
    batch = batch_of(method)
    assert batch["kept"].shape == (4, 1, 96) and isinstance(method.head, rotation.Classifier)
    assert torch.isfinite(method.loss(batch)["total"])
