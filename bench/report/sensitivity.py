"""What a study could have found: its ceiling and the doses of it, beside scratch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from bench.report.context import ReportContext
from bench.report.names import metric_title
from bench.report.numbers import difference, number
from bench.report.plots import Dose, Ladder
from bench.report.sections import Part, Section, Text
from bench.report.tabular import grid
from bench.report.verdicts import Against, VerdictGroup
from bench.stats.comparison import BETTER, UNCLEAR, WEIGHTS

BLIND = "blind: even pretraining with labels is not told from scratch here"
HEADING, CURVE = "What this study could have found", "Difference from scratch by dose"
HEAD = (
    "Control",
    "Where",
    "Ceiling",
    "95 % interval",
    "Verdict",
    "Least dose seen",
    "Its difference",
    "95 % interval",
    "Rows, ±",
)
NOTE = (
    "Ceiling: pretrained with the labels of all training scans, and fine-tuned as the rows are; its paired "
    "difference from scratch. Least dose seen: the smallest share of the ceiling's weights, the rest being "
    "fresh, that is called better than scratch. Both are controls, a family of their own for Holm. Rows, ±: "
    "half of the rows' 95 % intervals, the median."
)
SHOWN = (
    "Dose 0 is scratch, dose 1 the ceiling. Lines are 95 % intervals, not adjusted. Filled: called better "
    "than scratch. Shaded is the region of practical equivalence."
)
NOTHING, UNKNOWN = "none", "not known, for no ceiling stands beside scratch"


@dataclass(frozen=True)
class Sensitivity:
    """What stands at the top of a page that has positive controls."""

    lines: tuple[tuple[str, ...], ...] = ()  # as in HEAD
    blind: tuple[str, ...] = ()  # sentences: places where nothing could have been found
    sentences: tuple[str, ...] = ()  # of the other places

    @property
    def sections(self) -> list[Section]:
        """What a report says of it; nothing where the study has no positive controls."""
        warnings = [Text(text, "warning") for text in self.blind]
        sentences = [Text(text, "sentence") for text in self.sentences]
        tables = [grid(HEAD, self.lines, "", NOTE, words=(1, 4))] if self.lines else []
        parts: list[Part] = [*warnings, *sentences, *tables]
        listed = "What could be found"
        return [Section(HEADING, parts, "sensitivity", listed, first=True)] if parts else []


@dataclass(frozen=True)
class _Steps:
    """One ceiling and its doses, the least first, beside one row from scratch."""

    place: VerdictGroup
    baseline: str
    doses: tuple[tuple[float, Against], ...]

    @property
    def ceiling(self) -> Against | None:
        return next((one for dose, one in self.doses if dose == 1), None)

    @property
    def least(self) -> tuple[float, Against] | None:
        """The least dose below the ceiling that is called better."""
        return next(
            ((d, one) for d, one in self.doses if d < 1 and one.judged.verdict == BETTER), None
        )


def sensitivity(report: ReportContext, places: Sequence[VerdictGroup]) -> Sensitivity:
    """Return what a study could have found; empty where it has no positive control."""
    found = [steps for place in places for steps in _steps(report, place)]
    lines = tuple(_line(report, steps) for steps in found)
    blind, said = dict[str, None](), dict[str, None]()
    for place in places:
        here = [steps for steps in found if steps.place is place]
        for baseline in dict.fromkeys(steps.baseline for steps in here):
            own = [steps for steps in here if steps.baseline == baseline]
            where = _where(report, place, baseline, {steps.baseline for steps in here})
            if baseline in place.blind:
                blind[f"{where}: {BLIND}, so '{UNCLEAR}' says nothing{_though(own)}."] = None
            elif text := _said(own):
                said[f"{where}: {text}."] = None
    for section, fraction in _lacking(report, places):
        said[f"{report.labels[section]}, {fraction} %: {UNKNOWN}."] = None
    return Sensitivity(lines, tuple(blind), tuple(said))


def ladders(report: ReportContext, places: Sequence[VerdictGroup]) -> tuple[Ladder, ...]:
    """Return the dose curves to draw, one for each place and row from scratch."""
    made = []
    for place in places:
        unit = report.unit(place.metric)
        found = _steps(report, place)
        for baseline in dict.fromkeys(steps.baseline for steps in found):
            own = [steps for steps in found if steps.baseline == baseline]
            region = own[0].doses[0][1].region
            factor, said = (100, "points") if unit == "1" else (1, unit)
            made.append(
                Ladder(
                    title=_where(report, place, baseline, {steps.baseline for steps in found}),
                    axis=f"{metric_title(place.metric)} ({said}) gained on scratch",
                    rope=round(factor * region.rope, 6) if region else 0.0,
                    lines=tuple((_named(report, steps), _points(steps, factor)) for steps in own),
                )
            )
    return tuple(made)


def _points(steps: _Steps, factor: int) -> tuple[Dose, ...]:
    return tuple(
        Dose(
            dose=dose,
            difference=round(factor * c.difference, 6),
            low=round(factor * c.low, 6),
            high=round(factor * c.high, 6),
            verdict=one.judged.verdict,
        )
        for dose, one in steps.doses
        if (c := one.judged.comparison).low == c.low
    )


def _steps(report: ReportContext, place: VerdictGroup) -> list[_Steps]:
    """Return the ceilings of a place with their doses: those of one pretraining together."""
    found: dict[tuple[str, str], list[tuple[float, Against]]] = {}
    order = [*report.protocol.rows]
    controls = [one for one in place.controls if one.key.row in order]
    for one in sorted(controls, key=lambda one: order.index(one.key.row)):
        row = report.protocol.rows[one.key.row]
        if row.ceiling:
            key = (one.baseline, repr((row.network, row.method, row.params, row.finetune)))
            found.setdefault(key, []).append((row.dose, one))
    return [
        _Steps(place, base, tuple(sorted(doses, key=lambda pair: pair[0])))
        for (base, _), doses in found.items()
    ]


def _lacking(report: ReportContext, places: Sequence[VerdictGroup]) -> list[tuple[int, int]]:
    """Return sections and fractions with rows beside scratch that lack the ceiling they should have."""
    ceilings = [row for row in report.protocol.rows.values() if row.ceiling and row.dose == 1]
    return [
        (place.section, place.fraction)
        for place in places
        if any(place.section in report.protocol.sections_of(row) for row in ceilings)
        and not any(steps.ceiling for steps in _steps(report, place))
    ]


def _line(report: ReportContext, steps: _Steps) -> tuple[str, ...]:
    unit = report.unit(steps.place.metric)
    least, top = steps.least, steps.ceiling
    dose = f"{least[0]:g}" if least else NOTHING if len(steps.doses) > (top is not None) else ""
    halves = [
        one.judged.comparison.half for one in steps.place.rows if one.baseline == steps.baseline
    ]
    known = [half for half in halves if half == half]
    return (
        _named(report, steps),
        f"{report.labels[steps.place.section]}, {steps.place.fraction} %",
        *_numbers(top, unit),
        top.judged.verdict if top else "",
        dose,
        *_numbers(least[1] if least else None, unit),
        number(median(known), unit) if known else "",
    )


def _numbers(one: Against | None, unit: str) -> tuple[str, str]:
    if one is None:
        return "", ""
    c = one.judged.comparison
    low, high = (difference(v, unit) for v in (c.low, c.high))
    return difference(c.difference, unit), f"{low} to {high}" if c.low == c.low else ""


def _named(report: ReportContext, steps: _Steps) -> str:
    return report.named((steps.ceiling or steps.doses[-1][1]).key.row)


def _where(report: ReportContext, place: VerdictGroup, baseline: str, every: set[str]) -> str:
    beside = f", beside {report.named(baseline)}" if len(every) > 1 else ""
    return f"{report.labels[place.section]}, {place.fraction} %{beside}"


def _said(own: Sequence[_Steps]) -> str:
    """Say what was found of a place that is not blind."""
    if not any(steps.ceiling for steps in own):
        return ""
    doses = [pair for steps in own for pair in steps.doses if pair[0] < 1]
    seen = [steps.least for steps in own if steps.least]
    if not doses:
        return "no dose was tried, so how much less than the ceiling could be found is not known"
    if not seen:
        return "the ladder finds nothing: the ceiling is told from scratch, no dose below it is"
    least, missed = (
        min(dose for dose, _ in seen),
        sorted({d for d, one in doses if not _better(one)}),
    )
    above = [dose for dose in missed if dose > least]
    but = f", though dose {above[0]:g} is not" if above else ""
    return f"a gain as large as that of dose {least:g} is told from scratch{but}"


def _though(own: Sequence[_Steps]) -> str:
    """Say of a blind place which doses are called better all the same, or that one seed says nothing."""
    seen = [steps.least[0] for steps in own if steps.least]
    if seen:
        return f" (though dose {min(seen):g} is called better)"
    tops = [steps.ceiling for steps in own if steps.ceiling]
    alone = bool(tops) and all(one.judged.verdict == WEIGHTS for one in tops)
    return " (the ceiling has one pretraining or one seed)" if alone else ""


def _better(one: Against) -> bool:
    return one.judged.verdict == BETTER
