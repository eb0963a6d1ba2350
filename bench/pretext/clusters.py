"""Online clustering: two views agree on prototypes (SwAV and DeepCluster-v2, Caron et al., NeurIPS 2020).

Embeddings are unit vectors, so scores are cosines. Assignments are made in the logarithm: exp(1 / .05) is
e^20, and would leave half precision.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.pretext.distil import entropy
from bench.pretext.losses import full_precision
from bench.pretext.queue import Queue

Kind = Literal["swav", "deepcluster"]


@dataclass(frozen=True)
class Rule:
    """How embeddings are assigned to prototypes.

    Args:
        kind: balanced and soft, or to the nearest centre of a memory.
        temperature: of what is told.
        epsilon: of balanced assignments; lower is harder.
        iterations: of balancing.
        fits: iterations of k-means.
    """

    kind: Kind = "swav"
    temperature: float = 0.1
    epsilon: float = 0.05
    iterations: int = 3
    fits: int = 10


class Clusters(nn.Module):
    """Unit prototypes, a memory of each view's embeddings, and what two views cost that disagree.

    Args:
        width: of the embeddings.
        count: prototypes, K.
        memory: embeddings kept of each view; 0 for none.
        rule: of assignment.
    """

    centres: Tensor

    def __init__(self, width: int, count: int, memory: int, rule: Rule) -> None:
        super().__init__()
        drawn = nn.Linear(width, count, bias=False).weight.data
        self.weight = nn.Parameter(functional.normalize(drawn, dim=1))
        self.memory = nn.ModuleList(Queue(memory, width, 1) for _ in range(2 if memory else 0))
        if rule.kind == "deepcluster":
            self.register_buffer("centres", self.weight.data.clone())
        self.rule = rule
        self._seen: tuple[Tensor, Tensor] | None = None

    @full_precision
    def forward(self, one: Tensor, two: Tensor, still: bool = False) -> tuple[Tensor, Tensor]:
        """Return the loss, and what the prototypes tell of a view in nats (0 where they have collapsed).

        ``swav``: the mean over views of -sum q log softmax(scores / temperature), q the other view's
        assignment. ``deepcluster``: the cross entropy of both views with the first one's nearest centre.

        Args:
            one: (N, C) unit embeddings of all processes.
            two: of the same samples' other views.
            still: do prototypes get no gradient?
        """
        rule, views = self.rule, (one, two)
        weight = self.weight.detach() if still else self.weight
        logits = [z @ weight.T / rule.temperature for z in views]
        if rule.kind == "swav":
            q = [self._assigned(i, z) for i, z in enumerate(views)]
            ways = [handed(q[i], logits[1 - i]) for i in (0, 1)]
        else:
            label = (one.detach() @ self.centres.to(one).T).argmax(dim=1)
            ways = [functional.cross_entropy(told, label) for told in logits]
        self._seen = one.detach(), two.detach()
        p = torch.cat(logits).detach().softmax(dim=1)
        return torch.stack(ways).mean(), entropy(p.mean(dim=0)) - entropy(p).mean()

    @torch.no_grad()
    def _assigned(self, view: int, z: Tensor) -> Tensor:
        """Return the balanced assignments (N, K) of a view, balanced with its memory once that is full."""
        rows = torch.cat([self.queues[view].keys.to(z), z]) if self.full else z
        return sinkhorn(rows @ self.weight.T, self.rule.epsilon, self.rule.iterations)[-len(z) :]

    @torch.no_grad()
    def move(self, listens: bool = True) -> None:
        """Make prototypes unit vectors again; remember the step's embeddings, if the memory ``listens``.

        Whenever all of the memory was replaced, k-means on the first view's gives centres and prototypes.
        """
        self.weight.copy_(functional.normalize(self.weight, dim=1))
        if self._seen is not None and listens and self.queues:
            first = self.queues[0]
            filled = int(first.at) + len(self._seen[0]) >= len(first.keys)
            for queue, z in zip(self.queues, self._seen, strict=True):
                queue.push(z, torch.ones_like(z[:, :1]))
            if filled and self.rule.kind == "deepcluster":
                centres = kmeans(first.keys, len(self.weight), self.rule.fits)
                self.centres.copy_(centres)
                self.weight.copy_(centres)
        self._seen = None

    @property
    def full(self) -> bool:
        """Is there a memory without random vectors?"""
        return bool(self.queues) and bool((self.queues[0].notes >= 0).all())

    @property
    def queues(self) -> list[Queue]:
        """The memory of first and of second views; none where nothing is kept."""
        return [queue for queue in self.memory if isinstance(queue, Queue)]


@full_precision
def handed(target: Tensor, logits: Tensor) -> Tensor:
    """Return the mean over rows of -sum target log softmax(logits), (N, K) each."""
    return -(target * logits.log_softmax(dim=1)).sum(dim=1).mean()


@torch.no_grad()
@full_precision
def sinkhorn(scores: Tensor, epsilon: float, iterations: int) -> Tensor:
    """Return soft assignments (N, K) of samples to prototypes, all of which are given about as much.

    exp(scores / epsilon), its columns and then its rows scaled to equal sums, again and again: rows sum to
    1 exactly, columns approach N / K. Caron et al., NeurIPS 2020, Eq. 3 to 5.

    Args:
        scores: (N, K).
        epsilon: lower is harder.
        iterations: 1 or more.
    """
    q = scores / epsilon
    for _ in range(iterations):
        q = q.log_softmax(dim=0)
        q = q.log_softmax(dim=1)
    return q.exp()


@torch.no_grad()
@full_precision
def kmeans(z: Tensor, count: int, iterations: int) -> Tensor:
    """Return the unit centres (count, C) of unit vectors (N, C), by cosine; an empty one stays.

    It starts at every so-manieth vector, so that all processes find the same.
    """
    first = torch.arange(count, device=z.device) * len(z) // count
    centres = z[first]
    for _ in range(iterations):
        members = functional.one_hot((z @ centres.T).argmax(dim=1), count).to(z)
        sums = members.T @ z
        centres = torch.where(members.sum(dim=0)[:, None] > 0, sums, centres)
        centres = functional.normalize(centres, dim=1)
    return centres
