"""Methods with a slow copy: who gets gradient, at which pace it follows, and what is BYOL's own."""

import pytest
import torch
from small_methods import batch_of, build

SLOW = [
    ("byol3d", {}),
    ("mocov3", {}),
    ("moco2d", {"symmetric": True}),
    ("pgl", {}),
    ("voco", {"variant": "ema"}),
    ("voco", {"variant": "v2"}),
]


@pytest.mark.parametrize(("name", "params"), SLOW)
def test_gradient_is_stopped_at_the_slow_copy_even_if_it_asks_for_one(name, params):
    method = build(name, params)
    assert not any(p.requires_grad for p in method.slow.parameters())
    method.slow.requires_grad_(True)
    method.loss(batch_of(method))["total"].backward()
    assert all(p.grad is None for p in method.slow.parameters())
    heads = [method.projector, *(getattr(method, k) for k in ("predictor",) if hasattr(method, k))]
    for part in (method.encoder, *heads):
        assert any(p.grad is not None and p.grad.any() for p in part.parameters())


@pytest.mark.parametrize(
    ("name", "params", "progress", "reached"),
    [
        # tau = .998 half way; 1 in the end: nothing moves any more
        ("byol3d", {}, [0.5, 1.0], [0.002, 0.002]),
        ("mocov3", {}, [0.5, 1.0, 0.0], [0.005, 0.005, 1 - 0.995 * 0.99]),
        ("mocov3", {"momentum_cosine": False}, [1.0, 0.5], [0.01, 1 - 0.99**2]),
        ("moco2d", {}, [0.0, 0.5, 1.0] + 7 * [0.3], [0.001, *[None] * 8, 0.0099551]),
        ("pgl", {}, [0.0, 0.1, 0.2, 1.0], [0.004, 0.0078865, 0.0114760, 0.0114760]),
        ("pgl", {}, [k / 10 for k in range(10)], [0.004, *[None] * 8, 0.0217931]),
        ("voco", {"variant": "ema"}, 10 * [0.0], [0.1, *[None] * 8, 1 - 0.348678]),
        ("voco", {"variant": "v2"}, 10 * [0.0], [0.1, *[None] * 8, 1 - 0.348678]),
    ],
)
def test_the_slow_copy_moves_after_the_step_by_its_momentum(name, params, progress, reached):
    method = build(name, params).double()
    slow = [(k, p) for k, p in method.named_parameters() if k.startswith("slow.")]
    with torch.no_grad():
        for key, p in method.named_parameters():
            p.fill_(not key.startswith("slow."))
    alone = params.get("variant") == "v2"  # its encoder has no slow copy
    assert {k.split(".")[1] for k, _ in slow} == (
        {"projector"} if alone else {"encoder", "projector"}
    )
    for k, expected in zip(progress, reached, strict=True):
        method.after_step(k)
        for key, p in slow if expected is not None else ():
            assert p.mean().item() == pytest.approx(expected, abs=1e-6), key


@pytest.mark.parametrize("name", ["byol3d", "mocov3", "pgl", "vicregl", "simclr2d", "simclr3d"])
@pytest.mark.parametrize("axis", [0, 1])
def test_neither_the_order_of_samples_nor_that_of_their_views_matters(name, axis):
    method = build(name).double()
    kept = ("views", "start", "size", "flipped", "origin")
    batch = {
        k: v.double() if v.is_floating_point() else v
        for k, v in batch_of(method).items()
        if k in kept
    }
    turned = {k: v.flip(axis) if v.ndim > 1 else v for k, v in batch.items()}
    there, back = method.loss(batch)["total"].item(), method.loss(turned)["total"].item()
    assert back == pytest.approx(there, rel=1e-6)


def slow_of(method):
    return {k: v for k, v in method.state_dict().items() if k.startswith("slow.")}


def online_of(method):
    return {k: method.state_dict()[k.removeprefix("slow.")] for k in slow_of(method)}


@pytest.mark.parametrize("export", ["teacher", "student"])
@pytest.mark.parametrize(("name", "params"), [("dinov2_3d", {}), ("voco", {"variant": "ema"})])
def test_the_side_that_is_asked_for_is_handed_over(name, params, export):
    method = build(name, {**params, "export": export})
    with torch.no_grad():
        for weight in method.encoder.parameters():
            weight.add_(1.0)
    side = (method.slow if export == "teacher" else method).encoder.state_dict()
    handed = method.transfer()
    assert {*handed} == {f"encoder.{key}" for key in side}
    assert all(torch.equal(handed[f"encoder.{key}"], value) for key, value in side.items())


def test_the_target_starts_as_a_copy_or_from_numbers_of_its_own():
    copied, random = build("byol3d"), build("byol3d", {"init_target": "random"})
    assert all(torch.equal(v, online_of(copied)[k]) for k, v in slow_of(copied).items())
    online = online_of(random)
    # the online side is the same
    assert all(torch.equal(v, online[k]) for k, v in online_of(copied).items())
    drawn = {k: v for k, v in slow_of(random).items() if v.is_floating_point() and v.std() > 0}
    assert {k.split(".")[1] for k in drawn} == {"encoder", "projector"}
    for key, value in drawn.items():
        assert not torch.equal(value, online[key]), key
    wide = [k for k, v in drawn.items() if v.numel() > 500]
    for key in wide:  # drawn in the same way
        assert drawn[key].std().item() == pytest.approx(online[key].std().item(), rel=0.2), key
    assert wide and not any(p.requires_grad for p in random.slow.parameters())


def test_a_random_target_follows_its_seed_and_ends_at_the_online_side():
    one, same, other = (
        build("byol3d", {"init_target": "random", "tau": 0.0}, s) for s in (0, 0, 1)
    )
    assert all(torch.equal(v, slow_of(same)[k]) for k, v in slow_of(one).items())
    assert not all(torch.equal(v, slow_of(other)[k]) for k, v in slow_of(one).items())
    one.after_step(0.0)  # tau = 0: all of the online side
    slow = dict(one.slow.named_parameters())
    assert all(torch.equal(p, one.get_parameter(k)) for k, p in slow.items())


@pytest.mark.parametrize(
    ("name", "buffers", "mean"),
    [
        ("byol3d", "own", 0.0),
        ("byol3d", "average", 0.004),
        ("byol3d", "copy", 1.0),
        ("pgl", True, 0.004),
    ],
)
def test_running_statistics_of_the_target_by_hand(name, buffers, mean):
    method = build(name, {"ema_buffers": buffers})
    online, slow = method.projector[1], method.slow.projector[1]
    online.running_mean.fill_(1), online.num_batches_tracked.fill_(3)
    method.after_step(0.0)
    assert slow.running_mean.mean().item() == pytest.approx(mean, abs=1e-6)
    assert slow.num_batches_tracked.item() == (3 if buffers == "copy" else 0)


@pytest.mark.parametrize(
    ("name", "buffers"), [("byol3d", "average"), ("byol3d", "copy"), ("pgl", True)]
)
def test_the_target_normalises_by_its_batch_or_by_the_statistics_that_it_is_given(name, buffers):
    own, given = build(name), build(name, {"ema_buffers": buffers})
    batch = batch_of(own)
    for method in (own, given):
        before = method.slow.projector[1].running_mean.clone()
        method.loss(batch)
        assert torch.equal(method.slow.projector[1].running_mean, before) is (method is given)
    assert own.loss(batch)["total"] != given.loss(batch)["total"]


@pytest.mark.parametrize("buffers", ["average", "copy"])
def test_given_statistics_are_the_online_sides_where_the_target_follows_at_once(buffers):
    given = build("byol3d", {"ema_buffers": buffers, "tau": 0.0})
    batch = batch_of(given)
    given.loss(batch)
    given.after_step(0.0)  # tau = 0: the target is the online side, its running statistics included
    x = batch["views"][:, 0]
    expected = given.eval().projector(given.encoder.embed(x))
    given.train().loss(batch)
    assert torch.equal(given.slow.projector(given.slow.encoder.embed(x)), expected)
