"""Gather what a bundle holds, and try it: its tables are drawn from the bundle itself."""

from __future__ import annotations

import csv
import getpass
import io
import os
import platform
import re
import socket
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import TYPE_CHECKING, Any

from bench import __version__, plugins
from bench.data.roots import Roots
from bench.document import Document, parse
from bench.errors import BenchError, first_of, printable
from bench.extras.bundle import divisions
from bench.extras.bundle.manifest import SCHEMA, Listed, Manifest, Outside, listed, written
from bench.extras.bundle.opening import draw, opened
from bench.protocol import Protocol, under
from bench.record import COLUMNS, CURVE
from bench.report.errata import same_methods
from bench.report.published import plain, printed_name
from bench.runtime.provenance import tree
from bench.show.reports import RESULTS, errata, recorded, refuse_others, said_beside, tables_in
from bench.store import Store, write_atomic

if TYPE_CHECKING:
    import pandas as pd

TABLES = ("table.csv", "table.md", "verdicts.csv")  # the last where there are any
PACKAGES = ("numpy", "pandas", "pyarrow")  # that tables are drawn with
Read = Mapping[str, tuple[Protocol, "pd.DataFrame"]]  # by name: a protocol and its records


@dataclass(frozen=True)
class Bundled:
    """A bundle's bytes, and what is to be said of it."""

    raw: bytes
    members: dict[str, bytes]
    manifest: Manifest
    notes: tuple[str, ...]


def bundle(paths: Sequence[Path], store: Store, data: Path | None = None) -> Bundled:
    """Return the bundle of some protocols' records.

    Args:
        paths: protocol files.
        store: holds their records.
        data: one folder per data set; who is in a part of a split by rule is known from there.

    Raises:
        BenchError: a protocol without records, or with a file that no bundle can hold.
    """
    read, files = dict[str, tuple[Protocol, "pd.DataFrame"]](), dict[str, Path]()
    for path in paths:
        protocol, table = recorded(path, None, store)
        refuse_others([protocol], store)
        if protocol.name in read:
            raise BenchError(
                f"{path}: another protocol of this bundle is called {protocol.name!r} too; leave one out"
            )
        read[protocol.name], files[protocol.name] = (protocol, table), path
    members, protocols, notes = dict[str, bytes](), dict[str, Listed](), list[str]()
    for name, (protocol, table) in read.items():
        facts = said_beside(store, name)
        notes += unscored(protocol, table)
        texts = files_of(files[name])
        members |= {f"files/{name}/{at}": file.read_bytes() for at, file in texts.items()}
        members |= _rows(store, name)
        protocols[name] = Listed(
            f"files/{name}/{next(iter(texts))}", protocol.scale, facts.provenance
        )
        if facts.origin is not None and facts.origin.content != protocol.origin.content:
            notes.append(f"{files[name]} was edited since its records were made")
    # as a run with --phantoms left them
    phantom_folders = sorted((store.root / "phantoms").glob("*-*-*"))
    phantoms = [Roots(None, {f.name.rsplit("-", 2)[0]: f}, phantoms=True) for f in phantom_folders]
    folds = divisions.divided(read, [Roots.here(data), *phantoms])
    lists, splits = divisions.members(folds)
    notes += [
        f"split {division.split} of {division.dataset}, fold {division.fold}: its patients are not listed, "
        f"for what lies here does not have its hash {division.hash or '(none)'}; --data names the folder"
        for division in splits
        if not division.file
    ]
    members |= lists | _results([protocol for protocol, _ in read.values()])
    brought, sources = _outside(read)
    manifest = Manifest(SCHEMA, protocols, splits, brought, drawn(), {})
    members |= sources
    members |= _tables(replace(manifest, members=listed(members)), members)
    manifest = replace(manifest, members=listed(members))
    return Bundled(written(manifest, members), members, manifest, tuple(notes))


def unscored(protocol: Protocol, table: pd.DataFrame) -> list[str]:
    """Return a line where rows of a protocol have no score: not run yet, or failed."""
    rows = {*table.loc[table["status"].ne("failed"), "row"]}
    if not (gone := [name for name in protocol.rows if name not in rows]):
        return []
    return [f"{protocol.name}: has no scores of {', '.join(gone)}: not run yet, or failed"]


def name_of(bundled: Bundled) -> str:
    """Return what a bundle's file is called where nobody says."""
    names = list(bundled.manifest.protocols)
    return f"{names[0] if len(names) == 1 else 'bundle'}.bench.zip"


def put(bundled: Bundled, to: Path) -> str:
    """Write a bundle and return what is in it, in lines: last what tells of a machine or a person.

    Raises:
        BenchError: another file is there, its name is no zip's, or it cannot be written.
    """
    if to.suffix != ".zip":
        raise BenchError(f"{to}: a bundle is a zip; name it {to.name}.bench.zip")
    if to.is_symlink() or to.is_dir() or (to.exists() and to.read_bytes() != bundled.raw):
        raise BenchError(
            f"{to}: exists already and has other content; name another file, or remove this one first"
        )
    try:
        write_atomic(to, bundled.raw)
    except OSError as error:
        raise BenchError(f"{to}: cannot be written ({error.strerror}); name another file") from None
    names = ", ".join(bundled.manifest.protocols)
    warnings = disclosures(bundled.members)
    size = f"{len(bundled.members) + 1} members, {len(bundled.raw) / 1e6:.1f} MB, no image"
    cautions = [f"before it is passed on: {line}" for line in warnings]
    return "\n".join(
        [f"{to}: {names}; {size}", *(cautions or ["no path, host or user is named in it"])]
    )


def _rows(store: Store, name: str) -> dict[str, bytes]:
    """Return a protocol's records and what stands beside them."""
    import pyarrow.parquet as pq

    members = dict[str, bytes]()
    tables = {f"records/{name}.parquet": COLUMNS, f"records/curves/{name}.parquet": CURVE}
    for member, columns in tables.items():
        file = store.root / member
        if file.exists():
            members[member] = file.read_bytes()
            strange = sorted({*pq.read_schema(io.BytesIO(members[member])).names} - {*columns})
            if strange:
                raise BenchError(
                    f"{file}: has a column {strange[0]!r}, which records do not have; run the protocol again"
                )
    facts = store.root / "records" / f"{name}.json"
    return members | ({f"records/{name}.json": facts.read_bytes()} if facts.exists() else {})


def _tables(manifest: Manifest, members: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the tables that a bundle gives when it is read as anybody reads it."""
    tables = dict[str, bytes]()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        file = Path(folder) / "made.zip"
        file.write_bytes(written(manifest, members))
        with opened(file) as bundle:
            for name in manifest.protocols:
                draw(bundle, name, Path(folder) / name, figures=False)
                drawn = (Path(folder) / name / table for table in TABLES)
                tables |= {f"reports/{name}/{t.name}": t.read_bytes() for t in drawn if t.is_file()}
    return tables


def _results(protocols: Sequence[Protocol]) -> dict[str, bytes]:
    """Return the printed numbers that the tables show, and what is said of them."""
    results = dict[str, bytes]()
    text, papers = errata(RESULTS), [protocol for protocol in protocols if protocol.paper]
    for file in sorted((RESULTS / "published").glob("*.csv")) if papers else ():
        frame = tables_in(RESULTS, f"published/{file.name}")
        used = _used(frame, papers, same_methods(text)) if frame is not None else ()
        if frame is not None and len(used):
            results[f"results/published/{file.name}"] = _csv([list(frame), *used])
    if papers and text:
        results["results/published/errata.md"] = text.encode()
    reference = RESULTS / "reference.csv"
    return results | (
        {"results/reference.csv": reference.read_bytes()} if reference.exists() else {}
    )


def _used(
    frame: pd.DataFrame, protocols: Sequence[Protocol], same: Mapping[str, str]
) -> list[list[str]]:
    """Return the lines of the protocols' own tables, and those of other papers on the same methods."""
    tables = {(protocol.paper, protocol.table) for protocol in protocols}
    printed = [row.published for p in protocols for row in p.rows.values()]
    printed += [quoted.published for p in protocols for quoted in p.published_only.values()]
    named = {plain(printed_name(text)[0]) for text in printed if text}
    methods = {same.get(name, name) for name in named}
    used = [
        (paper, table) in tables or same.get(plain(method), plain(method)) in methods
        for paper, table, method in frame[["paper", "table", "method"]].itertuples(index=False)
    ]
    return [[*map(str, line)] for line in frame[used].itertuples(index=False)]


def _csv(lines: Sequence[Sequence[str]]) -> bytes:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(lines)
    return out.getvalue().encode()


def _outside(read: Read) -> tuple[dict[str, Outside], dict[str, bytes]]:
    """Return the plugins from outside that rows use, and their source."""
    named = dict[tuple[str, str], None]()
    for protocol, table in read.values():
        named |= {("method", row.method): None for row in protocol.rows.values()}
        named |= {("network", net.network): None for net in protocol.networks.values()}
        named |= {("dataset", str(name)): None for name in table["dataset"].unique()}
    brought, sources = dict[str, Outside](), dict[str, bytes]()
    for planned in plugins.planned(named):
        at = f"plugins/{planned.plugin.kind}-{planned.plugin.name}"
        those = plugins.files(planned.plugin)
        main = next(name for name, file in those.items() if file == planned.plugin.file)
        brought[f"{planned.plugin.kind} {planned.plugin.name}"] = Outside(
            f"{at}/{main}", planned.digest
        )
        sources |= {f"{at}/{name}": file.read_bytes() for name, file in those.items()}
    return brought, sources


def drawn() -> dict[str, str]:
    """Return what draws tables here."""
    source = tree()
    commit = (
        f"{source.commit}, modified (digest {source.changed})" if source.modified else source.commit
    )
    packages = {"bench": __version__, **{name: version(name) for name in PACKAGES}}
    return {"python": python_version(), **packages, "commit": commit}


# The files that a protocol is made of: its own text, and the settings that it builds on.


def files_of(path: Path) -> dict[str, Path]:
    """Return the files by their names from one folder that holds all of them; the protocol's own is first.

    Raises:
        BenchError: one is named by its place on this machine, where no bundle can hold it.
    """
    protocol = Path(os.path.abspath(path))  # noqa: PTH100 - names are from where a link lies
    paths, waiting = dict.fromkeys([protocol]), [protocol]
    while waiting:
        document = parse(waiting.pop())
        for keys, name in _settings(document.value, ()):
            file = _settings_file(document, keys, name)
            if file not in paths:
                paths[file] = None
                waiting.append(file)
    # what holds ``protocols/``
    top = protocol.parents[len(under(protocol))] if under(protocol) else protocol.parent
    root = Path(os.path.commonpath([top, *(file.parent for file in paths)]))
    return {file.relative_to(root).as_posix(): file for file in paths}


def _settings(value: Any, keys: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield where a file names shared settings, and which."""
    if isinstance(value, list):
        value = dict(enumerate(value))
    for key, below in value.items() if isinstance(value, dict) else ():
        if key == "settings" and isinstance(below, str):
            yield (*keys, key), below
        else:
            yield from _settings(below, (*keys, str(key)))


def _settings_file(document: Document, keys: tuple[str, ...], name: str) -> Path:
    if Path(name).is_absolute():
        raise BenchError(
            f"{document.where(keys)}: {name} is an absolute path, which a bundle cannot hold; write it "
            f"relative to the folder of {document.path.name}"
        )
    return Path(os.path.normpath(document.path.parent / name))


# What in a bundle tells of a machine or a person: named to whoever passes it on, nothing is taken out.

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
