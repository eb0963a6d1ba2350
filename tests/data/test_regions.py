"""Overlapping regions as one label map: what is painted reads back, or is refused."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from bench.data.regions import one_hot, paint
from bench.data.slabs import restore_slabs, unchanged
from bench.errors import BenchError
from bench.train.label_losses import of_regions

BRATS = {"whole": (1, 2, 4), "core": (1, 4), "enhancing": (4,)}
LABELS = st.integers(1, 6)
FAMILY = st.dictionaries(
    st.text("abcdef", min_size=1), st.sets(LABELS, min_size=1), min_size=1, max_size=6
)


def read_back(regions, labels):
    """Paint what a network says that is sure of ``labels``, and return which regions each voxel is in."""
    wanted = one_hot([sorted(r) for r in regions.values()])[labels]  # (N, R)
    logits = (8 * wanted.T - 4).reshape(len(regions), len(labels), 1, 1)
    painted = restore_slabs([logits], unchanged((len(labels), 1, 1)), paint(regions, "d"))
    return wanted, one_hot([sorted(r) for r in regions.values()])[painted[:, 0, 0]]


@given(FAMILY)
def test_whatever_can_be_painted_reads_back(family):
    try:
        wanted, found = read_back(family, np.arange(7))
    except BenchError as caught:
        said = str(caught)
        assert "\n" not in said and ("use softmax" in said or "the same labels" in said)
        assume(False)
    np.testing.assert_array_equal(wanted, found)


@st.composite
def nested(draw):
    """Draw regions of which each has a label of its own and may lie in an earlier one."""
    family, inside = {}, {}
    for number in range(draw(st.integers(1, 6))):
        within = draw(st.sampled_from([None, *family]))
        name = f"r{number}"
        family[name], inside[name] = {number + 1}, within
        while within is not None:
            family[within].add(number + 1)
            within = inside[within]
    names = draw(st.permutations(list(family)))
    return {name: tuple(sorted(family[name])) for name in names}


@given(nested())
def test_nested_regions_are_never_refused(family):
    wanted, found = read_back(family, np.arange(8))
    np.testing.assert_array_equal(wanted, found)
    order = [len([*family.values()][number]) for number, _ in paint(family, "d")]
    assert order == sorted(order, reverse=True)


def test_brats_by_hand():
    assert paint(BRATS, "brats") == [(0, 2), (1, 1), (2, 4)]
    table = one_hot(list(BRATS.values()))
    assert table.shape == (256, 3) and table.dtype == np.float32
    assert table[[0, 1, 2, 3, 4]].tolist() == [
        [0, 0, 0],
        [1, 1, 0],
        [1, 0, 0],
        [0, 0, 0],
        [1, 1, 1],
    ]


@pytest.mark.parametrize(
    ("regions", "message"),
    [
        ({"a": (1, 2), "b": (2, 1)}, "the same labels; use one"),
        (
            {"whole": (1, 2), "left": (1,), "right": (2,)},
            "region 'whole' of data set 'd' has no label of its",
        ),
        (
            {"a": (1, 2), "b": (2, 3)},
            "regions 'a' and 'b' of data set 'd' overlap and neither holds",
        ),
        ({"a": (1, 2, 3), "b": (2,), "c": (3, 4)}, "regions 'a' and 'c'"),
    ],
)
def test_what_cannot_be_painted_is_refused(regions, message):
    with pytest.raises(BenchError, match=message):
        paint(regions, "d")


def test_the_loss_of_a_sure_and_right_answer_is_nothing():
    table = torch.from_numpy(one_hot(list(BRATS.values())))
    label = torch.tensor([0, 1, 2, 4], dtype=torch.uint8).reshape(1, 4, 1, 1).repeat(2, 1, 3, 2)
    right = (60 * table[label.long()] - 30).movedim(-1, 1)
    for name in ("dice_ce", "dice", "cross_entropy"):
        for batch in (False, True):
            loss = of_regions(name, table, batch=batch)
            assert loss(right, label) < 1e-4 < 0.5 < loss(-right, label)
