"""Weights arrive whole, fitted or not at all, and the receipt says which."""

import json
from dataclasses import replace

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


def circular(net):
    """Let convolutions see no border: then slices that are all equal stay equal in depth."""
    for module in net.modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.Conv3d)):
            module.padding_mode = "circular"
    return net.eval()


@pytest.mark.parametrize("name", ["unet", "taleb_unet"])
def test_a_network_inflated_from_two_dimensions_answers_equal_slices_as_the_slice(name):
    size = "small" if name == "unet" else "base"
    flat = network(f"{name}2d", size, 1, 2, crop=(32, 32, 1))
    deep = network(f"{name}3d", size, 1, 2, crop=(32, 32, 32))
    tensors = dict(flat.state_dict())
    receipt = load(
        deep, tensors, replace(manifest(flat), out_channels=0)
    )  # a fine-tuned one loses its output
    kernels = {k for k, v in tensors.items() if v.ndim == 4}
    assert receipt.share == 1 and {r.name for r in receipt.reshaped} == kernels
    assert {r.how for r in receipt.reshaped} == {"2D to 3D"}
    x = torch.randn(1, 1, 32, 32)
    with torch.no_grad():
        slices = circular(deep)(x[..., None].repeat(1, 1, 1, 1, 32))
        torch.testing.assert_close(
            slices, circular(flat)(x)[..., None].expand_as(slices), rtol=1e-3, atol=1e-4
        )


def test_a_kernel_is_inflated_and_widened_at_once():
    flat, deep = (
        network(f"unet{d}d", "small", c, 2, crop=(32, 32, z)) for d, c, z in [(2, 1, 1), (3, 4, 32)]
    )
    receipt = load(deep, encoder_of(flat), manifest(flat))
    name = "encoder.conv_0.conv_0.conv.weight"
    assert {r.name: r.how for r in receipt.reshaped}[name] == "2D to 3D, input channels"
    expected = encoder_of(flat)[name][..., None].repeat(1, 4, 1, 1, 3) / 12
    torch.testing.assert_close(encoder_of(deep)[name], expected)


def test_weights_of_three_dimensions_or_of_another_size_do_not_fit_into_two():
    for source in (network("unet3d", "small", 1, 2), network("unet3d", "base", 1, 2)):
        with pytest.raises(BenchError, match="do not fit unet2d/small"):
            load(network("unet2d", "small", 1, 2), encoder_of(source), manifest(source))


def test_legacy_merging_does_not_load_into_the_corrected_one():
    # the tensors are alike; the function is not
    target = network("swin_unetr", "base", 1, 2)
    legacy = replace(manifest(target), preset="base_legacy")
    with pytest.raises(BenchError, match="swin_unetr/base_legacy do not fit swin_unetr/base;"):
        load(target, encoder_of(target), legacy)
    assert load(target, encoder_of(target), manifest(target)).share == 1


def test_an_encoder_with_more_than_this_one_has_is_refused_and_changes_nothing():
    target, tensors = built(seed=2), encoder_of(built(seed=1))
    before = snapshot(target)
    with pytest.raises(BenchError, match=r"1 tensors that this one lacks, first 'encoder\.extra\.weight'"):
        load(target, {**tensors, "encoder.extra.weight": torch.ones(2)})
    assert same(snapshot(target), before)


def test_a_decoder_that_reads_the_image_is_widened_too():
    source, target = built("swin_unetr", seed=1), built("swin_unetr", channels=(4, 2), seed=2)
    tensors = {**encoder_of(source)}
    tensors |= {k: v for k, v in source.state_dict().items() if k.startswith("decoder.encoder1.")}
    receipt = load(target, tensors, manifest(source))
    widened = {r.name for r in receipt.reshaped if r.how == "input channels"}
    assert "decoder.encoder1.layer.conv1.conv.weight" in widened
    assert {k for k in widened if k.startswith("decoder.")} == {
        k for k, v in tensors.items() if k.startswith("decoder.") and v.shape[1:2] == (1,)
    }
    x = torch.randn(1, 1, 32, 32, 32)
    with torch.no_grad():
        one, four = source.decoder.encoder1(x), target.decoder.encoder1(x.repeat(1, 4, 1, 1, 1))
    torch.testing.assert_close(one, four, rtol=1e-4, atol=1e-4)
    with pytest.raises(BenchError, match="has shape"):  # without a manifest the channels are not known
        load(target, tensors)


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


@pytest.mark.parametrize("shape", [(8,), (8, 0, 3, 3, 3), ()])
def test_an_input_weight_of_no_such_rank_is_an_error_naming_it(shape):
    tensors = {**encoder_of(built()), "encoder.conv_0.conv_0.conv.weight": torch.ones(shape)}
    with pytest.raises(BenchError, match=r"conv_0\.conv_0\.conv\.weight.* has shape"):
        load(built(), tensors)


def test_a_diverged_pretraining_is_refused():
    tensors = encoder_of(built())
    tensors["encoder.conv_0.conv_0.conv.bias"][0] = float("nan")
    with pytest.raises(BenchError, match=r"conv_0\.conv_0\.conv\.bias.* not finite"):
        load(built(), tensors)


@pytest.mark.parametrize("name", network_names())
@pytest.mark.parametrize(("few", "many"), [(1, 4), (2, 4)])
def test_more_input_channels_respond_alike_where_channels_repeat(name, few, many):
    crop = CATALOG[name].presets["tiny"].crop
    source, target = built(name, crop, (few, 2), 1).eval(), built(name, crop, (many, 2), 2).eval()
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


@pytest.mark.parametrize("name", [n for n in network_names() if "segmentation" in CATALOG[n].tasks])
def test_the_output_layer_of_a_fine_tuned_network_stays_behind(name):
    tuned, other = (network(name, "tiny", 1, n, crop=CATALOG[name].presets["tiny"].crop) for n in (3, 5))
    own = {k: v.clone() for k, v in other.state_dict().items() if k.startswith(other.output)}
    receipt = load(other, dict(tuned.state_dict()), manifest(tuned))
    state = other.state_dict()
    assert own and all(torch.equal(state[k], v) for k, v in own.items())
    assert set(receipt.left_random) == set(own)
    rest = [k for k in state if k not in own]
    assert all(torch.equal(state[k], tuned.state_dict()[k]) for k in rest)
