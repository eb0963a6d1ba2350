"""Gather what a bundle holds, and try it: its tables are drawn from the bundle itself."""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import TYPE_CHECKING

from bench import __version__, plugins
from bench.data.roots import Roots
from bench.errors import BenchError
from bench.extras.bundle import divisions, included, private
from bench.extras.bundle.manifest import SCHEMA, Listed, Manifest, Outside, listed, written
from bench.extras.bundle.opening import draw, opened
from bench.protocol import Protocol
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
        texts = included.files(files[name])
        members |= {f"files/{name}/{at}": file.read_bytes() for at, file in texts.items()}
        members |= _rows(store, name)
        protocols[name] = Listed(
            f"files/{name}/{next(iter(texts))}", protocol.scale, facts.provenance
        )
        if facts.origin is not None and facts.origin.content != protocol.origin.content:
            notes.append(f"{files[name]} was edited since its records were made")
    phantom_folders = sorted(
        (store.root / "phantoms").glob("*-*-*")
    )  # as a run with --phantoms left them
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
    warnings = private.disclosures(bundled.members)
    return "\n".join(
        [
            f"{to}: {names}; {len(bundled.members) + 1} members, {len(bundled.raw) / 1e6:.1f} MB, no image",
            *(
                [f"before it is passed on: {line}" for line in warnings]
                or ["no path, host or user is named in it"]
            ),
        ]
    )


def _rows(store: Store, name: str) -> dict[str, bytes]:
    """Return a protocol's records and what stands beside them.

    Raises:
        BenchError: they have columns that are none of records.
    """
    import pyarrow.parquet as pq

    members = dict[str, bytes]()
    for member, columns in (
        (f"records/{name}.parquet", COLUMNS),
        (f"records/curves/{name}.parquet", CURVE),
    ):
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
    return [
        [str(value) for value in line]
        for line, paper, table, method in zip(
            frame.itertuples(index=False),
            frame["paper"],
            frame["table"],
            frame["method"],
            strict=True,
        )
        if (paper, table) in tables or same.get(plain(method), plain(method)) in methods
    ]


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
