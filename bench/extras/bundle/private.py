"""What in a bundle tells of a machine or a person: named to whoever passes it on, nothing is taken out."""

from __future__ import annotations

import getpass
import io
import platform
import re
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

from bench.errors import first_of, printable

# no URL, no fraction
PATH = re.compile(r"(?<![\w.:/~-])/(?:[\w.+@-]+/)+[\w.+@-]+|\b[A-Z]:\\[\w\\.-]+")
SHOWN = 3


def disclosures(members: Mapping[str, bytes]) -> list[str]:
    """Return a line for each member that names a path, or this machine's host or user."""
    names = _names()
    texts = (
        (name, list(dict.fromkeys(_met(name, raw, names)))) for name, raw in sorted(members.items())
    )
    return [
        f"{name} names {first_of([printable(text) for text in met], SHOWN)}"
        for name, met in texts
        if met
    ]


def _met(name: str, raw: bytes, names: re.Pattern[str] | None) -> Iterator[str]:
    for text in [name, *_texts(name, raw)]:
        yield from PATH.findall(text)
        if names is not None:
            yield from names.findall(text)


def _texts(name: str, raw: bytes) -> list[str]:
    if not name.endswith(".parquet"):
        return [raw.decode("utf-8", "replace")]
    import pyarrow.parquet as pq

    names = pq.read_schema(io.BytesIO(raw)).names
    columns = (pq.read_table(io.BytesIO(raw), columns=[name]).column(name) for name in names)
    return [text for c in columns for text in c.unique().to_pylist() if isinstance(text, str)]


def _names() -> re.Pattern[str] | None:
    """Return what finds this machine's names and its user's; a short one, or ``root``, is everybody's."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user without an entry
        user = ""
    hosts = {socket.gethostname(), platform.node(), socket.gethostname().partition(".")[0]}
    telling = {name for name in (*hosts, user, Path.home().name) if len(name) > 3}
    telling -= {"root", "localhost", "home", "user"}
    return re.compile(rf"\b(?:{'|'.join(map(re.escape, sorted(telling)))})\b") if telling else None
