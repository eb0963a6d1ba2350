"""What stands over and under a table, in words."""

from __future__ import annotations

import re
from collections.abc import Sequence

from bench.errors import enumerated
from bench.protocol import row_of
from bench.report.cells import MEAN
from bench.report.context import ReportContext
from bench.report.headings import networks
from bench.report.names import is_ranked, lower_is_better, metric_title, zero_is_best
from bench.report.pivot import TABLES, Pivot, word
from bench.report.published import DAGGER, dagger
from bench.report.row_columns import sentences
from bench.report.tabular import COUNTS, TableCell

TWO_LINES = 230  # characters of a caption on a page 1400 px wide
SENTENCE_END = re.compile(r"(?<=[.])(?<!al\.) (?=[A-Z])")
SHARES = "by share of training patients with labels"
SAME = "the same patients, seeds and targets"
SIGNED = "0 is best; not ranked, because positive and negative values cancel"
EQUAL_DRAWS = "± 0.00: with all labels every draw has the same patients, so all runs of such a row are one probe."
QUOTED = "Rows in italics were not run here; their numbers are the paper's."


def title(report: ReportContext, pivot: Pivot) -> str:
    """Return the view's title and what tells its tables apart; without one, what all cells share."""
    view = pivot.view
    if view.title:
        return ", ".join([view.title, *(_axis_value(report, pivot, axis) for axis in pivot.apart)])
    means = ["target"] if pivot.values("target") == [MEAN] else []
    shared = [axis for axis in TABLES if axis not in (*_headed(pivot), *means)]
    shares = [SHARES] if view.columns[-1:] == ("fraction",) else []
    return ", ".join([*(_axis_value(report, pivot, axis) for axis in shared), *shares])


def _headed(pivot: Pivot) -> set[str]:
    """Return the axes that headings of lines or columns are of."""
    view = pivot.view
    return {side[i] for side in (view.lines, view.columns) for i in pivot.shown(side)}


def _axis_value(report: ReportContext, pivot: Pivot, axis: str) -> str:
    return word(report, axis, pivot.values(axis)[0], alone=False)


def caption(
    report: ReportContext, pivot: Pivot, entries: Sequence[TableCell], n: Sequence[str]
) -> str:
    """Return what stands under a table.

    Args:
        report: knows units and names.
        pivot: the table.
        entries: what is in it.
        n: the counts that are printed beside or below them.
    """
    view, metrics = pivot.view, pivot.values("metric")
    spread = " ± standard deviation over runs" if any(e.sd for e in entries) else ""
    one, marked = len(metrics) == 1, any(e.mark for e in entries)
    texts = [_of_one(report, metrics[0], spread) if one else _of_many(report, metrics, spread)]
    texts += [*_shared(report, pivot), *_part(report, pivot)]
    texts.append(counted(n, "probes" if report.cells.probed else "fine-tunings"))
    texts += [_marks(pivot)] if marked else []
    if any(e.gain for e in entries):
        named = f"row {report.named(view.gain)!r}"
        over = "scratch of the same network" if view.gain == "baseline" else named
        texts.append(f"In brackets: the gain over {over}, on {SAME}.")
    texts += [dagger()] if any(DAGGER in f"{e.published}{e.mean}" for e in entries) else []
    texts += [_compared(report, pivot)] if marked else []
    texts += [EQUAL_DRAWS] if any(_draws_are_equal(report, e) for e in entries) else []
    texts += sentences(view, entries)
    texts += [QUOTED] if any(e.quoted for e in entries) else []
    return " ".join([*texts, *same_patients(report, pivot)])


def _part(report: ReportContext, pivot: Pivot) -> list[str]:
    """Return a sentence for each section whose mean is over fewer structures than that of another one in print."""
    if pivot.values("target") != [MEAN]:
        return []
    of = {section: report.targets(section) for section in pivot.values("section")}
    labels: dict[tuple[str, ...], list[str]] = {}
    for section, targets in of.items():
        if any({*targets} < {*others} for others in of.values()):
            labels.setdefault(targets, []).append(f"“{report.labels[section]}”")
    return [
        f"{enumerated(named)}: only {enumerated(targets)}, so do not compare these numbers with the others."
        for targets, named in labels.items()
    ]


def _shared(report: ReportContext, pivot: Pivot) -> list[str]:
    """Return in a sentence which label fraction and network all numbers share, where nothing above says so."""
    fractions, (first, *others) = pivot.values("fraction"), networks(report, pivot.rows)
    share = f"{fractions[0]} %"
    stated = "fraction" in _headed(pivot) or share in title(report, pivot)
    several = len(fractions) > 1 or fractions == [100]
    facts = [] if stated or several else [f"with {share} of the labels"]
    if not others and len(networks(report, report.protocol.rows)) > 1:
        facts.append(f"on network {first!r}")
    return [f"All numbers are {' and '.join(facts)}."] if facts else []


def _draws_are_equal(report: ReportContext, cell: TableCell) -> bool:
    key = cell.key
    if key is None or key.fraction != 100 or not cell.sd or float(cell.sd) != 0:
        return False
    return report.protocol.finetune[key.section].evaluation == "probe"


def _of_one(report: ReportContext, metric: str, spread: str) -> str:
    unit = report.unit(metric)
    what = f"{metric_title(metric)} in {_unit(unit)}, mean{spread}"
    return f"{what}; {_way(metric, unit)}."


def _of_many(report: ReportContext, metrics: Sequence[str], spread: str) -> str:
    sentences = []
    for metric in metrics:
        unit = report.unit(metric)
        sentences.append(f"{metric_title(metric)} in {_unit(unit)}, {_way(metric, unit)}")
    return f"{'; '.join(sentences)}. Mean{spread}."


def _way(metric: str, unit: str) -> str:
    if zero_is_best(metric):
        return SIGNED
    if not is_ranked(metric):
        return "not ranked"
    return f"{'lower' if lower_is_better(metric, unit) else 'higher'} is better"


def _unit(unit: str) -> str:
    return "percent" if unit == "1" else unit


def _marks(pivot: Pivot) -> str:
    """Return what bold and underlined mean."""
    view = pivot.view
    side = view.lines if "row" in view.lines else view.columns
    nested = " of each block" if len(pivot.shown(side)) > 1 else ""
    where = f"{'column' if side is view.lines else 'line'}{nested}"
    return f"Bold: best row of each network in each {where}; underlined: second best."


def _compared(report: ReportContext, pivot: Pivot) -> str:
    """Return which rows the marks compare."""
    kinds = dict.fromkeys(
        row_of(report.protocol, row)[1].strip(" ()")
        or ("ceiling" if report.protocol.rows[row].dose == 1 else "doses")
        for row in pivot.rows
        if report.is_control(row) and not row.endswith("(last)")
    )
    last = any(row.endswith("(last)") for row in pivot.rows)
    left_out = " and ".join(
        [f"controls ({', '.join(kinds)})"] * bool(kinds) + ["rows (last)"] * last
    )
    besides = f"; {left_out} are left out" if left_out else ""
    return (
        "Bold and underlining compare the printed (rounded) numbers of rows with the same fine-tuning on "
        f"{SAME}{besides}. For significance see the verdicts."
    )


def counted(n: Sequence[str], runs: str) -> str:
    """Return what the counts beside a table's lines, or below its columns, are of."""
    cases = "; test cases in brackets" if any("(" in count for count in n) else ""
    return f"{COUNTS}: how many {runs} and test patients each number comes from{cases}."


def folded(caption: str, most: int = TWO_LINES) -> tuple[str, str]:
    """Return the sentences of a caption that fit two lines, at least the first, and the others."""
    sentences = SENTENCE_END.split(caption.strip())
    count = 1
    while count < len(sentences) and len(" ".join(sentences[: count + 1])) <= most:
        count += 1
    return " ".join(sentences[:count]), " ".join(sentences[count:])


def same_patients(report: ReportContext, pivot: Pivot) -> list[str]:
    """Return a sentence for each pair of label fractions in print that mean the same patients."""
    sentences = []
    printed = {(point.section, point.fraction) for point in pivot.points.values()}
    for section in pivot.values("section"):
        for fractions, n in report.cells.alike(section):
            if any((section, fraction) in printed for fraction in fractions):
                which = " and ".join(f"{f} %" for f in fractions) + " of the labels"
                patients = "patient" if n == "1" else "patients"
                sentences.append(f"{report.labels[section]}: {which} are the same {n} {patients}.")
    return sentences
