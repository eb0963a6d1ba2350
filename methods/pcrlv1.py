"""PCRL: find a crop's key in a queue, and restore turned and mixed pictures from mixed feature maps."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from bench import augment, distributed
from bench.augment.draw import chance
from bench.data.reader import Volume
from bench.method import Arrays, Batch, Figure, Method, Restores, Triple
from bench.nets import Network
from bench.pretext import deform, nuisance
from bench.pretext.boxes import overlapping, read_at
from bench.pretext.contrast import nce, queue_cosines, typical, won
from bench.pretext.heads import mlp
from bench.pretext.losses import full_precision, info_nce, spread
from bench.pretext.momentum import SlowCopy
from bench.pretext.moves import Moves, reach
from bench.pretext.queue import Queue
from bench.random import rand, randint
from bench.ranges import Amount, Amounts, Count, Positive, Share, Whole
from bench.source import Source

SIZES = ((64, 64, 32), (96, 96, 48), (96, 96, 96), (32, 32, 16), (112, 112, 64))  # code, voxels


class PCRLv1(Method):
    """Zhou et al. 2021, by their code: contrast, and restoration that is told how its target is turned."""

    title = "PCRL"
    needs = "decoder"
    source = Source(
        "H.-Y. Zhou et al., Preservational Learning Improves Self-supervised Medical Image Models by "
        "Reconstructing Diverse Contexts, ICCV 2021",
        "https://arxiv.org/abs/2109.04379",
        "https://github.com/Luchixiang/PCRL",
    )
    figure = Figure("retrieval", "queries nearer to their own key than to the queue's", "chance")
    fidelity = (
        "official code compared: a step's losses, gradients, queue and slow copy; see docs/methods"
    )
    min_batch = 2  # the spread needs two

    @dataclass(frozen=True)
    class Params(Restores):
        """Defaults are the code's, of crops of 64 x 64 x 32 (luna_pre.py, data.py, config.py, main.py)."""

        sizes: tuple[Triple, ...] = SIZES  # code
        iou: Share = 0.25  # code: two boxes overlap by more
        flip: Share = 0.5  # code: torchio's default, along x
        degrees: Amount = 10.0  # code: torchio's default, about each axis
        zoom: Share = 0.1  # code: torchio's default, each axis on its own
        blur_sigma: Amounts = (0.0, 2.0)  # code: torchio's default
        local_rate: Share = 0.5  # code, of local shuffling
        windows: Count = 10_000  # code, per crop
        paint_rate: Share = 0.9  # code, of cutting out, of both crops alike
        inpaint_rate: Share = 0.2  # code, of it inner; the others are outer
        boxes: Count = 5  # code, at most
        box_rate: Share = 0.95  # code, that another box follows
        margin: Whole = 3  # code, voxels at the border without a box
        mirror: Share = 0.5  # code, of the target along each axis
        attention: Literal["channel", "none"] = "channel"  # code; the paper's is an outer product
        attention_hidden: Count = 256  # code
        hidden: Count = 128  # code, of the projector
        out: Count = 128  # code
        # code: nce, whose constant is the first batch's
        contrast: Literal["infonce", "nce"] = "infonce"
        nce_samples: Count | None = None  # samples of the data, for nce; the code takes the batches
        temperature: Positive = 0.2  # code, moco_t
        queue: Count = 16_384  # code
        queued: Literal["plain", "all"] = "plain"  # code: all three keys, negatives at once
        momentum: Share = 0.999  # code
        mixup: bool = True  # paper: off = no mixed crops, neither contrasted nor restored
        hybrid: bool = True  # paper: off = nothing is restored from maps of both encoders
        contrast_weight: Amount = 1.0  # code
        restore_weight: Amount = 1.0  # code
        transfer: Literal["all", "encoder"] = "encoder"  # the decoder learns to turn pictures

        def __post_init__(self) -> None:
            if self.contrast == "nce" and self.nce_samples is None:
                raise self.refusal(
                    "contrast 'nce' needs nce_samples, the number of samples in the data"
                )

        @property
        def crops_per_sample(self) -> float:
            """Queries, and keys by the slow copy's way forward."""
            return (1 + self.mixup) * 4 / 3

        @property
        def decoded_per_sample(self) -> float:
            """Crops that are restored, and those that are restored of mixed maps."""
            return (1 + self.mixup) * (1 + self.hybrid)

        def read(self, volume: Volume, crop: Triple, rng: np.random.Generator) -> Arrays:
            """Read ``pair`` (2, C, *crop), boxes resized."""
            boxes = zip(*overlapping(volume.shape, self.sizes, self.iou, rng), strict=True)
            return {"pair": np.stack([read_at(volume, start, size, crop) for start, size in boxes])}

        def views(self, batch: Batch, crop: Triple, generator: torch.Generator) -> Batch:
            """Move and spoil both crops, and turn each to its target.

            Returns:
                ``clean``, ``x`` spoilt and ``goal``, x turned, (B, 2, C, *crop) in [0, 1]; ``code``
                (B, 2, 7), how; ``order`` (B,), whose ranks in the whole batch say who is mixed with whom;
                ``share`` (B, 3), alike in all rows: of the query's maps, its crop, the mixed query's maps.
            """
            low, span = reach(batch["pair"])
            clean = (batch["pair"] - low) / span
            x = self.spoilt(clean.flatten(0, 1), generator)
            goal, mirrored = augment.random_flip(x, self.mirror, generator)
            square = crop[0] == crop[1]  # else half turns alone keep the shape
            turns = (
                randint(0, 4, len(x), generator) if square else 2 * randint(0, 2, len(x), generator)
            )
            code = torch.cat([mirrored, functional.one_hot(turns, 4)], dim=1).to(x.dtype)
            made = {"x": x, "goal": augment.rot90(goal, turns), "code": code}
            # not from bench.random, which gives each part of a batch its own
            share = torch.rand(3, generator=generator, device=x.device)
            share = torch.maximum(share, 1 - share).expand(len(clean), -1)
            apart = {k: v.unflatten(0, (-1, 2)) for k, v in made.items()}
            return {**apart, "clean": clean, "order": rand(len(clean), generator), "share": share}

        def spoilt(self, x: Tensor, generator: torch.Generator) -> Tensor:
            """Return both crops of each sample (2 B, C, X, Y, Z) moved, blurred, shuffled and painted."""
            x = Moves(self.flip, self.degrees, self.zoom).applied(x, generator)
            x = augment.gaussian_blur(x, 1.0, self.blur_sigma, generator)
            x = deform.local_shuffle(
                x, chance(len(x), self.local_rate, generator), self.windows, generator
            )
            rates = (self.paint_rate, self.inpaint_rate)
            painted, inner = (chance(len(x) // 2, r, generator).repeat_interleave(2) for r in rates)
            boxes = deform.Boxes(self.boxes, self.box_rate, self.margin)
            return deform.paint(x, painted & inner, painted & ~inner, boxes, generator)

    params: Params
    scale: Tensor

    def __init__(self, network: Network, params: Params) -> None:
        super().__init__(network, params)
        p, width = params, network.encoder.widths[-1]
        self.projector = mlp([width, p.hidden, p.out], "none")
        self.attention = (
            mlp([7, p.attention_hidden, width], "none") if p.attention == "channel" else None
        )
        self.slow = SlowCopy(encoder=self.encoder, projector=self.projector)
        self.queue = Queue(p.queue, p.out, 1 + network.in_channels * nuisance.LEVELS)
        self.register_buffer("scale", torch.full((), -1.0))  # of NCE; below 0 until a step was made
        # keys of the last loss, their notes and its scale, not yet kept
        self._made: tuple[Tensor, Tensor, Tensor] | None = None

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return contrast and restoration; ``flat`` is the error of each target's own mean."""
        p, x, order, origin = self.params, batch["x"], batch["order"], batch.get("origin")
        alpha, own, beta = batch["share"][0].unbind()
        query, key, errors = self.seen(x, batch["goal"], alpha, batch["code"])
        asked, noted = (nuisance.notes(view, origin) for view in x.unbind(1))
        guess = nuisance.among_queue(asked, noted, self.queue.notes)
        pairs, notes = [(query, key)], [noted]
        if p.mixup:
            x, clean = mixed_up(x, order, own), mixed_up(batch["clean"], order, own)
            query, mixed_key, more = self.seen(x, clean, beta)
            pairs += [(query, mixed_key), (query, mixed_up(key, order, own))]
            errors += more
            notes += [nuisance.notes(x[:, 1], origin)] * 2
        restore = torch.stack(errors).mean()
        contrast, nearest, keys, scale = self.contrasted(pairs)
        kept = len(keys) if p.queued == "all" else 1
        told = [distributed.gather(rows) for rows in notes[:kept]]
        self._made = torch.cat(keys[:kept]), torch.cat(told), scale
        contrast, nearest = contrast.to(restore.dtype), nearest.to(restore.dtype)
        goal = batch["goal"][:, 0]
        return {
            "total": p.contrast_weight * contrast + p.restore_weight * restore,
            "contrast": contrast,
            "restore": restore,
            "restored": errors[0],
            "flat": (goal - goal.mean(dim=(2, 3, 4), keepdim=True)).square().mean(),
            "retrieval": nearest,
            "chance": guess,
            "std": spread(keys[0]),
        }

    def seen(
        self, x: Tensor, goal: Tensor, share: Tensor, code: Tensor | None = None
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Embed both crops (B, 2, ...), the second one slowly, and restore the first one's goal.

        Returns:
            Queries, keys, and the errors of the goal restored from the first one's maps and of the mixed
            goals from mixed maps, of which the ``share`` is the first one's.
        """
        (mine, its), (target, other) = x.unbind(1), goal.unbind(1)
        query, maps = embedded(self, mine)
        with torch.no_grad():
            key, slow = embedded(self.slow, its)
        if self.attention is not None and code is not None:
            one, two = self.attention(code).sigmoid()[..., None, None, None].unbind(1)
            maps, slow = [*maps[:-1], maps[-1] * one], [*slow[:-1], slow[-1] * two]
        errors = []
        if self.params.hybrid:
            both = zip([mine, *maps], [its, *slow], strict=True)
            image, *mixed = [share * a + (1 - share) * b for a, b in both]
            errors.append(squared(self.decoder(image, mixed), share * target + (1 - share) * other))
        return query, key, [squared(self.decoder(mine, maps), target), *errors]

    def contrasted(
        self, pairs: list[tuple[Tensor, Tensor]]
    ) -> tuple[Tensor, Tensor, list[Tensor], Tensor]:
        """Return the mean loss of queries and keys, the first ones' retrieval, all keys, and the scale."""
        p, scale = self.params, self.scale.double()
        losses, nearest = [], []
        keys: list[Tensor] = []
        for query, key in pairs:
            later = keys and p.queued == "all"
            vectors = self.queue.after(torch.cat(keys)) if later else self.queue.keys
            own, other = queue_cosines(query, key, vectors)
            nearest.append(won(own, other))
            own, other = own / p.temperature, other / p.temperature
            if p.nce_samples is not None and p.contrast == "nce":
                scale = torch.where(scale > 0, scale, p.nce_samples * typical(own, other))
                losses.append(nce(own, other, scale, p.nce_samples))
            else:
                losses.append(info_nce(own, other))
            keys.append(distributed.gather(key))
        return torch.stack(losses).mean(), nearest[0], keys, scale

    def after_step(self, progress: float) -> None:
        """Queue the step's keys, keep the scale, then move the slow copy towards the new weights."""
        if self._made is not None:
            keys, notes, scale = self._made
            self.queue.push(keys, notes)
            self.scale.copy_(scale)
            self._made = None
        self.slow.follow(self, self.params.momentum)


def embedded(side: Any, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Return the embedding (B, out) of crops and their maps, finest first, by one side."""
    maps = side.encoder(x)
    return side.projector(maps[-1].mean(dim=(2, 3, 4))), maps


def mixed_up(rows: Tensor, order: Tensor, share: Tensor) -> Tensor:
    """Mix this process's rows, by their ``share``, with rows of the whole batch in a random order."""
    before = distributed.rank() * len(rows)
    others = distributed.gather(order).argsort().roll(-before)[: len(rows)]
    return share * rows + (1 - share) * distributed.gather(rows)[others]


@full_precision
def squared(logits: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared error of the sigmoid."""
    return (logits.sigmoid() - target).square().mean()
