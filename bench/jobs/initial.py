"""What a network starts from: fresh weights, a pretraining's, or a file's."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from bench.digest import sha256
from bench.errors import BenchError
from bench.jobs.context import Context
from bench.nets import Model, controls, outside, transfer
from bench.random import torch_seed


def start(context: Context, network: Model, pretrained: Path | None) -> None:
    """Load what a spec's ``init`` names into a fresh network; the receipt goes to log and manifest.

    Args:
        context: of a job whose spec has ``init``, ``seed`` and perhaps ``control``.
        network: keeps its initial weights where ``init`` is random.
        pretrained: the folder of the pretraining that ``init`` names, None for a file.

    Raises:
        BenchError: the weights do not fit, or the file is another one than when it was planned.
    """
    spec = context.spec
    if spec["init"] == "random":
        return
    tensors, manifest = _weights(context, pretrained)
    if spec.get("control") == "shuffled":
        tensors = controls.shuffled(tensors, torch_seed(spec["seed"], "shuffled"))
    receipt = transfer.load(network, tensors, manifest)
    context.log(receipt.line())
    context.facts.update(method=manifest.method, receipt=receipt.facts())


def rehearse(network: Model, path: Path) -> None:
    """Read a file of weights and see whether it would load into a network.

    Raises:
        BenchError: it would not; names the file.
    """
    tensors, manifest = outside.read_weights(path)
    try:
        transfer.rehearse(tensors, network, manifest)
    except BenchError as error:
        raise BenchError(f"{path}: {error}") from None


def _weights(context: Context, pretrained: Path | None) -> tuple[dict[str, Tensor], transfer.Manifest]:
    init = context.spec["init"]
    if pretrained is not None:
        step = init.partition("@")[2]
        return transfer.read(pretrained / (f"weights-{step}.safetensors" if step else "weights.safetensors"))
    digest = init.removeprefix("file:")
    path = Path(context.run.files[digest])
    context.log(f"weights of {path}")
    if sha256(path) != digest:
        raise BenchError(f"{path}: changed since it was planned; run the protocol again")
    return outside.read_weights(path)
