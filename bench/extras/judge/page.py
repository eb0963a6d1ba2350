"""A judgement for people: page, Markdown, LaTeX, CSV, and what a terminal and a notebook show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from itertools import pairwise
from pathlib import Path

import numpy as np

from bench.errors import printable
from bench.extras.judge.judgement import Judgement
from bench.extras.judge.judging import Pair, Standing, title
from bench.report import tex, text
from bench.report.conclusion import SIGNS, count_of, p_value, reason
from bench.report.figures import forest
from bench.report.names import metric_title
from bench.report.numbers import DASH, MINUS, TIMES
from bench.report.numbers import difference as shown_difference
from bench.report.numbers import number as shown
from bench.report.page import plain_page
from bench.report.plots import Interval
from bench.report.redraw import Figure, refresh
from bench.report.sections import FILES, Part, Section, Text
from bench.report.spreadsheet import csv_text
from bench.report.tabular import Table, TableCell, grid
from bench.report.terminal import lines_of as terminal_lines
from bench.stats.comparison import UNCLEAR, VERDICTS, WEIGHTS
from bench.store import write_atomic

NAME, TITLE = "judge", "What may be said of these scores"
ABOUT = (
    "Methods compared over the cases that they share: paired differences with intervals, p after Holm, ties, "
    "ranks with intervals."
)
SHOWN = 40  # pairs of a scope that a terminal shows
DRAWN = 60  # rows of the forest plot
CANNOT = (
    "Whether the runs were independent. Several fine-tunings of one pretraining are not: name it with "
    "--pretraining.",
    "Whether the {noun}s are independent. Scans of one patient, or slices of one scan, are not: name the "
    "patient with --patient or --patients.",
    "Whether the test set, the metric or the methods were chosen after the scores were seen. Then p and "
    "intervals are too good.",
    "Whether test cases were in somebody's training or pretraining data.",
    "Whether all scores were computed by the same code, convention and resolution.",
)
HOW = (
    "A difference is the mean over {noun}s and runs of the paired difference, more being better whatever the "
    "metric. Its 95 % interval takes {noun}s as random, and runs where there are several (two-way random "
    "effects, Satterthwaite); it is not adjusted. Holm (1979) adjusts p over the pairs of one table, of "
    "differences (printed) and of equivalences each. Better and worse: p below 0.05; equivalent: so is p of a "
    "difference beyond the region."
)
OF_ONE_RUN = (
    "Each method has one run: nothing can be said of methods. What is said is of these weights only, another "
    "training may give another order."
)
RANKING = (
    "Rank of the mean over {noun}s and runs, over what all methods have. The interval and the share of draws "
    "in which a method is the best are of 1,000 draws of {noun}s and runs (crossed bootstrap; too narrow with "
    "three runs or fewer). Where each method has one run, {noun}s alone are drawn."
)
OF_PAIR = """
dataset fraction target metric unit a b baseline n runs difference low high p p_holm verdict why of_these_weights
p_holm_of_these_weights p_equivalent p_equivalent_holm sd_patient sd_run sd_residual df detectable region only_a
only_b"""
OF_RANK = "dataset fraction target metric unit method mean rank low high best lacking"


def write(judgement: Judgement, folder: Path) -> Path:
    """Write ``index.html table.md table.tex pairs.csv ranks.csv`` and the figure; return the page."""
    folder.mkdir(parents=True, exist_ok=True)
    figures = _figures(judgement)
    refresh(figures, folder)
    sections = _sections(judgement, figures)
    in_files = [section for section in sections if "markdown" in section.forms]
    files = {
        "table.md": text.document(TITLE, ABOUT, in_files),
        "table.tex": tex.document([TITLE], in_files),
        "pairs.csv": csv_text(OF_PAIR.split(), _pair_lines(judgement)),
        "ranks.csv": csv_text(OF_RANK.split(), _rank_lines(judgement)),
        "index.html": plain_page(NAME, (TITLE, ABOUT), sections, _facts(judgement), folder),
    }
    for name, content in files.items():
        write_atomic(folder / name, content.encode("utf-8", "backslashreplace"))
    return folder / "index.html"


def as_text(judgement: Judgement, width: int = 200) -> str:
    """Return what was read, then what may be said over all targets, for a terminal."""
    parts = [terminal_lines(section, width) for section in _read_sections(judgement)]
    parts += [printable(sentence(s, judgement)) for s in judgement.mains]
    for standing in judgement.mains:
        tables = [_rank_table(standing), _against_table(judgement, standing)]
        if not standing.against and len(standing.pairs) <= SHOWN:
            tables = [_rank_table(standing), _pairs_table(judgement, standing)]
        parts.append(terminal_lines(Section("", [t for t in tables if t is not None]), width))
    parts += [terminal_lines(s, width) for s in _over(judgement) if "terminal" in s.forms]
    parts.append(terminal_lines(_cannot(judgement), width))
    return "\n\n".join(filter(None, parts))


def as_html(judgement: Judgement) -> str:
    """Return what a notebook shows: what was read, the sentences, the ranks and pairs over all targets."""
    blocks = [
        _html_table(part)
        for s in _read_sections(judgement)
        for part in s.parts
        if isinstance(part, Table)
    ]
    blocks += [f"<p>{escape(w)}</p>" for w in (*judgement.table.warnings, *judgement.table.notes)]
    for standing in judgement.mains:
        blocks.append(f"<p><strong>{escape(sentence(standing, judgement))}</strong></p>")
        tables = (_rank_table(standing), _against_table(judgement, standing))
        blocks += [_html_table(table) for table in tables if table is not None]
    limits = "".join(f"<li>{escape(line)}</li>" for line in _limits(judgement))
    return "\n".join([*blocks, f"<p>What these numbers cannot tell:</p><ul>{limits}</ul>"])


def number(value: float, unit: str) -> str:
    """Return a score in print: shares in percent, of a unit that nobody knows three figures."""
    return shown(value, unit) if unit else f"{value:.3g}".replace("-", MINUS)


def difference(value: float, unit: str) -> str:
    """Return a difference in print, with its sign."""
    return shown_difference(value, unit) if unit else f"{value:+.3g}".replace("-", MINUS)


def _html_table(table: Table) -> str:
    head = "".join(
        f"<th>{escape(h)}</th>" for h in (*table.stubs, *(c.label for c in table.columns))
    )
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(word)}</td>" for word in line.words) + "</tr>"
        for line in table.lines
    )
    caption = f"<caption>{escape(table.title)}</caption>" if table.title else ""
    return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def sentence(standing: Standing, judgement: Judgement) -> str:
    """Return what may be said of one scope, in a sentence or two."""
    where, noun = title(standing.scope), judgement.table.noun
    parts = [
        f"{where}: {len(standing.methods)} methods, {standing.patients} {noun}s that all have."
    ]
    if standing.against:
        of_weights = all(p.verdict == WEIGHTS for p in standing.against)
        verdicts = [p.of_weights.verdict if of_weights else p.verdict for p in standing.against]
        many = ", ".join(f"{verdicts.count(v)} {v}" for v in VERDICTS if v in verdicts)
        beside = judgement.baseline or "their baseline"
        parts.append(f"Beside {beside}{', of these weights' if of_weights else ''}: {many}.")
    parts.append(_apart(standing))
    if standing.ranks is not None:
        best = np.argsort(-standing.ranks.best, kind="stable")[:3]
        shares = [
            f"{standing.methods[i]} {100 * standing.ranks.best[i]:.0f} %"
            for i in best
            if round(100 * standing.ranks.best[i]) > 0
        ]
        parts.append(f"First place: {', '.join(shares)} of draws.")
    else:
        parts.append("No ranks: no case has a score of every method.")
    if standing.lone:
        parts.append("One run each: of these weights only.")
    return " ".join(parts)


def _apart(standing: Standing) -> str:
    """Say how many neighbours in the order are told apart, and how many would be without Holm."""
    neighbours = [standing.pair(a, b) for a, b in pairwise(standing.methods)]
    pairs = [pair for pair in neighbours if pair is not None]
    if not pairs:
        return "No neighbours share a case."
    told = sum(pair.told_apart for pair in pairs)
    plain = sum(pair.judged.comparison.p < pair.judged.comparison.alpha for pair in pairs)
    among = (
        f"{len(standing.pairs)} pairs"
        if standing.every
        else f"{len(standing.pairs)} pairs (neighbours, the best)"
    )
    return f"{told} of {len(pairs)} neighbours are told apart (Holm over {among}; {plain} without correction)."


def _sections(judgement: Judgement, figures: Sequence[Figure]) -> list[Section]:
    mains = judgement.mains
    claims: list[Part] = [Text(sentence(s, judgement), "sentence") for s in mains]
    claims += figures
    for standing in mains:
        claims += [
            t for t in (_rank_table(standing), _against_table(judgement, standing)) if t is not None
        ]
    noun = judgement.table.noun
    claims.append(Text(RANKING.format(noun=noun), "note"))
    pairs: list[Part] = [_pairs_table(judgement, s) for s in mains]
    pairs.append(Text(HOW.format(noun=noun), "note"))
    sections = [
        *_read_sections(judgement),
        Section("What may be said", claims, "answer", "What may be said"),
        _cannot(judgement),
        Section("Every pair", pairs, "pairs", "Every pair", folded=True, forms=FILES),
        *_over(judgement),
    ]
    others = [s for s in judgement.standings if s not in mains]
    if others:
        tables: list[Part] = []
        for standing in others:
            tables += [
                t
                for t in (_rank_table(standing), _against_table(judgement, standing))
                if t is not None
            ]
        sections.append(
            Section("Each target", tables, "targets", "Each target", folded=True, forms=FILES)
        )
    sections.append(
        Section(
            "Which cases pair",
            [_pairing(judgement)],
            "pairing",
            "Which cases pair",
            folded=True,
            forms=FILES,
        )
    )
    return sections


def _read_sections(judgement: Judgement) -> list[Section]:
    table = judgement.table
    parts: list[Part] = [
        grid(("What", "Taken from", "Holds"), table.roles, words=(1, 2)),
        *(Text(line, "warning") for line in table.warnings),
        *(Text(f"{line[0].upper()}{line[1:]}.") for line in table.notes),
        *(Text(line) for line in _lacking(judgement)),
    ]
    return [Section("What was read", parts, "read", "What was read")]


def _lacking(judgement: Judgement) -> Iterator[str]:
    """Yield which methods lack cases that others have: they are compared over what both have."""
    for standing in judgement.mains:
        if standing.lacking:
            names = sorted(standing.lacking.items(), key=lambda item: -item[1])
            listed = ", ".join(f"{name} lacks {n}" for name, n in names[:5])
            more = f" and {len(names) - 5} more methods" if len(names) > 5 else ""
            noun = judgement.table.noun
            yield (
                f"{title(standing.scope)}: {noun}s are missing: {listed}{more}. Pairs are compared over what both "
                f"have, ranks over the {standing.patients} that all have."
            )


def _limits(judgement: Judgement) -> list[str]:
    return [line.format(noun=judgement.table.noun) for line in CANNOT]


def _cannot(judgement: Judgement) -> Section:
    parts: list[Part] = [Text(f"{DASH} {line}") for line in _limits(judgement)]
    if all(s.lone for s in judgement.standings):
        parts.insert(0, Text(OF_ONE_RUN, "warning"))
    if judgement.table.noun == "data set":
        parts.append(
            Text(f"{DASH} How sure the number of one data set is: each stands for one case here.")
        )
    return Section("What this page cannot know", parts, "limits", "What this page cannot know")


def _rank_table(standing: Standing) -> Table | None:
    ranks = standing.ranks
    if ranks is None:
        return None
    unit = standing.unit
    group = {m: i for i, tied in enumerate(standing.ties, 1) for m in reversed(tied)}
    lines = [
        (
            method,
            number(float(ranks.mean[i]), unit),
            f"{ranks.rank[i]:g}",
            f"{ranks.low[i]:g} to {ranks.high[i]:g}",
            f"{100 * ranks.best[i]:.0f} %",
            _tied(method, standing),
        )
        for i, method in enumerate(standing.methods)
        if ranks.rank[i] == ranks.rank[i]
    ]
    head = ("Method", "Mean", "Rank", "95 % interval", "Best in", "Tied")
    alone = [m for m in standing.methods if m not in group]
    caption = f"{_measured(standing)} Methods that share a letter are not told apart."
    if not standing.every:
        caption = (
            f"{_measured(standing)} No tie groups: only neighbours and the best were compared."
        )
    elif len(alone) == len(standing.methods):
        caption = f"{_measured(standing)} All pairs of neighbours are told apart."
    return grid(head, lines, f"{title(standing.scope)}: ranks", caption, words=(5,))


def _tied(method: str, standing: Standing) -> str:
    """Return the letters of the groups that a method is in."""
    letters = [_letter(i) for i, tied in enumerate(standing.ties) if method in tied]
    return " ".join(letters)


def _letter(number: int) -> str:
    first, second = divmod(number, 26)
    return (chr(ord("a") + first - 1) if first else "") + chr(ord("a") + second)


def _measured(standing: Standing) -> str:
    """Return the metric and its unit in words."""
    name = metric_title(standing.scope.metric)
    unit = {"1": ", percent", "": ""}.get(standing.unit, f", {standing.unit}")
    lower = "" if standing.higher else "; less is better, so a positive difference is less"
    return f"{name}{unit}{lower}."


def _region(standing: Standing, pairs: Sequence[Pair]) -> str:
    ropes = sorted({pair.judged.comparison.rope for pair in pairs} - {0.0})
    if not ropes:
        return "No region of equivalence: state one with --region."
    factor = 100 if standing.unit == "1" else 1
    points = " or ".join(f"±{factor * rope:.2g}" for rope in ropes)
    return f"Region of equivalence: {points}{' points' if factor == 100 else ''}."


def _against_table(judgement: Judgement, standing: Standing) -> Table | None:
    """Return every method beside its baseline."""
    if not standing.against:
        return None
    bases = {pair.b for pair in standing.against}
    beside = next(iter(bases)) if len(bases) == 1 else ""
    name = f"beside {beside or 'the row from scratch of its network'}"
    return _table(judgement, standing, standing.against, name, with_b=not beside)


def _pairs_table(judgement: Judgement, standing: Standing) -> Table:
    name = "every pair" if standing.every else "neighbours, and all beside the best"
    return _table(judgement, standing, standing.pairs, name, with_b=True)


def _table(
    judgement: Judgement, standing: Standing, pairs: Sequence[Pair], name: str, *, with_b: bool
) -> Table:
    count = f"Runs {TIMES} {judgement.table.noun}s"
    adjusted = any(pair.judged.p == pair.judged.p for pair in pairs)
    p_head = "p, Holm" if adjusted else "p, Holm (weights)"
    head = [
        "Method",
        *(["Beside"] if with_b else []),
        "Difference",
        "95 % interval",
        p_head,
        "Verdict",
        count,
        "Seen in 4 of 5",
    ]
    rows = [_line(standing, pair, adjusted, with_b) for pair in pairs]
    caption = " ".join([_measured(standing), _region(standing, pairs), *_whys(pairs)])
    return grid(
        head, rows, f"{title(standing.scope)}: {name}", caption, words=(head.index("Verdict"),)
    )


def _line(
    standing: Standing, pair: Pair, adjusted: bool, with_b: bool
) -> Sequence[str | TableCell]:
    c, judged, unit = pair.judged.comparison, pair.judged, standing.unit
    interval = f"{difference(c.low, unit)} to {difference(c.high, unit)}" if c.low == c.low else ""
    p = judged.p if adjusted else pair.of_weights.p
    why = f"of these: {pair.of_weights.verdict}" if judged.verdict == WEIGHTS else reason(judged)
    tip = "; ".join(filter(None, (_settles(pair), _left_out(pair))))
    return (
        pair.a,
        *([pair.b] if with_b else []),
        TableCell(difference(c.difference, unit), tip=tip, sort=c.difference),
        interval,
        p_value(p) if p == p else "",
        TableCell(judged.verdict, gain=why, mark=judged.verdict.replace(" ", "-")),
        count_of(c),
        number(c.detectable, unit) if c.detectable == c.detectable else "",
    )


def _whys(pairs: Sequence[Pair]) -> list[str]:
    whys = dict.fromkeys(p.judged.why for p in pairs if p.judged.verdict == WEIGHTS)
    texts = [f"{why[0].upper()}{why[1:]}." for why in whys if why]
    settled = [f"{p.a} beside {p.b}: {_settles(p)}" for p in pairs if _settles(p)]
    if 0 < len(settled) <= 3:
        texts += [f"{line}." for line in settled]
    seen = "The last column is a difference that four of five such studies would see, asked alone."
    return [*texts, seen]


def _settles(pair: Pair) -> str:
    """Say what would tell a difference from none: runs first, then patients."""
    c = pair.judged.comparison
    if pair.judged.verdict == WEIGHTS:
        return "what would say more: another run of each"
    if {pair.judged.verdict, c.verdict} != {UNCLEAR} or c.sd_run != c.sd_run:
        return ""
    noun = "pretrainings" if c.seeds > 1 else "runs"
    units, patients = c.needed("units", 50), c.needed("patients", 2000)
    amounts = [f"{units} {noun}" if units else f"no number of {noun} up to 50"]
    amounts += [f"or {patients} patients"] if patients and patients > c.patients else []
    tail = "" if patients else "; more patients alone would not"
    return f"what may tell, asked alone: {' '.join(amounts)}{tail}"


def _left_out(pair: Pair) -> str:
    sides = [(pair.a, pair.only_a), (pair.b, pair.only_b)]
    return "; ".join(f"{len(names)} of {name} left out" for name, names in sides if names)


def _over(judgement: Judgement) -> list[Section]:
    """Return what is said over data sets and metrics."""
    parts: list[Part] = []
    for a in judgement.across:
        half = a.critical.difference / 2
        order = np.argsort(a.critical.rank, kind="stable")
        lines = [
            (a.methods[i], f"{r:.2f}", f"{r - half:.2f} to {r + half:.2f}")
            for i in order
            for r in [a.critical.rank[i]]
        ]
        name = (
            f"{metric_title(a.metric)}: {len(a.methods)} methods over {len(a.datasets)} data sets"
        )
        caption = (
            f"Friedman p {p_value(a.critical.p)}; critical difference {a.critical.difference:.2f} (Nemenyi; Demšar "
            f"2006). Each data set counts once. So many methods need {a.critical.needed} data sets before anything "
            "can be said."
        )
        parts.append(
            grid(("Method", "Mean rank", "± half the critical difference"), lines, name, caption)
        )
    if judgement.orders:
        agreements = [
            (
                o.dataset or DASH,
                f"{metric_title(o.first)}, {metric_title(o.second)}",
                str(o.methods),
                f"{o.tau:.2f}".replace("-", MINUS) if o.tau == o.tau else DASH,
            )
            for o in judgement.orders
        ]
        caption = (
            "Kendall's tau-b of the methods' means: 1 is the same order, 0 none, -1 the reverse."
        )
        parts.append(
            grid(
                ("Data set", "Metrics", "Methods", "Tau"),
                agreements,
                "Do metrics agree?",
                caption,
                words=(1,),
            )
        )
    return (
        [Section("Over data sets and metrics", parts, "over", "Over data sets and metrics")]
        if parts
        else []
    )


def _pairing(judgement: Judgement) -> Table:
    """Return which cases pairs share, and how many are left out."""
    lines = [
        (
            f"{p.a} beside {p.b}",
            title(s.scope),
            str(p.judged.comparison.patients),
            str(p.runs),
            _names(p.only_a),
            _names(p.only_b),
        )
        for s in judgement.mains
        for p in (s.against or s.pairs)
    ]
    noun = judgement.table.noun.capitalize()
    head = (
        "Pair",
        "Where",
        f"{noun}s of both",
        "Runs",
        "Only the first has",
        "Only the second has",
    )
    caption = (
        "Cases are matched by name, runs by name (or in order, where the top of the page says so)."
    )
    return grid(head, lines, "", caption, words=(1, 4, 5))


def _names(names: Sequence[str]) -> str:
    if not names:
        return "none"
    return f"{len(names)}: {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}"


def _figures(judgement: Judgement) -> list[Figure]:
    """Return the forest plot: methods beside their baseline, else beside the best."""
    unit = judgement.mains[0].unit
    factor = 100 if unit == "1" else 1
    metric = judgement.mains[0].scope.metric
    rows = list[Interval]()
    for standing in (s for s in judgement.mains if s.scope.metric == metric):
        best = standing.methods[0]
        pairs = standing.against or [
            p for m in standing.methods[1:] if (p := standing.pair(m, best)) is not None
        ]
        group = (
            title(standing.scope) if standing.against else f"{title(standing.scope)}: beside {best}"
        )
        rows += [
            _interval(p, group, unit, factor)
            for p in pairs
            if p.judged.comparison.low == p.judged.comparison.low
        ]
    if not rows:
        return []
    against = judgement.baseline or ("the baseline" if judgement.mains[0].against else "the best")
    axis = f"{metric_title(metric)} ({'points' if unit == '1' else unit or 'own unit'}) against {against}"
    return [forest(tuple(rows[:DRAWN]), axis, against=against)]


def _interval(pair: Pair, group: str, unit: str, factor: int) -> Interval:
    c = pair.judged.comparison
    verdict = pair.judged.verdict
    words = f"{SIGNS[verdict]} {verdict}"
    if verdict == WEIGHTS:
        words = f"of these weights: {pair.of_weights.verdict}"
    return Interval(
        title=pair.a,
        group=group,
        difference=round(factor * c.difference, 6),
        low=round(factor * c.low, 6),
        high=round(factor * c.high, 6),
        verdict=pair.of_weights.verdict if verdict == WEIGHTS else verdict,
        text=f"{difference(c.difference, unit)}  [{difference(c.low, unit)}, {difference(c.high, unit)}]",
        verdict_text=words,
        rope=round(factor * c.rope, 6),
    )


def _facts(judgement: Judgement) -> list[tuple[str, str]]:
    frame = judgement.table.frame
    datasets = [name for name in frame["section"].cat.categories if name]
    return [
        ("Methods", str(len(frame["row"].cat.categories))),
        ("Scores", f"{len(frame):,}"),
        ("Data sets", ", ".join(datasets[:4]) or "one, without a name"),
        ("Metrics", ", ".join(metric_title(m) for m in judgement.table.measures)),
    ]


def _pair_lines(judgement: Judgement) -> Iterator[tuple[object, ...]]:
    for s in judgement.standings:
        for is_base, pairs in ((1, s.against), (0, s.pairs)):
            for p in pairs:
                c, j, w = p.judged.comparison, p.judged, p.of_weights
                yield (
                    s.scope.dataset,
                    s.scope.fraction,
                    s.scope.target,
                    s.scope.metric,
                    s.unit,
                    p.a,
                    p.b,
                    is_base,
                    c.patients,
                    p.runs,
                    c.difference,
                    c.low,
                    c.high,
                    c.p,
                    j.p,
                    j.verdict,
                    j.why,
                    w.verdict,
                    w.p,
                    c.p_equivalent,
                    j.p_equivalent,
                    c.sd_patient,
                    c.sd_run,
                    c.sd_residual,
                    c.df,
                    c.detectable,
                    c.rope or None,
                    len(p.only_a),
                    len(p.only_b),
                )


def _rank_lines(judgement: Judgement) -> Iterator[tuple[object, ...]]:
    for s in judgement.standings:
        r = s.ranks
        for i, method in enumerate(s.methods if r is not None else ()):
            assert r is not None
            yield (
                s.scope.dataset,
                s.scope.fraction,
                s.scope.target,
                s.scope.metric,
                s.unit,
                method,
                float(r.mean[i]),
                float(r.rank[i]),
                float(r.low[i]),
                float(r.high[i]),
                float(r.best[i]),
                s.lacking.get(method, 0),
            )
