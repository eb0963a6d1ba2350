"""What a network starts from: fresh weights, a pretraining's, or a file's."""

from __future__ import annotations

from collections.abc import Callable
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
from bench.random import torch_seed

Tensors = dict[str, Tensor]  # by name


def network_of(net: NetSpec, task: str) -> Model:
    """Return the network of a task, freshly initialised."""
    assert net.out_channels is not None
    size = (net.network, net.preset, net.in_channels, net.out_channels, net.crop)
    return nets.network(*size) if task == MAPS else nets.classifier(*size, net.hidden)


def seeded(seed: int) -> None:
    """Let what is initialised next depend on a seed alone."""
    torch.manual_seed(torch_seed(seed, "network"))


def start(
    context: Context[Any],
    network: Model,
    pretrained: Path | None,
    control: Callable[[Tensors], Tensors] = lambda tensors: tensors,
    output: bool = False,
) -> transfer.Receipt | None:
    """Load what a spec's ``init`` names into a fresh network; return the receipt, None where it is random.

    It goes to log and manifest, too.

    Args:
        context: of the job.
        network: keeps its initial weights where ``init`` is random.
        pretrained: the folder of the pretraining that ``init`` names, None for a file.
        control: what a control row does to the tensors before they are loaded.
        output: is the last layer to come with the weights?

    Raises:
        BenchError: the weights do not fit, or the file is another one than when it was planned.
    """
    spec = context.spec
    if spec.init == "random":
        return None
    tensors, manifest = _weights(spec.init, context, pretrained)
    given, lacks = control(tensors), spec.given.lacks
    receipt = transfer.load(network, given, manifest, output=output, lacks=lacks)
    context.log(receipt.line())
    left_open = manifest.params.get(foreign_weights.OPEN)
    facts = receipt.facts() | ({foreign_weights.OPEN: left_open} if left_open else {})
    context.facts.update(method=manifest.method, receipt=facts)
    return receipt


def rehearse(network: Model, path: Path, given: Given) -> str:
    """Read a file of weights and see whether it would load into a network.

    Returns:
        A line on what its tensors leave open and was taken for granted, else nothing.

    Raises:
        BenchError: it would not; names the file.
    """
    tensors, manifest = foreign_weights.read_weights(path, given.preset)
    left_open = manifest.params.get(foreign_weights.OPEN)
    try:
        transfer.rehearse(tensors, network, manifest, lacks=given.lacks)
    except BenchError as error:
        raise BenchError(f"{path}: {error}" + (f"; {left_open}" if left_open else "")) from None
    return f"{path}: {left_open}" if left_open else ""


def _weights(
    init: str, context: Context[Any], pretrained: Path | None
) -> tuple[Tensors, transfer.Manifest]:
    if pretrained is not None:
        step = init.partition("@")[2]
        name = f"weights-{step}" if step else "weights"
        return transfer.read(pretrained / f"{name}.safetensors")
    digest = init.removeprefix("file:")
    path = Path(context.run.files[digest])
    context.log(f"weights of {path}")
    if sha256(path) != digest:
        raise BenchError(f"{path}: changed since it was planned; run the protocol again")
    return foreign_weights.read_weights(path, context.spec.given.preset)
