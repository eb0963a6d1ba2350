"""The sizes of the U-Nets of Taleb et al."""

from __future__ import annotations

from dataclasses import dataclass

from bench.nets.catalog.facts import Entry, Preset, strides
from bench.source import Source


@dataclass(frozen=True)
class TalebSize:
    """Width of the first level, doubled at each below; a batch's share in the running statistics."""

    filters: int
    momentum: float


_PAPER = TalebSize(16, 0.01)  # the configs' enc_filters; Keras' momentum of 0.99
_TINY = TalebSize(4, 0.1)  # a trial of a few steps must not predict with the statistics it began with
_CITE = "Taleb et al., 3D Self-Supervised Methods for Medical Imaging, NeurIPS 2020"
_URL = "https://arxiv.org/abs/2006.03829"
_CODE = "https://github.com/HealthML/self-supervised-3d-tasks/blob/ecc86ef/self_supervised_3d_tasks/models"

_TALEB3D = Entry(
    "taleb_unet3d",
    "3D U-Net of Taleb et al.",
    "bench.nets.taleb",
    Source(_CITE, _URL, f"{_CODE}/unet3d.py"),
    (32, 32, 32),
    strides(1, 2, 4, 8, 32),
    {
        "tiny": Preset(_TINY, (32, 32, 32), 354_014, 221_604, 7_387, 2_295),
        "base": Preset(_PAPER, (128, 128, 128), 5_648_078, 3_535_440, 114_256, 34_128),
    },
    batch_norm=True,
)
_TALEB2D = Entry(
    "taleb_unet2d",
    "2D U-Net of Taleb et al.",
    "bench.nets.taleb",
    Source(_CITE, _URL, f"{_CODE}/unet.py"),
    (32, 32, 1),
    strides(1, 2, 4, 8, 32, dims=2),
    {
        "tiny": Preset(_TINY, (64, 64, 1), 122_454, 74_364, 5_912, 2_088),
        "base": Preset(_PAPER, (128, 128, 1), 1_943_982, 1_180_464, 92_384, 32_544),
    },
    dims=2,
    batch_norm=True,
)
ENTRIES = (_TALEB2D, _TALEB3D)
