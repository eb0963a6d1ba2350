"""Rubik's cube: orders, turns and masks are what their labels say; cube++: slabs turn, and can be turned back."""

import pytest
import torch
from small_methods import agree, build, parts, raw_of, tried

from bench.pretext.cells import far_orders

RAMP = torch.arange(216.0).view(1, 1, 6, 6, 6)


def test_labels_undo_what_was_done():
    method, batch = tried("rubik", {"scale": "keep"})
    raw, orders = raw_of(method), far_orders(8, 100)
    for i in range(4):
        for cell, cube in enumerate(orders[batch["order"][i]]):
            about_x, about_z = batch["turned"][i, cell].tolist()
            seen = batch["cubes"][i, cell]
            seen = seen.flip(2, 3) if about_x else seen.flip(1, 2) if about_z else seen
            assert torch.equal(seen, raw["cubes"][i, cube]) and not (about_x and about_z)


def test_a_third_of_the_cubes_is_turned_about_either_axis():
    g = torch.Generator().manual_seed(0)
    cubes = {"cubes": torch.rand(400, 8, 1, 2, 2, 2)}
    batch = build("rubik").params.views(cubes, (2, 2, 2), g)
    assert batch["turned"].float().mean((0, 1)).tolist() == pytest.approx([1 / 3, 1 / 3], abs=0.03)
    assert 90 < len(batch["order"].unique()) <= 100


def test_intensities_of_a_scan_fill_minus_one_to_one():
    method, batch = tried("rubik", {"turns": False})
    cubes, raw = batch["cubes"].flatten(1), raw_of(method)["cubes"].flatten(1)
    assert cubes.amin(1).tolist() == [-1] * 4 and cubes.amax(1).tolist() == [1] * 4
    scaled = 2 * (raw - raw.amin(1, True)) / (raw.amax(1, True) - raw.amin(1, True)) - 1
    assert torch.allclose(cubes.sort(1).values, scaled.sort(1).values, atol=1e-5)


def test_plus_blanks_half_the_voxels_of_half_the_cubes():
    _, batch = tried("rubik", {"plus": True})
    zero = (batch["cubes"] == 0).flatten(2).float().mean(2)
    assert torch.allclose(zero[batch["masked"]], torch.tensor(0.5), atol=0.05)
    assert zero[~batch["masked"]].max() < 0.01 and 0 < batch["masked"].sum() < 32


def turned(x, turns):
    return build("rubikpp", {"cubes": 3}).params.moved(x, torch.tensor(turns)[None])


@pytest.mark.parametrize("axis", range(3))
def test_a_move_turns_one_slab_and_leaves_the_others(axis):
    turns = [[0, 0, 0] for _ in range(3)]
    turns[axis][1] = 1
    after, before = (x.chunk(3, 2 + axis) for x in (turned(RAMP, turns), RAMP))
    assert torch.equal(after[0], before[0]) and torch.equal(after[2], before[2])
    plane = (2 + (axis + 1) % 3, 2 + (axis + 2) % 3)
    assert torch.equal(after[1], before[1].rot90(1, plane))


def test_moves_undo_each_other_and_keep_all_voxels():
    turns = torch.tensor([[1, 2, 3], [0, 3, 1], [2, 1, 0]])
    x = turned(RAMP, turns.tolist())
    assert sorted(x.flatten().tolist()) == RAMP.flatten().tolist()
    for axis in (2, 1, 0):  # backwards, one axis at a time
        back = torch.zeros(3, 3, dtype=torch.long)
        back[axis] = 4 - turns[axis]
        x = turned(x, back.tolist())
    assert torch.equal(x, RAMP)
    assert torch.equal(turned(RAMP, [[0] * 3] * 3), RAMP)


def test_planes_that_are_not_square_turn_by_half():
    x = torch.arange(6.0 * 6 * 12).view(1, 1, 6, 6, 12)
    expected = x.clone()
    expected[:, :, :2] = x[:, :, :2].rot90(2, (3, 4))
    expected[:, :, :, 2:4] = expected[:, :, :, 2:4].rot90(2, (2, 4))
    expected[..., :4] = expected[..., :4].rot90(1, (2, 3))
    assert torch.equal(turned(x, [[1, 0, 0], [0, 1, 0], [1, 0, 0]]), expected)


def test_doing_nothing_costs_the_moves_and_is_the_rival():
    method, batch = tried("rubikpp", {"adversary": 0.0}, 3)
    terms = method.loss(batch)
    copied = (batch["x"] - batch["y"]).square().mean()
    rival = min(terms["copied"], terms["flat"])
    agree(terms, copied=copied, chance=rival, total=terms["restored"])
    assert copied > 0


def test_the_adversary_is_added_to_the_restoration():
    method, batch = tried("rubikpp", {"adversary": 0.5, "widths": [8, 8]}, 3)
    terms = method.loss(batch)
    agree(terms, total=terms["restored"] + 0.5 * terms["deceived"] + terms["judged"])
    assert parts(method.transfer()) == {"encoder", "decoder"}
