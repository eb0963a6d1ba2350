"""VoCo: what the five variants score, where their gradients go, and that they learn."""

import math

import numpy as np
import pytest
import torch
from small_methods import Gives, batch_of, build, raw_of, read, train, view, volumes

from bench.data.reader import Volume
from bench.method import Owned
from bench.pretext import losses

VARIANTS = ("paper", "v1", "ema", "v2", "nnssl")
PLAIN = {"flip": 0.0, "rot90": 0.0, "shift": 0.0}


def test_larger_input_crops_are_resized_to_the_networks_view():
    method = build("voco", {"input_crop": [24, 24, 24], **PLAIN})
    raw = raw_of(method, 2)
    bases = raw["boxes"][:, 2:]
    assert bases.shape[-3:] == (24, 24, 24)
    seen = view(method, raw)
    assert seen["bases"].shape[-3:] == (16, 16, 16)
    corners = bases[..., ::23, ::23, ::23]  # aligned corners keep the corner voxels
    assert torch.allclose(seen["bases"][..., ::15, ::15, ::15], corners, atol=1e-5)


def test_crops_are_augmented_one_by_one_and_targets_are_not():
    method = build("voco", {"flip": 0.5})
    raw = raw_of(method, 2)
    seen = view(method, raw)
    same = (seen["bases"] == raw["boxes"][:, 2:]).flatten(2).all(2)
    assert same.sum() < same.numel() / 2  # each stays with probability 1/8
    assert torch.equal(seen["target"], raw["target"])
    plain = build("voco", PLAIN)
    assert torch.equal(view(plain, raw)["crops"], raw["boxes"][:, :2])


def test_views_are_made_in_the_memory_of_a_batch_that_is_let_go():
    for name, key, made in (("voco", "boxes", "crops"), ("simclr3d", "pair", "views")):
        method = build(name)
        raw = raw_of(method, 2)
        kept = view(method, raw)[made]
        used = view(method, Owned(raw))[made]
        assert used.data_ptr() == raw[key].data_ptr() != kept.data_ptr() and torch.equal(used, kept)


def embedded(method):
    """Let the method embed its two volumes as fixed positive vectors, and return those."""
    crops = torch.rand(2, 2, 8, requires_grad=True)
    bases = torch.rand(2, 4, 8, requires_grad=True)
    method._embed = lambda *_: (crops, bases)
    return crops, bases


@pytest.mark.parametrize("variant", ["paper", "v1", "nnssl"])
def test_bases_receive_no_gradient_from_the_prediction(variant):
    method = build("voco", {"variant": variant, "use_reg": False})
    batch = batch_of(method, 2)
    crops, bases = embedded(method)
    method.loss(batch)["total"].backward()
    assert bases.grad is None and crops.grad.abs().sum() > 0


def test_bases_receive_gradient_from_the_teachers_crops():
    method = build("voco", {"variant": "ema", "use_reg": False})
    batch = batch_of(method, 2)
    crops, bases = embedded(method)
    method.loss(batch)["total"].backward()
    assert bases.grad.abs().sum() > 0 and crops.grad.abs().sum() > 0


def test_a_crop_with_negative_cosines_is_dead_only_when_rectified():
    for rectify in (True, False):
        method = build("voco", {"use_reg": False, "rectify": rectify})
        batch = batch_of(method, 2)
        crops, bases = embedded(method)
        method._embed = lambda *_, c=crops, b=bases: (-c, b)  # all cosines negative
        terms = method.loss(batch)
        terms["total"].backward()
        assert terms["alive"] == 0
        assert bool(crops.grad.any()) is not rectify


def test_the_teacher_starts_on_its_own_or_as_a_copy():
    own = build("voco", {"variant": "ema"})
    copied = build("voco", {"variant": "ema", "teacher": "copy"})

    def equal(method):
        fast, slow = method.encoder.state_dict(), method.slow.encoder.state_dict()
        return all(torch.allclose(fast[k], slow[k], atol=1e-6) for k in fast)

    assert equal(copied) and not equal(own)


@pytest.mark.parametrize(
    ("variant", "furthest"), [("paper", 48), ("v1", 47), ("ema", 47), ("v2", 47), ("nnssl", 48)]
)
def test_released_code_never_draws_the_last_position(variant, furthest):
    ramp = np.broadcast_to(np.arange(64, dtype=np.float32)[None, :, None, None], (1, 64, 32, 16))
    method = build("voco", {"variant": variant, "grid": (4, 2, 1), "crops": 500})
    crops = read(method, [Volume(ramp)])["boxes"][:, :500]
    assert crops.amin(dim=(2, 3, 4, 5)).max() == furthest


@pytest.mark.parametrize(
    ("variant", "share"), [("v1", 0.5), ("ema", 0.75), ("v2", 0.75), ("nnssl", 0.75)]
)
def test_all_but_the_first_release_weigh_pairs_by_their_overlap(variant, share):
    # overlaps .75 and .25, cosines .25 and .25: the first pair costs ln 2, the second nothing
    method = build("voco", {"variant": variant})
    logits, target = torch.tensor([[[0.25, 0.25]]]), torch.tensor([[[0.75, 0.25]]])
    pos = method._prediction(logits, target)["pos"].item()
    assert pos == pytest.approx(share * math.log(2), abs=1e-5)


def test_redundancy_follows_the_variant_unless_it_is_overruled():
    bases = torch.tensor([[[1.0, 0.0], [-0.5, 0.75**0.5]]])  # one pair, cosine -1/2
    expected = {"paper": 0.5, "v1": 0.0, "ema": 0.0, "v2": 0.0, "nnssl": 0.0}
    for variant, value in expected.items():
        method = build("voco", {"variant": variant})
        assert method._redundancy(bases).item() == pytest.approx(value, abs=1e-6)
    for variant, value in [("ema", 0.25), ("nnssl", 0.5)]:  # squared or not
        overruled = build("voco", {"variant": variant, "reg_rectify": "abs"})
        assert overruled._redundancy(bases).item() == pytest.approx(value, abs=1e-6)


def sides(crops, bases):
    return tuple(torch.tensor(rows).double() for rows in (crops, bases))


def test_a_crop_is_told_by_its_slow_copy_where_it_lies_in_the_next_scan():
    method = build("voco", {"variant": "v2"})
    crops = [[[1.0, 0.0]], [[0.0, 1.0]]]
    fast = sides(crops, [[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [0.6, 0.8]]])
    slow = sides(crops, [[[1.0, 0.0], [0.0, 1.0]], [[0.5, 0.75**0.5], [-1.0, 0.0]]])
    # the first: cosines 0 and .6 where the slow ones are .5 and below 0; the second: 0 and 1 in both
    expected = (math.log(2) + math.log(2.5)) / 2
    assert method._inter(fast, slow).item() == pytest.approx(expected, abs=1e-5)


def test_dropped_crops_are_zeros_to_the_student_and_whole_to_its_slow_copy():
    method = build("voco", {"variant": "v2", "dropout": 0.5})
    batch = batch_of(method, 2)
    kept, m = batch["kept"], batch["crops"].shape[1]
    assert kept.shape == (2, m + 4) and kept.any() and not kept.all()
    seen = {}

    def noted(name):
        return Gives(lambda x: seen.setdefault(name, x)[:, :8])

    method.projector, method.slow.projector = noted("student"), noted("teacher")
    batch["crops"].requires_grad_()
    method.loss(batch)["total"].backward()
    rows = torch.cat([kept[:, :m].flatten(), kept[:, m:].flatten()])
    assert torch.allclose(seen["student"], 2 * seen["teacher"] * rows[:, None])
    assert torch.equal(batch["crops"].grad.flatten(2).any(2), kept[:, :m])


def test_as_many_crops_are_dropped_as_is_said_and_only_by_the_one_that_drops():
    method = build("voco", {"variant": "v2", "crops": 400, "dropout": 0.3, **PLAIN})
    assert batch_of(method, 2)["kept"].float().mean().item() == pytest.approx(0.7, abs=0.06)
    assert batch_of(build("voco", {"variant": "v2", "dropout": 0.0}), 2)["kept"].all()
    for variant in set(VARIANTS) - {"v2"}:
        assert "kept" not in batch_of(build("voco", {"variant": variant}), 2)


def test_the_slow_projector_of_v2_reads_what_the_students_encoder_says():
    method = build("voco", {"variant": "v2", "export": "teacher"})
    assert {k.split(".")[0] for k in method.slow.state_dict()} == {"projector"}
    state = method.encoder.state_dict()
    assert all(torch.equal(v, state[k[8:]]) for k, v in method.transfer().items())
    fast, slow = (side.projector[0].weight for side in (method, method.slow))
    assert not torch.allclose(fast, slow, atol=1e-3)
    copied = build("voco", {"variant": "v2", "teacher": "copy"})
    assert torch.allclose(copied.projector[0].weight, copied.slow.projector[0].weight)


@pytest.mark.parametrize(
    ("params", "maps"),
    [
        *(({"variant": variant}, "last") for variant in ("paper", "v1", "ema")),
        *(({"variant": variant}, "all") for variant in ("v2", "nnssl")),
        ({"variant": "nnssl", "pool": "last"}, "last"),
        ({"pool": "all"}, "all"),
    ],
)
def test_the_projector_reads_the_last_map_or_all(params, maps):
    method = build("voco", params)
    widths = method.encoder.widths
    assert method.projector[0].in_features == (widths[-1] if maps == "last" else sum(widths))
    x = torch.rand(2, 3, 1, 16, 16, 16)
    pooled = method._pooled(method.encoder, {"crops": x[:, :1], "bases": x[:, 1:]})
    rows = torch.cat([x[:, :1].flatten(0, 1), x[:, 1:].flatten(0, 1)])
    assert torch.allclose(pooled[:, -widths[-1] :], method.encoder.embed(rows), atol=1e-6)


def test_the_projector_of_nnssl_normalises_each_crop_by_itself():
    for variant in VARIANTS:
        head = build("voco", {"variant": variant}).projector
        x = torch.randn(6, head[0].in_features)
        assert torch.allclose(head(x)[:2], head(x[:2]), atol=1e-5) is (variant == "nnssl"), variant


def test_bases_can_lie_above_each_other():
    method = build("voco", {"grid": (4, 4, 2), "crops": 50, **PLAIN})
    assert method.params.crops_per_sample == 32 + 50
    x, y, z = np.meshgrid(*map(np.arange, (64, 64, 32)), indexing="ij")
    seen = view(method, read(method, [Volume(v[None].astype(np.float32)) for v in (x, y, z)]))
    corners = seen["bases"].amin(dim=(2, 3, 4, 5)).long() // 16
    i, j, k = corners.tolist()
    assert [(a * 4 + b) * 2 + c for a, b, c in zip(i, j, k, strict=True)] == list(range(32))
    # what a crop has of the lower bases, from where it begins along z
    begins, lower = seen["crops"][2].amin(dim=(1, 2, 3, 4)), seen["target"][2][:, ::2].sum(1)
    assert torch.allclose(lower, 1 - begins / 16) and begins.unique().numel() > 8
    assert torch.isfinite(method.loss(seen)["total"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variant", "correlation"),
    [("paper", 0.5), ("v1", 0.25), ("ema", 0.25), ("v2", 0.25), ("nnssl", 0.25)],
)
def test_places_crops_of_unseen_scans(variant, correlation):
    # scans share a smooth template, so that a place can be recognised
    made = volumes(20, (64, 64, 16))
    params = {"variant": variant, "grid": (4, 4, 1), "hidden": 256, "out": 256, "crops": 4}
    method = build("voco", {**params, **PLAIN})
    train(method, made[:16], 150 if variant == "paper" else 60, 1e-3, 2)
    logits, target = placed(method, made[16:])
    both = torch.stack([logits.flatten(), target.flatten()])
    assert torch.corrcoef(both)[0, 1] > correlation
    if variant == "paper":  # better than the dead state, the best of all constants
        value = losses.overlap_entropy(logits, target, 1e-6)
        assert value < 0.0888
        assert value < 0.9 * losses.overlap_entropy(0 * logits, target, 1e-6)


def placed(method, scans):
    """Return the cosines of random crops to bases, and their true overlaps."""
    logits, target = [], []
    with torch.no_grad():
        for seed in range(1000, 1006):
            batch = view(method, read(method, scans, seed))
            crops, bases = method._embed(method, batch)
            logits.append(losses.cosines(crops, bases).relu())
            target.append(batch["target"])
    return torch.cat(logits), torch.cat(target)
