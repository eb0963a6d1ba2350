"""Tables over methods: sizes of published heads, what is handed over, and which settings are refused."""

import pytest
import torch

from bench import nets, registry
from bench.errors import BenchError

RESNET, PGL = ("hssl_resnet34", "base", 1, 2), ("pgl_resnet50", "base", 1, 2, (96, 96, 16))
TALEB = ("taleb_unet3d", "base", 1, 2, (32, 32, 32))
BOTH, ENCODER = {"encoder", "decoder"}, {"encoder"}


@pytest.mark.parametrize(
    ("name", "params", "network", "sizes"),
    [
        ("byol3d", {}, ("unet3d", "tiny", 1, 2), {"predictor": 2_109_696}),
        ("moco2d", {}, RESNET, {"projector": 65_664}),
        ("moco2d", {"mlp": True}, RESNET, {"projector": 328_320}),
        ("simclr2d", {}, RESNET, {"projector": 329_344}),  # 512 - 512 - 128, a batch norm between
        ("simclr2d", {"batch_norm": False, "proj_layers": 3}, RESNET, {"projector": 590_976}),
        # five levels of 64, 64, 128, 256 and 512 channels to 128 each; 640 - 512 - 128; 8 and 4 classes
        (
            "hssl",
            {},
            RESNET,
            {"pyramid": 131_712, "projector": 393_856, "classifiers": 5_128 + 2_564},
        ),
        # a dense layer to 1024, a GRU, and a dense layer for each of two rows and of one
        ("cpc3d", {}, TALEB, {"code": 263_168, "context": 984_576, "predict": 2 * 263_168}),
        ("cpc3d", {"skip_row": True}, TALEB, {"predict": 263_168}),
        ("pgl", {}, PGL, {"projector": 9_449_728, "predictor": 2_109_696}),
        ("mae3d", {}, ("unetr", "small", 1, 14, (96, 96, 96)), {"encoder": 6_159_936}),
        (
            "mae3d",
            {},
            ("unetr", "base", 1, 14, (96, 96, 96)),
            {"encoder": 88_340_736, "decoder": 27_813_888},
        ),
    ],
)
def test_heads_have_the_published_number_of_parameters(name, params, network, sizes):
    cls = registry.load("method", name)
    with torch.device("meta"):
        method = cls(nets.network(*network), cls.Params(**params))
    counted = {part: sum(p.numel() for p in getattr(method, part).parameters()) for part in sizes}
    assert counted == sizes


@pytest.mark.parametrize(
    ("name", "params", "parts"),
    [
        ("inpainting2d", {}, BOTH),
        ("inpainting2d", {"transfer": "encoder"}, ENCODER),
        ("models_genesis", {}, BOTH),
        ("models_genesis", {"transfer": "encoder"}, ENCODER),
        ("hssl", {}, BOTH),
        ("hssl", {"init_decoder": False}, ENCODER),
        ("hssl", {"rec_weight": 0.0}, ENCODER),
        ("supervised", {}, BOTH),
        ("supervised", {"load": "encoder"}, ENCODER),
        ("simclr2d", {}, ENCODER),
    ],
)
def test_hands_over_the_parts_that_are_asked_for(build, name, params, parts):
    assert {k.split(".")[0] for k in build(name, params).transfer()} == parts


@pytest.mark.parametrize(
    ("name", "params", "asked", "channels"),
    [
        ("inpainting2d", {}, (4, 9), 4),  # those of the image
        ("models_genesis", {}, (4, 9), 4),
        ("hssl", {}, (3, 9), 3),
        ("supervised", {}, (1, 14), 14),  # the classes
        ("supervised", {"labels": "intensity"}, (2, 1), 4),
    ],
)
def test_the_decoder_gives_as_many_channels_as_are_restored_or_told_apart(
    name, params, asked, channels
):
    assert registry.load("method", name).make_params(params).out_channels(*asked) == channels


@pytest.mark.parametrize(
    ("name", "params", "words"),
    [
        (
            "hssl",
            {f"{p}_weight": 0.0 for p in ("image", "task", "group", "rec")},
            "nothing to learn",
        ),
        ("hssl", {"task_weight": -1.0}, "0 or more"),
        ("inpainting2d", {"ring": 4}, "ring belongs to mask 'centre'"),
        ("inpainting2d", {"mask": "centre", "ring": 8}, "empty"),
        ("inpainting2d", {"side": 1.0}, "between 0 and 1"),
        ("moco2d", {"queue": 0}, "1 or more"),
        ("moco2d", {"shuffle_groups": 0}, "1 or more"),
        ("models_genesis", {"scale_unit": "deform"}, "sigmoid"),
        ("models_genesis", {"bezier_points": 1}, "2 or more"),
        ("pgl", {"level": -1}, "is one cell"),
        ("pgl", {"level": 9}, "maps 0 to 4"),
        ("pgl", {"level": -6}, "maps 0 to 4"),
        ("rotation2d", {"flip": 0.5}, "mirror"),
        ("rotation2d", {"rotations_per_image": 3}, "4 or 1"),
        ("simclr2d", {"proj_layers": 0}, "proj_layers must be 1 or more"),
        ("simclr2d", {"multi_scale_head": True, "pyramid_levels": 6}, "this encoder has 1 to 5"),
        ("vicregl", {"alpha": 1.5}, "vicregl"),
        ("vicregl", {"num_matches": (0, 4)}, "num_matches"),
        ("vicregl", {"weights": (25.0, -1.0, 1.0)}, "weights"),
        ("vicregl", {"level": 5}, "maps 0 to 4"),
        ("voco", {"use_pred": False, "use_reg": False}, "both off"),
        ("voco", {"grid": (1, 1, 1)}, "no two bases"),
        ("voco", {"variant": "papr"}, "did you mean 'paper'"),
    ],
)
def test_refuses_settings_that_make_no_sense(build, name, params, words):
    with pytest.raises(BenchError, match=words):
        build(name, params)
