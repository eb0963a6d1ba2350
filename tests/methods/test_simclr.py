"""SimCLR: pairs of boxes and of slices, stacks, both reductions, and who has a gradient."""

import numpy as np
import pytest
import torch
from small_methods import Gives, batch_of, build, raw_of, read, scans, view

from bench.data.reader import Volume
from bench.random import torch_generator

OFF = {"area": [1.0, 1.0], "aspect": [1.0, 1.0], "blur": 0.0, "noise": 0.0}


def test_a_read_is_one_slice_of_a_volume():
    method = build("simclr2d")
    crop = raw_of(method)["crop"]
    assert crop.shape == (4, 1, 32, 32, 1)
    whole = torch.from_numpy(scans()[0].whole())[0]
    windows = whole.unfold(0, 32, 1).unfold(1, 32, 1)  # (33, 33, z, 32, 32)
    assert (windows - crop[0, 0, ..., 0]).abs().amax((-2, -1)).min() == 0


def test_negatives_carry_gradient_and_none_of_it_is_radial():
    method = build("simclr2d")
    torch.manual_seed(0)
    rows = torch.randn(8, 5, dtype=torch.float64, requires_grad=True)
    method.projector = Gives(rows)
    method.loss({"views": torch.zeros(4, 2, 1, 32, 32, 1)})["total"].backward()
    assert (rows.grad.abs().sum(1) > 1e-3).all()
    assert (rows.grad * rows).sum(1).abs().max() < 1e-9


def test_several_slices_of_a_stack_lie_at_different_depths_and_stay_together():
    method = build("simclr2d", {**OFF, "slices": 3, "same_stack": "leave_out"})
    deep = np.broadcast_to(np.arange(8, dtype=np.float32), (1, 32, 32, 8))
    stacks = [Volume(deep + 100 * i) for i in range(2)]
    for i, stack in enumerate(stacks):
        stack.name = f"prepared/{i}"
    raw = read(method, [*stacks, stacks[0], Volume(deep), Volume(deep)])
    assert raw["crop"].shape == (5, 3, 1, 32, 32, 1)
    depths = raw["crop"][:, :, 0, 0, 0, 0]
    assert all(len(set(row.tolist())) == 3 for row in depths)
    assert (depths[1] >= 100).all() and (depths[[0, 2, 3, 4]] < 8).all()
    number = raw["stack"].tolist()
    assert (
        number[0] == number[2] and len(set(number)) == 4
    )  # without a name a stack is known to itself alone
    batch = view(method, raw)
    assert batch["views"].shape == (15, 2, 1, 32, 32, 1) and batch["stack"].shape == (15,)
    assert torch.equal(batch["views"][:, :, 0, 0, 0, 0], depths.flatten()[:, None].expand(-1, 2))
    assert batch["stack"].tolist() == [n for n in number for _ in range(3)]
    assert method.params.crops_per_sample == 6
    part = method.views(
        {k: v[2:4] for k, v in raw.items()}, torch_generator("cpu", 0, "v", 0, (1, 2))
    )
    whole = method.views({k: v[:4] for k, v in raw.items()}, torch_generator("cpu", 0, "v"))
    assert torch.equal(part["views"], whole["views"][6:])


def test_slices_of_one_sample_are_of_one_origin():
    method = build("simclr2d", {"slices": 2})
    batch = batch_of(method)  # origins 0, 1, 0, 1
    assert "stack" not in batch and len(batch["views"]) == 8
    batch["views"] = torch.zeros_like(batch["views"])
    batch["origin"] = torch.tensor([0, 1, 0, 1])
    assert method.loss(batch)["chance"].item() == pytest.approx(1 / 7)


def test_of_more_slices_than_a_volume_has_some_come_again():
    assert read(build("simclr2d", {"slices": 9}), scans()[:1])["crop"].shape[:2] == (1, 9)


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
