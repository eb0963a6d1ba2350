"""VoCo: say which parts of a scan a random crop overlaps, by likeness to a grid of base crops."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from bench import augment, distributed, nets
from bench.data.reader import Volume
from bench.method import Arrays, Batch, Figure, Method, MethodParams, Owned, Recipe, Triple
from bench.nets import Encoder, Network
from bench.pretext import grid, losses, nuisance
from bench.pretext.heads import Norm, mlp
from bench.pretext.momentum import SlowCopy
from bench.pretext.units import Scale, unit_of
from bench.random import rand
from bench.ranges import Amount, Count, Part, Positive, Share
from bench.source import Source
from bench.typed import sparse

Rectify = Literal["abs", "relu"]
Pool = Literal["last", "all"]
Sides = tuple[Tensor, Tensor]  # embeddings of random crops (B, m, out) and of bases (B, n, out)


@dataclass(frozen=True)
class Variant:
    """In what the losses of this name differ, beside their prediction term."""

    reg_power: int  # of a similarity of two bases
    reg_rectify: Rectify  # what becomes of negative ones
    reg_detach: bool = False  # no gradient to the later base of a pair
    last: bool = False  # may a random crop lie at the far end?
    teacher: Literal["", "network", "projector"] = ""  # of what there is a slow copy
    pool: Pool = "last"  # of the encoder's maps, what the projector reads
    norm: Norm = "batch_plain"  # of the projector


VARIANTS = {
    "paper": Variant(1, "abs", last=True),  # Eq. 5
    "v1": Variant(2, "relu"),  # code, as the next two
    "ema": Variant(2, "relu", reg_detach=True, teacher="network"),
    "v2": Variant(2, "relu", reg_detach=True, teacher="projector", pool="all"),
    # nnssl's code; its InstanceNorm1d is given rows without a length, and so normalises each row by itself
    "nnssl": Variant(1, "relu", last=True, pool="all", norm="layer_plain"),
}


class VoCo(Method):
    """Wu et al. 2024. ``paper`` is what they print; ``v1``, ``ema`` and ``v2`` are what they released.

    ``nnssl`` is MIC-DKFZ/nnssl's, by which others compared them.
    """

    title = "VoCo"
    version = 2  # 2: shift in units of the crops' scale, chance by intensities
    paper = "voco"
    figure = Figure("found", "crops whose most similar base is the one they overlap most", "chance")
    terms: ClassVar = {"alive": "pairs with a cosine above 0"}
    source = Source(
        "Wu, Zhuang & Chen, VoCo: Volume Contrastive Learning, CVPR 2024",
        "https://arxiv.org/abs/2402.17300",
        "https://github.com/Luffy03/VoCo",
    )
    fidelity = (
        "official code compared for v1, ema, v2 and nnssl; the paper's own loss from its text only"
    )

    @dataclass(frozen=True)
    class Params(MethodParams):
        """Defaults are the paper's; 'code' marks what only the released code states."""

        # code: issue 15 is v1, main is ema, Large-Scale-Medical is v2
        variant: Literal["paper", "v1", "ema", "v2", "nnssl"] = "paper"
        grid: Triple = (4, 4, 1)  # Table 7, bases along x, y, z
        crops: Count = 2  # code (sw_batch_size): random crops per scan
        input_crop: Triple | None = None  # code: 96 per side, resized to views of 64
        use_pred: bool = True  # Table 6
        use_reg: bool = True  # Table 6
        reg_weight: Amount = 1.0  # Eq. 7, lambda
        eps: Positive = 1e-6  # code, inside the logarithm of Eq. 3
        rectify: bool = True  # code: Eq. 1 says 0 to 1, which ReLU on the cosine makes true
        reg_power: int | None = None  # Eq. 5 and nnssl: 1; code: 2. By default the variant's
        reg_rectify: Rectify | None = None  # Eq. 5: abs; code: relu
        reg_detach: bool | None = None  # Eq. 5, v1, nnssl: no; code of ema and v2: yes
        # code of v2: each crop is compared with the next scan's bases, too
        use_inter: bool = sparse(True)
        # code of v2: share of crops that the student's projector is not shown
        dropout: Part = sparse(0.2)
        pool: Pool | None = sparse()  # maps that the projector reads; by default the variant's
        hidden: Count = 2048  # code; v2: 1024
        out: Count = 2048  # Section 3.2, C; v2: 1024
        momentum: Share = 0.9  # code of ema and v2, constant
        teacher: Literal["random", "copy"] = "random"  # code of ema and v2: initialised on its own
        export: Literal["student", "teacher"] = "student"  # ema; which one was released is not said
        flip: Share = 0.2  # code, per axis and crop
        rot90: Share = 0.2  # code
        shift: Share = 0.1  # code, probability; v2: .5
        shift_by: Amount = 0.1  # code, on the scale of ``intensity``
        intensity: Scale = "unit"  # code: all scans are in [0, 1]

        def __post_init__(self) -> None:
            if not (self.use_pred or self.use_reg):
                raise self.refusal(
                    "use_pred and use_reg are both off; set one of them, or use 'scratch'"
                )
            if np.prod(self.grid) < 2:
                raise self.refusal(
                    f"grid {self.grid} has fewer than two base crops to compare with"
                )

        @property
        def rule(self) -> Variant:
            """What the variant says."""
            return VARIANTS[self.variant]

        @property
        def crops_per_sample(self) -> float:
            """Bases and random crops."""
            return math.prod(self.grid) + self.crops

        def check(self, crop: Triple, recipe: Recipe) -> None:
            """Refuse a grid of bases that does not fit into volumes of a known size."""
            if recipe.resize is not None:
                self.check_volume(crop, recipe.resize)

        def check_volume(self, crop: Triple, shape: Triple) -> None:
            """Refuse volumes that are smaller than the grid of bases."""
            grid.window_of(self.input_crop or crop, self.grid, shape)

        def read(self, volume: Volume, crop: Triple, rng: np.random.Generator) -> Arrays:
            """Read a window of ``grid`` base crops and random crops in it, with their overlaps."""
            return grid.read_tiled(
                volume, self.input_crop or crop, self.grid, self.crops, rng, self.rule.last
            )

        def views(self, batch: Batch, crop: Triple, generator: torch.Generator) -> Batch:
            """Resize and augment every crop on its own; the overlaps stay those of the places."""
            p, g, m, boxes = self, generator, self.crops, batch["boxes"]
            x, mine = boxes.flatten(0, 1), isinstance(batch, Owned)
            if tuple(x.shape[2:]) != crop:
                # as the code
                x = functional.interpolate(x, crop, mode="trilinear", align_corners=True)
                mine = True
            x, *_ = augment.random_flip_rot90(x, p.flip, p.rot90, g, inplace=mine)
            zscored = (
                batch["zscored"].repeat_interleave(boxes.shape[1]) if "zscored" in batch else None
            )
            one = unit_of(x, p.intensity, zscored)
            by = p.shift_by if one is None else p.shift_by * one
            x = augment.shift(x, p.shift, by, g, inplace=True).unflatten(0, boxes.shape[:2])
            made = {"crops": x[:, :m], "bases": x[:, m:], "target": batch["target"]}
            if self.rule.teacher == "projector":
                made["kept"] = rand(boxes.shape[:2], g) >= p.dropout
            return made

    params: Params

    def __init__(self, network: Network, params: Params) -> None:
        super().__init__(network, params)
        p, widths = params, network.encoder.widths
        self.pool, self.slow = p.pool or p.rule.pool, None
        head = [sum(widths) if self.pool == "all" else widths[-1], p.hidden, p.hidden, p.out]
        self.projector = mlp(head, p.rule.norm)
        if p.rule.teacher:
            self.slow = self._second(network, head)
            self.after_step(0.0)  # the code updates before the first use, too

    def _second(self, network: Network, head: list[int]) -> SlowCopy:
        copied, norm = self.params.teacher == "copy", self.params.rule.norm
        if self.params.rule.teacher == "projector":
            return SlowCopy(projector=self.projector if copied else mlp(head, norm))
        if copied:
            return SlowCopy(encoder=self.encoder, projector=self.projector)
        channels = (network.in_channels, network.out_channels)
        twin = nets.network(network.name, network.preset, *channels, network.crop)
        return SlowCopy(encoder=twin.encoder, projector=mlp(head, norm))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return prediction (``pred``, or ``pos`` and ``neg``), ``inter``, ``reg``, and the live share.

        Where ``alive`` is 0 the rectified loss is dead. ``chance`` is the share of crops whose nearest base by
        intensities is the one they overlap most, at least one base in n.
        """
        p = self.params
        fast, slow = self._sides(batch)
        total, terms = torch.zeros((), device=fast[1].device), {}
        if p.use_pred:
            logits = self._logits(fast, slow)
            terms = self._prediction(logits, batch["target"])
            total = torch.stack(list(terms.values())).sum()
            terms["alive"] = (logits > 0).float().mean()
        if p.use_inter and p.variant == "v2":
            terms["inter"] = self._inter(fast, slow)
            total = total + terms["inter"]
        if p.use_reg:
            terms["reg"] = self._redundancy(fast[1])
            total = total + p.reg_weight * terms["reg"]
        # where the student's projector does not see every crop, its slow copy does
        crops, bases = slow if p.rule.teacher == "projector" else fast
        best = losses.cosines(crops.detach(), bases.detach()).argmax(2)
        most = batch["target"].argmax(2)
        terms["found"] = (best == most).to(total.dtype).mean()
        return {"total": total, **terms, "chance": nuisance.guessed(_apart(batch), most)}

    def _prediction(self, logits: Tensor, target: Tensor) -> dict[str, Tensor]:
        eps, variant = self.params.eps, self.params.variant
        if variant == "paper":
            return {"pred": losses.overlap_entropy(logits, target, eps)}
        if variant == "nnssl":
            pos, neg = losses.overlap_pooled(logits, target, eps)
        else:
            apart: Literal["log", "square"] = "log" if variant == "v2" else "square"
            pos, neg = losses.overlap_split(logits, target, eps, variant != "v1", apart)
        return {"pos": pos, "neg": neg}

    def _inter(self, fast: Sides, slow: Sides) -> Tensor:
        """Return what it costs that crops liken to the next scan's bases otherwise than the teacher says."""
        logits = self._squash(losses.cosines(fast[0], _of_next(fast[1])))
        target = functional.relu(losses.cosines(slow[0], _of_next(slow[1])))
        return torch.stack(losses.overlap_split(logits, target, self.params.eps, True, "log")).sum()

    def _redundancy(self, bases: Tensor) -> Tensor:
        p, rule = self.params, self.params.rule
        power = rule.reg_power if p.reg_power is None else p.reg_power
        detach = rule.reg_detach if p.reg_detach is None else p.reg_detach
        return losses.redundancy(bases, power, p.reg_rectify or rule.reg_rectify, detach)

    def _sides(self, batch: Batch) -> tuple[Sides, Sides]:
        """Return the embeddings, and what they are compared with, which passes no gradient on."""
        if self.params.rule.teacher == "projector":
            fast, slow = self._by_two_projectors(batch)
        else:
            fast = slow = self._embed(self, batch)
            if self.slow is not None:
                with torch.no_grad():
                    slow = self._embed(self.slow, batch)
        return fast, (slow[0].detach(), slow[1].detach())

    def _by_two_projectors(self, batch: Batch) -> tuple[Sides, Sides]:
        assert self.slow is not None
        features, m = self._pooled(self.encoder, batch), batch["crops"].shape[1]
        # the code's Dropout1d is given rows without a length, and so drops whole rows: to the projector zeros
        kept = torch.cat([batch["kept"][:, :m].flatten(), batch["kept"][:, m:].flatten()])
        seen = features * kept[:, None] / (1 - self.params.dropout)
        fast = _divided(self.projector(seen), batch)
        with torch.no_grad():
            return fast, _divided(self.slow.projector(features), batch)

    def _embed(self, side: Any, batch: Batch) -> Sides:
        return _divided(side.projector(self._pooled(side.encoder, batch)), batch)

    def _pooled(self, encoder: Encoder, batch: Batch) -> Tensor:
        # one batch, random crops first: the projector's batch statistics are over all crops
        x = torch.cat([batch["crops"].flatten(0, 1), batch["bases"].flatten(0, 1)])
        if self.pool == "last":
            return encoder.embed(x)
        return torch.cat([level.flatten(2).mean(dim=2) for level in encoder(x)], dim=1)

    def _logits(self, fast: Sides, slow: Sides) -> Tensor:
        there = self._squash(losses.cosines(fast[0], slow[1]))
        if self.params.rule.teacher != "network":
            return there
        return (there + self._squash(losses.cosines(slow[0], fast[1]))) / 2

    def _squash(self, cosines: Tensor) -> Tensor:
        return functional.relu(cosines) if self.params.rectify else cosines

    def after_step(self, progress: float) -> None:
        """Move the teacher. The code does so between the student's next forward and its own."""
        if self.slow is not None:
            self.slow.follow(self, self.params.momentum)

    def transfer(self) -> dict[str, Tensor]:
        """Return the encoder that ``export`` names."""
        if (
            self.slow is None
            or self.params.rule.teacher == "projector"
            or self.params.export == "student"
        ):
            return super().transfer()
        return self.handed("encoder", of=self.slow)


def _divided(embedded: Tensor, batch: Batch) -> Sides:
    crops, bases = batch["crops"].shape[:2], batch["bases"].shape[:2]
    a, b = embedded.split([crops.numel(), bases.numel()])
    return a.unflatten(0, crops), b.unflatten(0, bases)


def _of_next(bases: Tensor) -> Tensor:
    """Return for every scan of this process the bases of the next scan of the whole batch."""
    every = distributed.gather(bases)
    rows = torch.arange(1, 1 + len(bases), device=bases.device) + distributed.rank() * len(bases)
    return every[rows % len(every)]


def _apart(batch: Batch) -> Tensor:
    """Return how far the intensities of each crop are from those of each base of its scan, (B, m, n)."""
    crops, bases = (
        nuisance.intensities(batch[name].flatten(0, 1)).unflatten(0, batch[name].shape[:2])
        for name in ("crops", "bases")
    )
    return torch.cdist(crops, bases, compute_mode=nuisance.EXACT)
