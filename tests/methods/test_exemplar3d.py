"""Exemplar networks: roles, heads, whose rows are compared, and what the figure is held against."""

import pytest
import torch
from small_methods import agree, batch_of, build, raw_of, view

from bench.pretext import exemplar
from bench.pretext.losses import nt_xent

NAME = "exemplar3d"


def codes(method, x, role=0):
    return method.code(role, exemplar.vectors(method.encoder, x, method.params.pool))


@pytest.mark.parametrize("roles", ["paper", "code"])
@pytest.mark.parametrize("dist", ["l2", "sq_mean"])
def test_the_loss_is_the_papers_formula_and_an_anchor_is_the_original_or_the_transform(roles, dist):
    method = build(NAME, {"roles": roles, "dist": dist, "margin": 1.0})
    batch = batch_of(method)
    original, changed = (codes(method, batch["views"][:, i]) for i in (0, 1))
    anchor, positive = (original, changed) if roles == "paper" else (changed, original)
    index, _ = exemplar.deranged(torch.arange(4), batch["turn"][0])
    near, far = (exemplar.distance(anchor, z, dist) for z in (positive, original[index]))
    terms = method.loss(batch)
    assert terms["total"].item() == pytest.approx((near - far + 1).relu().mean().item(), rel=1e-4)
    assert terms["accuracy"] == (near < far).float().mean()
    assert terms["near"].item() == pytest.approx(near.mean().item(), rel=1e-4)


def test_views_are_the_crop_and_its_transform():
    method = build(NAME)
    raw = raw_of(method)
    batch = view(method, raw)
    assert batch["views"].shape == (4, 2, 1, 16, 16, 16)
    assert torch.equal(batch["views"][:, 0], raw["crop"])
    assert not torch.equal(batch["views"][:, 1], raw["crop"])
    assert len(set(batch["turn"].tolist())) == 1


def test_a_shared_head_codes_one_image_alike_in_every_role_and_separate_ones_do_not():
    for heads, alike in (("shared", True), ("separate", False)):
        method = build(NAME, {"heads": heads})
        x = raw_of(method)["crop"]
        assert all(
            torch.equal(codes(method, x), codes(method, x, role)) is alike for role in (1, 2)
        )


@pytest.mark.parametrize(
    ("act", "low", "high"), [("linear", -9, 9), ("sigmoid", 0, 1), ("unit", -1, 1)]
)
def test_what_the_head_ends_in_is_a_choice(act, low, high):
    method = build(NAME, {"out_act": act, "pool": "mean"})
    z = codes(method, raw_of(method)["crop"])
    assert z.shape == (4, 32) and low <= z.min() and z.max() <= high
    assert torch.allclose(z.norm(dim=1), torch.ones(4), atol=1e-5) is (act == "unit")


def test_contrast_instead_of_triplets_is_nt_xent_of_the_same_codes():
    method = build(NAME, {"loss": "ntxent", "temperature": 0.2})
    batch = batch_of(method)
    a, b = (codes(method, batch["views"][:, i]) for i in (0, 1))
    agree(method.loss(batch), rel=0.0001, total=nt_xent(a, b, 0.2)[0])


def test_the_chance_beside_the_figure_knows_data_sets_and_intensities():
    method = build(NAME, {"flip": 0.0, "rotate": 0.0, "zoom": 0.0, "colour": 0.0})
    x = torch.arange(4.0).view(4, 1, 1, 1, 1).expand(4, 1, 16, 16, 16)
    assert method.loss(view(method, {"crop": x.clone()}))["chance"] == 1  # brightness tells all
    alike = view(method, {"crop": torch.zeros(4, 1, 16, 16, 16)})
    assert method.loss(alike)["chance"] == 0.5
    sources = {**alike, "origin": torch.arange(4)}
    assert method.loss(sources)["chance"] == 1


def test_negatives_of_the_data_set_stand_beside_the_batch():
    method = build(NAME, {"margin": 1.0})
    batch = batch_of(method)
    other = raw_of(method, seed=5)["crop"]
    terms = method.loss({**batch, "other": other, "other_origin": batch["turn"].long()})
    a, b, c = (codes(method, x) for x in (*batch["views"].unbind(1), other))
    expected = (exemplar.distance(a, b, "l2") - exemplar.distance(a, c, "l2") + 1).relu().mean()
    assert terms["total"].item() == pytest.approx(expected.item(), rel=1e-4)


def test_rows_of_one_case_are_no_negatives_of_each_other():
    method = build(NAME, {"margin": 1.0})
    batch = {**batch_of(method, 3), "case": torch.tensor([4, 4, 9])}
    a, b = (codes(method, batch["views"][:, i]) for i in (0, 1))
    near, far = exemplar.distance(a, b, "l2"), exemplar.distance(a[:2], a[2:], "l2")
    index, _ = exemplar.deranged(batch["case"], batch["turn"][0])
    last = exemplar.distance(a[2:], a[index[2:]], "l2")
    expected = (near - torch.cat([far, last]) + 1).relu().mean().item()
    assert method.loss(batch)["total"].item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("case", "levels", "accuracy", "chance"),
    [
        ([7, 7], [0, 9], 0, 0),  # no triplet
        ([7, 8], [0, 9], 0.5, 1),  # each is unlike the other
        (
            [4, 4, 9],
            [0, 9, 0],
            0.5,
            (0.5 + 1 + 0.5) / 3,
        ),  # the first and the third are each other's, and alike
    ],
)
def test_figure_and_chance_are_of_the_same_triplets(case, levels, accuracy, chance):
    method = build(NAME, {"flip": 0.0, "rotate": 0.0, "zoom": 0.0, "colour": 0.0})
    for p in method.heads.parameters():
        torch.nn.init.zeros_(p)  # all codes alike: ties
    x = torch.tensor(levels).float().view(-1, 1, 1, 1, 1).expand(-1, 1, 16, 16, 16)
    batch = {**view(method, {"crop": x}), "case": torch.tensor(case)}
    batch["turn"] = torch.zeros(len(case))  # the next row, and of its own case the one after
    terms = method.loss(batch)
    assert [terms[k].item() for k in ("accuracy", "chance")] == pytest.approx([accuracy, chance])
