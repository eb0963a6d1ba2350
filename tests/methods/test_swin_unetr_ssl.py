"""Swin UNETR's pretraining: turned, cut, and told by three heads."""

import pytest
import torch
from volumes import read, view, volumes

from bench import augment
from bench.errors import BenchError


@pytest.fixture(scope="module")
def scans():
    return volumes(4, (48, 48, 32))


def made(build, scans, params=None):
    method = build("swin_unetr_ssl", params)
    return method, view(method, read(method, scans))


@pytest.mark.parametrize("axis", [0, 2])
def test_the_label_is_the_turn_and_noise_covers_the_rest(build, scans, axis):
    method = build("swin_unetr_ssl", {"axis": axis, "donors": False})
    raw = read(method, scans)
    batch = view(method, raw)
    plane = [d for d in range(3) if d != axis]
    for i, row in enumerate(batch["label"].tolist()):
        for j, k in enumerate(row):
            assert torch.equal(batch["y"][i, j], raw["crop"][i].rot90(k, [1 + d for d in plane]))
    changed = batch["x"] != batch["y"]
    assert 0 < changed.float().mean() < 0.3
    assert batch["x"][changed].min() >= 0 and batch["x"][changed].max() <= 1
    assert not torch.equal(changed[:, 0], changed[:, 1])


def test_donors_boxes_show_the_other_crop(build, scans):
    method, batch = made(build, scans)
    batch["donor"] = torch.tensor([[0.3, 0.0], [0.0, 0.3], [0.99, 0.0], [0.0, 0.6]])
    cut, hole = method.cut(batch).unflatten(0, (4, 2)), batch["hole"]
    for i, j, other in ((0, 0, 1), (1, 1, 1), (2, 0, 3), (3, 1, 2)):
        where = hole[i, j].expand_as(cut[i, j])
        assert torch.equal(cut[i, j][where], batch["y"][other, j][where])
        assert torch.equal(cut[i, j][~where], batch["x"][i, j][~where])


@pytest.mark.parametrize(
    ("weights", "heads"),
    [((1, 0, 0), {"turn"}), ((0, 1, 0), {"embedding"}), ((0, 0, 1), {"image"})],
)
def test_each_weight_trains_its_own_head(build, scans, weights, heads):
    names = ("turn_weight", "contrast_weight", "image_weight")
    method, batch = made(build, scans, dict(zip(names, map(float, weights), strict=True)))
    terms = method.loss(batch)
    assert terms["total"].item() == pytest.approx(
        terms[("turn", "contrast", "image")[weights.index(1)]].item()
    )
    terms["total"].backward()
    trained = {
        n for n, h in method.heads.named_children() if any(p.grad.any() for p in h.parameters())
    }
    assert trained == heads and any(p.grad.any() for p in method.encoder.parameters())


def test_uniform_logits_equal_embeddings_and_a_black_image(build, scans):
    method, batch = made(build, scans)
    for head in (method.heads.turn, method.heads.embedding, method.heads.image.out):
        torch.nn.init.zeros_(head.weight), torch.nn.init.ones_(head.bias)
    torch.nn.init.zeros_(method.heads.image.out.bias)
    terms = method.loss(batch)
    assert terms["turn"].item() == pytest.approx(1.386294, abs=1e-5)  # ln 4
    assert terms["contrast"].item() == pytest.approx(1.945910, abs=1e-5)  # ln (2 x 4 - 1)
    assert terms["image"].item() == pytest.approx(batch["y"].abs().mean().item(), rel=1e-5)


def test_errors_may_count_in_what_was_cut_alone(build, scans):
    method, batch = made(build, scans, {"image_on": "cut", "donors": False})
    x, y = batch["x"], batch["y"]
    assert method.loss(batch)["copied"].item() == pytest.approx(
        (x - y)[x != y].abs().mean().item(), rel=1e-5
    )


def test_refuses_crops_that_a_turn_would_change(build):
    params = build("swin_unetr_ssl").params
    with pytest.raises(BenchError, match="about z changes the shape"):
        params.check((32, 48, 32), None)
    params.check((32, 32, 48), None)


def test_turns_are_those_of_the_flat_ones():
    x = torch.randn(4, 1, 6, 6, 2)
    assert torch.equal(augment.rot90(x, torch.arange(4))[1], x[1].rot90(1, (1, 2)))
