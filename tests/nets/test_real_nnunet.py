"""The released nnU-Net (``make nnunet``) builds the network that we state and loads what we export."""

import json
import subprocess
from pathlib import Path

import pytest
import torch
from built import built, encoder_of

from bench.nets import exported
from bench.nets.catalog import CATALOG
from bench.nets.manifest import Manifest
from bench.nets.sizes import Preset, ResEncSize

PYTHON = Path(__file__).resolve().parents[2] / ".venv-nnunet/bin/python"
MANIFEST = Manifest("resenc_unet", "thin", 2, 3, (64, 32, 96), {}, "m", {}, "0123456789abcdef", 40)
THEIRS = """
import sys, torch
from nnunetv2.run.load_pretrained_weights import load_pretrained_weights
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
folder = sys.argv[1]
state = PlansManager(folder + "/plans.json").get_configuration("3d_fullres")
net = get_network_from_plans(
    state.network_arch_class_name, state.network_arch_init_kwargs,
    state.network_arch_init_kwargs_req_import, 2, 3, deep_supervision=False).eval()
load_pretrained_weights(net, folder + "/a.pth")
x = torch.load(folder + "/x.pt")
with torch.no_grad():
    torch.save({"state": net.state_dict(), "maps": [*net.encoder(x)]}, folder + "/out.pt")
    net.load_state_dict(torch.load(folder + "/a.pth")["network_weights"])
    torch.save(net(x), folder + "/scores.pt")
"""
pytestmark = pytest.mark.skipif(
    not PYTHON.with_name("nnUNetv2_train").exists(), reason="nnU-Net is not installed: make nnunet"
)


@pytest.fixture
def net(monkeypatch):
    """Return a network of the published structure that takes a moment to build."""
    size = ResEncSize((4, 4, 8, 8, 8, 8), (1, 1, 2, 1, 1, 1))
    monkeypatch.setitem(CATALOG["resenc_unet"].presets, "thin", Preset(size, (64, 32, 96), 0, 0, 0, 0))
    monkeypatch.setitem(exported.ARCHITECTURES, ("resenc_unet", "thin"), "ResEncL")
    return built("resenc_unet", "thin", (2, 3)).eval()


def turned(x):
    return x.permute(0, 1, 4, 3, 2)


def loaded(folder, tensors, x):
    """Let nnU-Net load a file into the network of the plans; return how that ended."""
    exported.write(folder / "a.pth", tensors, MANIFEST, "nnssl")
    plans = {"configurations": {"3d_fullres": {"architecture": exported.architecture(MANIFEST)}}}
    (folder / "plans.json").write_text(json.dumps(plans))
    torch.save(turned(x).contiguous(), folder / "x.pt")
    return subprocess.run(
        [PYTHON, "-c", THEIRS, folder], capture_output=True, text=True, check=False, cwd=folder
    )


def test_the_release_loads_every_tensor_and_computes_the_same_maps(tmp_path, net):
    x = torch.randn(1, 2, 64, 32, 96)
    done = loaded(tmp_path, net.state_dict(), x)
    assert done.returncode == 0, done.stderr
    out, file = torch.load(tmp_path / "out.pt"), torch.load(tmp_path / "a.pth")["network_weights"]
    compared = [name for name in out["state"] if ".seg_layers." not in name]
    assert all(torch.equal(out["state"][name], file[name]) for name in compared)
    assert {n for n in out["state"] if n.startswith("encoder.")} <= {*compared}
    with torch.no_grad():
        for ours, theirs in zip(net.encoder(x), out["maps"], strict=True):
            torch.testing.assert_close(ours, turned(theirs), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(net(x), turned(torch.load(tmp_path / "scores.pt")), rtol=1e-4, atol=1e-4)


def test_the_release_refuses_an_encoder_alone_as_export_says(tmp_path, net):
    tensors = encoder_of(net)
    done = loaded(tmp_path, tensors, torch.zeros(1, 2, 64, 32, 96))
    assert done.returncode == 1 and "is missing in the pretrained model weights" in done.stderr
    assert "needs the decoder, too" in exported.usage(tensors, MANIFEST)
    line, _, printed = exported.usage(net.state_dict(), MANIFEST).partition("\n")
    assert "nnUNetv2_train -pretrained_weights" in line
    assert json.loads(printed) == {"architecture": exported.architecture(MANIFEST)}
