"""Swin UNETR's pretraining: turned, cut, and told by three heads."""

import pytest
import torch
from small_methods import agree, build, raw_of, tried, view


@pytest.mark.parametrize("axis", [0, 2])
def test_the_label_is_the_turn_and_noise_covers_the_rest(axis):
    method = build("swin_unetr_ssl", {"axis": axis, "donors": False})
    raw = raw_of(method)
    batch = view(method, raw)
    plane = [d for d in range(3) if d != axis]
    for i, row in enumerate(batch["label"].tolist()):
        for j, k in enumerate(row):
            assert torch.equal(batch["y"][i, j], raw["crop"][i].rot90(k, [1 + d for d in plane]))
    changed = batch["x"] != batch["y"]
    assert 0 < changed.float().mean() < 0.3
    assert batch["x"][changed].min() >= 0 and batch["x"][changed].max() <= 1
    assert not torch.equal(changed[:, 0], changed[:, 1])


def test_donors_boxes_show_the_other_crop():
    method, batch = tried("swin_unetr_ssl")
    batch["donor"] = torch.tensor([[0.3, 0.0], [0.0, 0.3], [0.99, 0.0], [0.0, 0.6]])
    cut, hole = method.cut(batch).unflatten(0, (4, 2)), batch["hole"]
    for i, j, other in ((0, 0, 1), (1, 1, 1), (2, 0, 3), (3, 1, 2)):
        where = hole[i, j].expand_as(cut[i, j])
        assert torch.equal(cut[i, j][where], batch["y"][other, j][where])
        assert torch.equal(cut[i, j][~where], batch["x"][i, j][~where])


def test_errors_may_count_in_what_was_cut_alone():
    method, batch = tried("swin_unetr_ssl", {"image_on": "cut", "donors": False})
    x, y = batch["x"], batch["y"]
    agree(method.loss(batch), copied=(x - y)[x != y].abs().mean())
