"""MoCo on slices: a query finds its key, of a slow copy, among the keys of past batches."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from bench import distributed
from bench.method import Batch, Figure, Method, Triple
from bench.nets import Network
from bench.nets.catalog import check_batch, network_facts
from bench.pretext import nuisance
from bench.pretext.contrast import queue_contrast
from bench.pretext.heads import mlp
from bench.pretext.losses import spread
from bench.pretext.momentum import SlowCopy, both_ways
from bench.pretext.queue import Queue
from bench.pretext.slice_views import SliceViews
from bench.random import rand
from bench.ranges import Count, Positive, Share
from bench.source import Source


class MoCo2D(Method):
    """He et al.'s objective with HSSL's views: the baseline that Zheng et al. compare with."""

    title = "MoCo"
    version = 2  # 2: noise in units of the views, contrast in double precision, chance by data set
    source = Source(
        "He et al., Momentum Contrast, CVPR 2020; Zheng et al., HSSL, 2021",
        "https://arxiv.org/abs/1911.05722",
        "https://github.com/facebookresearch/moco",
    )
    dims = 2
    fidelity = "loss, queue, momentum and heads compared with the official code; views after HSSL"
    figure = Figure(
        "retrieval", "queries nearer to their own key than to any in the queue", "chance"
    )
    min_batch = 2  # the spread, and batch norm in two groups, need two

    @dataclass(frozen=True)
    class Params(SliceViews):
        """MoCo v1. v2 is ``mlp``, ``temperature`` .2, and views and schedule of the protocol's choice."""

        queue: Count = 3840  # assumed: 128 batches of HSSL's 30; code: 65536
        temperature: Positive = 0.07  # paper, Section 3.3; v2, code: 0.2
        momentum: Share = 0.999  # paper, Section 3.2, constant
        out: Count = 128  # paper, Section 3.3
        mlp: bool = False  # v2, code: a hidden layer as wide as the encoder
        symmetric: bool = False  # code, one-GPU demo: both views are queries, losses added
        # paper, Section 3.3, shuffling BN: one per GPU, 8; batch norm only
        shuffle_groups: Count = 2

        @property
        def crops_per_sample(self) -> float:
            """A query forward and backward and a key forward, or two of each."""
            return (1 + self.symmetric) * 4 / 3

        def check_batch(self, network: str, crop: Triple, rows: int, processes: int) -> None:
            """Refuse a batch that is not so many equal groups, or groups too small for batch norm."""
            groups = self.shuffle_groups if network_facts(network).batch_norm else 1
            self.divided(rows // processes, groups)
            check_batch(network, crop, rows // groups)

        def divided(self, rows: int, groups: int) -> None:
            """Refuse ``rows`` slices of a process that are not so many equal groups."""
            if rows % groups:
                raise self.refusal(
                    f"{rows} slices per process cannot be divided into {groups} equal groups; set "
                    "shuffle_groups to a divisor, or to 1"
                )

        def views(self, batch: Batch, crop: Triple, generator: torch.Generator) -> Batch:
            """Make two views of each slice, and draw what orders the keys' batch."""
            made = super().views(batch, crop, generator)
            return {"views": made["views"], "order": rand(len(batch["crop"]), generator)}

    params: Params

    def __init__(self, network: Network, params: Params) -> None:
        super().__init__(network, params)
        p, width = params, network.encoder.widths[-1]
        self.projector = mlp([width, *[width] * p.mlp, p.out], "none")
        self.slow = SlowCopy(encoder=self.encoder, projector=self.projector)
        self.queue = Queue(p.queue, p.out, 1 + network.in_channels * nuisance.LEVELS)
        normed = any(isinstance(m, _BatchNorm) for m in self.encoder.modules())
        self.groups = p.shuffle_groups if normed else 1
        # keys of the last loss and their notes, not yet queued
        self._made: tuple[Tensor, Tensor] | None = None

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return InfoNCE of the first view's queries; the keys wait until ``after_step`` queues them."""
        views = batch["views"].unbind(1)
        notes = [nuisance.notes(view, batch.get("origin")) for view in views]
        ways = both_ways(self.params.symmetric)
        found = [self._contrast(views[i], views[j], batch["order"]) for i, j in ways]
        losses, nearest, keys = zip(*found, strict=True)
        guesses = [nuisance.among_queue(notes[i], notes[j], self.queue.notes) for i, j in ways]
        # as the demo: keys of view 1 first; all processes' rows, so that their queues stay alike
        kept = [notes[j] for _, j in ways]
        made, noted = (
            torch.cat([distributed.gather(rows) for rows in reversed(x)]) for x in (keys, kept)
        )
        self._made = made, noted
        total = torch.stack(losses).sum()
        return {
            "total": total,
            "retrieval": torch.stack(nearest).mean(),
            "chance": torch.stack(guesses).mean(),
            "std": spread(made),
        }

    def _contrast(
        self, asked: Tensor, kept: Tensor, order: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        self.params.divided(len(asked), self.groups)
        q = self._grouped(self, asked)
        with torch.no_grad():
            k = self._shuffled(kept, order)
        loss, nearest = queue_contrast(q, k, self.queue.keys, self.params.temperature)
        return loss, nearest, k

    def _shuffled(self, x: Tensor, order: Tensor) -> Tensor:
        """Return the keys of ``x``, each made in a group of other rows than its query was."""
        if self.groups == 1:
            return self._grouped(self.slow, x)
        mine = slice(distributed.rank() * len(x), (distributed.rank() + 1) * len(x))
        shuffled = distributed.gather(order).argsort()
        moved = distributed.gather(x)[shuffled[mine]]
        keys = distributed.gather(self._grouped(self.slow, moved))
        return keys[shuffled.argsort()[mine]]

    def _grouped(self, side: Any, x: Tensor) -> Tensor:
        # every g-th row: a group of the whole batch's rows, however many processes share them
        parts = [
            side.projector(side.encoder.embed(x[g :: self.groups])) for g in range(self.groups)
        ]
        return torch.stack(parts, dim=1).flatten(0, 1)

    def after_step(self, progress: float) -> None:
        """Put the step's keys into the queue, then move the slow copy towards the new weights."""
        if self._made is not None:
            self.queue.push(*self._made)
            self._made = None
        self.slow.follow(self, self.params.momentum)
