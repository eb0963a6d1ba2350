"""Rubik's cube++: slabs turn as a cube's do, and can be turned back."""

import pytest
import torch
from volumes import read, view, volumes

from bench.errors import BenchError

RAMP = torch.arange(216.0).view(1, 1, 6, 6, 6)


def turned(params, x, turns):
    return params.moved(x, torch.tensor(turns)[None])


@pytest.fixture
def params(build):
    return build("rubikpp", {"cubes": 3}).params


def test_a_move_turns_one_slab_and_leaves_the_others(params):
    for axis in range(3):
        turns = [[0, 0, 0] for _ in range(3)]
        turns[axis][1] = 1
        moved = turned(params, RAMP, turns).chunk(3, 2 + axis)
        still = RAMP.chunk(3, 2 + axis)
        assert torch.equal(moved[0], still[0]) and torch.equal(moved[2], still[2])
        plane = (2 + (axis + 1) % 3, 2 + (axis + 2) % 3)
        assert torch.equal(moved[1], still[1].rot90(1, plane))


def test_moves_undo_each_other_and_keep_all_voxels(params):
    turns = torch.tensor([[1, 2, 3], [0, 3, 1], [2, 1, 0]])
    x = turned(params, RAMP, turns.tolist())
    assert sorted(x.flatten().tolist()) == RAMP.flatten().tolist()
    for axis in (2, 1, 0):  # backwards, one axis at a time
        back = torch.zeros(3, 3, dtype=torch.long)
        back[axis] = 4 - turns[axis]
        x = turned(params, x, back.tolist())
    assert torch.equal(x, RAMP)
    assert torch.equal(turned(params, RAMP, [[0] * 3] * 3), RAMP)


def test_planes_that_are_not_square_turn_by_half(params):
    x = torch.arange(6.0 * 6 * 12).view(1, 1, 6, 6, 12)
    moved = turned(params, x, [[1, 0, 0], [0, 1, 0], [1, 0, 0]])
    first = x.clone()
    first[:, :, :2] = x[:, :, :2].rot90(2, (3, 4))
    first[:, :, :, 2:4] = first[:, :, :, 2:4].rot90(2, (2, 4))
    first[..., :4] = first[..., :4].rot90(1, (2, 3))
    assert torch.equal(moved, first)


def test_doing_nothing_costs_what_was_moved_and_is_the_rival(build):
    method = build("rubikpp", {"adversary": 0.0})
    batch = view(method, read(method, volumes(3)))
    terms = method.loss(batch)
    copied = (batch["x"] - batch["y"]).square().mean()
    assert terms["copied"].item() == pytest.approx(copied.item(), rel=1e-5) and copied > 0
    assert (
        terms["chance"] == min(terms["copied"], terms["flat"])
        and terms["total"] == terms["restored"]
    )


def test_the_adversary_is_beside_the_restoration(build):
    method = build("rubikpp", {"adversary": 0.5, "widths": [8, 8]})
    terms = method.loss(view(method, read(method, volumes(3))))
    expected = terms["restored"] + 0.5 * terms["deceived"] + terms["judged"]
    assert terms["total"].item() == pytest.approx(expected.item(), rel=1e-6)
    assert {k.split(".")[0] for k in method.transfer()} == {"encoder", "decoder"}
    assert {k.split(".")[0] for k in build("rubikpp", {"transfer": "encoder"}).transfer()} == {
        "encoder"
    }


def test_refuses_crops_that_are_no_cubes(params):
    with pytest.raises(BenchError, match="not 3 cubes a side"):
        params.check((32, 33, 33), None)
