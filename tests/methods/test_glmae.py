"""GL-MAE: what is hidden, what is restored, who is told what by whom."""

import numpy as np
import pytest
import torch
from small_methods import build, read, view, volumes

from bench import registry
from bench.data.reader import Volume

FEW = {"p": 2, "q": 3, "global_crop": (48, 48, 48), "hidden": 32, "out": 16}


@pytest.fixture(scope="module")
def scans():
    return volumes(3, (64, 64, 64))


def made(scans, params=None):
    method = build("glmae", {**FEW, **(params or {})})
    return method, view(method, read(method, scans))


def test_views_have_their_sizes_and_each_its_own_patches_hidden(scans):
    _, batch = made(scans)
    assert batch["global"].shape == (3, 2, 1, 48, 48, 48)
    assert batch["local"].shape == (3, 3, 1, 32, 32, 32)
    assert batch["global_hidden"].shape == (6, 16) and batch["local_hidden"].shape == (9, 4)
    for name in ("global", "local"):
        both = torch.cat([batch[f"{name}_hidden"], batch[f"{name}_visible"]], 1).sort(1).values
        assert torch.equal(both, torch.arange(both.shape[1]).expand_as(both))
    assert len({tuple(row) for row in batch["global_hidden"].sort(1).values.tolist()}) > 1


def test_the_papers_views_have_1000_and_216_patches():
    params = registry.load("method", "glmae").make_params({})
    assert params.wide((96, 96, 96)) == (160, 160, 160)
    batch = {
        "global": torch.zeros(1, 1, 1, 160, 160, 160),
        "local": torch.zeros(1, 1, 1, 96, 96, 96),
    }
    drawn = params.views(batch, (96, 96, 96), torch.Generator())
    assert drawn["global_visible"].shape == (1, 400) and drawn["local_visible"].shape == (1, 87)


@pytest.mark.parametrize("kind", ["isotropic", "per_axis", "volume"])
def test_views_cover_their_share_of_the_volume(kind):
    """On a ramp the range of a view says how much of the axis it covers."""
    ramps = np.stack(np.meshgrid(*[np.linspace(0, 1, n) for n in (120, 90, 60)], indexing="ij"))
    params = registry.load("method", "glmae").make_params({"ratio_of": kind, "q": 40})
    found = params.read(Volume(ramps.astype(np.float32)), (32, 32, 32), np.random.default_rng(0))[
        "local"
    ]
    # centres of the first and the last voxel
    covered = np.ptp(found, axis=(2, 3, 4)) / (1 - 1 / 32)
    share = covered.prod(1) if kind == "volume" else covered
    assert share.min() == pytest.approx(0.25, abs=0.03)
    assert share.max() == pytest.approx(0.5, abs=0.03)
    assert bool(np.ptp(covered, axis=1).max() > 0.05) is (kind == "per_axis")


@pytest.mark.parametrize(("kind", "error"), [("masked", 4.0), ("all", 4.0)])
def test_a_constant_miss_costs_its_square(kind, error):
    method = build("glmae", {**FEW, "recon_on": kind})
    torch.nn.init.zeros_(method.decoder.leave.weight)
    sizes = {"global": (48, 48, 48), "local": (32, 32, 32)}
    raw = {name: torch.full((2, 2, 1, *size), -2.0) for name, size in sizes.items()}
    terms = method.loss(view(method, raw))
    assert terms["local"].item() == terms["global"].item() == error and terms["flat"].item() == 0


def test_eq_3_to_the_letter_divides_by_the_number_of_patches(scans):
    method, batch = made(scans)
    literal, _ = made(scans, {"per_patch": True})
    a, b = method.loss(batch), literal.loss(batch)
    assert (a["local"] / b["local"]).item() == pytest.approx(8, rel=1e-5)
    assert (a["global"] / b["global"]).item() == pytest.approx(27, rel=1e-5)


@pytest.mark.parametrize("seen", [False, True])
def test_the_decoder_reads_the_class_token_only_if_told_to(scans, seen):
    """Eq. 2: y_l = D(Z_l^p), of the outputs of visible patches."""
    method, batch = made(scans, {"decode_class": seen})
    kept = []
    method.decoder.register_forward_pre_hook(lambda _, given: kept.append(given))
    method.loss(batch)
    for encoded, visible, *_ in kept:
        assert encoded.shape[1] == visible.shape[1] + seen
    assert len(kept) == 2


def test_hidden_voxels_of_the_student_are_seen_by_the_teacher_alone(scans):
    method, batch = made(scans)
    x = batch["global"].clone()
    i, j, k = np.unravel_index(batch["global_hidden"][0, 0].item(), (3, 3, 3))
    x[0, 0, :, 16 * i : 16 * i + 16, 16 * j : 16 * j + 16, 16 * k : 16 * k + 16] += 3
    assert torch.equal(
        method._visible({**batch, "global": x}, "global"), method._visible(batch, "global")
    )
    assert not torch.equal(method._taught(x), method._taught(batch["global"]))


def test_slow_copy_and_centre_move_after_the_step(scans):
    method, batch = made(scans)
    method.loss(batch)
    before = method.slow.token.weight.clone()
    with torch.no_grad():
        method.token.weight += 1
    method.after_step(0.0)
    assert torch.allclose(method.slow.token.weight, before + 0.004, atol=1e-6)
    assert method.centre.mean.abs().max() > 0
    moved = method.slow.token.weight.clone()
    method.after_step(1.0)  # the cosine has ended at 1
    assert torch.equal(method.slow.token.weight, moved)


def test_without_a_centre_the_formula_is_the_papers(scans):
    method, batch = made(scans, {"centre": None, "teacher_temperature": 0.1})
    method.centre.mean.fill_(5.0).mul_(torch.arange(16))
    logits = method.slow.projector(
        method._encoded(
            method.slow, method.slow.encoder.tokens(batch["global"].flatten(0, 1), True)
        )[:, 0]
    )
    assert torch.allclose(method._taught(batch["global"]).flatten(0, 1), (logits / 0.1).softmax(1))


def test_fixed_sines_are_handed_over_untrained(scans):
    method, batch = made(scans, {"positions": "sines"})
    method.loss(batch)["total"].backward()
    position = method.encoder.get_parameter(method.encoder.position)
    assert position.grad is None and position[0, 0, :4].tolist() == [0, 0, 0, 0]
    assert not any("token" in k for k in method.transfer())
