"""Tables over methods: sizes of published heads, what is handed over, and which settings are refused."""

from contextlib import nullcontext
from math import prod

import pytest
import torch
from small_methods import build, parts

from bench import nets, registry
from bench.dataset import Recipe
from bench.errors import BenchError

RESNET, PGL = ("hssl_resnet34", "base", 1, 2), ("pgl_resnet50", "base", 1, 2, (96, 96, 16))
TALEB = ("taleb_unet3d", "base", 1, 2, (32, 32, 32))
BOTH, ENCODER = {"encoder", "decoder"}, {"encoder"}
LEVELS = [f"{part}_weight" for part in ("image", "task", "group", "rec")]
SLICES = [f"{part}_weight" for part in ("intra", "inter", "mask")]
DEEP, BLOCKS = {"adversary_widths": [4] * 5}, ("mae_cnn3d", "spark3d")
RESTORE = ("volume_fusion", *BLOCKS)


CUBE, FLAT = (128, 128, 128), (128, 128, 1)
GENESIS, PLUS = ("genesis_unet3d", "base", 1, 1, (64, 64, 32)), {"plus": True}
RUBIK, VIT = ("genesis_unet3d", "base", 1, 2, (64, 64, 64)), ("unetr", "base", 1, 14, (96, 96, 96))
# five levels of 64, 64, 128, 256 and 512 channels to 128 each; 640 - 512 - 128; 8 and 4 classes
HSSL = {"pyramid": 131_712, "projector": 393_856, "classifiers": 5_128 + 2_564}
# a dense layer to 1024, a GRU, and a dense layer for each of two rows and of one
CPC = {"code": 263_168, "context": 984_576, "predict": 2 * 263_168}
VOLUME, PICTURE = (("taleb_unet3d", "base", 1, 2, CUBE), ("taleb_unet2d", "base", 1, 2, FLAT))
UNIMISS = (768 * 2048 + 2048) + (2048 * 2048 + 2048) + (2048 * 256 + 256) + 65536 * 256


@pytest.mark.parametrize(
    ("name", "params", "network", "sizes"),
    [
        ("byol3d", {}, ("unet3d", "tiny", 1, 2), {"predictor": 2_109_696}),
        ("moco2d", {}, RESNET, {"projector": 65_664}),
        ("moco2d", {"mlp": True}, RESNET, {"projector": 328_320}),
        ("simclr2d", {}, RESNET, {"projector": 329_344}),  # 512 - 512 - 128, a batch norm between
        ("simclr2d", {"batch_norm": False, "proj_layers": 3}, RESNET, {"projector": 590_976}),
        ("hssl", {}, RESNET, HSSL),
        ("cpc3d", {}, TALEB, CPC),
        ("cpc3d", {"skip_row": True}, TALEB, {"predict": 263_168}),
        ("pgl", {}, PGL, {"projector": 9_449_728, "predictor": 2_109_696}),
        ("mae3d", {}, ("unetr", "small", *VIT[2:]), {"encoder": 6_159_936}),
        ("mae3d", {}, VIT, {"encoder": 88_340_736, "decoder": 27_813_888}),
        ("simmim3d", {}, VIT, {"": 91_491_328}),  # ViTSimMIM of MIM-Med3D
        ("rubik", {}, RUBIK, {"": 9_805_172}),
        ("rubik", PLUS, RUBIK, {"": 10_338_684}),
        ("pcrlv1", {}, GENESIS, {"": 19_289_473}),
        ("pcrlv2", {}, GENESIS, {"": 17_111_434}),
        ("unimiss", {}, ("unetr", "base", 1, 2, (32, 32, 32)), {"projector": UNIMISS}),
        ("jigsaw3d", {"jitter": 3}, VOLUME, {"head": 16_364_644}),
        ("jigsaw2d", {"jitter": 4}, PICTURE, {"head": 6_927_460}),
        ("rpl3d", {"jitter": 3}, VOLUME, {"head": 3_181_594}),
        ("rpl2d", {"jitter": 4}, PICTURE, {"head": 3_163_144}),
    ],
)
def test_heads_have_the_published_number_of_parameters(name, params, network, sizes):
    cls = registry.load("method", name)
    with torch.device("meta"):
        method = cls(nets.network(*network), cls.Params(**params))
    for part, size in sizes.items():  # of all: what is trained
        counted = method.get_submodule(part).parameters()
        assert sum(p.numel() for p in counted if part or p.requires_grad) == size, part


@pytest.mark.parametrize(
    ("name", "params", "crop", "patch", "count"),
    [
        ("jigsaw3d", {"jitter": 3}, CUBE, (39, 39, 39), 27),
        ("jigsaw2d", {"jitter": 4}, FLAT, (38, 38, 1), 9),
        ("rpl3d", {"jitter": 3}, CUBE, (39, 39, 39), 2),
        ("rpl2d", {"jitter": 8, "queries_per_image": 4}, (224, 224, 1), (66, 66, 1), 5),
    ],
)
def test_patches_have_the_sizes_of_the_code_and_the_forecast_counts_them(
    name, params, crop, patch, count
):
    chosen = registry.load("method", name).make_params(params)
    assert chosen.patch(crop) == patch
    assert chosen.voxels_per_sample(crop) == count * prod(patch)


@pytest.mark.parametrize(
    ("name", "params", "handed"),
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
        ("transvw", {}, BOTH),
        ("transvw", {"transfer": "encoder"}, ENCODER),
        ("transvw", {"image_weight": 0.0}, ENCODER),
        *((name, {}, BOTH) for name in RESTORE),
        *((name, {"transfer": "encoder"}, ENCODER) for name in RESTORE),
        ("pcrlv1", {"transfer": "all"}, BOTH),
        ("pcrlv1", {"transfer": "encoder"}, ENCODER),
        ("rubikpp", {"transfer": "encoder"}, ENCODER),
    ],
)
def test_hands_over_the_parts_that_are_asked_for(name, params, handed):
    assert parts(build(name, params).transfer()) == handed


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
        ("hssl", dict.fromkeys(LEVELS, 0.0), "nothing to learn"),
        ("hssl", {"task_weight": -1.0}, "0 or more"),
        ("inpainting2d", {"ring": 4}, "ring works only with mask 'centre'"),
        ("inpainting2d", {"mask": "centre", "ring": 8}, "empty"),
        ("inpainting2d", {"side": 1.0}, "between 0 and 1"),
        ("moco2d", {"queue": 0}, "1 or more"),
        ("moco2d", {"shuffle_groups": 0}, "1 or more"),
        ("models_genesis", {"scale_unit": "deform"}, "sigmoid"),
        ("models_genesis", {"bezier_points": 1}, "2 or more"),
        ("pgl", {"level": -1}, "has a single cell"),
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
        ("lejepa3d", {"knots": 16}, "odd number"),
        ("lejepa3d", {"weight": 1.5}, "weight"),
        ("rotation3d", {"versions": 11}, "use fewer"),
        ("rotation3d", {"dropout": 1.0}, "dropout"),
        ("jigsaw2d", {"permutations": 25}, "4 patches have only 24 orders"),
        ("jigsaw3d", {"n": 1}, "cannot be shuffled"),
        ("rubik", {"grid": (2, 1, 1)}, "2 cubes have fewer than 100 orders"),
        ("rubik", {"grid": (1, 1, 1), "orders": 1}, "1 cubes"),
        ("swinmm", {"swaps": ["yz"]}, "swaps must be one or both of xy and xz"),
        ("glmae", {"local_weight": 0.0, "global_weight": 0.0}, "must be above 0"),
        ("gvsl", {"affine": False, "dense": False}, "both off"),
        ("gvsl", {"window": 4}, "has no middle"),
        ("pcrlv1", {"contrast": "nce"}, "needs nce_samples"),
        (
            "cpc3d",
            {"patches_per_side": 3, "boundary": "reflect"},
            "use 4 or more, or boundary: zero",
        ),
        ("cpc3d", {"skip_row": True}, "of 2 rows none is left.* use 3"),
        ("cpc3d", {"patches_per_side": 1}, "of 1 rows none is left"),
        ("cpc3d", {"overlap": 1.0}, "below 1"),
        ("jigsaw_clustering", {"grid": (1, 1, 1)}, "two or more patches"),
        ("jigsaw_clustering", {"overlap": 0.6}, "two or more patches"),
        ("transvw", {"local_rate": 0.5}, "one deformation at most"),
        ("transvw", {"scale_unit": "deform"}, "sigmoid"),
        ("transvw", {"words": 1}, "2 or more"),
        ("transvw", {"words": 44, "apart": 0.9}, "found no"),
        ("transvw", {"warm": 1.0}, "warm"),
        ("transvw", {"border": (-1, 0, 0)}, "border"),
        ("transvw", {"word_weight": 0.0}, "word_weight"),
        ("jssl", dict.fromkeys(SLICES, 0.0), "nothing to learn"),
        ("jssl", {"heads": 7}, "divisible by heads"),
        ("jssl", {"mask_ratio": 0.99}, "masks 8 of 8"),
        ("jssl", {"mask_ratio": 0.0}, "masks 0 of 8"),
        ("jssl", {"clustering": "deepcluster", "queue": 5}, "too short for 6 cluster centres"),
        ("jssl", {"effects": ("blur",)}, "different effects"),
        ("byol3d", {"init_target": "zero"}, "init_target"),
        ("byol3d", {"ema_buffers": "zero"}, "ema_buffers"),
        *((name, {"n": n}, "has no middle cell") for name in ("rpl3d", "rpl2d") for n in (1, 2)),
        *((name, {"dropout": 1.0}, "dropout") for name in ("rpl3d", "rpl2d")),
        *((name, {"hidden": (0,)}, "hidden") for name in ("rpl3d", "rpl2d")),
        ("voco", {"use_pred": False, "use_reg": False}, "both off"),
        ("voco", {"grid": (1, 1, 1)}, "fewer than two base crops"),
        ("voco", {"variant": "papr"}, "did you mean 'paper'"),
        ("dinov2_3d", {"class_weight": 0.0, "patch_weight": 0.0}, "must be above 0"),
        ("dinov2_3d", {"local_crop": (24, 16, 16)}, "set local_crop, or locals: 0"),
        ("dinov2_3d", {"mask_ratio": (0.0, 0.5)}, "mask_ratio"),
        ("hi_end_mae", {"decoder_dim": 33}, "must be divisible by decoder_heads"),
        ("inpainting2d", {"adversary_widths": []}, "one or more"),
        ("inpainting2d", {"adversary_widths": [4, 0]}, "must be 1 or more"),
        ("inpainting2d", {"adversary": 0.1, "mask": "centre", **DEEP}, r"gets \(16, 16\) pixels"),
        ("volume_fusion", {"patches": (40, 10)}, "the second number must not be smaller"),
    ],
)
def test_refuses_settings_that_make_no_sense(name, params, words):
    with pytest.raises(BenchError, match=words):
        build(name, params)


CUBE, BOX, SLICE, HALF = (32, 32, 32), (32, 48, 32), (32, 32, 1), (16, 16, 16)
CELLS, NINE = {"grid": (2, 2, 2), "jitter": (4, 4, 0)}, {"slices": 9}
CORNER, LARGE, RESIZE = (
    {"place": "corner", "jitter": 2},
    (48, 48, 48),
    "recipe must resize to the crop",
)


@pytest.mark.parametrize(
    ("name", "params", "crop", "resize", "words"),
    [
        ("rotation2d", {}, (32, 48, 1), None, "square"),
        ("rotation2d", {}, SLICE, None, None),
        ("rotation3d", {}, (32, 32, 16), None, "turns cubes"),
        ("rotation3d", {}, CUBE, None, None),
        ("swin_unetr_ssl", {}, BOX, None, "about z changes the shape"),
        ("swin_unetr_ssl", {}, (32, 32, 48), None, None),
        ("swinmm", {"unit": 8}, BOX, None, "not square in xy"),
        ("swinmm", {"unit": 16, "axis": 1, "swaps": ["xz"]}, BOX, None, None),
        ("swinmm", {"unit": 8}, (20, 20, 20), None, "cannot be divided into units"),
        ("jssl", {}, (32, 32, 4), None, "fewer than 8 slices"),
        ("jssl", {"mask_ratio": 0.0, "mask_weight": 0.0}, (32, 32, 8), None, None),
        ("transvw", {}, CUBE, BOX, "only 15 places for 44 words"),
        ("transvw", {}, (16, 24, 16), BOX, None),
        ("transvw", {}, CUBE, None, None),
        ("simclr2d", NINE, SLICE, (32, 32, 8), "volumes of 8 slices do not have 9"),
        ("simclr2d", NINE, SLICE, (32, 32, 9), None),
        ("simclr2d", NINE, SLICE, (32, 32, 0), None),
        ("cpc3d", {}, (16, 16, 16), BOX, r"\(40, 40, 40\) voxels and do not fit .*\(32, 48, 32\)"),
        ("cpc3d", {}, (16, 16, 16), (40, 40, 0), None),
        ("rubik", CELLS, (16, 16, 16), (40, 40, 30), "do not fit into volumes"),
        ("rubik", CELLS, (16, 16, 16), (40, 40, 32), None),
        ("rubikpp", {"cubes": 3}, (32, 33, 33), None, "divided into 3 cubes along"),
        (
            "jigsaw2d",
            {"n": 2, "jitter": 2},
            (48, 48, 1),
            None,
            "100: 4 patches have only 24 orders",
        ),
        ("jigsaw3d", {"jitter": 16}, LARGE, None, "no voxel is left"),
        ("rpl3d", {"jitter": 16}, LARGE, None, "no voxel is left of a patch"),
        ("rpl3d", CORNER, LARGE, None, RESIZE),
        ("rpl3d", CORNER, LARGE, (48, 48, 64), RESIZE),
        ("rpl3d", CORNER, LARGE, LARGE, None),
        ("rpl2d", CORNER, (48, 48, 1), (48, 48, 0), None),
        ("rpl3d", {"jitter": 2}, LARGE, (48, 47, 48), r"not fit into volumes of \(48, 47, 48\)"),
        ("rpl3d", {"jitter": 2}, (50, 50, 50), LARGE, None),  # two voxels are left over
        *((name, {"block": 12}, HALF, None, "do not fill crops") for name in BLOCKS),
        *((name, {"block": 16}, HALF, None, "hides 0; use smaller blocks") for name in BLOCKS),
        *((name, {"block": 8, "mask_ratio": 1.0}, HALF, None, "hides 8") for name in BLOCKS),
        ("spark3d", {"block": 8, "mask_ratio": 0.9}, HALF, None, "one of 8 blocks is visible"),
        ("vox2vec", {"voxels": 2000}, (16, 12, 8), None, "1536; use fewer"),
    ],
)
def test_refuses_crops_and_volumes_that_do_not_fit(name, params, crop, resize, words):
    chosen = registry.load("method", name).make_params(params)
    with pytest.raises(BenchError, match=words) if words else nullcontext():
        chosen.check(crop, Recipe(resize=resize))


HUNDRED, PATCH = (96, 96, 96), r"patches of crops of \(96, 96, 96\) \(n 3, jitter 2\)"


@pytest.mark.parametrize(
    ("name", "params", "network", "crop", "words"),
    [
        ("pcrlv2", {}, "unetr", (64, 64, 32), "cannot read local views"),
        ("pcrlv2", {}, "swin_unetr", (64, 64, 32), "cannot read local views"),
        ("pcrlv2", {}, "primus", (64, 64, 32), "cannot read local views"),
        ("pcrlv2", {"locals": 0}, "unetr", (64, 64, 32), None),
        ("pcrlv2", {}, "unet3d", (64, 64, 32), None),
        ("jigsaw_clustering", {}, "swin_unetr", HUNDRED, r"last map of\s+\(3, 3, 3\)"),
        ("jigsaw_clustering", {}, "swin_unetr", (64, 64, 64), None),
        ("jigsaw3d", {"jitter": 2}, "unetr", HUNDRED, "reads only crops of its own size"),
        ("rpl3d", {"jitter": 2}, "taleb_unet3d", HUNDRED, PATCH),
        ("rpl3d", {"jitter": 2}, "taleb_unet3d", (128, 128, 128), None),
        ("rpl3d", {"jitter": 2}, "unetr", HUNDRED, "only crops of its own size"),
        ("rpl2d", {"queries_per_image": 9}, "unet2d", (96, 96, 1), "only 8 cells lie around"),
        ("rpl2d", {"jitter": 2}, "taleb_unet2d", (128, 128, 1), None),
    ],
)
def test_refuses_networks_that_cannot_read_its_views(name, params, network, crop, words):
    chosen = registry.load("method", name).make_params(params)
    with pytest.raises(BenchError, match=words) if words else nullcontext():
        chosen.check_batch(network, crop, 4, 1)
