"""From rows and job folders to a written report: what the report room needs besides rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import records, registry, report
from bench.errors import BenchError
from bench.protocol import Protocol, read
from bench.report import Cost, Extras, Failure, Panel
from bench.source import Source
from bench.store import Store, read_json, write_atomic

if TYPE_CHECKING:
    import pandas as pd

    from bench.plan import Plan

PANEL_CASES = 3


@dataclass(frozen=True)
class Shown:
    """What the command line prints of a finished report."""

    text: str
    page: Path
    failures: tuple[Failure, ...]


def write_reports(protocols: list[Protocol], plan: Plan, store: Store) -> Iterator[Shown]:
    """Gather each protocol's rows, write its view and its report."""
    for protocol in protocols:
        table = records.collect(plan, store, protocol.name)
        records.save(table, store, protocol.name)
        about = _about(protocol)
        write_atomic(_beside(store, protocol.name), json.dumps(about, sort_keys=True))
        yield _write(protocol, table, about, store, store.root / "reports" / protocol.name)


def rewrite_report(path: Path, scale: str | None, store: Store, to: Path | None) -> Shown:
    """Draw a report again from its records, without planning or running anything."""
    import pandas as pd

    name = read(path).name
    view = store.root / "records" / f"{name}.parquet"
    if not view.exists():
        raise BenchError(f"{view}: no records of {name!r} yet; run 'bench run {path}' first")
    table = pd.read_parquet(view)
    if scale is None and len(table):
        scale = str(table["scale"].iloc[0])
    about = read_json(_beside(store, name)) or {"titles": {}, "sources": {}}
    return _write(read(path, scale), table, about, store, to or store.root / "reports" / name)


def _beside(store: Store, name: str) -> Path:
    return store.root / "records" / f"{name}.json"


def _write(protocol: Protocol, table: pd.DataFrame, about: dict[str, Any], store: Store, to: Path) -> Shown:
    extras = _extras(protocol, table, about, store)
    paths = report.write(protocol, table, to, extras)
    text = report.terminal_table(protocol, table, extras)
    return Shown(text, paths.page, extras.failures)


def _about(protocol: Protocol) -> dict[str, Any]:
    """Return titles and sources of what a protocol uses, so that a report needs no torch."""
    methods = {r.method: registry.load("method", r.method) for r in protocol.rows.values()}
    names = [t.dataset for t in protocol.finetune]
    datasets = {n: registry.load("dataset", n) for n in names if n in registry.names("dataset")}
    sources = {f"method/{k}": asdict(m.source) for k, m in methods.items()}
    sources |= {f"dataset/{k}": asdict(d.source) for k, d in datasets.items()}
    return {"titles": {k: m.title for k, m in methods.items()}, "sources": sources}


def _extras(protocol: Protocol, table: pd.DataFrame, about: dict[str, Any], store: Store) -> Extras:
    cells = table[["job", "row", "dataset", "fraction", "seed"]].drop_duplicates()
    chains = [(cell, _chain(store, cell.job)) for cell in cells.itertuples(index=False)]
    manifests = [m for _, chain in chains for m in chain.values() if "provenance" in m]
    return Extras(
        sources={k: Source(**v) for k, v in about["sources"].items()},
        titles=about["titles"],
        costs=tuple(_costs(chains)),
        failures=tuple(_failures(chains, store)),
        curves=_curves(chains, store),
        panels=tuple(_panels(protocol, chains, store, about["titles"])),
        published=_published(protocol.paper),
        provenance=_provenance(manifests),
    )


def _chain(store: Store, job: str) -> dict[str, dict[str, Any]]:
    """Return an evaluate job and everything it stands on, by id: manifest, or kind and needs."""
    found: dict[str, dict[str, Any]] = {}
    waiting = [job]
    while waiting:
        one = waiting.pop()
        described = read_json(store.jobs / one / "manifest.json")
        if described is None:
            described = (read_json(store.work / one / "job.json") or {}).get("job")
        if described is not None and one not in found:
            found[one] = described
            waiting += described["needs"]
    return found


def _costs(chains: list[tuple[Any, dict[str, dict[str, Any]]]]) -> Iterator[Cost]:
    per: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for cell, chain in chains:
        for job, described in chain.items():
            if described["kind"] != "prepare" and "seconds" in described:
                per.setdefault((cell.row, described["kind"]), {})[job] = described
    for (row, stage), jobs in per.items():
        made = list(jobs.values())
        yield Cost(
            row, f"{stage} ({len(made)} jobs)" if len(made) > 1 else stage,
            seconds=sum(m["seconds"] for m in made),
            memory_mb=max(m["peak_memory_mb"] for m in made),
            steps=sum(m.get("steps", 0) for m in made) or None,
            samples=sum(m.get("samples", 0) for m in made) or None,
            voxels=sum(m.get("voxels", 0) for m in made) or None,
        )  # fmt: skip


def _failures(chains: list[tuple[Any, dict[str, dict[str, Any]]]], store: Store) -> Iterator[Failure]:
    for cell, chain in chains:
        for job in chain:
            why = None if store.done(job) else store.failure(job)
            if why is not None:
                yield Failure(
                    job, cell.row, why["reason"], why["log"], cell.dataset, int(cell.fraction),
                    int(cell.seed), why["attempts"],
                )  # fmt: skip
                break


def _curves(chains: list[tuple[Any, dict[str, dict[str, Any]]]], store: Store) -> dict[str, pd.DataFrame]:
    import pandas as pd

    found: dict[str, pd.DataFrame] = {}
    for cell, chain in chains:
        for job, described in chain.items():
            file = store.jobs / job / "curve.csv"
            if described["kind"] == "pretrain" and cell.row not in found and file.exists():
                found[cell.row] = pd.read_csv(file).rename(columns={"total": "loss"})
    return found


def _panels(
    protocol: Protocol, chains: list[tuple[Any, dict[str, dict[str, Any]]]], store: Store,
    methods: dict[str, str],
) -> Iterator[Panel]:  # fmt: skip
    """Yield the same cases for every row: its largest fraction, its first seed."""
    import numpy as np

    largest = {t.dataset: max(t.fractions) for t in protocol.finetune}
    titles = {name: _row_title(protocol, name, methods) for name in {c.row for c, _ in chains}}
    seen: set[tuple[str, str]] = set()
    for cell, _ in chains:
        file = store.jobs / cell.job / "panels.npz"
        place = (cell.row, cell.dataset)
        if cell.fraction != largest.get(cell.dataset) or place in seen or not file.exists():
            continue
        seen.add(place)
        with np.load(file) as kept:
            arrays = dict(kept)
        names = list(dict.fromkeys(k.rpartition("/")[0] for k in arrays))[:PANEL_CASES]
        for case in names:
            yield _panel(cell, case, arrays, titles[cell.row])


def _row_title(protocol: Protocol, name: str, methods: dict[str, str]) -> str:
    row = protocol.rows.get(name)
    if row is None:
        return name
    title = row.title or methods.get(row.method, row.method)
    return f"{title}, {row.network}" if len(protocol.networks) > 1 else title


def _panel(cell: Any, case: str, arrays: dict[str, Any], title: str) -> Panel:
    # Arrays are (x, y) in RAS+: turned so that anterior is up, the patient's right on the left.
    image, reference, prediction = (
        arrays[f"{case}/{kind}"].T[::-1, ::-1] for kind in ("image", "reference", "prediction")
    )
    aspect = float(arrays[f"{case}/aspect"])
    named = cell.dataset in registry.names("dataset")
    allowed = named and registry.load("dataset", cell.dataset).redistribution
    return Panel(cell.row, cell.dataset, case, title, image, reference, prediction, aspect, allowed)


def _published(paper: str) -> pd.DataFrame | None:
    import pandas as pd

    file = Path(__file__).resolve().parents[2] / "results" / "published" / f"{paper}.csv"
    return pd.read_csv(file, dtype=str, keep_default_na=False) if paper and file.exists() else None


def _provenance(manifests: list[dict[str, Any]]) -> dict[str, str]:
    """Return what produced the numbers: every commit, device and torch version that took part."""
    if not manifests:
        return {}
    made = [m["provenance"] for m in manifests]

    def every(values: list[Any]) -> str:
        return ", ".join(sorted({str(v) for v in values if v not in (None, "")}))

    return {
        "bench": every([p["packages"]["bench"] for p in made]),
        "commit": every([p["commit"] for p in made]),
        "torch": every([p["packages"]["torch"] for p in made]),
        "monai": every([p["packages"]["monai"] for p in made]),
        "device": every([p["device"] for p in made]),
        "threads": every([p["threads"] for p in made]),
        "last run": max(p["date"] for p in made),
        "attempts": str(max(m["attempts"] for m in manifests)),
    }
