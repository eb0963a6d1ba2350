"""vox2vec: where voxels lie in both crops, what is read of a pyramid, InfoNCE and the chance by brute force."""

from collections import Counter
from itertools import product
from math import exp, log, prod

import numpy as np
import pytest
import torch
from seeded import generator
from small_methods import batch_of, build, functions_of, params_of, parts, ramp, reached, tried
from torch.nn import functional

from bench.data.reader import Volume
from bench.pretext.pair import Pairing, draw_pair

CROP = (16, 12, 8)
PLAIN = {"filtered": 0.0, "noise": 0.0, "window": 0.0}


@pytest.mark.parametrize("pair", ["anchor", "overlap"])
@pytest.mark.parametrize("shape", [(24, 20, 16), (16, 12, 8), (10, 12, 20)])
def test_both_crops_show_the_same_voxels_and_none_twice(shape, pair):
    params = params_of("vox2vec", voxels=60, pair=pair)
    for seed in range(20):
        # a voxel's channels are its own index
        sample = params.read(Volume(ramp(*shape, shift=1)), CROP, np.random.default_rng(seed))
        (a, b), (i, j) = sample["pair"], sample["voxel"]
        assert sample["voxel"].shape == (2, 60, 3) and len({tuple(row) for row in i.tolist()}) == 60
        assert (i >= 0).all() and (i < CROP).all() and (j >= 0).all() and (j < CROP).all()
        assert len(np.unique(i - j, axis=0)) == 1
        assert (
            a[:, i[:, 0], i[:, 1], i[:, 2]] > 0
        ).all()  # none of padding, though a scan is short
        assert np.array_equal(a[:, i[:, 0], i[:, 1], i[:, 2]], b[:, j[:, 0], j[:, 1], j[:, 2]])


@pytest.mark.parametrize(("body", "least"), [(None, 1), (None, 5), (3.0, 1), (3.0, 5)])
def test_pairs_are_drawn_as_by_trying_every_voxel_that_both_crops_may_hold(body, least):
    """Each voxel of the body alike, then each crop around it alike, pairs that share too little left out."""
    shape, crop, count = (6, 4, 3), (3, 2, 3), 4000
    image = np.arange(6.0, dtype=np.float32)[:, None, None] * np.ones(shape, np.float32)
    starts, expected = list(product(range(4), range(3), range(1))), Counter()
    for anchor in product(*map(range, shape)):
        if body is not None and image[anchor] < body:
            continue
        held = [
            s
            for s in starts
            if all(a <= v < a + n for a, v, n in zip(s, anchor, crop, strict=True))
        ]
        for pair in product(held, held):
            shared = prod(n - abs(a - b) for a, b, n in zip(*pair, crop, strict=True))
            expected[pair] += (shared >= least) / len(held) ** 2
    params, rng = params_of("vox2vec", voxels=least, body=body), np.random.default_rng(0)
    drawn = Counter(
        tuple(map(tuple, params.starts(Volume(image[None]), crop, rng).tolist()))
        for _ in range(count)
    )
    assert all(expected[pair] for pair in drawn)
    for pair, weight in expected.items():
        p = weight / expected.total()
        assert abs(drawn[pair] / count - p) <= 4.5 * (p * (1 - p) / count) ** 0.5


def test_an_overlap_is_drawn_as_in_version_1():
    for seed in range(5):
        params, volume = params_of("vox2vec", voxels=60, pair="overlap"), Volume(ramp(24, 20, 16))
        start = params.starts(volume, CROP, np.random.default_rng(seed))
        rule = Pairing(overlap=60 / prod(CROP))
        drawn, _ = draw_pair((24, 20, 16), CROP, rule, np.random.default_rng(seed))
        assert np.array_equal(start, drawn)


def test_voxels_of_the_body_come_first_and_others_where_there_are_too_few():
    params = params_of("vox2vec", voxels=60, body=5.0)
    image = np.zeros(CROP, np.float32)
    image[4:8, 4:8, 2:4] = 5.0  # 32 voxels
    size = np.array([16, 12, 8])
    for corner, count in (([0, 0, 0], 32), ([4, 4, 2], 32), ([6, 0, 0], 16)):
        box = size - corner
        drawn = params.chosen(image, np.array(corner), box, np.random.default_rng(0))
        places = np.stack(np.unravel_index(drawn, box), 1) + corner
        assert len(set(drawn.tolist())) == 60
        assert (image[tuple(places.T)] == 5).sum() == count
    many = params_of("vox2vec", voxels=20, body=5.0)
    drawn = many.chosen(image, np.zeros(3, int), size, np.random.default_rng(0))
    assert (image.ravel()[drawn] == 5).all()


def test_a_voxel_is_read_at_every_level_where_it_lies():
    read = functions_of("vox2vec").read_voxels
    sides = [(8, 6, 4), (4, 3, 4), (2, 1, 2), (1, 1, 1)]
    maps = [torch.randn(2, c + 1, *s, generator=generator(c)) for c, s in enumerate(sides)]
    voxel = torch.stack(
        [torch.randint(0, n, (2, 9), generator=generator(n)) for n in (8, 6, 4)], -1
    )
    shown = read(maps, voxel, (8, 6, 4))
    assert shown.shape == (2, 9, 1 + 2 + 3 + 4)
    for b in range(2):
        for n in range(9):
            x, y, z = voxel[b, n].tolist()
            expected = [
                m[b, :, x * s[0] // 8, y * s[1] // 6, z * s[2] // 4]
                for m, s in zip(maps, sides, strict=True)
            ]
            assert torch.equal(shown[b, n], torch.cat(expected))


def test_the_loss_is_infonce_over_all_voxels_of_all_crops_by_brute_force():
    method, batch = tried("vox2vec", {"temperature": 0.2}, count=2)
    first, second = (method.vectors(batch["views"][:, k], batch["voxel"][:, k]) for k in (0, 1))
    z = [functional.normalize(row, dim=0).tolist() for row in torch.cat([first, second]).double()]
    n, total, hits = len(first), 0.0, 0
    assert n == 2 * 24
    for i, anchor in enumerate(z):
        scores = [sum(p * q for p, q in zip(anchor, other, strict=True)) / 0.2 for other in z]
        partner = (i + n) % (2 * n)
        others = [s for j, s in enumerate(scores) if j != i]
        total -= scores[partner] - log(sum(map(exp, others)))
        hits += scores[partner] == max(others)
    terms = method.loss(batch)
    assert terms["total"].item() == pytest.approx(total / (2 * n), rel=1e-4)
    assert terms["retrieval"].item() == pytest.approx(hits / (2 * n))


def test_the_chance_knows_a_voxels_scan_and_its_intensity():
    guessed = functions_of("vox2vec").guessed
    views = torch.zeros(1, 2, 1, 2, 2, 2)
    voxel = torch.tensor([[0, 0, 0], [0, 1, 1], [1, 1, 0]]).expand(1, 2, -1, -1)
    assert guessed(views, voxel).item() == pytest.approx(1 / 5)  # all alike: one of five others
    views[0, 0, 0, 0, 0, 0] = views[0, 1, 0, 0, 0, 0] = 3.0  # tells one voxel of three
    assert guessed(views, voxel).item() == pytest.approx((1 + 1 / 3 + 1 / 3) / 3)
    views[0, 1, 0, 0, 0, 0] = 2.9  # and near is near enough
    assert guessed(views, voxel).item() == pytest.approx((1 + 1 / 3 + 1 / 3) / 3)


def test_coarse_maps_reach_the_finest_level_by_the_path_down_alone():
    for top_down in (True, False):
        method = build("vox2vec", {"top_down": top_down})
        view = batch_of(method)["views"][:, 0]
        maps = [m.detach().requires_grad_() for m in method.encoder(view)]
        method.path(maps)[0].square().sum().backward()
        came = [m.grad is not None and bool(m.grad.any()) for m in maps]
        assert came == [True, *[top_down] * (len(maps) - 1)]
    method = build("vox2vec")
    method.loss(batch_of(method))["total"].backward()
    assert reached(method) == {"encoder", "path", "projector"}
    assert parts(method.transfer()) == {"encoder"}


def test_a_window_stretches_its_part_over_the_whole_and_cuts_off_the_rest():
    params = params_of(
        "vox2vec", **{**PLAIN, "window": 1.0}, window_low=(0.25, 0.25), window_high=(0.75, 0.75)
    )
    x = torch.linspace(0, 1, 5).view(1, 1, 5, 1, 1)
    expected = torch.tensor([0.0, 0.0, 0.5, 1.0, 1.0])
    assert torch.allclose(params.changed(x, None, generator(0)).flatten(), expected)
    zscored = torch.tensor([True])  # shares of the row's own range
    scaled = params.changed(4 * x - 2, zscored, generator(0)).flatten()
    assert torch.allclose(scaled, 4 * expected - 2)
    unchanged = params_of("vox2vec", **PLAIN).changed(x, None, generator(0))
    assert torch.equal(unchanged, x)


def test_filters_are_of_the_plane_and_sharpening_adds_what_a_blur_takes_away():
    module = functions_of("vox2vec")
    x = torch.zeros(1, 1, 15, 15, 5)
    x[0, 0, 7, 7, 2] = 1.0
    soft = module.in_plane(x, torch.tensor([1.0]), 1.0)
    assert (soft[..., [0, 1, 3, 4]] == 0).all()
    assert soft.sum().item() == pytest.approx(1)
    bell = torch.exp(-0.5 * torch.arange(-4.0, 5).square())
    assert soft[0, 0, 7, 7, 2].item() == pytest.approx(1 / bell.sum().item() ** 2, rel=1e-3)
    softer = module.in_plane(soft, torch.tensor([0.5]), 0.5)
    sharp = module.sharpened(x, torch.tensor([1.0]), 1.0, 0.5, torch.tensor([10.0]))
    assert torch.allclose(sharp, soft + 10 * (soft - softer), atol=1e-6)
