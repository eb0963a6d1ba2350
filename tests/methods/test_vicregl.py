"""VICRegL: the global and the local criterion, which cells are matched, and where they lie."""

import numpy as np
import pytest
import torch
from small_methods import (
    MAPS,
    agree,
    batch_of,
    build,
    fitting,
    functions_of,
    ramp,
    raw_of,
    read,
    tiny,
    view,
)
from torch import nn

from bench import nets, registry
from bench.data.reader import Volume
from bench.errors import BenchError

module = functions_of("vicregl")
STILL = {"noise": 0.0, "blur": 0.0, "brightness": 0.0, "gamma": 0.0}


def test_alpha_of_one_is_the_global_criterion_and_of_zero_the_local_one():
    whole, cells = build("vicregl", {"alpha": 1.0}), build("vicregl", {"alpha": 0.0})
    assert whole.local_expander is None and cells.expander is None
    batch = batch_of(whole)
    terms = whole.loss(batch)
    one, two = (whole.expander(whole.encoder.embed(v)) for v in batch["views"].unbind(1))
    expected = module.criterion(one, two).dot(torch.tensor([25.0, 25.0, 1.0]))
    assert terms["total"].item() == pytest.approx(expected.item(), rel=1e-6)
    assert not any(k.startswith("local") for k in terms)
    terms = cells.loss(batch)
    assert "inv" not in terms and torch.isfinite(terms["retrieval"])
    terms["total"].backward()
    beyond = [p for k, p in cells.encoder.named_parameters() if p.grad is None or not p.grad.any()]
    assert beyond and any(p.grad is not None and p.grad.any() for p in cells.encoder.parameters())


def places(method, batch, views=(0, 1)):
    return torch.stack([method.places(batch, i) for i in views], dim=1)


@pytest.mark.parametrize("all_matches", [False, True])
def test_cells_are_compared_in_every_way_that_is_asked_for(all_matches):
    method = build("vicregl", {"l2_all_matches": all_matches, "num_matches": (9, 5)})
    batch = batch_of(method)
    t = method.loss(batch)
    maps = [method.encoder(v)[method.level] for v in batch["views"].unbind(1)]
    rows = [m.permute(0, 2, 3, 4, 1).reshape(-1, m.shape[1]) for m in maps]
    one, two = (method.local_expander(r).view(4, -1, 512) for r in rows)
    at = places(method, batch).unbind(1)
    found = module.local((one, two), at, (9, 5), all_matches)
    names = ("local_inv", "local_var", "local_cov")
    agree(t, rel=1e-4, **dict(zip(names, found.tolist(), strict=True)))


@pytest.mark.parametrize("flip", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("dims", [3, 2])
def test_a_cell_lies_where_its_voxels_come_from(flip, dims):
    """Each channel of the scan is its own voxels' index along an axis: a cell's mean is its place."""
    network = fitting("vicregl", channels=3, dims=dims)
    method = build("vicregl", {**STILL, "flip": flip, "locals": 2}, network=network)
    batch = view(method, read(method, [Volume(ramp(64, 56, 48))] * 4))
    kinds = (("views", (0, 1), method.cells), ("locals", (2, 3), method.small_cells))
    for name, numbers, shape in kinds:
        views, found = batch[name].flatten(0, 1), places(method, batch, numbers).flatten(0, 1)
        x, y, z = shape
        means = nn.functional.adaptive_avg_pool3d(views, (x, y, z)).flatten(2).transpose(1, 2)
        assert found.shape == means.shape == (8, x * y * z, 3)
        assert (found - means).abs().max() < 0.25  # the outermost voxels of a box repeat its border
        assert found.std(dim=1)[:, :dims].min() > 1


MANY = {"locals": 3, "hidden": 64, "out": 32}


def test_small_views_come_from_where_the_global_ones_are():
    network = tiny(crop=(32, 32, 32))
    two, many = build("vicregl", network=network), build("vicregl", MANY, network=network)
    raw = raw_of(many, 8)
    plain = raw_of(two, 8)
    # global boxes are those without small ones
    assert all(torch.equal(raw[k], plain[k]) for k in plain)
    assert raw["locals"].shape == (8, 3, 1, 16, 16, 16) and many.small_cells == (2, 2, 2)
    low, high = raw["start"].amin(1), (raw["start"] + raw["size"]).amax(1)
    start, size = raw["local_start"], raw["local_size"]
    assert (start >= low[:, None]).all() and (start + size <= high[:, None]).all()
    shares = size.prod(2) / raw["size"][:, [0, 1, 0]].prod(2)
    assert 0.06 < shares.min() < 0.15 and 0.3 < shares.max() < 0.45  # .08 and .4, rounded to voxels
    batch = view(many, raw)
    assert batch["locals"].shape == (8, 3, 1, 16, 16, 16)
    assert batch["local_flipped"].shape == (8, 3, 3)
    assert torch.equal(batch["views"], view(two, plain)["views"])
    assert not torch.equal(batch["locals"], raw["locals"])


def test_small_views_of_a_slice_lie_on_it():
    method = build("vicregl", MANY, network=fitting("vicregl", dims=2))
    raw = raw_of(method)
    assert raw["locals"].shape == (4, 3, 1, 16, 16, 1) and (raw["local_size"][..., 2] == 1).all()
    assert torch.equal(raw["local_start"][..., 2], raw["start"][:, :1, 2].expand(-1, 3))


def test_what_small_views_are_by_default_and_what_they_cost():
    cls = registry.load("method", "vicregl")
    assert cls.Params().small((96, 96, 96)) == (48, 48, 48)
    assert cls.Params().small((224, 224, 1)) == (96, 96, 1)
    assert cls.Params().small((32, 96, 16)) == (16, 48, 16)
    assert cls.Params(local_crop=(24, 24, 8)).small((96, 96, 96)) == (24, 24, 8)
    two, eight = cls.Params(), cls.Params(locals=6)
    crop = (96, 96, 96)
    voxels = 2 * 96**3, 2 * 96**3 + 6 * 48**3
    assert (two.voxels_per_sample(crop), eight.voxels_per_sample(crop)) == voxels
    # eight vectors instead of two, and the cells of these views
    vectors, cells = (cls.Params(alpha=a).head_flops(crop, MAPS) for a in (1.0, 0.0))
    of_eight = cls.Params(alpha=1.0, locals=6).head_flops(crop, MAPS)
    assert of_eight == 4 * vectors
    assert cells == 2 * 2 * 6**3 * 512 * (8 + 512 + two.local_out)


def test_refuses_small_views_that_the_network_cannot_read():
    with pytest.raises(BenchError, match=r"local views: .* must be a multiple of 16"):
        build("vicregl", {**MANY, "local_crop": (24, 16, 16)}, network=tiny())
    for network in (tiny("tokens"), nets.network("primus", "tiny", 1, 2, (32, 32, 32))):
        with pytest.raises(BenchError, match="crops of one size"):
            build("vicregl", MANY, network=network)
    assert build("vicregl", network=tiny("tokens"))


def test_every_small_view_is_learned_from():
    method = build("vicregl", {**MANY, "weights": (2.0, 3.0, 5.0)})
    batch = batch_of(method)
    seen = batch["locals"].requires_grad_()
    t = method.loss(batch)
    whole, cells = (2 * t[k + "inv"] + 3 * t[k + "var"] + 5 * t[k + "cov"] for k in ("", "local_"))
    assert t["total"].item() == pytest.approx((0.75 * whole + 0.25 * cells).item(), rel=1e-6)
    t["total"].backward()
    assert (seen.grad.flatten(2).abs().sum(2) > 0).all()


def test_the_global_criterion_of_three_views_by_hand():
    a, b, c = (torch.full((4, 2), value) for value in (0.0, 1.0, 3.0))
    found = module.criterion(a, b, c)  # a and b, a and c, b and a, b and c, but not c and anything
    assert found.tolist() == pytest.approx([(1 + 9 + 1 + 4) / 4, 0.99, 0.0], abs=1e-6)


def test_the_unmirrored_grid_of_the_code_is_an_option():
    exact = build("vicregl", {**STILL, "flip": 1.0})
    raw = raw_of(exact)
    still, as_code = (
        build("vicregl", {**STILL, "flip": 0.0}),
        {**STILL, "flip": 1.0, "no_flip_grid": True},
    )
    at, plain, code = (places(m, view(m, raw)) for m in (exact, still, build("vicregl", as_code)))
    assert torch.equal(code, plain)
    assert torch.allclose(at.flip(2), plain) and not torch.allclose(at, plain)


def test_refuses_a_map_whose_cells_cannot_all_be_compared():
    with pytest.raises(BenchError, match="at most 4096"):
        build("vicregl", {"level": 0}, network=tiny(crop=(32, 32, 32)))


def test_layer_norm_is_an_option():
    method = build("vicregl", {"norm": "layer"})
    assert not any(isinstance(m, nn.BatchNorm1d) for m in method.expander.modules())
    assert torch.isfinite(method.loss(batch_of(method))["total"])


def test_published_heads_are_the_default():
    cls = registry.load("method", "vicregl")
    with torch.device("meta"):
        method = cls(nets.network("unet3d", "base", 1, 2, (96, 96, 96)), cls.Params())
    linear = [m for m in method.expander if isinstance(m, nn.Linear)]
    local = [m for m in method.local_expander if isinstance(m, nn.Linear)]
    assert [m.out_features for m in linear] == [8192] * 3
    assert [m.out_features for m in local] == [512] * 3
    assert linear[-1].bias is None and local[-1].bias is None
    assert method.cells == (6, 6, 6) and cls.Params().num_matches == (20, 4)


@pytest.fixture
def random():
    generator = torch.Generator().manual_seed(0)
    return lambda *shape: torch.randn(shape, generator=generator, dtype=torch.float64)


def grid(*cells):
    """Return the cells' indices, (1, n, 3)."""
    axes = torch.meshgrid(*(torch.arange(float(n)) for n in cells), indexing="ij")
    return torch.stack(axes, dim=-1).flatten(0, -2)[None]


def test_the_closest_pairs_are_kept_in_the_maps_order():
    source = torch.tensor([[[0.0], [10.0], [20.0], [30.0]]])
    candidates = torch.tensor([[[5.0], [10.5], [21.0], [30.0]]])
    i, j = module.nearest(source, candidates, 3)  # distances 5, .5, 1, 0
    assert i.tolist() == [[1, 2, 3]] and j.tolist() == [[1, 2, 3]]
    i, j = module.nearest(source, candidates, 2)
    assert i.tolist() == [[1, 3]] and j.tolist() == [[1, 3]]
    assert module.nearest(source, candidates, 9)[0].shape == (1, 4)


def test_equal_distances_go_to_the_lower_index():
    i, j = module.nearest(torch.zeros(1, 3, 1), torch.tensor([[[1.0], [-1.0]]]), 2)
    assert i.tolist() == [[0, 1]] and j.tolist() == [[0, 0]]


def slowly(maps, at, keep, all_features, weights):
    """Do the same sample by sample and cell by cell in NumPy."""

    def pairs(source, candidates, count):
        found = []
        for s, c in zip(source, candidates, strict=True):
            distance = np.linalg.norm(s[:, None] - c, axis=-1)
            kept = sorted(sorted(range(len(s)), key=lambda i: distance[i].min())[:count])
            found.append([(i, int(distance[i].argmin())) for i in kept])
        return found

    def cost(a, b):
        total = weights[0] * ((a - b) ** 2).mean()
        for z in (a, b):
            for k in range(z.shape[1]):
                matrix = np.cov(z[:, k], rowvar=False)
                short = np.maximum(0, 1 - np.sqrt(np.diag(matrix) + 1e-4)).mean()
                off = ((matrix**2).sum() - (np.diag(matrix) ** 2).sum()) / len(matrix)
                total += (weights[1] * short + weights[2] * off) / 2 / z.shape[1]
        return total

    def one_way(a, b, source, candidates, count):
        chosen = pairs(source, candidates, count)
        rows = [
            (np.array([a[n][i] for i, _ in p]), np.array([b[n][j] for _, j in p]))
            for n, p in enumerate(chosen)
        ]
        return cost(np.stack([r[0] for r in rows]), np.stack([r[1] for r in rows]))

    total, pairs_of_views = 0.0, [(i, j) for i in (0, 1) for j in range(len(maps)) if j != i]
    for i, j in pairs_of_views:
        a, b, x, y = maps[i], maps[j], at[i], at[j]
        there, back = (len(a[0]), len(b[0])) if all_features else keep
        total += (one_way(a, b, a, b, there) + one_way(b, a, b, a, back)) / 2
        total += (one_way(a, b, x, y, keep[0]) + one_way(b, a, y, x, keep[1])) / 2
    return total / len(pairs_of_views)


@pytest.mark.parametrize("all_features", [False, True])
@pytest.mark.parametrize("cells", [(12, 12), (12, 12, 5, 5)])
def test_local_criterion_is_what_plain_loops_give(random, cells, all_features):
    maps, at = ([random(5, n, width) for n in cells] for width in (4, 3))
    weights = (25.0, 25.0, 1.0)
    found = (module.local(maps, at, (7, 3), all_features) * torch.tensor(weights)).sum().item()
    arrays, locations = ([t.numpy() for t in tensors] for tensors in (maps, at))
    plain = slowly(arrays, locations, (7, 3), all_features, weights)
    assert found == pytest.approx(plain, rel=1e-10)


def test_pooled_statistics_are_over_pairs_and_samples(random):
    one, two, at = random(4, 6, 3), random(4, 6, 3), grid(6, 1, 1).double().expand(4, -1, -1)
    found = module.local((one, two), (at, at), (6, 6), pool=True)
    by_place = module.criterion(one.flatten(0, 1), two.flatten(0, 1))
    by_features = []
    for a, b in ((one, two), (two, one)):
        i, j = (k[..., None].expand(-1, -1, 3) for k in module.nearest(a, b))
        by_features.append(
            module.criterion(a.gather(1, i).flatten(0, 1), b.gather(1, j).flatten(0, 1))
        )
    assert torch.allclose(found, by_place + sum(by_features) / 2)


def test_gradient_flows_to_both_sides_and_not_to_the_places(random):
    one, two = random(4, 6, 3).requires_grad_(), random(4, 6, 3).requires_grad_()
    at = random(4, 6, 3).requires_grad_()
    module.local((one, two), (at, at), (5, 2)).sum().backward()
    assert one.grad.abs().sum() > 0 and two.grad.abs().sum() > 0 and at.grad is None


def test_half_precision_is_widened(random):
    z = (100 * random(8, 64)).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = module.criterion(z, z)
    exact = module.criterion(z.double(), z.double())
    assert found.dtype == torch.float32
    assert found.tolist() == pytest.approx(exact.tolist(), rel=1e-5)
