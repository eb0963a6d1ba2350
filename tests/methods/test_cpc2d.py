"""Predictive coding of slices: the same core over squares, with zeros around them and a row left out."""

import torch
from seeded import generator
from small_methods import build

from bench import registry

CODE = registry.load("method", "cpc2d")


def test_the_row_below_is_not_looked_at_and_zeros_come_last():
    params = CODE.make_params({"patch_crop_frac": 1.0})
    window = params.window((4, 4, 1))
    assert window == (12, 12, 1) and params.crops_per_sample == 21
    x = torch.rand(2, 3, *window) + 1
    patches = params.views({"window": x}, (4, 4, 1), generator())["patches"]
    assert patches.shape == (2, 21, 3, 4, 4, 1) and not patches[:, 20].any()
    rows = [0, 2, 6, 8]  # of five two voxels apart
    for place, (a, b) in enumerate((a, b) for a in rows for b in range(0, 10, 2)):
        assert torch.equal(patches[:, place], x[:, :, a : a + 4, b : b + 4])
    _, known, wanted = params.indices
    assert known[0].tolist() == [-1, 0, 1, 5] and wanted[0].tolist() == [10, 15]


def test_patches_of_slices_lose_a_twelfth_and_are_not_mirrored():
    params = CODE.make_params({})
    window = params.window((24, 24, 1))
    x = torch.arange(window[0]).float().view(1, 1, -1, 1, 1).expand(1, 1, *window) + 1
    patches = params.views({"window": x}, (24, 24, 1), generator())["patches"][:, :-1]
    seen = patches[:, :, 0, 1:23, 1:23, 0]
    assert (patches == 0).sum() == patches.numel() - seen.numel()
    assert (seen.diff(dim=2) == 1).all()


def test_zeros_reach_the_context_of_the_border_alone():
    method = build("cpc2d")
    _, known, _ = method.params.indices
    assert ((known == -1).sum(1) > 0).tolist() == [True, False, False, True]
