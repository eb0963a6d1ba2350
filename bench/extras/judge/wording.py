"""What is said of one comparison: sentences, and numbers in print."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from bench.extras.judge.judgement import Judgement
from bench.extras.judge.judging import Pair, Standing, title
from bench.report.conclusion import IN_BRACKETS
from bench.report.footnotes import counted
from bench.report.names import metric_title
from bench.report.numbers import MINUS
from bench.report.numbers import difference as shown_difference
from bench.report.numbers import number as shown
from bench.stats.comparison import VERDICTS, WEIGHTS


def sentence(standing: Standing, judgement: Judgement) -> str:
    """Return what may be said of one scope, in a sentence or two."""
    where, noun = title(standing.scope), judgement.table.noun
    shared = f"{counted(standing.patients, noun)} that all have"
    parts = [f"{where}: {counted(len(standing.methods), 'method')}, {shared}."]
    if standing.against:
        of_weights = all(p.verdict == WEIGHTS for p in standing.against)
        verdicts = [p.of_weights.verdict if of_weights else p.verdict for p in standing.against]
        many = ", ".join(f"{verdicts.count(v)} {v}" for v in VERDICTS if v in verdicts)
        base = judgement.baseline or "their baseline"
        parts.append(f"Against {base}{', of these weights' if of_weights else ''}: {many}.")
    parts.append(_apart(standing))
    parts.append(_first(standing))
    if standing.lone:
        parts.append("One run each: of these weights only.")
    return " ".join(parts)


def _apart(standing: Standing) -> str:
    """Say how many neighbours in the order are told apart, and how many would be without Holm."""
    neighbours = [standing.pair(a, b) for a, b in pairwise(standing.methods)]
    pairs = [pair for pair in neighbours if pair is not None]
    if not pairs:
        return "No neighbours share a case."
    apart = sum(pair.told_apart for pair in pairs)
    plain = sum(pair.apart_alone for pair in pairs)
    among = counted(len(standing.pairs), "pair")
    among += "" if standing.every else " (neighbours, the best)"
    of = f"{apart} of {counted(len(pairs), 'neighbour')} "
    are = "is" if len(pairs) == 1 else "are"
    return f"{of}{are} told apart (Holm over {among}; {plain} without correction)."


def _first(standing: Standing) -> str:
    """Say which methods are first in how many draws."""
    if standing.ranks is None:
        return "No ranks: no case has a score of every method."
    best = standing.ranks.best
    shares = [(100 * best[i], standing.methods[i]) for i in np.argsort(-best, kind="stable")[:3]]
    texts = [f"{method} {share:.0f} %" for share, method in shares if round(share) > 0]
    return f"First place: {', '.join(texts)} of draws."


def number(value: float, unit: str) -> str:
    """Return a score in print: shares in percent, of a unit that nobody knows three figures."""
    return shown(value, unit) if unit else f"{value:.3g}".replace("-", MINUS)


def difference(value: float, unit: str) -> str:
    """Return a difference in print, with its sign."""
    return shown_difference(value, unit) if unit else f"{value:+.3g}".replace("-", MINUS)


def measured(standing: Standing) -> str:
    """Return the metric and its unit in words."""
    name = metric_title(standing.scope.metric)
    unit = {"1": ", percent", "": ""}.get(standing.unit, f", {standing.unit}")
    lower = "" if standing.higher else "; lower is better, so a positive difference means lower"
    return f"{name}{unit}{lower}."


def region_words(standing: Standing, pairs: Sequence[Pair]) -> str:
    """Say how wide the region of equivalence is."""
    ropes = sorted({pair.judged.comparison.rope for pair in pairs} - {0.0})
    if not ropes:
        return "No region of equivalence: state one with --region."
    factor = 100 if standing.unit == "1" else 1
    points = " or ".join(f"±{factor * rope:.4g}" for rope in ropes)
    return f"Region of equivalence: {points}{' points' if factor == 100 else ''}."


def whys(pairs: Sequence[Pair]) -> list[str]:
    """Say why verdicts are of weights, and what may settle the few that are open."""
    whys = dict.fromkeys(p.judged.why for p in pairs if p.judged.verdict == WEIGHTS)
    texts = [f"{why[0].upper()}{why[1:]}." for why in ([IN_BRACKETS, *whys] if whys else ())]
    settled = [f"{p.a} against {p.b}: {settles(p)}" for p in pairs if settles(p)]
    if 0 < len(settled) <= 3:
        texts += [f"{line}." for line in settled]
    seen = (
        "Last column: the difference that four of five such studies would find (single comparison)."
    )
    return [*texts, seen]


def settles(pair: Pair) -> str:
    """Say what would tell a difference from none: runs first, then patients."""
    c = pair.judged.comparison
    if pair.judged.verdict == WEIGHTS:
        return "to say more: another run of each"
    if not pair.may_be_settled:
        return ""
    noun = "pretrainings" if c.seeds > 1 else "runs"
    units, patients = c.needed("units", 50), c.needed("patients", 2000)
    amounts = [f"{units} {noun}" if units else f"no number of {noun} up to 50"]
    amounts += [f"or {patients} patients"] if patients and patients > c.patients else []
    tail = "" if patients else "; more patients alone would not"
    return f"may settle a single comparison: {' '.join(amounts)}{tail}"


def left_out(pair: Pair) -> str:
    """Say how many patients of each method the pair leaves out."""
    sides = [(pair.a, pair.only_a), (pair.b, pair.only_b)]
    return "; ".join(f"{len(names)} of {name} left out" for name, names in sides if names)
