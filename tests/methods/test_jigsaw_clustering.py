"""Jigsaw clustering: patches, montages, and whose they are."""

import sys
from itertools import product

import pytest
import torch
from small_methods import build

from bench import registry
from bench.pretext.losses import grouped_contrast

CODE = registry.load("method", "jigsaw_clustering")
MODULE = sys.modules[CODE.__module__]


def test_patches_lie_at_the_corners_and_overlap():
    """On a ramp the corners of a patch say where it lay: .8 of each side, from either end."""
    ramp = torch.stack(
        torch.meshgrid(*[torch.arange(n) + 0.5 for n in (48, 48, 48)], indexing="ij")
    )[None]
    params = CODE.make_params({"scale": (1.0, 1.0), "flip": 0.0, "strong": 0.0, "blur": 0.0})
    found = params.views({"source": ramp}, (32, 32, 32), torch.Generator())["patches"][0]
    assert found.shape == (8, 3, 16, 16, 16)
    for patch, cell in zip(found, product((0, 1), repeat=3), strict=True):
        middle = patch.mean((1, 2, 3)) / 48
        assert middle.tolist() == pytest.approx([0.4 + 0.2 * c for c in cell], abs=0.01)
        span = patch[:, -1, -1, -1] - patch[:, 0, 0, 0]
        assert span.tolist() == pytest.approx([38.4 * 15 / 16] * 3, abs=0.1)


def test_smaller_patches_stay_within():
    ramp = torch.stack(
        torch.meshgrid(*[torch.arange(n) + 0.5 for n in (48, 48, 48)], indexing="ij")
    )[None]
    params = CODE.make_params({"flip": 0.0, "strong": 0.0, "blur": 0.0})
    g = torch.Generator().manual_seed(0)
    patches = params.views({"source": ramp.repeat(40, 1, 1, 1, 1)}, (32, 32, 32), g)["patches"]
    spans = (patches.amax((3, 4, 5)) - patches.amin((3, 4, 5))) * 16 / 15 / 38.4
    share = spans.prod(2)
    assert share.min() == pytest.approx(0.2, abs=0.03) and share.max() == pytest.approx(1, abs=0.03)
    first, last = patches[:, 0], patches[:, 7]
    assert first.max() <= 38.4 and last.min() >= 9.6


def test_montages_hold_the_patches_in_their_cells():
    patches = torch.arange(8.0).view(8, 1, 1, 1, 1, 1).expand(8, 3, 2, 2, 2, 2)
    made = MODULE.montage(patches, (2, 2, 2))
    assert made.shape == (3, 2, 4, 4, 4)
    assert [
        made[0, 0, 2 * i, 2 * j, 2 * k].item() for i, j, k in product((0, 1), repeat=3)
    ] == list(range(8))
    assert MODULE.montage(patches[:6], (3, 2, 1)).shape == (3, 2, 6, 4, 2)


def test_a_cell_of_the_map_is_read_as_the_patch_that_lies_there():
    """With an encoder that hands out the mean of a cell each patch finds its own scan and place again."""
    method = build("jigsaw_clustering")
    n, m = 4, 4  # the tests' grid is 2 x 2 x 1
    shape = tuple(s // g for s, g in zip(method.crop, method.params.grid, strict=True))
    value = torch.arange(n * m, dtype=torch.float32).view(n, m, 1, 1, 1, 1)  # scan * m + place
    batch = {"patches": value.expand(n, m, 1, *shape), "order": torch.rand(n, m)}
    seen = {}
    pool = torch.nn.AdaptiveAvgPool3d((2, 2, 1))
    method.encoder.forward = lambda x: [pool(x).expand(-1, 64, -1, -1, -1)]
    method.place.forward = lambda z: seen.setdefault("z", z)[:, :m]
    method.cluster.forward = lambda z: z
    method.loss(batch)
    order = batch["order"].T.flatten().argsort()
    assert torch.allclose(seen["z"][:, 0], ((order % n) * m + order // n).float(), atol=1e-4)


@pytest.mark.parametrize(("scans_", "patches", "cost"), [(2, 8, 2.708050), (4, 8, 3.433987)])
def test_equal_embeddings_cost_the_logarithm_of_the_others(scans_, patches, cost):
    z = torch.ones(scans_ * patches, 5)
    group = torch.arange(scans_ * patches) % scans_
    assert grouped_contrast(z, group, 0.07)[0].item() == pytest.approx(cost, abs=1e-5)


def test_the_best_there_is_costs_the_logarithm_of_the_other_patches():
    z = torch.eye(2).repeat(8, 1)
    loss, nearest = grouped_contrast(z, torch.arange(16) % 2, 0.07)
    assert loss.item() == pytest.approx(1.945911, abs=1e-5) and nearest == 1  # ln 7


def test_contrast_by_hand():
    g = torch.Generator().manual_seed(0)
    z, group = torch.randn((5, 3), generator=g), torch.tensor([0, 1, 0, 1, 0])
    unit, terms = torch.nn.functional.normalize(z), []
    for i in range(5):
        others = [j for j in range(5) if j != i]
        below = torch.logsumexp(torch.stack([unit[i] @ unit[j] for j in others]) / 0.5, 0)
        own = [j for j in others if group[j] == group[i]]
        terms.append(torch.stack([below - unit[i] @ unit[j] / 0.5 for j in own]).mean())
    loss, _ = grouped_contrast(z, group, 0.5)
    assert loss.item() == pytest.approx(torch.stack(terms).mean().item(), rel=1e-5)
