"""VICRegL: the global and the local criterion, which cells are matched, and where they lie."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from volumes import read, smooth, view, volumes

from bench import nets, registry
from bench.data.reader import Volume
from bench.errors import BenchError
from bench.pretext import variance

STILL = {"noise": 0.0, "blur": 0.0, "brightness": 0.0, "gamma": 0.0}


@pytest.fixture(scope="module")
def scans():
    return volumes(4)


class Constant(nn.Module):
    """Gives every row the same vector."""

    def forward(self, x):
        return torch.ones(len(x), 4)


def local_map(*arguments):
    return registry.load("method", "vicregl").__init__.__globals__["local_map"](*arguments)


def test_a_collapsed_network_costs_the_variance_terms(build, scans):
    method = build("vicregl")
    method.expander, method.local_expander = Constant(), Constant()
    terms = method.loss(view(method, read(method, scans)))
    assert terms["var"].item() == pytest.approx(0.99, abs=1e-5)
    assert terms["local_var"].item() == pytest.approx(1.98, abs=1e-5)  # by place and by features, summed
    assert [terms[k].item() for k in ("inv", "cov", "local_inv", "local_cov", "std")] == [0] * 5
    assert terms["total"].item() == pytest.approx(0.75 * 24.75 + 0.25 * 49.5, abs=1e-3)
    assert terms["retrieval"] == 0.25 <= terms["chance"]


def test_total_is_made_of_its_terms(build, scans):
    method = build("vicregl", {"alpha": 0.3, "weights": (2.0, 3.0, 5.0)})
    t = method.loss(view(method, read(method, scans)))
    whole = 2 * t["inv"] + 3 * t["var"] + 5 * t["cov"]
    cells = 2 * t["local_inv"] + 3 * t["local_var"] + 5 * t["local_cov"]
    assert t["total"].item() == pytest.approx((0.3 * whole + 0.7 * cells).item(), rel=1e-6)


def test_alpha_of_one_is_the_global_criterion_and_of_zero_the_local_one(build, scans):
    whole, cells = build("vicregl", {"alpha": 1.0}), build("vicregl", {"alpha": 0.0})
    assert whole.local_expander is None and cells.expander is None
    batch = view(whole, read(whole, scans))
    terms = whole.loss(batch)
    one, two = (whole.expander(whole.encoder.embed(v)) for v in batch["views"].unbind(1))
    expected = variance.criterion(one, two).total((25.0, 25.0, 1.0))
    assert terms["total"].item() == pytest.approx(expected.item(), rel=1e-6)
    assert not any(k.startswith("local") for k in terms)
    terms = cells.loss(batch)
    assert "inv" not in terms and torch.isfinite(terms["retrieval"])
    terms["total"].backward()
    beyond = [p for k, p in cells.encoder.named_parameters() if p.grad is None or not p.grad.any()]
    assert beyond and any(p.grad is not None and p.grad.any() for p in cells.encoder.parameters())


def places(method, batch):
    return torch.stack([method.places(batch, i) for i in range(2)], dim=1)


@pytest.mark.parametrize("all_matches", [False, True])
def test_cells_are_compared_in_every_way_that_is_asked_for(build, scans, all_matches):
    method = build("vicregl", {"l2_all_matches": all_matches, "num_matches": (9, 5)})
    batch = view(method, read(method, scans))
    t = method.loss(batch)
    maps = [method.encoder(v)[method.level] for v in batch["views"].unbind(1)]
    rows = [m.permute(0, 2, 3, 4, 1).reshape(-1, m.shape[1]) for m in maps]
    one, two = (method.local_expander(r).view(len(scans), -1, 512) for r in rows)
    at = places(method, batch).unbind(1)
    found = variance.local(one, two, at, (9, 5), all_matches)
    assert [t[f"local_{k}"].item() for k in ("inv", "var", "cov")] == pytest.approx(
        [v.item() for v in found], rel=1e-4
    )


def test_loss_does_not_mind_which_view_is_which(build, scans):
    method = build("vicregl").double()
    batch = {k: v.double() for k, v in view(method, read(method, scans)).items()}
    swapped = {k: v.flip(1) for k, v in batch.items()}
    assert method.loss(swapped)["total"].item() == pytest.approx(method.loss(batch)["total"].item(), rel=1e-9)


def test_gradient_comes_from_both_views(build, scans):
    method = build("vicregl")
    batch = view(method, read(method, scans))
    batch["views"].requires_grad_()
    method.loss(batch)["total"].backward()
    assert all(batch["views"].grad[:, i].abs().sum() > 0 for i in range(2))
    for part in (method.encoder, method.expander, method.local_expander):
        assert any(p.grad.abs().sum() > 0 for p in part.parameters())


@pytest.mark.parametrize("flip", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("dims", [3, 2])
def test_a_cell_lies_where_its_voxels_come_from(build, fitting_network, flip, dims):
    """Each channel of the scan is its own voxels' index along an axis: a cell's mean is its place."""
    network = fitting_network("vicregl", channels=3, dims=dims)
    method = build("vicregl", {**STILL, "flip": flip}, network=network)
    index = np.stack(np.meshgrid(*(np.arange(n) for n in (64, 56, 48)), indexing="ij")).astype(np.float32)
    batch = view(method, read(method, [Volume(index)] * 4))
    views, found = batch["views"].flatten(0, 1), places(method, batch).flatten(0, 1)
    x, y, z = method.cells
    means = nn.functional.adaptive_avg_pool3d(views, (x, y, z)).flatten(2).transpose(1, 2)
    assert found.shape == means.shape == (8, x * y * z, 3)
    assert (found - means).abs().max() < 0.15  # the outermost voxels of a box repeat its border
    assert found.std(dim=1)[:, :dims].min() > 1


def test_the_unmirrored_grid_of_the_code_is_an_option(build, scans):
    exact = build("vicregl", {**STILL, "flip": 1.0})
    raw = read(exact, scans)
    still, as_code = build("vicregl", {**STILL, "flip": 0.0}), {**STILL, "flip": 1.0, "no_flip_grid": True}
    at, plain, code = (places(m, view(m, raw)) for m in (exact, still, build("vicregl", as_code)))
    assert torch.equal(code, plain)
    assert torch.allclose(at.flip(2), plain) and not torch.allclose(at, plain)


def test_the_deepest_map_with_enough_cells_is_taken():
    grids = [(16, 16, 16), (8, 8, 8), (4, 4, 4), (2, 2, 2), (1, 1, 1)]
    assert local_map(grids, (20, 4), None) == (2, (4, 4, 4))
    assert local_map(grids, (8, 4), None) == (3, (2, 2, 2))
    assert local_map(grids, (4, 65), None) == (1, (8, 8, 8))
    assert local_map(grids, (20, 4), -1) == (4, (1, 1, 1))
    assert local_map([(2, 2, 2)] * 4, (20, 4), None) == (3, (2, 2, 2))  # a ViT: all maps alike
    assert local_map([(96, 96, 96), (3, 3, 3)], (20, 4), None) == (1, (3, 3, 3))
    with pytest.raises(BenchError, match="maps 0 to 4"):
        local_map(grids, (20, 4), 5)
    with pytest.raises(BenchError, match="at most 4096"):
        local_map([(32, 32, 32), (2, 2, 2)], (20, 4), 0)


def test_maps_with_fewer_cells_than_matches_keep_them_all(build, tiny_network, scans):
    method = build("vicregl", network=tiny_network("tokens"))
    assert method.cells == (2, 2, 2)
    batch = view(method, read(method, scans))
    few = method.loss(batch)["local_inv"]
    same = copy.deepcopy(method)
    same.params = method.make_params({"num_matches": (8, 4), "hidden": 64, "out": 32})
    assert same.loss(batch)["local_inv"].item() == pytest.approx(few.item())


@pytest.mark.parametrize("settings", [{"alpha": 1.5}, {"num_matches": (0, 4)}])
def test_refuses_settings_without_a_meaning(settings):
    with pytest.raises(BenchError, match="vicregl"):
        registry.load("method", "vicregl").make_params(settings)


def test_layer_norm_is_an_option(build, scans):
    method = build("vicregl", {"norm": "layer"})
    assert not any(isinstance(m, nn.BatchNorm1d) for m in method.expander.modules())
    assert torch.isfinite(method.loss(view(method, read(method, scans)))["total"])


def test_published_heads_are_the_default():
    cls = registry.load("method", "vicregl")
    with torch.device("meta"):
        method = cls(nets.network("unet3d", "base", 1, 2, (96, 96, 96)), cls.Params())
    linear = [m for m in method.expander if isinstance(m, nn.Linear)]
    local = [m for m in method.local_expander if isinstance(m, nn.Linear)]
    assert [m.out_features for m in linear] == [8192] * 3 and [m.out_features for m in local] == [512] * 3
    assert linear[-1].bias is None and local[-1].bias is None
    assert method.cells == (6, 6, 6) and cls.Params().num_matches == (20, 4)


MILD = {"flip": 0.0, "crop_scale": (1.0, 1.2), "overlap": 0.5, "brightness": 0.0, "gamma": 0.0}
LEAN = {"local_hidden": 64, "local_out": 32}


@pytest.fixture
def shown(build, fitting_network):
    """Return a function that trains on slices and returns the mean terms before and after."""
    scans = [Volume(smooth((44, 44, 1), (3.0, 3.0, 0.0), i)[None].astype(np.float32)) for i in range(24)]

    def terms(method):
        with torch.no_grad():
            found = [method.loss(view(method, read(method, scans, seed), seed)) for seed in (997, 998, 999)]
        return {k: np.mean([f[k].item() for f in found]) for k in found[0]}

    def run(params, steps):
        method = build("vicregl", {**LEAN, **MILD, **params}, network=fitting_network("vicregl", dims=2))
        moved, before = torch.optim.Adam(method.parameters(), 3e-3), terms(method)
        for k in range(steps):
            moved.zero_grad()
            method.loss(view(method, read(method, scans, k), k))["total"].backward()
            moved.step()
        return before, terms(method)

    return run


@pytest.mark.slow
def test_views_find_each_other_after_a_short_run(shown):
    before, after = shown({}, 60)
    assert after["retrieval"] > max(5 / 24, before["retrieval"] + 0.15), (before, after)


@pytest.mark.slow
def test_without_variance_and_covariance_it_collapses(shown):
    (_, healthy), (_, fallen) = (
        shown({"norm": "layer", "weights": (25.0, w, w / 25)}, 30) for w in (25.0, 0.0)
    )
    assert fallen["std"] < 0.3 * healthy["std"], (healthy, fallen)
    assert fallen["var"] > 0.95 > healthy["var"], (healthy, fallen)
