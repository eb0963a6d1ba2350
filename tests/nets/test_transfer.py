"""Weights arrive whole, fitted or not at all, and the receipt says which."""

import json
import re
from dataclasses import replace

import pytest
import torch
from built import built, encoder_of
from one_line import refused

from bench.nets import classifier, network, network_names
from bench.nets.catalog import CATALOG
from bench.nets.transfer import Manifest, load, rehearse


def manifest(net):
    return Manifest(net.name, net.preset, net.in_channels, net.out_channels, net.crop)


def snapshot(net):
    return {k: v.clone() for k, v in net.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


POSITIONS = "encoder.vit.patch_embedding.position_embeddings"


@pytest.mark.parametrize(
    ("name", "make"),
    [*((name, network) for name in network_names()), ("unet2d", classifier), ("unetr", classifier)],
)
def test_a_whole_encoder_arrives_and_what_reads_it_stays(name, make):
    source, target = built(name, seed=1).eval(), make(name, "tiny", 1, 3).eval()
    before = snapshot(target)
    receipt = load(target, encoder_of(source), manifest(source))
    assert receipt.share == 1
    assert set(receipt.matched) == set(encoder_of(source))
    assert set(receipt.left_random) == {k for k in before if not k.startswith("encoder.")}
    assert not (receipt.missing or receipt.unexpected or receipt.reshaped)
    assert same(encoder_of(target), encoder_of(source))
    assert all(torch.equal(target.state_dict()[k], before[k]) for k in receipt.left_random)
    x = torch.randn(1, 1, *source.crop)
    with torch.no_grad():
        assert torch.equal(source.encoder.embed(x), target.encoder.embed(x))


KERNEL = "encoder.conv_0.conv_0.conv.weight"
DEEP = "encoder.down_4.convs.conv_1.conv.weight"


@pytest.mark.parametrize(
    ("name", "change", "match"),
    [
        ("unet3d", lambda t: encoder_of(built("unet2d")), "has shape"),
        (
            "unet3d",
            lambda t: {"encoder.extra": torch.ones(2)},
            r"1 .* lacks, first 'encoder\.extra'",
        ),
        ("unet3d", lambda t: {DEEP: t[DEEP][:16]}, r"down_4\.convs\.conv_1.*\(16, .*\(32, "),
        ("unet3d", lambda t: {KERNEL: torch.ones(8)}, "conv_0.* has shape"),
        ("unet3d", lambda t: {KERNEL: torch.ones(8, 0, 3, 3, 3)}, "conv_0.* has shape"),
        ("unet3d", lambda t: {KERNEL: torch.ones(())}, "conv_0.* has shape"),
        ("unet3d", lambda t: {KERNEL: t[KERNEL] * torch.nan}, "conv_0.* not finite"),
        ("unet3d", lambda t: {KERNEL: t[KERNEL].double() * 1e300}, "conv_0.* not finite"),
        ("unetr", lambda t: {POSITIONS: t[POSITIONS][..., :48]}, "positions? .* do not fit"),
        ("unetr", lambda t: {POSITIONS: torch.ones(1, 3, 96)}, "do not fit the patch grid"),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(name, change, match):
    target, tensors = built(name, seed=2), encoder_of(built(name, seed=1))
    before = snapshot(target)
    with refused(match):
        load(target, {**tensors, **change(tensors)})
    assert same(snapshot(target), before)


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
    # fine-tuned, it loses its output
    receipt = load(deep, tensors, replace(manifest(flat), out_channels=0))
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
    flat, deep = network("unet2d", "small", 1, 2), network("unet3d", "small", 4, 2)
    receipt = load(deep, encoder_of(flat), manifest(flat))
    assert {r.name: r.how for r in receipt.reshaped}[KERNEL] == "2D to 3D, input channels"
    expected = encoder_of(flat)[KERNEL][..., None].repeat(1, 4, 1, 1, 3) / 12
    torch.testing.assert_close(encoder_of(deep)[KERNEL], expected)


@pytest.mark.parametrize(
    ("name", "preset", "other"),
    [
        ("unet2d", "small", ("unet3d", "small")),
        ("unet2d", "small", ("unet3d", "base")),
        ("swin_unetr", "base", ("swin_unetr", "base_legacy")),
    ],  # the tensors are alike, the function is not
)
def test_weights_of_more_dimensions_of_another_size_or_function_do_not_fit(name, preset, other):
    target = built(name, preset)
    source = replace(manifest(target), network=other[0], preset=other[1])
    with refused(f"{'/'.join(other)} do not fit {name}/{preset};"):
        load(target, encoder_of(target), source)
    assert load(target, encoder_of(target), manifest(target)).share == 1


def test_a_decoder_that_reads_the_image_is_widened_too():
    source, target = built("swin_unetr", seed=1), built("swin_unetr", channels=(4, 2), seed=2)
    tensors = encoder_of(source)
    tensors |= {k: v for k, v in source.state_dict().items() if k.startswith("decoder.encoder1.")}
    receipt = load(target, tensors, manifest(source))
    widened = {r.name for r in receipt.reshaped if r.how == "input channels"}
    assert "decoder.encoder1.layer.conv1.conv.weight" in widened
    reads = {k for k, v in tensors.items() if k.startswith("decoder.") and v.shape[1:2] == (1,)}
    assert {k for k in widened if k.startswith("decoder.")} == reads
    x = torch.randn(1, 1, 32, 32, 32)
    with torch.no_grad():
        first, four = source.decoder.encoder1(x), target.decoder.encoder1(x.repeat(1, 4, 1, 1, 1))
    torch.testing.assert_close(first, four, rtol=1e-4, atol=1e-4)
    with refused("has shape"):  # without a manifest the channels are not known
        load(target, tensors)


def test_a_rehearsal_gives_the_same_receipt_and_changes_nothing():
    source, target = built("unet3d", seed=1), built("unet3d", seed=2)
    before = snapshot(target)
    receipt = rehearse(encoder_of(source), target)
    assert same(snapshot(target), before)
    assert receipt == load(target, encoder_of(source))


def test_renamed_tensors_are_refused_with_share_and_nearest_name_and_change_nothing():
    source, target = built("unet3d", seed=1), built("unet3d", seed=2)
    renamed = {k.replace("encoder.", "backbone."): v for k, v in encoder_of(source).items()}
    before = snapshot(target)
    with refused() as caught:
        load(target, renamed)
    text = str(caught.value)
    assert "only 0.0 % of the encoder's parameters, 90 % are needed" in text
    assert "first missing 'encoder.conv_0.conv_0.conv.weight'" in text
    assert "nearest name in the file 'backbone.conv_0.conv_0.conv.weight'" in text
    assert same(snapshot(target), before)


def test_the_share_counts_parameters_not_tensors():
    net = built("unet3d")
    tensors = encoder_of(net)
    size, total = tensors.pop(DEEP).numel(), sum(p.numel() for p in net.encoder.parameters())
    receipt = load(built("unet3d", seed=2), tensors, minimum=0.5)
    assert receipt.share == pytest.approx(1 - size / total)
    assert receipt.missing == (DEEP,)
    assert f"{100 * receipt.share:.1f} %" in receipt.line()
    with refused("lacks convolutions of the encoder: 1 of 20 tensors, first"):
        load(built("unet3d", seed=2), tensors)


def test_a_receipts_facts_survive_json():
    source, target = (built("unetr", crop=(n, n, n)) for n in (64, 32))
    facts = load(target, encoder_of(source), manifest(source)).facts()
    assert facts["matched"] == len(encoder_of(source))
    assert facts["reshaped"][0]["name"] == POSITIONS
    assert json.loads(json.dumps(facts))["reshaped"][0]["given"] == [1, 64, 96]


def test_a_decoder_block_that_the_source_has_in_part_counts_as_missing_the_rest():
    source, target = built("unet3d", seed=1), built("unet3d", seed=2)
    tensors = encoder_of(source)
    given = "decoder.upcat_4.upsample.deconv.weight"
    tensors |= {given: source.state_dict()[given].clone(), "head.weight": torch.zeros(3)}
    receipt = load(target, tensors)
    assert receipt.unexpected == ("head.weight",)
    assert torch.equal(target.state_dict()[given], tensors[given])
    assert "decoder.upcat_4.upsample.deconv.bias" in receipt.missing
    assert "decoder.final_conv.weight" in receipt.left_random
    assert set(receipt.matched) | set(receipt.missing) | set(receipt.left_random) == set(
        target.state_dict()
    )


@pytest.mark.parametrize(
    ("name", "few", "many"), [*((name, 1, 4) for name in network_names()), ("unet3d", 2, 4)]
)
def test_more_input_channels_respond_alike_where_channels_repeat(name, few, many):
    crop = CATALOG[name].presets["tiny"].crop
    source, target = (built(name, "tiny", (n, 2), crop, n).eval() for n in (few, many))
    receipt = load(target, encoder_of(source), manifest(source))
    assert {r.how for r in receipt.reshaped} == {"input channels"}
    x = torch.randn(1, few, *crop)
    repeated = x.repeat(1, many // few, 1, 1, 1)
    with torch.no_grad():
        for a, b in zip(source.encoder(x), target.encoder(repeated), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["unet3d", "unetr", "swin_unetr"])
@pytest.mark.parametrize(("given", "needed"), [(4, 1), (2, 3)])
def test_fewer_or_indivisible_input_channels_are_refused(name, given, needed):
    source, target = built(name, channels=(given, 2)), built(name, channels=(needed, 2))
    with refused("has shape"):
        load(target, encoder_of(source), manifest(source))


def ramp(grid):
    """Position embeddings that are linear in the patch centres, which lie at (i + 0.5) / g."""
    axes = [(torch.arange(g) + 0.5) / g for g in grid]
    x, y, z = torch.meshgrid(*axes, indexing="ij")
    values = torch.stack([x, y, z, x + 2 * y - 3 * z], dim=-1).reshape(1, -1, 4)
    return values.repeat(1, 1, 24)  # 96 wide, as the network is


def interpolated(given, needed, tensors=None):
    """Return how positions came from a network of one crop to one of another, and what came."""
    source, target = built("unetr", crop=given, seed=1), built("unetr", crop=needed, seed=2)
    receipt = load(target, {**encoder_of(source), **(tensors or {})}, manifest(source))
    return [r.how for r in receipt.reshaped], encoder_of(target)[POSITIONS]


def test_positions_of_a_linear_ramp_stay_exact_on_half_the_grid_and_inside_a_doubled_one():
    how, result = interpolated((64, 64, 64), (32, 32, 32), {POSITIONS: ramp((4, 4, 4))})
    assert how == ["positions 4x4x4 to 2x2x2"]
    torch.testing.assert_close(result, ramp((2, 2, 2)))
    assert interpolated((64, 64, 32), (64, 32, 64))[0] == ["positions 4x4x2 to 4x2x4"]
    _, result = interpolated((32, 48, 64), (64, 96, 128), {POSITIONS: ramp((2, 3, 4))})
    inner = slice(1, -1)  # beyond the outermost centres interpolation holds the last value
    got, expected = (x.reshape(4, 6, 8, 96)[inner, inner, inner] for x in (result, ramp((4, 6, 8))))
    torch.testing.assert_close(got, expected)


def test_positions_without_a_manifest_lie_on_a_cube():
    cube = encoder_of(built("unetr", crop=(64, 64, 64), seed=1))
    assert (
        load(built("unetr", crop=(32, 32, 32)), cube).reshaped[0].how == "positions 4x4x4 to 2x2x2"
    )


def test_half_precision_tensors_load_into_a_float_network():
    tensors = {k: v.half() for k, v in encoder_of(built("unet3d", seed=1)).items()}
    target = built("unet3d", seed=2)
    load(target, tensors)
    assert encoder_of(target)[KERNEL].dtype == torch.float32
    torch.testing.assert_close(encoder_of(target)[KERNEL], tensors[KERNEL].float())


@pytest.mark.parametrize("name", [n for n in network_names() if "segmentation" in CATALOG[n].tasks])
def test_the_output_layer_of_a_fine_tuned_network_stays_behind(name):
    tuned, other = (
        network(name, "tiny", 1, n, crop=CATALOG[name].presets["tiny"].crop) for n in (3, 5)
    )
    individual = {k: v.clone() for k, v in other.state_dict().items() if k.startswith(other.output)}
    receipt = load(other, dict(tuned.state_dict()), manifest(tuned))
    state = other.state_dict()
    assert individual and all(torch.equal(state[k], v) for k, v in individual.items())
    assert set(receipt.left_random) == set(individual)
    rest = [k for k in state if k not in individual]
    assert all(torch.equal(state[k], tuned.state_dict()[k]) for k in rest)


# Kinds of layers, and stages


def lacking(tensors, pattern):
    return {name: value for name, value in tensors.items() if not re.search(pattern, name)}


GAPS = {  # network, the encoder's keys that do not come: what is said to be lacking
    "attention": ("swin_unetr", r"\.attn\.", "attention"),
    "all norms": ("swin_unetr", r"norm", "norms"),
    "norms of a pyramid": ("unet3d", r"adn|\.N\.", "norms"),
    "statistics": ("genesis_unet3d", r"running_(mean|var)", "norms"),
    "a small stage": ("unet3d", r"encoder\.conv_0\.", "conv_0"),
    "a block": ("unetr", r"vit\.blocks\.2\.", "vit.blocks.2"),
}


@pytest.mark.parametrize(("name", "pattern", "gap"), GAPS.values(), ids=GAPS)
def test_no_kind_of_layer_and_no_stage_is_missing_in_silence(name, pattern, gap):
    target, complete = built(name, seed=2), encoder_of(built(name, seed=1))
    given = lacking(complete, pattern)
    assert 0 < len(given) < len(complete)
    before = snapshot(target)
    with refused(f"checkpoint lacks {re.escape(gap)} of .*lacks: .{re.escape(gap)}]"):
        load(target, given)
    assert same(snapshot(target), before)
    receipt = load(target, given, lacks=[gap])
    assert gap in receipt.gaps and f"without {receipt.gaps[0]}" in receipt.line()
    arrived = {k: v for k, v in target.state_dict().items() if k.startswith("encoder.")}
    assert all(torch.equal(v, (given if k in given else before)[k]) for k, v in arrived.items())
    assert set(receipt.facts()["gaps"]) == set(receipt.gaps)


def test_a_kind_that_no_network_has_is_refused_and_one_that_came_is_no_gap():
    target, complete = built("unet3d", seed=2), encoder_of(built("unet3d", seed=1))
    with refused(r"lacks: 'attention' is no part of .*; choose from convolutions, norms, "):
        load(target, complete, lacks=["attention"])
    assert load(target, complete, lacks=["norms"]).gaps == ()
