"""One page over all reports of a folder: what each found, in a line, and a link."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench import stats, typed
from bench.errors import BenchError
from bench.report import undertrained
from bench.report.conclusion import SIGNS
from bench.report.context import ReportContext
from bench.report.page import template
from bench.report.verdicts import VerdictGroup
from bench.store import write_atomic
from bench.typed import plain

SUMMARY, INDEX = "summary.json", "index.html"
TITLE = "<title>bench: all reports</title>"


@dataclass(frozen=True)
class Summary:
    """What the index says of one report; written beside it."""

    name: str
    title: str
    data: tuple[str, ...]
    rows: int
    done: int  # rows with results
    sentence: str
    scale: str = ""
    paper: str = ""
    synthetic: str = ""
    failed: int = 0  # jobs
    undertrained: bool = False
    verdicts: dict[str, int] = field(default_factory=dict)
    last: str = ""  # date of the last run
    unfinished: bool = False
    control: dict[str, str] = field(default_factory=dict)  # of `positive_control`


def summary(
    report: ReportContext, groups: Sequence[VerdictGroup], sentence: str, control: dict[str, str]
) -> Summary:
    """Return what the index says of a report."""
    protocol = report.protocol
    counts = sum((Counter(group.counted()) for group in groups), Counter[str]())
    done = {k.row for k, c in report.cells.cells.items() if c.mean is not None}
    return Summary(
        name=protocol.name,
        title=protocol.title,
        scale=protocol.scale if protocol.scaled else "",
        paper=" ".join(filter(None, (protocol.paper, protocol.table))),
        synthetic=report.synthetic,
        data=tuple(dict.fromkeys(report.info[t.dataset].title for t in protocol.finetune)),
        rows=len(report.rows),
        done=len(done),
        failed=len({f.job for f in report.extras.failures}),
        undertrained=bool(undertrained.warning(report)),
        verdicts=dict(counts),
        sentence=sentence,
        last=report.extras.provenance.get("last run", ""),
        unfinished=report.extras.progress is not None,
        control=control,
    )


def put(summary: Summary, folder: Path) -> None:
    """Write ``summary.json`` into a report's folder."""
    write_atomic(
        folder / SUMMARY, json.dumps(plain(summary), indent=1, sort_keys=True) + "\n", flush=False
    )


def indexed(folder: Path, *, new: bool) -> bool:
    """Tell whether a folder's ``index.html`` may be written: if it is one of reports, or absent and ``new``.

    Somebody's own page is left alone.
    """
    try:
        return TITLE in (folder / INDEX).read_text(encoding="utf-8")[:2000]
    except FileNotFoundError:
        return new
    except (OSError, ValueError):
        return False


def write(folder: Path) -> Path:
    """Write ``index.html`` over the reports in a folder, from the summaries that lie beside them.

    A summary that is damaged, or of another version, is named on the page and left out.
    """
    summaries, lost = list[tuple[str, Summary]](), list[str]()
    for file in sorted(folder.glob(f"*/{SUMMARY}")):
        try:
            summaries.append((file.parent.name, typed.read(Summary, file.read_bytes())))
        except (OSError, ValueError, BenchError):
            lost.append(file.parent.name)
    summaries.sort(key=lambda pair: (pair[1].paper == "", pair[1].paper, pair[1].name))
    page = template("index.html.j2").render(
        reports=summaries, lost=lost, verdicts=stats.VERDICTS, signs=SIGNS, index=INDEX, title=TITLE
    )
    write_atomic(folder / INDEX, page.encode("utf-8", "backslashreplace"), flush=False)
    return folder / INDEX
