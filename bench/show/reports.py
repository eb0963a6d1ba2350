"""From rows and job folders to a written report: what the report room needs besides rows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import records, registry, report
from bench.errors import BenchError, printable
from bench.protocol import Origin, Protocol, read
from bench.record import COLUMNS, read_rows
from bench.report import Cost, Course, DatasetInfo, Extras, Failure, Leak, Pretraining
from bench.show import gather, pretrainings
from bench.show.panels import panels as panels_of
from bench.source import Source
from bench.store import Store, read_json, write_atomic

if TYPE_CHECKING:
    import pandas as pd

    from bench.plan import Plan


ORIGIN: dict[str, Any] = {"origin?": {"path": str, "content": str}}
BESIDE: dict[str, Any] = {  # records/<name>.json
    **ORIGIN,
    "titles?": {"*": str}, "receipts?": {"*": str}, "provenance?": {"*": str},
    "curves?": {"*": {"*": list}}, "overrides?": [str], "other_source?": [str],
    "sources?": {"*": {"cite": str, "url": str, "code?": str}},
    "costs?": [{"row": str, "stage?": str, "seconds?": float, "memory_mb?": float, "device_mb?": float,
                "steps?": int, "samples?": int, "voxels?": int}],
    "leaks?": [{"row": str, "section": str, "tests": int, "cases": list, "read": int, "dropped": bool}],
    "failures?": [{"job": str, "row": str, "reason": str, "log": str, "section?": str, "fraction?": int,
                   "seed?": int, "attempts?": int, "hole?": str}],
    "datasets?": [{"name": str, "title": str, "targets": [str], "labels": [list], "known": [str],
                   "licence": str, "redistribution?": bool, "registered": bool, "synthetic": bool,
                   "empty": str, "task": str, "source": {"cite": str, "url": str, "code?": str}}],
    "pretrainings?": [{"rows": [str], "datasets": [str], "cases": [int], "steps": [int], "batch": int,
                       "optimiser": str, "lr": float, "schedule": str, "precision": str}],
    "courses?": [{"row": str, "section": str, "fraction": int, "seed": int, "steps": [float],
                  "losses": [float]}],
    **pretrainings.BESIDE,
}  # fmt: skip


@dataclass(frozen=True)
class Shown:
    """What the command line prints of a finished report."""

    text: str
    page: Path
    failures: tuple[Failure, ...]


def refuse_others(protocols: Sequence[Protocol], store: Store) -> None:
    """Refuse to share records and reports with other protocol files of the same names.

    Raises:
        BenchError: names the records and the way out.
    """
    for protocol in protocols:
        file = _file(store, protocol.name)
        try:
            known = (read_json(file, ORIGIN) or {}).get("origin")
        except BenchError:  # damaged: a run writes it anew, and a report says so itself
            continue
        if known is not None and not protocol.origin.same(Origin(**known)):
            raise BenchError(
                f"{file}: these are the records of another protocol file that is also called "
                f"{protocol.name!r}; give this one a 'name:' of its own, or take another --out"
            )


def write_reports(protocols: list[Protocol], plan: Plan, store: Store) -> Iterator[Shown]:
    """Gather each protocol's rows, write its view, what is said beside it, and its report."""
    for protocol in protocols:
        refuse_others([protocol], store)  # again: another command may have run meanwhile
        table = records.collect(plan, store, protocol.name)
        records.save(table, store, protocol.name)
        text = json.dumps(_beside(protocol, table, store, plan))
        write_atomic(_file(store, protocol.name), text)
        said = _said(json.loads(text))  # so that a report drawn again is the same
        yield _write(protocol, table, said, store, _drawn(store, protocol.name))


def rewrite_report(path: Path, scale: str | None, store: Store, to: Path | None) -> Shown:
    """Draw a report again from its records, without planning or running anything.

    ``records/<name>.parquet`` and ``.json`` suffice, on any machine; the panels need the job folders.
    """
    protocol = read(path, scale)
    refuse_others([protocol], store)
    name = protocol.name
    view = store.root / "records" / f"{name}.parquet"
    if not view.exists():
        raise BenchError(f"{view}: no records of {name!r} yet; run 'bench run {path}' first")
    table = read_rows(view, COLUMNS)
    ran = str(table["scale"].iloc[0]) if len(table) else protocol.scale
    if scale is None and ran != protocol.scale:
        protocol = read(path, ran)
    beside = read_json(_file(store, name), BESIDE) or {}
    try:
        said = _said(beside)
    except (TypeError, ValueError, AttributeError) as error:
        raise BenchError(f"{_file(store, name)}: damaged ({error}); run the protocol again") from None
    return _write(protocol, table, said, store, to or _drawn(store, name))


def _drawn(store: Store, name: str) -> Path:
    return store.within(store.root / "reports" / name)


def _file(store: Store, name: str) -> Path:
    return store.root / "records" / f"{name}.json"


def _beside(protocol: Protocol, table: pd.DataFrame, store: Store, plan: Plan) -> dict[str, Any]:
    """Return, as plain values, what a report says that no row does."""
    methods = {r.method: registry.load("method", r.method) for r in protocol.rows.values()}
    sources = {f"method/{k}": asdict(m.source) for k, m in methods.items()}
    guards = {c.evaluate: c.guard for c in plan.cells[protocol.name] if c.guard is not None}
    found = gather.chains(table, store, guards)
    titles = {k: m.title for k, m in methods.items()}
    return {
        "origin": asdict(protocol.origin),
        "titles": titles,
        "sources": sources,
        "costs": [asdict(c) for c in gather.costs(found, table)],
        "leaks": [asdict(k) for k in gather.leaks(plan, store, protocol.name, table)],
        "failures": [asdict(f) for f in gather.failures(found, table, store)],
        "datasets": [asdict(d) for d in gather.datasets(protocol, plan)],
        "pretrainings": [asdict(p) for p in gather.pretrainings(found, plan.jobs)],
        "receipts": gather.receipts(found),
        "curves": {k: c.to_dict("list") for k, c in gather.curves(found, store).items()},
        "courses": [asdict(c) for c in gather.courses(found, store)],
        "provenance": gather.provenance(found),
        "overrides": list(plan.overrides),
        "other_source": gather.other_source(found),
        **pretrainings.beside(protocol, plan, store, titles),
    }


def _said(beside: dict[str, Any]) -> Extras:
    """Return what a report says that no row does, out of what ``_beside`` left."""
    import pandas as pd

    return Extras(
        sources={k: Source(**v) for k, v in beside.get("sources", {}).items()},
        titles={k: str(v) for k, v in beside.get("titles", {}).items()},
        costs=tuple(Cost(**c) for c in beside.get("costs", ())),
        leaks=tuple(Leak(**{**k, "cases": tuple(map(str, k["cases"]))}) for k in beside.get("leaks", ())),
        failures=tuple(Failure(**f) for f in beside.get("failures", ())),
        datasets={d["name"]: _dataset(d) for d in beside.get("datasets", ())},
        pretrainings=tuple(_pretraining(p) for p in beside.get("pretrainings", ())),
        receipts={k: str(v) for k, v in beside.get("receipts", {}).items()},
        curves={k: gather.numbers(pd.DataFrame(c)) for k, c in beside.get("curves", {}).items()},
        courses=tuple(_course(c) for c in beside.get("courses", ())),
        other_source=tuple(beside.get("other_source", ())),
        provenance={k: str(v) for k, v in beside.get("provenance", {}).items()},
        overrides=tuple(beside.get("overrides", ())),
        **pretrainings.said(beside),
    )


def _dataset(values: dict[str, Any]) -> DatasetInfo:
    labels = tuple((int(value), str(name)) for value, name in values["labels"])
    listed = {key: tuple(values[key]) for key in ("targets", "known")}
    return DatasetInfo(**{**values, **listed, "labels": labels, "source": Source(**values["source"])})


def _course(values: dict[str, Any]) -> Course:
    made = Course(**{**values, **{key: tuple(values[key]) for key in ("steps", "losses")}})
    if len(made.steps) != len(made.losses):
        raise ValueError("a curve has a value for every step")
    return made


def _pretraining(values: dict[str, Any]) -> Pretraining:
    listed = {key: tuple(values[key]) for key in ("rows", "datasets")}
    pairs = {key: (min(values[key]), max(values[key])) for key in ("cases", "steps")}
    return Pretraining(**{**values, **listed, **pairs})


def _write(protocol: Protocol, table: pd.DataFrame, said: Extras, store: Store, to: Path) -> Shown:
    panels = tuple(panels_of(protocol, table, store, said.titles))
    published = _kept(f"published/{protocol.paper}.csv") if protocol.paper else None
    extras = replace(said, panels=panels, published=published, reference=_kept("reference.csv"))
    paths = report.write(protocol, table, to, extras)
    told = (replace(f, reason=printable(f.reason), log=printable(f.log)) for f in extras.failures)
    return Shown(paths.text, paths.page, tuple(told))


def _kept(name: str) -> pd.DataFrame | None:
    """Return a table of ``results/``, None where this installation has none."""
    import pandas as pd

    file = Path(__file__).resolve().parents[2] / "results" / name
    return pd.read_csv(file, dtype=str, keep_default_na=False) if file.exists() else None
