"""VoCo: say which parts of a scan a random crop overlaps, by likeness to a grid of base crops."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from bench import augment, nets
from bench.data.reader import Volume
from bench.errors import BenchError
from bench.method import Batch, Figure, Method, MethodParams, Recipe, Triple
from bench.nets import Network
from bench.pretext import grid, losses, nuisance
from bench.pretext.heads import mlp
from bench.pretext.momentum import SlowCopy
from bench.pretext.units import Scale, unit_of
from bench.ranges import Amount, Count, Positive, Share
from bench.source import Source

Rectify = Literal["abs", "relu"]
# power, what becomes of negative cosines, no gradient to the later base of a pair
REG: dict[str, tuple[int, Rectify, bool]] = {
    "paper": (1, "abs", False),  # Eq. 5
    "v1": (2, "relu", False),  # code
    "ema": (2, "relu", True),  # code
}


class VoCo(Method):
    """Wu et al. 2024. ``paper`` is what they print; ``v1`` and ``ema`` are what they released."""

    title = "VoCo"
    version = 2  # 2: shift in units of the crops' scale, chance by intensities
    paper = "voco"
    figure = Figure("found", "crops most alike to the base that they overlap most", chance="chance")
    source = Source(
        "Wu, Zhuang & Chen, VoCo: Volume Contrastive Learning, CVPR 2024",
        "https://arxiv.org/abs/2402.17300",
        "https://github.com/Luffy03/VoCo",
    )
    fidelity = "official code compared for v1 and ema; the paper's own loss from its text only"

    @dataclass(frozen=True)
    class Params(MethodParams):
        """Defaults are the paper's; 'code' marks what only the released code states."""

        variant: Literal["paper", "v1", "ema"] = "paper"  # code: issue 15 is v1, main is ema
        grid: Triple = (4, 4, 1)  # Table 7, bases along x, y, z
        crops: Count = 2  # code (sw_batch_size): random crops per scan
        input_crop: Triple | None = None  # code: 96 per side, resized to views of 64
        use_pred: bool = True  # Table 6
        use_reg: bool = True  # Table 6
        reg_weight: Amount = 1.0  # Eq. 7, lambda
        eps: Positive = 1e-6  # code, inside the logarithm of Eq. 3
        rectify: bool = True  # code: Eq. 1 says 0 to 1, which ReLU on the cosine makes true
        reg_power: int | None = None  # Eq. 5: 1; code: 2. By default the variant's
        reg_rectify: Rectify | None = None  # Eq. 5: abs; code: relu
        reg_detach: bool | None = None  # Eq. 5: no; code: no in v1, yes in ema
        hidden: Count = 2048  # code
        out: Count = 2048  # Section 3.2, C
        momentum: Share = 0.9  # code of ema, constant
        teacher: Literal["random", "copy"] = "random"  # code of ema: initialised on its own
        export: Literal["student", "teacher"] = "student"  # ema; which one was released is not said
        flip: Share = 0.2  # code, per axis and crop
        rot90: Share = 0.2  # code
        shift: Share = 0.1  # code, probability
        shift_by: Amount = 0.1  # code, on the scale of ``intensity``
        intensity: Scale = "unit"  # code: all scans are in [0, 1]

        def __post_init__(self) -> None:
            if not (self.use_pred or self.use_reg):
                raise BenchError("method 'voco': use_pred and use_reg are both off; take 'scratch'")
            if np.prod(self.grid) < 2:
                raise BenchError(f"method 'voco': grid {self.grid} has no two bases to tell apart")

        @property
        def crops_per_sample(self) -> int:
            """Bases and random crops."""
            return math.prod(self.grid) + self.crops

        def check(self, crop: Triple, recipe: Recipe) -> None:
            """Refuse a grid of bases that does not fit into volumes of a known size."""
            if recipe.resize is not None:
                grid.window_of(self.input_crop or crop, self.grid, recipe.resize)

        def read(self, volume: Volume, crop: Triple, rng: np.random.Generator) -> dict[str, np.ndarray]:
            """Read a window of ``grid`` base crops and random crops in it, with their overlaps."""
            size, last = self.input_crop or crop, self.variant == "paper"
            return grid.read_tiled(volume, size, self.grid, self.crops, rng, last)

        def views(self, batch: Batch, crop: Triple, generator: torch.Generator) -> Batch:
            """Resize and augment every crop on its own; the overlaps stay those of the places."""
            p, g, m = self, generator, batch["crops"].shape[1]
            both = torch.cat([batch["crops"], batch["bases"]], dim=1)
            x = both.flatten(0, 1)
            if tuple(x.shape[2:]) != crop:
                x = functional.interpolate(x, crop, mode="trilinear", align_corners=True)  # as the code
            x, _ = augment.random_flip(x, p.flip, g, inplace=True)
            x, _ = augment.random_rot90(x, p.rot90, g, inplace=True)
            zscored = batch["zscored"].repeat_interleave(both.shape[1]) if "zscored" in batch else None
            one = unit_of(x, p.intensity, zscored)
            by = p.shift_by if one is None else p.shift_by * one
            x = augment.shift(x, p.shift, by, g, inplace=True).unflatten(0, both.shape[:2])
            return {"crops": x[:, :m], "bases": x[:, m:], "target": batch["target"]}

    params: Params

    def __init__(self, network: Network, params: Params) -> None:
        super().__init__(network, params)
        p, self.slow = params, None
        head = [network.encoder.widths[-1], p.hidden, p.hidden, p.out]
        self.projector = mlp(head, "batch_plain")
        if p.variant == "ema":
            self.slow = self._second(network, head)
            self.after_step(0.0)  # the code updates before the first use, too

    def _second(self, network: Network, head: list[int]) -> SlowCopy:
        if self.params.teacher == "copy":
            return SlowCopy(encoder=self.encoder, projector=self.projector)
        channels = (network.in_channels, network.out_channels)
        twin = nets.network(network.name, network.preset, *channels, network.crop)
        return SlowCopy(encoder=twin.encoder, projector=mlp(head, "batch_plain"))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return prediction (``pred``, or ``pos`` and ``neg``), ``reg``, and the live share.

        ``alive`` is the share of pairs with a cosine above 0: at 0 the rectified loss is dead. ``found`` is
        the share of crops whose most alike base is the one that they overlap most, ``chance`` what
        the nearest intensities find, at least one base in n.
        """
        p = self.params
        crops, bases = self._embed(self, batch)
        total, terms = torch.zeros((), device=bases.device), {}
        if p.use_pred:
            logits = self._logits(batch, crops, bases)
            terms = self._prediction(logits, batch["target"])
            total = torch.stack(list(terms.values())).sum()
            terms["alive"] = (logits > 0).float().mean()
        if p.use_reg:
            terms["reg"] = self._redundancy(bases)
            total = total + p.reg_weight * terms["reg"]
        best = losses.cosines(crops.detach(), bases.detach()).argmax(2)
        most = batch["target"].argmax(2)
        terms["found"] = (best == most).to(total.dtype).mean()
        return {"total": total, **terms, "chance": nuisance.guessed(_apart(batch), most)}

    def _prediction(self, logits: Tensor, target: Tensor) -> dict[str, Tensor]:
        eps = self.params.eps
        if self.params.variant == "paper":
            return {"pred": losses.overlap_entropy(logits, target, eps)}
        weighted = self.params.variant == "ema"
        pos, neg = losses.overlap_split(logits, target, eps, weighted)
        return {"pos": pos, "neg": neg}

    def _redundancy(self, bases: Tensor) -> Tensor:
        p = self.params
        power, rectify, detach = REG[p.variant]
        power = power if p.reg_power is None else p.reg_power
        detach = detach if p.reg_detach is None else p.reg_detach
        return losses.redundancy(bases, power, p.reg_rectify or rectify, detach)

    @staticmethod
    def _embed(side: Any, batch: Batch) -> tuple[Tensor, Tensor]:
        # one batch, random crops first: the projector's batch statistics are over all crops
        crops, bases = batch["crops"], batch["bases"]
        x = torch.cat([crops.flatten(0, 1), bases.flatten(0, 1)])
        a, b = side.projector(side.encoder.embed(x)).split([crops.shape[:2].numel(), bases.shape[:2].numel()])
        return a.unflatten(0, crops.shape[:2]), b.unflatten(0, bases.shape[:2])

    def _logits(self, batch: Batch, crops: Tensor, bases: Tensor) -> Tensor:
        squash = functional.relu if self.params.rectify else nn.Identity()
        if self.slow is None:
            return squash(losses.cosines(crops, bases.detach()))
        with torch.no_grad():
            t_crops, t_bases = self._embed(self.slow, batch)
        there, back = losses.cosines(crops, t_bases), losses.cosines(t_crops, bases)
        return (squash(there) + squash(back)) / 2

    def after_step(self, progress: float) -> None:
        """Move the teacher. The code does so between the student's next forward and its own."""
        if self.slow is not None:
            self.slow.follow(self, self.params.momentum)

    def transfer(self) -> dict[str, Tensor]:
        """Return the encoder that ``export`` names."""
        if self.slow is None or self.params.export == "student":
            return super().transfer()
        return {f"encoder.{k}": v for k, v in self.slow.encoder.state_dict().items()}


def _apart(batch: Batch) -> Tensor:
    """Return how far the intensities of each crop are from those of each base of its scan, (B, m, n)."""
    crops, bases = (
        nuisance.intensities(batch[name].flatten(0, 1)).unflatten(0, batch[name].shape[:2])
        for name in ("crops", "bases")
    )
    return torch.cdist(crops, bases, compute_mode=nuisance.EXACT)
