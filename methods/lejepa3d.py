"""LeJEPA on volumes: views predict the mean of the large ones, and embeddings are held to a standard normal."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from bench import augment, distributed
from bench.method import Batch, EncoderMaps, Figure, Method, Triple
from bench.nets import Network, TokenEncoder
from bench.pretext import nuisance
from bench.pretext.boxes import Ratio, shares
from bench.pretext.heads import mlp
from bench.pretext.losses import full_precision, matched
from bench.pretext.multi_crop import MultiCrop, View, check_small, embedded
from bench.ranges import Amounts, Count, Factors, Positive, Share, Shares, Whole
from bench.source import Source


class LeJEPA3D(Method):
    """Balestriero & LeCun 2025 with multi-crop of a scan: no teacher, no stopped gradient."""

    title = "LeJEPA"
    source = Source(
        "Balestriero & LeCun, LeJEPA: Provable and Scalable Self-Supervised Learning Without the "
        "Heuristics, 2025",
        "https://arxiv.org/abs/2511.08544",
        "https://github.com/rbalestr-lab/lejepa",
    )
    figure = Figure("retrieval", "views whose nearest other view is of their own scan", "chance")
    fidelity = "official code compared: SIGReg and the whole loss; views of volumes assumed"
    min_batch = 2  # the projector has batch norm
    version = 2  # 2: the paper's lambda and slices; without tokens all views are the target

    @dataclass(frozen=True)
    class Params(MultiCrop):
        """'paper' is arXiv 2511.08544v3, 'code' MINIMAL.md of the authors, 'README' theirs."""

        locals: Whole = 6  # README: beside 2 large views; paper: 8, "as starting points"
        flip: Share = 0.5  # README, of the horizontal axis; assumed: per axis
        weight: Share = 0.05  # paper: lambda of SIGReg, prediction has 1 - lambda; code: .02
        # paper, Algorithm 2: None = mean of large views for a ViT, of all views for others; code: all
        target: Literal["large", "all"] | None = None
        reach: Positive = 5.0  # paper: the integral's bounds, in plus and minus; code: 3
        knots: Count = 17  # paper: over both sides of 0; code: 17 on one side, which is 33
        slices: Count = 1024  # paper, section 6.1; code and Algorithm 1: 256
        hidden: Count = 2048  # code, both hidden layers
        out: Count = 128  # code (MINIMAL.md's default; its example has 16)
        batch_norm: bool = True  # code
        large_share: Shares = (0.3, 1.0)  # README: of the area; assumed: of the volume
        small_share: Shares = (0.05, 0.3)  # README: of the area; assumed: of the volume
        share_of: Ratio = "volume"  # assumed: one share, whose cube root all axes take
        jitter: Share = 0.8  # README: brightness and contrast
        brightness_factor: Factors = (0.6, 1.4)  # README
        contrast_factor: Factors = (0.6, 1.4)  # README
        blur: Share = 0.5  # README
        blur_sigma: Amounts = (0.1, 2.0)  # code

        def __post_init__(self) -> None:
            if self.knots < 3 or self.knots % 2 == 0:
                raise self.refusal(f"knots = {self.knots}; use an odd number, 3 or more")

        def head_flops(self, crop: Triple, maps: EncoderMaps) -> float:
            """Return the projector's operations, from its hidden layer on, and those of the slices."""
            views = 2 + self.locals
            width = self.hidden * (self.hidden + self.out) + self.slices * (self.out + self.knots)
            return 2.0 * views * width

        def box(self, small: bool, rng: np.random.Generator) -> np.ndarray:
            """Draw which share of each axis a view covers, (3,)."""
            return shares(self.small_share if small else self.large_share, self.share_of, rng)

        def changed(
            self, x: Tensor, view: View, zscored: Tensor | None, generator: torch.Generator
        ) -> Tensor:
            """Change brightness and contrast, and blur: alike in all views."""
            g = generator
            x = augment.brightness(x, self.jitter, self.brightness_factor, g, clip=False)
            x = augment.contrast(x, self.jitter, self.contrast_factor, g)
            return augment.gaussian_blur(x, self.blur, self.blur_sigma, g)

        def views(self, batch: Batch, crop: Triple, generator: torch.Generator) -> Batch:
            """Make the views and draw this step's ``slices`` (out, slices), the same in every part."""
            views = super().views(batch, crop, generator)
            drawn = torch.randn(
                (self.out, self.slices), generator=generator, device=generator.device
            )
            return views | {"slices": functional.normalize(drawn, dim=0)}

    params: Params

    def __init__(self, network: Network, params: Params) -> None:
        super().__init__(network, params)
        check_small(network, params)
        widths = [network.encoder.widths[-1], params.hidden, params.hidden, params.out]
        self.projector = mlp(widths, "batch" if params.batch_norm else "none")
        self.target = params.target or (
            "large" if isinstance(network.encoder, TokenEncoder) else "all"
        )

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return (1 - lambda) times the prediction's error plus lambda times SIGReg, and both of them."""
        p = self.params
        kinds = [batch["views"], *([batch["small"]] if p.locals else [])]
        vectors = torch.cat(
            [embedded(self.encoder, x.flatten(0, 1)).unflatten(0, (-1, x.shape[1])) for x in kinds],
            dim=1,
        )  # (B, V, width), large views first
        z = self.projector(vectors.flatten(0, 1)).unflatten(0, vectors.shape[:2])
        error = predicted(z, 2 if self.target == "large" else z.shape[1])
        normal = sigreg(distributed.gather(z), batch["slices"], p.reach, p.knots)
        first, second = (distributed.gather(v) for v in vectors[:, :2].detach().unbind(1))
        shown = nuisance.beside(matched(first, second), torch.cat([first, second]), batch)
        total = (1 - p.weight) * error + p.weight * normal
        return {"total": total, "prediction": error, "sigreg": normal, **shown}


@full_precision
def predicted(z: Tensor, first: int) -> Tensor:
    """Return the mean squared difference of all views from the mean of the ``first`` ones.

    Args:
        z: (B, V, K) embeddings; gradient flows into both sides.
        first: how many of the views make the mean.
    """
    return (z - z[:, :first].mean(dim=1, keepdim=True)).square().mean()


@full_precision
def sigreg(z: Tensor, slices: Tensor, reach: float, knots: int) -> Tensor:
    """Return Epps and Pulley's statistic, a mean over views and slices; 0 for a standard normal.

    Args:
        z: (N, V, K) embeddings of all samples.
        slices: (K, M) unit vectors on which they are projected.
        reach: see ``epps_pulley``.
        knots: the same.
    """
    return torch.stack(
        [epps_pulley(view @ slices.to(view), reach, knots) for view in z.unbind(1)]
    ).mean()


@full_precision
def epps_pulley(x: Tensor, reach: float, knots: int) -> Tensor:
    """Return N times the integral of |phi(t) - exp(-t^2 / 2)|^2 exp(-t^2 / 2) for each column, (M,).

    phi(t) = mean of exp(i t x) is the empirical characteristic function. The trapezoidal rule on ``knots``
    points from -``reach`` to ``reach``; as the integrand is even, those below 0 are not computed.

    Args:
        x: (N, M) samples of M variables.
        reach: where the integral is cut.
        knots: an odd number.
    """
    t = torch.linspace(0, reach, knots // 2 + 1, dtype=x.dtype, device=x.device)
    step = 2 * reach / (knots - 1)
    weight = torch.full_like(t, 2 * step)
    weight[-1] = step  # as of 0, where the integrand is 0
    normal = (-t.square() / 2).exp()
    angle = x[..., None] * t
    apart = (angle.cos().mean(dim=0) - normal).square() + angle.sin().mean(dim=0).square()
    return len(x) * (apart @ (weight * normal))
