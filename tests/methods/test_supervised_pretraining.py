"""Supervised pretraining: soft Dice by hand, whose labels they are, and what is handed over."""

import numpy as np
import pytest
import torch
from torch import nn
from volumes import SHAPE, labelled, read, view, volumes

from bench import registry
from bench.data.reader import Volume


@pytest.fixture(scope="module")
def scans():
    return volumes(4)


@pytest.fixture(scope="module")
def module():
    return registry.load("method", "supervised").loss.__globals__


def certain(label, classes):
    """Return logits whose softmax is 1 at the label's class."""
    return 100.0 * nn.functional.one_hot(label, classes).movedim(-1, 1).float()


def label_of(counts):
    """Return a label map (1, n, 1, 1) with so many voxels of each class."""
    return torch.cat([torch.full((n,), k) for k, n in enumerate(counts)]).view(1, -1, 1, 1)


def test_soft_dice_of_the_label_itself_is_one(module):
    label = label_of((5, 3, 7, 1))
    assert module["soft_dice"](certain(label, 4), label).item() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_soft_dice_of_a_uniform_guess_on_balanced_labels_is_one_over_the_classes(module, classes):
    label = label_of((6,) * classes)
    guess = torch.zeros(1, classes, label.numel(), 1, 1)
    assert module["soft_dice"](guess, label).item() == pytest.approx(1 / classes, abs=1e-5)


def test_soft_dice_of_masks_that_share_nothing_is_almost_nothing(module):
    label = label_of((4, 4))
    assert module["soft_dice"](certain(1 - label, 2), label).item() == pytest.approx(0, abs=1e-5)


def test_soft_dice_is_of_the_batch_as_one_volume_and_counts_absent_classes(module):
    label = torch.tensor([[0, 0, 0, 1], [1, 1, 0, 0]]).view(2, 4, 1, 1)
    p = torch.tensor([[0.9, 0.6, 0.5, 0.2], [0.3, 0.1, 0.8, 0.7]])  # of class 0; class 2 has half the rest
    chances = torch.stack([p, (1 - p) / 2, (1 - p) / 2], 1)[..., None, None]
    s, said, shared = 1e-5, 1 - p, (0.8 + 0.7 + 0.9) / 2
    zero = (2 * (0.9 + 0.6 + 0.5 + 0.8 + 0.7) + s) / (5 + p.sum().item() + s)
    one = (2 * shared + s) / (3 + said.sum().item() / 2 + s)
    two = s / (said.sum().item() / 2 + s)
    found = module["soft_dice"](chances.log(), label).item()
    assert found == pytest.approx((zero + one + two) / 3, abs=1e-6)


def test_total_is_minus_dice_or_entropy_or_both(build, scans):
    methods = {loss: build("supervised", {"loss": loss}) for loss in ("dice", "cross_entropy", "dice_ce")}
    batch = view(methods["dice"], read(methods["dice"], scans))
    terms = {loss: method.loss(batch) for loss, method in methods.items()}
    both = terms["dice_ce"]
    logits = methods["dice"].decoder(batch["crop"], methods["dice"].encoder(batch["crop"]))
    expected = -logits.log_softmax(1).gather(1, batch["label"][:, None]).mean()
    assert both["entropy"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert terms["dice"]["total"] == -both["soft_dice"] and -1 < terms["dice"]["total"] < 0
    assert terms["cross_entropy"]["total"] == both["entropy"]
    assert both["total"].item() == pytest.approx((both["entropy"] - both["soft_dice"]).item())


def test_figure_is_the_hard_dice_of_the_foreground_that_is_there(module):
    label = label_of((4, 2, 2, 0))  # class 3 is nowhere
    said = torch.tensor([0, 0, 0, 1, 1, 1, 0, 3]).view(1, -1, 1, 1)
    found = module["foreground_dice"](certain(said, 4), label)
    assert found["dice"].item() == pytest.approx((2 * 2 / (2 + 3) + 0) / 2)
    assert found["chance"].item() == pytest.approx(2 * (2 / 4) / (2 + 8 / 4))  # both classes: 2 of 8 voxels
    none = module["foreground_dice"](certain(torch.zeros_like(label), 4), torch.zeros_like(label))
    assert none["dice"] == none["chance"] == 0


def test_chance_is_what_random_classes_get(module):
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(0, 20, (2, 40, 40, 10), generator=generator).clamp_max(3)
    said = torch.randint(0, 4, label.shape, generator=generator)
    found = module["foreground_dice"](certain(said, 4), label)
    assert found["dice"].item() == pytest.approx(found["chance"].item(), abs=0.01)


def test_data_sets_have_classes_of_their_own_and_share_the_background(build, scans):
    method = build("supervised")
    raw = read(method, scans)
    raw["first"] = torch.tensor([0, 2, 2, 250])
    label = view(method, raw)["label"]
    assert torch.equal(label == 0, raw["label"] == 0)
    inside = raw["label"] > 0
    assert torch.equal(
        (label - raw["label"].long())[inside], raw["first"].view(-1, 1, 1, 1).expand_as(label)[inside]
    )
    assert label.max() == 252  # does not run over where labels are stored as bytes


def test_own_labels_are_those_of_the_crop(build, scans):
    method = build("supervised")
    raw = read(method, scans)
    expected = np.stack([labelled(c[0]) for c in raw["crop"].numpy()])
    assert np.array_equal(raw["label"].numpy(), expected) and raw["label"].max() == 2


def test_classes_of_intensity_never_ask_for_a_label():
    cls = registry.load("method", "supervised")

    class Secret(Volume):
        def crop_label(self, start, size):
            raise AssertionError("a label was read")

    p = cls.make_params({"labels": "intensity"})
    scan = Secret(volumes(1)[0].whole())
    made = p.read(scan, (16, 16, 16), np.random.default_rng(0))
    assert set(np.unique(made["label"])) == {0, 1, 2, 3} and made["label"].shape == (16, 16, 16)
    assert not p.reads_labels and cls.make_params({}).reads_labels
    means = [made["crop"][0][made["label"] == k].mean() for k in range(4)]
    assert np.all(np.diff(means) > 0)


def test_classes_of_intensity_are_the_volumes_and_not_the_crops():
    cls, scan = registry.load("method", "supervised"), volumes(1)[0]
    p = cls.make_params({"labels": "intensity"})
    whole = p.read(scan, SHAPE, np.random.default_rng(0))
    for seed in range(3):
        part = p.read(scan, (16, 16, 16), np.random.default_rng(seed))
        low = {k: whole["crop"][0][whole["label"] == k].min() for k in range(4)}
        high = {k: whole["crop"][0][whole["label"] == k].max() for k in range(4)}
        for k in np.unique(part["label"]):
            mine = part["crop"][0][part["label"] == k]
            assert low[k] <= mine.min() and mine.max() <= high[k]


def test_classes_to_tell_apart():
    cls = registry.load("method", "supervised")
    assert cls.make_params({}).out_channels(1, 14) == 14
    assert cls.make_params({"labels": "intensity"}).out_channels(2, 1) == 4


def test_pretrains_on_classes_of_intensity(build, scans):
    method = build("supervised", {"labels": "intensity"})
    raw = {k: v for k, v in read(method, scans).items() if k in ("crop", "label")}  # no ``first`` is given
    terms = method.loss(view(method, raw))
    terms["total"].backward()
    assert any(p.grad.abs().sum() > 0 for p in method.encoder.parameters())


def test_image_and_label_are_mirrored_alike(build, scans):
    method = build("supervised", {"flip": 0.5})
    raw = read(method, scans)
    batch = view(method, raw)
    assert not torch.equal(batch["crop"], raw["crop"])
    again = np.stack([labelled(c[0]) for c in batch["crop"].numpy()])
    assert np.array_equal(batch["label"].numpy(), again)
    still = view(build("supervised"), raw)
    assert torch.equal(still["crop"], raw["crop"])


def test_gradient_reaches_encoder_and_decoder_and_both_are_handed_over(build, scans):
    method = build("supervised")
    method.loss(view(method, read(method, scans)))["total"].backward()
    for part in (method.encoder, method.decoder):
        assert all(p.grad is not None for p in part.parameters())
    assert set(method.transfer()) == method.network_keys
    alone = build("supervised", {"load": "encoder"}).transfer()
    assert {k.split(".")[0] for k in alone} == {"encoder"}


@pytest.mark.slow
@pytest.mark.parametrize("labels", ["own", "intensity"])
def test_one_scan_is_learned_by_heart(build, labels):
    scans = volumes(1, shape=(16, 16, 16), sigma=3.0) * 2
    method = build("supervised", {"labels": labels})
    moved = torch.optim.Adam(method.parameters(), 1e-2)
    batch = view(method, read(method, scans))
    before = method.loss(batch)
    for _ in range(80):
        moved.zero_grad()
        terms = method.loss(batch)
        terms["total"].backward()
        moved.step()
    assert terms["dice"] > 0.95 > 0.5 > terms["chance"], terms
    assert before["dice"] < 0.6
