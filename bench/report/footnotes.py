"""What is said about a cell below the table: failures, empty masks, a deviating n."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from bench.report.cells import MEAN, Cell, Key
from bench.report.context import ReportContext
from bench.report.numbers import TIMES
from bench.report.sections import PAGE, Section
from bench.report.supplement import Failure, Leak
from bench.report.tabular import COUNTS, grid

LISTED = 10  # test cases that a footnote names
UNDEFINED = {
    "segmentation": "values are undefined (an empty mask) and left out",
    "classification": "values are undefined (a class without cases) and left out",
    "regression": "values are undefined (the values do not vary) and left out",
}
LACKING = "the row's initial weights lack these parts of the encoder, which start at random"
PENALISED = "values are penalty values, because the reference or the prediction is empty; of the values of each cell"


@dataclass
class Footnotes:
    """Letters for texts; equal texts share a letter, and so do counts of one kind, cell by cell."""

    kinds: dict[str, dict[str, dict[str, None]]] = field(default_factory=dict)  # kind: count: cells

    def mark(self, text: str) -> str:
        """Return the letter of ``text``: a, b, ... z, aa."""
        return self._letter(text) if text else ""

    def tally(self, kind: str, count: str, cell: str) -> str:
        """Return the letter of a kind of count, of which there is one note for all cells."""
        letter = self._letter(kind)
        self.kinds[kind].setdefault(count, {})[cell] = None  # of several metrics once
        return letter

    def _letter(self, text: str) -> str:
        self.kinds.setdefault(text, {})
        n, letter = list(self.kinds).index(text) + 1, ""
        while n:
            n, digit = divmod(n - 1, 26)
            letter = chr(ord("a") + digit) + letter
        return letter

    @property
    def letters(self) -> dict[str, str]:
        """Every note and its letter, in the order of print."""
        return {self._text(kind): self._letter(kind) for kind in self.kinds}

    def _text(self, kind: str) -> str:
        counts = self.kinds[kind]
        if not counts:
            return kind
        few = [f"{count} ({'; '.join(cells)})" for count, cells in counts.items()]
        return f"{kind}: {', '.join(few)}"


def usual_n(cells: list[Cell | None]) -> str:
    """Return the runs, patients and cases behind most cells of a row."""
    counts = Counter(_n(c) for c in cells if c is not None and c.mean is not None)
    return max(counts, key=counts.__getitem__, default="")


def _n(cell: Cell) -> str:
    text = f"{cell.runs}\N{NO-BREAK SPACE}{TIMES}\N{NO-BREAK SPACE}{cell.patients or 'all'}"
    return text + (f"\N{NO-BREAK SPACE}({cell.cases})" if cell.cases != cell.patients else "")


def remark(report: ReportContext, key: Key, cell: Cell | None, usual: str, notes: Footnotes) -> str:
    """Return the letters of a cell's footnotes: what failed, a deviating n, counts of empty masks."""
    if cell is None:
        return notes.mark(_why(_failures(report, key, ())))
    letters = [notes.mark("; ".join(_of_cell(report, key, cell, usual)))]
    if (gaps := report.extras.gaps.get(key.row)) and cell.mean is not None:
        letters.append(notes.mark(f"{LACKING}: {', '.join(gaps)}"))
    target = report.protocol.layout.mean if key.target == MEAN else key.target
    place = f"{report.labels[key.section]}, " if len(report.labels) > 1 else ""
    where = f"{report.named(key.row)}, {place}{key.fraction} %, {target}"
    undefined = cell.undefined, UNDEFINED[report.task(key.section)]
    for count, kind in (undefined, (cell.penalised, PENALISED)):
        if count:
            letters.append(notes.tally(kind, f"{count} of {cell.values}", where))
    return " ".join(filter(None, letters))


def _of_cell(report: ReportContext, key: Key, cell: Cell, usual: str) -> list[str]:
    """Return what is said of one cell alone."""
    parts = []
    if cell.failed:
        failures = _failures(report, key, cell.jobs)
        why = _why(failures) or f"job {', '.join(cell.jobs)}"
        what = (
            "not scored" if all(f.hole == "not scored" for f in failures) and failures else "failed"
        )
        parts.append(f"{counted(cell.failed, 'run')} {what}: {why}")
    if cell.mean is not None and _n(cell) != usual:
        parts.append(f"{COUNTS.lower()}: {_n(cell)}")
    n_targets = len(report.targets(key.section))
    section = report.protocol.sections[key.section]
    if cell.mean is not None and (key.target == MEAN or n_targets == 1):
        parts += [
            leaked(k) for k in report.extras.leaks if (k.row, k.section) == (key.row, section)
        ]
    if key.target == MEAN and cell.mean is not None and cell.targets < n_targets:
        in_runs = " in at least one run" if cell.runs > 1 else ""
        parts.append(f"mean over {cell.targets} of {n_targets} targets{in_runs}")
    return parts


def leaked(leak: Leak) -> str:
    """Say which test cases a pretraining met, and what was done."""
    listed = ", ".join(leak.cases[:LISTED]) + (" ..." if len(leak.cases) > LISTED else "")
    are = "is" if len(leak.cases) == 1 else "are"
    they = "it was" if len(leak.cases) == 1 else "they were"
    what = "kept, as the protocol says, so this number is optimistic"
    if leak.dropped:
        what = "left out before training"
    return (
        f"{len(leak.cases)} of {leak.tests} test cases {are} also in the pretraining data, as {leak.read} "
        f"of its cases: {listed}; {they} {what}"
    )


def _failures(report: ReportContext, key: Key, jobs: tuple[str, ...]) -> list[Failure]:
    named = [f for f in report.extras.failures if f.job in jobs]
    return named or report.failures_of(key)


def _why(failures: list[Failure]) -> str:
    reasons = dict[str, None]()
    for f in failures:
        attempts = f", {f.attempts} attempts" if f.attempts > 1 else ""
        reasons[f"{f.reason} (job {f.job}{attempts}{f', log {f.log}' if f.log else ''})"] = None
    return "; ".join(reasons)


def failed_jobs(report: ReportContext) -> list[Section]:
    """Return the table of failed jobs: each once, with the cells that lack their number for it."""
    first, cells = dict[str, Failure](), dict[str, dict[str, None]]()
    for failure in report.extras.failures:
        first.setdefault(failure.job, failure)
        cells.setdefault(failure.job, {})[_cell_of(report, failure)] = None
    lines = [
        ("; ".join(cells[job]), f.reason, str(f.attempts), job, f.log) for job, f in first.items()
    ]
    table = grid(
        ("Cells without a number", "Reason", "Attempts", "Job", "Log"), lines, words=(1, 3, 4)
    )
    return [Section("Failures", (table,), "failures", "Failures", forms=PAGE)] if lines else []


def _cell_of(report: ReportContext, failure: Failure) -> str:
    """Return which cell a failure explains, in words."""
    title = report.titles.get(failure.row, failure.row)
    named = dict(zip(report.protocol.sections, report.labels, strict=True))
    parts = [named.get(failure.section, failure.section)] if failure.section else []
    parts += [] if failure.fraction is None else [f"{failure.fraction} %"]
    parts += [] if failure.seed is None else [f"seed {failure.seed}"]
    return title + (f": {', '.join(parts)}" if parts else "")


def state(report: ReportContext, key: Key, cell: Cell | None) -> str:
    """Return ``ok``, ``incomplete`` (some failed), ``failed``, ``not scored``, ``undefined``, ``absent``."""
    if cell is not None and cell.mean is not None:
        return "incomplete" if cell.failed else "ok"
    if cell is not None and not cell.failed:
        return "undefined"
    holes = {f.hole for f in _failures(report, key, cell.jobs if cell else ())}
    if holes:
        return "failed" if len(holes) > 1 else holes.pop()
    return "failed" if cell else "absent"


def counted(number: int, noun: str) -> str:
    """Return ``1 case`` or ``1,808 cases``."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def in_words(cell: Cell | None) -> str:
    """Return every count of a cell, for a tooltip."""
    if cell is None:
        return "not run"
    return (
        f"{counted(cell.runs, 'run')}, {counted(cell.patients, 'patient')}, {counted(cell.cases, 'case')}, "
        f"{counted(cell.values, 'value')}, {cell.undefined} undefined, {cell.penalised} penalised, "
        f"{counted(cell.failed, 'failed run')}"
    )
