"""Weights arrive whole, fitted or not at all, and the receipt says which."""

import json

import pytest
import torch

from bench.errors import BenchError
from bench.nets import classifier, network, network_names
from bench.nets.catalog import CATALOG
from bench.nets.transfer import Manifest, load, rehearse


def built(name="unet3d", crop=None, channels=(1, 2), seed=0):
    torch.manual_seed(seed)
    return network(name, "tiny", *channels, crop=crop)


def encoder_of(net):
    return {f"encoder.{k}": v.clone() for k, v in net.encoder.state_dict().items()}


def manifest(net):
    return Manifest(net.name, net.preset, net.in_channels, net.out_channels, net.crop)


def snapshot(net):
    return {k: v.clone() for k, v in net.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


POSITIONS = "encoder.vit.patch_embedding.position_embeddings"


@pytest.mark.parametrize("name", network_names())
def test_a_whole_encoder_arrives_and_the_decoder_stays(name):
    source, target = built(name, seed=1), built(name, seed=2)
    before = snapshot(target)
    receipt = load(target, encoder_of(source), manifest(source))
    assert receipt.share == 1
    assert set(receipt.matched) == set(encoder_of(source))
    assert set(receipt.left_random) == {k for k in before if k.startswith("decoder.")}
    assert not (receipt.missing or receipt.unexpected or receipt.reshaped)
    assert same(encoder_of(target), encoder_of(source))
    assert all(torch.equal(target.state_dict()[k], before[k]) for k in receipt.left_random)


@pytest.mark.parametrize("name", network_names())
def test_a_classifier_takes_a_pretrained_encoder_and_keeps_its_own_head(name):
    source, target = built(name, seed=1), classifier(name, "tiny", 1, 3)
    before = snapshot(target)
    receipt = load(target, encoder_of(source), manifest(source))
    assert receipt.share == 1 and not (receipt.missing or receipt.unexpected)
    assert set(receipt.left_random) == {"head.weight", "head.bias"}
    assert same(encoder_of(target), encoder_of(source))
    assert torch.equal(target.head.weight, before["head.weight"])


def test_weights_of_two_dimensions_do_not_fit_into_three():
    with pytest.raises(BenchError, match="has shape"):
        load(built("unet3d"), encoder_of(built("unet2d")), minimum=0.1)


def test_a_rehearsal_gives_the_same_receipt_and_changes_nothing():
    source, target = built(seed=1), built(seed=2)
    before = snapshot(target)
    receipt = rehearse(encoder_of(source), target)
    assert same(snapshot(target), before)
    assert receipt == load(target, encoder_of(source))


def test_renamed_tensors_are_refused_with_share_and_nearest_name_and_change_nothing():
    source, target = built(seed=1), built(seed=2)
    renamed = {k.replace("encoder.", "backbone."): v for k, v in encoder_of(source).items()}
    before = snapshot(target)
    with pytest.raises(BenchError) as caught:
        load(target, renamed)
    text = str(caught.value)
    assert "only 0.0 % of the encoder's parameters, 90 % are needed" in text
    assert "first missing 'encoder.conv_0.conv_0.conv.weight'" in text
    assert "nearest name in the file 'backbone.conv_0.conv_0.conv.weight'" in text
    assert "\n" not in text
    assert same(snapshot(target), before)


def test_the_share_counts_parameters_not_tensors():
    net = built()
    tensors = encoder_of(net)
    lost = "encoder.down_4.convs.conv_1.conv.weight"
    size, total = tensors.pop(lost).numel(), sum(p.numel() for p in net.encoder.parameters())
    receipt = load(built(seed=2), tensors, minimum=0.5)
    assert receipt.share == pytest.approx(1 - size / total)
    assert receipt.missing == (lost,)
    assert f"{100 * receipt.share:.1f} %" in receipt.line()
    with pytest.raises(BenchError, match="90 % are needed"):
        load(built(seed=2), tensors)


def test_a_receipts_facts_survive_json():
    source, target = built("unetr", (64, 64, 64)), built("unetr", (32, 32, 32))
    facts = load(target, encoder_of(source), manifest(source)).facts()
    assert facts["matched"] == len(encoder_of(source))
    assert facts["reshaped"][0]["name"] == POSITIONS
    assert json.loads(json.dumps(facts))["reshaped"][0]["given"] == [1, 64, 96]


def test_unexpected_tensors_are_named_and_ignored():
    tensors = {**encoder_of(built()), "head.weight": torch.zeros(3)}
    assert load(built(seed=2), tensors).unexpected == ("head.weight",)


def test_a_decoder_block_that_the_source_has_in_part_counts_as_missing_the_rest():
    source, target = built(seed=1), built(seed=2)
    tensors = encoder_of(source)
    given = "decoder.upcat_4.upsample.deconv.weight"
    tensors[given] = source.state_dict()[given].clone()
    receipt = load(target, tensors)
    assert torch.equal(target.state_dict()[given], tensors[given])
    assert "decoder.upcat_4.upsample.deconv.bias" in receipt.missing
    assert "decoder.final_conv.weight" in receipt.left_random
    assert set(receipt.matched) | set(receipt.missing) | set(receipt.left_random) == set(target.state_dict())


def test_a_wrong_shape_is_an_error_naming_tensor_and_shapes_and_changes_nothing():
    tensors, target = encoder_of(built()), built(seed=2)
    name = "encoder.down_4.convs.conv_1.conv.weight"
    tensors[name] = tensors[name][:16]
    before = snapshot(target)
    with pytest.raises(BenchError, match=r"down_4\.convs\.conv_1\.conv\.weight.*\(16, .*\(32, "):
        load(target, tensors)
    assert same(snapshot(target), before)


def test_a_diverged_pretraining_is_refused():
    tensors = encoder_of(built())
    tensors["encoder.conv_0.conv_0.conv.bias"][0] = float("nan")
    with pytest.raises(BenchError, match=r"conv_0\.conv_0\.conv\.bias.* not finite"):
        load(built(), tensors)


@pytest.mark.parametrize("name", network_names())
@pytest.mark.parametrize(("few", "many"), [(1, 4), (2, 4)])
def test_more_input_channels_respond_alike_where_channels_repeat(name, few, many):
    crop = (32, 32, 1 if CATALOG[name].dims == 2 else 32)
    source, target = built(name, crop, (few, 2), 1), built(name, crop, (many, 2), 2)
    receipt = load(target, encoder_of(source), manifest(source))
    assert [r.how for r in receipt.reshaped] == ["input channels"]
    x = torch.randn(1, few, *crop)
    repeated = x.repeat(1, many // few, 1, 1, 1)
    with torch.no_grad():
        for a, b in zip(source.encoder(x), target.encoder(repeated), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", network_names())
def test_fewer_or_indivisible_input_channels_are_refused(name):
    for given, needed in [(4, 1), (2, 3)]:
        source, target = built(name, channels=(given, 2)), built(name, channels=(needed, 2))
        with pytest.raises(BenchError, match="has shape"):
            load(target, encoder_of(source), manifest(source))


def ramp(grid):
    """Position embeddings that are linear in the patch centres, which lie at (i + 0.5) / g."""
    axes = [(torch.arange(g) + 0.5) / g for g in grid]
    x, y, z = torch.meshgrid(*axes, indexing="ij")
    values = torch.stack([x, y, z, x + 2 * y - 3 * z], dim=-1).reshape(1, -1, 4)
    return values.repeat(1, 1, 24)  # 96 wide, as the network is


def test_positions_of_a_linear_ramp_stay_exact_on_half_the_grid():
    source, target = built("unetr", (64, 64, 64), seed=1), built("unetr", (32, 32, 32), seed=2)
    tensors = {**encoder_of(source), POSITIONS: ramp((4, 4, 4))}
    receipt = load(target, tensors, manifest(source))
    assert [r.how for r in receipt.reshaped] == ["positions 4x4x4 to 2x2x2"]
    torch.testing.assert_close(encoder_of(target)[POSITIONS], ramp((2, 2, 2)))


def test_positions_of_a_linear_ramp_stay_exact_inside_a_doubled_grid():
    source, target = built("unetr", (32, 48, 64), seed=1), built("unetr", (64, 96, 128), seed=2)
    load(target, {**encoder_of(source), POSITIONS: ramp((2, 3, 4))}, manifest(source))
    inner = slice(1, -1)  # beyond the outermost centres interpolation holds the last value
    got = encoder_of(target)[POSITIONS].reshape(4, 6, 8, 96)[inner, inner, inner]
    expected = ramp((4, 6, 8)).reshape(4, 6, 8, 96)[inner, inner, inner]
    torch.testing.assert_close(got, expected)


def test_grids_of_equal_size_and_unequal_sides_are_interpolated_too():
    source, target = built("unetr", (64, 64, 32), seed=1), built("unetr", (64, 32, 64), seed=2)
    tensors = encoder_of(source)
    assert tensors[POSITIONS].shape == encoder_of(target)[POSITIONS].shape
    receipt = load(target, tensors, manifest(source))
    assert [r.how for r in receipt.reshaped] == ["positions 4x4x2 to 4x2x4"]


def test_positions_without_a_manifest_lie_on_a_cube_or_are_refused():
    target = built("unetr", (32, 32, 32), seed=2)
    cube = encoder_of(built("unetr", (64, 64, 64), seed=1))
    assert load(target, cube).reshaped[0].how == "positions 4x4x4 to 2x2x2"
    with pytest.raises(BenchError, match="do not lie on a patch grid"):
        load(target, encoder_of(built("unetr", (64, 64, 32), seed=1)))


def test_positions_of_another_width_are_refused():
    tensors = encoder_of(built("unetr"))
    tensors[POSITIONS] = tensors[POSITIONS][..., :48]
    with pytest.raises(BenchError, match="position embeddings"):
        load(built("unetr"), tensors)


def test_half_precision_tensors_load_into_a_float_network():
    tensors = {k: v.half() for k, v in encoder_of(built(seed=1)).items()}
    target = built(seed=2)
    load(target, tensors)
    key = "conv_0.conv_0.conv.weight"
    loaded = target.encoder.state_dict()[key]
    assert loaded.dtype == torch.float32
    torch.testing.assert_close(loaded, tensors[f"encoder.{key}"].float())
