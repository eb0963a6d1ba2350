"""Supervised pretraining: soft Dice by hand, whose labels they are, and what is handed over."""

import numpy as np
import pytest
import torch
from small_methods import (
    SHAPE,
    agree,
    batch_of,
    build,
    functions_of,
    labelled,
    raw_of,
    read,
    view,
    volumes,
)
from torch import nn

from bench import registry
from bench.data.reader import Volume
from bench.errors import BenchError
from bench.phantoms.brain import brain

module = functions_of("supervised")


def certain(label, classes):
    """Return logits whose softmax is 1 at the label's class."""
    return 100.0 * nn.functional.one_hot(label, classes).movedim(-1, 1).float()


def label_of(counts):
    """Return a label map (1, n, 1, 1) with so many voxels of each class."""
    return torch.cat([torch.full((n,), k) for k, n in enumerate(counts)]).view(1, -1, 1, 1)


def test_soft_dice_is_of_the_batch_as_one_volume_and_counts_absent_classes():
    label = torch.tensor([[0, 0, 0, 1], [1, 1, 0, 0]]).view(2, 4, 1, 1)
    # of class 0; class 2 has half the rest
    p = torch.tensor([[0.9, 0.6, 0.5, 0.2], [0.3, 0.1, 0.8, 0.7]])
    chances = torch.stack([p, (1 - p) / 2, (1 - p) / 2], 1)[..., None, None]
    s, said, shared = 1e-5, 1 - p, (0.8 + 0.7 + 0.9) / 2
    zero = (2 * (0.9 + 0.6 + 0.5 + 0.8 + 0.7) + s) / (5 + p.sum().item() + s)
    one = (2 * shared + s) / (3 + said.sum().item() / 2 + s)
    two = s / (said.sum().item() / 2 + s)
    found = module.soft_dice(chances.log(), label).item()
    assert found == pytest.approx((zero + one + two) / 3, abs=1e-6)


def test_total_is_minus_dice_or_entropy_or_both():
    names = ("dice", "cross_entropy", "dice_ce")
    methods = {loss: build("supervised", {"loss": loss}) for loss in names}
    batch = batch_of(methods["dice"])
    terms = {loss: method.loss(batch) for loss, method in methods.items()}
    both = terms["dice_ce"]
    logits = methods["dice"].decoder(batch["crop"], methods["dice"].encoder(batch["crop"]))
    expected = -logits.log_softmax(1).gather(1, batch["label"][:, None]).mean()
    assert both["entropy"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert terms["dice"]["total"] == -both["soft_dice"] and -1 < terms["dice"]["total"] < 0
    assert terms["cross_entropy"]["total"] == both["entropy"]
    assert both["total"].item() == pytest.approx((both["entropy"] - both["soft_dice"]).item())


def test_figure_is_the_hard_dice_of_the_foreground_that_is_there():
    label = label_of((4, 2, 2, 0))  # class 3 is nowhere
    said = torch.tensor([0, 0, 0, 1, 1, 1, 0, 3]).view(1, -1, 1, 1)
    found = module.foreground_dice(certain(said, 4), label)
    # both classes: 2 of 8 voxels
    agree(found, dice=(2 * 2 / (2 + 3) + 0) / 2, chance=2 * (2 / 4) / (2 + 8 / 4))
    none = module.foreground_dice(certain(torch.zeros_like(label), 4), torch.zeros_like(label))
    assert none["dice"] == none["chance"] == 0


def test_data_sets_have_classes_of_their_own_and_share_the_background():
    method = build("supervised")
    raw = raw_of(method)
    raw["first"] = torch.tensor([0, 2, 2, 250])
    label = view(method, raw)["label"]
    assert torch.equal(label == 0, raw["label"] == 0)
    inside = raw["label"] > 0
    first = raw["first"].view(-1, 1, 1, 1).expand_as(label)
    assert torch.equal((label - raw["label"].long())[inside], first[inside])
    assert label.max() == 252  # does not run over where labels are stored as bytes


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


def test_image_and_label_are_mirrored_alike():
    method = build("supervised", {"flip": 0.5})
    raw = raw_of(method)
    batch = view(method, raw)
    assert not torch.equal(batch["crop"], raw["crop"])
    again = np.stack([labelled(c[0]) for c in batch["crop"].numpy()])
    assert np.array_equal(batch["label"].numpy(), again)
    still = view(build("supervised"), raw)
    assert torch.equal(still["crop"], raw["crop"])


MEANS = (0.0, 2.0, 5.0, 9.0)


def volume(shape=(24, 20, 12), background=None, seed=0):
    """Return a volume of four classes of intensity by columns along y, and its classes."""
    rng = np.random.default_rng(seed)
    classes = np.broadcast_to((np.arange(shape[1]) % 4)[None, :, None], shape)
    image = np.asarray(MEANS)[classes] + 0.2 * rng.normal(size=shape)
    if background is not None:
        image = np.where(classes == 0, background, image)
    return Volume(image[None].astype(np.float32)), classes


def least(values, classes):
    """Return the least variance within classes by trying every division of the sorted values."""
    values = np.sort(values)
    best = {(0, 0): 0.0}
    for k in range(1, classes + 1):
        for end in range(len(values) + 1):
            tried = [
                best[k - 1, i] + ((values[i:end] - values[i:end].mean()) ** 2).sum()
                if i < end
                else best[k - 1, i]
                for i in range(end + 1)
                if (k - 1, i) in best
            ]
            if tried:
                best[k, end] = min(tried)
    return best[classes, len(values)]


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_thresholds_leave_the_least_variance_within_classes(classes):
    noise = 0.3 * np.random.default_rng(1).normal(size=15)
    values = np.concatenate([m + noise for m in (0, 1, 4, 6)])
    thresholds = module.otsu(values, classes)
    found = np.searchsorted(thresholds, values, side="right")
    within = sum(values[found == k].var() * (found == k).sum() for k in np.unique(found))
    assert len(thresholds) == classes - 1 and np.all(np.diff(thresholds) >= 0)
    # bins are a 128th of the range
    assert within == pytest.approx(least(values, classes), rel=0.02)


@pytest.mark.parametrize("values", [np.zeros(0), np.ones(50), np.array([0.0, 1.0] * 20)])
@pytest.mark.parametrize("divided", [module.otsu, module.mixture])
def test_few_distinct_values_are_no_error(values, divided):
    thresholds = divided(values, 4)
    assert thresholds.shape == (3,) and np.isfinite(thresholds).all()
    apart = np.searchsorted(thresholds, [0.0, 1.0], side="right")
    assert len(np.unique(values)) < 2 or apart[0] < apart[1]


@pytest.mark.parametrize("background", [None, -3.0, 0.0, 5.0])
def test_classes_are_those_that_the_volume_was_made_of(background):
    scan, classes = volume(background=background)
    rule = module.tissue_rule(scan, 0.1)
    found = module.labelled(scan, scan.whole()[0], (0, 0, 0), rule)
    assert rule.background == background
    assert (found == classes).mean() > 0.995
    assert set(np.unique(found)) == {0, 1, 2, 3}


def test_a_value_that_few_voxels_have_is_no_background():
    scan, _ = volume(background=-3.0)  # a quarter of the voxels
    assert module.tissue_rule(scan, 0.2).background == -3.0
    assert module.tissue_rule(scan, 0.3).background is None


def test_what_lies_outside_the_volume_is_background():
    scan, _ = volume(background=5.0)  # padding reads as the lowest value, which is another class
    rule = module.tissue_rule(scan, 0.1)
    start, size = (-4, -2, 6), (10, 30, 16)
    found = module.labelled(scan, scan.crop(start, size)[0], start, rule)
    whole = module.labelled(scan, scan.whole()[0], (0, 0, 0), rule)
    assert np.array_equal(found[4:, 2:22, :6], whole[:6, :, 6:])
    found[4:, 2:22, :6] = 0
    assert not found.any()


def test_large_volumes_are_thinned_and_few_slices_read():
    class Watched:
        shape, read = (1, 600, 500, 40), []

        def __getitem__(self, key):
            self.read.append(key)
            box = [len(range(*s.indices(n))) for s, n in zip(key, self.shape, strict=True)]
            return np.zeros(box, np.float32)

    image = Watched()
    values = module.probe(Volume(image))
    assert len(image.read) == module.SLICES and values.size <= module.SLICES * module.VOXELS
    assert sorted(key[3].start for key in image.read) == [4, 12, 20, 28, 36]


def test_a_named_volume_is_looked_at_once_and_an_unnamed_one_every_time(monkeypatch):
    looked = []
    monkeypatch.setattr(module, "probe", lambda *given: looked.append(1) or np.arange(64.0))
    image = np.zeros((1, 4, 4, 4), np.float32)
    for name, looks in (("a", 1), ("a", 1), ("b", 2), ("", 3), ("", 4)):
        one = Volume(image)
        one.name = name
        module.tissue_rule(one, 0.123)
        assert len(looked) == looks


TISSUES = {1: (1.0, 0.6), 2: (3.0, 0.5), 3: (5.0, 0.35)}  # mean and deviation


def tissues(shares=(0.08, 0.57, 0.35), around=0.4, scale=1.0, shift=0.0):
    """Return a brain of three tissues of such shares, in one value ``around`` it, and the tissues."""
    rng = np.random.default_rng(0)
    label = rng.choice((1, 2, 3), p=shares, size=(32, 32, 20))
    mean, deviation = (np.array([0, *(t[i] for t in TISSUES.values())])[label] for i in (0, 1))
    image = scale * (mean + deviation * rng.normal(size=label.shape)) + shift
    outside = rng.random(label.shape) < around
    image[outside], label[outside] = shift, 0
    return Volume(image[None].astype(np.float32)), label


def dice(found, label):
    pairs = [(found == k, label == k) for k in (1, 2, 3)]
    return [2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in pairs]


def made_of(scan, brain):
    return module.labelled(scan, scan.whole()[0], (0, 0, 0), module.tissue_rule(scan, 0.1, brain))


@pytest.mark.parametrize("around", [0.4, 0.0])
def test_fast_like_classes_are_the_tissues_also_where_one_is_rare(around):
    scan, label = tissues(around=around)
    found = made_of(scan, brain=True)
    assert min(dice(found, label)) > 0.9 and min(dice(found, label)[1:]) > 0.97
    assert np.array_equal(found == 0, label == 0)  # all of a scan without background is brain
    assert np.array_equal(made_of(scan, brain=True), found)
    if around:
        assert np.all(np.array(dice(found, label)) > dice(made_of(scan, brain=False), label))


def test_fast_like_thresholds_lie_where_bayes_has_them():
    (a, s), (b, t) = TISSUES[2], TISSUES[3]
    last = b**2 / t**2 - a**2 / s**2 - 2 * np.log(0.35 / 0.57 * s / t)
    roots = np.roots([1 / t**2 - 1 / s**2, 2 * (a / s**2 - b / t**2), last])
    expected = next(r for r in roots if a < r < b)
    scan, _ = tissues(around=0.0)
    thresholds = module.tissue_rule(scan, 0.1, brain=True).thresholds
    assert thresholds[1] == pytest.approx(expected, abs=0.1)


@pytest.mark.parametrize(("scale", "shift"), [(1000.0, 0.0), (0.01, -3.0), (7.0, 40.0)])
def test_fast_like_classes_do_not_depend_on_the_units_of_intensity(scale, shift):
    units = ({}, {"scale": scale, "shift": shift})
    plain, other = (made_of(tissues(**kw)[0], brain=True) for kw in units)
    assert (plain == other).mean() > 0.999
    image = tissues(scale=scale, shift=shift)[0].whole()[0]
    assert all(image[other == k].max() <= image[other == k + 1].min() for k in (1, 2))


def test_fast_like_tissues_of_a_phantom_brain_are_its_own():
    size = (80, 80, 52)
    made = brain(size, (3, 3, 3), 1, 0, enhancing=None)
    both = np.stack([made.images["flair"], made.images["t1"]]).astype(np.float32)
    p = registry.load("method", "supervised").make_params({"labels": "fast_like", "channel": 1})
    read = p.read(Volume(both), size, np.random.default_rng(0))
    assert min(dice(read["label"], made.tissue)) > 0.95
    part = p.read(Volume(both), (16, 16, 8), np.random.default_rng(0))
    start = Volume(both).random_start((16, 16, 8), np.random.default_rng(0))
    whole = read["label"][tuple(slice(a, a + n) for a, n in zip(start, (16, 16, 8), strict=True))]
    assert np.array_equal(part["label"], whole) and not p.reads_labels and p.out_channels(1, 9) == 4
    with pytest.raises(BenchError, match="channel = 1"):
        p.read(volumes(1)[0], (16, 16, 8), np.random.default_rng(0))


@pytest.mark.slow
@pytest.mark.parametrize("labels", ["own", "intensity"])
def test_one_scan_is_learned_by_heart(labels):
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
