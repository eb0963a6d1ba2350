"""Cubes of a grid, and the orders in which they come."""

import hashlib

import numpy as np
import pytest

from bench.data.reader import Volume
from bench.pretext.cells import far_orders, read_cells


def test_each_cube_lies_in_its_own_cell_in_raster_order():
    places = np.stack(np.meshgrid(*map(np.arange, (40, 30, 20)), indexing="ij")).astype(np.float32)
    rng, gaps = np.random.default_rng(0), []
    for _ in range(30):
        corners = read_cells(Volume(places), (12, 10, 6), (2, 2, 2), (4, 3, 2), rng)[:, :, 0, 0, 0]
        cell = corners.reshape(2, 2, 2, 3)
        for axis, (least, most) in enumerate([(12, 20), (10, 16), (6, 10)]):
            step = np.diff(cell[..., axis], axis=axis)
            assert (step >= least).all() and (step <= most).all()
            gaps.append(step.max() - least)
        assert (np.add(corners, (12, 10, 6)) <= (40, 30, 20)).all() and corners.min() >= 0
    assert max(gaps) == 8  # twice the jitter of the first axis


def test_without_jitter_cubes_touch():
    places = np.arange(64, dtype=np.float32).reshape(1, 4, 4, 4)
    cubes = read_cells(Volume(places), (2, 2, 2), (2, 2, 2), (0, 0, 0), np.random.default_rng(0))
    assert sorted(cubes.ravel().tolist()) == list(range(64))


def test_orders_are_different_and_as_far_apart_as_the_published_hundred():
    orders = far_orders(8, 100)
    assert len(np.unique(orders, axis=0)) == 100 and (np.sort(orders) == np.arange(8)).all()
    apart = (orders[:, None] != orders).sum(2)[np.triu_indices(100, 1)]
    assert apart.min() >= 2 and apart.mean() == pytest.approx(
        7.069, abs=0.02
    )  # Medical-SSL's file: 2, 7.069
    assert np.array_equal(far_orders(8, 100), orders) and not np.array_equal(
        far_orders(8, 100, 1), orders
    )


def test_of_many_things_some_orders_are_looked_at():
    orders = far_orders(27, 50)
    assert len(np.unique(orders, axis=0)) == 50 and (np.sort(orders) == np.arange(27)).all()
    assert (orders[:, None] != orders).sum(2)[np.triu_indices(50, 1)].mean() > 26


def test_a_grid_may_begin_at_a_given_place():
    places = np.arange(60, dtype=np.float32).reshape(1, 60, 1, 1)
    seen = [
        read_cells(
            Volume(places), (5, 1, 1), (3, 1, 1), (2, 0, 0), np.random.default_rng(s), (7, 0, 0)
        )
        for s in range(40)
    ]
    first = np.stack(seen)[:, :, 0, 0, 0, 0]
    assert first.min(0).tolist() == [7, 14, 21] and first.max(0).tolist() == [9, 16, 23]


@pytest.mark.parametrize(
    ("things", "by", "least", "mean", "digest"),
    [
        (27, "mean", 21, 26.229, "8246ff8ae29e36a6"),
        (9, "mean", 2, 8.080, "375f626333ae775e"),  # the file of Taleb's code for slices: 2, 8.08
        (8, "mean", 3, 7.069, "88fe6ccc6970e929"),
        (27, "least", 24, 26.212, "292ff3029972627b"),
        (27, "random", 21, 25.973, "fe1c5266fd092fac"),  # that for volumes: 19, 26.01
    ],
)
def test_labels_mean_the_same_on_every_machine(things, by, least, mean, digest):
    orders = far_orders(things, 100, 0, by)
    apart = (orders[:, None] != orders).sum(2)[np.triu_indices(100, 1)]
    assert apart.min() == least and apart.mean() == pytest.approx(mean, abs=1e-3)
    assert hashlib.sha256(orders.astype("<i8").tobytes()).hexdigest()[:16] == digest


def test_refuses_more_orders_than_there_are():
    with pytest.raises(ValueError, match="there are 6 orders"):
        far_orders(3, 7)
