"""What a bundle's ``manifest.json`` says, and which members there may be."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from bench import typed
from bench.typed import plain

NAME = "manifest.json"
SCHEMA = 1
EPOCH = (1980, 1, 1, 0, 0, 0)
KINDS = {  # top folder: what may lie in it. Rows and text: no picture, and nothing that a job made
    "files": (".yaml", ".yml"),
    "records": (".parquet", ".json"),
    "splits": (".json",),
    "results": (".csv", ".md"),
    "reports": (".csv", ".md"),
    "plugins": (".py",),
}


@dataclass(frozen=True)
class Member:
    """One file of a bundle besides the manifest."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class Listed:
    """One protocol of a bundle."""

    file: str  # member: its text
    scale: str
    # what made the numbers: versions, commit, device
    made: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Division:
    """One fold that records were scored on. Where its patients were not known, ``file`` is empty."""

    dataset: str
    split: str
    fold: int
    hash: str  # as the records have it
    file: str = ""


@dataclass(frozen=True)
class Outside:
    """A plugin that rows use: its file, and the digest of its source as ids of jobs have it."""

    file: str
    digest: str


@dataclass(frozen=True)
class Manifest:
    """What is in a bundle, and what drew its tables."""

    schema: int
    protocols: dict[str, Listed]
    splits: tuple[Division, ...]
    plugins: dict[str, Outside]
    drawn: dict[str, str]  # versions that drew ``reports/``
    members: dict[str, Member]


def read(raw: bytes) -> Manifest:
    """Return the manifest in ``raw``.

    Raises:
        ValueError: it is none, or of another schema.
    """
    schema = typed.read(dict, raw).get("schema")
    if schema != SCHEMA:
        raise ValueError(f"its format is version {schema!r}, and this bench reads version {SCHEMA}")
    return typed.read(Manifest, raw)


def allowed(name: str) -> bool:
    """Tell whether a bundle may have a member of this name."""
    path = PurePosixPath(name)
    return len(path.parts) > 1 and path.suffix in KINDS.get(path.parts[0], ())


def listed(members: Mapping[str, bytes]) -> dict[str, Member]:
    """Return digest and size of every member."""
    return {
        n: Member(hashlib.sha256(raw).hexdigest(), len(raw)) for n, raw in sorted(members.items())
    }


def written(manifest: Manifest, members: Mapping[str, bytes]) -> bytes:
    """Return a bundle's bytes: members in order, of one time, not compressed.

    A compressor of another version makes other bytes of the same rows; records are compressed by themselves.
    """
    text = json.dumps(plain(manifest), sort_keys=True, indent=1).encode()
    out = io.BytesIO()
    with ZipFile(out, "w", ZIP_STORED) as file:
        for name, raw in [(NAME, text), *sorted(members.items())]:
            info = ZipInfo(name, EPOCH)
            info.create_system, info.external_attr = 3, 0o644 << 16
            file.writestr(info, raw)
    return out.getvalue()
