"""SparK in 3D (S3D): hidden blocks stay empty through the encoder, mask tokens fill them for the decoder."""

from dataclasses import dataclass
from math import prod
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.init import trunc_normal_

from bench.method import Batch, EncoderMaps, Figure, Method, Recipe, Triple
from bench.nets import Network, catalog
from bench.pretext.block_mask import HidesBlocks, grid, hidden_voxels, rebuilding_errors
from bench.pretext.losses import full_precision
from bench.pretext.mask import marked
from bench.pretext.visible_cells import Visible, dense_layers, seen_alone
from bench.ranges import Count, Share
from bench.source import Source

EPS = 1e-5  # torch's, of an instance norm
TOKEN_STD = 0.02  # code, cut off at one standard deviation


class SparK3D(Method):
    """Wald et al. 2025, S3D: the masked autoencoder of a residual U-Net with sparse convolutions."""

    title = "SparK3D (S3D)"
    needs = "decoder"
    source = Source(
        "T. Wald et al., Revisiting MAE pre-training for 3D medical image segmentation, CVPR 2025; "
        "K. Tian et al., Designing BERT for Convolutional Networks, ICLR 2023",
        "https://arxiv.org/abs/2410.23132",
        "https://github.com/MIC-DKFZ/nnssl",
    )
    fidelity = "official code compared: sparse encoder, densification, prediction, loss, gradients"
    figure = Figure("total", "error on hidden voxels", "flat", rises=False)
    across_batch = False

    @dataclass(frozen=True)
    class Params(HidesBlocks):
        """'code' is nnssl @ 7044864: SparkTrainer, spark_model, spark_utils."""

        mask_ratio: Share = 0.75  # code: mask_percentage; the count rounds down
        block: Count = 16  # code: block_size of mask_creation
        loss: Literal["l1", "mse"] = "mse"  # code: SparkLoss
        # code: norm, token and 3x3x3 convolution, none at the finest map (SparK3D);
        # tokens: EfficientSpark3D; none: use_mask_token False
        densify: Literal["project", "tokens", "none"] = "project"
        # SparK hides the input, too; the code does not, so its first convolution sees hidden voxels
        hide_input: bool = True
        transfer: Literal["all", "encoder"] = "all"  # code: its checkpoints hold both

        def head_flops(self, crop: Triple, maps: EncoderMaps) -> float:
            """Return the operations of the convolutions between encoder and decoder: 54 width^2 a cell."""
            levels = list(zip(maps.widths, maps.strides, strict=True))[1:]
            convolved = levels if self.densify == "project" else []
            return sum(54.0 * width**2 * prod(crop) / prod(stride) for width, stride in convolved)

        def check(self, crop: Triple, recipe: Recipe) -> None:
            """As the others do; and refuse a single visible block: a norm needs two cells."""
            super().check(crop, recipe)
            count = prod(grid(crop, self.block))
            if count - int(self.mask_ratio * count) < 2:
                raise self.refusal(
                    f"at most one of {count} blocks is visible, too few for norms, which take statistics "
                    "over visible cells; use smaller blocks, or a lower mask_ratio"
                )

    params: Params

    def __init__(self, network: Network, params: Params) -> None:
        super().__init__(network, params)
        if kinds := dense_layers(network.encoder):
            raise self.refusal(
                f"network {network.name!r} has layers that see hidden cells ({', '.join(kinds)}); use a "
                "convolutional network, such as resenc_unet"
            )
        levels = enumerate(network.encoder.widths if params.densify != "none" else ())
        project = params.densify == "project"
        self.fillers = nn.ModuleList(Filler(width, project, level > 0) for level, width in levels)

    @classmethod
    def networks(cls) -> list[str]:
        """Return those with a decoder that embed no patches: attention sees hidden cells."""
        facts = {name: catalog.network_facts(name) for name in super().networks()}
        return [name for name, fact in facts.items() if not (fact.tokens or fact.patches)]

    def maps(self, batch: Batch) -> tuple[Tensor, list[Tensor]]:
        """Return what the decoder is given: the seen voxels (B, C, X, Y, Z), and dense maps."""
        x, p = batch["crop"], self.params
        crop = x.shape[2:]
        blocks = grid(crop, p.block)
        count = torch.Size(blocks).numel()
        hidden = marked(batch["hidden"], count).view(-1, 1, *blocks)
        visible = Visible(~hidden, count - batch["hidden"].shape[1])
        seen = x.masked_fill(hidden_voxels(batch["hidden"], p.block, crop), 0.0)
        with seen_alone(self.encoder, visible):
            maps = self.encoder(seen if p.hide_input else x)
        if p.densify != "none":
            maps = [fill(m, visible) for fill, m in zip(self.fillers, maps, strict=True)]
        return seen, maps

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the error on hidden voxels, and what predicting each block's mean would get."""
        p = self.params
        image = self.decoder(*self.maps(batch))
        return rebuilding_errors(image, batch["crop"], batch["hidden"], p.block, p.loss)


class Filler(nn.Module):
    """Fills the hidden cells of one map with a learned token.

    Args:
        width: channels of the map.
        normed: is the map normalised over its visible cells first?
        convolved: and projected afterwards, where it is normed?
    """

    def __init__(self, width: int, normed: bool, convolved: bool) -> None:
        super().__init__()
        self.normed = normed
        token = torch.zeros(width)
        trunc_normal_(token, std=TOKEN_STD, a=-TOKEN_STD, b=TOKEN_STD)
        self.token = nn.Parameter(token)
        self.project: nn.Module = nn.Identity()
        if normed and convolved:
            self.project = nn.Conv3d(width, width, 3, padding=1)

    def forward(self, x: Tensor, visible: Visible) -> Tensor:
        """Return the dense map, (B, width, x, y, z)."""
        if self.normed:
            x = visible.put_back(standardised(visible.select(x)), x)
        token = self.token.to(x.dtype)[:, None, None, None]
        return self.project(torch.where(visible.of(x.shape[2:]), x, token))


@full_precision
def standardised(cells: Tensor) -> Tensor:
    """Return cells (B, C, n, 1, 1) as an instance norm without weights does; a lone one as it is."""
    if cells.shape[2] == 1:
        return cells
    variance, mean = torch.var_mean(cells, dim=2, correction=0, keepdim=True)
    return (cells - mean) * (variance + EPS).rsqrt()
