"""What is said about a cell below the table: failures, empty masks, a deviating n."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from bench.report.cells import MEAN, Cell, Key
from bench.report.scene import Scene
from bench.report.supplement import Failure, Leak

LISTED = 10  # test cases that a footnote names
TIMES = "\N{MULTIPLICATION SIGN}"


@dataclass
class Footnotes:
    """Letters for texts; equal texts share a letter."""

    letters: dict[str, str] = field(default_factory=dict)

    def mark(self, text: str) -> str:
        """Return the letter of ``text``: a, b, ... z, aa."""
        if text and text not in self.letters:
            n, letter = len(self.letters) + 1, ""
            while n:
                n, digit = divmod(n - 1, 26)
                letter = chr(ord("a") + digit) + letter
            self.letters[text] = letter
        return self.letters.get(text, "")


def usual_n(cells: list[Cell | None]) -> str:
    """Return the runs, patients and cases behind most cells of a row."""
    counts = Counter(_n(c) for c in cells if c is not None and c.mean is not None)
    return max(counts, key=counts.__getitem__, default="")


def _n(cell: Cell) -> str:
    text = f"{cell.runs}\N{NO-BREAK SPACE}{TIMES}\N{NO-BREAK SPACE}{cell.patients or 'all'}"
    return text + (f"\N{NO-BREAK SPACE}({cell.cases})" if cell.cases != cell.patients else "")


def remark(scene: Scene, key: Key, cell: Cell | None, usual: str) -> str:
    """Return the footnote of a cell: what failed, was undefined or penalised, and a deviating n."""
    if cell is None:
        return _why(_failures(scene, key, ()))
    parts = []
    if cell.failed:
        found = _failures(scene, key, cell.jobs)
        why = _why(found) or f"job {', '.join(cell.jobs)}"
        what = "not scored" if all(f.hole == "not scored" for f in found) and found else "failed"
        parts.append(f"{counted(cell.failed, 'run')} {what}: {why}")
    if cell.mean is not None and _n(cell) != usual:
        parts.append(f"n = {_n(cell)}")
    if cell.undefined:
        task = scene.info[scene.protocol.finetune[key.section].dataset].task
        why = "a class without cases" if task == "classification" else "an empty mask"
        parts.append(f"{cell.undefined} of {cell.values} values undefined ({why}), left out")
    if cell.penalised:
        parts.append(f"{cell.penalised} of {cell.values} values penalised (one mask empty)")
    n_targets = len(scene.targets(key.section))
    section = scene.protocol.sections[key.section]
    if cell.mean is not None and (key.target == MEAN or n_targets == 1):
        parts += [leaked(k) for k in scene.extras.leaks if (k.row, k.section) == (key.row, section)]
    if key.target == MEAN and cell.mean is not None and cell.targets < n_targets:
        some = " in at least one run" if cell.runs > 1 else ""
        parts.append(f"over {cell.targets} of {n_targets} targets{some}")
    return "; ".join(parts)


def leaked(leak: Leak) -> str:
    """Say which test cases a pretraining met, and what was done."""
    some = ", ".join(leak.cases[:LISTED]) + (" ..." if len(leak.cases) > LISTED else "")
    stand = "stands" if len(leak.cases) == 1 else "stand"
    kept = "kept, as the protocol says: read this number as optimistic"
    return (
        f"{len(leak.cases)} of {leak.tests} test cases also {stand} in the pretraining data, as {leak.read} "
        f"of its cases: {some}; {'left out before training' if leak.dropped else kept}"
    )


def _failures(scene: Scene, key: Key, jobs: tuple[str, ...]) -> list[Failure]:
    named = [f for f in scene.extras.failures if f.job in jobs]
    if named:
        return named
    section = scene.protocol.sections[key.section]
    own = [f for f in scene.extras.failures if f.row == key.row and f.section in ("", section)]
    return [f for f in own if f.fraction in (None, key.fraction)]


def _why(failures: list[Failure]) -> str:
    said = dict[str, None]()
    for f in failures:
        attempts = f", {f.attempts} attempts" if f.attempts > 1 else ""
        said[f"{f.reason} (job {f.job}{attempts}{f', log {f.log}' if f.log else ''})"] = None
    return "; ".join(said)


@dataclass(frozen=True)
class FailedJob:
    """One job that failed, and the cells that lack their number for it."""

    job: str
    reason: str
    log: str
    attempts: int
    cells: tuple[str, ...]  # "SimCLR: MSD Task09 Spleen, 25 %, seed 0", or a row's title alone


def failed_jobs(scene: Scene) -> list[FailedJob]:
    """Return each job that failed once, however many cells stand on it."""
    first, cells = dict[str, Failure](), dict[str, dict[str, None]]()
    for failure in scene.extras.failures:
        first.setdefault(failure.job, failure)
        cells.setdefault(failure.job, {})[_place(scene, failure)] = None
    return [FailedJob(job, f.reason, f.log, f.attempts, tuple(cells[job])) for job, f in first.items()]


def _place(scene: Scene, failure: Failure) -> str:
    """Return which cell a failure explains, in words."""
    title = scene.titles.get(failure.row, failure.row)
    named = dict(zip(scene.protocol.sections, scene.labels, strict=True))
    parts = [named.get(failure.section, failure.section)] if failure.section else []
    parts += [] if failure.fraction is None else [f"{failure.fraction} %"]
    parts += [] if failure.seed is None else [f"seed {failure.seed}"]
    return title + (f": {', '.join(parts)}" if parts else "")


def state(scene: Scene, key: Key, cell: Cell | None) -> str:
    """Return ``ok``, ``incomplete`` (some failed), ``failed``, ``not scored``, ``undefined``, ``absent``."""
    if cell is not None and cell.mean is not None:
        return "incomplete" if cell.failed else "ok"
    if cell is not None and not cell.failed:
        return "undefined"
    holes = {f.hole for f in _failures(scene, key, cell.jobs if cell else ())}
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
