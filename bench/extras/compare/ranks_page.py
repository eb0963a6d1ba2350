"""The page, tables and figure of ``bench compare A B --ranks``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from bench.errors import printable
from bench.extras.compare.ranks import Pair, Panel, Ranked
from bench.report.names import metric_axis
from bench.report.numbers import DASH, MINUS, number
from bench.report.page import template
from bench.report.plots import Dot, Scatter
from bench.report.redraw import Figure, current_svg, digest, refresh
from bench.report.sections import Section, Text
from bench.report.spreadsheet import csv_text
from bench.report.tabular import COUNTS, Table, grid
from bench.report.tex import tabular
from bench.report.text import document
from bench.stats.agreement import LEAST, Agreement
from bench.stats.ranks import ranked as ranks_of
from bench.store import write_atomic

NAME, TITLE = "ranks", "Does the probe predict fine-tuning?"
NAN = float("nan")
ABOUT = (
    "Each method's mean by a frozen probe beside its mean after fine-tuning, on one data set, with about the "
    "same share of labels, on one network. Controls are drawn and not ranked."
)
CAPTION = (
    "Bars are ± one standard deviation over runs, controls squares; a dashed line is a control or a method "
    "that has one of the two scores, where it lies in the plot."
)
NOTE = (
    f"Tau is Kendall's tau-b: 1 is the same order, 0 none, {MINUS}1 the reverse. The interval is a bootstrap "
    "over methods, pretrainings and seeds; test patients, data sets and networks stay as they are. With one "
    "pretraining each, the interval does not hold what another would give."
)
OF_ROW = """
dataset network metric unit probe finetuned probe_fraction finetuned_fraction method row control same_weights
probe_mean probe_sd probe_runs probe_rank finetuned_mean finetuned_sd finetuned_runs finetuned_rank
tau low high"""
COLUMNS = OF_ROW.split()


@dataclass(frozen=True)
class Header:
    """What the page's head shows in the place of a protocol."""

    scale: str
    name: str = NAME
    title: str = TITLE
    about: str = ABOUT
    scaled: bool = True
    paper: str = ""
    table: str = ""


@dataclass(frozen=True)
class Line:
    """One row of a panel: means, spreads and numbers of runs by probe and by fine-tuning, and its ranks."""

    pair: Pair
    means: tuple[float, float]
    sds: tuple[float, float]
    runs: tuple[int, int]
    ranks: tuple[float, float]  # NaN where it is not ranked


def write(ranked: Ranked, to: Path) -> Path:
    """Write page, Markdown, CSV and figure into a folder; return the page."""
    to.mkdir(parents=True, exist_ok=True)
    scatters = tuple(_scatter(*both) for both in _each(ranked))
    figure = Figure(
        NAME, TITLE, digest(repr(scatters)), True, partial(_draw, scatters), captions=(CAPTION,)
    )
    refresh([figure], to)
    tables = [_table(*both) for both in _each(ranked)]
    sections = [
        Section("Answer", [Text(sentence(ranked), "sentence"), _taus(ranked), Text(NOTE, "note")], "answer", "Answer"),
        Section("Means", [figure], "means", "Means"),
        Section("Ranks", tables, "ranks", "Ranks"),
        Section("Pairing", [Text(line) for line in pairing(ranked)], "pairing", "Pairing"),
    ]  # fmt: skip
    write_atomic(to / "table.md", document(TITLE, ABOUT, sections).encode("utf-8", "replace"))
    lines = (line for both in _each(ranked) for line in _csv(*both))
    write_atomic(to / "table.csv", csv_text(COLUMNS, lines).encode("utf-8", "replace"))
    page = to / "index.html"
    write_atomic(page, _page(ranked, sections, to).encode("utf-8", "replace"))
    return page


def sentence(ranked: Ranked) -> str:
    """Return what may be said, in one sentence."""
    panels = [p for p, a in zip(ranked.panels, ranked.agreements, strict=True) if a.tau == a.tau]
    if not panels:
        most = max(len(panel.ranked) for panel in ranked.panels)
        why = f"at most {most} methods pair, {LEAST} are needed" if most < LEAST else "all are tied"
        return f"Nothing can be told: {why}."
    methods = len({(panel.network, pair.name) for panel in panels for pair in panel.ranked})
    found, places = ranked.pooled, f", the mean over {len(panels)} places" * (len(panels) > 1)
    interval = f"95 % interval {_signed(found.low)} to {_signed(found.high)}"
    if found.low > 0:
        says = "methods that are better by probe tend to be better fine-tuned"
    elif found.high < 0:
        says = "methods that are better by probe tend to be worse fine-tuned"
    else:
        says = "the order by probe is not shown to tell the order by fine-tuning"
    return f"Of {methods} methods, tau is {_signed(found.tau)}{places} ({interval}): {says}."


def pairing(ranked: Ranked) -> list[str]:
    """Return which sections and rows pair, and which have no partner and why."""
    lines = []
    for panel in ranked.panels:
        pairs = [p for p in panel.pairs if p.probe is not None and p.finetuned is not None]
        same = sum(pair.same_weights for pair in panel.ranked)
        names = ", ".join(f"{p.name} (control)" if p.control else p.name for p in pairs)
        other = panel.probe.split_hash != panel.finetuned.split_hash
        lines.append(
            f"{panel.probe.name} with {panel.finetuned.name}, {panel.network}: {len(panel.ranked)} methods pair, "
            f"{same} of them with the same weights{'; the two were split otherwise' * other}. They are {names}."
            + f" No partner: {'; '.join(panel.alone)}."
            * bool(panel.alone)
        )
    return [*lines, *(f"No partner: {line}." for line in ranked.alone)]


def as_text(ranked: Ranked) -> str:
    """Return the pairing, the taus and the sentence for a terminal."""
    from tabulate import tabulate

    table = _taus(ranked)
    head = [*table.stubs, *(column.label for column in table.columns)]
    taus = tabulate([line.words for line in table.lines], headers=head, disable_numparse=True)
    return "\n".join(
        map(printable, [*pairing(ranked), "", *taus.split("\n"), "", sentence(ranked)])
    )


def _each(ranked: Ranked) -> list[tuple[Panel, Agreement]]:
    return list(zip(ranked.panels, ranked.agreements, strict=True))


def _title(panel: Panel) -> str:
    shares = (panel.probe.fraction, panel.finetuned.fraction)
    share = (
        f"{shares[0]} %"
        if shares[0] == shares[1]
        else "{} % by probe, {} % fine-tuned".format(*shares)
    )
    return f"{panel.dataset}, {share}, {panel.network}"


def _lines(panel: Panel) -> list[Line]:
    """Return the rows with their ranks: the best fine-tuned first, controls and lone rows at the end."""
    lines = list[Line]()
    runs = [[_runs(side) for side in (pair.probe, pair.finetuned)] for pair in panel.ranked]
    means = np.array([[_mean(side) for side in sides] for sides in runs])
    ranks = np.array([ranks_of(side, not panel.lower) for side in means.T]).T
    of_pair = dict(zip(panel.ranked, ranks.tolist(), strict=True))
    for pair in panel.pairs:
        one, other = _runs(pair.probe), _runs(pair.finetuned)
        mean, sd = (_mean(one), _mean(other)), (_sd(one), _sd(other))
        by_probe, finetuned = of_pair.get(pair, (NAN, NAN))
        lines.append(Line(pair, mean, sd, (len(one), len(other)), (by_probe, finetuned)))
    return sorted(lines, key=_place)


def _place(line: Line) -> tuple[bool, bool, float, str]:
    rank = line.ranks[1]
    return rank != rank, line.pair.control, rank, line.pair.title


def _runs(scores: np.ndarray | None) -> np.ndarray:
    return np.array([]) if scores is None else scores[~np.isnan(scores)]


def _mean(runs: np.ndarray) -> float:
    return float(runs.mean()) if len(runs) else NAN


def _sd(runs: np.ndarray) -> float:
    return float(runs.std(ddof=1)) if len(runs) > 1 else NAN


def _signed(value: float) -> str:
    return f"{value:.2f}".replace("-0.00", "0.00").replace("-", MINUS)


def _taus(ranked: Ranked) -> Table:
    rows = [(_title(p), str(len(p.ranked)), *_told(a)) for p, a in _each(ranked)]
    told = [(p, a) for p, a in _each(ranked) if a.tau == a.tau]
    if len(told) > 1:
        rows.append(("Mean over places", "", *_told(ranked.pooled)))
    return grid(("Place", "Methods", "Tau-b", "95 % interval"), rows)


def _told(found: Agreement) -> tuple[str, str]:
    if found.tau != found.tau:
        return DASH, "nothing can be told"
    return _signed(found.tau), f"{_signed(found.low)} to {_signed(found.high)}"


def _table(panel: Panel, found: Agreement) -> Table:
    axis, _ = metric_axis(panel.probe.metric, panel.probe.unit)
    head = ("Row", "Rank by probe", "Rank fine-tuned", f"{axis} by probe", f"{axis} fine-tuned")
    rows = []
    for line in _lines(panel):
        title = line.pair.title + " (control)" * line.pair.control
        ranks = [DASH if rank != rank else f"{rank:g}" for rank in line.ranks]
        scores = [_printed(line, side, panel.probe.unit) for side in (0, 1)]
        rows.append((title, *ranks, *scores))
    tau, interval = _told(found)
    said = f"tau {tau}, 95 % interval {interval}" if found.tau == found.tau else interval
    return grid(head, rows, _title(panel), f"{said[0].upper()}{said[1:]}.")


def _printed(line: Line, side: int, unit: str) -> str:
    mean, sd = line.means[side], line.sds[side]
    if mean != mean:
        return DASH
    return number(mean, unit) + (f" ± {number(sd, unit)}" if sd == sd else "")


def _scatter(panel: Panel, found: Agreement) -> Scatter:
    unit = panel.probe.unit
    times = 100 if unit == "1" else 1
    axis, lower = metric_axis(panel.probe.metric, unit)
    dots = []
    for line in _lines(panel):
        x, y = (None if mean != mean else times * mean for mean in line.means)
        sds = tuple(0.0 if sd != sd else times * sd for sd in line.sds)
        dots.append(Dot(line.pair.title, x, y, (sds[0], sds[1]), line.pair.control))
    tau, interval = _told(found)
    note = f"{len(panel.ranked)} methods: " + (
        f"tau {tau} ({interval})" if found.tau == found.tau else interval
    )
    return Scatter(
        _title(panel), f"{axis} by probe", f"{axis} fine-tuned", lower, tuple(dots), note
    )


def _draw(scatters: tuple[Scatter, ...]) -> object:
    from bench.report.rank_scatters import scatters as draw  # matplotlib takes half a second

    return draw(scatters)


def _csv(panel: Panel, found: Agreement) -> list[tuple[object, ...]]:
    probe, tuned = panel.probe, panel.finetuned
    where = (
        *(panel.dataset, panel.network, probe.metric, probe.unit),
        *(f"{source.protocol}/{source.section}" for source in (probe, tuned)),
        *(probe.fraction, tuned.fraction),
    )
    lines = list[tuple[object, ...]]()
    for line in _lines(panel):
        pair = line.pair
        sides = [(line.means[i], line.sds[i], line.runs[i], line.ranks[i]) for i in (0, 1)]
        facts = (pair.title, pair.name, int(pair.control), int(pair.same_weights))
        lines.append((*where, *facts, *sides[0], *sides[1], found.tau, found.low, found.high))
    return lines


def _page(ranked: Ranked, sections: Sequence[Section], folder: Path) -> str:
    methods = {(panel.network, pair.name) for panel in ranked.panels for pair in panel.ranked}
    scales = ", ".join(dict.fromkeys(panel.probe.scale for panel in ranked.panels))
    facts = [
        ("Methods", str(len(methods))),
        ("Places", str(len(ranked.panels))),
        ("Protocols", ", ".join(sorted({s.protocol for p in ranked.panels for s in (p.probe, p.finetuned)}))),
    ]  # fmt: skip
    return template("page.html.j2").render(
        title=TITLE,
        protocol=Header(scales),
        sections=sections,
        facts=facts,
        tip=lambda cell: cell.tip,
        counts=COUNTS,
        tabular=tabular,
        svg=partial(current_svg, folder=folder),
        synthetic="synthetic scans" if ranked.synthetic else "",
        stacked=6,
        progress=None,
        **dict.fromkeys(("below", "undertrained"), ""),
        **dict.fromkeys(("blind", "failed", "collapsed", "guesses"), 0),
    )
