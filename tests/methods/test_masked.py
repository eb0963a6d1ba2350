"""MAE3D and SimMIM: hidden voxels reach the target and not the prediction, and what is trained."""

import pytest
import torch
from small_methods import batch_of, build, read, tiny, view, volumes
from torch.nn import functional

from bench import nets
from bench.errors import BenchError
from bench.nets.base import patchify, unpatchify


def change(batch, patch, index, amount):
    """Return a copy of the batch with one 16^3 patch of sample 0 moved by ``amount``."""
    i, j, k = index // 4 % 2, index // 2 % 2, index % 2
    crop = batch["crop"].clone()
    s = [slice(n * patch, (n + 1) * patch) for n in (i, j, k)]
    crop[0, :, s[0], s[1], s[2]] += amount
    return {**batch, "crop": crop}


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


SIDES = {"unetr": (32, 32, 32), "swin_unetr": (64, 32, 32)}


@pytest.fixture(scope="module")
def scans():
    return volumes(4, (64, 64, 32))


def on(name, params=None):
    torch.manual_seed(0)
    return build("simmim3d", params, network=nets.network(name, "tiny", 1, 2, SIDES[name]))


def moved(batch, unit, index, amount):
    """Return a copy of the batch with one unit of sample 0 moved by ``amount``."""
    crop = batch["crop"].clone()
    cells = patchify(crop, (unit,) * 3)
    cells[0, index] += amount
    return {**batch, "crop": unpatchify(cells, (unit,) * 3, crop.shape)}


@pytest.mark.parametrize(("name", "unit"), [("unetr", 16), ("swin_unetr", 16), ("swin_unetr", 8)])
def test_hidden_voxels_reach_the_target_and_not_the_prediction(scans, name, unit):
    method = on(name, {"unit": unit})
    batch = view(method, read(method, scans))
    units = torch.tensor(SIDES[name]).prod() // unit**3
    assert batch["hidden"].shape == (4, int(0.75 * units))
    before, loss = method.predict(batch), method.loss(batch)["total"]
    hidden = batch["hidden"][0].tolist()
    other = moved(batch, unit, hidden[0], 5.0)
    assert torch.equal(method.predict(other), before) and method.loss(other)["total"] > loss
    visible = next(i for i in range(units) if i not in hidden)
    assert not torch.equal(method.predict(moved(batch, unit, visible, 5.0)), before)


def test_the_vit_sees_a_token_and_a_position_where_a_patch_is_hidden(scans):
    """As ViTSimMIM's forward has it, written out: where, blocks, no last norm, a linear layer."""
    method = on("unetr")
    batch = view(method, read(method, scans))
    vit, hidden = method.encoder.vit, batch["hidden"]
    embedding = vit.patch_embedding
    rows = torch.arange(4)[:, None]
    tokens = embedding.patch_embeddings(batch["crop"]).clone()
    tokens[rows, hidden] = method.mask_token
    tokens = tokens + embedding.position_embeddings
    for block in vit.blocks:
        tokens = block(tokens)
    expected = functional.linear(
        tokens[rows, hidden], method.to_voxels.weight, method.to_voxels.bias
    )
    assert torch.allclose(method.predict(batch), expected, atol=1e-5)


@pytest.mark.parametrize("name", SIDES)
def test_token_and_what_reads_it_get_a_gradient_and_the_last_norm_only_where_asked_for(scans, name):
    for wanted in (False, True):
        method = on(name, {"encoder_norm": wanted})
        method.loss(view(method, read(method, scans)))["total"].backward()
        assert method.mask_token.grad.abs().sum() > 0
        if name == "unetr":
            assert method.encoder.get_parameter(method.encoder.position).grad.abs().sum() > 0
            assert (method.encoder.vit.norm.weight.grad is not None) is wanted
    assert set(method.transfer()) <= {f"encoder.{k}" for k in method.encoder.state_dict()}


def test_a_hook_does_not_outlive_its_forward_pass(scans):
    method = on("swin_unetr")
    x = view(method, read(method, scans))["crop"]
    before = method.encoder(x)[-1]
    method.predict(view(method, read(method, scans)))
    assert torch.equal(method.encoder(x)[-1], before)


@pytest.mark.parametrize(
    ("name", "unit", "says"),
    [("unetr", 8, "cut through patches"), ("swin_unetr", 12, "cannot be divided into units")],
)
def test_refuses_units_that_do_not_fit(name, unit, says):
    with pytest.raises(BenchError, match=says):
        method = on(name, {"unit": unit})
        method.params.check(method.crop_size, None)
