"""Fixed positions, and the same ones on another grid."""

import pytest
import torch

from bench.pretext import positions


def test_each_axis_has_its_third_of_sines_and_cosines():
    table = positions.sines((2, 3, 4), 12)  # two frequencies an axis: 1 and 1 / 100
    at = torch.tensor([1.0, 2.0, 3.0])  # the last token
    expected = [f(c * s) for c in at for f in (torch.sin, torch.cos) for s in (1.0, 0.01)]
    assert table.shape == (24, 12) and table[23].tolist() == pytest.approx(
        [e.item() for e in expected]
    )
    assert table[0].tolist() == [0, 0, 1, 1] * 3


def test_channels_that_do_not_divide_stay_nothing():
    assert positions.sines((2, 2, 2), 16)[:, 12:].abs().max() == 0


def test_a_view_of_more_patches_has_the_positions_between():
    line = torch.arange(4.0)[:, None].expand(4, 3)
    assert torch.equal(positions.rescaled(line, (4, 1, 1), (4, 1, 1)), line)
    twice = positions.rescaled(line, (4, 1, 1), (8, 1, 1))[:, 0]
    assert twice.tolist() == pytest.approx([0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3])
