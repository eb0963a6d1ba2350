"""Fine-tuning moves an image and its label alike, and draws the same whatever is switched on."""

import pytest
import torch
from seeded import generator

from bench import augment
from bench.augment import finetune_views
from bench.protocol import Augment
from bench.random import torch_generator

WHOLE = {
    "flip": 0.5,
    "rotate": 0.2,
    "zoom": 0.2,
    "noise": 0.1,
    "blur": 0.2,
    "brightness": 0.15,
    "contrast": 0.15,
    "lowres": 0.25,
    "gamma_inverted": 0.1,
    "gamma": 0.3,
    "channel": 0.5,
    "balanced": True,
}
OFTEN = {
    **WHOLE,
    **{k: 0.7 for k, v in WHOLE.items() if v is not True},
    **dict.fromkeys(("rot90", "scale", "shift"), 0.7),
}
STORED = [7.422421, 16.124569, 15.958549]  # of commit 48164c1, which had these four steps alone
STORED_LABELS = [
    [7, 6, 5, 4, 3, 2, 1, 0],
    [15, 14, 13, 12, 11, 10, 9, 8],
    [16, 17, 18, 19, 20, 21, 22, 23],
]
SHAPES = ((8, 8, 6), (12, 12, 2), (9, 7, 1))


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


def test_nothing_switched_on_changes_nothing():
    image, label = labelled()
    moved, its = finetune_views(image, label, Augment(), generator())
    assert torch.equal(moved, image) and torch.equal(its, label)


def test_stored_draws_of_the_four_first_steps():
    image = torch.arange(24.0).view(3, 1, 2, 2, 2)
    label = image[:, 0].to(torch.uint8)
    moved, its = finetune_views(
        image, label, Augment(flip=0.5, rot90=0.4, scale=0.6, shift=0.5), generator(3)
    )
    assert its.flatten(1).tolist() == STORED_LABELS
    assert torch.allclose(moved[:, 0, 0, 0, 0], torch.tensor(STORED), atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("label_type", [torch.uint8, torch.int64])
def test_the_whole_set_keeps_shapes_and_types_and_labels(shape, label_type):
    image, label = labelled(shape=shape)
    image, label = image.expand(-1, 3, -1, -1, -1).contiguous(), label.to(label_type)
    before = image.clone(), label.clone()
    moved, its = finetune_views(image, label, Augment(**OFTEN), generator())
    assert moved.shape == image.shape and moved.dtype == image.dtype and moved.isfinite().all()
    assert its.shape == label.shape and its.dtype == label_type
    assert set(its.unique().tolist()) <= set(label.unique().tolist()) | {0}
    assert torch.equal(image, before[0]) and torch.equal(label, before[1])  # the batch itself stays


@pytest.mark.parametrize("settings", [WHOLE, OFTEN])
def test_micro_batches_make_up_the_batch(settings):
    image, label = labelled(8, (8, 8, 6))
    whole, its = finetune_views(
        image, label, Augment(**settings), torch_generator("cpu", 1, "views", 2)
    )
    parts = [
        finetune_views(a, b, Augment(**settings), torch_generator("cpu", 1, "views", 2, (i, 4)))
        for i, (a, b) in enumerate(zip(image.chunk(4), label.chunk(4), strict=True))
    ]
    assert torch.allclose(torch.cat([p[0] for p in parts]), whole, atol=1e-5)
    assert torch.equal(torch.cat([p[1] for p in parts]), its)


@pytest.mark.parametrize("name", sorted(OFTEN.keys() - {"flip", "rot90", "channel", "balanced"}))
def test_switching_an_effect_on_leaves_the_draws_of_the_others(name):
    image, label = labelled(64, (6, 6, 6))
    others = {k: v for k, v in OFTEN.items() if k != name}
    without, its = finetune_views(image, label, Augment(**others), generator())
    beside, same = finetune_views(image, label, Augment(**others, **{name: 0.3}), generator())
    alike = (without == beside).flatten(1).all(1) & (its == same).flatten(1).all(1)
    assert 0.5 < alike.float().mean() < 0.9


def test_what_lies_around_a_crop_is_seen_where_a_view_reaches_out_of_it():
    wide = torch.full((4, 1, 12, 12, 12), 7.0)
    label = torch.full((4, 12, 12, 12), 3, dtype=torch.uint8)
    settings = Augment(rotate=1.0, zoom=1.0, zoom_range=(1.2, 1.2), angle=10, margin=1.5)
    crop = (8, 8, 8)
    assert augment.read_size(crop, settings) == (12, 12, 12)
    moved, its = finetune_views(wide, label, settings, generator(), crop)
    assert moved.shape[2:] == crop and torch.allclose(moved, torch.tensor(7.0)) and its.eq(3).all()
    narrow, beside = finetune_views(
        wide[:, :, 2:10, 2:10, 2:10], label[:, 2:10, 2:10, 2:10], settings, generator()
    )
    assert narrow.eq(0).any() and beside.eq(0).any()
    kept, its = finetune_views(wide.cumsum(2), label, Augment(margin=1.5), generator(), crop)
    assert torch.equal(kept, wide.cumsum(2)[:, :, 2:10, 2:10, 2:10]) and its.shape == (4, *crop)


def test_autocast_changes_nothing():
    image, label = labelled(8, (8, 8, 6))
    plain, its = finetune_views(image, label, Augment(**OFTEN), generator())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast, same = finetune_views(image, label, Augment(**OFTEN), generator())
    assert torch.equal(plain, cast) and torch.equal(its, same)
