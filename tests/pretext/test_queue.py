"""The ring of keys: random unit vectors at first, the oldest replaced first, resumable."""

import torch

from bench.pretext.queue import Queue


def made(size=6, width=2, seed=0):
    torch.manual_seed(seed)
    return Queue(size, width)


def keys(*numbers):
    """Return vectors of length 5 whose angles, in hundredths, are their numbers."""
    angle = torch.tensor(numbers, dtype=torch.float32) / 100
    return 5 * torch.stack([angle.cos(), angle.sin()], dim=1)


def numbers(queue):
    return (100 * torch.atan2(queue.keys[:, 1], queue.keys[:, 0])).round().int().tolist()


def test_it_begins_with_random_unit_vectors_of_the_seed():
    queue = made(4096, 16)
    assert torch.allclose(queue.keys.norm(dim=1), torch.ones(4096))
    assert queue.keys.mean(dim=0).abs().max() < 0.02  # no direction stands out
    assert torch.equal(queue.keys, made(4096, 16).keys)
    assert not torch.equal(queue.keys, made(4096, 16, seed=1).keys)


def test_the_oldest_go_first_and_a_batch_may_wrap_around():
    queue = made()
    queue.push(keys(1, 2, 3, 4))
    assert numbers(queue)[:4] == [1, 2, 3, 4] and queue.at == 4
    queue.push(keys(5, 6, 7, 8))  # 6 slots: 7 and 8 replace 1 and 2
    assert numbers(queue) == [7, 8, 3, 4, 5, 6] and queue.at == 2
    queue.push(keys(9))
    assert numbers(queue) == [7, 8, 9, 4, 5, 6] and queue.at == 3


def test_of_more_keys_than_slots_the_last_stay_where_they_would_have_come():
    queue, slow = made(), made()
    for queued in (queue, slow):
        queued.push(keys(50))
    queue.push(keys(*range(1, 16)))
    for number in range(1, 16):
        slow.push(keys(number))
    assert numbers(queue) == numbers(slow) and queue.at == slow.at == 4


def test_it_keeps_directions_and_no_gradient():
    queue, given = made(), keys(1, 2).requires_grad_()
    queue.push(given)
    assert torch.allclose(queue.keys.norm(dim=1), torch.ones(6))
    assert not queue.keys.requires_grad and not list(queue.parameters())


def test_what_a_push_would_leave_can_be_seen_without_one():
    queue = made()
    queue.push(keys(1, 2, 3, 4))
    before, later = queue.keys.clone(), queue.after(keys(5, 6, 7))
    assert torch.equal(queue.keys, before) and queue.at == 4
    queue.push(keys(5, 6, 7))
    assert torch.equal(queue.keys, later) and not torch.equal(later, before)
