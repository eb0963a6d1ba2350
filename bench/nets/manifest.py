"""A file of tensors that says what it is: safetensors with a manifest in its header."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise
from torch import Tensor

from bench import digest, typed
from bench.errors import BenchError, shown
from bench.ranges import Triple
from bench.store import write_atomic

KEY = "bench.manifest"  # in the header's metadata
SCHEMA = 1


@dataclass(frozen=True)
class Manifest:
    """What whoever loads the tensors must know; JSON values only."""

    network: str
    preset: str
    in_channels: int
    out_channels: int  # 0 where only an encoder was trained
    crop: Triple
    recipe: dict[str, Any] = field(default_factory=dict)  # spacing (mm), intensities
    method: str = ""
    params: dict[str, Any] = field(default_factory=dict)  # of the method, as it ran
    key: str = ""  # id of the job that made the tensors
    step: int = 0  # optimiser steps done; 0 also where that is not known
    labels: tuple[str, ...] = ()  # output channels by name, of label maps the background first

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"schema": SCHEMA, **asdict(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Manifest:
        """Read what ``to_dict`` wrote.

        Raises:
            BenchError: another schema, or a field missing, unknown or of another type.
        """
        if not isinstance(values, Mapping):
            raise BenchError("its manifest is damaged (no JSON object); export the weights again")
        given = dict(values)
        schema = given.pop("schema", None)
        if schema != SCHEMA:
            raise BenchError(f"manifest has schema {schema!r}, this version reads {SCHEMA}")
        if lacking := {f.name for f in fields(cls)} - given.keys():
            raise BenchError(f"manifest: field {min(lacking)!r} is missing")
        return typed.build(cls, given, lambda keys: ": ".join(("manifest", *map(shown, keys))))


def save(path: Path | str, tensors: Mapping[str, Tensor], manifest: Manifest) -> None:
    """Write one file, whole or not at all: an interrupted write leaves the old one.

    Args:
        path: usually ``*.safetensors``; its folder exists.
        tensors: any device; stored contiguous.
        manifest: stored in the header.

    Raises:
        BenchError: a weight or a buffer is not finite; nothing is written.
    """
    path = Path(path)
    for name, value in tensors.items():
        if not finite(value):
            raise BenchError(
                f"{path.name}: tensor {shown(name)} holds values that are not finite: the training diverged; "
                "lower the learning rate"
            )
    plain = {k: v.detach().cpu().clone().contiguous() for k, v in tensors.items()}
    text = json.dumps(manifest.to_dict(), sort_keys=True)
    write_atomic(path, serialise(plain, metadata={KEY: text}))


def finite(value: Tensor) -> bool:
    """Tell whether all values of a tensor of any type are finite numbers."""
    if value.is_floating_point() and value.element_size() == 1:  # torch cannot ask this of 8 bits
        value = value.float()
    return bool(torch.isfinite(value).all())


def read(path: Path | str) -> tuple[dict[str, Tensor], Manifest]:
    """Return the tensors (on the CPU) and the manifest of a file that ``save`` wrote.

    Raises:
        BenchError: no such file, truncated or damaged, or without a manifest; names the file.
        Damaged: a job published another one.
    """
    path = Path(path)
    try:
        digest.check(path)
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no dict
    except (SafetensorError, OSError) as error:
        reason = " ".join(str(error).split())
        raise BenchError(
            f"{path}: cannot be read as safetensors ({reason}); make it again"
        ) from None
    if KEY not in metadata:
        raise BenchError(
            f"{path}: has no manifest, so its network is unknown; export it with bench"
        )
    try:
        return tensors, Manifest.from_dict(json.loads(metadata[KEY]))
    except (ValueError, RecursionError) as error:
        raise BenchError(f"{path}: its manifest is not JSON ({error}); make it again") from None
    except BenchError as error:
        raise BenchError(f"{path}: {error}") from None
