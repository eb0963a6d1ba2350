"""Watches a pretraining for collapse: its encoder's embeddings of the same samples, now and then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from bench.jobs.predict import check_finite
from bench.nets import Encoder
from bench.pretext.collapse import collapsed, directions, effective_rank, leading, most

SAMPLES = 32
LOOKS = 10  # in a run, besides the one before its first step
AT_ONCE = 4  # samples in one forward pass
VERDICTS = {
    "point": "the encoder gives all samples nearly the same embedding",
    "line": "the embeddings of samples differ almost only along one direction",
}


class Watch:
    """Keeps ``step``, ``std``, ``rank``, the highest rank there is and the ``leading`` share of embeddings.

    Args:
        encoder: watched as it is trained; looking changes nothing of it.
        probe: reads the samples, (N, C, X, Y, Z), when they are first needed.
        steps: of the run.
    """

    def __init__(self, encoder: Encoder, probe: Callable[[], Tensor], steps: int) -> None:
        self._encoder, self._probe, self._steps = encoder, probe, steps
        self._images: Tensor | None = None
        self.rows: list[dict[str, float]] = []

    def at(self, step: int) -> None:
        """Look, where it is time to, before the first step (0) or after ``step`` of them."""
        every = self._steps // LOOKS or self._steps
        if step % every and step != self._steps:
            return
        if self._images is None:
            self._images = self._probe()
        z = embedded(self._encoder, self._images)
        measured = {"std": directions(z), "rank": effective_rank(z), "leading": leading(z)}
        values = {name: float(value) for name, value in measured.items()}
        self.rows.append({"step": step, **values, "most": most(z)})

    def verdict(self) -> str:
        """Return one line on how the run went, "" where nobody looked."""
        if not self.rows:
            return ""
        (first, last) = self.rows[0], self.rows[-1]
        text = (
            f"embeddings of {SAMPLES} samples: std {first['std']:.3g} -> {last['std']:.3g}, effective rank "
            f"{first['rank']:.3g} -> {last['rank']:.3g} of {last['most']}, {last['leading']:.0%} of the "
            "variance along one direction"
        )
        to = collapsed((first["std"], last["std"]), last["rank"], last["most"], last["leading"])
        return f"{text}: COLLAPSED, {VERDICTS[to]}" if to else text

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"rows": self.rows}

    def load(self, state: dict[str, Any]) -> None:
        """Restore what ``state`` gave."""
        self.rows = list(state.get("rows", ()))


@torch.no_grad()
def embedded(encoder: Encoder, images: Tensor) -> Tensor:
    """Return the embeddings (N, C) of images, on the CPU, as fine-tuning's evaluation would see them.

    Raises:
        BenchError: an embedding is not finite.
    """
    device = next(encoder.parameters()).device
    with still(encoder):
        parts = [encoder.embed(part.to(device)).float().cpu() for part in images.split(AT_ONCE)]
    embeddings = torch.cat(parts)
    check_finite(embeddings, "the encoder's embeddings")
    return embeddings


@contextmanager
def still(module: nn.Module) -> Iterator[None]:
    """Switch to evaluation, then every part back to what it was: some may be frozen by themselves."""
    training = [m for m in module.modules() if m.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True
