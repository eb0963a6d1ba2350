"""``bench bundle verify``: is a bundle whole, does it fit itself, and do its tables come out again?"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from bench import typed
from bench.errors import BenchError, printable, shown
from bench.extras.bundle import making
from bench.extras.bundle.divisions import HASHED, Lists, Patients
from bench.extras.bundle.manifest import Division
from bench.extras.bundle.opening import Opened, draw, opened
from bench.protocol import Protocol, finetune_of, row_of
from bench.record import CELL, STATUSES
from bench.report.cells import sections_of
from bench.report.grouping import distinct
from bench.report.supplement import Beside
from bench.show.reports import recorded, said_beside
from bench.store import Store

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 70  # characters of a line that differs


@dataclass
class Verified:
    """What was read of a bundle, and what of it is wrong."""

    file: Path
    members: int = 0
    protocols: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # what is known of it and no fault


def verify(file: Path) -> Verified:
    """Look at every digest, at whether rows, protocols and splits fit, and draw the tables again.

    Raises:
        BenchError: it is no bundle, or none that an honest command makes.
    """
    with opened(file, strict=False) as bundle:
        found = Verified(file, len(bundle.manifest.members) + 1, list(bundle.manifest.protocols))
        found.findings += bundle.findings
        lists = dict[Division, Patients]()
        found.findings += _lists(bundle, lists)
        for name in bundle.manifest.protocols:
            found.findings += _protocol(bundle, name, lists, found.notes)
        found.findings = [line.replace(f"{bundle.root}{os.sep}", "") for line in found.findings]
        here = making.drawn()
        if (
            any("tables drawn here" in line for line in found.findings)
            and bundle.manifest.drawn != here
        ):
            differ = sorted(k for k in here if bundle.manifest.drawn.get(k) != here[k])
            found.notes.append(
                "not drawn alike: "
                + "; ".join(
                    f"{k} {bundle.manifest.drawn.get(k, 'unknown')} there, {here[k]} here"
                    for k in differ
                )
            )
        found.notes += [
            f"split {one.split} of {one.dataset}, fold {one.fold}: its patients are not listed, so its hash "
            f"{one.hash or '(none)'} is not compared"
            for one in bundle.manifest.splits
            if not one.file
        ]
    return found


def as_text(found: Verified) -> str:
    """Return a line for each finding, each note, and what was read."""
    count = len(found.findings)
    state = (
        f"{count} finding{'s' if count > 1 else ''}"
        if count
        else "whole, and its tables come out again"
    )
    names = ", ".join(found.protocols)
    lines = [
        *found.findings,
        *found.notes,
        f"{found.file}: {found.members} members of {names}: {state}",
    ]
    return "\n".join(map(printable, lines))


def _tables(bundle: Opened, name: str) -> Iterator[str]:
    """Yield what of a protocol's tables does not come out again."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        draw(bundle, name, Path(folder), figures=False)
        for table in making.TABLES:
            file = bundle.root / "reports" / name / table
            pair = [f.read_bytes() if f.is_file() else None for f in (file, Path(folder) / table)]
            if None in pair and pair != [None, None]:
                where = "is not in the bundle" if pair[0] is None else "is not drawn here"
                yield f"reports/{name}/{table}: {where}"
                continue
            theirs, ours = (raw or b"" for raw in pair)
            if theirs != ours:
                yield f"reports/{name}/{table}: differs from the tables drawn here, {_first(theirs, ours)}"


def _first(theirs: bytes, ours: bytes) -> str:
    """Return the first line in which two tables differ."""
    pair = (raw.decode("utf-8", "replace").split("\n") for raw in (theirs, ours))
    for count, (there, here) in enumerate(zip_longest(*pair, fillvalue="(nothing)"), start=1):
        if there != here:
            at = next((i for i, (x, y) in enumerate(zip(there, here, strict=False)) if x != y), 0)
            begin = max(0, at - SHOWN // 3)
            one, other = (shown(line[begin : begin + SHOWN]) for line in (there, here))
            return f"line {count}: {one} there, {other} here"
    return "in bytes that are no text"


def _lists(bundle: Opened, lists: dict[Division, Patients]) -> Iterator[str]:
    """Yield what is wrong with the lists of patients; adds those that are read to ``lists``."""
    for one in bundle.manifest.splits:
        if not one.file or not (bundle.root / one.file).is_file():
            continue
        try:
            read = typed.read(Lists, (bundle.root / one.file).read_bytes())
        except ValueError as error:
            yield f"{one.file}: no list of patients ({error})"
            continue
        folds = [f for f in read.folds if (f.fold, f.hash) == (one.fold, one.hash)]
        if len(folds) != 1 or (read.dataset, read.split) != (one.dataset, one.split):
            yield f"{one.file}: does not list fold {one.fold} of split {one.split} of {one.dataset}"
            continue
        lists[Division(one.dataset, one.split, one.fold, one.hash)] = folds[0]
        if folds[0].digest != one.hash:
            yield f"{one.file}: the patients of fold {one.fold} have hash {folds[0].digest}, not {one.hash}"


def _protocol(
    bundle: Opened, name: str, lists: dict[Division, Patients], notes: list[str]
) -> Iterator[str]:
    """Yield where a protocol's records do not fit it, its tables, or the patients that are listed."""
    stated, store = bundle.manifest.protocols[name], Store(bundle.root)
    try:
        protocol, table = recorded(bundle.root / stated.file, stated.scale, store)
        said = said_beside(store, name)
        sections_of(protocol, table)
        yield from _tables(bundle, name)
    except BenchError as error:
        yield f"{name}: no table can be drawn ({error})"
        return
    if said.origin is not None and said.origin.content != protocol.origin.content:
        notes.append(f"{stated.file}: was edited since its records were made")
    notes += making.unscored(protocol, table)
    if protocol.name != name:
        yield f"{stated.file}: is called {protocol.name!r}, not {name!r}"
    yield from (f"records/{name}.parquet: {what}" for what in misfits(protocol, table, said, name))
    known = {Division(d.dataset, d.split, d.fold, d.hash) for d in bundle.manifest.splits}
    good = table["case"].ne("") & table["status"].ne("failed")
    scored: dict[Division, set[str]] = {}
    for _, *place, who in distinct(table, [*HASHED, "patient"], good.to_numpy()).itertuples(
        index=False
    ):
        scored.setdefault(Division(*place), set()).add(who)
    for one, patients in scored.items():
        if one not in known:
            what = f"split {one.split} {one.hash} of {one.dataset}"
            yield f"records/{name}.parquet: {what} is not in the manifest"
        elif one in lists:
            strangers = sorted(patients - {*lists[one].test})
            if strangers:
                yield (
                    f"records/{name}.parquet: patient {strangers[0]!r} is scored and not among the test "
                    f"patients of fold {one.fold} of split {one.split} of {one.dataset}"
                )


def misfits(protocol: Protocol, table: pd.DataFrame, said: Beside, name: str) -> Iterator[str]:
    """Yield what rows say that their protocol does not."""
    stated = {
        "protocol": name,
        "paper": protocol.paper,
        "table": protocol.table,
        "scale": protocol.scale,
    }
    for column, value in stated.items():
        other = sorted({*distinct(table, [column])[column]} - {value})
        if other:
            yield f"has {column} {other[0]!r}, its protocol {value!r}"
    if strange := sorted({*distinct(table, ["status"])["status"]} - {*STATUSES}):
        yield f"has a status {strange[0]!r}"
    scored, columns = table[table["status"].ne("failed")], [*CELL, "case", "target", "metric"]
    if twice := int(scored.duplicated(columns).sum()):
        yield f"has {twice} rows twice"
    changed = bool(said.overrides)  # --set says otherwise than the protocol
    places = ["row", "method", "network", "section", "split", "fraction", "convention"]
    for row, method, network, section, split, fraction, way in distinct(table, places).itertuples(
        index=False, name=None
    ):
        own, _ = row_of(protocol, row)
        if own is None or own.method != method:
            yield f"has a row {row!r} of method {method!r}, which its protocol does not have"
            continue
        tuned = finetune_of(protocol, protocol.sections.index(section), own)
        net = protocol.networks[own.network]
        told = {
            "network": (network, f"{net.network}/{net.preset}"),
            "split": (split, tuned.split),
            # classes have none
            "convention": (way.partition("/")[0] or protocol.convention, protocol.convention),
        }
        for what, (there, wanted) in told.items():
            if there != wanted and not changed:
                yield f"row {row!r} has {what} {there!r}, its protocol {wanted!r}"
        if fraction not in tuned.fractions and not changed:
            yield f"row {row!r} has a fraction of {fraction} %, which its protocol does not have"
