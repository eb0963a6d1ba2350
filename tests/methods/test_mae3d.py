"""MAE3D hides what it says, scores only that, and learns to fill it in."""

import pytest
import torch
from small_methods import batch_of, build, shown, tiny, train, volumes


def change(batch, patch, index, amount):
    """Return a copy of the batch with one 16^3 patch of sample 0 moved by ``amount``."""
    i, j, k = index // 4 % 2, index // 2 % 2, index % 2
    crop = batch["crop"].clone()
    s = [slice(n * patch, (n + 1) * patch) for n in (i, j, k)]
    crop[0, :, s[0], s[1], s[2]] += amount
    return {**batch, "crop": crop}


def test_hidden_voxels_do_not_reach_the_prediction_and_visible_ones_do():
    method = build("mae3d")
    batch = batch_of(method)
    before = method.predict(batch)
    hidden, visible = batch["hidden"][0], batch["visible"][0]
    for index in hidden.tolist():
        assert torch.equal(method.predict(change(batch, 16, index, 5.0)), before)
    for index in visible.tolist():
        assert not torch.equal(method.predict(change(batch, 16, index, 5.0)), before)


def test_a_changed_hidden_patch_changes_the_target():
    method = build("mae3d")
    batch = batch_of(method)
    index = int(batch["hidden"][0, 0])
    assert method.loss(change(batch, 16, index, 5.0))["total"] > method.loss(batch)["total"] + 0.1


def test_the_encoders_last_norm_is_left_out_unless_asked_for():
    for wanted in (False, True):
        method = build("mae3d", {"encoder_norm": wanted})
        method.loss(batch_of(method))["total"].backward()
        grads = [
            p.grad
            for k, p in method.encoder.named_parameters()
            if ".norm." in f".{k}" and k.startswith("vit.norm")
        ]
        assert grads and all((g is not None) is wanted for g in grads)


def test_init_encoder_redraws_linear_layers_as_released():
    network = tiny("tokens")
    before = {k: v.clone() for k, v in network.encoder.state_dict().items()}
    after = build("mae3d", {"init_encoder": True}, network=network).encoder.state_dict()
    key = "vit.blocks.0.mlp.linear1"
    assert not torch.equal(before[f"{key}.weight"], after[f"{key}.weight"])
    assert after[f"{key}.weight"].std().item() == pytest.approx(0.02, rel=0.05)
    assert after[f"{key}.bias"].abs().max() == 0


@pytest.mark.slow
def test_learns_to_beat_the_mean_of_each_hidden_patch():
    # smooth structure at fixed places: visible patches and positions tell what is hidden
    scans, held_out = volumes(24, (32, 32, 32), 3.0, 0.3), volumes(8, (32, 32, 32), 3.0, 0.3, 100)
    method = build("mae3d", {"decoder_dim": 64, "decoder_depth": 2})
    train(method, scans, 300, 2e-3, 8)
    terms = shown(method, held_out, [999])
    assert terms["total"] < 0.8 * terms["flat"]
