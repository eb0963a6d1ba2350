"""The tables of a judgement: ranks, pairs, data sets, cases."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.extras.judge.judgement import Judgement
from bench.extras.judge.judging import Pair, Standing, title
from bench.extras.judge.wording import (
    difference,
    left_out,
    measured,
    number,
    region_words,
    settles,
    whys,
)
from bench.report.conclusion import count_of, reason
from bench.report.names import metric_title
from bench.report.numbers import DASH, MINUS, TIMES, p_value
from bench.report.sections import Part, Section
from bench.report.tabular import Table, TableCell, grid
from bench.stats.comparison import WEIGHTS


def rank_table(standing: Standing) -> Table | None:
    """Return the methods by rank, with intervals and ties; None where no case has them all."""
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
    caption = f"{measured(standing)} Methods that share a letter are not told apart."
    if not standing.every:
        caption = f"{measured(standing)} No tie groups: only neighbours and the best were compared."
    elif len(alone) == len(standing.methods):
        caption = f"{measured(standing)} All pairs of neighbours are told apart."
    return grid(head, lines, f"{title(standing.scope)}: ranks", caption, words=(5,))


def _tied(method: str, standing: Standing) -> str:
    """Return the letters of the groups that a method is in."""
    return " ".join(_letter(i) for i, tied in enumerate(standing.ties) if method in tied)


def _letter(number: int) -> str:
    first, second = divmod(number, 26)
    return (chr(ord("a") + first - 1) if first else "") + chr(ord("a") + second)


def against_table(judgement: Judgement, standing: Standing) -> Table | None:
    """Return every method beside its baseline."""
    if not standing.against:
        return None
    bases = {pair.b for pair in standing.against}
    base = next(iter(bases)) if len(bases) == 1 else ""
    name = f"against {base or 'scratch of the same network'}"
    return _table(judgement, standing, standing.against, name, with_b=not base)


def pairs_table(judgement: Judgement, standing: Standing) -> Table:
    """Return every pair that was compared."""
    name = "every pair" if standing.every else "neighbours, and all against the best"
    return _table(judgement, standing, standing.pairs, name, with_b=True)


def _table(
    judgement: Judgement, standing: Standing, pairs: Sequence[Pair], name: str, *, with_b: bool
) -> Table:
    count = f"Runs {TIMES} {judgement.table.noun}s"
    adjusted = any(pair.judged.p == pair.judged.p for pair in pairs)
    p_head = "p, Holm" if adjusted else "p, Holm (weights)"
    head = ["Method", *(["Against"] if with_b else []), "Difference", "95 % interval", p_head]
    head += ["Verdict", count, "Seen in 4 of 5"]
    rows = [_line(standing, pair, adjusted, with_b) for pair in pairs]
    caption = " ".join([measured(standing), region_words(standing, pairs), *whys(pairs)])
    words = [head.index(name) for name in ("Against", "Verdict") if name in head]
    return grid(head, rows, f"{title(standing.scope)}: {name}", caption, words=words)


def _line(
    standing: Standing, pair: Pair, adjusted: bool, with_b: bool
) -> Sequence[str | TableCell]:
    c, judged, unit = pair.judged.comparison, pair.judged, standing.unit
    interval = f"{difference(c.low, unit)} to {difference(c.high, unit)}" if c.low == c.low else ""
    p = judged.p if adjusted else pair.of_weights.p
    why = pair.of_weights.verdict if judged.verdict == WEIGHTS else reason(judged)
    tip = "; ".join(filter(None, (settles(pair), left_out(pair))))
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


def over(judgement: Judgement) -> list[Section]:
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
            f"2006). Each data set counts once. So many methods need {a.critical.needed} data sets for any "
            "conclusion."
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
        head = ("Data set", "Metrics", "Methods", "Tau")
        parts.append(grid(head, agreements, "Do metrics agree?", caption, words=(1,)))
    if parts:
        return [Section("Over data sets and metrics", parts, "over", "Over data sets and metrics")]
    return []


def pairing(judgement: Judgement) -> Table:
    """Return which cases pairs share, and how many are left out."""
    lines = []
    for s in judgement.mains:
        for p in s.against or s.pairs:
            counts = str(p.judged.comparison.patients), str(p.runs)
            only_of = _names(p.only_a), _names(p.only_b)
            lines.append((f"{p.a} against {p.b}", title(s.scope), *counts, *only_of))
    noun = judgement.table.noun.capitalize()
    only = ("Only the first has", "Only the second has")
    head = ("Pair", "Where", f"{noun}s of both", "Runs", *only)
    caption = (
        "Cases are matched by name, runs by name (or in order, where the top of the page says so)."
    )
    return grid(head, lines, "", caption, words=(1, 4, 5))


def _names(names: Sequence[str]) -> str:
    if not names:
        return "none"
    return f"{len(names)}: {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}"
