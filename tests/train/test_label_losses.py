"""The losses of fine-tuning: by hand, by algebra, and as the equations of PGL and nnU-Net print them."""

import math
from functools import partial
from itertools import pairwise

import pytest
import torch
from torch.nn import functional

from bench import distributed
from bench.data.regions import one_hot
from bench.train.label_losses import of_maps, of_regions, over_scales, weights

REGIONS = ((1, 2), (2,))  # an organ and the tumour in it
TABLE = torch.from_numpy(one_hot(REGIONS))
NAMES = ("dice_ce", "dice", "cross_entropy")
HEADS = [(of_maps, 3), (partial(of_regions, table=TABLE), 2)]


def batch(classes, size=(5, 4, 3), samples=3, labels=3, seed=0):
    """Return random logits (B, classes, ...) and labels; in each sample all labels occur."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(samples, classes, *size, generator=generator, dtype=torch.float64)
    label = torch.randint(labels, (samples, *size), generator=generator, dtype=torch.uint8)
    label[:, :labels, 0, 0] = torch.arange(labels, dtype=torch.uint8)
    return logits, label


def as_one(x):
    """Return a batch laid one sample behind the other along x, as one sample."""
    axis = x.ndim - 3
    return torch.cat(list(x), axis - 1)[None]


@pytest.mark.parametrize("background", [True, False])
def test_two_voxels_of_two_classes_by_hand(background):
    dice = 1 - (1 / 1.7 + 1.6 / 2.3) / 2 if background else 1 - 1.6 / 2.3
    chances = torch.tensor([[0.5, 0.2], [0.5, 0.8]], dtype=torch.float64)  # by class and voxel
    logits, label = chances.log()[None, :, :, None, None], torch.tensor([0, 1])[None, :, None, None]
    entropy = -(math.log(0.5) + math.log(0.8)) / 2
    expected = {"dice": dice, "cross_entropy": entropy, "dice_ce": dice + entropy}
    for name in NAMES:
        loss = of_maps(name) if background else of_maps(name, background=False)
        found = loss(logits, label).item()
        assert found == pytest.approx(expected[name], abs=1e-5), name


def test_two_voxels_of_overlapping_regions_by_hand():
    # what the network gives to voxels of label 1 and of label 2
    organ, tumour = ((0.9, 0.6), (0.3, 0.7))
    logits = torch.logit(torch.tensor([organ, tumour], dtype=torch.float64))[None, :, :, None, None]
    label = torch.tensor([1, 2], dtype=torch.uint8)[None, :, None, None]
    # the organ has both, the tumour the second
    dice = 1 - (2 * 1.5 / (1.5 + 2) + 2 * 0.7 / (1.0 + 1)) / 2
    entropy = -sum(map(math.log, (0.9, 0.6, 1 - 0.3, 0.7))) / 4
    expected = {"dice": dice, "cross_entropy": entropy, "dice_ce": dice + entropy}
    for name in NAMES:
        value = of_regions(name, TABLE)(logits, label).item()
        assert value == pytest.approx(expected[name], abs=1e-5), name


def test_one_more_class_that_is_nowhere_is_not_forgiven():
    logits, label = batch(3)
    wider = torch.cat([logits, logits[:, :1]], 1)
    assert of_maps("dice")(wider, label) > of_maps("dice")(logits, label)


@pytest.mark.parametrize(("make", "classes"), HEADS)
@pytest.mark.parametrize("name", ["dice", "dice_ce"])
def test_batch_dice_is_the_dice_of_the_batch_laid_out_as_one_volume(make, classes, name):
    logits, label = batch(classes)
    label[0] = label[0].clamp(max=1)  # one sample lacks a class
    whole = make(name)(as_one(logits), as_one(label))
    assert make(name, batch=True)(logits, label).item() == pytest.approx(whole.item(), rel=1e-6)
    each = [make(name)(x[None], y[None]) for x, y in zip(logits, label, strict=True)]
    apart = torch.stack(each).mean()
    assert make(name)(logits, label).item() == pytest.approx(apart.item(), rel=1e-6)
    assert abs(apart - whole) > 1e-3


@pytest.mark.parametrize(("make", "classes"), HEADS)
@pytest.mark.parametrize("weight", [0.0, 0.0714, 1.0, 3.0])
def test_cross_entropy_is_weighed_beside_dice_and_nowhere_else(make, classes, weight):
    given = batch(classes)
    dice, entropy = make("dice")(*given), make("cross_entropy")(*given)
    found = make("dice_ce", ce_weight=weight)(*given)
    assert found.item() == pytest.approx((dice + weight * entropy).item(), rel=1e-6)
    for name, alone in (("dice", dice), ("cross_entropy", entropy)):
        assert torch.equal(make(name, ce_weight=weight)(*given), alone)


def test_a_region_of_one_label_is_equation_11_of_pgl():
    logits, label = batch(1, labels=2)
    truth, eps = label[:, None].double(), 1e-7  # a smoothing factor, which the paper does not state
    guess = logits.sigmoid()
    over = (1, 2, 3, 4)
    dice = 1 - 2 * (guess * truth).sum(over) / (guess + truth + eps).sum(over)
    entropy = -(truth * guess.log() + (1 - truth) * (1 - guess).log()).mean(over)
    found = of_regions("dice_ce", torch.from_numpy(one_hot([[1]])))(logits, label)
    assert found.item() == pytest.approx((dice + entropy).mean().item(), abs=1e-5)


def test_cross_entropy_weighed_by_one_over_the_classes_is_equation_12_of_pgl():
    classes, eps = 4, 1e-7
    logits, label = batch(classes, labels=classes, samples=1)
    truth, guess = functional.one_hot(label.long(), classes).movedim(-1, 1)[0], logits.softmax(1)[0]
    total = 0.0
    for y, p in zip(truth, guess, strict=True):
        total += 1 - 2 * (p * y).sum() / (p + y + eps).sum() - (y * p.log()).mean()
    found = of_maps("dice_ce", ce_weight=1 / classes)(logits, label)
    assert found.item() == pytest.approx((total / classes).item(), abs=1e-5)


def test_scales_are_weighed_as_nnunet_does_and_the_coarsest_is_left_out():
    assert weights(5) == pytest.approx([8 / 15, 4 / 15, 2 / 15, 1 / 15])
    assert weights(1) == weights(2) == [1.0]
    for scales in range(1, 8):
        found = weights(scales)
        assert sum(found) == pytest.approx(1) and len(found) == max(1, scales - 1)
        assert all(a == pytest.approx(2 * b) for a, b in pairwise(found))


def test_a_coarser_scale_sees_the_nearest_voxel_of_the_label():
    label = torch.arange(4 * 6 * 1, dtype=torch.uint8).reshape(1, 4, 6, 1)
    seen = []

    def loss(logits, smaller):
        seen.append(smaller)
        return logits.mean()

    sizes = [(4, 6, 1), (2, 3, 1), (2, 2, 1), (1, 1, 1)]
    over_scales(loss, [torch.zeros(1, 2, *size) for size in sizes], label)
    assert [tuple(s.shape[1:]) for s in seen] == sizes[:3]
    assert all(s.dtype == torch.uint8 for s in seen)
    assert torch.equal(seen[0], label)
    # Voxel i of n covers [i, i + 1) N / n, whose middle lies in voxel floor((i + 1/2) N / n).
    assert seen[1][0, :, :, 0].tolist() == [[7, 9, 11], [19, 21, 23]]
    assert seen[2][0, :, :, 0].tolist() == [[7, 10], [19, 22]]


def test_the_total_is_the_weighed_sum_and_gradients_reach_every_scale_but_the_coarsest():
    label = batch(3, size=(8, 8, 8), samples=2)[1]
    outputs = [torch.randn(2, 3, n, n, n, requires_grad=True) for n in (8, 4, 2, 1)]
    loss = of_maps("dice_ce", batch=True)
    total = over_scales(loss, outputs, label)
    nearest = [label, label[:, 1::2, 1::2, 1::2], label[:, 2::4, 2::4, 2::4]]
    each = [loss(o, y) for o, y in zip(outputs, nearest, strict=False)]
    assert total.item() == pytest.approx((4 * each[0] + 2 * each[1] + each[2]).item() / 7)
    total.backward()
    assert outputs[-1].grad is None
    for grad in (logits.grad for logits in outputs[:-1]):
        assert torch.isfinite(grad).all() and (grad.abs().amax((0, 2, 3, 4)) > 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_points_to_the_label(name):
    for loss, classes in ((of_maps(name), 3), (of_regions(name, TABLE), 2)):
        logits, label = batch(classes)
        x = logits.clone().requires_grad_()
        before = loss(x, label)
        before.backward()
        assert loss(x - 1e-2 * x.grad / x.grad.norm(), label) < before
        truth = functional.one_hot(label.long(), 3) if classes == 3 else TABLE[label.long()]
        assert (x.grad[truth.movedim(-1, 1) == 1] <= 0).all()  # a right answer is never pushed down


def void_batch(classes, samples=3):
    """Return logits, labels of which some are 255, and both of the labelled voxels alone, a line a sample."""
    logits, label = batch(classes, samples=samples)
    drawn = torch.rand(label.shape, generator=torch.Generator().manual_seed(3))
    label[drawn < torch.tensor([0.2, 0.5, 0.8])[:samples, None, None, None]] = 255
    rows = [(x[:, y != 255], y[y != 255]) for x, y in zip(logits, label, strict=True)]
    alone = [(x[None, :, :, None, None], y[None, :, None, None]) for x, y in rows]
    return logits, label, alone


@pytest.mark.parametrize(("make", "classes"), HEADS)
@pytest.mark.parametrize("name", NAMES)
def test_a_loss_with_void_is_that_of_the_labelled_voxels_alone(make, classes, name):
    logits, label, alone = void_batch(classes)
    together = [torch.cat([pair[part] for pair in alone], 2 - part) for part in (0, 1)]
    entropy = make("cross_entropy")(*together)  # a mean over the labelled voxels of the batch
    for whole in (False, True):
        pairs = [tuple(together)] if whole else alone
        dice = torch.stack([make("dice", batch=whole)(*pair) for pair in pairs]).mean()
        expected = {"dice": dice, "cross_entropy": entropy, "dice_ce": dice + 0.5 * entropy}[name]
        loss = make(name, batch=whole, ce_weight=0.5, ignore=255)
        assert loss(logits, label).item() == pytest.approx(expected.item(), rel=1e-6)
        full = label.masked_fill(label == 255, 0)
        plain = make(name, batch=whole, ce_weight=0.5)(logits, full).item()
        assert loss(logits, full).item() == pytest.approx(plain)


@pytest.mark.parametrize(("make", "classes"), HEADS)
@pytest.mark.parametrize("name", NAMES)
def test_void_voxels_move_nothing_at_any_scale(make, classes, name):
    label = batch(3, size=(8, 8, 8), samples=2)[1]
    label[0, :, :, 3:] = 255
    label[1] = 255  # of this sample nobody labelled anything
    outputs = [torch.randn(2, classes, n, n, n, requires_grad=True) for n in (8, 4, 2)]
    total = over_scales(make(name, ignore=255), outputs, label)
    total.backward()
    for logits, n in zip(outputs[:2], (1, 2), strict=True):
        void = (label if n == 1 else label[:, 1::2, 1::2, 1::2]) == 255
        moved = logits.grad.abs().sum(1)
        assert total.isfinite() and (moved[void] == 0).all() and (moved[~void] > 0).any()
    nothing = over_scales(make(name, ignore=255), outputs, torch.full_like(label, 255))
    assert nothing.item() == pytest.approx(0, abs=1e-5)


def of_the_own_sample():
    logits, label, _ = void_batch(3, samples=2)
    mine = slice(distributed.rank(), distributed.rank() + 1)
    return [of_maps(name, ignore=255)(logits[mine], label[mine]).item() for name in NAMES]


def test_two_processes_have_the_mean_over_the_labelled_voxels_of_both(pair):
    whole = [of_maps(name, ignore=255)(*void_batch(3, samples=2)[:2]).item() for name in NAMES]
    mean = [(a + b) / 2 for a, b in zip(*pair(of_the_own_sample), strict=True)]
    assert mean == pytest.approx(whole)
