"""Each public release in the table: its layout is recognised at its size, and gives the authors' maps where
their class is installed.

No file of theirs is here. ``keys_from: class``: the test builds their class. ``definition``: it writes the names
and shapes of their definition; what was compared once by running it stands in docs/networks.md.
"""

import itertools
from pathlib import Path

import pytest
import torch
from built import library
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from monai.networks.nets import SegResNet, SegResNetDS, SwinUNETR
from torch import nn

from bench.cli import main
from bench.errors import BenchError
from bench.nets import foreign_weights, network, public_weights, transfer
from bench.nets.catalog import CATALOG, network_facts
from bench.nets.foreign_layouts import LAYOUTS
from bench.nets.foreign_weights import read_weights
from bench.nets.sizes import AmaesUNetSize, PlainUNetSize, Preset, ResEncSize, SegResNetDSSize

DOCS = Path(__file__).parents[2] / "docs"
HEADS = (3, 6, 12, 24)
WIDTHS, BLOCKS = [32, 64, 128, 256, 320, 320], [1, 3, 4, 6, 6, 6]
THIN = (4, 4, 8, 8, 8, 8)


def under(prefix, state):
    return {prefix + name: value for name, value in state.items()}


def plain(widths=WIDTHS, classes=25):
    """nnU-Net's default network, as its plan for TotalSegmentator builds it."""
    strides, six = [1, *[2] * 5], len(widths)
    return PlainConvUNet(
        1, six, list(widths), nn.Conv3d, [[3] * 3] * six, strides, [2] * six, classes, [2] * 5,
        conv_bias=True, norm_op=nn.InstanceNorm3d, norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU, nonlin_kwargs={"inplace": True},
    )  # fmt: skip


def of_nnunet(state, **extras):
    return {"network_weights": state, **extras}


def swin(v2):
    return SwinUNETR(1, 25, feature_size=48, depths=(2, 2, 2, 2), num_heads=HEADS, use_v2=v2)


def part(net, *names):
    return {k: v for k, v in net.state_dict().items() if k.split(".")[0] in names}


CONVS = ("swinViT", "encoder1", "encoder2", "encoder3", "encoder4", "encoder10")


def conv_and_norm(prefix, inputs, width, norm):
    """Return a convolution of 3^3 with its affine norm, by shapes."""
    shapes = {"conv.weight": (width, inputs, 3, 3, 3), "conv.bias": (width,)}
    shapes |= {f"{norm}.weight": (width,), f"{norm}.bias": (width,)}
    return {prefix + name: torch.zeros(shape) for name, shape in shapes.items()}


def fomo_unet(filters=32):
    """fomo25/baseline-codebase d2df6d4, unet_b_lw_dec: the encoder, and the last of its decoder."""
    state, inputs = {}, 1
    for level, name in enumerate(["in_conv", *(f"encoder_conv{n}" for n in (1, 2, 3, 4))]):
        for number in (1, 2):
            prefix = f"model.encoder.{name}.conv{number}."
            state |= conv_and_norm(prefix, inputs, filters * 2**level, "norm")
            inputs = filters * 2**level
    decoder = conv_and_norm("model.decoder.decoder_conv4.conv1.", filters, filters, "norm")
    return {"state_dict": {**state, **decoder}, "hyper_parameters": {"model_name": "unet_b_lw_dec"}}


def asparagus(widths=tuple(WIDTHS), blocks=tuple(BLOCKS)):
    """Sllambias/gardening_tools 4addbd6, ResidualEncoderUNet: norms under their own name, each block twice."""
    state = {}
    for name, value in library(widths, blocks, (1, 1)).encoder.state_dict().items():
        theirs = name.replace("stem.convs.0.", "stem.conv1.").replace(".norm.", ".norm_op.")
        state[f"model.encoder.{theirs}"] = value
    return {"state_dict": {**state, "model.decoder.out_conv.weight": torch.zeros(1, 32, 1, 1, 1)}}


def spectre(dim=1080, depth=24, heads=12):
    """cclaess/SPECTRE 9260676, VisionTransformer with rotary positions and scaled residuals."""
    shapes = {"cls_token": (1, 1, dim), "patch_embed.proj.weight": (dim, 1, 16, 16, 8)}
    shapes |= {"patch_embed.proj.bias": (dim,), "rope.periods": (dim // heads // 6,)}
    linears = {"attn.q": (dim, dim), "attn.kv": (2 * dim, dim), "attn.proj": (dim, dim)}
    linears |= {"mlp.fc1": (4 * dim, dim), "mlp.fc2": (dim, 4 * dim)}
    for block in range(depth):
        at = f"blocks.{block}."
        shapes |= {f"{at}ls{n}.gamma": (dim,) for n in (1, 2)}
        for name, shape in linears.items():
            shapes |= {f"{at}{name}.weight": shape, f"{at}{name}.bias": shape[:1]}
        for norm, kind in itertools.product((1, 2), ("weight", "bias")):
            shapes[f"{at}norm{norm}.{kind}"] = (dim,)
    shapes |= {"norm.weight": (dim,), "norm.bias": (dim,)}
    return {name: torch.zeros(shape) for name, shape in shapes.items()}


def ours(name, preset, classes=5):
    """Return a file under the authors' names, which are ours without the part."""
    state = network(name, preset, 1, classes).state_dict()
    return {key.partition(".")[2]: value for key, value in state.items()}


def genesis(prefix):
    return under(prefix, ours("genesis_unet3d", "base", 1))


def text_head(width, bottleneck, classes=32):
    """MrGiovanni/SuPreM 76e1a64, Universal_model: what lies beside the backbone."""
    shapes = {"precls_conv.0": (width,), "precls_conv.2": (8, width, 1, 1, 1)}
    shapes |= {"GAP.0": (bottleneck,), "GAP.3": (256, bottleneck, 1, 1, 1)}
    shapes |= {"controller": (153, 512, 1, 1, 1), "text_to_vision": (256, 512)}
    state = {"organ_embedding": torch.zeros(classes, 512)}
    for name, shape in shapes.items():
        state |= {f"{name}.weight": torch.zeros(shape), f"{name}.bias": torch.zeros(shape[:1])}
    return under("module.", state)


def suprem_unet():
    state = {k: v for k, v in genesis("module.backbone.").items() if "out_tr" not in k}
    return {"net": {**state, **text_head(64, 512)}}


def suprem_swin():
    return {"net": under("module.backbone.", swin(v2=False).state_dict()) | text_head(48, 768)}


def tang():
    names = {k.replace("linear", "fc"): v for k, v in part(swin(v2=False), "swinViT").items()}
    return {"state_dict": {k.replace("swinViT.", "module."): v for k, v in names.items()}}


def resnet(classes=25):
    return SegResNet(
        3, 16, 1, classes, blocks_down=(1, 2, 2, 4), blocks_up=(1, 1, 1), dropout_prob=0.0
    )


def ct_fm():
    net = SegResNetDS(3, 32, 1, 2, blocks_down=(1, 2, 2, 4, 4), dsdepth=4)
    return {"state_dict": under("model.backbone.", net.encoder.state_dict())}


PLAN = {"nnssl_adaptation_plan": {}}
MAKERS = {  # of each entry: what its files hold, at full size
    "amaes_fomo300k": asparagus,
    "amaes_fomo60k": fomo_unet,
    "ct_fm": ct_fm,
    "models_genesis": lambda: {"state_dict": genesis("module.")},
    "openmind_primus_m": lambda: of_nnunet(ours("primus", "medium"), **PLAN),
    "openmind_resenc_l": lambda: of_nnunet(library(WIDTHS, BLOCKS, (1, 1)).state_dict(), **PLAN),
    "spectre_large": spectre,
    "stunet": lambda: {"state_dict": ours("stunet", "base", 105)},
    "suprem_segresnet": lambda: {"net": under("module.", resnet().state_dict())},
    "suprem_swin_unetr": suprem_swin,
    "suprem_unet": suprem_unet,
    "swin_unetr_ssl": tang,
    "totalsegmentator_organs": lambda: of_nnunet(plain().state_dict()),
    "vgg19_imagenet": lambda: ours("vgg19", "base"),
    "voco_10k": lambda: {"state_dict": under("module.student.", part(swin(v2=True), *CONVS))},
    "voco_160k": lambda: {"state_dict": under("backbone.", part(swin(v2=True), *CONVS))},
    "vocomni_b": lambda: {"state_dict": swin(v2=True).state_dict()},
}


def sized(make):
    """Return what ``make`` makes without its values, or with them where it asks for some."""
    try:
        with torch.device("meta"):
            return make()
    except RuntimeError:
        return make()


@pytest.mark.parametrize("name", public_weights.table())
def test_the_tables_layout_and_size_are_those_that_its_files_are_recognised_by(name):
    entry = public_weights.table()[name]
    content = sized(MAKERS[name])
    path = Path("theirs")
    bare = foreign_weights._bare(path, foreign_weights._unwrapped(content)[0])
    layout, view, _ = foreign_weights._recognise(bare, content)
    tensors = foreign_weights._renamed(path, layout, view)
    assert layout.name == entry.layout and layout.network == entry.network
    assert foreign_weights._preset(path, layout, tensors, "") in entry.presets
    net = sized(lambda: network(entry.network, entry.presets[0], 1, max(len(entry.classes), 2)))
    if entry.name != "stunet":
        wanted = {k for k in net.state_dict() if k.startswith("encoder.")}
        lacking = {k for k in wanted - tensors.keys() if "num_batches" not in k}
        partly = entry.layout.startswith("Swin")
        assert not {k for k in lacking if not (partly and k.startswith("encoder.swinViT.layers"))}
    if entry.classes:
        assert len(tensors[layout.head]) == len(entry.classes)
    assert layout.also == ((entry.with_head,) if entry.with_head else ())
    if entry.with_head:  # every tensor of the network with the head is in the file, by its shape
        size = foreign_weights._preset(path, layout, tensors, "")
        made = sized(lambda: network(entry.with_head, size, 1, len(entry.classes)))
        wanted = {k: v.shape for k, v in made.state_dict().items()}
        assert wanted.items() <= {k: v.shape for k, v in tensors.items()}.items()


def test_the_table_is_in_step_with_networks_layouts_and_docs(capsys):
    layouts = {layout.name: layout.network for layout in LAYOUTS}
    text = (DOCS / "networks.md").read_text()
    assert main(["list", "weights"]) == 0
    printed = capsys.readouterr().out
    for name, entry in public_weights.table().items():
        assert layouts[entry.layout] == entry.network
        for other in filter(None, [entry.with_head]):
            assert entry.head and {*entry.presets} <= {*network_facts(other).presets}
        assert {*entry.presets} <= {*network_facts(entry.network).presets}
        assert not entry.head or entry.head == "softmax" or entry.classes
        assert f"| `{name}` |" in text and name in printed and entry.licence in printed
        crop = network_facts(entry.network).multiple
        assert all(side % step == 0 for side, step in zip(entry.crop, crop, strict=True)), name
    assert main(["list", "weights", "--json"]) == 0
    assert '"suprem_segresnet"' in capsys.readouterr().out


SUPREM = {"window": (-175.0, 250.0), "scale": "window", "spacing": (1.5, 1.5, 1.5)}
CHEST = {"window": (-1000.0, 1000.0), "scale": "window", "spacing": None}
ALIKE, AXIS = {**SUPREM, "spacing": [1.5, 1.5, 1.45]}, {**SUPREM, "spacing": [1.5, 1.5, 2.0]}
RESIZED, HALF = {**SUPREM, "spacing": None}, {"scale": "zscore", "spacing": [1.5] * 3}
FAR = {**CHEST, "spacing": (4.0, 4.0, 4.0), "standard": (0.0, 1.0)}


@pytest.mark.parametrize(
    ("trained", "recipe", "says"),
    [
        ([SUPREM], SUPREM, ""),
        ([SUPREM], ALIKE, ""),
        ([CHEST], FAR, ""),  # not resampled: at any spacing
        ([SUPREM, CHEST], FAR, ""),
        ([], FAR, ""),
        ([{}], FAR, ""),
        ([SUPREM], AXIS, r"\(A: spacing 1.5 1.5 1.5; here: spacing 1.5 1.5 2\)"),
        ([SUPREM], RESIZED, "here: no spacing"),
        ([SUPREM], HALF, "here: no window, scale zscore"),
        ([SUPREM, CHEST], HALF, r"A: window .*; B: window -1000 1000, scale window; here"),
        ([{**HALF, "standard": (3, 4)}], {**HALF, "standard": (3, 5)}, "here: standard 3 5"),
    ],
)
def test_a_recipe_is_compared_with_all_that_the_weights_may_be(trained, recipe, says):
    several = [public_weights.Trained(whose, r) for whose, r in zip("AB", trained, strict=False)]
    if not says:
        public_weights.check_recipe(several, recipe)
        return
    with pytest.raises(BenchError, match=says + r".*write init: \{file: FILE, recipe: other\}"):
        public_weights.check_recipe(several, recipe)


# Their class gives our maps


@pytest.fixture
def thin(monkeypatch):
    sizes = {("plain_unet", "thin"): PlainUNetSize(THIN), ("amaes_unet", "thin"): AmaesUNetSize(4)}
    sizes["resenc_unet", "thin"] = ResEncSize(THIN, (1, 1, 2, 1, 1, 1))
    for name, axes in (("thin", "RAS"), ("thin_spl", "SPL")):
        sizes["segresnet_ds", name] = SegResNetDSSize(4, (1, 1, 2, 1, 1), axes)
    for (net, name), size in sizes.items():
        monkeypatch.setitem(CATALOG[net].presets, name, Preset(size, (64,) * 3, 0, 0, 0, 0))


def loaded(path, crop, classes, output=True, preset=""):
    tensors, manifest = read_weights(path, preset, output=output)
    torch.manual_seed(1)
    net = network(manifest.network, manifest.preset, 1, classes, crop).eval()
    return net, manifest, transfer.load(net, tensors, manifest, output=output)


def zyx(x):
    return x.permute(0, 1, 4, 3, 2)


def settled(net):
    """Return a network whose norms have met something, as a trained one's have."""
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for name, value in net.state_dict().items():
            if value.is_floating_point() and value.ndim == 1:
                noise = torch.rand(value.shape, generator=generator)
                value.copy_(noise + 0.5 if "var" in name or "weight" in name else noise - 0.5)
    return net.eval()


def ctfm_maps(net, x):
    """Return what SegResNetDS says of images that come as (top, back, left), as (x, y, z)."""
    turned = zyx(x).flip(3, 4)
    return zyx(net(turned).flip(3, 4))


FORWARD = {  # their network, what its file holds around it, how it reads an image that comes as (x, y, z)
    "segresnet_ds": (
        lambda: SegResNetDS(3, 4, 1, 4, blocks_down=(1, 1, 2, 1, 1), dsdepth=4),
        lambda state: {"state_dict": under("model.", state)},
        ctfm_maps,
    ),
    "segresnet": (
        lambda: resnet(4),
        lambda state: {"net": under("module.", state)},
        lambda net, x: net(x),
    ),
    "plain_unet": (lambda: plain(THIN, 4), of_nnunet, lambda net, x: zyx(net(zyx(x)))),
}


@pytest.mark.parametrize("name", FORWARD)
def test_the_authors_class_and_ours_give_the_same_labels_of_a_file(name, thin, tmp_path):
    build, wrapped, run = FORWARD[name]
    torch.manual_seed(2)
    theirs, x = settled(build()), torch.randn(1, 1, 64, 32, 32)
    torch.save(wrapped(theirs.state_dict()), tmp_path / "a.pt")
    net, manifest, receipt = loaded(tmp_path / "a.pt", (64, 32, 32), 4)
    assert manifest.network == name and manifest.out_channels == 4
    assert not (receipt.missing or receipt.unexpected or receipt.left_random)
    with torch.no_grad():
        expected = run(theirs, x)
        assert expected.std() > 1e-3
        torch.testing.assert_close(net(x), expected, rtol=1e-3, atol=1e-3)


def test_a_segresnet_ds_that_reads_images_as_they_lie_here_says_so(thin, tmp_path):
    """Auto3DSeg's: the tensors do not tell them from CT-FM's."""
    torch.manual_seed(2)
    theirs, x = settled(FORWARD["segresnet_ds"][0]()), torch.randn(1, 1, 32, 32, 32)
    torch.save(theirs.state_dict(), tmp_path / "a.pt")
    left_open = read_weights(tmp_path / "a.pt")[1].params[foreign_weights.OPEN]
    assert "presets thin and thin_spl; thin_spl (axes SPL, slope 0.0) is used" in left_open
    net, manifest, _ = loaded(tmp_path / "a.pt", (32, 32, 32), 4, preset="thin")
    assert foreign_weights.OPEN not in manifest.params
    with torch.no_grad():
        torch.testing.assert_close(net(x), theirs(x), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("output", [False, True])
def test_the_output_layer_comes_where_it_is_asked_for(output, thin, tmp_path):
    torch.save(of_nnunet(plain(THIN, 4).state_dict()), tmp_path / "a.pth")
    tensors, manifest = read_weights(tmp_path / "a.pth", output=output)
    assert manifest.out_channels == 4
    assert any("seg_layers" in name for name in tensors) == output


def test_files_of_amaes_bring_their_encoder(thin, tmp_path):
    torch.save(asparagus(THIN, (1, 1, 2, 1, 1, 1)), tmp_path / "a.ckpt")
    torch.save(fomo_unet(4), tmp_path / "b.pth")
    for file, name in (("a.ckpt", "resenc_unet"), ("b.pth", "amaes_unet")):
        _, manifest, receipt = loaded(tmp_path / file, (64, 64, 64), 2, output=False)
        assert (manifest.network, manifest.preset) == (name, "thin")
        assert receipt.share == 1 and not (receipt.missing or receipt.unexpected)
        assert manifest.params["left_out"]["decoder"] >= 1


def test_spectres_vit_comes_whole_and_learned_positions_are_refused(tmp_path):
    state = spectre(48, 4, 2)
    torch.save(state, tmp_path / "a.pt")
    _, manifest, receipt = loaded(tmp_path / "a.pt", (32, 32, 16), 2, output=False)
    assert (manifest.network, manifest.preset) == ("spectre_vit", "tiny")
    assert receipt.share == 1 and not (receipt.missing or receipt.unexpected)
    torch.save({**state, "pos_embed": torch.zeros(1, 513, 48)}, tmp_path / "b.pt")
    with pytest.raises(BenchError, match="encoder has 1 tensors that this network lacks"):
        loaded(tmp_path / "b.pt", (32, 32, 16), 2, output=False)
    torch.save({**state, "rope.periods": torch.zeros(2)}, tmp_path / "c.pt")  # four heads
    with pytest.raises(BenchError, match="heads 4 is not the size of any preset"):
        read_weights(tmp_path / "c.pt")


# What nnU-Net leaves beside the tensors

INTENSITIES = {"mean": 55.0, "std": 380.0, "percentile_00_5": -1004.0, "percentile_99_5": 1588.0}
ORGANS = {"background": 0, "spleen": 1, "kidney": 2, "liver": 3}


def trained(strides, scheme="CTNormalization", name="3d_fullres", **extras):
    configuration = {"spacing": [3.0, 1.5, 1.0], "normalization_schemes": [scheme]}
    configurations = {"3d_fullres": {**configuration, **strides}, "child": {"inherits_from": name}}
    measured = {"0": INTENSITIES}
    plans = {
        "configurations": configurations,
        "foreground_intensity_properties_per_channel": measured,
    }
    return {"init_args": {"plans": plans, "configuration": "child", **extras}}


HALVED = [[1, 1, 1], *[[2, 2, 2]] * 5]
FIXED = {"scale": "fixed", "window": [-1004.0, 1588.0], "standard": [55.0, 380.0]}
NAMED = ("background", "spleen", "kidney", "liver")


@pytest.mark.parametrize(
    ("extras", "recipe", "labels"),
    [
        (trained({"pool_op_kernel_sizes": HALVED}), FIXED, ()),
        (trained({"architecture": {"arch_kwargs": {"strides": HALVED}}}), FIXED, ()),
        (trained({}, "ZScoreNormalization"), {"scale": "zscore"}, ()),
        (trained({}, dataset_json={"labels": ORGANS}), FIXED, NAMED),
        (trained({}, dataset_json={"labels": {**ORGANS, "spleen": [1, 2]}}), FIXED, ()),
        (trained({}, dataset_json={"labels": {"background": 0, "liver": 3}}), FIXED, ()),
    ],
)
def test_nnunets_plan_tells_recipe_and_labels(extras, recipe, labels, thin, tmp_path):
    torch.save(of_nnunet(plain(THIN, 4).state_dict(), **extras), tmp_path / "a.pth")
    manifest = read_weights(tmp_path / "a.pth")[1]
    assert manifest.recipe == {"spacing": [1.0, 1.5, 3.0], **recipe}
    assert manifest.labels == labels


@pytest.mark.parametrize("last", [[1, 2, 2], [2, 2, 1], 1])
def test_a_plan_that_halves_other_axes_is_refused(last, thin, tmp_path):
    extras = trained({"pool_op_kernel_sizes": [*HALVED[:5], last]})
    torch.save(of_nnunet(plain(THIN, 4).state_dict(), **extras), tmp_path / "a.pth")
    with pytest.raises(BenchError, match=r"divides the sides by .* at stage 5 .*would not give"):
        read_weights(tmp_path / "a.pth")
