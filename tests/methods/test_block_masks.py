"""Methods that hide blocks of a crop from a U-Net: what is hidden, what reaches what, errors by hand."""

import pytest
import torch
from seeded import generator
from small_methods import batch_of, build, functions_of, parts, reached
from torch import nn
from torch.nn import functional

from bench import nets, registry
from bench.errors import BenchError
from bench.pretext.block_mask import HidesBlocks, hidden_voxels
from bench.pretext.visible_cells import Visible, seen_alone

METHODS = ("mae_cnn3d", "spark3d")
# all but the first have a decoder that reads the image
FAMILIES = ("unet3d", "taleb_unet3d", "swin_unetr", "unetr")
CONVOLUTIONAL = ("unet3d", "genesis_unet3d", "segresnet", "resenc_unet", "taleb_unet3d")


def hidden_of(method, batch):
    """Return the hidden voxels of each crop, (B, 1, X, Y, Z)."""
    return hidden_voxels(batch["hidden"], method.params.block, batch["crop"].shape[2:])


def predicted(method, batch):
    """Return the image that a method makes of a batch."""
    if hasattr(method, "predict"):
        return method.predict(batch)
    return method.decoder(*method.maps(batch))


def once(encoder, x):
    """Return an encoder's maps, what its dropout leaves out drawn from one seed."""
    torch.manual_seed(3)
    return encoder(x)


def test_so_many_whole_blocks_are_hidden_counted_along_z_first():
    shown = hidden_voxels(torch.tensor([[0, 4]]), 2, (4, 4, 6))
    expected = torch.zeros(1, 1, 4, 4, 6, dtype=torch.bool)
    expected[0, 0, :2, :2, :2] = expected[0, 0, :2, 2:, 2:4] = True  # of 2 x 2 x 3 blocks
    assert torch.equal(shown, expected)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(("ratio", "count"), [(0.75, 6), (0.7, 5), (0.2, 1)])  # of 8, rounded down
def test_the_ratio_rounds_down_and_every_sample_has_its_own_blocks(name, ratio, count):
    method = build(name, {"mask_ratio": ratio})
    batch = batch_of(method)
    voxels = hidden_of(method, batch).flatten(1).sum(1)
    assert voxels.tolist() == [count * 8**3] * 4
    assert len({tuple(sorted(row)) for row in batch["hidden"].tolist()}) > 1


def rebuilding():
    """Return each method that rebuilds what it hid, with one network of each family that it trains."""
    found = []
    for name in registry.names("method"):
        cls = registry.load("method", name)
        given = [{"skips": skips} for skips in (False, True)] if name == "amaes" else [{}]
        if hasattr(cls, "predict") or issubclass(cls.Params, HidesBlocks):
            found += [(name, n, p) for n in FAMILIES if n in cls.networks() for p in given]
    return found


@pytest.mark.parametrize(("name", "network", "params"), rebuilding())
def test_hidden_voxels_reach_the_target_and_not_the_prediction(name, network, params):
    method = build(name, params, network=nets.network(network, "tiny", 1, 1, (32, 32, 32)))
    method.eval()  # no dropout
    batch = batch_of(method)
    side = getattr(method.params, "block", 16)
    hidden = hidden_voxels(batch["hidden"], side, batch["crop"].shape[2:])
    images = batch.keys() & {"crop", "spoilt"}

    def given(where):
        return batch | {key: torch.where(where, 5.0, batch[key]) for key in images}

    before = predicted(method, batch)
    assert torch.equal(predicted(method, given(hidden)), before)
    assert not torch.equal(predicted(method, given(~hidden)), before)
    assert method.loss(given(hidden))["total"] != method.loss(batch)["total"]


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("kind", ["mse", "l1"])
def test_the_error_is_of_hidden_voxels_alone_and_flat_is_their_blocks_own_mean(name, kind):
    method = build(name, {"loss": kind})
    batch = batch_of(method)
    crop, hidden = batch["crop"], hidden_of(method, batch)
    measure = functional.mse_loss if kind == "mse" else functional.l1_loss
    means = functional.avg_pool3d(crop, 8).repeat_interleave(8, 2)
    means = means.repeat_interleave(8, 3).repeat_interleave(8, 4)
    terms, image = method.loss(batch), predicted(method, batch)
    assert terms["total"].item() == pytest.approx(measure(image[hidden], crop[hidden]).item())
    assert terms["flat"].item() == pytest.approx(measure(means[hidden], crop[hidden]).item())


@pytest.mark.parametrize("name", METHODS)
def test_encoder_and_decoder_are_trained_through_the_skips(name):
    method = build(name)
    method.loss(batch_of(method))["total"].backward()
    assert {"encoder", "decoder"} <= reached(method)
    first = dict(method.encoder.named_parameters())["conv_0.conv_1.conv.weight"]
    # the finest map reaches the prediction past the bottleneck, too
    method.zero_grad()
    features = method.encoder(batch_of(method)["crop"])
    coarse = [m.detach() if i else m for i, m in enumerate(features)]
    method.decoder(batch_of(method)["crop"], coarse).sum().backward()
    assert first.grad.abs().sum() > 0


def test_spark_refuses_layers_that_see_everything():
    for name in ("unetr", "swin_unetr"):
        network = nets.network(name, "tiny", 1, 1, (32, 32, 32))
        with pytest.raises(BenchError, match=r"layers that see hidden cells .*LayerNorm"):
            build("spark3d", network=network)
        assert name not in registry.load("method", "spark3d").networks()


def test_spark_trains_every_network_that_it_says_it_does():
    cls = registry.load("method", "spark3d")
    assert {"unet3d", "genesis_unet3d", "resenc_unet", "segresnet"} <= set(cls.networks())
    for name in cls.networks():
        with torch.device("meta"):
            cls(nets.network(name, "tiny", 1, 1), cls.Params())


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_no_layer_of_the_encoder_sees_a_hidden_cell(name):
    """Whatever stands in hidden blocks, all maps are the same, and 0 where all is hidden."""
    torch.manual_seed(0)
    encoder = nets.network(name, "tiny", 1, 2, (64, 64, 64)).encoder
    blocks = torch.zeros(2, 1, 4, 4, 4, dtype=torch.bool)
    for row, at in enumerate(torch.rand(2, 64, generator=generator(1)).argsort(1)[:, :16]):
        blocks[row].view(-1)[at] = True
    visible = Visible(blocks, 16)
    mask = visible.of((64, 64, 64))
    x = torch.randn(2, 1, 64, 64, 64, generator=generator(2))
    with torch.no_grad():
        dense = once(encoder, x)
        with seen_alone(encoder, visible):
            maps = encoder(x * mask)
        again = once(encoder, x)
    for m in maps:
        hidden = ~visible.of(m.shape[2:])
        assert (m * hidden == 0).all()
        assert hidden.any() == (m.shape[2] >= 4)
    assert all(
        torch.allclose(a, b) for a, b in zip(dense, again, strict=True)
    )  # nothing stays behind
    assert not torch.allclose(maps[0], dense[0])


@pytest.mark.parametrize(
    "norm",
    [nn.InstanceNorm3d(4, affine=True), nn.GroupNorm(2, 4), nn.BatchNorm3d(4)],
    ids=lambda norm: type(norm).__name__,
)
def test_a_norm_takes_its_statistics_over_visible_cells(norm):
    x = 3 + 2 * torch.randn(2, 4, 4, 4, 4, generator=generator(0), dtype=torch.float64)
    norm.double().train()
    nn.init.uniform_(norm.weight)
    nn.init.uniform_(norm.bias)
    blocks = torch.zeros(2, 1, 2, 2, 2, dtype=torch.bool)
    blocks[0, 0, 0, 1, 1] = blocks[1, 0, 1, 0, 0] = True
    visible = Visible(blocks, 1)
    with seen_alone(norm, visible):
        y = norm(x)
    cells = torch.stack([x[0, :, :2, 2:, 2:], x[1, :, 2:, :2, :2]]).flatten(2)  # (2, 4, 8)
    groups = {"InstanceNorm3d": (2, 4, 1), "GroupNorm": (2, 2, 2), "BatchNorm3d": (1, 4, 2)}
    b, g, _ = groups[type(norm).__name__]
    if b == 1:
        mean = cells.mean((0, 2), keepdim=True)
        var = cells.var((0, 2), correction=0, keepdim=True)
    else:
        rows = cells.reshape(2, g, -1)
        mean = rows.mean(2).repeat_interleave(4 // g, 1)[..., None]
        var = rows.var(2, correction=0).repeat_interleave(4 // g, 1)[..., None]
    expected = (cells - mean) / (var + norm.eps).sqrt() * norm.weight[:, None] + norm.bias[:, None]
    shown = torch.stack([y[0, :, :2, 2:, 2:], y[1, :, 2:, :2, :2]]).flatten(2)
    assert torch.allclose(shown, expected)
    assert (y * ~visible.of((4, 4, 4)) == 0).all()
    if b == 1:
        assert torch.allclose(norm.running_mean, 0.1 * cells.mean((0, 2)))


def test_a_token_fills_what_is_hidden_and_the_finest_map_is_not_projected():
    method = build("spark3d")
    batch = batch_of(method)
    for fill in method.fillers:
        nn.init.constant_(fill.token, 7.0)
    hidden = hidden_of(method, batch)
    seen, maps = method.maps(batch)
    assert (seen[hidden] == 0).all() and torch.equal(seen[~hidden], batch["crop"][~hidden])
    finest = maps[0].movedim(1, -1)
    assert (finest[hidden[:, 0]] == 7).all() and not (finest[~hidden[:, 0]] == 7).all()
    kinds = [type(fill.project) for fill in method.fillers]
    assert kinds == [nn.Identity, *[nn.Conv3d] * (len(kinds) - 1)]
    visible = finest[~hidden[:, 0]].view(4, -1, finest.shape[-1])  # normed over visible cells
    assert torch.allclose(visible.mean(1), torch.zeros(()), atol=1e-5)
    assert torch.allclose(visible.var(1, correction=0), torch.ones(()), atol=1e-2)


def test_tokens_alone_fill_the_sparse_maps_as_they_are_and_none_leaves_them():
    given = {kind: build("spark3d", {"densify": kind}) for kind in ("tokens", "none")}
    batch = batch_of(given["none"])
    (_, filled), (_, sparse) = (method.maps(batch) for method in given.values())
    assert not given["none"].fillers and len(given["tokens"].fillers) == len(filled)
    for a, b, fill in zip(filled, sparse, given["tokens"].fillers, strict=True):
        hidden = torch.zeros_like(a, dtype=torch.bool)
        if a.shape[2] >= 2:
            step = a.shape[2] // 2
            blocks = hidden_of(given["none"], batch)[..., ::8, ::8, ::8]
            for axis in (2, 3, 4):
                blocks = blocks.repeat_interleave(step, axis)
            hidden = blocks.expand_as(a)
        token = fill.token.view(1, -1, 1, 1, 1).expand_as(a)
        assert torch.equal(a, torch.where(hidden, token, b))


def test_the_released_encoder_sees_hidden_voxels_by_its_first_convolution():
    method = build("spark3d", {"hide_input": False})
    batch = batch_of(method)
    other = {**batch, "crop": torch.where(hidden_of(method, batch), 5.0, batch["crop"])}
    assert not torch.equal(predicted(method, other), predicted(method, batch))


def test_amaes_rebuilds_the_crop_as_it_was_from_the_bottleneck_alone():
    method = build("amaes", {"block": 4})
    batch = batch_of(method)
    assert batch["hidden"].shape == (4, int(0.6 * 64))
    hidden = hidden_of(method, batch)
    image, terms = method.predict(batch), method.loss(batch)
    assert terms["total"].item() == pytest.approx(functional.mse_loss(image, batch["crop"]).item())
    mine = functional.mse_loss(image[hidden], batch["crop"][hidden])
    assert terms["hidden"].item() == pytest.approx(mine.item())
    only = build("amaes", {"block": 4, "masked_only": True}).loss(batch)
    assert only["total"].item() == pytest.approx(mine.item())
    other = {**batch, "spoilt": torch.where(hidden, 5.0, batch["spoilt"])}
    assert torch.equal(method.predict(other), image)
    maps = method.encoder(torch.where(hidden, 0.0, batch["spoilt"]))
    empty = [torch.zeros_like(m) for m in maps[:-1]]
    alone = method.decoder(torch.zeros_like(batch["crop"]), [*empty, maps[-1]])
    assert torch.equal(image, alone)
    skipping = build("amaes", {"block": 4, "skips": True}).predict(batch)
    assert not torch.equal(image, skipping)
    assert parts(method.transfer()) == {"encoder"}


def test_what_amaes_gets_without_learning_by_hand():
    x = torch.arange(64.0).view(1, 1, 4, 4, 4)
    hidden = torch.ones(1, 1, 4, 4, 4, dtype=torch.bool)
    hidden[0, 0, :2, :2, :2] = hidden[0, 0, 2:, 2:, 2:] = False
    flat, filled = functions_of("amaes").guesses(x, hidden, 2)
    assert torch.allclose(flat, torch.tensor(31.5))  # blocks of mean 10.5 and 52.5
    assert torch.allclose(filled, torch.tensor(31.5))  # all 27 around hold both
    long = torch.cat([x, x + 100, x + 200, x + 300], 2)
    hidden = torch.ones(1, 1, 16, 4, 4, dtype=torch.bool)
    hidden[0, 0, :2, :2, :2] = hidden[0, 0, 6:8, :2, :2] = False
    flat, filled = functions_of("amaes").guesses(long, hidden, 2)
    assert torch.allclose(flat, torch.tensor((10.5 + 142.5) / 2))
    blocks = filled[0, 0, ::2, 0, 0].tolist()
    assert blocks == pytest.approx([10.5, 10.5, 142.5, 142.5, 142.5, 76.5, 76.5, 76.5])


def test_amaes_spoils_as_often_as_asked_and_within_the_range_of_each_crop(monkeypatch):
    effects = ("noise", "blur", "product", "ghosting", "ringing", "lowres", "bias", "gamma")
    x = batch_of(build("amaes"), 8)["crop"]
    off = {**dict.fromkeys(effects, 0.0), "blur_sigma": (0.5, 1.0)}
    assert torch.equal(build("amaes", off).params.spoilt(x, None, generator(0)), x)
    for name in effects:
        params = build("amaes", {**off, name: 1.0, "lowres_axis": 1.0}).params
        y = params.spoilt(x, None, generator(0))
        assert ((y - x).flatten(1).abs().amax(1) > 0).all(), name
        assert (y.flatten(1).amax(1) <= x.flatten(1).amax(1) + 1e-6).all(), name
        assert (y.flatten(1).amin(1) >= x.flatten(1).amin(1) - 1e-6).all(), name
    seen, params = [], build("amaes", {**off, "ringing": 1.0}).params
    monkeypatch.setattr(functions_of("amaes"), "ringing", lambda y, n, at: seen.extend(n) or y)
    params.spoilt(torch.zeros(300, 1, 12, 12, 12), None, generator(0))
    assert {int(n) for n in seen} == {9, 10, 11, 12} and len(seen) == 300  # 3/4 to all
    halved = build("amaes", {**off, "bias": 0.5}).params.spoilt(
        x.repeat(25, 1, 1, 1, 1), None, generator(0)
    )
    changed = (halved != x.repeat(25, 1, 1, 1, 1)).flatten(1).any(1).float().mean()
    assert 0.35 < changed < 0.65
