"""SwinMM: what is hidden, in which views, and which restorations must agree."""

import pytest
import torch
from small_methods import agree, build, read, view, volumes

from bench import nets


@pytest.fixture(scope="module")
def scans():
    return volumes(4, (40, 40, 40))


def made(scans, params=None):
    torch.manual_seed(0)
    network = nets.network("unet3d", "tiny", 1, 2, (32, 32, 32))
    method = build("swinmm", {"unit": 8, **(params or {})}, network=network)
    return method, view(method, read(method, scans))


@pytest.mark.parametrize(
    ("params", "share"),
    [({}, 0.5), ({"mask_ratio": 0.75}, 0.75), ({"mask_ratio": 0.75, "polarity": "code"}, 0.25)],
)
@pytest.mark.parametrize("shared", [True, False])
def test_so_many_units_are_hidden_and_in_all_crops_the_same_ones_or_not(
    scans, params, share, shared
):
    hidden = made(scans, {**params, "shared": shared})[1]["hidden"]
    units = hidden[:, :, :, ::8, ::8, ::8].flatten(2)
    assert torch.equal(units.sum(2), torch.full((4, 2), int(64 * share)))
    assert torch.equal(hidden[:, :, :, 7::8, 7::8, 7::8].flatten(2), units)
    assert (units[0] == units[1]).all().item() is shared
    assert not torch.equal(units[:, 0], units[:, 1])


def test_a_constant_miss_costs_its_square_whatever_is_hidden(scans):
    for ratio in (0.5, 0.75):
        method, batch = made(scans, {"mask_ratio": ratio})
        for head in (method.heads.image.out.weight, method.heads.image.out.bias):
            torch.nn.init.zeros_(head)
        terms = method.loss({**batch, "y": torch.full_like(batch["y"], -2.0)})
        assert (
            terms["image"].item() == pytest.approx(8.0) and terms["mutual"].item() == 0
        )  # 4 in either view


def test_hidden_voxels_reach_no_restoration_and_visible_ones_do(scans):
    method, batch = made(scans)
    seen = []
    method.encoder.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    method.loss(batch)
    method.loss({**batch, "y": torch.where(batch["hidden"], batch["y"] + 5, batch["y"])})
    assert torch.equal(seen[0], seen[1]) and len(seen[0]) == 16  # all four views of a scan at once
    plain, other = seen[0].chunk(2)
    assert (plain == 0).float().mean() == 0.5
    assert torch.equal(method.swapped(other, batch["swap"].flatten()), plain)


def test_views_are_exchanged_alike_in_all_rows_of_a_copy(scans):
    method, batch = made(scans)
    assert (batch["swap"] == batch["swap"][0]).all()
    x = torch.randn(2, 1, 4, 4, 4)
    assert torch.equal(method.swapped(x, torch.tensor([0, 1]))[0], x[0].transpose(1, 2))
    assert torch.equal(method.swapped(x, torch.tensor([0, 1]))[1], x[1].transpose(1, 3))


def test_agreement_moves_both_sides_and_compares_the_first_copys_views(scans):
    method, batch = made(scans, {"turn_weight": 0.0, "contrast_weight": 0.0, "image_weight": 0.0})
    images = []
    method.heads.image.register_forward_hook(
        lambda m, given, image: images.append(image) or image.retain_grad()
    )
    terms = method.loss(batch)
    terms["total"].backward()
    plain, other = images[0].chunk(2)
    back = method.swapped(other, batch["swap"].flatten())
    hidden = batch["hidden"][:, 0]
    expected = ((plain - back)[::2].square() * hidden).mean() / 0.5
    assert terms["total"].item() == pytest.approx(expected.item(), rel=1e-5)
    grads = images[0].grad.flatten(1).abs().sum(1).unflatten(0, (2, 4, 2))
    assert (grads[:, :, 0] > 0).all() and (grads[:, :, 1] == 0).all()


def test_the_second_copy_agrees_with_the_first_once_it_is_turned_alike(scans):
    method, batch = made(scans, {"more_weight": 1.0})
    image = torch.randn(4, 1, 32, 32, 32)
    turned = [
        torch.stack([image[i].rot90(k, (2, 3)) for i, k in enumerate(batch["label"][:, c])])
        for c in (0, 1)
    ]
    plain = torch.stack([turned[0], torch.zeros_like(image)], 1).flatten(0, 1)
    other = torch.stack([torch.zeros_like(image), turned[1]], 1).flatten(0, 1)
    assert method._more(batch, plain, other).item() == 0
    assert method._more(batch, plain + 3, other).item() == pytest.approx(9)  # over what both hide


def test_targets_may_be_normed_over_the_crop(scans):
    method, batch = made(scans, {"norm_image": True, "polarity": "code", "mask_ratio": 0.5})
    for head in (method.heads.image.out.weight, method.heads.image.out.bias):
        torch.nn.init.zeros_(head)
    everywhere = {**batch, "hidden": torch.ones_like(batch["hidden"])}
    # twice variance 1, over .5
    agree(method.loss(everywhere), rel=0.001, image=4.0)
