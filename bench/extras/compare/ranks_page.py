"""The page, tables and figure of ``bench compare A B --ranks``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from bench.errors import printable
from bench.extras.compare.ranks import Panel, Ranked, Row
from bench.report import index
from bench.report.names import metric_axis
from bench.report.numbers import DASH, MINUS, number
from bench.report.page import plain_page
from bench.report.plots import Dot, Scatter
from bench.report.redraw import Figure, digest, refresh
from bench.report.sections import EVERYWHERE, PAGE, Part, Section, Text
from bench.report.spreadsheet import csv_text
from bench.report.tabular import Table, grid
from bench.report.text import document
from bench.stats.agreement import LEAST, Agreement
from bench.store import write_atomic

NAME, TITLE = "ranks", "Does the probe predict fine-tuning?"
ABOUT = (
    "Each method's mean by a probe of the frozen encoder, and its mean after fine-tuning: same data set and "
    "network, about the same share of labels. Controls are not ranked."
)
CAPTION = (
    "Bars: ± one standard deviation over runs. Hollow squares: controls. Dashed lines: controls that have only one "
    "of the two scores. Short lines at an axis: methods that have only this score. A score outside the axes is "
    "not drawn."
)
NOTE = (
    f"Tau is Kendall's tau-b: 1 is the same order, 0 none, {MINUS}1 the reverse. The interval is a bootstrap "
    "over methods: it says what other methods of these kinds would give, with as many runs. Test patients, "
    "data sets and networks are fixed. Few runs make the means uncertain, and this pulls tau towards 0. "
    "In the tables, ± is the standard deviation over the draws of a probe, or over the runs of a fine-tuning. With "
    "all labels the draws of a probe are all the same, so a row with one encoder has ± 0.00."
)
UNTOLD, NAN = "nothing can be told", float("nan")
FIRST = 5  # that are not compared: so many are named on a terminal
OF_ROW = """
dataset network metric unit scale probe finetuned probe_fraction finetuned_fraction row title control same_weights
probe_mean probe_sd probe_runs probe_rank finetuned_mean finetuned_sd finetuned_runs finetuned_rank tau low high"""
COLUMNS = OF_ROW.split()


def write(ranked: Ranked, to: Path) -> Path:
    """Write page, Markdown, CSV and figure into a folder, and list it beside other reports; return the page."""
    to.mkdir(parents=True, exist_ok=True)
    scatters = tuple(_scatter(*both) for both in ranked.panels)
    shown = digest(repr(scatters))
    figure = Figure(NAME, TITLE, shown, True, partial(_draw, scatters), captions=(CAPTION,))
    refresh([figure], to)
    parts: dict[str, Sequence[Part]] = {
        "Answer": [Text(sentence(ranked), "sentence"), _taus(ranked), Text(NOTE, "note")],
        "Means": [figure],
        "Ranks": [_table(*both) for both in ranked.panels],
        "Pairing": [Text(line) for line in pairing(ranked)],
    }
    sections = []
    for title, part in parts.items():
        forms = PAGE if figure in part else EVERYWHERE
        folded = title == "Pairing"
        sections.append(Section(title, part, title.lower(), title, folded=folded, forms=forms))
    lines = (line for both in ranked.panels for line in _csv(*both))
    files = {
        "table.md": document(TITLE, ABOUT, sections),
        "table.csv": csv_text(COLUMNS, lines),
        "index.html": _page(ranked, sections, to),
    }
    for name, text in files.items():
        write_atomic(to / name, text.encode("utf-8", "backslashreplace"))
    index.put(_summary(ranked), to)
    if index.indexed(to.parent, new=False):
        index.write(to.parent)
    return to / "index.html"


def _summary(ranked: Ranked) -> index.Summary:
    """Return what an index of reports says of the page."""
    panels = [panel for panel, _ in ranked.panels]
    rows = {row.name for panel in panels for row in panel.rows}
    return index.Summary(
        name=NAME,
        title=TITLE,
        data=tuple(dict.fromkeys(panel.probe.dataset.title for panel in panels)),
        rows=len(rows),
        done=len({row.name for panel in panels for row in panel.ranked}),
        sentence=sentence(ranked),
    )


def sentence(ranked: Ranked) -> str:
    """Return what may be said, in one sentence."""
    panels = [panel for panel, result in ranked.panels if result.tau == result.tau]
    if not panels:
        most = max(len(panel.ranked) for panel, _ in ranked.panels)
        few = f"at most {most} methods have both scores, {LEAST} are needed"
        return f"Nothing can be told: {few if most < LEAST else 'all are tied'}."
    rows = {row.name for panel in panels for row in panel.ranked}
    tau, interval = _words(ranked.pooled)
    mean = f", the mean over {len(panels)} comparisons" if len(panels) > 1 else ""
    text = f"Over {len(rows)} methods, tau is {tau}{mean} (95 % interval {interval}): "
    text += f"{_conclusion(ranked.pooled)}."
    above = sum(result.low > 0 for _, result in ranked.panels)
    if len(panels) > 1 and above and ranked.pooled.low <= 0:
        text += f" In {above} of {len(panels)} comparisons the interval lies above 0."
    pairs = [row.same_weights for panel in panels for row in panel.ranked]
    if unlike := pairs.count(False):
        text += f" In {unlike} of {len(pairs)} pairs probe and fine-tuning had encoders of different pretrainings."
    return text


def _conclusion(pooled: Agreement) -> str:
    if pooled.low <= 0 <= pooled.high:
        return "there is no evidence that the order by probe predicts the order by fine-tuning"
    way = "better" if pooled.low > 0 else "worse"
    return f"methods that are better by probe tend to be {way} fine-tuned"


def pairing(ranked: Ranked) -> list[str]:
    """Return which sections and rows pair, and which have no partner and why."""
    lines = []
    for panel, _ in ranked.panels:
        probe, tuned = panel.probe, panel.finetuned
        same = sum(row.same_weights for row in panel.ranked)
        split = "" if probe.split_hash == tuned.split_hash else ", on different splits"
        names = [
            [r.name + " (control)" * r.control for r in panel.rows if sizes(r) == both]
            for both in ((True, True), (True, False), (False, True))
        ]
        line = f"probe {probe.name} against fine-tuning {tuned.name}: {len(panel.ranked)} methods have both scores, "
        line += f"{same} of them from the same weights{split}"
        texts = (line, "probe score only", "fine-tuning score only")
        lines.append(
            "; ".join(f"{t}: {', '.join(n)}" for t, n in zip(texts, names, strict=True) if n)
        )
    return [*lines, *(f"Not compared: {line}" for line in ranked.alone)]


def sizes(row: Row) -> tuple[bool, bool]:
    """Tell whether a row is scored by probe, and whether by fine-tuning."""
    return bool(row.runs[0].size), bool(row.runs[1].size)


def as_text(ranked: Ranked) -> str:
    """Return the pairing, the taus and the sentence for a terminal."""
    from tabulate import tabulate

    table = _taus(ranked)
    head = [*table.stubs, *(column.label for column in table.columns)]
    taus = tabulate([line.words for line in table.lines], headers=head, disable_numparse=True)
    lines = pairing(ranked)
    more = len(lines) - len(ranked.panels) - FIRST
    if more > 0:
        lines = [*lines[:-more], f"Not compared: {more} more; the page names them"]
    return "\n".join(map(printable, [*lines, "", *taus.split("\n"), "", sentence(ranked)]))


def _title(panel: Panel) -> str:
    first, second = panel.probe.fraction, panel.finetuned.fraction
    share = f"{first} %" if first == second else f"{first} % by probe, {second} % fine-tuned"
    where = f"{panel.probe.dataset.title}, {share}, {panel.probe.setting.network}"
    return f"{where} ({panel.finetuned.protocol})"


def _sorted(panel: Panel) -> list[tuple[Row, tuple[float, float]]]:
    """Return the rows with their ranks: the best fine-tuned first, then those without a rank."""
    ranks = panel.ranks()
    rows = sorted(panel.rows, key=lambda row: (row.control, row.title))
    rows.sort(key=lambda row: ranks.get(row.name, (0, float("inf")))[1])
    return [(row, ranks.get(row.name, (NAN, NAN))) for row in rows]


def _words(result: Agreement) -> tuple[str, str]:
    if result.tau != result.tau:
        return DASH, UNTOLD
    tau, low, high = (
        f"{v:.2f}".replace("-0.00", "0.00").replace("-", MINUS) for v in vars(result).values()
    )
    return tau, f"{low} to {high}"


def _outcome(panel: Panel, result: Agreement) -> str:
    tau, interval = _words(result)
    text = interval if interval == UNTOLD else f"tau {tau}, 95 % interval {interval}"
    return f"{len(panel.ranked)} methods: {text}"


def _taus(ranked: Ranked) -> Table:
    rows = [(_title(panel), str(len(panel.ranked)), *_words(f)) for panel, f in ranked.panels]
    rows += [("Mean", "", *_words(ranked.pooled))][: len(rows) - 1]
    return grid(("Comparison", "Methods", "Tau-b", "95 % interval"), rows)


def _table(panel: Panel, result: Agreement) -> Table:
    axis, _ = metric_axis(panel.probe.setting.metric, panel.probe.setting.unit)
    head = ("Row", "Rank by probe", "Rank fine-tuned", f"{axis} by probe", f"{axis} fine-tuned")
    rows = [
        (
            row.title + " (control)" * row.control,
            *(DASH if rank != rank else f"{rank:g}" for rank in ranks),
            *(_printed(row, side, panel.probe.setting.unit) for side in (0, 1)),
        )
        for row, ranks in _sorted(panel)
    ]
    return grid(head, rows, _title(panel), f"{_outcome(panel, result)}.")


def _printed(row: Row, side: int, unit: str) -> str:
    texts = [number(v, unit) for v in (row.mean(side), row.sd(side)) if v == v]
    return " ± ".join(texts) or DASH


def _scatter(panel: Panel, result: Agreement) -> Scatter:
    axis, lower = metric_axis(panel.probe.setting.metric, panel.probe.setting.unit)
    times = 100 if panel.probe.setting.unit == "1" else 1
    dots = []
    for row, _ in _sorted(panel):
        x, y = (times * row.mean(side) if row.runs[side].size else None for side in (0, 1))
        across, up = (
            0.0 if row.sd(side) != row.sd(side) else times * row.sd(side) for side in (0, 1)
        )
        dots.append(Dot(row.title, x, y, (across, up), row.control))
    note = _outcome(panel, result)
    return Scatter(
        _title(panel), f"{axis} by probe", f"{axis} fine-tuned", lower, tuple(dots), note
    )


def _draw(scatters: tuple[Scatter, ...]) -> object:
    from bench.report.rank_scatters import scatters as draw  # matplotlib takes half a second

    return draw(scatters)


def _csv(panel: Panel, result: Agreement) -> Iterator[tuple[object, ...]]:
    both = (panel.probe, panel.finetuned)
    where = (*both[0].setting, *(f"{source.protocol}/{source.section}" for source in both))
    for row, ranks in _sorted(panel):
        sides: list[float] = []
        for side, rank in enumerate(ranks):
            count = int((row.runs[side] == row.runs[side]).sum())
            sides += [row.mean(side), row.sd(side), count, rank]
        facts = (row.name, row.title, int(row.control), int(row.same_weights))
        fractions = (source.fraction for source in both)
        yield (*where, *fractions, *facts, *sides, *vars(result).values())


def _page(ranked: Ranked, sections: Sequence[Section], folder: Path) -> str:
    sources = [source for panel, _ in ranked.panels for source in (panel.probe, panel.finetuned)]
    protocols = ", ".join(sorted({source.protocol for source in sources}))
    scale = ", ".join(sorted({source.setting.scale for source in sources}))
    synthetic = any(source.dataset.synthetic for source in sources)
    facts = [("Comparisons", str(len(ranked.panels))), ("Protocols", protocols)]
    marks = scale, "synthetic scans" if synthetic else ""
    return plain_page(NAME, (TITLE, ABOUT), sections, facts, folder, marks)
