"""Balanced assignments, spherical k-means, and two views that must agree on prototypes."""

from math import log

import pytest
import torch
from seeded import generator
from torch.nn import functional

from bench.pretext.clusters import Clusters, Rule, kmeans, sinkhorn


def unit(*shape, seed=0):
    return functional.normalize(
        torch.randn(shape, generator=generator(seed), dtype=torch.float64), dim=-1
    )


def clusters(kind="swav", width=8, count=4, memory=0, **rule):
    torch.manual_seed(0)
    return Clusters(width, count, memory, Rule(kind, **rule)).double()


def plain(scores, epsilon, iterations):
    """Write the iterations out as the papers do."""
    q = (scores / epsilon).exp()
    q = q / q.sum()
    for _ in range(iterations):
        q = q / q.sum(0) / q.shape[1]
        q = q / q.sum(1, keepdim=True) / q.shape[0]
    return q * q.shape[0]


def test_assignments_are_those_of_the_iterations_and_of_each_sample_sum_to_one():
    for n, k in ((6, 4), (8, 30)):
        scores = unit(n, 16) @ unit(k, 16, seed=1).T
        q = sinkhorn(scores, 0.05, 3)
        assert torch.allclose(q, plain(scores, 0.05, 3), atol=1e-12)
        assert torch.allclose(q.sum(1), torch.ones(n).double(), atol=1e-12)
    many = sinkhorn(scores, 0.05, 500)
    assert torch.allclose(many.sum(0), torch.full((30,), 8 / 30).double(), atol=0.02)


@pytest.mark.parametrize("case", ["alike", "sharp", "half"])
def test_equal_samples_are_assigned_evenly_and_nothing_overflows(case):
    scores = torch.tensor([[1.0, -1.0, 0.2]]).expand(4, 3)
    if case == "sharp":
        scores = 1000 * torch.eye(4)
    q = sinkhorn(scores.half() if case == "half" else scores, 0.05, 3)
    assert torch.allclose(
        q, torch.eye(4) if case == "sharp" else torch.full((4, 3), 1 / 3), atol=1e-3
    )


@pytest.mark.parametrize(("count", "cost"), [(4, 1.386294), (3000, 8.006368)])
def test_equal_prototypes_cost_their_logarithm_and_tell_nothing(count, cost):
    made = clusters(count=count)
    made.weight.data[:] = made.weight.data[0]
    loss, told = made(unit(6, 8), unit(6, 8, seed=1))
    assert loss.item() == pytest.approx(cost, abs=1e-5) and abs(told.item()) < 1e-9


def test_each_view_is_told_the_other_ones_assignment_by_hand():
    made, one, two = clusters(), unit(6, 8), unit(6, 8, seed=1)
    scores = [z @ made.weight.T for z in (one, two)]
    q = [plain(s.detach(), 0.05, 3) for s in scores]
    ways = [-(q[i] * (scores[1 - i] / 0.1).log_softmax(1)).sum(1).mean() for i in (0, 1)]
    found, told = made(one, two)
    assert found.item() == pytest.approx(sum(ways).item() / 2, rel=1e-10)
    assert 0 < told.item() < log(4)


def test_assignments_get_no_gradient_and_still_prototypes_none():
    for still in (False, True):
        made, one = clusters(), unit(6, 8).requires_grad_()
        # what is told is flat: only an assignment could be learned
        other = clusters(temperature=1e9)
        made(one, unit(6, 8, seed=1), still)[0].backward()
        assert one.grad.abs().sum() > 0 and (made.weight.grad is None) is still
        one.grad = None
        other(one, unit(6, 8, seed=1))[0].backward()
        assert one.grad.abs().max() < 1e-8


def test_a_memory_counts_once_it_is_full_and_balances_with_the_batch():
    made = clusters(memory=6)
    plainly, views = clusters(), [unit(4, 8, seed=s) for s in range(4)]
    made(views[0], views[1])
    made.move()
    assert not made.full and torch.allclose(made.queues[1].keys[:4], views[1])
    expected = plainly(views[2], views[3])[0].item()
    assert made(views[2], views[3])[0].item() == pytest.approx(expected, rel=1e-6)  # not yet
    made.move()
    assert made.full and made.queues[0].at == 2
    rows = [torch.cat([queue.keys, z]) for queue, z in zip(made.queues, views[:2], strict=True)]
    q = [plain(both @ made.weight.T, 0.05, 3)[-4:] for both in rows]
    logits = [(z @ made.weight.T / 0.1).log_softmax(1) for z in views[:2]]
    expected = -((q[0] * logits[1]).sum(1).mean() + (q[1] * logits[0]).sum(1).mean()) / 2
    assert made(views[0], views[1])[0].item() == pytest.approx(expected.item(), rel=1e-10)


def test_nothing_is_remembered_while_it_does_not_listen_and_prototypes_are_unit_vectors_again():
    made = clusters(memory=4)
    before = made.queues[0].keys.clone()
    made(unit(4, 8), unit(4, 8))
    direction = made.weight.data.clone()
    made.weight.data *= torch.tensor([[2.0], [0.5], [3.0], [1.0]])
    made.move(listens=False)
    assert torch.equal(made.queues[0].keys, before) and not made.full
    assert torch.allclose(made.weight.data, direction)


def test_means_find_separated_bundles_and_an_empty_one_stays():
    axes = torch.eye(3, 8).double()
    bundles = functional.normalize(axes.repeat_interleave(20, 0) + 0.05 * unit(60, 8), dim=1)
    found = kmeans(bundles, 3, 10)
    assert torch.allclose(found @ axes.T, torch.eye(3).double(), atol=0.1)
    expected = functional.normalize(bundles.unflatten(0, (3, 20)).mean(1), dim=1)
    assert torch.allclose(found, expected, atol=1e-12)
    alike = kmeans(axes[:1].repeat(9, 1), 4, 10)
    assert torch.allclose(alike, axes[:1].expand(4, -1))


def test_both_views_are_told_the_first_ones_nearest_centre_which_a_full_memory_renews():
    made, one, two = clusters("deepcluster", memory=6), unit(6, 8), unit(6, 8, seed=1)
    made.centres.copy_(unit(4, 8, seed=2))
    label = (one @ made.centres.T).argmax(1)
    expected = [functional.cross_entropy(z @ made.weight.T / 0.1, label).item() for z in (one, two)]
    assert made(one, two)[0].item() == pytest.approx(sum(expected) / 2, rel=1e-10)
    made.move()
    assert torch.allclose(made.centres, kmeans(one, 4, 10)) and torch.equal(
        made.centres, made.weight.data
    )
