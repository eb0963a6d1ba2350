"""Features of frozen encoders, logistic regression and nearest neighbours."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from bench import nets
from bench.jobs.finetune import probe
from bench.jobs.probing import CaseCache
from bench.nets.interpolation import MODES, on_grid
from bench.probes import logistic, neighbours
from bench.probes.features import CaseFeatures, VoxelFeatures, neighbourhoods
from bench.protocol.sections import Probe


def test_logistic_regression_is_scikit_learns():
    linear_model = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(200, 5)) * [1, 10, 0.1, 3, 1], rng.uniform(0.5, 2, 200)
    classes = (x[:, 0] + rng.normal(size=200) > 0).astype(int) + (x[:, 1] > 8)
    mean = np.average(x, axis=0, weights=w)
    z = (x - mean) / np.sqrt(np.average((x - mean) ** 2, axis=0, weights=w))
    theirs = linear_model.LogisticRegression(C=1 / (0.1 * w.sum()), tol=1e-10, max_iter=5000)
    theirs.fit(z, classes, sample_weight=w)
    logits = logistic.fitted(x, classes, w, 3, 0.1)(x)
    ours = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(ours, theirs.predict_proba(z), atol=1e-6)


def test_a_penalty_is_chosen_on_validation_samples_else_on_groups_left_out():
    metrics = pytest.importorskip("sklearn.metrics")
    x = torch.randn(90, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] + torch.sin(9 * x[:, 1]) > 0).long()
    seen, out, group = (x[:60], y[:60]), (x[60:], y[60:]), np.arange(60) % 3

    def errors(judged, group):
        kind, context = Probe(kind="logistic"), SimpleNamespace(facts={})
        probed = SimpleNamespace(probe=kind, classes=2, read_by=lambda linear: None)
        training = SimpleNamespace(_context=context, _probed=probed)
        probe._Training._fit_samples(training, seen, group, judged)
        return context.facts["probe"]["errors"], context.facts["probe"]["strength"]

    def by_hand(fit, out, strength):
        weights = [1 / (2 * np.bincount(labels)[labels]) for _, labels in (fit, out)]
        logits = logistic.fitted(fit[0].numpy(), fit[1].numpy(), weights[0], 2, strength)(
            out[0].numpy()
        )
        shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        return metrics.log_loss(out[1], shares, sample_weight=weights[1])

    given, _ = errors(out, group)
    np.testing.assert_allclose(given, [by_hand(seen, out, s) for s in probe.PENALTIES], rtol=1e-6)
    left = [
        [
            by_hand(*((x[:60][at], y[:60][at]) for at in (group != g, group == g)), s)
            for g in range(3)
        ]
        for s in probe.PENALTIES
    ]
    assert errors(None, group)[0] == pytest.approx(np.mean(left, axis=1), rel=1e-6)
    assert errors(None, np.zeros(60, int))[1] == probe.PENALTIES[2]  # one patient: the middle


def test_neighbours_vote_by_cosine():
    bank = torch.tensor([[1.0, 0], [10, 1], [0, 1], [0, 5], [-1, 0]])
    classes = torch.tensor([0, 0, 1, 1, 2])
    votes = neighbours.shares(torch.tensor([[2.0, 0.1], [0.1, 3], [-1, 0.9]]), bank, classes, 3, 2)
    assert votes.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0.5, 0.5]]
    assert neighbours.spread(10, 4).tolist() == [0, 2, 5, 7]
    assert neighbours.spread(3, 4).tolist() == [0, 1, 2]


@pytest.mark.parametrize("shape", [(2, 3, 6, 5, 4), (2, 3, 6, 5, 1)])
def test_neighbourhoods_are_means_and_deviations_of_the_voxels_that_exist(shape):
    image = torch.randn(shape, dtype=torch.float64)
    same, mean, deviation = neighbourhoods(image, (1, 3))
    assert same is image
    box = image[0, 1, 0:2, 3:5, 0 : min(2, shape[-1])]  # round voxel (0, 4, 0), a corner
    assert mean[0, 1, 0, 4, 0] == pytest.approx(box.mean().item())
    assert deviation[0, 1, 0, 4, 0] == pytest.approx(box.std(correction=0).item())


def test_a_linear_map_may_be_applied_on_each_levels_own_grid():
    torch.manual_seed(0)
    network = nets.network("unet3d", "tiny", 1, 2)
    features = VoxelFeatures(network.encoder.eval(), None)
    image = torch.randn(1, 1, *network.crop)
    weight = torch.randn(3, features.size)
    with torch.no_grad():
        at_once = torch.einsum("kd,bdxyz->bkxyz", weight, features(image))
        by_level = features.mapped(features.pyramid(image), weight, image.shape[2:])
    torch.testing.assert_close(by_level, at_once, atol=1e-4, rtol=1e-4)
    assert features(image).shape == (1, features.size, *network.crop)


@pytest.mark.parametrize(
    ("old", "new"),
    [((3, 4, 2), (9, 12, 7)), ((5, 1, 6), (5, 8, 3)), ((4, 3, 1), (16, 7, 1)), ((4, 3), (9, 5))],
)
def test_maps_are_interpolated_as_by_torch_in_their_precision_whatever_runs(old, new):
    values = torch.randn(2, 3, *old)
    theirs = interpolate(values.double(), size=new, mode=MODES[len(old)])
    torch.testing.assert_close(on_grid(values.double(), new), theirs, atol=1e-12, rtol=0)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(on_grid(values, new), theirs.float(), atol=1e-6, rtol=0)


def test_case_vectors_have_mean_and_maximum_of_each_level():
    network = nets.network("unet3d", "tiny", 1, 2)
    images = torch.randn(2, 1, *network.crop)
    vectors = CaseFeatures(network.encoder, [0, -1])(images)
    first = network.encoder(images)[0].flatten(2)
    assert vectors.shape == (2, 2 * (network.encoder.widths[0] + network.encoder.widths[-1]))
    torch.testing.assert_close(vectors[:, : first.shape[1]], first.mean(2))


def test_a_case_cache_computes_once_what_it_has_room_for_and_the_rest_each_time():
    cache, asked_for = CaseCache[list[torch.Tensor]](room=100), list[str]()

    def maps(case: str, numbers: int) -> list[torch.Tensor]:
        def compute() -> list[torch.Tensor]:
            asked_for.append(case)
            return [torch.full((numbers,), float(numbers)), torch.zeros(1)]

        return cache.get(case, compute)

    for _ in range(2):
        assert [len(maps(case, n)[0]) for case, n in (("a", 10), ("b", 20), ("c", 9))] == [
            10,
            20,
            9,
        ]
    assert asked_for == ["a", "b", "c", "b"]  # 44, 84 and 40 bytes
