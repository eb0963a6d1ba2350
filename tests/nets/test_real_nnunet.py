"""The released nnU-Net (``make nnunet``) builds the network that we state and loads what we export."""

import json
import subprocess
from pathlib import Path

import pytest
import torch
from built import built, encoder_of
from test_exported import net, turned
from test_foreign_rows import LAYOUTS, OTHER, protocol, ran, thin

from bench.export import export
from bench.nets import exported, transfer
from bench.nets.manifest import Manifest

__all__ = ["net", "thin"]  # fixtures
PYTHON = Path(__file__).resolve().parents[2] / ".venv-nnunet/bin/python"
MANIFEST = Manifest("resenc_unet", "thin", 2, 3, (64, 32, 96), {}, "m", {}, "0123456789abcdef", 40)
THEIRS = """
import sys, torch
from nnunetv2.run.load_pretrained_weights import load_pretrained_weights
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
folder, channels, classes = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
state = PlansManager(folder + "/plans.json").get_configuration("3d_fullres")
net = get_network_from_plans(
    state.network_arch_class_name, state.network_arch_init_kwargs,
    state.network_arch_init_kwargs_req_import, channels, classes, deep_supervision=False).eval()
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


def loaded(folder, manifest, x, classes):
    """Let nnU-Net load ``a.pth`` into the network of the plans; return how that ended."""
    plans = {"configurations": {"3d_fullres": exported.configuration(manifest)}}
    (folder / "plans.json").write_text(json.dumps(plans))
    torch.save(turned(x).contiguous(), folder / "x.pt")
    command = [PYTHON, "-c", THEIRS, folder, str(x.shape[1]), str(classes)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)


def compare(folder, net, manifest, x, classes):
    """Hold that nnU-Net has our tensors, and computes our maps and scores; ``a.pth`` is of this network."""
    done = loaded(folder, manifest, x, classes)
    assert done.returncode == 0, done.stderr
    out, file = torch.load(folder / "out.pt"), torch.load(folder / "a.pth")["network_weights"]
    compared = [name for name in out["state"] if ".seg_layers." not in name]
    assert {n for n in out["state"] if n.startswith("encoder.")} <= {*compared}
    apart = {name: (out["state"][name] - file[name]).abs().max().item() for name in compared}
    assert max(apart.values()) == 0, f"tensors differ by up to {max(apart.values()):.3g}: {apart}"
    with torch.no_grad():
        ours = [*net.encoder(x), net(x)]
    theirs = [turned(m) for m in (*out["maps"], torch.load(folder / "scores.pt"))]
    gaps = [
        (a - b).abs().max() / a.abs().max().clamp(min=1) for a, b in zip(ours, theirs, strict=True)
    ]
    assert max(gaps) < 1e-5, (
        f"maps, then scores, differ by up to {[float(f'{gap:.2g}') for gap in gaps]}"
    )


def test_the_release_loads_every_tensor_and_computes_the_same_maps(tmp_path, net):
    exported.write(tmp_path / "a.pth", net.state_dict(), MANIFEST, "nnssl")
    compare(tmp_path, net, MANIFEST, torch.randn(1, 2, 64, 32, 96), 3)


def test_the_release_computes_what_a_fine_tuned_job_does(thin, monkeypatch, tmp_path):
    make, network, preset = LAYOUTS["nnssl"]
    monkeypatch.setitem(exported.ARCHITECTURES, (network, preset), "ResEncL")
    torch.save(make(), tmp_path / "weights.pt")
    plan, store = ran(protocol(tmp_path, network, preset, OTHER, steps=3), tmp_path / "out")
    (tuned,) = {c.finetune for c in plan.cells["rows"] if c.row == "theirs"}
    export(store, tuned, tmp_path / "a.pth", "nnssl")
    tensors, manifest = transfer.read(store.jobs / tuned / "last.safetensors")
    net = built(network, preset, (1, 3), manifest.crop).eval()
    net.load_state_dict(tensors)
    compare(tmp_path, net, manifest, torch.randn(1, 1, *manifest.crop), 3)


def test_the_release_refuses_an_encoder_alone_as_export_says(tmp_path, net):
    tensors = encoder_of(net)
    exported.write(tmp_path / "a.pth", tensors, MANIFEST, "nnssl")
    done = loaded(tmp_path, MANIFEST, torch.zeros(1, 2, 64, 32, 96), 3)
    assert done.returncode == 1 and "is missing in the pretrained model weights" in done.stderr
    said = exported.usage(tensors, Path("a.pth"), Path("a.json"))
    assert "needs the decoder, too" in said
    said = exported.usage(net.state_dict(), Path("a.pth"), Path("a.json"))
    assert "nnUNetv2_train DATASET 3d_fullres FOLD -pretrained_weights a.pth" in said
