"""Position labels: places, offsets, and who may know them."""

import sys

import pytest
import torch
from small_methods import build, tried

from bench import nets, registry
from bench.errors import BenchError
from bench.nets import Network
from bench.pretext.losses import classified


@pytest.mark.parametrize(("grid", "middle"), [((3, 3, 3), 62), ((2, 2, 2), 13), ((7, 7, 1), 84)])
def test_offsets_are_numbered_as_in_the_code(grid, middle):
    label = sys.modules[registry.load("method", "position_label").__module__].offsets_of(grid)
    assert (label.diagonal() == middle).all() and (label + label.T == 2 * middle).all()
    if grid[2] == 1:  # (dy + 6) * 13 + dx + 6, tokens in raster order
        y, x = torch.arange(49) // 7, torch.arange(49) % 7
        assert torch.equal(label, (y[:, None] - y + 6) * 13 + x[:, None] - x + 6)
    counts = label.flatten().bincount() / label.numel()
    entropy = -torch.xlogy(counts, counts).sum().item()
    if grid == (3, 3, 3):
        assert entropy == pytest.approx(4.568865, abs=1e-5) and len(counts) == 125


def test_pairs_are_the_first_half_of_one_and_the_second_half_of_the_other():
    method, batch = tried("position_label")
    x, part = method.tokens(batch["crop"]), method.part
    rows = [torch.cat([x[:, i, :part], x[:, j, part:]], 1) for i in range(8) for j in range(8)]
    expected, right = classified(
        method.relative(torch.stack(rows, 1)), method.offset.flatten().expand(4, -1)
    )
    terms = method.loss(batch)
    assert terms["relative"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert terms["placed"].item() == pytest.approx(right.item()) and terms["chance"].item() == 0.125


def test_some_pairs_are_the_same_of_all_scans():
    method, batch = tried("position_label", {"pairs": 5})
    assert batch["pairs"].shape == (4, 5) and torch.equal(batch["pairs"][0], batch["pairs"][1])
    batch["pairs"] = ((torch.arange(5) * 13 + 0.5) / 64).expand(4, -1)
    x, part = method.tokens(batch["crop"]), method.part
    asked = torch.arange(5) * 13
    pairs = torch.cat([x[:, asked // 8, :part], x[:, asked % 8, part:]], 2)
    expected, _ = classified(method.relative(pairs), method.offset.flatten()[asked].expand(4, -1))
    assert method.loss(batch)["total"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_vit_knows_no_place_unless_it_may():
    """Tokens of a constant crop are all alike without positions, so that nothing tells them apart."""
    torch.manual_seed(0)
    network: Network = nets.network("unetr", "tiny", 1, 2, (32, 32, 32))
    method = build("position_label", {"kind": "absolute"}, network=network)
    x = torch.ones(1, 1, 32, 32, 32)
    assert method.tokens(x).std(1).max() < 1e-5
    method.loss({"crop": x})["total"].backward()
    assert method.encoder.get_parameter(method.encoder.position).grad.abs().max() < 1e-6
    kept = build("position_label", {"keep_positions": True}, network=network)
    assert kept.tokens(x).std(1).max() > 1e-3


@pytest.mark.parametrize("name", ["primus", "spectre_vit"])
def test_refuses_positions_that_it_cannot_remove(name):
    network = nets.network(name, "tiny", 1, 2, (32, 32, 32))
    with pytest.raises(BenchError, match=f"rotary positions, which '{name}' cannot do without"):
        build("position_label", network=network)
    assert build("position_label", {"keep_positions": True}, network=network)


@pytest.mark.parametrize(
    ("crop", "params", "says"),
    [((16, 16, 16), {}, "a single token"), ((32, 32, 32), {"level": 9}, "0 to 4")],
)
def test_refuses_maps_without_places(crop, params, says):
    with pytest.raises(BenchError, match=says):
        build("position_label", params, network=nets.network("unet3d", "tiny", 1, 2, crop))
