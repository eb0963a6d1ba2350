"""The networks and their sizes, one row each: plain facts that need neither torch nor MONAI.

Of a preset: its size, the crop at which it was counted, parameters of the whole network and of its encoder,
operations per voxel of both (forward, by torch's FlopCounterMode).
"""

from __future__ import annotations

from bench.nets.sizes import (
    DenseNetSize,
    DoubleSize,
    Entry,
    GenesisSize,
    PglSize,
    Preset,
    ResEncSize,
    ResNetSize,
    SegResNetSize,
    SwinUnetrSize,
    TalebSize,
    UnetrSize,
    UNetSize,
    VggSize,
)
from bench.ranges import Triple
from bench.source import Source

MONAI = "https://github.com/Project-MONAI/MONAI/blob/1.6.1/monai/networks/nets"
_FALK = Source(
    "Falk et al., U-Net: deep learning for cell counting, detection, and morphometry, "
    "Nature Methods 16 (2019)",
    "https://doi.org/10.1038/s41592-018-0261-2",
    f"{MONAI}/basic_unet.py",
)
_GENESIS = Source(
    "Zhou et al., Models Genesis: Generic Autodidactic Models for 3D Medical Image Analysis, MICCAI 2019",
    "https://arxiv.org/abs/1908.06912",
    "https://github.com/MrGiovanni/ModelsGenesis/blob/12f7feb/pytorch/unet3d.py",
)
_PAPER = TalebSize(16, 0.01)  # the configs' enc_filters; Keras' momentum of 0.99
# a trial of a few steps must not predict with the statistics it began with
_TINY = TalebSize(4, 0.1)
_CITE = "Taleb et al., 3D Self-Supervised Methods for Medical Imaging, NeurIPS 2020"
_URL = "https://arxiv.org/abs/2006.03829"
_CODE = "https://github.com/HealthML/self-supervised-3d-tasks/blob/ecc86ef/self_supervised_3d_tasks/models"


def _strides(*factors: int, dims: int = 3) -> tuple[Triple, ...]:
    """Return the strides of a pyramid that is coarser by the same factor along every axis it reads."""
    return tuple((f, f, f if dims == 3 else 1) for f in factors)


# fmt: off
NETWORKS = (
    Entry("densenet121", "DenseNet-121", "bench.nets.densenet",
        Source(
            "Huang et al., Densely Connected Convolutional Networks, CVPR 2017",
            "https://arxiv.org/abs/1608.06993", f"{MONAI}/densenet.py",
        ),
        (32, 32, 1), _strides(2, 4, 8, 16, 32, dims=2), {
            "tiny": Preset(DenseNetSize(16, 8, (2, 2, 4, 4)),
                           (64, 64, 1), 44_736, 44_736, 2_312, 2_312,
                           in_channels=3, out_channels=5),
            # 224 x 224 in three colours: the fundus pictures of Taleb et al.'s 2D configurations
            "base": Preset(DenseNetSize(64, 32, (6, 12, 24, 16)),
                           (224, 224, 1), 6_953_856, 6_953_856, 112_928, 112_928,
                           in_channels=3, out_channels=5),
        }, dims=2, tasks=("classification",), batch_norm=True),
    Entry("genesis_unet3d", "3D U-Net of Models Genesis", "bench.nets.genesis",
        _GENESIS,
        (8, 8, 8), _strides(1, 2, 4, 8), {
            "tiny": Preset(GenesisSize(4), (32, 32, 16), 299_110, 110_376, 29_524, 4_212),
            # without the seeds that lose a label (docs/finetuning.md); tracked studies have the former
            "tiny_leaky": Preset(
                GenesisSize(4, leak=0.1), (32, 32, 16), 299_110, 110_376, 29_524, 4_212,
            ),
            "base": Preset(GenesisSize(32), (64, 64, 32), 19_074_510, 7_027_776, 1_864_896, 257_472),
        }, batch_norm=True),
    Entry("genesis_unet3d_light", "3D U-Net of Models Genesis with a light decoder", "bench.nets.genesis",
        _GENESIS,
        (8, 8, 8), _strides(1, 2, 4, 8), {
            "tiny": Preset(
                GenesisSize(4, leak=0.1, light=True), (32, 32, 16), 113_262, 110_376, 8_062, 4_212,
            ),
            "base": Preset(GenesisSize(32, light=True), (64, 64, 32), 7_201_294, 7_027_776, 491_328, 257_472),
        }, batch_norm=True),
    Entry("hssl_resnet34", "ResNet-34 with DeConv decoder", "bench.nets.hssl",
        Source(
            "Zheng et al., Hierarchical Self-Supervised Learning for Medical Image Segmentation Based "
            "on Multi-Domain Data Aggregation, MICCAI 2021",
            "https://arxiv.org/abs/2107.04886",
        ),
        (32, 32, 1), _strides(2, 4, 8, 16, 32, dims=2), {
            "tiny": Preset(ResNetSize(8, (1, 1, 1, 1)), (64, 64, 1), 90_138, 77_528, 1_508, 676),
            "small": Preset(ResNetSize(16, (1, 1, 1, 1)), (64, 64, 1), 357_670, 307_888, 5_416, 2_312),
            "base": Preset(ResNetSize(64, (3, 4, 6, 3)),
                           (192, 192, 1), 22_067_310, 21_278_400, 189_856, 142_880),
        }, dims=2, batch_norm=True),
    Entry("hssl_unet", "2D U-Net, 39.40 M", "bench.nets.unet3plus",
        Source(
            "Ronneberger et al., U-Net: Convolutional Networks for Biomedical Image Segmentation, "
            "MICCAI 2015",
            "https://arxiv.org/abs/1505.04597", "https://github.com/ZJUGiveLab/UNet-Version",
        ),
        (16, 16, 1), _strides(1, 2, 4, 8, 16, dims=2), {
            "tiny": Preset(DoubleSize(8, False), (64, 64, 1), 618_238, 295_896, 28_144, 8_208),
            "base": Preset(DoubleSize(64, False), (192, 192, 1), 39_402_382, 18_849_984, 1_680_256, 517_248),
        }, dims=2, batch_norm=True),
    Entry("pgl_resnet50", "3D ResNet-50 with ASPP and a light decoder", "bench.nets.pgl",
        # the encoder's code; https://github.com/YtongXie/PGL holds none
        Source(
            "Xie et al., PGL: Prior-Guided Local Self-supervised Learning for 3D Medical Image "
            "Segmentation, arXiv 2020",
            "https://arxiv.org/abs/2011.12640", f"{MONAI}/resnet.py",
        ),
        (16, 16, 8), ((2, 2, 1), (4, 4, 2), (8, 8, 4), (16, 16, 8), (16, 16, 8)), {
            "tiny": Preset(PglSize((1, 1, 1, 1), (8, 16, 32, 64), 32, (32, 16, 16)),
                           (32, 32, 16), 273_526, 227_880, 3_061, 1_845),
            "base": Preset(PglSize((3, 4, 6, 3), (64, 128, 256, 512), 256, (256, 128, 32)),
                           (160, 160, 48), 48_535_438, 46_155_072, 117_328, 101_728),
        }, batch_norm=True),
    Entry("resenc_unet", "Residual encoder U-Net", "bench.nets.resenc",
        Source(
            "Isensee et al., nnU-Net Revisited: A Call for Rigorous Validation in 3D Medical Image "
            "Segmentation, MICCAI 2024",
            "https://arxiv.org/abs/2404.09556", "https://github.com/MIC-DKFZ/dynamic-network-architectures",
        ),
        (32, 32, 32), _strides(1, 2, 4, 8, 16, 32), {
            "tiny": Preset(ResEncSize((8, 8, 16, 32, 64, 64), (1, 1, 1, 1, 1, 2), 4),
                           (32, 32, 32), 1_026_070, 671_696, 17_751, 8_809),
            # ResEnc-L. nnU-Net plans a crop for each data set; 160^3 is nnssl's, for pretraining and after
            "base": Preset(ResEncSize((32, 64, 128, 256, 320, 320), (1, 3, 4, 6, 6, 6)),
                           (160, 160, 160), 102_359_430, 90_296_576, 684_937, 466_443, lone=False),
        }, scales=5, views="multiples"),
    Entry("segresnet", "SegResNet", "bench.nets.segresnet",
        # version 2: the tiny one has 8 channels and leaking rectifiers
        Source(
            "Myronenko, 3D MRI brain tumor segmentation using autoencoder regularization, BrainLes "
            "2018",
            "https://arxiv.org/abs/1810.11654", f"{MONAI}/segresnet.py",
        ),
        (8, 8, 8), _strides(1, 2, 4, 8), {
            "tiny": Preset(SegResNetSize(8, (1, 1, 1, 1), 4, 0.1),
                           (32, 32, 32), 442_662, 367_032, 27_280, 14_904),
            "small": Preset(SegResNetSize(8), (64, 64, 64), 1_176_294, 1_100_664, 35_056, 22_680),
            "base": Preset(SegResNetSize(16), (96, 96, 96), 4_701_118, 4_399_344, 138_912, 89_856),
            "large": Preset(SegResNetSize(32), (96, 96, 96), 18_796_398, 17_590_752, 553_024, 357_696),
        }, version=2),
    Entry("swin_unetr", "Swin UNETR", "bench.nets.swin_unetr",
        Source(
            "Hatamizadeh et al., Swin UNETR: Swin Transformers for Semantic Segmentation of Brain "
            "Tumors in MRI Images, BrainLes 2021",
            "https://arxiv.org/abs/2201.01266", f"{MONAI}/swin_unetr.py",
        ),
        (32, 32, 32), _strides(2, 4, 8, 16, 32), {
            "tiny": Preset(SwinUnetrSize(12, (1, 1, 1, 1), (1, 2, 2, 2), 4),
                           (32, 32, 32), 3_748_977, 363_427, 51_137, 8_900),
            "small": Preset(SwinUnetrSize(24, (2, 2, 2, 2), (3, 6, 12, 24)),
                            (96, 96, 96), 15_703_304, 2_171_466, 187_505, 20_573, lone=False),
            "base": Preset(SwinUnetrSize(48, (2, 2, 2, 2), (3, 6, 12, 24)),
                           (96, 96, 96), 62_187_296, 8_062_002, 720_045, 56_349, lone=False),
            # for weights that others trained with MONAI before 1.5
            "base_legacy": Preset(SwinUnetrSize(48, (2, 2, 2, 2), (3, 6, 12, 24), merging="legacy"),
                                  (96, 96, 96), 62_187_296, 8_062_002, 720_045, 56_349, lone=False),
            "base_v2": Preset(SwinUnetrSize(48, (2, 2, 2, 2), (3, 6, 12, 24), v2=True),
                              (96, 96, 96), 72_762_656, 18_637_362, 778_365, 114_669, lone=False),
            "base_v2_legacy": Preset(
                SwinUnetrSize(48, (2, 2, 2, 2), (3, 6, 12, 24), v2=True, merging="legacy"),
                (96, 96, 96), 72_762_656, 18_637_362, 778_365, 114_669, lone=False),
        }, patches=True),
    Entry("taleb_unet2d", "2D U-Net of Taleb et al.", "bench.nets.taleb",
        Source(_CITE, _URL, f"{_CODE}/unet.py"),
        (32, 32, 1), _strides(1, 2, 4, 8, 32, dims=2), {
            "tiny": Preset(_TINY, (64, 64, 1), 122_454, 74_364, 5_912, 2_088),
            "base": Preset(_PAPER, (128, 128, 1), 1_943_982, 1_180_464, 92_384, 32_544),
        }, dims=2, batch_norm=True),
    Entry("taleb_unet3d", "3D U-Net of Taleb et al.", "bench.nets.taleb",
        Source(_CITE, _URL, f"{_CODE}/unet3d.py"),
        (32, 32, 32), _strides(1, 2, 4, 8, 32), {
            "tiny": Preset(_TINY, (32, 32, 32), 354_014, 221_604, 7_387, 2_295),
            "base": Preset(_PAPER, (128, 128, 128), 5_648_078, 3_535_440, 114_256, 34_128),
        }, batch_norm=True),
    Entry("unet2d", "2D U-Net", "bench.nets.unet",
        _FALK,
        (16, 16, 1), _strides(1, 2, 4, 8, 16, dims=2), {
            "tiny": Preset(UNetSize((8, 16, 32, 32, 64, 8), 4), (64, 64, 1), 166_518, 92_568, 18_688, 5_760),
            "small": Preset(UNetSize((16, 16, 32, 64, 128, 16), 8),
                            (128, 128, 1), 496_126, 298_896, 38_304, 12_384),
            "base": Preset(UNetSize((32, 32, 64, 128, 256, 32), 8),
                           (192, 192, 1), 1_978_862, 1_192_224, 151_744, 48_960),
        }, dims=2),
    Entry("unet3d", "3D U-Net", "bench.nets.unet",
        _FALK,
        (16, 16, 16), _strides(1, 2, 4, 8, 16), {
            "tiny": Preset(UNetSize((8, 8, 16, 32, 32, 8), 4), (32, 32, 32), 223_622, 113_112, 18_249, 5_265),
            "small": Preset(UNetSize((16, 16, 32, 64, 128, 16), 8),
                            (64, 64, 64), 1_439_006, 893_616, 72_140, 20_412),
            "base": Preset(UNetSize((32, 32, 64, 128, 256, 32), 8),
                           (96, 96, 96), 5_749_806, 3_570_528, 285_936, 79_920),
        }),
    Entry("unet3plus", "UNet 3+", "bench.nets.unet3plus",
        Source(
            "Huang et al., UNet 3+: A Full-Scale Connected UNet for Medical Image Segmentation, "
            "ICASSP 2020",
            "https://arxiv.org/abs/2004.08790", "https://github.com/ZJUGiveLab/UNet-Version",
        ),
        (16, 16, 1), _strides(1, 2, 4, 8, 16, dims=2), {
            "tiny": Preset(DoubleSize(8, True), (64, 64, 1), 428_630, 295_896, 104_328, 8_208),
            "base": Preset(DoubleSize(64, True), (192, 192, 1), 27_008_078, 18_849_984, 6_104_448, 517_248),
        }, dims=2, batch_norm=True),
    Entry("unetr", "UNETR", "bench.nets.unetr",
        Source(
            "Hatamizadeh et al., UNETR: Transformers for 3D Medical Image Segmentation, WACV 2022",
            "https://arxiv.org/abs/2103.10504", f"{MONAI}/unetr.py",
        ),
        (16, 16, 16), _strides(16, 16, 16, 16), {
            "tiny": Preset(UnetrSize(96, 4, 4, 192, 8), (64, 64, 32), 1_400_062, 694_560, 30_630, 348),
            # DeiT-Ti's 192 / 12 / 3, the "ViT-T" of the masked-autoencoder papers
            "small": Preset(UnetrSize(192, 12, 3, 768, 16),
                            (96, 96, 96), 8_981_230, 6_159_936, 123_246, 3_462),
            "base": Preset(UnetrSize(768, 12, 12, 3072, 16),
                           (96, 96, 96), 92_784_046, 88_340_736, 165_528, 44_952),
        }, tokens=True, patches=True, views="crops"),
    Entry("vgg19", "VGG-19", "bench.nets.vgg",
        Source(
            "Simonyan & Zisserman, Very Deep Convolutional Networks for Large-Scale Image "
            "Recognition, ICLR 2015",
            "https://arxiv.org/abs/1409.1556",
            "https://github.com/pytorch/vision/blob/main/torchvision/models/vgg.py",
        ),
        (32, 32, 1), _strides(1, 2, 4, 8, 16, 32, dims=2), {
            "tiny": Preset(VggSize((8, 16, 32, 32, 32), (1, 1, 2, 2, 2)),
                           (64, 64, 1), 52_272, 52_272, 3_456, 3_456,
                           in_channels=3, out_channels=5),
            # column E of the paper's table 1, at the crop that its section 2.1 has
            "base": Preset(VggSize((64, 128, 256, 512, 512), (2, 2, 4, 4, 4)),
                           (224, 224, 1), 20_024_384, 20_024_384, 777_600, 777_600,
                           in_channels=3, out_channels=5),
        }, dims=2, tasks=("classification",)),
)
# fmt: on
