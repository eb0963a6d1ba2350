"""Phantoms in the place of data: where a protocol asks for them, or of everything by ``--phantoms``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench import registry
from bench.data.roots import Roots
from bench.phantoms import synthetic
from bench.protocol import Phantom, Protocol, mixture, pretrain_of, pretrains
from bench.store import Store


def where_lacking(roots: Roots, protocols: Sequence[Protocol], out: Path, *, make: bool) -> Roots:
    """Return the roots with the phantoms that protocols ask for where their data is not on this machine.

    They lie in the folder ``phantoms`` of ``out``; ``make``: write those that are not there yet. Of several
    protocols' numbers of cases the largest counts.
    """
    smallest_first = sorted(
        (item for protocol in protocols for item in protocol.phantoms.items()),
        key=lambda item: item[1].cases,
    )
    requested = {name: phantom for name, phantom in smallest_first if roots.find(name) is None}
    return Roots(roots.data, {**roots.named, **_folders(requested, out, make=make)})


def of_all(protocols: Sequence[Protocol], out: Path, *, make: bool) -> Roots:
    """Return roots at which every data set of some protocols is phantoms, whatever is on this machine.

    There are as many as the data set's declaration says or, if more, a protocol does, so that what one
    protocol reads does not depend on which are run beside it.

    Raises:
        BenchError: a data set has no phantom.
    """
    requested: dict[str, Phantom] = {}
    for protocol in protocols:
        for name in read_by(protocol):
            usual = registry.load("dataset", name).phantoms
            stated = [
                p for p in (requested.get(name), protocol.phantoms.get(name)) if p is not None
            ]
            cases = max([usual, *(phantom.cases for phantom in stated)])
            requested[name] = Phantom(cases, next((phantom.seed for phantom in stated), 0))
    return Roots(None, _folders(requested, out, make=make), phantoms=True)


def read_by(protocol: Protocol) -> list[str]:
    """Return the data sets that a protocol reads, those of its pretraining mixtures among them."""
    sections = [protocol.pretrain] if protocol.pretrain and protocol.embeddings else []
    for row in (r for r in protocol.rows.values() if pretrains(protocol, r)):
        sections += [pretrain_of(protocol, row, index) for index in protocol.sections_of(row)]
    mixed = [part.dataset for section in sections for part in mixture.parts(section)]
    return list(dict.fromkeys([*(section.dataset for section in protocol.finetune), *mixed]))


def _folders(requested: dict[str, Phantom], out: Path, *, make: bool) -> dict[str, Path]:
    """Return the folders of phantoms, by data set; those not there are written first, or left out."""
    named = dict[str, Path]()
    for name, phantom in requested.items():
        folder = Store(out).within(out / "phantoms") / f"{name}-{phantom.cases}-{phantom.seed}"
        if make and not folder.exists():
            _write(name, phantom, folder)
        if folder.exists():
            synthetic.mark(folder)  # an earlier version left none
            named[name] = folder
    return named


def _write(name: str, phantom: Phantom, folder: Path) -> None:
    try:
        synthetic.write(registry.load("dataset", name), folder, phantom.cases, phantom.seed)
    except OSError:
        if not folder.exists():  # else another command was quicker, with equal files
            raise
