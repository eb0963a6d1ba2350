"""Samples are a function of their number: not of batches before, workers or restarts."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import distributed
from bench.errors import Damaged
from bench.random import numpy_rng
from bench.train.samples import Samples, batches, stack


def read(case, step, sample):
    rng = numpy_rng(0, "read", step, sample)
    return {"where": np.array([case, step, sample]), "drawn": rng.random(2)}


def drawn(samples, batch, start, steps, workers=0):
    return list(batches(samples, batch, start, steps, workers=workers))


def same(one, other):
    return len(one) == len(other) and all(
        torch.equal(a[k], b[k]) for a, b in zip(one, other, strict=True) for k in ("where", "drawn")
    )


@given(st.integers(1, 7), st.integers(1, 5), st.integers(0, 6), st.integers(0, 3))
@settings(max_examples=25, deadline=None)
def test_starting_at_a_step_is_going_on_from_it(cases, batch, start, seed):
    samples = Samples(cases, batch, seed, read)
    assert same(drawn(samples, batch, 0, 7)[start:], drawn(samples, batch, start, 7))


def test_the_number_of_workers_and_the_order_of_asking_do_not_matter():
    samples = Samples(5, 3, 1, read)
    expected = drawn(samples, 3, 0, 6)
    assert same(expected, drawn(samples, 3, 0, 6, workers=2))
    backwards = [stack([samples[3 * k + i] for i in range(3)]) for k in range(6)[::-1]]
    assert same(expected, backwards[::-1])


def test_a_sample_knows_its_step_and_its_place():
    found = torch.cat([b["where"] for b in drawn(Samples(4, 3, 0, read), 3, 0, 4)])
    assert found[:, 1].tolist() == [k for k in range(4) for _ in range(3)]
    assert found[:, 2].tolist() == [0, 1, 2] * 4


@pytest.mark.parametrize(("cases", "batch"), [(5, 2), (4, 4), (2, 7), (1, 3)])
def test_every_epoch_reads_every_case_once(cases, batch):
    batches_read = drawn(Samples(cases, batch, 0, read), batch, 0, 3 * cases)
    visited = torch.cat([b["where"] for b in batches_read])[:, 0].tolist()
    for epoch in range(3):
        assert sorted(visited[epoch * cases : (epoch + 1) * cases]) == list(range(cases))


@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 3), st.integers(0, 2))
@settings(max_examples=25, deadline=None)
def test_the_parts_of_processes_and_micro_batches_make_up_the_batch(rows, size, accumulate, start):
    batch, samples = rows * size * accumulate, Samples(5, rows * size * accumulate, 0, read)
    whole = drawn(samples, batch, start, 4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distributed, "size", lambda: size)
        found = []
        for rank in range(size):
            patch.setattr(distributed, "rank", lambda rank=rank: rank)
            found.append(list(batches(samples, batch, start, 4, accumulate=accumulate)))
    count = (4 - start) * accumulate  # of each process: micro-batches in order
    in_order = [found[r][k] for k in range(count) for r in range(size)]
    for key in ("where", "drawn"):
        parts, batch_rows = (torch.cat([b[key] for b in rows]) for rows in (in_order, whole))
        assert torch.equal(parts, batch_rows)


def test_the_order_depends_on_the_seed_and_the_epoch():
    drawings = [drawn(Samples(8, 2, seed, read), 2, 0, 8) for seed in (0, 1)]
    first, second = (torch.cat([b["where"] for b in d])[:, 0].tolist() for d in drawings)
    assert first != second and first[:8] != first[8:]


def damaged(case, step, sample):
    if step == 2:
        raise Damaged(Path("jobs/0/shard-0000.b2"), "its checksum is another", "byte 7")
    return read(case, step, sample)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_sample_that_cannot_be_read_keeps_its_reason_whoever_reads_it(workers):
    drawing = batches(Samples(3, 2, 0, damaged), 2, 0, 4, workers=workers)
    next(drawing)
    with pytest.raises(Damaged) as error:
        list(drawing)
    assert error.value.path == Path("jobs/0/shard-0000.b2")
    said = "jobs/0/shard-0000.b2, byte 7: damaged (its checksum is another); run again: its job is done anew"
    assert str(error.value) == said
