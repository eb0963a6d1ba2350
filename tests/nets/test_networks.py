"""The networks: MONAI's numbers, the declared sizes, and which crops they can read."""

from pathlib import Path

import pytest
import torch
from built import built, count
from monai.networks.nets import UNETR, BasicUNet, SegResNet, SwinUNETR
from one_line import refused
from torch.nn.functional import avg_pool3d, normalize

from bench.errors import BenchError
from bench.nets import classifier, network, network_names, presets
from bench.nets.catalog import (
    CATALOG,
    cells,
    check_batch,
    check_crop,
    check_levels,
    check_task,
    check_view,
    network_facts,
)
from bench.nets.nearest import nearest
from bench.nets.primus import Block, Rotary
from bench.nets.unet import UNetEncoder

SMALLEST = {name: facts.multiple for name, facts in CATALOG.items()}
# one small crop of uneven sides
CROPS = {name: (2 * x, y, z) for name, (x, y, z) in SMALLEST.items()}
DECODED = [name for name in network_names() if "segmentation" in CATALOG[name].tasks]


def groups(number):
    return ("group", {"num_groups": number})


LEAKING = ("leakyrelu", {"negative_slope": 0.1, "inplace": True})
MONAIS = {
    ("unet2d", "tiny"): lambda: BasicUNet(2, 2, 3, (8, 16, 32, 32, 64, 8), norm=groups(4)),
    ("unet3d", "tiny"): lambda: BasicUNet(3, 2, 3, (8, 8, 16, 32, 32, 8), norm=groups(4)),
    ("unetr", "small"): lambda: UNETR(
        2, 3, CROPS["unetr"], 16, 192, 768, 3, proj_type="perceptron"
    ),
    ("swin_unetr", "small"): lambda: SwinUNETR(2, 3, num_heads=(3, 6, 12, 24), feature_size=24),
    ("swin_unetr", "base_v2"): lambda: SwinUNETR(2, 3, feature_size=48, use_v2=True),
    ("segresnet", "tiny"): lambda: SegResNet(
        3, 8, 2, 3, norm=groups(4), blocks_down=(1, 1, 1, 1), act=LEAKING
    ),
    ("segresnet", "small"): lambda: SegResNet(3, 8, 2, 3, norm=groups(8), blocks_down=(1, 2, 2, 4)),
}


@pytest.mark.parametrize(("name", "preset"), MONAIS)
def test_a_seed_gives_monais_weights_and_monais_output(name, preset):
    ours = built(name, preset, (2, 3), CROPS[name], seed=5)
    torch.manual_seed(5)
    theirs = MONAIS[name, preset]()
    x = torch.randn(1, 2, *CROPS[name][: CATALOG[name].dims])
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=1e-6)


def without_values(name):
    """Return the meta device; Swin asks a tensor for its value while it is built, which that has not."""
    return "cpu" if name in ("swin_unetr", "suprem_swin_unetr") else "meta"


VGG = 143_667_240 - 25089 * 4096 - 4097 * 4096 - 4097 * 1000


@pytest.mark.parametrize(
    ("name", "channels", "total", "encoder", "millions"),
    [
        # Table 3 of Zheng et al. prints 22.07, 39.40 and 26.97: binary masks, one channel out
        ("hssl_resnet34", (1, 1), 22_066_881, 21_278_400, 22.07),
        # torchvision's resnet34 without fc; of the unet, three channels in or two out
        ("hssl_resnet34", (3, 1), 22_073_153, 21_284_672, 22.07),
        ("hssl_unet", (1, 1), 39_394_881, 18_849_984, 39.39),
        ("hssl_unet", (3, 1), 39_396_033, 18_851_136, 39.40),
        ("hssl_unet", (1, 2), 39_395_458, 18_849_984, 39.40),
        ("unet3plus", (1, 1), 26_970_625, 18_849_984, 26.97),
        ("unet3plus", (3, 1), 26_971_777, 18_851_136, 26.97),
        ("unet3plus", (1, 2), 26_973_506, 18_849_984, 26.97),
        # 7,978,856 of torchvision's densenet121 less 1,025,000 of its layer to 1000 classes
        ("densenet121", (3, 5), 6_953_856, 6_953_856, 6.95),
        # 143,667,240 of torchvision's vgg19 less its layers of 25,088, 4,096 and 4,096 inputs
        ("vgg19", (3, 5), VGG, 20_024_384, 20.02),
        # PGL prints 48.54 and 2.38 million outside the encoder (section 5.1), not for how many classes
        ("pgl_resnet50", (1, 2), 46_155_072 + 2_379_970, 46_155_072, 48.54),
        ("pgl_resnet50", (1, 14), 46_155_072 + 2_380_366, 46_155_072, 48.54),
        # The authors' class UNet3D(n_class=1), counted
        ("genesis_unet3d", (1, 1), 19_073_665, 7_027_776, 19.07),
        # unet3d.py and unet.py of the authors with the configs' enc_filters of 16, trainable only.
        ("taleb_unet3d", (1, 3), 3_535_440 + 2_112_451, 3_535_440, 5.65),
        ("taleb_unet3d", (4, 4), 3_536_736 + 2_112_468, 3_536_736, 5.65),
        ("taleb_unet2d", (1, 3), 1_180_464 + 763_331, 1_180_464, 1.94),
        ("unetr", (1, 14), 92_784_046, 88_340_736, 92.78),  # known from MONAI, and so Swin's
        ("swin_unetr", (1, 14), 62_187_296, 8_062_002, 62.19),
    ],
)
def test_base_has_the_printed_parameters(name, channels, total, encoder, millions):
    net = built(name, "base", channels, device=without_values(name))
    assert (count(net), count(net.encoder)) == (total, encoder)
    assert round(total / 1e6, 2) == millions


@pytest.mark.parametrize(
    ("preset", "millions"),
    [("small", 14.60), ("base", 58.26), ("large", 440.30), ("huge", 1457.33)],
)
def test_stunets_have_the_printed_parameters_for_105_classes(preset, millions):
    net = built("stunet", preset, (1, 105), device="meta")
    assert round(count(net) / 1e6, 2) == millions


@pytest.mark.parametrize(
    ("preset", "parameters"),
    [("small", 26_657_810), ("base", 99_098_462), ("medium", 153_080_038), ("large", 333_612_854)],
)
def test_primus_has_the_parameters_of_the_authors_library(preset, parameters):
    """dynamic-network-architectures 0.4.4, 160 voxels a side, 14 classes."""
    assert count(built("primus", preset, (1, 14), device="meta")) == parameters


def test_rotary_positions_tell_distances_along_each_axis_and_no_places():
    rotary, (q, k) = Rotary((3, 4, 5), 24), torch.randn(2, 24)

    def product(a, b):
        at = [(i * 4 + j) * 5 + n for i, j, n in (a, b)]
        turned = [rotary(v.expand(1, 1, 60, 24))[0, 0, n] for v, n in zip((q, k), at, strict=True)]
        return float(turned[0] @ turned[1])

    assert product((0, 1, 1), (1, 2, 3)) == pytest.approx(product((1, 0, 0), (2, 1, 2)), abs=1e-4)
    for axis in range(3):
        other = [0, 0, 0]
        other[axis] = 1
        assert product((0, 0, 0), (0, 0, 0)) != pytest.approx(product((0, 0, 0), other), abs=1e-3)


def test_a_sample_skips_blocks_in_training_alone_and_means_stay():
    block, x = Block(12, 2, 0.5), torch.randn(2000, 1, 12)
    rotary = Rotary((1, 1, 1), 6)
    with torch.no_grad():
        whole = block.eval()(x, rotary) - x
        skipped = block.train()._dropped(torch.ones(4000, 1, 1))
    assert set(skipped.flatten().tolist()) == {0.0, 2.0} and abs(skipped.mean() - 1) < 0.1
    assert whole.abs().amin(dim=(1, 2)).min() > 0


@pytest.mark.parametrize("name", network_names())
def test_views_of_other_sizes_are_read_where_the_catalogue_says_so(name):
    facts, device = CATALOG[name], without_values(name)
    twice = tuple(2 * n if n > 1 else 1 for n in facts.multiple)
    encoder = built(name, crop=twice, device=device).encoder
    odd = tuple(n + (n > 1) for n in facts.multiple)
    for size, message in ((odd, ("any",)), (facts.multiple, ("any", "multiples"))):
        x = torch.empty(2, 1, *size, device=device)
        if facts.views in message:
            with torch.no_grad():
                assert all(1 <= n <= 2 for n in encoder(x)[-1].shape[2:])
        else:
            with pytest.raises((RuntimeError, BenchError)):
                encoder(x)


@pytest.mark.parametrize(
    ("name", "view", "says"),
    [
        (
            "taleb_unet3d",
            (31, 39, 39),
            r"patches: \(31, 39, 39\) voxels; its encoder divides .* \(32, 32, 32\)",
        ),
        ("unet2d", (15, 20, 1), "divides the sides"),
        ("resenc_unet", (33, 64, 64), "the sides must be multiples of"),
        ("resenc_unet", (32, 32, 32), "one bottleneck voxel"),
        ("unetr", (16, 16, 16), "reads only crops of its own size; use amaes_unet, .*unet3d$"),
    ],
)
def test_refuses_views_that_the_encoder_cannot_read(name, view, says):
    with refused(says):
        check_view(name, view, "patches")
    check_view("taleb_unet3d", (32, 39, 40), "patches")
    check_view("resenc_unet", (32, 64, 32), "patches")


def test_no_channels_and_no_classes_are_refused():
    with refused("in_channels = 0"):
        network("unet3d", "tiny", 0, 2)
    with refused("0 classes"):
        classifier("unet2d", "tiny", 1, 0)


@pytest.mark.parametrize("name", [name for name in network_names() if name not in DECODED])
def test_a_network_without_decoder_gives_no_label_maps(name):
    with refused(r"cannot be trained for segmentation; use .*unet2d"):
        check_task(name, "segmentation")
    with refused("no decoder"):
        built(name)(torch.zeros(1, 1, 64, 64))


def spread(encoder, x):
    with torch.no_grad():
        unit = normalize(encoder.embed(x), dim=1)
    return float(1 - (unit @ unit.T)[~torch.eye(len(x), dtype=torch.bool)].mean())


def test_group_norm_spreads_averaged_bottlenecks_further_than_instance_norm():
    widths = (16, 16, 32, 64, 128, 16)
    ours = theirs = 0.0
    for seed in range(3):
        torch.manual_seed(seed)
        noise = torch.randn(6, 1, 32, 32, 32)
        x = torch.cat(
            [avg_pool3d(n[None], 2 * (i // 2) + 1, 1, i // 2) for i, n in enumerate(noise)]
        )
        ours += spread(network("unet3d", "small", 1, 2).encoder, x)
        instance = BasicUNet(3, 1, 2, widths, norm="instance")
        theirs += spread(UNetEncoder(instance, widths[:5]), x)
    assert ours > 1.5 * theirs


@pytest.mark.parametrize("name", ["unet3d", "swin_unetr"])
def test_convolutional_inputs_may_differ_from_the_crop(name):
    net = built(name, crop=SMALLEST[name]).eval()
    with torch.no_grad():
        assert tuple(net(torch.zeros(1, 1, 64, 32, 32)).shape) == (1, 2, 64, 32, 32)


def test_unetr_linear_on_patches_plus_positions_is_its_tokens_and_runs_any_of_them_to_its_last_map():
    net = built("unetr", "tiny", (2, 3), (32, 16, 48))
    encoder = net.encoder
    x = torch.randn(2, 2, 32, 16, 48)
    embedding = encoder.vit.patch_embedding
    with torch.no_grad():
        tokens = embedding.patch_embeddings[1](encoder.patchify(x)) + embedding.position_embeddings
        torch.testing.assert_close(encoder.tokens(x), tokens)
        subset = torch.tensor([[4, 1], [0, 5]])
        chosen = tokens[torch.arange(2)[:, None], subset]
        torch.testing.assert_close(encoder.tokens(x, only=subset), chosen)
        torch.testing.assert_close(encoder.run(tokens), encoder(x)[-1].flatten(2).transpose(1, 2))
        assert tuple(encoder.run(tokens[:, [4, 1]]).shape) == (2, 2, encoder.dim)


def test_unetr_refuses_an_input_of_another_size_than_its_positions():
    net = built("unetr", crop=(32, 32, 32))
    with refused(r"built for crops \(32, 32, 32\) .* \(32, 32, 48\)"):
        net(torch.zeros(1, 1, 32, 32, 48))


@pytest.mark.parametrize(
    ("name", "preset", "crop", "message"),
    [
        ("unet3d", "tiny", (32, 40, 32), "side y = 40 must be a multiple of 16; use 32 or 48"),
        ("unetr", "tiny", (32, 32, 8), "side z = 8 must be a multiple of 16; use 16"),
        ("swin_unetr", "tiny", (48, 64, 64), "side x = 48 must be a multiple of 32; use 32 or 64"),
        ("swin_unetr", "base", (32, 32, 32), "instance norm"),
        ("resenc_unet", "base", (32, 32, 32), "instance norm"),
        ("taleb_unet3d", "base", (32, 32, 16), "must be a multiple of 32"),
        ("taleb_unet3d", "base", (32, 32, 48), "must be a multiple of 32"),
        ("unet3d", "tiny", (0, 32, 32), "side x = 0"),
        ("unet2d", "tiny", (32, 40, 1), "side y = 40 must be a multiple of 16; use 32 or 48"),
        ("unet2d", "tiny", (32, 32, 16), r"single slices along z; use \(32, 32, 1\)"),
        ("unet3d", "tiny", (32, 32), "three sides"),
        ("unet4d", "tiny", None, "did you mean 'unet3d'"),
        ("unet3d", "tinny", None, "did you mean 'tiny'"),
    ],
)
def test_what_cannot_be_built_is_refused_in_one_line(name, preset, crop, message):
    with refused(message):
        check_crop(name, preset, crop)
    with refused(message):
        network(name, preset, 1, 2, crop)


def test_swin_refuses_exactly_the_crops_that_instance_norm_cannot_train_on():
    with pytest.raises(ValueError, match="more than 1 spatial element"):
        SwinUNETR(1, 2, feature_size=24)(torch.zeros(2, 1, 32, 32, 32))
    for name in ("swin_unetr", "resenc_unet"):
        assert check_crop(name, "base", (64, 32, 32)) == (64, 32, 32)
        assert check_crop(name, "tiny", (32, 32, 32)) == (32, 32, 32)
    net = built("swin_unetr", "small", crop=(64, 32, 32)).train()
    assert torch.isfinite(net(torch.randn(1, 1, 64, 32, 32))).all()


def test_every_default_crop_can_be_read_and_sizes_grow():
    for name in network_names():
        sizes = [CATALOG[name].presets[p].parameters for p in presets(name)]
        assert sizes == sorted(sizes)
        assert {c.crop[2] == 1 for c in CATALOG[name].presets.values()} == {CATALOG[name].dims == 2}
        assert [check_crop(name, p) for p in presets(name)] == [
            p.crop for p in CATALOG[name].presets.values()
        ]


def test_a_preset_with_fewer_stages_reads_what_these_can_halve():
    net = built("resenc_unet", "small", crop=(16, 8, 8)).train()
    facts = network_facts(net.full_name)
    shapes = [tuple(m.shape[2:]) for m in net.encoder(torch.randn(1, 1, 16, 8, 8))]
    assert (
        shapes
        == cells(net.full_name, (16, 8, 8))
        == [(16 // n, 8 // n, 8 // n) for n in (1, 2, 4, 8)]
    )
    assert len(net.scales(torch.randn(1, 1, 16, 8, 8))) == facts.scales == 3
    assert (
        network_facts("resenc_unet") == network_facts("resenc_unet/base") == CATALOG["resenc_unet"]
    )
    assert nearest("resenc_unet", "small", (36, 50, 37)) == (32, 48, 40)
    for crop, message in (((8, 8, 8), "instance norm"), ((12, 8, 8), "must be a multiple of 8")):
        with refused(message):
            check_crop("resenc_unet", "small", crop)
    with refused("has 4 levels, 0 to 3, and no level 4"):
        check_levels("resenc_unet/small", [4], "levels")


@pytest.mark.parametrize("name", [n for n in network_names() if CATALOG[n].batch_norm])
def test_a_batch_that_batch_norm_cannot_train_on_is_refused_before_it_runs(name):
    lone = CATALOG[name].pyramid[-1]  # a crop of one bottleneck voxel
    with refused("batch norm"):
        check_batch(name, lone, 1)
    check_batch(name, lone, 2)
    check_batch(name, CROPS[name], 1)
    check_batch("unet3d", (16, 16, 16), 1)  # group norm


def test_the_documentation_has_every_size():
    text = (Path(__file__).parents[2] / "docs" / "networks.md").read_text()
    for name, facts in CATALOG.items():
        for key, size in facts.presets.items():
            line = f"| {key} | {size.parameters:,} | {size.encoder_parameters:,} | "
            assert f"{line}{' '.join(map(str, size.crop))} |" in text, (name, key)
