"""Three heads on a last map."""

import pytest
import torch

from bench.pretext.three_heads import ThreeHeads, Upsampler, doublings


@pytest.mark.parametrize(
    ("stride", "factors"),
    [((8, 8, 8), [(2, 2, 2)] * 3), ((16, 16, 8), [(2, 2, 2)] * 3 + [(2, 2, 1)]), ((1, 1, 1), [])],
)
def test_doublings_make_up_the_stride(stride, factors):
    assert doublings(stride) == factors


@pytest.mark.parametrize(
    ("kind", "weights"), [("vae", 10_638_385), ("deconv", 3_134_545), ("large", 25_165_825)]
)
def test_the_way_back_has_the_codes_parameters(kind, weights):
    with torch.device("meta"):
        made = Upsampler(768, (32, 32, 32), 1, kind)
    assert sum(p.numel() for p in made.parameters()) == weights


@pytest.mark.parametrize("kind", ["vae", "deconv", "large"])
def test_the_way_back_ends_at_the_voxels(kind):
    assert Upsampler(16, (8, 8, 4), 2, kind)(torch.randn(1, 16, 2, 1, 3)).shape == (1, 2, 16, 8, 12)


def test_turn_and_embedding_read_the_first_and_second_cell_or_the_mean():
    last = torch.randn(2, 8, 2, 2, 2, requires_grad=True)
    for pool, cells in (("token", {0}), ("mean", set(range(8)))):
        heads = ThreeHeads(8, (2, 2, 2), 1, 6, pool)
        turn, embedding, image = heads(last)
        assert turn.shape == (2, 4) and embedding.shape == (2, 6) and image.shape == (2, 1, 4, 4, 4)
        (seen,) = torch.autograd.grad(turn.sum(), last)
        assert set(seen.flatten(2).abs().sum((0, 1)).nonzero()[:, 0].tolist()) == cells
    assert (
        sum(p.numel() for p in ThreeHeads(768, (32,) * 3, 1, 512, "token").turn.parameters())
        == 3_076
    )
