"""Every row's difference from scratch: a sentence, a forest plot, a table of verdicts for each place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby

from bench import stats
from bench.protocol import from_scratch, row_of
from bench.protocol.sections import Group
from bench.report.cells import Key
from bench.report.context import ReportContext
from bench.report.figures import dose_curves, forest
from bench.report.footnotes import counted
from bench.report.names import lower_is_better, metric_title
from bench.report.numbers import TIMES, difference, number, p_value
from bench.report.plots import Interval, in_print, line_of
from bench.report.redraw import Figure
from bench.report.scores import mean_of
from bench.report.sections import Part, Section, Text
from bench.report.sensitivity import APART, CURVE, SHOWN, ladders, measured
from bench.report.tabular import COUNTS, Line, Table, TableCell, grid, lines_of, with_lines
from bench.report.verdicts import (
    BLIND,
    HEADING,
    UNLEARNED,
    RowComparison,
    VerdictGroup,
    run_seeds,
    uncompared,
)
from bench.stats.comparison import BETTER, EQUIVALENT, FEW, ROPE, UNCLEAR, WEIGHTS, WORSE
from bench.stats.equivalence import ENOUGH
from bench.stats.power import fewest_patients

SIGNS = {BETTER: "▲", WORSE: "▼", EQUIVALENT: "≈", UNCLEAR: "?", WEIGHTS: "·"}
ADJUSTED, PRETRAININGS = "p, Holm", "Pretrainings"  # columns of some tables alone
HEAD = ("Row", "Difference", "95 % interval", "Verdict", ADJUSTED, PRETRAININGS, COUNTS)
CONTROLS = "Controls, and rows with other initial weights"
HOW = (
    "Difference: the row minus scratch with the same network, section and fine-tuning, paired by "
    "patient and run, then averaged over patients and runs. Positive is better. The 95 % interval covers "
    "the variation between patients and, with several seeds, between seeds (two-way random effects, "
    "Satterthwaite). With few labels the seed also decides which patients are labelled. "
)
FAMILY = (
    "The printed p tests whether the row differs from scratch. It is adjusted by Holm (1979) over the {of}. "
    "Intervals are not adjusted for multiple comparisons. A row is called equivalent if an equivalence test "
    "rejects every difference beyond the limit; the p of this test is adjusted in the same way and must be below "
    "0.05. Any other row is called better or worse if its printed p is below 0.05. "
)
IN_BRACKETS = "in brackets: the verdict on these weights alone"
UNADJUSTED = f"{IN_BRACKETS}, which is not adjusted for the number of rows"
NONE = "There is no p-value for a method: it needs at least two pretraining seeds and two fine-tuning seeds. "
ALONE = (
    "Nothing is compared. A comparison needs a row from scratch with the same network, fine-tuning, "
    "patients and seeds."
)
SCRATCH_ALONE = "Every row is trained from scratch, so no pretraining is compared."
WHERE = "Error rates of these verdicts: docs/statistics.md."
SEEDS, PAIRED = "--set finetune.seeds=[0,1,2] ", "--set pretrain.seeds=paired"


def sections(
    report: ReportContext, groups: Sequence[VerdictGroup], summary: Text, figures: Sequence[Figure]
) -> list[Section]:
    """Return the answer of a report; none where there is nothing to say."""
    tables = verdict_tables(report, groups)
    notes = [Text(how(groups), "note")] if groups else []
    parts: list[Part] = [summary, *figures, *tables, *notes]
    return [Section(HEADING, parts, "answer", "The answer", first=True)] if summary.text else []


def sentence(report: ReportContext, groups: Sequence[VerdictGroup]) -> Text:
    """Return how many rows have which verdict, in a sentence; "" where nothing ran or one row is all there is."""
    if not groups:
        scored = any(cell.mean is not None for cell in report.cells.cells.values())
        declared = report.protocol.rows
        fresh = all(from_scratch(row) for row in declared.values())
        why = SCRATCH_ALONE if fresh else ALONE
        why = f"Nothing is compared, because {UNLEARNED}." if any(uncompared(report)) else why
        return Text(why if scored and len(declared) > 1 else "", "sentence")
    rows = [row for group in groups for row in group.rows]
    alone = "" if rows else "Only controls are compared. "
    rows = rows or [row for group in groups for row in group.controls]
    if all(row.judged.verdict == WEIGHTS for row in rows):
        step = next_step(report, rows)
        text = f"{alone}No conclusion about the methods: {_every(len(rows))} with scratch rests on "
        return Text(f"{text}{_rests(rows)}. {step.text}", "sentence", step.command)
    counts = [(v, sum(row.judged.verdict == v for row in rows)) for v in stats.VERDICTS]
    each = ", ".join(f"{n} {v}" for v, n in counts if n or v in (BETTER, WORSE))
    more = f"{_repeated(groups)}{_too_few(rows)}"
    text = f"{alone}{counted(len(rows), 'comparison')} with scratch: {each}.{more}"
    return Text(text, "sentence")


def _repeated(groups: Sequence[VerdictGroup]) -> str:
    """Say how many comparisons are those of another section once more: rows that chose its settings."""
    earlier: dict[tuple[str, int, str], list[RowComparison]] = {}
    again = 0
    for row in (row for group in groups for row in group.rows):
        same = earlier.setdefault((row.key.row, row.key.fraction, row.key.metric), [])
        again += any(map(row.repeats, same))
        same.append(row)
    verb = "repeats" if again == 1 else "repeat"
    return f" {again} of these {verb} the runs of another section." * bool(again)


def _too_few(rows: Sequence[RowComparison]) -> str:
    """Say that nothing could be called better or worse with so few patients; "" where something could."""
    compared = [row.judged.comparison for row in rows]
    if not all(c.smallest_p > c.alpha for c in compared):
        return ""
    *few, most = sorted({c.patients for c in compared})
    patients = " or ".join([*map(str, few), counted(most, "patient")])
    return f" With {patients} no row can be called better or worse."


def _every(comparisons: int) -> str:
    return "the comparison" if comparisons == 1 else f"each of the {comparisons:,} comparisons"


def next_step(report: ReportContext, rows: Sequence[RowComparison]) -> Text:
    """Return what to run so that something can be said of methods, not of one set of weights each."""
    if report.protocol.scale == "smoke":
        scale = "pilot" if "pilot" in report.protocol.scales else "paper"
        command = f"bench run ... --scale {scale}"
        return Text(f"Next step: run it at {scale} scale.", command=command)
    declared = {row.key.row: row_of(report.protocol, row.key.row)[0] for row in rows}
    here = [row for row in rows if not ((spec := declared[row.key.row]) and spec.init)]
    if not here:
        return Text("Next step: add weights of other pretrainings, each as a row of its own.")
    seeds = "" if all(row.judged.comparison.seeds > 1 for row in here) else SEEDS
    return Text("Next step: add seeds.", command=f"bench run ... {seeds}{PAIRED}")


def verdict_tables(report: ReportContext, groups: Sequence[VerdictGroup]) -> list[Table]:
    """Return a table for each section and label fraction; p stands in it where any p was adjusted."""
    rows = [row for p in groups for row in (*p.rows, *p.controls)]
    adjusted = any(row.judged.p == row.judged.p for row in rows)
    several = any(row.judged.comparison.seeds > 1 for row in rows)
    shown = {h for h in HEAD if (adjusted or h != ADJUSTED) and (several or h != PRETRAININGS)}
    return [_verdict_table(report, group, shown) for group in groups]


def _verdict_table(report: ReportContext, group: VerdictGroup, shown: set[str]) -> Table:
    unit = report.unit(group.metric)
    counts = ", ".join(f"{n} {verdict}" for verdict, n in group.counted().items())
    title = (
        f"{report.labels[group.section]}, {group.fraction} % of the labels{trained(report, group)}"
    )
    what = measured(report, group.metric)
    lower = lower_is_better(group.metric, unit)
    what += "; lower is better, so a positive difference means a lower value" if lower else ""
    left_out = [f"Left out: {'; '.join(group.aside)}."] if group.aside else []
    caption = " ".join(
        [f"{what}.", *_regions(report, group), *_reasons(report, group.rows), *left_out]
    )
    head = [h for h in HEAD if h in shown]
    title += f". Verdicts: {counts}" if counts else ""
    table = grid(head, (), title, caption, words=[head.index("Verdict")])
    lines = (
        (heading, [_line(name, row, unit, shown) for name, row in family])
        for heading, family in _families(report, group)
    )
    return with_lines(table, *lines)


def _families(
    report: ReportContext, group: VerdictGroup
) -> Iterator[tuple[str, Iterable[tuple[str, RowComparison]]]]:
    """Yield rows and their names that are read against one row from scratch, under its name if there are several."""
    for against, rows in groupby(group.rows, partial(group.against, report)):
        yield against[:1].upper() + against[1:], [(group.name(report, row), row) for row in rows]
    yield CONTROLS, [(report.named(row.key.row), row) for row in group.controls]


def _line(name: str, row: RowComparison, unit: str, heads: set[str]) -> Line:
    c, judged = row.judged.comparison, row.judged
    printed = "" if row.published is None else difference(row.published, unit)
    shown = difference(c.difference, unit)
    interval = f"{difference(c.low, unit)} to {difference(c.high, unit)}" if c.low == c.low else ""
    why = weights_verdict(c) if judged.verdict == WEIGHTS else reason(judged)
    if judged.verdict == EQUIVALENT:  # the p beside it is of no difference
        why = f"p of equivalence {p_value(judged.p_equivalent)}"
        if judged.p < c.alpha:
            why += f"; {_small(c)} is shown"
    cells: list[str | TableCell] = [
        TableCell(shown, published=printed, tip=_more(row, unit), sort=c.difference),
        interval,
        TableCell(judged.verdict, gain=why, mark=judged.verdict.replace(" ", "-")),
        *([p_value(judged.p) if judged.p == judged.p else ""] if ADJUSTED in heads else []),
        *([str(c.pretrainings) if c.seeds > 1 else ""] if PRETRAININGS in heads else []),
        count_of(c),
    ]
    (line,) = lines_of([[name, *cells]])
    return replace(line, row=row.key.row)


def _small(c: stats.Comparison) -> str:
    return f"a small {'gain' if c.difference > 0 else 'loss'}"


def _rests(rows: Sequence[RowComparison]) -> str:
    """Return what comparisons of weights rest on: ``one pretraining`` or ``one run``."""
    return " or ".join(
        sorted({row.judged.why.partition(":")[0].removesuffix(" each") for row in rows})
    )


def how(groups: Sequence[VerdictGroup]) -> str:
    """Return how the numbers came about, and which comparisons p is adjusted over."""
    rows = [row for group in groups for row in (*group.rows, *group.controls)]
    sizes = sorted({row.judged.family for group in groups for row in group.rows} - {0})
    many = " or ".join(map(str, sizes)) + f" comparison{'s' if sizes != [1] else ''}"
    family = f"{'rows' if sizes else 'controls'} of one section and label fraction"
    if sizes:
        apart = sorted({row.judged.family for group in groups for row in group.controls} - {0})
        family += f" ({many}); controls are adjusted separately"
        family += f" ({' or '.join(map(str, apart))})" if apart else ""
    if any(group.waiting for group in groups):
        family += "; what has not run yet counts as p = 1"
    if any(row.judged.p == row.judged.p for row in rows):
        return HOW + FAMILY.format(of=family) + WHERE
    return HOW + NONE * all(row.judged.verdict == WEIGHTS for row in rows) + WHERE


def _regions(report: ReportContext, group: VerdictGroup) -> Iterator[str]:
    """Yield how wide the region of equivalence is and why, a sentence for each way it came about."""
    ways: dict[tuple[str, str], dict[str, dict[str, None]]] = {}
    for row in (*group.rows, *group.controls):
        if row.region is not None:
            # of probes with all labels only encoders vary, and those of other rows are other ones
            probed = report.protocol.finetune[group.section].evaluation == "probe"
            shared = not (probed and group.fraction == 100)
            before, figure, after = _region(row.region, shared)
            figures = ways.setdefault((before, after), {})
            figures.setdefault(figure, {})[report.named(row.baseline)] = None
    several = sum(map(len, ways.values())) > 1
    for (before, after), figures in ways.items():
        of = [f"{it} ({'; '.join(rows)})" if several else it for it, rows in figures.items()]
        yield f"{before} {' or '.join(of)}{after}."


def _region(region: stats.Region, shared: bool = True) -> tuple[str, str, str]:
    """Return the sentence in three: before its figure, the figure of one scratch, and after it."""
    points = f"±{100 * region.rope:.2g} point{'' if region.rope == ROPE else 's'}"
    limit = f"Equivalent: within {points} of scratch. This limit is"
    if region.itself != region.itself:
        needs = f" here, and a measured limit needs at least {ENOUGH}"
        return f"{limit} assumed: scratch has", counted(region.seeds, "seed"), needs
    halves = f"in 95 % of splits of scratch's {region.seeds} seeds into halves, the halves differ by at most"
    if region.itself > ROPE:
        apart = 100 * region.itself  # never printed as the 1 that it is larger than
        printed = f"{apart:.2g}" if apart >= 1.05 else f"{max(apart, 1.01):.2f}"
        cancels = ". But a row is compared with scratch seed by seed, so the variation that both share cancels"
        widest = f"{limit} the widest that is used. Scratch alone varies more: {halves}"
        return widest, f"{printed} points", cancels if shared else ""
    return f"{limit} measured: {halves}", "this limit", ""


def _reasons(report: ReportContext, rows: Sequence[RowComparison]) -> tuple[str, ...]:
    """Return why verdicts are of no number, a sentence each, with the rows' names where others have one."""
    reasons: dict[str, list[str]] = {}
    for row in rows:
        if row.judged.why and row.judged.verdict == WEIGHTS:  # others stand on their line
            reasons.setdefault(row.judged.why, []).append(report.named(row.key.row))
    texts = [
        why if len(of) == len(rows) else f"{why} (for {'; '.join(of)})"
        for why, of in reasons.items()
    ]
    texts = [UNADJUSTED if len(rows) > 1 else IN_BRACKETS, *texts] if texts else []
    return tuple(f"{text[0].upper()}{text[1:]}." for text in texts)


def trained(report: ReportContext, group: VerdictGroup) -> str:
    """Return how many patients that is, in words; nothing where it is not known."""
    sizes = sorted({*report.cells.trained.get(group.section, {}).get(group.fraction, {}).values()})
    if not sizes:
        return ""
    many = f"{sizes[0]} to {sizes[-1]} patients" if len(sizes) > 1 else counted(sizes[0], "patient")
    return f" ({many})"


def forest_figures(report: ReportContext, groups: Sequence[VerdictGroup]) -> list[Figure]:
    """Return the forest plot as a figure for print: of the places that have the first one's metric."""
    shown = [group for group in groups if group.metric == groups[0].metric]
    if not shown:
        return []
    rows = tuple(
        _interval_of(report, group, row, of)
        for group in shown
        for of, family in (("", group.rows), (": controls", group.controls))
        for row in family
        if row.judged.comparison.low == row.judged.comparison.low
    )
    metric, unit = shown[0].metric, report.unit(shown[0].metric)
    axis = f"{metric_title(metric)} ({'points' if unit == '1' else unit}) against scratch"
    return [forest(rows, axis)] if rows else []


def _interval_of(
    report: ReportContext, group: VerdictGroup, row: RowComparison, of: str
) -> Interval:
    unit, against = report.unit(group.metric), group.against(report, row)
    place = f"{report.labels[group.section]}, {group.fraction} %{against and f', {against}'}{of}"
    line = line_of(
        (group.name(report, row), place),
        (row.judged.verdict, row.judged.verdict + _briefly(row.judged)),
        row.judged.comparison,
        unit,
        row.region.rope if row.region else 0.0,
    )
    published = None if row.published is None else in_print(row.published, unit)
    return replace(line, published=published)


def dose_figures(report: ReportContext, groups: Sequence[VerdictGroup]) -> list[Figure]:
    """Return the dose curves as a figure, where a place has positive controls."""
    curves = ladders(report, groups)
    apart = APART if any(target.loaded != Group() for target in report.protocol.finetune) else ""
    return [dose_curves(curves, CURVE, SHOWN + apart)] if curves else []


def weights_verdict(c: stats.Comparison) -> str:
    """Return what these weights alone would be called, and why it is another than the interval suggests."""
    if c.low <= 0 <= c.high or c.low != c.low:
        return c.of_weights
    if c.of_weights == EQUIVALENT and c.p < c.alpha:
        return f"{c.of_weights}, {_small(c)}"
    if c.of_weights != UNCLEAR:
        return c.of_weights
    few = FEW.format(n=c.patients, p=c.smallest_p)
    return f"{c.of_weights}, {few if c.smallest_p > c.alpha else f'p {p_value(c.p)}'}"


def _briefly(judged: stats.Judged) -> str:
    """Return ``reason`` in a word or two, for a figure."""
    if BLIND in judged.why:
        return " (blind)"
    if judged.verdict == UNCLEAR and not judged.why and judged.comparison.verdict == EQUIVALENT:
        return " (equivalent before Holm)"
    return "" if not reason(judged) else " (too few patients)" if judged.why else " (after Holm)"


def interval(report: ReportContext, key: Key) -> str:
    """Return the 95 % interval of a cell's own mean in words, patients and runs being random; "" for none."""
    scores = report.cells.scores(key)
    if scores is None:
        return ""
    values = mean_of(scores.values, 2)
    clusters, seeds = run_seeds(report, key.row, key.row, scores.runs)
    c = None
    if (values == values).any():
        c = stats.compared(values, clusters, None, seeds=seeds, flips=False)
    if c is None or c.low != c.low:
        return ""
    unit = report.unit(key.metric)
    of = "" if c.verdict != WEIGHTS else " of these weights"
    return f"95 % interval{of} {number(c.low, unit)} to {number(c.high, unit)}"


def count_of(c: stats.Comparison) -> str:
    """Return how many runs and patients a comparison is of, in print."""
    return f"{c.runs} {TIMES} {c.patients}"


def reason(judged: stats.Judged) -> str:
    """Return why a verdict is another than its interval suggests; "" where it is not."""
    c = judged.comparison
    if judged.verdict != UNCLEAR:
        return ""
    if judged.why:
        return judged.why
    if c.verdict == EQUIVALENT:
        return f"p of equivalence after Holm is {p_value(judged.p_equivalent)}"
    return f"p after Holm is {p_value(judged.p)}" if c.low > 0 or c.high < 0 else ""


def _more(row: RowComparison, unit: str) -> str:
    """Return all that is known of a comparison, and what would settle it."""
    c = row.judged.comparison
    noun = "run" if c.seeds == 1 else "pretraining"
    each = " each" if c.pretrainings > 1 else ""
    of = f" with {counted(c.seeds, 'fine-tuning')}{each}" if c.seeds > 1 else ""
    of += f", of which {c.runs} runs have scores" if c.runs < c.pretrainings * c.seeds else ""
    facts = [f"{counted(c.pretrainings, noun)}{of}, {counted(c.patients, 'patient')}"]
    if c.sd_run == c.sd_run:
        sds = [number(v, unit) for v in (c.sd_patient, c.sd_run, c.sd_residual)]
        facts.append(
            f"standard deviation between patients {sds[0]}, between runs {sds[1]}, residual {sds[2]}"
        )
    facts.append(
        f"interval by crossed bootstrap {difference(row.check[0], unit)} to {difference(row.check[1], unit)}"
    )
    if row.judged.verdict == WEIGHTS:
        facts.append(
            f"verdict on these weights alone: {c.of_weights}, sign-flip p {p_value(row.flips)}"
        )
    if c.detectable == c.detectable:
        least = number(c.detectable, unit)
        facts.append(f"a single comparison detects a difference of {least} with 80 % power")
    facts += [settles(row)] if settles(row) else []
    return "; ".join(facts) + "."


def settles(row: RowComparison) -> str:
    """Say what would tell such a difference from none: seeds first, then patients."""
    c = row.judged.comparison
    if row.judged.verdict == WEIGHTS:
        what = "another pretraining seed"
        if c.pretrainings > 1 and c.seeds == 1:
            what = "another fine-tuning seed"
        return f"to say more, add {what}"
    if c.smallest_p > c.alpha:
        return f"to say more, test {fewest_patients()} patients or more"
    if {row.judged.verdict, c.verdict} != {UNCLEAR} or c.sd_run != c.sd_run:
        return ""  # told already, or would be if asked alone: more seeds are not what lacks
    noun = "pretraining" if c.seeds > 1 else "run"
    units, patients = c.needed("units", 50), c.needed("patients", 2000)
    enough = [counted(units, noun)] if units else []
    enough += [counted(patients, "patient")] if patients and patients > c.patients else []
    parts = [f"{' or '.join(enough)} may be enough"] if enough else []
    parts += [] if units else [f"up to 50 {noun}s are not enough"]
    parts += [] if patients else ["more patients alone are not enough"]
    return f"to settle a single comparison, {'; '.join(parts)}"
