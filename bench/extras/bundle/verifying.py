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
from bench.report.supplement import Supplement
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
        verified = Verified(file, len(bundle.manifest.members) + 1, list(bundle.manifest.protocols))
        verified.findings += bundle.findings
        lists = dict[Division, Patients]()
        verified.findings += _lists(bundle, lists)
        for name in bundle.manifest.protocols:
            verified.findings += _protocol(bundle, name, lists, verified.notes)
        verified.findings = [
            line.replace(f"{bundle.root}{os.sep}", "") for line in verified.findings
        ]
        drawn = making.drawn()
        differs = any("tables drawn here" in line for line in verified.findings)
        if differs and bundle.manifest.drawn != drawn:
            differ = sorted(k for k in drawn if bundle.manifest.drawn.get(k) != drawn[k])
            theirs = bundle.manifest.drawn
            each = (f"{k} {theirs.get(k, 'unknown')} there, {drawn[k]} here" for k in differ)
            verified.notes.append(f"not drawn alike: {'; '.join(each)}")
        verified.notes += [
            f"split {division.split} of {division.dataset}, fold {division.fold}: its patients are not "
            f"listed, so its hash {division.hash or '(none)'} is not compared"
            for division in bundle.manifest.splits
            if not division.file
        ]
    return verified


def as_text(verified: Verified) -> str:
    """Return a line for each finding, each note, and what was read."""
    count = len(verified.findings)
    state = "whole, and its tables come out again"
    if count:
        state = f"{count} finding{'s' if count > 1 else ''}"
    names = ", ".join(verified.protocols)
    total = f"{verified.file}: {verified.members} members of {names}: {state}"
    lines = [*verified.findings, *verified.notes, total]
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
    lines = zip_longest(*pair, fillvalue="(nothing)")
    for count, (theirs_line, ours_line) in enumerate(lines, start=1):
        if theirs_line != ours_line:
            at = next(
                (i for i, (x, y) in enumerate(zip(theirs_line, ours_line, strict=False)) if x != y),
                0,
            )
            begin = max(0, at - SHOWN // 3)
            text, other = (shown(line[begin : begin + SHOWN]) for line in (theirs_line, ours_line))
            return f"line {count}: {text} there, {other} here"
    return "in bytes that are no text"


def _lists(bundle: Opened, lists: dict[Division, Patients]) -> Iterator[str]:
    """Yield what is wrong with the lists of patients; adds those that are read to ``lists``."""
    for division in bundle.manifest.splits:
        if not division.file or not (bundle.root / division.file).is_file():
            continue
        try:
            read = typed.read(Lists, (bundle.root / division.file).read_bytes())
        except ValueError as error:
            yield f"{division.file}: no list of patients ({error})"
            continue
        folds = [f for f in read.folds if (f.fold, f.hash) == (division.fold, division.hash)]
        if len(folds) != 1 or (read.dataset, read.split) != (division.dataset, division.split):
            yield f"{division.file}: does not list fold {division.fold} of split {division.split} of {division.dataset}"
            continue
        lists[Division(division.dataset, division.split, division.fold, division.hash)] = folds[0]
        if folds[0].digest != division.hash:
            yield (
                f"{division.file}: the patients of fold {division.fold} have hash {folds[0].digest}, "
                f"not {division.hash}"
            )


def _protocol(
    bundle: Opened, name: str, lists: dict[Division, Patients], notes: list[str]
) -> Iterator[str]:
    """Yield where a protocol's records do not fit it, its tables, or the patients that are listed."""
    stated, store = bundle.manifest.protocols[name], Store(bundle.root)
    try:
        protocol, table = recorded(bundle.root / stated.file, stated.scale, store)
        facts = said_beside(store, name)
        sections_of(protocol, table)
        yield from _tables(bundle, name)
    except BenchError as error:
        yield f"{name}: no table can be drawn ({error})"
        return
    if facts.origin is not None and facts.origin.content != protocol.origin.content:
        notes.append(f"{stated.file}: was edited since its records were made")
    notes += making.unscored(protocol, table)
    if protocol.name != name:
        yield f"{stated.file}: is called {protocol.name!r}, not {name!r}"
    yield from (f"records/{name}.parquet: {what}" for what in misfits(protocol, table, facts, name))
    divisions = {Division(d.dataset, d.split, d.fold, d.hash) for d in bundle.manifest.splits}
    good = table["case"].ne("") & table["status"].ne("failed")
    scored: dict[Division, set[str]] = {}
    patients = table.loc[good, [*HASHED, "patient"]].drop_duplicates()
    for _, *key, who in patients.itertuples(index=False):
        scored.setdefault(Division(*key), set()).add(who)
    for division, patients in scored.items():
        if division not in divisions:
            what = f"split {division.split} {division.hash} of {division.dataset}"
            yield f"records/{name}.parquet: {what} is not in the manifest"
        elif division in lists:
            strangers = sorted(patients - {*lists[division].test})
            if strangers:
                yield (
                    f"records/{name}.parquet: patient {strangers[0]!r} is scored and not among the test "
                    f"patients of fold {division.fold} of split {division.split} of {division.dataset}"
                )


def misfits(protocol: Protocol, table: pd.DataFrame, facts: Supplement, name: str) -> Iterator[str]:
    """Yield what rows say that their protocol does not."""
    stated = {"protocol": name, "paper": protocol.paper}
    stated |= {"table": protocol.table, "scale": protocol.scale}
    for column, value in stated.items():
        other = sorted({*table[column].unique()} - {value})
        if other:
            yield f"has {column} {other[0]!r}, its protocol {value!r}"
    if strange := sorted({*table["status"].unique()} - {*STATUSES}):
        yield f"has a status {strange[0]!r}"
    scored, columns = table[table["status"].ne("failed")], [*CELL, "case", "target", "metric"]
    if twice := int(scored.duplicated(columns).sum()):
        yield f"has {twice} rows twice"
    changed = bool(facts.overrides)  # --set says otherwise than the protocol
    places = ["row", "method", "network", "section", "split", "fraction", "convention"]
    lines = table[places].drop_duplicates().itertuples(index=False, name=None)
    for row, method, network, section, split, fraction, way in lines:
        stated_row, _ = row_of(protocol, row)
        if stated_row is None or stated_row.method != method:
            yield f"has a row {row!r} of method {method!r}, which its protocol does not have"
            continue
        tuned = finetune_of(protocol, protocol.sections.index(section), stated_row)
        net = protocol.networks[stated_row.network]
        pairs = {
            "network": (network, f"{net.network}/{net.preset}"),
            "split": (split, tuned.split),
            # classes have none
            "convention": (way.partition("/")[0] or protocol.convention, protocol.convention),
        }
        for what, (recorded_value, wanted) in pairs.items():
            if recorded_value != wanted and not changed:
                yield f"row {row!r} has {what} {recorded_value!r}, its protocol {wanted!r}"
        if fraction not in tuned.fractions and not changed:
            yield f"row {row!r} has a fraction of {fraction} %, which its protocol does not have"
