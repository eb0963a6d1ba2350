"""SimCLR on volumes: pairs overlap, collapse costs ln(2N - 1), retrieval rises."""

import math

import pytest
import torch
from small_methods import build, raw_of, shown, textured, train, view


def test_crops_overlap_by_half_along_every_axis():
    method = build("simclr3d")
    for seed in range(5):
        start = raw_of(method, 4, seed)["start"]
        assert ((start[:, 0] - start[:, 1]).abs() <= 8).all()


def test_without_augmentation_views_are_the_crops():
    off = dict.fromkeys(("flip", "rot90", "noise", "blur", "brightness", "contrast", "gamma"), 0.0)
    method = build("simclr3d", off)
    raw = raw_of(method)
    assert torch.equal(view(method, raw)["views"], raw["pair"])


def test_scaled_crops_are_resized():
    method = build("simclr3d", {"scale": [0.75, 1.25]})
    raw = raw_of(method)
    assert raw["pair"].shape[-3:] == (20, 20, 20)
    assert view(method, raw)["views"].shape[-3:] == (16, 16, 16)


@pytest.mark.slow
def test_learns_to_tell_unseen_scans_apart():
    scans, held_out = textured(32, 1), textured(16, 500)
    method = build("simclr3d")
    before = shown(method, held_out)
    train(method, scans, 150, 2e-3)
    after = shown(method, held_out)
    assert after["total"] < 0.85 * math.log(31)  # collapse: ln 31
    assert after["retrieval"] > max(2 / 31, before["retrieval"] + 0.05)
