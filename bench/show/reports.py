"""From rows and job folders to a written report: what the report room needs besides rows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import imported_scores, records, registry, typed
from bench.errors import BenchError, printable
from bench.jobs.scoring import key
from bench.plan import crop_faults
from bench.protocol import Override, Protocol, read
from bench.protocol.named import SHIPPED
from bench.record import COLUMNS, CURVE, read_rows, stacked
from bench.report import index, paper
from bench.report import write as report
from bench.report.progress import Progress
from bench.report.supplement import Extras, Failure, Supplement
from bench.show import gather, predictions, pretrainings, registration, state
from bench.store import Store, write_atomic
from bench.typed import plain

if TYPE_CHECKING:
    import pandas as pd

    from bench.plan import Plan

RESULTS = SHIPPED / "results"


@dataclass(frozen=True)
class Shown:
    """What the command line prints of a report; ``page``: None where nothing was drawn."""

    text: str
    page: Path | None
    failures: tuple[Failure, ...]


def refuse_others(protocols: Sequence[Protocol], store: Store) -> None:
    """Refuse to share records and reports with other protocol files of the same names.

    Raises:
        BenchError: names the records and the way out.
    """
    for protocol in protocols:
        file = _file(store, protocol.name)
        try:
            recorded_origin = read_beside(file).origin
        except BenchError:  # damaged: a run writes it anew, and a report says so itself
            continue
        if recorded_origin is not None and not protocol.origin.same(recorded_origin):
            raise BenchError(
                f"{file}: these are the records of another protocol file that is also called "
                f"{protocol.name!r}; give this one a 'name:' of its own, or use another --out"
            )


def write_reports(protocols: Sequence[Protocol], plan: Plan, store: Store) -> Iterator[Shown]:
    """Gather each protocol's rows, write its view, what is said beside it, and its report."""
    for protocol in protocols:
        yield write_report(protocol, plan, store)


def write_report(
    protocol: Protocol, plan: Plan, store: Store, progress: Progress | None = None
) -> Shown:
    """Do the same for one; with the ``progress`` of a run that goes on, nothing is drawn that takes long."""
    name = protocol.name
    refuse_others([protocol], store)  # again: another command may have run meanwhile
    rows = records.collect(plan, store, name, over=progress is None)
    imported = imported_scores.added(plan, store, name, rows)
    records.keep(store, name, protocol.scale)
    table = stacked([(imported.rows, {}), (rows, {})])
    records.save(table, store, name)
    points = stacked([(imported.points, {}), (records.curves(plan, store, name), {})], CURVE)
    records.save_curves(points, store, name)
    facts = _facts(protocol, rows, store, plan)
    if progress is None:  # it opens references
        painted = gather.one_label(rows, protocol, plan, store)
        facts = replace(facts, chance=facts.chance | painted)
    facts = imported_scores.merged(facts, imported.beside)
    write_atomic(_file(store, name), json.dumps(plain(facts)))
    # so that a report drawn again is the same
    facts, over = (read_beside(_file(store, name)), progress is None)
    more = replace(extras(protocol, table, facts, store, RESULTS, panels=over), progress=progress)
    shown = draw(protocol, table, more, _drawn(store, name), figures=over)
    _list(store.root / "reports", store)
    return shown


def rewrite_report(
    path: Path, scale: str | None, store: Store, to: Path | None, *, plain: bool = False
) -> Shown:
    """Draw a report again from its records, without planning or running anything; ``plain``: only its text.

    ``records/<name>.parquet`` and ``.json`` suffice, on any machine, also where a
    plugin is gone, and ``records/curves/<name>.parquet`` where something is tracked; the panels need the job
    folders.
    """
    protocol, table = recorded(path, scale, store)
    refuse_others([protocol], store)
    facts = said_beside(store, protocol.name, protocol.scale)
    progress = unfinished(store, protocol.name, protocol.scale, priced=not protocol.plugins)
    more = extras(protocol, table, facts, store, RESULTS, panels=not plain)
    folder = None if plain else to or _drawn(store, protocol.name)
    shown = draw(protocol, table, replace(more, progress=progress), folder)
    if folder is not None:
        _list(folder.parent, store)
    return shown


def write_paper(
    path: Path, scale: str | None, store: Store, folder: Path, chosen: Sequence[str]
) -> list[tuple[Path, str]]:
    """Write the tables and sentences of a protocol's records for a paper, as ``bench.report.paper``."""
    protocol, table = recorded(path, scale, store)
    refuse_others([protocol], store)
    facts = said_beside(store, protocol.name, protocol.scale)
    more = extras(protocol, table, facts, store, RESULTS, panels=False)
    return paper.write_paper(protocol, table, folder, more, chosen)


def recorded(path: Path, scale: str | None, store: Store) -> tuple[Protocol, pd.DataFrame]:
    """Return a protocol at the scale of its records, as ``--set`` changed it for them, and these.

    They are those of its last run; with a ``scale`` those of its last run at that scale.

    Raises:
        BenchError: there are none.
    """
    protocol = read(path, scale, drawn=True)
    table = read_rows(rows_of(store, protocol.name, path, scale), COLUMNS)
    ran = str(table["scale"].iloc[0]) if len(table) and scale is None else protocol.scale
    overrides = [Override(text) for text in said_beside(store, protocol.name, scale).overrides]
    if overrides or ran != protocol.scale:
        protocol = read(path, ran, overrides, drawn=True)
    return protocol, table


def rows_of(store: Store, name: str, path: Path, scale: str | None = None) -> Path:
    """Return where the rows of a protocol lie; ``scale`` as of ``records.folder_of``.

    Raises:
        BenchError: nobody has run it.
    """
    view = records.folder_of(store, name, scale) / f"{name}.parquet"
    if not view.exists():
        raise BenchError(
            f"{view}: no records of {name!r} yet; run 'bench run {path} --out {store.root}' first"
        )
    return view


def unfinished(
    store: Store, name: str, scale: str | None = None, *, priced: bool = True
) -> Progress | None:
    """Return how far the last run of a protocol is; None where it is over, or nothing of it is left to do.

    Args:
        store: the output folder.
        name: of the protocol.
        scale: None too where the run is of another one.
        priced: as ``RunState`` has it.
    """
    run = state.latest(store, name)
    scales = {None, *(cell.columns["scale"] for cell in run.plan.cells[name])} if run else ()
    if run is None or scale not in scales:
        return None
    return state.RunState(run, store, priced=priced).of(name)


def said_beside(store: Store, name: str, scale: str | None = None) -> Supplement:
    """Return what a run left beside its records, which protocol they are of among it.

    ``scale`` is as of ``records.folder_of``.

    Raises:
        BenchError: the file is damaged.
    """
    return read_beside(records.folder_of(store, name, scale) / f"{name}.json")


def _drawn(store: Store, name: str) -> Path:
    return store.within(store.root / "reports" / name)


def _list(folder: Path, store: Store) -> None:
    """Write the index over the reports of a folder: the store's, one of that name, or that has one."""
    is_reports = folder == store.root / "reports" or folder.absolute().name == "reports"
    if index.indexed(folder, new=is_reports):
        index.write(folder)


def _file(store: Store, name: str) -> Path:
    return store.root / "records" / f"{name}.json"


def _facts(protocol: Protocol, table: pd.DataFrame, store: Store, plan: Plan) -> Supplement:
    """Return what a report says that no row does."""
    methods = {r.method: registry.load("method", r.method) for r in protocol.rows.values()}
    guards = {c.evaluate: c.guard for c in plan.cells[protocol.name] if c.guard is not None}
    behind = gather.chains(table, store, guards)
    titles = {k: m.title for k, m in methods.items()}
    pretexts, clouds, absent = pretrainings.figures_and_clouds(protocol, plan, store, titles)
    return Supplement(
        origin=protocol.origin,
        titles=titles,
        sources={f"method/{k}": m.source for k, m in methods.items()},
        costs=tuple(gather.costs(behind, table)),
        leaks=tuple(gather.leaks(plan, store, protocol.name, table)),
        failures=tuple(gather.failures(behind, table, store)),
        datasets=tuple(gather.datasets(protocol, plan)),
        pretrainings=tuple(gather.pretrainings(behind, plan.jobs)),
        receipts=gather.receipts(behind),
        gaps=gather.gaps(behind),
        choices=gather.choices(behind),
        curves=gather.curves(behind, store),
        courses=tuple(gather.courses(behind, store)),
        provenance=gather.provenance(behind),
        overrides=plan.overrides,
        registered=registration.read(store, protocol.name),
        other_source=tuple(gather.other_source(behind)),
        pretexts=pretexts,
        clouds=clouds,
        absent=absent,
        groups=gather.groups(protocol, table, plan.roots),
        constant=tuple(gather.constant(protocol, plan, store)),
        chance=gather.chance(protocol, plan, store),
        submissions=tuple(gather.submissions(protocol, plan, store)),
        weights=tuple(gather.weights(protocol, plan, store)),
        read=gather.ingredients(protocol, plan, store),
        oversized=tuple(crop_faults.oversized(plan, protocol.name)),
        defaults={k: _scalars(m) for k, m in methods.items()},
        scorings={
            k: key(replace(s, metrics=())) for k, s in plan.scoring_of[protocol.name].items()
        },
    )


def _scalars(method: Any) -> dict[str, Any]:
    """Return the defaults of a method's parameters that are numbers or yes and no."""
    values = plain(method.make_params({}))
    return {k: v for k, v in values.items() if isinstance(v, bool | int | float)}


def read_beside(file: Path) -> Supplement:
    """Return what a run left beside its records; nothing where it left nothing.

    Raises:
        BenchError: the file is damaged.
    """
    try:
        return typed.read(Supplement, file.read_bytes())
    except FileNotFoundError:
        return Supplement()
    except ValueError as error:
        raise BenchError(f"{file}: damaged ({error}); run the protocol again") from None


def extras(
    protocol: Protocol,
    table: pd.DataFrame,
    facts: Supplement,
    store: Store,
    results: Path,
    *,
    panels: bool = True,
) -> Extras:
    """Return all that a report shows besides rows; ``results``: the folder of published numbers."""
    file = records.curves_file(store, protocol.name, protocol.scale)
    facts = replace(
        facts,
        groups=_groups(protocol, table, facts),
        pretexts=tuple(pretrainings.marked_untrained(protocol, facts)),
    )
    return Extras(
        **vars(facts),
        panels=tuple(predictions.panels(protocol, table, store, facts.titles)) if panels else (),
        published=tables_in(results, "published/*.csv") if protocol.paper else None,
        errata=errata(results),
        reference=tables_in(results, "reference.csv"),
        tracked=read_rows(file, CURVE) if file.exists() else None,
    )


def without_files(protocol: Protocol) -> Protocol:
    """Return a stranger's protocol that names no file of this machine: groups are those of his run."""
    groups = {name: replace(grouping, file="") for name, grouping in protocol.groups.items()}
    return replace(protocol, groups=groups)


def _groups(
    protocol: Protocol, table: pd.DataFrame, facts: Supplement
) -> dict[str, dict[str, dict[str, str]]]:
    """Return groups of patients: of a file as it is now, else as the run had them."""
    present = {
        name: grouping
        for name, grouping in protocol.groups.items()
        if grouping.file
        and (name not in facts.groups or (protocol.folder / grouping.file).is_file())
    }
    return facts.groups | gather.groups(replace(protocol, groups=present), table, {})


def draw(
    protocol: Protocol, table: pd.DataFrame, more: Extras, to: Path | None, *, figures: bool = True
) -> Shown:
    """Write a report of records and what stands beside them; None: return its plain text alone."""
    failures = tuple(
        replace(f, reason=printable(f.reason), log=printable(f.log)) for f in more.failures
    )
    if to is None:
        return Shown(report.plain_text(protocol, table, more), None, failures)
    paths = report.write(protocol, table, to, more, figures)
    return Shown(paths.text, paths.page, failures)


def tables_in(results: Path, pattern: str) -> pd.DataFrame | None:
    """Return tables of a ``results/`` folder as one, None where it has none."""
    import pandas as pd

    files = sorted(results.glob(pattern))
    if files:
        return pd.concat(pd.read_csv(f, dtype=str, keep_default_na=False) for f in files)
    return None


def errata(results: Path) -> str:
    """Return what is listed of the papers' numbers; nothing where a ``results/`` folder has no list."""
    file = results / "published" / "errata.md"
    return file.read_text(encoding="utf-8") if file.exists() else ""
