"""MAE for a U-Net: zero most blocks of a crop, and rebuild their voxels through encoder, skips and decoder."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from bench.method import Batch, Figure, Method
from bench.pretext.block_mask import HidesBlocks, hidden_voxels, rebuilding_errors
from bench.ranges import Count, Share
from bench.source import Source


class MAECNN3D(Method):
    """Wald et al. 2025: the masked autoencoder of a residual U-Net, dense convolutions, skips kept."""

    title = "MAE (U-Net)"
    needs = "decoder"
    source = Source(
        "T. Wald et al., Revisiting MAE pre-training for 3D medical image segmentation, CVPR 2025",
        "https://arxiv.org/abs/2410.23132",
        "https://github.com/MIC-DKFZ/nnssl",
    )
    fidelity = "official code compared: mask, prediction, loss and gradients, see docs/methods"
    figure = Figure("total", "error on hidden voxels", "flat", rises=False)
    across_batch = False

    @dataclass(frozen=True)
    class Params(HidesBlocks):
        """'code' is nnssl's BaseMAETrainer @ 7044864."""

        mask_ratio: Share = 0.75  # code: mask_percentage; the count rounds down
        block: Count = 16  # code: block_size of mask_creation
        loss: Literal["l1", "mse"] = "mse"  # code: MAEMSELoss; MAEL1Loss is an ablation there
        transfer: Literal["all", "encoder"] = "all"  # code: its checkpoints hold both

    params: Params

    def predict(self, batch: Batch) -> Tensor:
        """Return the image that the network makes of the visible voxels, (B, C, X, Y, Z)."""
        x = batch["crop"]
        hidden = hidden_voxels(batch["hidden"], self.params.block, x.shape[2:])
        seen = x.masked_fill(hidden, 0.0)
        return self.decoder(seen, self.encoder(seen))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the error on hidden voxels, and what predicting each block's mean would get."""
        p = self.params
        image = self.predict(batch)
        return rebuilding_errors(image, batch["crop"], batch["hidden"], p.block, p.loss)
