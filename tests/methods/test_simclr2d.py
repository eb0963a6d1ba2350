"""SimCLR on slices: values of the loss by hand, both reductions, what has a gradient, a lifted figure."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from volumes import read, smooth, view, volumes

from bench import nets, registry
from bench.data.reader import Volume
from bench.errors import BenchError

OFF = {"area": [1.0, 1.0], "aspect": [1.0, 1.0], "blur": 0.0, "noise": 0.0}


@pytest.fixture(scope="module")
def scans():
    return volumes(4)


class Given(nn.Module):
    """Gives these embeddings, whatever it is asked."""

    def __init__(self, rows):
        super().__init__()
        self.rows = nn.Parameter(torch.as_tensor(rows, dtype=torch.float64))

    def forward(self, x):
        return self.rows


def value(build, rows, **params):
    """Return the terms for embeddings (N, 2, C) of both views of N slices."""
    method = build("simclr2d", params)
    method.projector = Given(rows.flatten(0, 1))
    return method.loss({"views": torch.zeros(len(rows), 2, 1, 32, 32, 1)})


def alike(count):
    return torch.ones(count, 2, 4)


def ideal(count):
    """Both views of a slice equal, slices orthogonal."""
    return torch.eye(count)[:, None].expand(-1, 2, -1)


def test_views_are_two_slices_of_the_networks_size_with_their_boxes(build, scans):
    method = build("simclr2d")
    made = view(method, read(method, scans))
    assert made["views"].shape == (4, 2, 1, 32, 32, 1)
    assert made["start"].shape == made["size"].shape == (4, 2, 3)
    assert not torch.equal(made["start"][:, 0], made["start"][:, 1])


def test_a_read_is_one_slice_of_a_volume(build, scans):
    method = build("simclr2d")
    crop = read(method, scans)["crop"]
    assert crop.shape == (4, 1, 32, 32, 1)
    whole = torch.from_numpy(scans[0].whole())[0]
    windows = whole.unfold(0, 32, 1).unfold(1, 32, 1)  # (33, 33, z, 32, 32)
    assert (windows - crop[0, 0, ..., 0]).abs().amax((-2, -1)).min() == 0


def test_both_views_show_the_same_slice(build, scans):
    method = build("simclr2d", OFF)
    raw = read(method, scans)
    made = view(method, raw)["views"]
    torch.testing.assert_close(made, raw["crop"][:, None].expand_as(made), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("count", "expected"), [(2, 1.0986), (4, 1.9459), (15, 3.3673), (30, 4.0775), (128, 5.5413)]
)
@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_equal_embeddings_cost_the_logarithm_of_the_others(build, count, expected, temperature):
    terms = value(build, alike(count), temperature=temperature)
    assert terms["total"].item() == pytest.approx(math.log(2 * count - 1), abs=1e-6)
    assert terms["total"].item() == pytest.approx(expected, abs=1e-4)
    assert terms["std"].item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("count", "temperature", "expected"),
    [(2, 0.5, 0.2395), (4, 0.5, 0.5944), (30, 0.5, 2.1804), (30, 0.1, 0.0026297), (128, 0.1, 0.0114656)],
)
def test_perfect_views_cost_what_the_orthogonal_others_leave(build, count, temperature, expected):
    terms = value(build, ideal(count), temperature=temperature)
    assert terms["total"].item() == pytest.approx(expected, abs=1e-4 if expected > 0.1 else 1e-7)
    assert terms["retrieval"].item() == 1
    assert terms["chance"].item() == pytest.approx(1 / (2 * count - 1))


def test_two_orthogonal_slices_by_hand(build):
    assert value(build, ideal(2), temperature=1.0)["total"].item() == pytest.approx(0.5514, abs=1e-4)


def test_wrong_partners_cost_the_temperature(build):
    rows = torch.stack([torch.eye(4), torch.eye(4).roll(1, 0)], dim=1)
    terms = value(build, rows, temperature=0.1)
    assert terms["total"].item() == pytest.approx(math.log(math.exp(10) + 6), abs=1e-6)  # 10.000272
    assert terms["retrieval"].item() == 0


def test_the_sum_over_pairs_is_twice_the_mean_over_views(build):
    torch.manual_seed(0)
    rows = torch.randn(6, 2, 8)
    mean = value(build, rows)["total"].item()
    assert value(build, rows, reduction="sum_pairs")["total"].item() == pytest.approx(2 * mean)


def test_scale_order_of_slices_and_order_of_views_do_not_matter(build):
    torch.manual_seed(0)
    rows = torch.randn(6, 2, 8)
    expected = value(build, rows)["total"].item()
    for same in (rows * 7, rows * torch.rand(6, 2, 1).add(0.5), rows.flip(1), rows[torch.randperm(6)]):
        assert value(build, same)["total"].item() == pytest.approx(expected, rel=1e-6)


def test_negatives_carry_gradient_and_none_of_it_is_radial(build):
    method = build("simclr2d")
    torch.manual_seed(0)
    method.projector = given = Given(torch.randn(8, 5))
    method.loss({"views": torch.zeros(4, 2, 1, 32, 32, 1)})["total"].backward()
    gradient = given.rows.grad
    assert (gradient.abs().sum(1) > 1e-3).all()
    assert (gradient * given.rows).sum(1).abs().max() < 1e-9


def test_both_views_of_every_slice_carry_gradient(build, scans):
    method = build("simclr2d")
    batch = view(method, read(method, scans))
    batch["views"].requires_grad_(True)
    method.loss(batch)["total"].backward()
    assert (batch["views"].grad.flatten(2).abs().sum(2) > 0).all()


def test_the_head_is_the_papers(build):
    method = registry.load("method", "simclr2d").build(nets.network("hssl_resnet34", "base", 1, 2))
    shapes = [tuple(p.shape) for p in method.projector.parameters() if p.ndim == 2]
    assert shapes == [(512, 512), (128, 512)]
    assert sum(isinstance(m, nn.BatchNorm1d) for m in method.projector) == 1
    three = build("simclr2d", {"proj_layers": 3, "batch_norm": False})
    assert [type(m) for m in three.projector].count(nn.Linear) == 3
    assert not any(isinstance(m, nn.BatchNorm1d) for m in three.projector)


def test_by_default_the_head_reads_the_averaged_bottleneck(build, scans):
    method = build("simclr2d")
    x = view(method, read(method, scans))["views"][:, 0]
    assert torch.equal(method.pyramid(method.encoder(x)), method.encoder.embed(x))


def test_the_multi_scale_head_joins_all_levels(build, scans):
    method = build("simclr2d", {"multi_scale_head": True, "compress": 16})
    assert method.pyramid.width == 16 * len(method.encoder.widths)
    terms = method.loss(view(method, read(method, scans)))
    terms["total"].backward()
    assert all(layer.weight.grad.any() for layer in method.pyramid.compress)


def test_refuses_what_makes_no_sense(build):
    with pytest.raises(BenchError, match="proj_layers must be 1 or more"):
        build("simclr2d", {"proj_layers": 0})
    with pytest.raises(BenchError, match="this encoder has 1 to 5"):
        build("simclr2d", {"multi_scale_head": True, "pyramid_levels": 6})


def test_fine_tuning_receives_the_encoder_alone(build):
    method = build("simclr2d")
    assert set(method.transfer()) == {f"encoder.{k}" for k in method.encoder.state_dict()}


def textured(count, first):
    """Scans that differ in grain, contrast and brightness, which crops and blur leave apart."""
    rng, made = np.random.default_rng(first), []
    for i in range(count):
        grain = np.exp(rng.uniform(np.log(0.8), np.log(5)))
        field = smooth((48, 48, 8), grain, first + i) * rng.uniform(0.5, 1.5)
        made.append(Volume((field + rng.uniform(-1, 1))[None].astype(np.float32)))
    return made


@pytest.mark.slow
def test_learns_to_tell_slices_of_unseen_scans_apart(build):
    scans, held_out = textured(32, 1), textured(16, 500)
    method = build("simclr2d", {"area": [0.5, 1.0]})

    def figures():
        with torch.no_grad():
            tests = [method.loss(view(method, read(method, held_out, s), s)) for s in range(901, 907)]
        return {k: float(np.mean([t[k].item() for t in tests])) for k in tests[0]}

    before = figures()
    moved = torch.optim.AdamW(method.parameters(), 2e-3)
    for k in range(150):
        rows = torch.randperm(32, generator=torch.Generator().manual_seed(k))[:12].tolist()
        batch = view(method, read(method, [scans[i] for i in rows], k), k)
        moved.zero_grad()
        method.loss(batch)["total"].backward()
        moved.step()
    after = figures()
    print({"before": before, "after": after})
    assert after["retrieval"] > 3 / 31
    assert after["retrieval"] > 1.2 * before["retrieval"]
    assert after["total"] < 0.9 * math.log(31)  # collapse: ln 31
    assert after["std"] > 0.3 / 32**0.5
