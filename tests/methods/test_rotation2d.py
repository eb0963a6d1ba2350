"""Rotation on slices: labels, what is turned when, and what can tell nothing."""

import numpy as np
import pytest
import torch
from small_methods import batch_of, build, raw_of, shown, train, view, volumes

from bench import registry
from bench.data.reader import Volume
from bench.dataset import Recipe
from bench.errors import BenchError


def params(given=None):
    return registry.load("method", "rotation2d").make_params(given or {})


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
    read = [params().read(scan, (32, 32, 1), np.random.default_rng(s))["crop"] for s in range(60)]
    assert np.mean([r.max() for r in read]) > 0.95  # all eight draws are empty once in 256 reads
    plain = params({"foreground": 0.0})
    read = [plain.read(scan, (32, 32, 1), np.random.default_rng(s))["crop"] for s in range(60)]
    assert 0.3 < np.mean([r.max() for r in read]) < 0.7
    ramp = np.zeros((1, 32, 32, 64), np.float32)
    for z in range(64):
        ramp[0, : z // 2, 0, z] = 1  # never more than a hundredth but more and more
    half, scan = params({"foreground": 0.5}), Volume(ramp)
    share = [
        half.read(scan, (32, 32, 1), np.random.default_rng(s))["crop"].sum() for s in range(40)
    ]
    assert np.mean(share) > 25  # the fullest of eight; of one it would be 15.5
    empty = params().read(
        Volume(np.zeros((1, 32, 32, 4), np.float32)), (32, 32, 1), np.random.default_rng(0)
    )
    assert empty["crop"].shape == (1, 32, 32, 1)


def test_refuses_crops_that_are_not_square():
    with pytest.raises(BenchError, match="square"):
        params().check((32, 48, 1), Recipe())
    params().check((32, 32, 1), Recipe())


@pytest.mark.slow
def test_turns_are_named_after_a_short_run():
    scans = volumes(12, shape=(48, 48, 8), sigma=6.0)
    method = build("rotation2d", {"area": (0.6, 1.0)})
    before = shown(method, scans, [999])["accuracy"]
    train(method, scans, 50, 3e-3)
    after = shown(method, scans, [999])["accuracy"]
    assert after > max(0.5, before + 0.2), (before, after)


def test_a_head_with_batch_norm_looks_across_the_batch_and_wants_two_crops():
    cls = registry.load("method", "rotation2d")
    mlp = cls.make_params({"head": "mlp", "rotations_per_image": 1})
    assert mlp.across_batch and not cls.make_params({}).across_batch
    with pytest.raises(BenchError, match="take a batch of 2"):
        mlp.check_batch("unet2d", (32, 32, 1), 1, 1)
    mlp.check_batch("unet2d", (32, 32, 1), 2, 1)
