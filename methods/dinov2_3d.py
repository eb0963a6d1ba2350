"""DINOv2 on volumes: a student names a slow copy's prototypes for views of a scan and for hidden patches."""

from dataclasses import dataclass
from math import log, prod
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from bench import augment, distributed
from bench.augment.draw import chance, uniform
from bench.method import Batch, EncoderMaps, Figure, Method, Triple
from bench.nets import Network, TokenEncoder
from bench.pretext import nuisance
from bench.pretext.clusters import sinkhorn
from bench.pretext.distil import Centre, entropy, handed_on, information, sharpened
from bench.pretext.heads import Prototypes
from bench.pretext.losses import full_precision, matched
from bench.pretext.momentum import SlowCopy, cosine_tau, follow
from bench.pretext.multi_crop import MultiCrop, View, check_small
from bench.pretext.units import Scale, amounts
from bench.random import rand
from bench.ranges import Amount, Amounts, Count, Factors, Positive, Share, Shares, Whole
from bench.source import Source

PLANES = ((2, 3), (3, 4), (2, 4))  # axes of a batch in which views are turned


class DINOv2For3D(Method):
    """Oquab et al. 2023 as Xu et al. 2025 took it to volumes (3DINO), around a ViT that hides patches."""

    title = "DINOv2 (3D)"
    source = Source(
        "T. Xu et al., A generalizable 3D framework and model for self-supervised learning in medical "
        "imaging, npj Digital Medicine 2025; Oquab et al., DINOv2, TMLR 2024",
        "https://arxiv.org/abs/2501.11755",
        "https://github.com/AICONSlab/3DINO",
    )
    needs = "tokens"
    version = 3  # 2: hands over the teacher; 3: gain of prototypes, first tokens as in the code
    figure = Figure("retrieval", "views whose nearest other view is of their own scan", "chance")
    fidelity = "official code compared: its four losses, head, schedules; views in part"
    min_batch = 2  # KoLeo asks for a neighbour

    @dataclass(frozen=True)
    class Params(MultiCrop):
        """'code' is 3DINO's (ssl3d_default_config.yaml, augmentations.py), 'v3' DINOv3's Gram anchoring."""

        locals: Whole = 8  # code
        flip: Share = 0.3  # code
        turn: Share = 0.3  # code, per plane
        large_plane: Shares = (0.48, 1.0)  # code: share of the area in plane
        large_depth: Shares = (0.5, 1.0)  # code: share of the slices
        small_plane: Shares = (0.16, 0.48)  # code
        small_depth: Shares = (0.2, 0.5)  # code
        aspect: Factors = (0.9, 1 / 0.9)  # code, in plane
        effect: Share = 0.8  # code: of the one effect among three that a view is given
        gamma_exponent: Factors = (0.5, 2.0)  # code
        noise_std: Amounts = (0.0, 0.002)  # code; MONAI draws below its std
        intensity: Scale = "unit"  # code: scaled to [-1, 1] or [0, 1]
        # code: first large view (half of them, the others sharpened), second, small ones
        blur: tuple[Share, Share, Share] = (0.5, 0.05, 0.5)
        blur_sigma: Amounts = (0.25, 1.5)  # code: MONAI's default
        masked: Share = 0.5  # code: large views with hidden patches
        mask_ratio: Shares = (0.2, 0.75)  # code; DINOv2: .1 to .5, in blocks
        out: Count = 65536  # code, of both heads
        hidden: Count = 2048  # code
        bottleneck: Count = 256  # code
        separate_head: bool = True  # code; DINOv2's default config: one head for both
        centring: Literal["sinkhorn", "centre"] = (
            "sinkhorn"  # code; "centre": DINOv2's default config
        )
        rounds: Count = 3  # code, of Sinkhorn and Knopp
        centre: Share = 0.9  # code
        temperature: Positive = 0.1  # code
        teacher_temperature: tuple[Positive, Positive] = (0.04, 0.07)  # code: from, to
        warm: Share = 0.3  # code: 30 of 100 epochs
        still: Share = 0.01  # code: prototypes do not move in the first of 100 epochs
        tau: Share = 0.992  # code, to 1 along a half cosine
        class_weight: Amount = 1.0  # code
        patch_weight: Amount = 1.0  # code
        koleo_weight: Amount = 0.1  # code
        gram_weight: Amount = 0.0  # v3: 1, rising to 2, in a phase after pretraining
        gram_start: Share = 0.5  # assumed: v3 begins at step 1,010,000
        gram_every: Share = 0.01  # assumed: v3 copies the teacher anew every 10,000 steps
        gram_updates: Count = 3  # v3: how often
        # code (dinov2/eval/setup.py loads "teacher"): the slow copy is what is evaluated
        export: Literal["teacher", "student"] = "teacher"

        def __post_init__(self) -> None:
            if not (self.class_weight or self.patch_weight):
                raise self.refusal("class_weight or patch_weight must be above 0")

        def voxels_per_sample(self, crop: Triple) -> float:
            """Add class tokens, the slow copy's forward passes of both large views, and those of an anchor."""
            slow = 2 if self.gram_weight else 1
            # a class token costs less than a patch: nothing embeds it
            named = 16**3 / 2 * (2 + self.locals + slow * 2 / 3)
            return super().voxels_per_sample(crop) + slow * 2 * prod(crop) / 3 + named

        def head_flops(self, crop: Triple, maps: EncoderMaps) -> float:
            """Return the heads' operations on class tokens and hidden patches, the slow copy's a third."""
            hidden = self.masked * sum(self.mask_ratio) / 2 * prod(crop) / 16**3
            rows = self.locals + (2 + 2 * hidden) * 4 / 3
            width = self.hidden * (maps.width + self.hidden)
            width += self.bottleneck * (self.hidden + self.out)
            return 2.0 * rows * width

        def box(self, small: bool, rng: np.random.Generator) -> np.ndarray:
            """Draw which share of each axis a view covers, (3,): an area of some aspect, and a depth."""
            plane, depth = (
                (self.small_plane, self.small_depth)
                if small
                else (self.large_plane, self.large_depth)
            )
            area, aspect = rng.uniform(*plane), np.exp(rng.uniform(*np.log(self.aspect)))
            sides = np.sqrt([area * aspect, area / aspect])
            return np.minimum([*sides, rng.uniform(*depth)], 1.0)

        def placed(self, x: Tensor, generator: torch.Generator) -> Tensor:
            """Mirror views along each axis and turn them in each plane."""
            x = super().placed(x, generator)
            for a, b in PLANES:
                turned = x.movedim((a, b), (2, 3))
                turned, _ = augment.random_rot90(turned.contiguous(), self.turn, generator)
                x = turned.movedim((2, 3), (a, b))
            return x.contiguous()

        def changed(
            self, x: Tensor, view: View, zscored: Tensor | None, generator: torch.Generator
        ) -> Tensor:
            """Give each view gamma, noise or neither, and blur it or not."""
            p, g = self, generator
            x = augment.gamma(x, p.effect / 3, p.gamma_exponent, g)
            noise = amounts(p.noise_std, x, p.intensity, zscored)
            x = augment.gaussian_noise(x, p.effect / 3, noise, g, unit="std")
            blur = p.blur[("first", "second", "small").index(view)]
            return augment.gaussian_blur(x, blur, p.blur_sigma, g)

        def views(self, batch: Batch, crop: Triple, generator: torch.Generator) -> Batch:
            """Make the views and draw which patches of large ones are hidden: ``hidden`` (B, 2, N)."""
            views = super().views(batch, crop, generator)
            rows, patches = 2 * len(views["views"]), prod(n // 16 for n in crop)
            count = uniform(rows, self.mask_ratio, generator) * patches
            count = count.floor() * chance(rows, self.masked, generator)
            rank = rand((rows, patches), generator).argsort(dim=1).argsort(dim=1)
            return views | {"hidden": (rank < count[:, None]).unflatten(0, (-1, 2))}

    params: Params
    encoder: TokenEncoder
    projector: Prototypes
    patch_projector: Prototypes
    progress: Tensor
    anchored: Tensor

    def __init__(self, network: Network, params: Params) -> None:
        super().__init__(network, params)
        check_small(network, params)
        p, dim = params, self.encoder.dim
        self.token, self.place, self.mask = (nn.Embedding(1, dim) for _ in range(3))
        nn.init.normal_(self.token.weight, std=1e-6)  # code
        nn.init.trunc_normal_(self.place.weight, std=0.02)  # code: the class token's own position
        nn.init.zeros_(self.mask.weight)  # code
        heads = {"projector": p.class_weight, "patch_projector": p.patch_weight * p.separate_head}
        if not p.separate_head:
            heads["projector"] = 1.0
        for name in (name for name, weight in heads.items() if weight):
            self.add_module(name, Prototypes(dim, p.hidden, p.bottleneck, p.out, gain=True))
        trained = {name: getattr(self, name) for name in heads if hasattr(self, name)}
        self.slow = SlowCopy(encoder=self.encoder, token=self.token, place=self.place, **trained)
        self.centre, self.patch_centre = Centre(p.out, p.centre), Centre(p.out, p.centre)
        if p.gram_weight:
            self.anchor = SlowCopy(encoder=self.encoder, token=self.token, place=self.place)
        self.register_buffer("progress", torch.zeros(()))
        self.register_buffer("anchored", torch.zeros((), dtype=torch.long))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the weighted sum of the terms, as far as their weights are above 0."""
        p, x, hidden = self.params, batch["views"].flatten(0, 1), batch["hidden"].flatten(0, 1)
        tokens = self._encoded(self, x, hidden)
        with torch.no_grad():
            target = self._encoded(self.slow, x)
        still = bool(self.progress < p.still)
        terms: dict[str, Tensor] = {}
        shown: dict[str, Tensor] = {}
        if p.class_weight:
            terms["class"], shown = self._named_views(batch, tokens[:, 0], target[:, 0], still)
        if p.patch_weight:
            terms["patch"] = self._named_patches(tokens[:, 1:], target[:, 1:], hidden, still)
        cls = tokens[:, 0].unflatten(0, (-1, 2))
        first, second = (distributed.gather(view) for view in cls.unbind(1))
        if p.koleo_weight:
            terms["koleo"] = koleo(first) + koleo(second)
        if p.gram_weight:
            terms["gram"] = self._gram(x, tokens[:, 1:])
        weights = {name: getattr(p, f"{name}_weight") for name in terms}
        total = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
        retrieval = matched(first.detach(), second.detach())
        shown |= nuisance.beside(retrieval, torch.cat([first, second]), batch)
        return {"total": total, **terms, **shown}

    def _encoded(self, side: Any, x: Tensor, hidden: Tensor | None = None) -> Tensor:
        """Return class token and patches (N, 1 + n, dim) behind an encoder; ``hidden`` ones are a token."""
        seen = side.encoder.tokens(x, rescale=True)
        if hidden is not None:
            places = side.encoder.get_parameter(side.encoder.position)
            seen = torch.where(hidden[..., None], (self.mask.weight + places).to(seen.dtype), seen)
        first = (side.token.weight + side.place.weight).expand(len(x), 1, -1).to(seen.dtype)
        encoded: Tensor = side.encoder.run(torch.cat([first, seen], dim=1))
        return encoded

    def _named_views(
        self, batch: Batch, tokens: Tensor, target: Tensor, still: bool
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the cross entropy of all pairs of a large view's teacher and another view's student."""
        p = self.params
        logits = self.projector(tokens, still).unflatten(0, (-1, 2))
        taught = self._target(self.slow.projector(target), self.centre).unflatten(0, (-1, 2))
        ways = [
            handed_on(taught[:, i : i + 1], logits[:, 1 - i : 2 - i], p.temperature) for i in (0, 1)
        ]
        total, pairs = torch.stack(ways).sum(), 2
        if p.locals:
            small = self._encoded(self, batch["small"].flatten(0, 1))[:, 0]
            named = self.projector(small, still).unflatten(0, (-1, p.locals))
            total = total + 2 * p.locals * handed_on(taught, named, p.temperature)
            pairs += 2 * p.locals
        shown = {"information": information(taught), "entropy": entropy(taught).mean() / log(p.out)}
        return total / pairs, shown

    def _named_patches(self, tokens: Tensor, target: Tensor, hidden: Tensor, still: bool) -> Tensor:
        """Return the cross entropy of hidden patches: a mean over those of a view, then over all views."""
        p = self.params
        head = "patch_projector" if p.separate_head else "projector"
        places = hidden.nonzero(as_tuple=True)
        logits = getattr(self, head)(tokens[places], still)
        slow = getattr(self.slow, head)(target[places])
        taught = self._target(slow, self.patch_centre)
        return masked_entropy(taught, logits, hidden, p.temperature)

    @torch.no_grad()
    def _target(self, logits: Tensor, centre: Centre) -> Tensor:
        """Return what the slow copy's logits (n, K) hand on, balanced over the rows of all processes."""
        p, every, rows = self.params, *together(logits)
        low, high = p.teacher_temperature
        warm = float(self.progress) / p.warm if p.warm else 1.0
        temperature = low + (high - low) * min(warm, 1.0)
        if p.centring == "sinkhorn":
            return sinkhorn(every, temperature, p.rounds)[rows] if len(every) else logits
        if len(every):
            centre.see(every)
        return sharpened(logits, temperature, centre.mean)

    def _gram(self, x: Tensor, patches: Tensor) -> Tensor:
        """Return how far the cosines of patches are from the anchor's; 0 before there is one."""
        if not self.anchored:
            return patches.sum() * 0.0
        with torch.no_grad():
            anchor = self._encoded(self.anchor, x)[:, 1:]
        return gram(patches, anchor)

    def after_step(self, progress: float) -> None:
        """Move the slow copy and the centres; copy it to the anchor where it is time to."""
        p = self.params
        self.progress.fill_(progress)
        self.slow.follow(self, cosine_tau(p.tau, progress))
        self.centre.move()
        self.patch_centre.move()
        due = p.gram_start + int(self.anchored) * p.gram_every
        if p.gram_weight and progress >= due and self.anchored < p.gram_updates:
            for name, module in self.anchor.named_children():
                follow(module, getattr(self.slow, name), 0.0, "copy")
            self.anchored += 1

    def transfer(self) -> dict[str, Tensor]:
        """Return the encoder that ``export`` names."""
        of = self.slow if self.params.export == "teacher" else None
        return self.handed("encoder", of=of)


@torch.no_grad()
def together(rows: Tensor) -> tuple[Tensor, slice]:
    """Return the rows (n, K) of all processes, whose numbers may differ, and which are this one's."""
    if distributed.size() == 1:
        return rows, slice(0, len(rows))
    counts = distributed.gather(torch.tensor([len(rows)], device=rows.device)).tolist()
    most, rank = max(counts), min(distributed.rank(), len(counts) - 1)
    padded = functional.pad(rows, (0, 0, 0, most - len(rows)))
    every = distributed.gather(padded).unflatten(0, (-1, most)) if most else padded[None]
    start = sum(counts[:rank])
    parts = [part[:count] for part, count in zip(every, counts, strict=False)]
    return torch.cat(parts), slice(start, start + len(rows))


@full_precision
def masked_entropy(target: Tensor, logits: Tensor, hidden: Tensor, temperature: float) -> Tensor:
    """Return -sum a log b, a mean over the hidden patches of each view, then over all views.

    A view without hidden patches counts as 0, as in DINOv2's code.

    Args:
        target: (n, K) distributions of the hidden patches, view after view.
        logits: (n, K) the student's.
        hidden: (V, N) which patches of V views they are.
        temperature: of the student.
    """
    view = hidden.nonzero(as_tuple=True)[0]
    weight = (1 / hidden.sum(dim=1).clamp_min(1))[view]
    each = -(target * (logits / temperature).log_softmax(dim=1)).sum(dim=1)
    return (each * weight).sum() / len(hidden)


@full_precision
def koleo(z: Tensor) -> Tensor:
    """Return the mean of -log of the distance to the nearest other row, of rows of length 1.

    Kozachenko and Leonenko's estimate of entropy, without constants (Sablayrolles et al., ICLR 2019).

    Args:
        z: (N, C), N at least 2.
    """
    z = functional.normalize(z, dim=1, eps=1e-8)
    with torch.no_grad():
        cosine = z @ z.T
        nearest = cosine.fill_diagonal_(-2.0).argmax(dim=1)
    return -(functional.pairwise_distance(z, z[nearest], eps=1e-8) + 1e-8).log().mean()


@full_precision
def gram(patches: Tensor, anchor: Tensor) -> Tensor:
    """Return the mean squared difference of the cosines between all patches of a view, (V, N, C) each."""
    student, target = (functional.normalize(x, dim=2) for x in (patches, anchor))
    return (student @ student.mT - target @ target.mT).square().mean()
