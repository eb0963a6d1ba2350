"""Is scratch trained at all? Has it learned the task, and does it reach the anchor that the protocol states?"""

from __future__ import annotations

from dataclasses import dataclass

from bench.protocol import finetune_of, from_scratch, method_pretrains
from bench.protocol.sections import Anchor
from bench.report.cells import MEAN, Key
from bench.report.context import ReportContext
from bench.report.footnotes import counted
from bench.report.names import metric_title

ALL = 100  # percent of the labels
UNDERTRAINED = "Undertrained"
LEARN = "No gain over such a row is printed. Train it longer, and check its labels, crop and learning rate."
SO = "Differences from these rows do not show whether pretraining helps a fully trained network."


@dataclass(frozen=True)
class Judged:
    """One row from scratch beside the anchor of one section; scores with all labels, as shares of 1."""

    row: str  # as printed
    section: int
    anchor: Anchor
    mean: float | None
    scores: dict[str, float]  # by target
    lacking: tuple[str, ...] = ()  # targets without a score
    failed: int = 0  # runs, whose patients are not in it

    @property
    def worst(self) -> str:
        """Return the target with the lowest score; empty where there is but one."""
        return min(self.scores, key=self.scores.__getitem__) if len(self.scores) > 1 else ""

    @property
    def lowest(self) -> str:
        """Return the worst target's score as printed beside its floor; empty where there is but one."""
        return _percent(self.scores[self.worst], self.anchor.each) if self.worst else ""

    @property
    def passed(self) -> bool | None:
        """Are mean and worst target as high as the anchor asks? None where a score is missing."""
        if self.mean is None or self.lacking:
            return None
        return self.mean >= self.anchor.mean and min(self.scores.values()) >= self.anchor.each

    def __str__(self) -> str:
        if self.mean is None or self.lacking:
            of = f" of {', '.join(self.lacking)}" if self.scores else ""
            return f"{self.row} is not judged, because there is no score{of} with all labels."
        score = f"{metric_title(self.anchor.metric)} {_percent(self.mean, self.anchor.mean)}"
        score += f", worst target ({self.worst}) {self.lowest}" if self.worst else ""
        score += f", {counted(self.failed, 'failed run')} left out" if self.failed else ""
        return (
            f"{self.row}: {score}. The required score is {'reached' if self.passed else 'missed'}."
        )


def judged(report: ReportContext) -> list[Judged]:
    """Return every row from scratch that has an anchor, in the order of print.

    At smoke scale and on synthetic scans nothing is judged: no anchor is meant for them.
    """
    protocol = report.protocol
    results = []
    for section in _meant(report):
        for name, row in protocol.rows_in(section).items():
            anchor = finetune_of(protocol, section, row).anchor
            if anchor is not None and from_scratch(row):
                scores = _scores(report, name, section, anchor)
                results.append(Judged(report.named(name), section, anchor, *scores))
    return results


def notes(report: ReportContext) -> list[str]:
    """Return the notes on the anchors: what each asks, what the field reaches, each row's score."""
    protocol, labels = report.protocol, report.labels
    results, texts = judged(report), list[str]()
    for section in _meant(report):
        of_section = [result for result in results if result.section == section]
        before = f"{labels[section]}: " if len(labels) > 1 else ""
        texts += dict.fromkeys(_requirement(report, result) for result in of_section)
        texts += [f"{before}{result}" for result in of_section]
        # beside a paper's own scale stand the paper's numbers
        if not of_section and protocol.scale != "paper":
            anchored = any(
                finetune_of(protocol, section, row).anchor for row in protocol.rows.values()
            )
            why = "no score (anchor) is set that scratch must reach"
            if anchored:
                why = "no row is from scratch"
            notes = f"{before}{why}, so it is unknown whether training was long enough."
            texts.append(notes[0].upper() + notes[1:])
    return texts


def warning(report: ReportContext) -> str:
    """Return one line that names the baselines that have not learned the task or miss their anchor; else ""."""
    unlearned: dict[str, list[str]] = {}
    baselines = _baselines(report)
    for (row, section, fraction), why in report.unlearned.items():
        if row in baselines:
            place = f"{report.labels[section]}, {fraction} % of the labels ({why})"
            unlearned.setdefault(report.named(row), []).append(place)
    texts = [
        f"{row} has not learned the task: {'; '.join(places)}." for row, places in unlearned.items()
    ]
    texts += [LEARN] if texts else []
    parts: dict[str, list[str]] = {}
    for result in judged(report):
        if result.passed is not False or result.mean is None:
            continue
        each = f" (each target {_percent(result.anchor.each)})" if result.anchor.each else ""
        required = f"{_percent(result.anchor.mean)}{each}"
        where = (
            f"{report.labels[result.section]}: scratch with all labels does not reach {required}"
        )
        worst = f" (worst target {result.worst} {result.lowest})" if result.worst else ""
        parts.setdefault(where, []).append(
            f"{result.row} {_percent(result.mean, result.anchor.mean)}{worst}"
        )
    texts += [f"{where}: {'; '.join(rows)}." for where, rows in parts.items()]
    if parts and any(method_pretrains(row) for row in report.protocol.rows.values()):
        texts.append(SO)
    return " ".join([f"{UNDERTRAINED}.", *texts]) if texts else ""


def _baselines(report: ReportContext) -> set[str]:
    """Return the rows from scratch, and those that a table prints gains over."""
    protocol = report.protocol
    scratch = {name for name, row in protocol.rows.items() if from_scratch(row)}
    return (
        scratch
        | {near[0] for near in report.nearest.values() if near}
        | {view.gain for view in protocol.layout.views}
    )


def _meant(report: ReportContext) -> list[int]:
    """Return the sections that train on real scans; none at smoke scale."""
    return [
        index
        for index, section in enumerate(report.protocol.finetune)
        if section.is_trained and section.external is None
        if not report.info[section.dataset].synthetic
        if report.protocol.scale != "smoke"
    ]


def _scores(
    report: ReportContext, row: str, section: int, anchor: Anchor
) -> tuple[float | None, dict[str, float], tuple[str, ...], int]:
    """Return a row's mean, its score of each target, which targets have none, and how many runs failed.

    Of a row some of whose runs failed, the others' scores.
    """
    targets = report.targets(section)
    of = [*targets, *([MEAN] if len(targets) > 1 else [])]
    cells = {t: report.cells.at(Key(row, section, ALL, t, anchor.metric)) for t in of}
    scores = {t: cell.mean for t, cell in cells.items() if cell and cell.mean is not None}
    mean = scores.pop(MEAN, None) if len(targets) > 1 else next(iter(scores.values()), None)
    failed = max((cell.failed for cell in cells.values() if cell), default=0)
    return mean, scores, tuple(t for t in targets if t not in scores), failed


def _requirement(report: ReportContext, result: Judged) -> str:
    """Return what an anchor asks for, what the field reaches with all labels, and where that is printed."""
    anchor, label = result.anchor, report.labels[result.section]
    each = f", and {_percent(anchor.each)} for each target" if anchor.each else ""
    mean = f"{metric_title(anchor.metric)} {_percent(anchor.mean)}"
    mean += " as the mean over targets" if len(report.targets(result.section)) > 1 else ""
    text = f"{label}: with all labels, scratch must reach {mean}{each}"
    field = _field(report, report.protocol.finetune[result.section].dataset, anchor)
    return f"{text}. Scores from elsewhere: {field}." if field else f"{text}."


def _field(report: ReportContext, dataset: str, anchor: Anchor) -> str:
    frame = report.extras.reference
    if frame is None:
        return ""
    same = frame[
        (frame["dataset"] == dataset)
        & (frame["metric"] == anchor.metric)
        & (frame["fraction"].astype(int) == ALL)
        & (frame["target"] == "mean")
    ]
    if anchor.family:
        same = same[same["family"] == anchor.family]
    rows = sorted(
        same[["value", "source"]].astype({"value": float}).itertuples(index=False, name=None)
    )
    return ", ".join(f"{_percent(value)} ({source})" for value, source in rows)


def _percent(value: float, other: float | None = None) -> str:
    """Return a share in percent, with as many digits as tell it from ``other``."""
    for digits in range(2, 18):
        shown = f"{100 * value:.{digits}f}"
        if other is None or value == other or shown != f"{100 * other:.{digits}f}":
            break
    return shown
