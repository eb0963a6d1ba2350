"""GVSL: places, correlation, and which head is moved by which term."""

import math
import sys

import pytest
import torch
from seeded import generator
from small_methods import build, tried

from bench import registry

CODE = registry.load("method", "gvsl")
MODULE = sys.modules[CODE.__module__]
SHAPE = (12, 10, 8)


def told(**given):
    """Return one row of what an affine head may say, zero but for the places given."""
    at = {"x": 0, "y": 1, "z": 2, "zoom": slice(3, 6), "shift": 6, "shear_xy": 9}
    row = torch.zeros(1, 15)
    for name, value in given.items():
        row[0, at[name]] = value
    return row


def noise(shape=SHAPE, seed=0):
    return torch.rand((1, 1, *shape), generator=generator(seed))


def test_saying_nothing_reads_every_voxel_as_it_is():
    x = noise()
    assert torch.allclose(MODULE.sampled(x, MODULE.placed(told(), SHAPE)), x, atol=1e-5)


@pytest.mark.parametrize(
    ("given", "point", "source"),
    [
        ({"z": math.pi / 2}, (7, 4, 3), (6, 6, 3)),  # about (5.5, 4.5, 3.5)
        ({"x": math.pi / 2}, (5, 5, 5), (5, 3, 4)),
        ({"y": math.pi / 2}, (7, 4, 3), (5, 4, 2)),
        ({"zoom": 1.0}, (6, 5, 4), (6.5, 5.5, 4.5)),
        ({"shift": 0.25}, (2, 2, 2), (3.5, 2, 2)),  # a quarter of half of twelve voxels
        ({"shear_xy": math.pi / 4}, (5, 6, 3), (6.5, 6, 3)),
    ],
)
def test_each_number_moves_its_own_way(given, point, source):
    at = MODULE.placed(told(**given), SHAPE)[0][point]
    assert at.tolist() == pytest.approx(source, abs=1e-5)


def test_the_matrix_is_shear_times_scale_times_turns():
    turns, zooms, shears = [0.1, -0.2, 0.3], [0.2, -0.1, 0.05], [0.1, 0.05, -0.1, 0.15, 0.02, -0.03]
    row = torch.tensor([[*turns, *zooms, 0, 0, 0, *shears]]).double()
    c, s = row[0, :3].cos(), row[0, :3].sin()
    x = torch.tensor([[1, 0, 0], [0, c[0], -s[0]], [0, s[0], c[0]]]).double()
    y = torch.tensor([[c[1], 0, s[1]], [0, 1, 0], [-s[1], 0, c[1]]]).double()
    z = torch.tensor([[c[2], -s[2], 0], [s[2], c[2], 0], [0, 0, 1]]).double()
    t = row[0, 9:].tan()
    shear = torch.tensor([[1, t[0], t[1]], [t[2], 1, t[3]], [t[4], t[5], 1]]).double()
    expected = shear @ torch.diag(1 + row[0, 3:6]) @ z @ y @ x
    assert torch.allclose(MODULE.matrices(row)[0], expected, atol=1e-7)


def test_correlation_is_one_for_the_same_image_at_any_contrast_and_by_hand_at_one_place():
    x = noise((12, 12, 12))
    for other in (x, -2 * x):
        assert MODULE.correlation(other, x, 9).item() == pytest.approx(1, abs=1e-3)
    assert MODULE.correlation(torch.zeros_like(x), x, 9).item() == 0
    a, b = noise((3, 3, 3)), noise((3, 3, 3), 1)  # the middle window is the whole image
    full = torch.nn.functional.pad(a, [1] * 6), torch.nn.functional.pad(b, [1] * 6)
    each = []
    for i, j, k in [(i, j, k) for i in range(3) for j in range(3) for k in range(3)]:
        u, v = (f[0, 0, i : i + 3, j : j + 3, k : k + 3].flatten().double() for f in full)
        u, v = u - u.mean(), v - v.mean()
        each.append((u @ v) ** 2 / (u @ u * (v @ v) + 1e-5))
    assert MODULE.correlation(a, b, 3).item() == pytest.approx(
        torch.stack(each).mean().item(), rel=1e-3
    )


def test_a_ramp_of_slope_s_in_one_channel_costs_a_ninth_of_its_square():
    flow = torch.zeros(1, 3, 5, 5, 5)
    assert MODULE.roughness(flow + 4).item() == 0
    flow[:, 1] = 3.0 * torch.arange(5).view(5, 1, 1)
    assert MODULE.roughness(flow).item() == pytest.approx(1.0)


def test_views_of_a_scan_are_read_at_the_same_places():
    still = {"rotate": 0.0, "zoom": 0.0, "shift": 0.0, "shear": 0.0, "elastic": (0.0, 0.0)}
    _, batch = tried("gvsl", still)
    assert torch.allclose(batch["y"], batch["unit"], atol=1e-5)
    assert not torch.allclose(batch["x"], batch["y"])
    assert batch["unit"].amin() == 0 and batch["unit"].amax() == 1
    _, moved = tried("gvsl")
    assert torch.allclose(moved["y"], MODULE.sampled(moved["unit"], moved["at"]))
    assert (moved["at"] - batch["at"]).abs().amax() > 1


def test_a_copy_is_painted_in_at_most_thirty_small_boxes_and_its_curve_rises():
    """As in the code: noise in boxes of a tenth to a fifth of each side, no falling curve, no painting around."""
    still = {"rotate": 0.0, "zoom": 0.0, "shift": 0.0, "shear": 0.0, "elastic": (0.0, 0.0)}
    kind = CODE.Params(**still, local_rate=0.0)
    shape = (40, 40, 40)
    ramp = torch.linspace(0, 1, 40).view(1, 1, 40, 1, 1).expand(16, 1, *shape).contiguous()
    x = kind.views({"crop": ramp}, shape, generator(0))["x"]
    along = (
        x.median(dim=4).values.median(dim=3).values[:, 0]
    )  # noise lies in few of a plane's voxels
    assert (along.diff(dim=1) > -1e-3).all()
    off = (x - along[:, None, :, None, None]).abs().flatten(1) > 1e-3
    share = off.float().mean(1)
    assert share.mean() > 0.02 and share.max() <= 30 * (7 / 40) ** 3
    clean = CODE.Params(**still, nonlinear_rate=0.0, windows=3, boxes=1)
    moved = clean.views({"crop": ramp}, shape, generator(1))["x"] - ramp
    assert 0 < (moved.abs().flatten(1) > 1e-3).float().mean() < (7**3 + 3 * 2**3) / 40**3


def test_a_scan_is_registered_to_the_next_one_at_its_own_places():
    method, batch = tried("gvsl")
    seen = []
    method.encoder.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    method.loss(batch)
    x, other = seen[0].chunk(2)
    assert torch.equal(x, batch["x"])
    assert torch.allclose(other, MODULE.sampled(batch["unit"].roll(-1, 0), batch["at"]))


def test_the_heads_numbers_keep_their_bounds():
    method = build("gvsl")
    found = method.bounded(torch.full((1, 15), 9.0), SHAPE)[0]
    assert found[:3].tolist() == pytest.approx([math.pi / 9] * 3)
    assert found[3:6].tolist() == [0.25] * 3
    assert found[6:9].tolist() == pytest.approx([9 / 12, 9 / 10, 9 / 8])  # no bound; half voxels
    assert found[9:].tolist() == pytest.approx([math.pi / 18] * 6)


def test_a_flow_may_start_near_nothing():
    method, batch = tried("gvsl", {"small_flow": True, "affine": False})
    terms = method.loss(batch)
    assert terms["alike"].item() == pytest.approx(terms["before"].item(), abs=1e-3)
    assert terms["rough"] < 1e-6
