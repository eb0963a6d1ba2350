"""Random masks have the published counts and partition the patches."""

import pytest
import torch
from seeded import generator

from bench.pretext.mask import random_split


@pytest.mark.parametrize(
    ("ratio", "hidden"), [(0.75, 162), (0.6, 129), (0.15, 32), (0.5, 108), (0.9, 194)]
)
def test_counts_for_216_patches(ratio, hidden):
    a, b = random_split(2, 216, ratio, generator())
    assert a.shape == (2, hidden) and b.shape == (2, 216 - hidden)


def test_masks_partition_the_patches_and_differ_between_samples():
    hidden, visible = random_split(8, 27, 0.75, generator())
    both = torch.cat([hidden, visible], dim=1).sort(dim=1).values
    assert both.eq(torch.arange(27)).all()
    assert len({tuple(sorted(row)) for row in hidden.tolist()}) == 8


def test_every_patch_is_hidden_equally_often():
    hidden, _ = random_split(4000, 8, 0.75, generator())
    share = torch.bincount(hidden.flatten(), minlength=8) / 4000
    assert share.tolist() == pytest.approx([0.75] * 8, abs=0.03)
