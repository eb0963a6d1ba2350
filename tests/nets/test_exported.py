"""What is exported comes back equal, and the second format has what nnU-Net reads, where it reads it.

The steps of nnU-Net's master branch (PretrainedTrainer.load_pretrained_weights and preprocess_like_nnssl) are
repeated on the network library that it uses. ``test_real_nnunet.py`` runs the released nnU-Net.
"""

import json
from dataclasses import replace

import pytest
import torch
from built import built, encoder_of, library
from one_line import refused

from bench.nets import exported
from bench.nets.catalog import CATALOG, preset
from bench.nets.exported import write
from bench.nets.foreign_weights import read_weights
from bench.nets.manifest import Manifest
from bench.nets.sizes import Preset, ResEncSize

WIDTHS, BLOCKS = (4, 4, 8, 8, 8, 8), (1, 1, 2, 1, 1, 1)
RECIPE = {"spacing": [1.0, 1.5, 3.0], "scale": "zscore"}
PRETRAINED = ("m", {"ratio": 0.75}, "0123456789abcdef", 40)
MANIFEST = Manifest("resenc_unet", "thin", 2, 0, (64, 32, 96), RECIPE, *PRETRAINED)


@pytest.fixture
def net(monkeypatch):
    """Return a network of the published structure that takes a moment to build."""
    result = Preset(ResEncSize(WIDTHS, BLOCKS), (64, 32, 96), 0, 0, 0, 0)
    monkeypatch.setitem(CATALOG["resenc_unet"].presets, "thin", result)
    monkeypatch.setitem(exported.ARCHITECTURES, ("resenc_unet", "thin"), "ResEncL")
    return built("resenc_unet", "thin", (2, 3)).eval()


def turned(x):
    return x.permute(0, 1, 4, 3, 2)


def strictly(module, weights, prefix):
    """Load as nnU-Net does: every key below a prefix, none lacking, none too many."""
    inside = {k.replace(prefix, "")[1:]: v for k, v in weights.items() if k.startswith(prefix)}
    module.load_state_dict(inside)


def exchanged(folder, tensors, manifest=MANIFEST):
    """Write for nnU-Net and return what it reads: loaded as it does, with nothing allowed besides tensors."""
    write(folder / "a.pth", tensors, manifest, "nnssl")
    return torch.load(folder / "a.pth", weights_only=True)


def test_nnunet_finds_encoder_and_stem_under_the_keys_that_the_plan_names(tmp_path, net):
    content = exchanged(tmp_path, encoder_of(net))
    weights, plan = content["network_weights"], content["nnssl_adaptation_plan"]
    theirs = library(WIDTHS, BLOCKS, (2, 3)).eval()
    assert plan["key_to_stem"] not in weights  # else it is taken for a part of the encoder
    for key in (plan["key_to_encoder"], plan["key_to_stem"]):
        strictly(theirs.get_submodule(key), weights, key)
    for key in plan["keys_to_in_proj"]:
        assert torch.equal(weights[f"{key}.weight"], theirs.state_dict()[f"{key}.weight"])
    x = torch.randn(1, 2, 64, 32, 96)
    with torch.no_grad():
        for ours, other in zip(net.encoder(x), theirs.encoder(turned(x)), strict=True):
            torch.testing.assert_close(ours, turned(other), rtol=1e-5, atol=1e-5)


def test_a_whole_network_fits_the_library_key_by_key(tmp_path, net):
    theirs = library(WIDTHS, BLOCKS, (2, 3)).eval()
    content = exchanged(tmp_path, net.state_dict(), replace(MANIFEST, out_channels=3))
    theirs.load_state_dict(content["network_weights"])
    x = torch.randn(1, 2, 64, 32, 96)
    with torch.no_grad():
        torch.testing.assert_close(net(x), turned(theirs(turned(x))), rtol=1e-4, atol=1e-4)


def test_the_plan_has_every_field_and_sizes_from_z_to_x(tmp_path, net):
    content = exchanged(tmp_path, encoder_of(net))
    plan = content["nnssl_adaptation_plan"]
    assert " ".join(sorted(plan)) == (
        "architecture_plans key_to_encoder key_to_lpe key_to_stem keys_to_in_proj "
        "pretrain_num_input_channels pretrain_plan recommended_downstream_patchsize"
    )
    unsaid = dict.fromkeys(("arch_kwargs", "arch_kwargs_requiring_import"))
    assert plan["architecture_plans"] == {"arch_class_name": "ResEncL", **unsaid}
    assert plan["pretrain_num_input_channels"] == 2 and plan["key_to_lpe"] is None
    assert plan["recommended_downstream_patchsize"] == [96, 32, 64]
    complete = plan["pretrain_plan"]
    assert " ".join(sorted(complete)) == (
        "configurations dataset_name experiment_planner_used image_reader_writer "
        "original_median_spacing_after_transp plans_name transpose_backward transpose_forward"
    )
    (configuration,) = complete["configurations"].values()
    assert " ".join(sorted(configuration)) == (
        "data_identifier normalization_schemes patch_size preprocessor_name resampling_fn_data "
        "resampling_fn_data_kwargs resampling_fn_mask resampling_fn_mask_kwargs spacing "
        "spacing_style use_mask_for_norm"
    )
    assert configuration["spacing"] == [3.0, 1.5, 1.0]
    assert configuration["patch_size"] == [96, 32, 64]
    cited = content["citations"][0]
    assert "Isensee" in cited["apa_citations"][0] and cited.keys() >= {"type", "name"}


def test_a_preset_of_four_stages_states_four_in_the_plan(tmp_path):
    net = built("resenc_unet", "small", (2, 3), (16, 16, 24)).eval()
    manifest = replace(MANIFEST, preset="small", out_channels=3)
    content = exchanged(tmp_path, net.state_dict(), manifest)
    theirs = library((8, 16, 32, 64), (1, 3, 4, 6), (2, 3)).eval()
    theirs.load_state_dict(content["network_weights"])
    x = torch.randn(1, 2, 16, 16, 24)
    with torch.no_grad():
        torch.testing.assert_close(net(x), turned(theirs(turned(x))), rtol=1e-4, atol=1e-4)
    plan, stated = content["nnssl_adaptation_plan"], exported.architecture(manifest)
    # of such a name nnU-Net's trainer builds what the arguments say
    assert plan["architecture_plans"]["arch_class_name"].endswith("ResidualEncoderUNet")
    assert plan["architecture_plans"]["arch_kwargs"] == stated["arch_kwargs"]
    assert plan["architecture_plans"]["arch_kwargs_requiring_import"][:2] == ["conv_op", "norm_op"]
    assert stated["arch_kwargs"]["strides"] == [[1] * 3, [2] * 3, [2] * 3, [2] * 3]


def test_weights_without_a_spacing_say_so(tmp_path, net):
    content = exchanged(tmp_path, encoder_of(net), replace(MANIFEST, recipe={"spacing": None}))
    plan = content["nnssl_adaptation_plan"]
    assert plan["pretrain_plan"]["configurations"]["noresample"]["spacing"] is None
    assert read_weights(tmp_path / "a.pth")[1].recipe == {"spacing": None}


@pytest.mark.parametrize("format", ["safetensors", *exported.FOR_NNUNET])
def test_what_is_exported_comes_back_equal(tmp_path, net, format):
    path = (tmp_path / "a").with_suffix(exported.FORMATS[format][0])
    write(path, encoder_of(net), MANIFEST, format)
    tensors, manifest = read_weights(path)
    assert manifest == MANIFEST
    assert tensors.keys() == encoder_of(net).keys()
    assert all(torch.equal(tensors[k], v) for k, v in encoder_of(net).items())
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_view_does_not_drag_its_storage_along(tmp_path, net):
    name = "encoder.stem.convs.0.conv.bias"
    exchanged(tmp_path, {**encoder_of(net), name: torch.zeros(1 << 20)[: WIDTHS[0]]})
    assert (tmp_path / "a.pth").stat().st_size < 1 << 20


def test_the_published_size_is_what_nnunet_builds_by_that_name():
    # nnunetv2/utilities/get_network_via_name.py
    names = {("resenc_unet", "small"): "", ("resenc_unet", "base"): "ResEncL"}
    assert names == exported.ARCHITECTURES
    size = preset("resenc_unet", "base").size
    assert size == ResEncSize((32, 64, 128, 256, 320, 320), (1, 3, 4, 6, 6, 6))


def test_what_cannot_be_written_is_refused_in_one_line(tmp_path, net):
    tensors, tiny = encoder_of(net), replace(MANIFEST, preset="tiny")
    lacking = {k: v for k, v in tensors.items() if "stages.2" not in k}
    with refused("use its preset small or base or thin .--set networks.NAME.preset=small"):
        write(tmp_path / "a.pth", tensors, tiny, "nnssl")
    with refused(r"whole encoder; 'encoder\.stages\.2\."):
        write(tmp_path / "a.pth", lacking, MANIFEST, "nnssl")
    assert not list(tmp_path.iterdir())


def test_a_copy_of_nnunets_plans_has_the_network_and_all_else_as_it_was(tmp_path, net):
    theirs = {"patch_size": [8, 8, 8], "batch_size": 9, "architecture": {}, "spacing": [1, 1, 1]}
    given = {"plans_name": "nnUNetPlans", "configurations": {"2d": {}, "3d_fullres": theirs}}
    (tmp_path / "nnUNetPlans.json").write_text(json.dumps(given))
    plans = exported.Plans.read(tmp_path / "nnUNetPlans.json")
    plans.write(MANIFEST)
    for tensors in ({"encoder.a": net}, {"encoder.a": net, "decoder.a": net}):
        said = exported.usage(tensors, tmp_path / "a.pth", tmp_path / "a.json", plans)
        assert said.startswith(
            f"{tmp_path / 'benchPlans.json'}: nnUNetPlans.json with this network"
        )
        command = (
            f"nnUNetv2_train {tmp_path.name} 3d_fullres FOLD -p benchPlans -pretrained_weights"
        )
        assert (command in said) == (len(tensors) == 2)
    copy = json.loads((tmp_path / "benchPlans.json").read_text())
    inside = copy["configurations"].pop("3d_fullres")
    assert copy == {"plans_name": "benchPlans", "configurations": {"2d": {}}}
    assert inside == {**theirs, **exported.configuration(MANIFEST)}
    assert json.loads((tmp_path / "nnUNetPlans.json").read_text()) == given
    for wrong in ("{}", "[]", "x", '{"configurations": {"3d_fullres": 1}}'):
        (tmp_path / "wrong.json").write_text(wrong)
        with refused("is no plans file of nnU-Net"):
            exported.Plans.read(tmp_path / "wrong.json")
