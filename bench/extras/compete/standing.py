"""Where a newcomer stands in a track: beside scratch, in rank, and at what cost."""

from __future__ import annotations

from collections.abc import Iterator

from tabulate import tabulate

from bench.errors import printable
from bench.extras.compete.protocol_with_row import AddedRow, file_of
from bench.extras.compete.track import Track
from bench.protocol import row_of
from bench.report import undertrained
from bench.report.conclusion import verdict_tables
from bench.report.context import ReportContext
from bench.report.ranking import HEAD as RANKS
from bench.report.ranking import rankings
from bench.report.verdicts import UNLEARNED, uncompared, verdicts
from bench.report.write import context_of
from bench.show.reports import RESULTS, extras, recorded, said_beside
from bench.store import Store

STAGES = ("pretrain", "finetune")


def as_text(track: Track, added: AddedRow, store: Store) -> str:
    """Return it in lines, read from the records of the whole track as its report is."""
    path = file_of(store, added.name)
    protocol, table = recorded(path, track.protocol.scale, store)
    facts = said_beside(store, added.name, protocol.scale)
    more = extras(protocol, table, facts, store, RESULTS, panels=False)
    report = context_of(protocol, table, more)
    scored_rows = {*table.loc[table["status"].ne("failed"), "row"]}
    title = report.named(added.row)
    if added.row not in scored_rows:
        return printable(
            f"{title} in {track.name}: has no scores, so that it stands nowhere; "
            f"bench status {path} --out {store.root} says what failed"
        )
    parts = [
        f"{title} in {track.name}, beside {len(scored_rows & {*track.protocol.rows})} rows of {track.place}",
        undertrained.warning(report),
        *_beside_scratch(report, added.row),
        *_ranks(report, added.row),
        _costs(report, added.row),
        f"to pass it on: bench bundle {path} --out {store.root}",
    ]
    return "\n\n".join("\n".join(map(printable, part.split("\n"))) for part in parts if part)


def _beside_scratch(report: ReportContext, name: str) -> Iterator[str]:
    tables = verdict_tables(report, verdicts(report))
    lines = [
        [table.title.partition(". Verdicts")[0], *line.words[1:]]
        for table in tables
        for line in table.lines
        if line.row == name
    ]
    if lines:
        heads = ["", *(column.label for column in tables[0].columns)]
        yield "against scratch\n" + tabulate(lines, heads, disable_numparse=True)
    else:
        unlearned = any(key.row == name for key, *_ in uncompared(report))
        why = UNLEARNED if unlearned else "no row from scratch has the same fine-tuning and scores"
        yield f"against scratch: no comparison, because {why}"


def _ranks(report: ReportContext, name: str) -> Iterator[str]:
    lines, why = [], list[str]()
    for ranking in rankings(report):
        rows = [line.words for line in ranking.table.lines]
        for row, _, rank, interval, *rest in rows:
            if row == report.named(name):
                lines.append([ranking.title, f"{rank} of {len(rows)}", interval, *rest])
                why += [] if interval else [ranking.table.title]
    if lines:
        heads = ["", *RANKS[2:]]
        table = tabulate(lines, heads, disable_numparse=True)
        yield "\n".join(["rank among rows with the same fine-tuning", table, *why])


def _costs(report: ReportContext, name: str) -> str:
    """Return what every row that it may be compared with took, its own first."""
    specs = {row: row_of(report.protocol, row)[0] for row in [name, *report.rows]}
    network = {row: spec and spec.network for row, spec in specs.items()}
    alike = [row for row in specs if network[row] == network[name]]
    lines = []
    for row in alike:
        stages = {c.stage.partition(" ")[0]: c for c in report.extras.costs if c.row == row}
        pairs = [
            (c.seconds, c.samples) if (c := stages.get(stage)) else (None, None) for stage in STAGES
        ]
        lines.append(
            [report.named(row), *("" if v is None else f"{v:,.0f}" for pair in pairs for v in pair)]
        )
    heads = ["", "pretraining s", "samples", "fine-tuning s", "samples"]
    title = "cost over all seeds and label fractions; seconds depend on the machine, numbers of samples do not"
    return f"{title}\n" + tabulate(
        lines, heads, disable_numparse=True, colalign=("left", *["right"] * 4)
    )
