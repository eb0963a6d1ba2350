"""SimCLR on volumes: pairs overlap, collapse costs ln(2N - 1), retrieval rises."""

import math

import numpy as np
import pytest
import torch
from volumes import read, textured, view, volumes


@pytest.fixture(scope="module")
def scans():
    return volumes(4)


def test_views_are_two_crops_of_the_networks_size(build, scans):
    method = build("simclr3d")
    assert view(method, read(method, scans))["views"].shape == (4, 2, 1, 16, 16, 16)


def test_crops_overlap_by_half_along_every_axis(build, scans):
    method = build("simclr3d")
    for seed in range(5):
        start = read(method, scans, seed)["start"]
        assert ((start[:, 0] - start[:, 1]).abs() <= 8).all()


def test_without_augmentation_views_are_the_crops(build, scans):
    off = dict.fromkeys(("flip", "rot90", "noise", "blur", "brightness", "contrast", "gamma"), 0.0)
    method = build("simclr3d", off)
    raw = read(method, scans)
    assert torch.equal(view(method, raw)["views"], raw["pair"])


def test_scaled_crops_are_resized(build, scans):
    method = build("simclr3d", {"scale": [0.75, 1.25]})
    raw = read(method, scans)
    assert raw["pair"].shape[-3:] == (20, 20, 20)
    assert view(method, raw)["views"].shape[-3:] == (16, 16, 16)


def test_equal_embeddings_cost_the_logarithm_of_what_they_are_confused_with(build, scans):
    method = build("simclr3d")
    torch.nn.init.zeros_(method.projector[-1].weight)  # only the bias is left
    value = method.loss(view(method, read(method, scans)))["total"].item()
    assert value == pytest.approx(math.log(7), abs=1e-5)


def test_both_views_carry_gradient(build, scans):
    method = build("simclr3d")
    batch = view(method, read(method, scans))
    batch["views"].requires_grad_(True)
    method.loss(batch)["total"].backward()
    assert (batch["views"].grad.flatten(2).abs().sum(2) > 0).all()


@torch.no_grad()
def mean_terms(method, scans):
    terms = [method.loss(view(method, read(method, scans, s), s)) for s in range(901, 907)]
    return {k: np.mean([t[k].item() for t in terms]) for k in terms[0]}


@pytest.mark.slow
def test_learns_to_tell_unseen_scans_apart(build):
    scans, held_out = textured(32, 1), textured(16, 500)
    method = build("simclr3d")
    moved = torch.optim.AdamW(method.parameters(), 2e-3)
    before = mean_terms(method, held_out)
    for k in range(150):
        rows = torch.randperm(32, generator=torch.Generator().manual_seed(k))[:12].tolist()
        batch = view(method, read(method, [scans[i] for i in rows], k), k)
        moved.zero_grad()
        method.loss(batch)["total"].backward()
        moved.step()
    after = mean_terms(method, held_out)
    assert after["total"] < 0.85 * math.log(31)  # collapse: ln 31
    assert after["retrieval"] > max(2 / 31, before["retrieval"] + 0.05)
