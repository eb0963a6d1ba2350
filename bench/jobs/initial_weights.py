"""What a network starts from: fresh weights, a pretraining's, or a file's."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench import nets
from bench.digest import sha256
from bench.errors import BenchError
from bench.jobs.context import Context
from bench.jobs.kind import MAPS, Given, NetSpec
from bench.nets import Model, foreign_weights, transfer
from bench.nets.public_weights import Stated
from bench.random import torch_seed

Tensors = dict[str, Tensor]  # by name


@dataclass(frozen=True)
class Weights:
    """What a network starts from, read."""

    tensors: Tensors
    manifest: transfer.Manifest

    @classmethod
    def of_file(
        cls, path: Path, given: Given, receiver: Callable[[], Model], output: bool = False
    ) -> Weights:
        """Read a file of weights as a row states it.

        Args:
            path: the file.
            given: what the row states.
            receiver: builds the row's network, whose names the tensors may have.
            output: with its last layer.

        Raises:
            BenchError: as ``foreign_weights.read_weights``.
        """
        return cls(*foreign_weights.read_weights(path, given.preset, output, receiver))

    @property
    def left_open(self) -> str:
        """Return a line on what the tensors do not tell and was taken for granted, else nothing."""
        return self._foreign(foreign_weights.OPEN)

    @property
    def layout(self) -> str:
        """Return the layout of a file that others wrote; empty where bench wrote it."""
        return self._foreign("layout")

    def _foreign(self, key: str) -> str:
        """Return what was noted of a foreign file; where a method trained, ``params`` are that method's."""
        return "" if self.manifest.method else str(self.manifest.params.get(key, ""))


def network_of(net: NetSpec, task: str, classes: int = 0) -> Model:
    """Return the network of a task, freshly initialised; ``classes``: where they are not the task's."""
    assert net.out_channels is not None
    size = (net.network, net.preset, net.in_channels, classes or net.out_channels, net.crop)
    return nets.network(*size) if task == MAPS else nets.classifier(*size, net.hidden)


def seeded(seed: int) -> None:
    """Let what is initialised next depend on a seed alone."""
    torch.manual_seed(torch_seed(seed, "network"))


def start(
    context: Context[Any],
    network: Model,
    weights: Weights | None,
    control: Callable[[Tensors], Tensors] = lambda tensors: tensors,
    output: bool = False,
) -> transfer.Receipt | None:
    """Load what a spec's ``init`` names into a fresh network; return the receipt, None where it is random.

    It goes to log and manifest, too.

    Args:
        context: of the job.
        network: keeps its initial weights where ``init`` is random.
        weights: what ``init`` names, None where it is random.
        control: what a control row does to the tensors before they are loaded.
        output: is the last layer to come with the weights?

    Raises:
        BenchError: the weights do not fit.
    """
    if weights is None:
        return None
    given, lacks = control(weights.tensors), context.spec.given.lacks
    receipt = transfer.load(network, given, weights.manifest, output=output, lacks=lacks)
    context.log(receipt.line())
    left_open = weights.left_open
    facts = receipt.facts() | ({foreign_weights.OPEN: left_open} if left_open else {})
    context.facts.update(method=weights.manifest.method, receipt=facts)
    return receipt


def rehearse(
    network: Model,
    weights: Weights,
    path: Path,
    lacks: Collection[str],
    output: bool = False,
    stated: Sequence[Stated] = (),
) -> str:
    """See whether a file of weights would load into a network, and whether it is what rows say.

    Args:
        network: freshly initialised.
        weights: read from the file.
        path: of the file.
        lacks: kinds of layers and stages that may be missing.
        output: is the last layer to come with the weights?
        stated: what rows say of the file.

    Returns:
        A line on what its tensors leave open and was taken for granted, else nothing.

    Raises:
        BenchError: it would not, or it is not; names the file.
    """
    manifest, left_open = weights.manifest, weights.left_open
    try:
        transfer.rehearse(weights.tensors, network, manifest, lacks=lacks, output=output)
    except BenchError as error:
        raise BenchError(f"{path}: {error}" + (f"; {left_open}" if left_open else "")) from None
    for row in stated:
        try:
            row.check(weights.layout, manifest.preset, manifest.recipe, manifest.out_channels)
        except BenchError as error:
            raise BenchError(f"{path}: {error}") from None
    return f"{path}: {left_open}" if left_open else ""


def weights_of(
    context: Context[Any],
    pretrained: Path | None,
    receiver: Callable[[], Model],
    output: bool = False,
) -> Weights | None:
    """Return what ``init`` of a job's spec names, None where it is random.

    Args:
        context: of the job.
        pretrained: the folder of the pretraining that ``init`` names, None for a file.
        receiver: builds the network that is to start from them.
        output: with the last layer of a file that others wrote.

    Raises:
        BenchError: the weights cannot be read, or the file is another one than when it was planned.
    """
    init = context.spec.init
    if init == "random":
        return None
    if pretrained is not None:
        step = init.partition("@")[2]
        name = f"weights-{step}" if step else "weights"
        return Weights(*transfer.read(pretrained / f"{name}.safetensors"))
    digest = init.removeprefix("file:")
    path = Path(context.run.files[digest])
    context.log(f"weights of {path}")
    if sha256(path) != digest:
        raise BenchError(f"{path}: changed since it was planned; run the protocol again")
    return Weights.of_file(path, context.spec.given, receiver, output)
