"""Fine-tuning moves an image and its label alike, and draws the same whatever is switched on."""

import torch

from bench.augment import finetune_views
from bench.protocol import Augment


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def labelled(n=16, shape=(6, 6, 4)):
    label = torch.randint(0, 5, (n, *shape), generator=generator(9), dtype=torch.uint8)
    return label[:, None].float(), label


def test_image_and_label_move_together():
    image, label = labelled()
    for shape in ((6, 6, 4), (6, 4, 4), (6, 6, 1)):
        image, label = labelled(shape=shape)
        moved, its = finetune_views(image, label, Augment(flip=0.5, rot90=0.5), generator())
        assert torch.equal(moved[:, 0], its.float()) and its.dtype == torch.uint8
        assert not torch.equal(its, label)


def test_a_class_stays_and_the_image_is_moved_as_beside_a_map():
    image, label = labelled()
    settings = Augment(flip=0.5, rot90=0.5, shift=0.5)
    beside, _ = finetune_views(image, label, settings, generator())
    classes = torch.arange(len(image))
    moved, its = finetune_views(image, classes, settings, generator())
    assert torch.equal(its, classes) and torch.equal(moved, beside)


def test_intensities_change_and_labels_do_not():
    image, label = labelled()
    moved, its = finetune_views(image, label, Augment(scale=1.0, shift=1.0), generator())
    assert torch.equal(its, label)
    assert (moved - image).abs().max() <= 0.1 * 4 + 0.1 + 1e-5
    assert (moved != image).flatten(1).any(1).all()


def test_nothing_switched_on_changes_nothing():
    image, label = labelled()
    moved, its = finetune_views(image, label, Augment(), generator())
    assert torch.equal(moved, image) and torch.equal(its, label)


def test_switching_one_step_off_leaves_the_other_draws():
    image, label = labelled()
    both, _ = finetune_views(image, label, Augment(flip=1.0, shift=1.0), generator())
    one, _ = finetune_views(image, label, Augment(shift=1.0), generator())
    assert torch.equal(both, one.flip(2, 3, 4))
