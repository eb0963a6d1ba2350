"""Graphics cards by name: what their makers state, and what was measured on one here.

Dense products, without sparsity. Sources: NVIDIA's data sheets of H100 SXM, H200 SXM, A100 SXM, L40S, A40, A10,
RTX A6000, and its white papers of GA102 and AD102. Memory is what the driver shows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from bench import typed
from bench.atomic import write_atomic
from bench.errors import BenchError, unknown
from bench.gpu.work import Row
from bench.jobs.context import Cuda

FILE = Path("gpu_calibration.json")  # written by `make speed-gpu`, beside bench.toml
SPELLED = re.compile(r"(?P<name>.+?)(?:x(?P<count>[1-9]\d{0,4}))?")
MEMORY = re.compile(r"(?P<gib>\d{1,4})gb")


@dataclass(frozen=True)
class Speed:
    """Which shares of a card's stated figures operations get, and what each takes at least."""

    compute: float = 0.6  # of the operations a second
    memory: float = 0.8  # of the bytes a second
    launch: float = 4e-6  # seconds
    measured: str = ""  # where and when; empty: assumed

    @property
    def text(self) -> str:
        """Return in a line what a forecast assumes."""
        how = f"measured {self.measured}" if self.measured else "assumed, not measured"
        return (
            f"{how}: the time of an operation is the largest of {self.launch * 1e6:g} us, its arithmetic at "
            f"{self.compute:.0%} of the stated speed, and its memory traffic at {self.memory:.0%} of the stated "
            "bandwidth; waiting for data is not counted; all steps cost as much as the first"
        )


@dataclass(frozen=True)
class Card:
    """A graphics card, or several of a kind."""

    name: str
    half: float  # TFLOP/s of 16-bit products
    tf32: float  # of fp32 convolutions, which torch rounds to TF32 by default
    single: float  # of fp32 products
    gib: float
    bandwidth: float  # GB/s
    count: int = 1
    speed: Speed = Speed()

    def under(self, cuda: Cuda) -> Card:
        """Return it with the speed of fp32 that these settings give."""
        if cuda.tf32 == "off":
            return replace(self, tf32=self.single)
        return replace(self, single=self.tf32) if cuda.tf32 == "all" else self

    @property
    def room(self) -> float:
        """Return the bytes that a step may take: a tenth is lost between blocks, a GiB goes to CUDA."""
        return (self.gib - 1) / 1.1 * 2**30

    def seconds(self, work: Iterable[Row]) -> float:
        """Return what operations take by a roofline: by products, by bytes, or by their number."""
        peak = {"half": self.half, "convolution": self.tf32, "product": self.single}
        total = 0.0
        for kind, count, flops, size in work:
            products = flops / (self.speed.compute * peak.get(kind, self.single) * 1e12)
            transfers = size / (self.speed.memory * self.bandwidth * 1e9)
            total += max(products, transfers, count * self.speed.launch)
        return total


CARDS = {
    card.name: card
    for card in (
        Card("h100-80gb", 989, 495, 67, 79.6, 3350),
        Card("h200-141gb", 989, 495, 67, 139.8, 4800),
        Card("a100-80gb", 312, 156, 19.5, 79.3, 2039),
        Card("a100-40gb", 312, 156, 19.5, 39.6, 1555),
        Card("l40s-48gb", 362, 183, 91.6, 44.9, 864),
        Card("a40-48gb", 150, 74.8, 37.4, 44.9, 696),
        Card("a6000-48gb", 155, 77.4, 38.7, 47.5, 768),
        Card("a10-24gb", 125, 62.5, 31.2, 22.5, 600),
        Card("rtx4090-24gb", 165, 82.6, 82.6, 24.0, 1008),
        Card("rtx3090-24gb", 71, 35.6, 35.6, 24.0, 936),
    )
}


def card(text: str, calibration: Path = FILE) -> Card:
    """Return the card that a person names: ``h100-80gb``, four of them ``h100-80gbx4``, or ``24gb``.

    Of memory alone the speed is that of the card of most alike memory in the list.

    Raises:
        BenchError: there is no such card; names the nearest. The calibration cannot be read.
    """
    spelled = SPELLED.fullmatch(text.strip().lower())
    name, count = (spelled["name"], int(spelled["count"] or 1)) if spelled else (text, 1)
    if memory := MEMORY.fullmatch(name):
        gib = float(memory["gib"])
        alike = min(CARDS.values(), key=lambda card: (abs(card.gib - gib), card.half))
        chosen = replace(alike, name=f"{name} (as fast as {alike.name})", gib=gib)
    elif name in CARDS:
        chosen = replace(CARDS[name], speed=calibrated(calibration).get(name, Speed()))
    else:
        raise BenchError(
            f"--gpu {text}: {unknown('card', name, CARDS)} (or give a size of memory, such as 24gb)"
        )
    return replace(chosen, count=count)


def calibrated(path: Path) -> dict[str, Speed]:
    """Return what was measured on this machine's cards, by name; nothing where nobody measured.

    Raises:
        BenchError: the file is no such calibration.
    """
    if not path.is_file():
        return {}
    try:
        return typed.read(dict[str, Speed], path.read_bytes())
    except ValueError as error:
        raise BenchError(
            f"{path}: {error}; run 'make speed-gpu' again, or remove the file"
        ) from None


def calibrate(path: Path, name: str, speed: Speed) -> None:
    """Keep what was measured on a card, beside what was measured on others."""
    speeds = {**calibrated(path), name: speed}
    write_atomic(path, json.dumps({k: asdict(v) for k, v in speeds.items()}, indent=1))
