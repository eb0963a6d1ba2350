"""MoCo on slices: values by hand, who gets gradient, when queue and slow copy move, shuffled groups."""

import copy
import math

import numpy as np
import pytest
import torch
from small_methods import agree, batch_of, build, read, stepped, textured, view
from torch.nn import functional

from bench import nets
from bench.errors import BenchError
from bench.pretext.momentum import follow

SHUFFLED = "hssl_resnet34"  # a network with batch norm


def resnet(seed=0):
    torch.manual_seed(seed)
    return nets.network(SHUFFLED, "tiny", 1, 2, (64, 64, 1))


def slow(method):
    return method.slow.encoder, method.slow.projector


def test_the_loss_leaves_the_queue_alone_and_the_step_fills_it_once():
    method = build("moco2d", {"queue": 6})
    batch, before = batch_of(method), method.queue.keys.clone()
    for _ in range(3):
        method.loss(batch)
        assert torch.equal(method.queue.keys, before) and method.queue.at == 0
    keys = keys_of(method, batch["views"][:, 1])
    method.after_step(0.0)
    assert method.queue.at == 4
    assert torch.allclose(method.queue.keys, torch.cat([keys, before[4:]]), atol=1e-6)
    method.after_step(0.0)  # no loss, no keys
    assert method.queue.at == 4
    method.loss(batch)
    method.after_step(0.0)  # 6 slots: the third and fourth key wrap around
    assert method.queue.at == 2


def keys_of(method, x):
    encoder, projector = slow(method)
    return functional.normalize(projector(encoder.embed(x)), dim=1).detach()


def test_a_step_queues_the_keys_of_the_copy_that_made_them_and_then_moves_it():
    method = build("moco2d", {"momentum": 0.5})
    batch = batch_of(method)
    with torch.no_grad():
        for p in (*method.encoder.parameters(), *method.projector.parameters()):
            p.add_(0.1)
    method.loss(batch)
    made, encoder = keys_of(method, batch["views"][:, 1]), copy.deepcopy(method.slow.encoder)
    method.after_step(0.0)
    assert torch.allclose(method.queue.keys[:4], made, atol=1e-6)
    assert not torch.allclose(keys_of(method, batch["views"][:, 1]), made, atol=1e-3)
    follow(encoder, method.encoder, 0.5)
    assert all(map(torch.equal, encoder.parameters(), method.slow.encoder.parameters()))


def test_both_views_ask_where_it_is_symmetric():
    method = build("moco2d", {"queue": 8})
    both = copy.deepcopy(method)
    both.params = type(method.params)(queue=8, symmetric=True)
    batch = batch_of(method)
    back = {**batch, "views": batch["views"].flip(1)}
    there, again, summed = method.loss(batch), method.loss(back), both.loss(batch)
    agree(summed, total=there["total"] + again["total"])
    expected = torch.cat([keys_of(method, batch["views"][:, i]) for i in (0, 1)])
    both.after_step(0.0)
    assert torch.allclose(both.queue.keys, expected, atol=1e-6)  # the first view's keys first


def test_a_key_is_made_in_a_shuffled_group_and_comes_back_to_its_place():
    method = build("moco2d", {"shuffle_groups": 2}, network=resnet())
    assert method.groups == 2
    x = batch_of(method)["views"][:, 1]
    order = torch.tensor([0.7, 0.1, 0.9, 0.3])  # rows 1, 3, 0, 2; so groups 1 and 0, 3 and 2
    keys = method._shuffled(x, order)
    encoder, projector = (p.train() for p in slow(method))
    for group in ([1, 0], [3, 2]):
        assert torch.allclose(keys[group], projector(encoder.embed(x[group])), atol=1e-5)
    asked = method._grouped(method, x)  # queries: rows 0 and 2, 1 and 3
    for group in ([0, 2], [1, 3]):
        expected = method.projector(method.encoder.embed(x[group]))
        assert torch.allclose(asked[group], expected, atol=1e-5)
        assert not torch.allclose(keys[group], asked[group], atol=1e-3)


def test_rows_that_do_not_make_equal_groups_are_refused():
    method = build("moco2d", network=resnet())
    batch = {k: v[:3] for k, v in batch_of(method).items()}
    with pytest.raises(BenchError, match="set shuffle_groups to a divisor"):
        method.loss(batch)
    alone = build("moco2d", {"shuffle_groups": 1}, network=resnet())
    assert torch.isfinite(alone.loss(batch)["total"])


def test_two_processes_make_the_groups_of_one(pair):
    method = build("moco2d", {"symmetric": True}, network=resnet()).double()
    batch = batch_of(method, 8)
    batch = {k: v.double() for k, v in batch.items()}
    whole = stepped(copy.deepcopy(method), batch)
    single = copy.deepcopy(method)
    single.groups = 1
    assert abs(stepped(single, batch)[0] - whole[0]) > 1e-3  # groups matter
    for part in pair(stepped, method, batch):
        for a, b in zip(part, whole, strict=True):
            torch.testing.assert_close(a, b, atol=1e-9, rtol=1e-9)


@pytest.mark.slow
def test_queries_of_unseen_scans_find_their_keys_in_a_full_queue():
    """With a random queue every query finds its key, so the queue is filled before anything is said."""
    scans, held_out = textured(64, 1), textured(16, 500)
    params = {"queue": 64, "momentum": 0.99, "temperature": 0.1, "area": (0.5, 1.0)}
    method = build("moco2d", params)

    def batch(step):
        rows = torch.randperm(64, generator=torch.Generator().manual_seed(step))[:16].tolist()
        return view(method, read(method, [scans[i] for i in rows], step), step)

    @torch.no_grad()
    def tested():
        for step in range(4):
            method.loss(batch(5000 + step))
            method.queue.push(*method._made)
        terms = [method.loss(view(method, read(method, held_out, s), s)) for s in range(901, 907)]
        return [np.mean([t[k].item() for t in terms]) for k in ("total", "retrieval")]

    with torch.no_grad():
        assert method.loss(batch(5000))["retrieval"] == 1
    _, before = tested()
    moved = torch.optim.AdamW([p for p in method.parameters() if p.requires_grad], 2e-3)
    for step in range(500):
        moved.zero_grad()
        method.loss(batch(step))["total"].backward()
        moved.step()
        method.after_step(step / 500)
    total, after = tested()
    assert total < 0.8 * math.log(65)  # collapse and chance: ln 65
    assert after > before and after > 10 / 65
