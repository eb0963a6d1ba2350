"""SimCLR on slices: two augmented views of one slice attract, those of other slices repel."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from bench.method import Batch, Figure, Method
from bench.nets import Network
from bench.pretext.contrast import view_contrast
from bench.pretext.heads import mlp
from bench.pretext.pyramid import PyramidVector
from bench.pretext.slice_views import SliceViews
from bench.ranges import Count, Positive, Whole
from bench.source import Source


class SimCLR2D(Method):
    """Chen et al.'s objective on HSSL's views; HSSL's Fig. 4 on one data set and on eight."""

    title = "SimCLR"
    version = 2  # 2: hidden as wide as the encoder, noise in units of the views, chance by data set
    dims = 2
    source = Source(
        "T. Chen et al., A Simple Framework for Contrastive Learning, ICML 2020",
        "https://arxiv.org/abs/2002.05709",
        "https://github.com/google-research/simclr",
    )
    fidelity = "loss compared with the authors' code; views as HSSL lists them, their amounts assumed"
    figure = Figure("retrieval", "views whose nearest view is their partner", chance="chance")
    min_batch = 2  # one slice has no negatives: the loss is 0

    @dataclass(frozen=True)
    class Params(SliceViews):
        """The head and the loss; the views' are inherited."""

        temperature: Positive = 0.1  # code (flag's default); HSSL: not stated
        proj_layers: Count = 2  # paper, Section 4.2; code: 3
        hidden: Count | None = None  # paper, Section 4.2: the width of what the head reads, the encoder's
        out: Count = 128  # paper, Section 4.2
        batch_norm: bool = True  # code, on hidden layers; the paper's formula of g omits it
        reduction: Literal["mean2N", "sum_pairs"] = "mean2N"  # paper, Algorithm 1; code, HSSL: sum_pairs
        multi_scale_head: bool = False  # assumed: HSSL's text does not say that Fig. 4's CL has its pyramid
        pyramid_levels: int | None = None  # assumed: all, the coarsest n otherwise; of multi_scale_head
        compress: Whole = 128  # assumed: channels of each level; of multi_scale_head

    params: Params

    def __init__(self, network: Network, params: Params) -> None:
        super().__init__(network, params)
        p, widths = params, network.encoder.widths
        scales = (p.pyramid_levels, p.compress) if p.multi_scale_head else (1, 0)
        self.pyramid = PyramidVector(widths, *scales)
        head = [self.pyramid.width, *[p.hidden or self.pyramid.width] * (p.proj_layers - 1), p.out]
        self.projector = mlp(head, "batch" if p.batch_norm else "none")

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return NT-Xent and the share of views whose nearest neighbour is their partner."""
        z = self.projector(self.pyramid(self.encoder(batch["views"].flatten(0, 1))))
        total, shown = view_contrast(z, batch, self.params.temperature)
        return {"total": 2 * total if self.params.reduction == "sum_pairs" else total, **shown}
