"""What a study could have found: its ceiling and the doses of it, beside scratch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from statistics import median

from bench.errors import enumerated
from bench.report.context import ReportContext
from bench.report.footnotes import counted
from bench.report.names import metric_title
from bench.report.numbers import difference, number, p_value
from bench.report.plots import Dose, Ladder
from bench.report.sections import Part, Section, Text
from bench.report.tabular import sparse
from bench.report.verdicts import RowComparison, VerdictGroup
from bench.stats.comparison import BETTER, UNCLEAR, WEIGHTS, WORSE
from bench.stats.power import detectable, noise_of

BLIND = (
    "the study is blind here: not even pretraining with labels is shown to be better than scratch"
)
HEADING, CURVE = "Does this study detect a known gain?", "Difference from scratch by dose"
HEAD = ("Control", "Where", "Ceiling", "95 % interval", "p, Holm", "Verdict")
DOSES = ("Smallest dose detected", "Gain of this dose", "95 % interval")
NOTE = (
    "{of}; positive is better. Ceiling: the paired difference from scratch of weights that are pretrained with "
    "the labels of all training scans. It is fine-tuned or probed like any other row. It may be pretrained for other "
    "steps and on other scans than the rows, and it may pass on more parts of the network. Holm adjusts the p of "
    "controls separately from the rows."
)
DOSE_NOTE = (
    " Dose: the share of the ceiling's weights in a mixture with random weights. Smallest dose detected: the "
    "smallest dose that is shown to be better than scratch. Empty: no dose was run there."
)
SHOWN = (
    "The point at 0 is scratch, that at 1 is the ceiling. Vertical lines are 95 % intervals, not adjusted. Filled "
    "marks are better than scratch (verdict). The shaded band is the region of equivalence."
)
APART = (
    " Loaded parameters train by settings of their own, so small doses need not come near scratch."
)
NOTHING = "none"
UNKNOWN = "no ceiling is compared with scratch, so we do not know whether a known gain is detected"
UNCONTROLLED = (
    "No positive control was run, so nobody knows whether this study detects a known gain: "
    "'not separable' does not show that nothing was gained."
)
DETECTED = (
    "Smallest difference that the study detects with 80 % power, after Holm's correction: {}."
)
STATED = "in the protocol {} (not registered, so this may have been calculated after the scores)"
DOSES_WAIT = "no dose above 0 has run in this section"
NO_DOSE = "No dose was run, so no smaller gain than that of the ceiling was tried."
LOSES = "Here a mixture of two sets of weights loses by itself, so the doses do not show what is detected"

Place = tuple[str, str, int]  # a section's label, against which row, percent of the labels


@dataclass(frozen=True)
class Sensitivity:
    """What stands at the top of a page that has positive controls."""

    lines: tuple[tuple[str, ...], ...] = ()  # as in HEAD, and in DOSES where a dose was run
    blind: tuple[str, ...] = ()  # sentences: places where nothing could have been found
    # sentences of the other places: little is known to be seen there
    warnings: tuple[str, ...] = ()
    sentences: tuple[str, ...] = ()  # of the other places
    detected: tuple[str, ...] = ()  # the smallest differences, planned and measured
    units: tuple[str, ...] = ()  # of the numbers of the lines

    def after(self, sentence: str) -> str:
        """Return a sentence, and then where nothing could have been found."""
        return " ".join(filter(None, [sentence, *self.blind]))

    @property
    def sections(self) -> list[Section]:
        """What a report says of it."""
        warnings = [Text(text, "warning") for text in (*self.blind, *self.warnings)]
        sentences = [Text(text, "sentence") for text in self.sentences]
        sentences += [Text(text) for text in self.detected]
        note = NOTE.format(of="; ".join(self.units))
        note += DOSE_NOTE * any(len(line) > len(HEAD) for line in self.lines)
        words = (1, HEAD.index("Verdict"))
        tables = [sparse(HEAD + DOSES, self.lines, "", note, words)] if self.lines else []
        parts: list[Part] = [*warnings, *sentences, *tables]
        listed = "Known gain"
        return [Section(HEADING, parts, "sensitivity", listed, first=True)] if parts else []


@dataclass(frozen=True)
class _Steps:
    """One ceiling and its doses, the least first, beside one row from scratch."""

    group: VerdictGroup
    baseline: str
    doses: tuple[tuple[float, RowComparison], ...]

    @property
    def rows(self) -> list[RowComparison]:
        """The methods that are read against the same row from scratch."""
        return [row for row in self.group.rows if row.baseline == self.baseline]

    @property
    def ceiling(self) -> RowComparison | None:
        return next((comparison for dose, comparison in self.doses if dose == 1), None)

    @property
    def dosed(self) -> bool:
        """Does it have more than the ceiling?"""
        return any(dose < 1 for dose, _ in self.doses)

    @property
    def least(self) -> tuple[float, RowComparison] | None:
        """The least dose below the ceiling that is called better."""
        better = ((d, row) for d, row in self.doses if d < 1 and row.judged.verdict == BETTER)
        return next(better, None)


def sensitivity(report: ReportContext, groups: Sequence[VerdictGroup]) -> Sensitivity:
    """Return what a study could have found; empty where it has no positive control."""
    all_steps = [steps for group in groups for steps in _steps(report, group)]
    dosed = any(steps.dosed for steps in all_steps)
    lines = tuple(
        (*_line(report, steps), *(_dose_cells(report, steps) if dosed else ()))
        for steps in all_steps
    )
    blind, weak, seen = (dict[str, list[Place]]() for _ in range(3))  # where each sentence is true
    for where, of_place in _by_place(report, all_steps):
        if of_place[0].baseline in of_place[0].group.blind:
            remarks = "; ".join(filter(None, [*_apart(of_place), _though(of_place)]))
            text = f"{BLIND}{_silent(of_place)}{f' ({remarks})' if remarks else ''}"
            blind.setdefault(text, []).append(where)
        elif text := _smallest_gain(of_place):
            kind = seen if any(steps.least for steps in of_place) else weak
            kind.setdefault(text, []).append(where)
    for section, fraction in _lacking(report, groups):
        weak.setdefault(UNKNOWN, []).append((report.labels[section], "", fraction))
    waiting = {report.labels[s]: None for s in _without_planned_dose(report, groups)}
    undosed = [NO_DOSE] * bool(lines)
    if dosed:
        undosed = [f"{'; '.join(f'“{at}”' for at in waiting)}: {DOSES_WAIT}."] * bool(waiting)
    open_ = any(row.judged.verdict == UNCLEAR for group in groups for row in group.rows)
    controlled = any(row.ceiling and row.dose for row in report.protocol.rows.values())
    warnings = *((UNCONTROLLED,) if open_ and not controlled else ()), *_sentences(weak)
    units = tuple(dict.fromkeys(measured(report, s.group.metric) for s in all_steps))
    sentences = (*undosed, *_sentences(seen))
    detected = tuple(_detected(report, groups, controlled=bool(lines)))
    return Sensitivity(lines, _sentences(blind), warnings, sentences, detected, units)


def _detected(
    report: ReportContext, groups: Sequence[VerdictGroup], *, controlled: bool
) -> Iterator[str]:
    """Yield in one sentence the smallest differences that were planned to be detected, and those as measured.

    Nothing where nothing was planned and no control was run.
    """
    planned = report.protocol.detects
    form = "planned {}" if report.extras.registered else STATED
    parts = [form.format(planned)] * bool(planned)
    by_section: dict[int, list[str]] = {}
    for group in groups:
        if text := _least_detected(report, group):
            share = f"{text} at {group.fraction} %"
            by_section.setdefault(group.section, []).append(share)
    several = len(by_section) > 1
    by_measurement = [
        f"{f'“{report.labels[section]}” ' if several else ''}{', '.join(texts)} of the labels"
        for section, texts in by_section.items()
    ]
    parts += [f"measured {'; '.join(by_measurement)}"] * bool(by_measurement)
    if planned or (controlled and by_measurement):
        yield DETECTED.format("; ".join(parts))


def _least_detected(report: ReportContext, group: VerdictGroup) -> str:
    """Return what ``bench plan --detect`` would say with the noise as measured; "" where it is not known."""
    compared = [row.judged.comparison for row in group.rows]
    noise = noise_of(compared)
    if noise is None or all(row.judged.verdict == WEIGHTS for row in group.rows):
        return ""
    patients, runs = (int(median(getattr(c, n) for c in compared)) for n in ("patients", "units"))
    least = detectable(noise, patients, runs, len(group.rows) + group.waiting)
    unit = report.unit(group.metric)
    if not isfinite(least):
        return "no difference"
    return f"{100 * least:.1f} points" if unit == "1" else f"{number(least, unit)} {unit}"


def _without_planned_dose(report: ReportContext, groups: Sequence[VerdictGroup]) -> list[int]:
    """Return the sections for which the protocol plans doses of which none has run."""
    rows, sections_of = report.protocol.rows, report.protocol.sections_of
    doses = {name for name, row in rows.items() if row.ceiling and 0 < row.dose < 1}
    planned = {section for name in doses for section in sections_of(rows[name])}
    done = {g.section for g in groups for c in g.controls if c.key.row in doses}
    return sorted(planned & {group.section for group in groups} - done)


def measured(report: ReportContext, metric: str) -> str:
    """Return the metric of a table of differences, and their unit."""
    unit = report.unit(metric)
    return f"{metric_title(metric)}, {'percent points' if unit == '1' else unit}"


def _sentences(texts: Mapping[str, Sequence[Place]]) -> tuple[str, ...]:
    return tuple(f"{'; '.join(_places(where))}: {text}." for text, where in texts.items())


def _places(places: Sequence[Place]) -> Iterator[str]:
    """Yield each label with all its shares of the labels."""
    for label, against in dict.fromkeys(place[:2] for place in places):
        shares = [str(f) for f in dict.fromkeys(f for *at, f in places if at == [label, against])]
        yield f"“{label}”, {enumerated(shares)} % of the labels{against}"


def _by_place(
    report: ReportContext, every: Sequence[_Steps]
) -> Iterator[tuple[Place, list[_Steps]]]:
    """Yield the ceilings that are read against one row from scratch together, and where that is."""
    places: dict[tuple[int, int, str], list[_Steps]] = {}
    for steps in every:
        at = steps.group.section, steps.group.fraction, steps.baseline
        places.setdefault(at, []).append(steps)
    for (section, fraction, baseline), of_place in places.items():
        several = of_place[0].group.several
        against = f", against {report.quoted(baseline)}" if several else ""
        yield (report.labels[section], against, fraction), of_place


def ladders(report: ReportContext, groups: Sequence[VerdictGroup]) -> tuple[Ladder, ...]:
    """Return the dose curves to draw, one for each place and row from scratch with doses."""
    curves = []
    dosed = [steps for group in groups for steps in _steps(report, group) if steps.dosed]
    for where, of_place in _by_place(report, dosed):
        metric, region = of_place[0].group.metric, of_place[0].doses[0][1].region
        factor, unit = (100, "points") if report.unit(metric) == "1" else (1, report.unit(metric))
        lines = tuple((_named(report, steps), _points(steps, factor)) for steps in of_place)
        rope = round(factor * region.rope, 6) if region else 0.0
        axis = f"{metric_title(metric)} ({unit}) above scratch"
        curves.append(Ladder(title=next(_places([where])), axis=axis, rope=rope, lines=lines))
    return tuple(curves)


def _points(steps: _Steps, factor: int) -> tuple[Dose, ...]:
    return tuple(
        Dose(
            dose=dose,
            difference=round(factor * c.difference, 6),
            low=round(factor * c.low, 6),
            high=round(factor * c.high, 6),
            verdict=comparison.judged.verdict,
        )
        for dose, comparison in steps.doses
        if (c := comparison.judged.comparison).low == c.low
    )


def _steps(report: ReportContext, group: VerdictGroup) -> list[_Steps]:
    """Return the ceilings of a place with their doses: those of one pretraining together."""
    doses: dict[tuple[str, str], list[tuple[float, RowComparison]]] = {}
    order = [*report.protocol.rows]
    controls = [control for control in group.controls if control.key.row in order]
    for control in sorted(controls, key=lambda control: order.index(control.key.row)):
        row = report.protocol.rows[control.key.row]
        if row.ceiling and row.dose:  # a dose of 0 holds nothing of the ceiling
            key = (control.baseline, repr((row.network, row.method, row.params, row.finetune)))
            doses.setdefault(key, []).append((row.dose, control))
    return [
        _Steps(group, base, tuple(sorted(ladder, key=lambda pair: pair[0])))
        for (base, _), ladder in doses.items()
    ]


def _lacking(report: ReportContext, groups: Sequence[VerdictGroup]) -> list[tuple[int, int]]:
    """Return sections and fractions with rows beside scratch that lack the ceiling they should have."""
    ceilings = [row for row in report.protocol.rows.values() if row.ceiling and row.dose == 1]
    return [
        (group.section, group.fraction)
        for group in groups
        if any(group.section in report.protocol.sections_of(row) for row in ceilings)
        and not any(steps.ceiling for steps in _steps(report, group))
    ]


def _line(report: ReportContext, steps: _Steps) -> tuple[str, ...]:
    unit, top = report.unit(steps.group.metric), steps.ceiling
    p = top.judged.p if top else float("nan")
    return (
        _named(report, steps),
        f"{report.labels[steps.group.section]}, {steps.group.fraction} %",
        *_numbers(top, unit),
        p_value(p) if p == p else "",
        top.judged.verdict if top else "",
    )


def _dose_cells(report: ReportContext, steps: _Steps) -> tuple[str, ...]:
    least = steps.least
    dose = f"{least[0]:g}" if least else NOTHING if steps.dosed else ""
    return dose, *_numbers(least[1] if least else None, report.unit(steps.group.metric))


def _numbers(comparison: RowComparison | None, unit: str) -> tuple[str, str]:
    if comparison is None:
        return "", ""
    c = comparison.judged.comparison
    low, high = (difference(v, unit) for v in (c.low, c.high))
    return difference(c.difference, unit), f"{low} to {high}" if c.low == c.low else ""


def _named(report: ReportContext, steps: _Steps) -> str:
    return report.named((steps.ceiling or steps.doses[-1][1]).key.row)


def _smallest_gain(ladders: Sequence[_Steps]) -> str:
    """Say what was found of a place that is not blind."""
    doses = [pair for steps in ladders for pair in steps.doses if pair[0] < 1]
    seen = [steps.least for steps in ladders if steps.least]
    if not doses or not any(steps.ceiling for steps in ladders):
        return ""
    worse = sorted({dose for dose, row in doses if row.judged.verdict == WORSE})
    loses = f". Dose {worse[0]:g} is worse than scratch. {LOSES}" if worse else ""
    if not seen:
        return f"the ceiling is shown to be better than scratch, but no smaller dose is{loses}"
    least = min(dose for dose, _ in seen)
    missed = sorted({dose for dose, row in doses if row.judged.verdict != BETTER})
    above = [dose for dose in missed if dose > least]
    but = f", although dose {above[0]:g} is not shown to be better" if above else ""
    last = "" if missed and missed[0] < least else ". No smaller dose above 0 was tried"
    return f"the gain of dose {least:g} is detected{but}{loses or last}"


def _silent(ladders: Sequence[_Steps]) -> str:
    """Say of a blind place what its "not separable" means, if a row has this verdict."""
    verdicts = {row.judged.verdict for row in ladders[0].rows}
    return f", so '{UNCLEAR}' carries no information" if UNCLEAR in verdicts else ""


def _apart(ladders: Sequence[_Steps]) -> Iterator[str]:
    """Yield how many rows of a blind place differ from scratch all the same."""
    judged = [row.judged for row in ladders[0].rows]
    of_weights = [j.comparison.of_weights for j in judged if j.verdict == WEIGHTS]
    for verdicts, alone in (
        ([j.verdict for j in judged], ""),
        (of_weights, " on these weights alone"),
    ):
        n = sum(verdict in (BETTER, WORSE) for verdict in verdicts)
        if n:
            yield f"{counted(n, 'row')} {'differs' if n == 1 else 'differ'} from scratch{alone}"


def _though(ladders: Sequence[_Steps]) -> str:
    """Say of a blind place which doses are called better all the same, or that one seed says nothing."""
    seen = [steps.least[0] for steps in ladders if steps.least]
    if seen:
        return f"although dose {min(seen):g} is shown to be better"
    tops = [steps.ceiling for steps in ladders if steps.ceiling]
    alone = bool(tops) and all(comparison.judged.verdict == WEIGHTS for comparison in tops)
    return "the ceiling has one pretraining or one seed" if alone else ""
