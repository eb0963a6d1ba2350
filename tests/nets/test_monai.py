"""MONAI's own class loads what is exported for it, and computes what our network does."""

import json
import re
from pathlib import Path

import pytest
import torch
from built import built, encoder_of
from monai.bundle import ConfigParser
from one_line import refused

import bench
from bench.nets import classifier, exported
from bench.nets.catalog import CATALOG
from bench.nets.manifest import Manifest
from bench.nets.segresnet_ds import spl

SIZES = [
    *((name, "tiny") for name in ("unet2d", "unet3d", "segresnet", "segresnet_ds", "swin_unetr")),
    ("unetr", "small"),
    ("densenet121", "tiny"),
]
AGAIN = [("segresnet", "small"), ("segresnet_ds", "base_spl"), ("swin_unetr", "base_v2_legacy")]


def crop_of(name):
    return tuple(2 * n if n > 1 else 1 for n in CATALOG[name].multiple)


def theirs(folder, tensors, manifest):
    """Export, and return MONAI's network with its weights, the file beside them, and what is said."""
    said = exported.write(folder / "w.pt", tensors, manifest, "monai")
    content = json.loads((folder / "w.json").read_text())
    net = ConfigParser(content).get_parsed_content("network")
    net.load_state_dict(torch.load(folder / "w.pt"))
    scope = {}
    exec("import torch, monai.networks.nets\n" + "\n".join(said.splitlines()[1:3]), scope)
    assert all(
        torch.equal(value, net.state_dict()[name])
        for name, value in scope["net"].state_dict().items()
    )
    assert type(net) is type(scope["net"]) and type(net).__module__.startswith("monai.")
    return net.eval(), content, said


@pytest.mark.parametrize(("name", "preset"), [*SIZES, *AGAIN])
def test_monais_class_loads_strictly_and_gives_our_logits(tmp_path, name, preset):
    crop = crop_of(name)
    torch.manual_seed(3)
    whole = (name, preset, 2, 3, crop)
    net = classifier(*whole) if name == "densenet121" else built(name, preset, (2, 3), crop, seed=3)
    for buffer in net.buffers():
        if buffer.is_floating_point():  # statistics of a batch norm that has been trained
            buffer.uniform_(0.5, 2)
    other, content, said = theirs(tmp_path, net.state_dict(), Manifest(*whole))
    x = torch.randn(1, 2, *crop[: CATALOG[name].dims])
    turned = content["axes"] == "SPL"
    with torch.no_grad():
        ours, logits = net.eval()(x), other(spl(x) if turned else x)
    torch.testing.assert_close(spl(ours) if turned else ours, logits, rtol=1e-5, atol=1e-5)
    assert content["untrained"] == [] and ("to top, back and left" in said) == turned


@pytest.mark.parametrize(("name", "preset"), SIZES)
def test_an_encoder_alone_is_filled_up_and_the_file_says_with_what(tmp_path, name, preset):
    net = built(name, preset, (2, 2), crop_of(name), seed=3)
    manifest = Manifest(name, preset, 2, 0, crop_of(name))
    other, content, said = theirs(tmp_path, encoder_of(net), manifest)
    values = other.state_dict()
    parts = [p for p in content["untrained"] if p in said.splitlines()[3]]
    assert parts and parts == content["untrained"]
    trained = [k for k in values if k.split(".")[0] not in parts and ".norm_cross_attn." not in k]
    shapes = sorted(tuple(values[k].shape) for k in trained)
    assert shapes == sorted(tuple(v.shape) for v in net.encoder.state_dict().values())
    means = sorted(float(values[k].double().mean()) for k in trained)
    ours = sorted(float(v.double().mean()) for v in net.encoder.state_dict().values())
    assert means == ours


@pytest.mark.parametrize(
    ("name", "preset", "tensors"),
    [
        ("resenc_unet", "tiny", {}),
        ("genesis_unet3d", "tiny", {}),
        ("hssl_resnet34", "tiny", {}),
        ("suprem_swin_unetr", "tiny", {}),
        ("unetr", "tiny", {}),  # four blocks; MONAI's has twelve
        ("unet2d", "tiny", {"head.weight": torch.zeros(2, 64)}),  # a classifier
        ("densenet121", "tiny", {"head.0.weight": torch.zeros(4, 56)}),  # with a hidden layer
    ],
)
def test_what_no_class_of_monai_computes_names_the_plain_format(tmp_path, name, preset, tensors):
    manifest = Manifest(name, preset, 1, 2, crop_of(name))
    with refused(f"network {name}/{preset} is no class of MONAI; take --format torch"):
        exported.write(tmp_path / "w.pt", tensors, manifest, "monai")
    assert not list(tmp_path.iterdir())
    said = exported.write(tmp_path / "w.pt", tensors, manifest, "torch")
    assert torch.load(tmp_path / "w.pt").keys() == tensors.keys()
    call = "classifier" if tensors else "network"
    assert f"net = bench.nets.{call}('{name}', '{preset}', 1, 2, " in said


def test_the_blocks_of_the_page_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = Path(__file__).parents[2] / "docs" / "networks.md"
    files = [
        ("unet3d", "tiny", "weights.pt", "monai"),
        ("unet3d", "tiny", "plain.pt", "torch"),
        ("resenc_unet", "small", "checkpoint.pth", "nnunet"),
    ]
    for name, preset, file, format in files:
        manifest = Manifest(name, preset, 1, 3, (32, 32, 32))
        exported.write(file, built(name, preset, (1, 3)).state_dict(), manifest, format)
    Path("checkpoint.json").write_text(json.dumps(exported.configuration(manifest)))
    own, monai, plain, nnunet = re.findall(r"(?s)```python\n(.*?)```", page.read_text())
    scopes = [{} for _ in range(4)]
    for scope, block in zip(scopes, (own, monai, plain, nnunet), strict=True):
        exec(block, scope)
    missing = scopes[1]["own"].state_dict().keys() - scopes[1]["fitting"].keys()
    assert missing == {"final_conv.weight", "final_conv.bias"}
    assert scopes[2]["logits"].shape == (1, 3, 32, 32, 32) and scopes[2]["vector"].shape == (1, 32)
    assert type(scopes[3]["net"]).__name__ == "ResidualEncoderUNet"
    tensors, manifest = bench.nets.manifest.read("own.safetensors")
    assert tensors.keys() == scopes[0]["tensors"].keys() and manifest.preset == "small"
    assert bench.nets.foreign_weights.read_weights("own.safetensors")[1] == manifest
