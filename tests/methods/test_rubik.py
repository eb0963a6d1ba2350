"""Rubik's cube: orders, turns and masks are what their labels say."""

import pytest
import torch
from volumes import read, view, volumes

from bench import nets, registry
from bench.dataset import Recipe
from bench.errors import BenchError
from bench.pretext.cells import far_orders

GRID = {"grid": (2, 2, 2), "jitter": (4, 4, 0)}


@pytest.fixture(scope="module")
def scans():
    return volumes(4)


def made(build, scans, params=None, seed=0):
    method = build("rubik", {**GRID, **(params or {})})
    raw = read(method, scans)
    return method, raw, view(method, raw, seed)


def test_labels_undo_what_was_done(build, scans):
    _, raw, batch = made(build, scans, {"scale": "keep"})
    orders = far_orders(8, 100)
    for i in range(4):
        for place, cube in enumerate(orders[batch["order"][i]]):
            about_x, about_z = batch["turned"][i, place].tolist()
            seen = batch["cubes"][i, place]
            seen = seen.flip(2, 3) if about_x else seen.flip(1, 2) if about_z else seen
            assert torch.equal(seen, raw["cubes"][i, cube]) and not (about_x and about_z)


def test_a_third_of_the_cubes_is_turned_about_either_axis(build):
    params = build("rubik", GRID).params
    g = torch.Generator().manual_seed(0)
    batch = params.views({"cubes": torch.rand(400, 8, 1, 2, 2, 2)}, (2, 2, 2), g)
    assert batch["turned"].float().mean((0, 1)).tolist() == pytest.approx([1 / 3, 1 / 3], abs=0.03)
    assert 90 < len(batch["order"].unique()) <= 100


def test_intensities_of_a_scan_fill_minus_one_to_one(build, scans):
    _, raw, batch = made(build, scans, {"turns": False})
    cubes = batch["cubes"].flatten(1)
    assert cubes.amin(1).tolist() == [-1] * 4 and cubes.amax(1).tolist() == [1] * 4
    kept = raw["cubes"].flatten(1)
    scaled = 2 * (kept - kept.amin(1, True)) / (kept.amax(1, True) - kept.amin(1, True)) - 1
    assert torch.allclose(cubes.sort(1).values, scaled.sort(1).values, atol=1e-5)


def test_plus_blanks_half_the_voxels_of_half_the_cubes(build, scans):
    _, _, batch = made(build, scans, {"plus": True})
    zero = (batch["cubes"] == 0).flatten(2).float().mean(2)
    assert torch.allclose(zero[batch["masked"]], torch.tensor(0.5), atol=0.05)
    assert zero[~batch["masked"]].max() < 0.01 and 0 < batch["masked"].sum() < 32


@pytest.mark.parametrize(
    ("params", "total"),
    [
        ({}, 2.995732),  # .5 (ln 100 + 2 ln 2)
        ({"plus": True}, 6.684612),  # ln 100 + 3 ln 2
        ({"turns": False}, 2.302585),  # .5 ln 100
        ({"turn_weight": 2.0, "order_weight": 1.0}, 7.377759),  # ln 100 + 4 ln 2
    ],
)
def test_heads_that_know_nothing(build, scans, params, total):
    method, _, batch = made(build, scans, params)
    for head in (method.order, *method.turn, *([method.mask] if method.mask else [])):
        torch.nn.init.zeros_(head[-1].weight), torch.nn.init.zeros_(head[-1].bias)
    terms = method.loss(batch)
    assert terms["total"].item() == pytest.approx(total, abs=1e-5)
    assert terms["chance"].item() == pytest.approx(0.01)


def test_every_head_trains_the_encoder(build, scans):
    for off in ({"order_weight": 0.0}, {"turn_weight": 0.0}):
        method, _, batch = made(build, scans, off)
        method.loss(batch)["total"].backward()
        assert any(p.grad is not None and p.grad.any() for p in method.encoder.parameters())
        trained = method.turn if "order_weight" in off else [method.order]
        assert all(p.grad.any() for head in trained for p in head.parameters())


def test_heads_have_the_sizes_of_the_code():
    with torch.device("meta"):
        network = nets.network("genesis_unet3d", "base", 1, 2, (64, 64, 64))
        cls = registry.load("method", "rubik")
        sizes = [
            sum(p.numel() for p in cls(network, cls.make_params({"plus": plus})).parameters())
            for plus in (False, True)
        ]
    assert sizes == [9_805_172, 10_338_684]


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"grid": (2, 1, 1)}, "2 cubes have no 100 orders"),
        ({"grid": (1, 1, 1), "orders": 1}, "1 cubes"),
    ],
)
def test_refuses_grids_without_so_many_orders(build, params, says):
    with pytest.raises(BenchError, match=says):
        build("rubik", params)


def test_refuses_cells_that_do_not_fit(build):
    params = build("rubik", GRID).params
    params.check((16, 16, 16), Recipe(resize=(40, 40, 32)))
    with pytest.raises(BenchError, match="do not fit into volumes"):
        params.check((16, 16, 16), Recipe(resize=(40, 40, 30)))
