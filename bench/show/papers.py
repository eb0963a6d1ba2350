"""``docs/papers.md``: every table and figure of the five papers, and how far each is reproduced.

``python -m bench.show.papers`` writes it anew. With an output folder (``python -m bench.show.papers OUT``)
it first takes down, in ``results/smoke.csv``, which protocols ran there at smoke scale. ``python -m
bench.show.papers --gpu OUT`` first counts what each needs of a card (``results/gpu.csv``); the steps stay in OUT.
"""

from __future__ import annotations

import csv
import io
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bench.gpu.cards import card
from bench.protocol import PAPERS, Protocol, read
from bench.protocol.named import ROOT
from bench.store import Store

if TYPE_CHECKING:
    from bench.gpu.memory import StepMemory

ITEMS, RAN, PAGE = Path("docs/papers.csv"), Path("results/smoke.csv"), Path("docs/papers.md")
NEEDS = Path("results/gpu.csv")
CARD, SIZES = "h100-80gb", ("24gb", "40gb", "80gb")
UNFIT = [f"jobs too large for {size}" for size in SIZES]
HOURS = (f"GPU-hours on {CARD}", "trainings of unknown length")
NEED = ("item", *HOURS, "GiB", *UNFIT, f"what helps on {CARD}")
COUNTED = ("assumed", "deviations", "published numbers")
HEADING = ("item", "what it shows", "protocol", "state", *COUNTED)


class Ran(NamedTuple):
    """How a protocol fared at smoke scale: a line of ``results/smoke.csv``."""

    protocol: str
    content: str  # digest of the file as it was then
    cells: int
    failed: int


def _lines(file: Path) -> list[dict[str, str]]:
    return [*csv.DictReader(file.read_text().splitlines())] if file.is_file() else []


def _write(file: Path, *lines: Sequence[object]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    file.write_text(text.getvalue())


def ran(root: Path = ROOT) -> dict[str, Ran]:
    """Return what is known of runs at smoke scale, by the protocol's name."""
    return {
        line["protocol"]: Ran(
            line["protocol"], line["content"], int(line["cells"]), int(line["failed"])
        )
        for line in _lines(root / RAN)
    }


def take_down(store: Store, root: Path = ROOT) -> None:
    """Write what ran in an output folder at smoke scale over what was known of these protocols."""
    from bench.record import CELL, COLUMNS, read_rows
    from bench.show.reports import said_beside

    runs = ran(root)
    for file in sorted((store.root / "records").glob("*.parquet")):
        origin, table = said_beside(store, file.stem).origin, read_rows(file, COLUMNS)
        if origin is None or not len(table) or set(table["scale"]) != {"smoke"}:
            continue
        cells = table.groupby([*CELL])["status"].agg(lambda states: (states == "failed").any())
        runs[file.stem] = Ran(file.stem, origin.content, len(cells), int(cells.sum()))
    _write(root / RAN, Ran._fields, *(run for _, run in sorted(runs.items())))


@dataclass(frozen=True)
class Weighed:
    """What a protocol needs of a card at paper scale: a line of ``results/gpu.csv``."""

    protocol: str
    content: str  # digest of the file as it was then
    hours: float  # of trainings whose length is known without the data
    unknown: int  # trainings whose length is not
    gib: float  # of the largest step
    unfit: tuple[int, ...]  # steps that do not fit, by ``SIZES``
    advice: str  # of those that do not fit the largest


def weighed(root: Path = ROOT) -> dict[str, Weighed]:
    """Return what protocols need of a card, by their names."""
    needs = {}
    for line in _lines(root / NEEDS):
        name, unfit = line["protocol"], tuple(int(line[size]) for size in SIZES)
        numbers = float(line["hours"]), int(line["unknown"]), float(line["gib"])
        needs[name] = Weighed(name, line["content"], *numbers, unfit, line["advice"])
    return needs


def weigh(out: Path, root: Path = ROOT) -> None:
    """Count what each paper protocol needs of a card; a step that OUT remembers is counted no more."""
    from bench.gpu.memory import NAME, StepMemory

    steps, results = StepMemory(out / NAME), dict[str, Weighed]()
    for paper in PAPERS:
        for path in sorted((root / "protocols" / paper).glob("*.yaml")):
            need = _weighed(read(path, "paper"), steps)
            results[need.protocol] = need
            print(f"{need.protocol}: {need.hours:,.1f} GPU-hours, {need.gib:.1f} GiB", flush=True)  # noqa: T201 - hours
    columns = "protocol", "content", "hours", "unknown", "gib", *SIZES, "advice"
    lines: list[tuple[str, ...]] = [columns]
    for name, n in sorted(results.items()):
        numbers = f"{n.hours:.1f}", str(n.unknown), f"{n.gib:.1f}", *map(str, n.unfit)
        lines.append((name, n.content, *numbers, n.advice))
    _write(root / NEEDS, *lines)


def _weighed(protocol: Protocol, steps: StepMemory) -> Weighed:
    from bench.data.roots import Contents, Roots
    from bench.gpu.forecast import Forecast
    from bench.plan import Planner

    planner = Planner(Roots(None), Contents(None), need_data=False)
    planner.expand(protocol)
    plan = planner.finish()
    needs = Forecast(plan, card(CARD, Path()), steps).needs(plan.wanted())
    trained = [n for job, n in needs.items() if plan.jobs[job].kind in ("pretrain", "finetune")]
    sizes = [need.gib for need in needs.values() if need.gib is not None]
    rooms = [card(size, Path()).room / 2**30 for size in SIZES]
    advice = dict.fromkeys(need.advice for need in needs.values() if need.advice)
    hours, unknown = sum(n.hours or 0.0 for n in trained), sum(n.hours is None for n in trained)
    largest, unfit = max(sizes, default=0.0), tuple(sum(s > room for s in sizes) for room in rooms)
    content = protocol.origin.content if protocol.origin else ""
    return Weighed(protocol.name, content, hours, unknown, largest, unfit, " / ".join(advice))


def page(root: Path = ROOT) -> str:
    """Return ``docs/papers.md``."""
    items = _lines(root / ITEMS)
    results = [item for item in items if item["kind"] != "drawing"]
    runs, lines = ran(root), list[str]()
    counts = Counter(_state(root, item["paper"], item["item"], runs) for item in results)
    for paper in PAPERS:
        mine = [item for item in items if item["paper"] == paper]
        printed = _published(root, paper)
        rows = [_row(root, item, runs, printed) for item in mine if item["kind"] != "drawing"]
        drawings = [item for item in mine if item["kind"] == "drawing"]
        drawn = ", ".join(f"{_title(item['item'])} ({item['what']})" for item in drawings)
        lines += [
            "",
            f"## {paper}",
            "",
            *_table(HEADING, ["---"] * 4 + ["---:"] * 3, rows),
            "",
            f"Drawings, with nothing to reproduce: {drawn}.",
        ]
    total = ", ".join(f"{n} {state}" for state, n in counts.most_common())
    return "\n".join(
        [
            "# The five papers, item by item",
            "",
            "Generated by `python -m bench.show.papers` from the items of `docs/papers.csv`.",
            "",
            f"{len(results)} tables and figures: {total}.",
            "",
            "- *Runs at smoke*: the current file ran at smoke scale and no cell failed (`results/smoke.csv`, by "
            "`python -m bench.show.papers OUT`). *Planned*: it was not run since its last edit.",
            "- *Assumed*: values that the paper does not give. *Deviations*: deliberate differences from it. "
            "*Published numbers*: those of `results/published/` that are shown beside ours.",
            *lines,
            *_cards(root, results),
            "",
        ]
    )


def _cards(root: Path, items: Iterable[dict[str, str]]) -> list[str]:
    """Return the table of what protocols need of a card."""
    needs, rows = weighed(root), list[tuple[str, ...]]()
    for item in items:
        file = _file(item["paper"], item["item"])
        protocol = read(root / file) if (root / file).is_file() else None
        need = needs.get(protocol.name) if protocol else None
        if protocol is None or need is None:
            continue
        name = f"{item['paper']} {_title(item['item'])}"
        stale = "" if need.content == protocol.origin.content else " (an earlier state of the file)"
        hours = f"{need.hours:,.1f}" if need.hours or not need.unknown else "unknown"
        counts = str(need.unknown or ""), f"{need.gib:.1f}", *map(str, need.unfit)
        rows.append((name + stale, hours, *counts, need.advice))
    if not rows:
        return []
    return [
        "",
        "## What each needs of a GPU",
        "",
        "At paper scale, by `bench plan PROTOCOL --gpu NAME` (`results/gpu.csv`, by `python -m bench.show.papers --gpu "
        f"OUT`). **All is counted, nothing was run on a GPU.** Hours are {card(CARD, Path()).speed.text}. They "
        "include only trainings whose length is known without the data. A job needs the memory of its step plus a "
        "tenth plus 1 GiB.",
        "",
        *_table(NEED, ["---", *["---:"] * (len(NEED) - 2), "---"], rows),
    ]


def _row(
    root: Path, item: dict[str, str], runs: dict[str, Ran], printed: Counter[str]
) -> tuple[str, ...]:
    paper, name = item["paper"], item["item"]
    file, state = _file(paper, name), _state(root, paper, name, runs)
    if not (root / file).is_file():
        return _title(name), item["what"], "", state, "", "", str(printed[name] or "")
    protocol = read(root / file)
    counts = len(protocol.assumed), len(protocol.deviations), printed[name]
    link = f"[{file.name}](../{file.as_posix()})"
    return _title(name), item["what"], link, state, *(str(n or "") for n in counts)


def _state(root: Path, paper: str, name: str, runs: dict[str, Ran]) -> str:
    """Return how far an item is reproduced, in words."""
    if not (root / _file(paper, name)).is_file():
        return "not said yet"
    protocol = read(root / _file(paper, name))
    last = runs.get(protocol.name)
    if last is None or last.content != protocol.origin.content:
        return "planned"
    return (
        f"fails at smoke ({last.failed} of {last.cells} cells)" if last.failed else "runs at smoke"
    )


def _file(paper: str, name: str) -> Path:
    return Path("protocols", paper, f"{name}.yaml")


def _title(name: str) -> str:
    """Return an item as papers write it: ``table1`` is Table 1."""
    word = name.rstrip("0123456789")
    kind = "Fig." if word == "fig" else word.capitalize().replace("_", ", ")
    return f"{kind} {name.removeprefix(word)}".strip()


def _published(root: Path, paper: str) -> Counter[str]:
    """Return how many printed numbers are kept of each item."""
    with (root / "results" / "published" / f"{paper}.csv").open(newline="") as file:
        return Counter(row["table"] for row in csv.DictReader(file))


def _table(heading: Sequence[str], rule: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    every = [heading, rule, *rows]
    return [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in every]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--gpu"]:
        weigh(Path(sys.argv[2]))
    elif len(sys.argv) > 1:
        take_down(Store.open(Path(sys.argv[1]), create=False))
    (ROOT / PAGE).write_text(page())
