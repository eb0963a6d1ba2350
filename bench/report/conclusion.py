"""Every row's difference from scratch: a sentence, a forest plot, a table of verdicts for each place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bench import stats
from bench.report.cells import Key
from bench.report.context import ReportContext
from bench.report.figures import dose_curves, forest
from bench.report.footnotes import counted
from bench.report.names import lower_is_better, metric_title
from bench.report.numbers import TIMES, difference, number
from bench.report.plots import Interval
from bench.report.redraw import Figure
from bench.report.sections import Part, Section, Text
from bench.report.sensitivity import CURVE, SHOWN, ladders
from bench.report.tabular import COUNTS, Line, Table, TableCell, grid, lines_of, with_lines
from bench.report.verdicts import BLIND, HEADING, Against, VerdictGroup, over_targets, run_seeds
from bench.stats.comparison import BETTER, EQUIVALENT, FEW, ROPE, UNCLEAR, WEIGHTS, WORSE
from bench.stats.equivalence import ENOUGH

SIGNS = {BETTER: "▲", WORSE: "▼", EQUIVALENT: "≈", UNCLEAR: "?", WEIGHTS: "·"}
HEAD = ("Row", "Difference", "95 % interval", "p, Holm", "Verdict", COUNTS)
CONTROLS = "Controls and other weights, a family of their own"
HOW = (
    "A difference is the mean over patients and runs of the paired difference from the row from scratch of "
    "the same network, section and fine-tuning, more being better; its 95 % interval takes patients as "
    "random, and seeds where there are several (two-way random effects, Satterthwaite). With few labels the "
    "seed also decides which patients are labelled. Runs: pretrainings, times the fine-tunings of each where "
    "there are several. "
)
FAMILY = (
    "Family: the {of}. Holm (1979) adjusts p, of "
    "differences (printed) and of equivalences each; intervals are not adjusted. Better and worse: p below "
    "0.05; equivalent: so is p of a difference beyond the region. "
)
NONE = "No p-values: they need at least two pretraining and two fine-tuning seeds. "
ALONE = (
    "Nothing is claimed: no row here shares patients and seeds with one from scratch of its own network and "
    "fine-tuning."
)
OF_THESE = "of these: "
WHERE = "docs/statistics.md has how often these verdicts err."


def sections(
    report: ReportContext, places: Sequence[VerdictGroup], text: str, figures: Sequence[Figure]
) -> list[Section]:
    """Return the answer of a report; none where there is nothing to say.

    Args:
        report: has names and units.
        places: what is compared with scratch.
        text: what ``sentence`` says of them.
        figures: the forest plot.
    """
    tables = verdict_tables(report, places)
    notes = [Text(_notes(report, places), "note")] if places else []
    parts: list[Part] = [Text(text, "sentence"), *figures, *tables, *notes]
    return [Section(HEADING, parts, "answer", "The answer", first=True)] if text else []


def sentence(report: ReportContext, places: Sequence[VerdictGroup], blind: Sequence[str]) -> str:
    """Return how many rows have which verdict, in a sentence; "" where nothing ran."""
    if not places:
        return ALONE if any(cell.mean is not None for cell in report.cells.cells.values()) else ""
    rows = [row for place in places for row in place.rows]
    alone = "" if rows else "Only controls are compared with scratch. "
    rows = rows or [row for place in places for row in place.controls]
    if all(row.judged.verdict == WEIGHTS for row in rows):
        text = (
            f"{alone}None of {counted(len(rows), 'comparison')} with scratch says anything about a method: "
            f"each rests on {_rests(rows)}. What is shown is of these weights only."
        )
    else:
        counts = [(v, sum(row.judged.verdict == v for row in rows)) for v in stats.VERDICTS]
        words = {BETTER: "better than scratch", EQUIVALENT: "equivalent to it"}
        each = ", ".join(f"{n} {words.get(v, v)}" for v, n in counts if n or v in (BETTER, WORSE))
        text = f"{alone}Of {counted(len(rows), 'comparison')}: {each}."
    return " ".join([text, *(reason[0].upper() + reason[1:] for reason in blind)])


def verdict_tables(report: ReportContext, places: Sequence[VerdictGroup]) -> list[Table]:
    """Return a table for each section and label fraction; p stands in it where any p was adjusted."""
    adjusted = any(row.judged.p == row.judged.p for p in places for row in (*p.rows, *p.controls))
    return [_verdict_table(report, place, adjusted) for place in places]


def _verdict_table(report: ReportContext, place: VerdictGroup, adjusted: bool) -> Table:
    unit = report.unit(place.metric)
    counts = ", ".join(f"{n} {verdict}" for verdict, n in place.counted().items())
    title = (
        f"{report.labels[place.section]}, {place.fraction} % of the labels{_trained(report, place)}"
    )
    what = f"{metric_title(place.metric)}, {'percent points' if unit == '1' else unit}"
    lower = lower_is_better(place.metric, unit)
    what += "; less is better, so a positive difference is less" if lower else ""
    left_out = [f"Left out: {'; '.join(place.aside)}."] if place.aside else []
    caption = " ".join(
        [f"{what}.", *_regions(report, place), *_reasons(report, place.rows), *left_out]
    )
    head = [h for h in HEAD if adjusted or h != "p, Holm"]
    table = grid(
        head, (), f"{title}: {counts}" if counts else title, caption, words=[head.index("Verdict")]
    )
    rows, controls = (
        [_line(report, row, unit, adjusted) for row in family]
        for family in (place.rows, place.controls)
    )
    return with_lines(table, ("", rows), (CONTROLS, controls))


def _line(report: ReportContext, row: Against, unit: str, adjusted: bool) -> Line:
    c, judged = row.judged.comparison, row.judged
    printed = "" if row.published is None else difference(row.published, unit)
    shown = difference(c.difference, unit)
    interval = f"{difference(c.low, unit)} to {difference(c.high, unit)}" if c.low == c.low else ""
    why = OF_THESE + _of_weights(c) if judged.verdict == WEIGHTS else reason(judged)
    cells: list[str | TableCell] = [
        TableCell(shown, published=printed, tip=_more(row, unit), sort=c.difference),
        interval,
        *([p_value(judged.p) if judged.p == judged.p else ""] if adjusted else []),
        TableCell(judged.verdict, gain=why, mark=judged.verdict.replace(" ", "-")),
        _n(c),
    ]
    (line,) = lines_of([[report.named(row.key.row), *cells]])
    return replace(line, row=row.key.row)


def _rests(some: Sequence[Against]) -> str:
    """Return what comparisons of weights rest on: ``one pretraining`` or ``one run``."""
    return " or ".join(
        sorted({one.judged.why.partition(":")[0].removesuffix(" each") for one in some})
    )


def _notes(report: ReportContext, places: Sequence[VerdictGroup]) -> str:
    """Return how the numbers came about, and which comparisons p is adjusted over."""
    rows = [row for place in places for row in (*place.rows, *place.controls)]
    sizes = sorted(
        {sum(row.judged.verdict != WEIGHTS for row in place.rows) for place in places} - {0}
    )
    many = " or ".join(map(str, sizes)) + f" comparison{'s' if sizes != [1] else ''}"
    within = "of one data set and label fraction"
    family = f"rows {within} ({many}), controls apart" if sizes else f"controls {within}"
    judged = any(row.judged.verdict != WEIGHTS for row in rows)
    return HOW + (FAMILY.format(of=family) if judged else NONE) + WHERE


def _regions(report: ReportContext, place: VerdictGroup) -> tuple[str, ...]:
    """Return how wide the region of equivalence is and why, a sentence each."""
    found: dict[str, dict[str, None]] = {}
    for one in (*place.rows, *place.controls):
        if one.region is not None:
            found.setdefault(_region(one.region), {})[report.named(one.baseline)] = None
    beside = {
        text: f" Beside {'; '.join(of)}." if len(found) > 1 else "" for text, of in found.items()
    }
    return tuple(f"Region of equivalence: {text}.{more}" for text, more in beside.items())


def _region(region: stats.Region) -> str:
    points = f"±{100 * region.rope:.2g} point{'' if region.rope == ROPE else 's'}"
    if region.itself != region.itself:
        has = counted(region.seeds, "seed")
        return f"{points}, assumed: scratch has {has}; from {ENOUGH} on it is how far scratch is from itself"
    itself = f"95 % of the ways to halve the {region.seeds} seeds of scratch differ by at most"
    if region.itself > ROPE:
        return (
            f"{points}, assumed: {itself} {100 * region.itself:.2g} points, too wide for a region"
        )
    return f"{points}: {itself} that"


def _reasons(report: ReportContext, rows: Sequence[Against]) -> tuple[str, ...]:
    """Return why verdicts are of no number, a sentence each, with the rows' names where others have one."""
    found: dict[str, list[str]] = {}
    for one in rows:
        if one.judged.why and one.judged.verdict == WEIGHTS:  # others stand on their line
            found.setdefault(one.judged.why, []).append(report.named(one.key.row))
    said = [
        why if len(of) == len(rows) else f"of {'; '.join(of)} {why}" for why, of in found.items()
    ]
    return tuple(f"{text[0].upper()}{text[1:]}." for text in said)


def _trained(report: ReportContext, place: VerdictGroup) -> str:
    """Return how many patients that is, in words; nothing where it is not known."""
    sizes = sorted({*report.cells.trained.get(place.section, {}).get(place.fraction, {}).values()})
    if not sizes:
        return ""
    many = f"{sizes[0]} to {sizes[-1]} patients" if len(sizes) > 1 else counted(sizes[0], "patient")
    return f" ({many})"


def forest_figures(report: ReportContext, places: Sequence[VerdictGroup]) -> list[Figure]:
    """Return the forest plot as a figure for print: of the places that have the first one's metric."""
    here = [place for place in places if place.metric == places[0].metric]
    if not here:
        return []
    metric, unit = here[0].metric, report.unit(here[0].metric)
    factor = 100 if unit == "1" else 1
    rows = tuple(
        Interval(
            title=report.named(one.key.row),
            group=f"{report.labels[place.section]}, {place.fraction} %{of}",
            difference=round(factor * one.difference, 6),
            low=round(factor * c.low, 6),
            high=round(factor * c.high, 6),
            verdict=one.judged.verdict,
            text=f"{difference(c.difference, unit)}  [{difference(c.low, unit)}, {difference(c.high, unit)}]",
            verdict_text=one.judged.verdict + _briefly(one.judged),
            published=None if one.published is None else round(factor * one.published, 6),
            rope=round(factor * one.region.rope, 6) if one.region else 0.0,
        )
        for place in here
        for of, family in (("", place.rows), (": controls", place.controls))
        for one in family
        if (c := one.judged.comparison).low == c.low
    )
    axis = f"{metric_title(metric)} ({'points' if unit == '1' else unit}) against scratch"
    return [forest(rows, axis)] if rows else []


def dose_figures(report: ReportContext, places: Sequence[VerdictGroup]) -> list[Figure]:
    """Return the dose curves as a figure, where a place has positive controls."""
    found = ladders(report, places)
    return [dose_curves(found, CURVE, SHOWN)] if found else []


def _of_weights(c: stats.Comparison) -> str:
    """Return what these weights alone would be called, and why it is another than the interval suggests."""
    if c.of_weights != UNCLEAR or c.low <= 0 <= c.high or c.low != c.low:
        return c.of_weights
    few = FEW.format(n=c.patients, p=c.smallest_p)
    return f"{c.of_weights} ({few if c.smallest_p > c.alpha else f'p {p_value(c.p)}'})"


def _briefly(judged: stats.Judged) -> str:
    """Return ``reason`` in a word or two, for a figure."""
    if BLIND in judged.why:
        return " (blind)"
    return "" if not reason(judged) else " (too few patients)" if judged.why else " (after Holm)"


def interval(report: ReportContext, key: Key) -> str:
    """Return the 95 % interval of a cell's own mean in words, patients and runs being random; "" for none."""
    scores = report.cells.scores(key)
    if scores is None:
        return ""
    values, (clusters, seeds) = (
        over_targets(scores.values),
        run_seeds(report, key.row, key.row, scores.runs),
    )
    c = (
        stats.compared(values, clusters, None, seeds=seeds, flips=False)
        if (values == values).any()
        else None
    )
    if c is None or c.low != c.low:
        return ""
    unit = report.unit(key.metric)
    of = "" if c.verdict != WEIGHTS else " of these weights"
    return f"95 % interval{of} {number(c.low, unit)} to {number(c.high, unit)}"


def p_value(p: float) -> str:
    """Return a p as print has it."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def _n(c: stats.Comparison) -> str:
    of = f"{c.pretrainings} {TIMES} " if c.seeds > 1 else ""
    return f"{of}{c.seeds if of else c.pretrainings} {TIMES} {c.patients}"


def reason(judged: stats.Judged) -> str:
    """Return why a verdict is another than its interval suggests; "" where it is not."""
    c = judged.comparison
    if judged.verdict != UNCLEAR:
        return ""
    if judged.why:
        return judged.why
    return f"p after Holm is {p_value(judged.p)}" if c.low > 0 or c.high < 0 else ""


def _more(one: Against, unit: str) -> str:
    """Return all that is known of a comparison, and what would settle it."""
    c = one.judged.comparison
    noun = "run" if c.seeds == 1 else "pretraining"
    of = f" of {counted(c.seeds, 'fine-tuning')}" if c.seeds > 1 else ""
    said = [f"{counted(c.patients, 'patient')}, {counted(c.pretrainings, noun)}{of}"]
    if c.sd_run == c.sd_run:
        sds = [number(v, unit) for v in (c.sd_patient, c.sd_run, c.sd_residual)]
        said.append(f"standard deviations: patients {sds[0]}, runs {sds[1]}, rest {sds[2]}")
    said.append(
        f"crossed bootstrap {difference(one.check[0], unit)} to {difference(one.check[1], unit)}"
    )
    if one.judged.verdict == WEIGHTS:
        said.append(
            f"of these weights: {c.of_weights}; do they differ? sign-flip p {p_value(one.flips)}"
        )
    if c.detectable == c.detectable:
        least = number(c.detectable, unit)
        said.append(
            f"a difference of {least} would be seen in four of five such studies if asked alone"
        )
    said += [settles(one)] if settles(one) else []
    return "; ".join(said) + "."


def settles(one: Against) -> str:
    """Say what would tell such a difference from none: seeds first, then patients."""
    c = one.judged.comparison
    if one.judged.verdict == WEIGHTS:
        what = (
            "another fine-tuning seed"
            if c.pretrainings > 1 and c.seeds == 1
            else "another pretraining seed"
        )
        return f"what would say more: {what}"
    if {one.judged.verdict, c.verdict} != {UNCLEAR} or c.sd_run != c.sd_run:
        return ""  # told already, or would be if asked alone: more seeds are not what lacks
    noun = "pretraining" if c.seeds > 1 else "run"
    units, patients = c.needed("units", 50), c.needed("patients", 2000)
    said = [f"{counted(units, noun)}" if units else f"no number of {noun}s up to 50"]
    said += [f"or {counted(patients, 'patient')}"] if patients and patients > c.patients else []
    tail = "" if patients else "; more patients alone would not"
    return f"what may tell, asked alone: {' '.join(said)}{tail}"
