"""JSSL: cluster the slices of a volume and the volume, and fill in slices that are masked."""

from dataclasses import dataclass
from math import ceil
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench import distributed
from bench.method import Batch, Figure, Method, Recipe, Triple
from bench.nets import Network
from bench.pretext import nuisance
from bench.pretext.clusters import Clusters, Kind, Rule
from bench.pretext.losses import full_precision, matched
from bench.pretext.mask import marked
from bench.pretext.one_effect import OneEffect
from bench.pretext.positions import sines
from bench.random import rand
from bench.ranges import Amount, Count, Positive, Share, Whole
from bench.source import Source

STAGES = ("intra", "mask", "inter")  # the order in which the paper trains them


class JSSL(Method):
    """Nguyen et al. 2023 on one encoder of volumes: its slices are those of its feature maps."""

    title = "JSSL"
    source = Source(
        "D. M. H. Nguyen et al., Joint Self-Supervised Image-Volume Representation Learning with "
        "Intra-Inter Contrastive Clustering, AAAI 2023",
        "https://arxiv.org/abs/2212.01893",
        "https://github.com/duyhominhnguyen/Self-supervised-Image-Volume-Intra-Inter-Contrastive",
    )
    figure = Figure("retrieval", "views whose nearest other view is of their own crop", "chance")
    fidelity = "official code compared: clustering and masked slices; one 3D encoder for its slices' ResNet"
    min_batch = 2  # one crop has nobody to be told from

    @dataclass(frozen=True)
    class Params(OneEffect):
        """Defaults are the code's (ssl_swav_3D.py, mask_swav_3D.py, utils); 'assumed' is our port's."""

        intra_weight: Amount = 1.0  # assumed, of slices; the code has stages, one after the other
        inter_weight: Amount = 1.0  # assumed, of volumes
        mask_weight: Amount = 1.0  # assumed, of masked slices
        # assumed: all at once; on = the paper's stages, a third of the run each
        in_turn: bool = False
        clustering: Kind = "swav"  # code has both
        prototypes: Count = 30  # assumed, of volumes; code: 3000, DeepCluster 3 x 4; see docs
        slice_prototypes: Count = 30  # assumed; code: thousands
        temperature: Positive = 0.1  # code
        epsilon: Positive = 0.05  # code
        iterations: Count = 3  # code
        kmeans: Count = 10  # code, iterations
        # code: none, of each view; one of old embeddings lets volumes collapse, see docs
        queue: Whole = 0
        queue_start: Share = 0.15  # code: from epoch 15 of 100
        still: Whole = 313  # code: steps before prototypes move
        slices: Count = 8  # assumed, of a feature map; code: 64 slices of the volume
        out: Count = 640  # code d_model
        norm: Literal["batch", "none"] = "batch"  # assumed, of slices; code: its ResNet has it
        hidden: Count = 720  # code
        layers: Count = 4  # code
        heads: Count = 8  # code: deformable attention's default
        positions: Literal["sines", "none"] = "sines"  # assumed: its attention knows each slice
        mask_ratio: Share = 0.1  # code, rounded up
        mask_on: Literal["masked", "all"] = "masked"  # assumed: the code's error is over all slices
        # code: its ResNet stays as it is
        mask_trains: Literal["transformer", "all"] = "transformer"

        def __post_init__(self) -> None:
            super().__post_init__()
            if not any(self.weights().values()):
                names = ", ".join(f"{name}_weight" for name in STAGES)
                raise self.refusal(f"{names} are all 0, so there is nothing to learn")
            if self.out % self.heads or self.out % 2:
                raise self.refusal(f"out = {self.out} must be even and divisible by heads")
            if self.mask_weight and not 0 < self.masked < self.slices:
                raise self.refusal(
                    f"mask_ratio masks {self.masked} of {self.slices} slices; at least one must be "
                    "masked and one visible"
                )
            most = max(self.prototypes, self.slice_prototypes)
            if self.clustering == "deepcluster" and self.queue < most:
                raise self.refusal(
                    f"a queue of {self.queue} vectors is too short for {most} cluster centres"
                )

        @property
        def masked(self) -> int:
            """How many slices are masked."""
            return ceil(self.slices * self.mask_ratio)

        def weights(self, progress: float | None = None) -> dict[str, float]:
            """Return the weight of each stage, of those ``in_turn`` the one at a ``progress``."""
            now = (
                None if progress is None or not self.in_turn else STAGES[min(int(3 * progress), 2)]
            )
            return {n: getattr(self, f"{n}_weight") * (now in (None, n)) for n in STAGES}

        def check(self, crop: Triple, recipe: Recipe) -> None:
            """Refuse crops with fewer slices than are compared."""
            if crop[2] < self.slices:
                raise self.refusal(
                    f"crops of {tuple(crop)} have fewer than {self.slices} slices; set slices"
                )

        def views(self, batch: Batch, crop: Triple, generator: torch.Generator) -> Batch:
            """Make two views, and draw which slices of both are masked, ``masked`` (B, slices)."""
            made = super().views(batch, crop, generator)
            order = rand((len(batch["crop"]), self.slices), generator).argsort(dim=1)
            return {**made, "masked": marked(order[:, : self.masked], self.slices)}

    params: Params
    steps: Tensor
    progress: Tensor
    places: Tensor

    def __init__(self, network: Network, params: Params) -> None:
        super().__init__(network, params)
        p = params
        self.project = nn.Linear(sum(network.encoder.widths), p.out)
        self.norm = nn.BatchNorm1d(p.out) if p.norm == "batch" else nn.Identity()
        self.transformer = nn.Sequential(
            *(layer(p.out, p.heads, p.hidden) for _ in range(p.layers))
        )
        rule = Rule(p.clustering, p.temperature, p.epsilon, p.iterations, p.kmeans)
        counts = {"intra": p.slice_prototypes, "inter": p.prototypes}
        made = {n: Clusters(p.out, k, p.queue, rule) for n, k in counts.items() if p.weights()[n]}
        self.clusters = nn.ModuleDict(made)
        if p.mask_weight:
            self.token, self.restore = nn.Parameter(torch.randn(p.out)), nn.Linear(p.out, p.out)
        places = (
            sines([p.slices], p.out) if p.positions == "sines" else torch.zeros(p.slices, p.out)
        )
        self.register_buffer("places", places, persistent=False)
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))
        self.register_buffer("progress", torch.zeros(()))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the terms that have a weight, and what shows learning; ``information`` is the prototypes'.

        Two views agree on the prototypes of each slice (``intra``) and of the crop (``inter``), and masked
        slices are told from the others (``mask``).
        """
        p, terms, shown = self.params, {}, {}
        slices = self.slices(self.encoder(batch["views"].flatten(0, 1)))
        volumes = functional.normalize(self.mixed(slices).mean(dim=1), dim=1)
        rows = {"inter": volumes}
        if p.intra_weight:  # a slice faces itself
            there = batch["flipped"].flatten()[:, None, None]
            rows["intra"] = functional.normalize(torch.where(there, slices.flip(1), slices), dim=2)
        still = bool(self.steps < p.still)
        for name, cluster in self.clusters.items():
            one, two = halves(rows[name])
            terms[name], shown[f"{name}_information"] = cluster(one, two, still)
        if p.mask_weight:
            terms["mask"] = self._filled(slices, batch["masked"])
        one, two = halves(volumes.detach())
        weights = p.weights(float(self.progress))
        total = torch.stack([weights[name] * value for name, value in terms.items()]).sum()
        shown |= nuisance.beside(matched(one, two), torch.cat([one, two]), batch)
        return {"total": total, **terms, **shown}

    def slices(self, maps: list[Tensor]) -> Tensor:
        """Return embeddings (N, slices, out): of each map a unit vector, averaged in plane, all joined."""
        return self._embedded(torch.cat([averaged(m, self.params.slices) for m in maps], dim=1).mT)

    @full_precision
    def _embedded(self, joined: Tensor) -> Tensor:
        """Return (N, slices, out); of few samples batch norm would make much of 16 bits' rounding."""
        found: Tensor = self.norm(self.project(joined).flatten(0, 1))
        return found.unflatten(0, joined.shape[:2])

    def mixed(self, slices: Tensor) -> Tensor:
        """Return what the transformer makes of slices (N, slices, out)."""
        found: Tensor = self.transformer(slices + self.places)
        return found

    def _filled(self, slices: Tensor, masked: Tensor) -> Tensor:
        """Return the mean squared error of slices that a token stood for in both views."""
        p = self.params
        target = slices if p.mask_trains == "all" else slices.detach()
        hidden = masked.repeat_interleave(2, dim=0)[..., None]
        made = self.restore(self.mixed(torch.where(hidden, self.token, target)))
        return squared(made, target, hidden if p.mask_on == "masked" else torch.ones_like(hidden))

    def after_step(self, progress: float) -> None:
        """Move memories and centres; note how far the run is."""
        p = self.params
        listens = p.clustering == "deepcluster" or progress >= p.queue_start
        for part in self.modules():
            if isinstance(part, Clusters):
                part.move(listens)
        self.steps += 1
        self.progress.fill_(progress)


def layer(width: int, heads: int, hidden: int) -> nn.Module:
    """Return a post-norm block; without dropout, as a loss is a pure function of the batch."""
    return nn.TransformerEncoderLayer(width, heads, hidden, 0.0, "gelu", batch_first=True)


@full_precision
def averaged(x: Tensor, slices: int) -> Tensor:
    """Return unit vectors (N, C, slices) of maps (N, C, X, Y, Z), averaged in plane and along z."""
    line = x.mean(dim=(2, 3))
    # as a product, whose gradient is summed in a fixed order on a GPU, too
    each = torch.eye(x.shape[-1], device=x.device, dtype=line.dtype)
    shares = functional.adaptive_avg_pool1d(each[None], slices)[0]
    return functional.normalize(line @ shares, dim=1)


def halves(z: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rows of first and second views of all processes, (N, C) each, of (2 B, ..., C)."""
    one, two = (
        distributed.gather(half).flatten(0, -2) for half in z.unflatten(0, (-1, 2)).unbind(1)
    )
    return one, two


@full_precision
def squared(made: Tensor, target: Tensor, where: Tensor) -> Tensor:
    """Return the mean squared error of the slices (N, S, C) that count, (N, S, 1), as many in each row."""
    return ((made - target).square().mean(dim=2, keepdim=True) * where).sum() / where.sum()
