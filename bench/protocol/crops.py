"""Crops that networks cannot be trained on: all of a protocol's in one message, with what to take."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bench import registry
from bench.dataset import Recipe
from bench.document import Document
from bench.errors import BenchError
from bench.nets import catalog
from bench.nets.nearest import nearest
from bench.protocol.model import (
    Protocol,
    Row,
    finetune_of,
    pretrain_of,
    pretrained_net,
    pretrains,
    tuned_net,
)
from bench.protocol.sections import Net, Pretrain
from bench.ranges import Triple

Keys = tuple[str, ...]


@dataclass(frozen=True)
class Reader:
    """Who reads crops of a network, and the key that states them; ``section``: of a row that pretrains."""

    net: Net
    keys: Keys
    row: str = ""
    section: Pretrain | None = None


def check(protocol: Protocol, document: Document) -> None:
    """Look at every crop that a network is to read.

    Raises:
        BenchError: an unknown network or preset, or crops that do not fit: each with file, line and key, its
            rows, and the nearest crop that fits all of these.
    """
    by_net: dict[Net, list[Reader]] = {}
    for reader in _readers(protocol):
        by_net.setdefault(reader.net, []).append(reader)
    faults = list[str]()
    for net, readers in by_net.items():
        where = document.where(readers[0].keys)
        try:
            catalog.preset(net.network, net.preset)
        except BenchError as error:
            raise BenchError(f"{where}: {error}") from None
        try:
            catalog.check_crop(net.network, net.preset, net.crop)
        except BenchError as error:
            faults.append(f"{where}: {_message(protocol, net, readers, str(error))}")
    if faults:
        raise BenchError("; ".join(faults))


def _readers(protocol: Protocol) -> Iterator[Reader]:
    """Yield whoever reads crops: the networks themselves first, which state most of them."""
    for name, net in protocol.networks.items():
        yield Reader(net, ("networks", name))
    for name, row in protocol.rows.items():
        for i in protocol.sections_of(row):
            tuned = finetune_of(protocol, i, row)
            keys: Keys = ("rows", name, "finetune") if row.finetune else ("finetune", str(i))
            yield Reader(tuned_net(protocol, row, tuned), (*keys, "crop"), name)
            if pretrains(protocol, row) and not row.ceiling:
                section = pretrain_of(protocol, row, i)
                keys = pretrain_keys(protocol, name, row, i)
                yield Reader(pretrained_net(protocol, row, i), (*keys, "crop"), name, section)


def pretrain_keys(protocol: Protocol, name: str, row: Row, index: int) -> Keys:
    """Return the keys of the section that says how a row is pretrained for a fine-tuning section."""
    if row.pretrain:
        return ("rows", name, "pretrain")
    stated = protocol.finetune[index].pretrain
    return ("finetune", str(index), "pretrain") if stated else ("pretrain",)


def _message(protocol: Protocol, net: Net, readers: list[Reader], why: str) -> str:
    """Return what is wrong with a crop, whose it is, and the nearest that fits all of these."""

    def fits(crop: Triple) -> bool:
        return all(_reads(protocol, reader, crop) for reader in readers)

    take = nearest(net.network, net.preset, net.crop, fits)
    take = take or nearest(net.network, net.preset, net.crop)
    rows = list(dict.fromkeys(reader.row for reader in readers if reader.row))
    if take is None:
        return why
    of = f" (row{'s' * (len(rows) > 1)} {', '.join(rows)})" if rows else ""
    many = "all of these rows" if len(rows) > 1 else "it"
    return f"{why.partition('; use ')[0]}{of}; use {list(take)}, the nearest that fits {many}"


def _reads(protocol: Protocol, reader: Reader, crop: Triple) -> bool:
    """Tell whether a row's method can be pretrained on a crop, by what is known before data are looked at."""
    section = reader.section
    if section is None:
        return True
    row = protocol.rows[reader.row]
    recipe = section.recipe if isinstance(section.recipe, Recipe) else Recipe()
    try:
        params = registry.load("method", row.method).make_params(row.params)
        params.check(crop, recipe)
        params.check_batch(reader.net.network, crop, section.batch, 1)
    except BenchError:
        return False
    return True
