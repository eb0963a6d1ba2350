"""Position labels: name each token's place, or the offset between two, from what an encoder made of them."""

from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Literal

import torch
from torch import Tensor, nn

from bench.method import Batch, Figure, Method, MethodParams, Triple
from bench.nets import Network, TokenEncoder, catalog
from bench.pretext.heads import projection
from bench.pretext.losses import classified
from bench.ranges import Amount, Count
from bench.source import Source


class PositionLabel(Method):
    """Zhang & Gong 2023 in three dimensions, and on its own: theirs goes beside a supervised loss."""

    title = "Position label"
    source = Source(
        "Z. Zhang & X. Gong, Positional Label for Self-Supervised Vision Transformer, AAAI 2023",
        "https://arxiv.org/abs/2206.04981",
        "https://github.com/zhangzhemin/PositionalLabel",
    )
    figure = Figure("placed", "labels that were predicted correctly", "chance")
    across_batch = False
    fidelity = "official code compared: labels, heads, losses in two dimensions; the third is ours"

    @dataclass(frozen=True)
    class Params(MethodParams):
        """Defaults are the code's, carried over to three dimensions."""

        # code of Swin-T: RPL; of ViT-B: APL
        kind: Literal["absolute", "relative", "both"] = "relative"
        level: int = -1  # code: the last map
        weight: Amount = 1.0  # code: .5 beside the supervised loss, which is not here
        # code: yes, so that the label can be read off; off = a ViT sees none
        keep_positions: bool = False
        pairs: Count | None = None  # code: all; so many random ones where a map has many tokens

        def views(self, batch: Batch, crop: Triple, generator: torch.Generator) -> Batch:
            """Leave the crop as it is, and draw which pairs are asked for, the same ones of all crops."""
            # not from bench.random, which gives each part of a batch its own
            made = {"crop": batch["crop"]}
            if self.pairs:
                key = torch.rand(self.pairs, generator=generator, device=batch["crop"].device)
                made["pairs"] = key.expand(len(batch["crop"]), -1)
            return made

    params: Params

    def __init__(self, network: Network, params: Params) -> None:
        super().__init__(network, params)
        maps = catalog.cells(network.full_name, network.crop)
        if not -len(maps) <= params.level < len(maps):
            raise self.refusal(
                f"level must be from 0 to {len(maps) - 1}, or negative to count from the last map "
                "(-1)"
            )
        if network.encoder.rotary_positions and not params.keep_positions:
            raise self.refusal(
                f"the label can be read from rotary positions, which {network.name!r} cannot do without; use another "
                "network, or set keep_positions: true"
            )
        self.grid, width = maps[params.level], network.encoder.widths[params.level]
        tokens, part = prod(self.grid), width // 2
        if tokens < 2:
            raise self.refusal(
                f"map {params.level} of {network.name!r} is a single token at crops of {network.crop}; use a "
                "larger crop, or a finer level"
            )
        offsets = prod(2 * n - 1 for n in self.grid)
        self.absolute, self.relative = None, None
        if params.kind != "relative":
            hidden = max(1, part // 2)
            self.absolute = nn.Sequential(
                projection([part, part, hidden]), nn.Linear(hidden, tokens)
            )
        if params.kind != "absolute":
            self.relative = nn.Sequential(
                projection([2 * part, part, part]), nn.Linear(part, offsets)
            )
        self.part = part
        self.register_buffer("offset", offsets_of(self.grid), persistent=False)

    offset: Tensor

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the mean cross-entropy over tokens, over pairs, or their sum, and the share that was right.

        ``chance`` is what one answer for all gets: a token in N; of all pairs a token and itself, N in N^2.
        """
        p, x = self.params, self.tokens(batch["crop"])
        terms, right = {}, []
        one, two = x[..., : self.part], x[..., self.part : 2 * self.part]
        n = x.shape[1]
        if self.absolute is not None:
            place = torch.arange(n, device=x.device).expand(len(x), -1)
            terms["absolute"], hits = classified(self.absolute(one), place)
            right.append(hits)
        if self.relative is not None:
            label = self.offset.flatten()
            asked = torch.arange(n * n, device=x.device)
            if "pairs" in batch:
                asked = (batch["pairs"][0] * n * n).long()
            pairs = torch.cat([one[:, asked // n], two[:, asked % n]], dim=2)
            terms["relative"], hits = classified(
                self.relative(pairs), label[asked].expand(len(x), -1)
            )
            right.append(hits)
        total = p.weight * torch.stack(list(terms.values())).sum()
        return {
            "total": total,
            **terms,
            "placed": torch.stack(right).mean(),
            "chance": x.new_full((), 1 / n),
        }

    def tokens(self, x: Tensor) -> Tensor:
        """Return the map's tokens (B, N, width) in raster order, of a ViT as if it knew no places."""
        encoder, level = self.encoder, self.params.level
        if isinstance(encoder, TokenEncoder) and not self.params.keep_positions:
            if level not in (-1, len(encoder.widths) - 1):
                raise self.refusal(
                    "without positions only the last tokens of a ViT can be used; set level: -1"
                )
            return encoder.run(encoder.tokens(x) - encoder.get_parameter(encoder.position))
        return encoder(x)[level].flatten(2).mT


def offsets_of(grid: Triple) -> Tensor:
    """Return the label of each ordered pair of a grid's tokens, (N, N): the first one's offset.

    As the code in two dimensions: every axis' difference, from 0 to 2 n - 2, the last axis fastest.
    """
    at = torch.tensor(list(product(*map(range, grid))))
    label = torch.zeros(len(at), len(at), dtype=torch.long)
    for axis, n in enumerate(grid):
        label = label * (2 * n - 1) + at[:, None, axis] - at[None, :, axis] + n - 1
    return label
