"""MoCo v3: values by hand, published heads, who gets gradient, the frozen patch embedding, the slow copy."""

import pytest
import torch
from small_methods import batch_of, build, raw_of
from torch import nn

from bench import nets, registry


def test_each_view_asks_for_the_keys_of_the_other():
    method = build("mocov3", {"predictor": False})
    batch = batch_of(method)
    crossed = {"views": batch["views"].clone()}
    crossed["views"][:, 1] = batch["views"][:, 0]
    assert method.loss(crossed)["retrieval"] == 1  # the copies are equal, and so are the views
    crossed["views"][:, 1] = batch["views"][:, 0].roll(1, 0)  # its key is the next scan's now
    assert method.loss(crossed)["retrieval"] == 0


@pytest.mark.parametrize("name", ["unetr", "primus", "spectre_vit", "swin_unetr", "unet3d"])
@pytest.mark.parametrize("frozen", [True, False])
def test_the_patch_embedding_stays_random_where_asked(frozen, name):
    network = nets.network(name, "tiny", 1, 2, (32, 32, 32))
    method = build("mocov3", {"stop_grad_patch_embed": frozen}, network=network)
    method.loss(batch_of(method, 3))["total"].backward()
    layer = method.encoder.input_weight.removesuffix("weight")
    for key, p in method.encoder.named_parameters():
        still = frozen and name != "unet3d" and key in (layer + "weight", layer + "bias")
        assert p.requires_grad is not still and (p.grad is None) is still, key
    assert layer + "weight" in dict(method.encoder.named_parameters())


@pytest.mark.parametrize(
    ("heads", "width", "projector"), [("vit", 768, 20_987_904), ("resnet", 2048, 9_445_376)]
)
def test_published_heads(heads, width, projector):
    cls = registry.load("method", "mocov3")
    with torch.device("meta"):
        network = nets.network("unet3d", "tiny", 1, 2)
        network.encoder.widths = (width,)
        method = cls(network, cls.Params(heads=heads))
    assert sum(p.numel() for p in method.projector.parameters()) == projector
    assert sum(p.numel() for p in method.predictor.parameters()) == 2_105_344
    assert not any(m.bias is not None for m in method.modules() if isinstance(m, nn.Linear))
    last = [method.projector[-1], method.predictor[-1]]
    plain = [isinstance(m, nn.BatchNorm1d) and not m.affine for m in last]
    assert plain == [True, heads == "vit"]


def test_boxes_share_half_of_the_smaller_one():
    method = build("mocov3")
    raw = raw_of(method, 8)
    low = torch.maximum(raw["start"][:, 0], raw["start"][:, 1])
    high = torch.minimum(*(raw["start"] + raw["size"]).unbind(1))
    shared = (high - low).clamp_min(0).prod(1) / raw["size"].prod(2).amin(1)
    assert shared.min() >= 0.5
