"""LeJEPA: Epps and Pulley's statistic by other means, what leaves it as it is, and who predicts whom."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from small_methods import agree, build, fitting, functions_of, params_of, raw_of, tried
from torch.nn import functional

from bench import nets
from bench.data.reader import Volume
from bench.errors import BenchError

CODE = functions_of("lejepa3d")
X = np.random.default_rng(0).normal(0.4, 1.7, 9)


def integrand(t, x):
    phi, normal = np.exp(1j * t * x).mean(), math.exp(-t * t / 2)
    return abs(phi - normal) ** 2 * normal


def closed(x):
    """Return the integral over all t: Baringhaus and Henze's formula, without any quadrature."""
    pairs = np.exp(-((x[:, None] - x) ** 2) / 2).sum() * math.sqrt(2 * math.pi) / len(x)
    single = 2 * math.sqrt(math.pi) * np.exp(-(x**2) / 4).sum()
    return pairs - single + len(x) * math.sqrt(2 * math.pi / 3)


@pytest.mark.parametrize(
    ("reach", "knots", "expected", "within"),
    [
        (3.0, 4001, len(X) * quad(integrand, -3, 3, (X,))[0], 1e-6),
        (9.0, 4001, closed(X), 1e-6),
        (5.0, 17, closed(X), 0.01),  # the paper's rule is this near
        (
            4.0,
            3,
            len(X) * 4 * sum(integrand(t, X) * w for t, w in ((-4, 0.5), (0, 1), (4, 0.5))),
            1e-9,
        ),
    ],
)
def test_the_statistic_equals_the_integral(reach, knots, expected, within):
    x = torch.from_numpy(X)[:, None]
    assert CODE.epps_pulley(x, reach, knots).item() == pytest.approx(expected, rel=within)


def test_the_statistic_forgets_order_signs_and_turns_and_sees_what_is_not_normal():
    torch.manual_seed(0)
    z, slices = torch.randn(64, 3, 6).double(), functional.normalize(torch.randn(6, 40), dim=0)
    turn = torch.linalg.qr(torch.randn(6, 6).double())[0]
    value = CODE.sigreg(z, slices, 5.0, 17)
    alike = [
        (z[torch.randperm(64)], slices),
        (-z, slices),
        (z @ turn, turn.T @ slices.double()),
        (z[:, [2, 0, 1]], slices),
    ]
    for changed, seen in alike:
        assert torch.allclose(CODE.sigreg(changed, seen, 5.0, 17), value, rtol=1e-9)
    worse = [
        CODE.sigreg(y, slices, 5.0, 17) for y in (z + 0.5, 2 * z, z / 2, 0 * z, z[:1].expand_as(z))
    ]
    assert min(worse) > 3 * value
    single = torch.stack([CODE.sigreg(z[:, [i]], slices, 5.0, 17) for i in range(3)])
    assert torch.allclose(value, single.mean())  # of each view apart, not of all as one sample


@pytest.mark.parametrize(("first", "expected"), [(2, (1 + 1 + 25) / 3), (3, (9 + 1 + 16) / 3)])
def test_views_are_held_to_the_mean_of_the_large_ones_or_of_all(first, expected):
    z = torch.tensor([[[0.0], [2.0], [6.0]], [[0.0], [2.0], [6.0]]]).expand(-1, -1, 4)
    expected = expected if first == 2 else ((8 / 3) ** 2 + (2 / 3) ** 2 + (10 / 3) ** 2) / 3
    assert CODE.predicted(z, first).item() == pytest.approx(expected)


def test_gradient_flows_into_what_is_predicted_as_well():
    z = torch.randn(4, 3, 5, requires_grad=True)
    CODE.predicted(z, 1)[None].backward()
    # of one large view: each of the others pulls it as hard as it is pulled
    assert torch.allclose(z.grad[:, 0], -z.grad[:, 1:].sum(1), atol=1e-7) and z.grad[:, 0].any()


@pytest.mark.parametrize(("target", "first"), [(None, 8), ("large", 2), ("all", 8)])
def test_the_loss_is_that_of_its_projected_views(target, first):
    """By default a network without tokens predicts the mean of all views (Algorithm 2)."""
    method, batch = tried("lejepa3d", {"target": target, "weight": 0.3, "slices": 256}, 5)
    views = [*batch["views"].unbind(1), *batch["small"].unbind(1)]
    assert len(views) == 8 and batch["slices"].norm(dim=0) == pytest.approx(np.ones(256), abs=1e-5)
    vectors = torch.stack([method.encoder.embed(view) for view in views], 1)
    z = method.projector(vectors.flatten(0, 1)).view(5, 8, -1)
    error = CODE.predicted(z, first)
    normal = CODE.sigreg(z, batch["slices"], 5.0, 17)
    agree(method.loss(batch), prediction=error, sigreg=normal, total=0.7 * error + 0.3 * normal)


def test_small_views_show_less_of_the_scan_and_every_view_another_box():
    ramp = np.stack(np.meshgrid(*[np.arange(n) + 0.5 for n in (64, 64, 32)], indexing="ij"))
    params = params_of("lejepa3d")
    read = params.read(Volume(ramp.astype(np.float32)), (32, 32, 16), np.random.default_rng(0))
    assert read["large"].shape == (2, 3, 32, 32, 16) and read["small"].shape == (6, 3, 16, 16, 16)
    volume = {k: np.ptp(v, axis=(2, 3, 4)).prod(1) / (64 * 64 * 32) for k, v in read.items()}
    assert (
        volume["large"].min() > 0.2 and 0.01 < volume["small"].min() < volume["small"].max() < 0.31
    )
    assert len({tuple(v.ravel()[:9]) for v in read["small"]}) == 6


def test_a_transformer_reads_small_views_and_a_network_of_whole_crops_is_refused():
    method = build("lejepa3d", network=fitting("mae3d"))
    assert method.target == "large"  # Algorithm 2: where there are tokens
    raw = raw_of(method, 2)
    assert raw["small"].shape[3:] == (16, 16, 16)
    assert torch.isfinite(method.loss(method.views(raw, torch.Generator().manual_seed(0)))["total"])
    with pytest.raises(BenchError, match=r"lejepa3d.*local_crop, or locals: 0"):
        build("lejepa3d", {"local_crop": (24, 24, 24)}, network=fitting("mae3d"))
    wide = nets.network("swin_unetr", "tiny", 1, 2, (64, 64, 64))
    with pytest.raises(BenchError, match=r"local_crop, or locals: 0"):
        build("lejepa3d", {"local_crop": (40, 40, 40)}, network=wide)


def test_without_small_views_the_large_ones_predict_each_other():
    method, batch = tried("lejepa3d", {"locals": 0}, 4)
    assert "small" not in batch and method.params.voxels_per_sample((16, 16, 16)) == 2 * 16**3
    z = method.projector(method.encoder.embed(batch["views"].flatten(0, 1))).view(4, 2, -1)
    agree(method.loss(batch), prediction=(z[:, 0] - z[:, 1]).square().mean() / 4)
